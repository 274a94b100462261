// KV_WRITE and ROPE_KV_WRITE on CUDA: rows of keys and values into the pages of their segments, one warp per head.
//
// Pages of f16 take the largest value that f16 holds in place of larger ones. Rotation rounds every product, as
// ref/rope_row.h does.
#include "backend/cuda/plugin/attention.cuh"
#include "backend/cuda/plugin/linear_device.cuh"
#include "backend/cuda/plugin/linear_launch.cuh"

namespace mosa_attention {

enum { WRITE_WARPS = 8 };

struct write_view {
    const float *q, *k, *v, *table; // q NULL: no rotation. v NULL: values are part of the keys
    float *rotated;                 // of q
    int64_t q_stride, k_stride, v_stride, table_stride, rotated_stride; // floats
    char *pages_at;                                                     // of the layer
    int64_t page_stride, head_stride, v_offset;                         // bytes
    mosa_dtype dtype;
    const int32_t *pages, *row_segment;
    const mosa_cuda_segment *segments;
    int heads, kv_heads, width, value_width, page_shift, rot;
    bool halves;
};

static __device__ __forceinline__ void store(char *to, mosa_dtype dtype, int i, float x) {
    if (dtype == MOSA_F32)
        ((float *)to)[i] = x;
    else if (dtype == MOSA_F16)
        ((__half *)to)[i] = half_type<__half>::from(x);
    else
        ((__nv_bfloat16 *)to)[i] = half_type<__nv_bfloat16>::from(x);
}

// The head x rotated into `to`, or as it is when table is NULL.
static __device__ void put_head(const write_view &a, const float *x, int width, const float *table, char *to,
                                mosa_dtype dtype) {
    const int half = table ? a.rot / 2 : 0;
    for (int i = threadIdx.x; i < half; i += 32) {
        int first = a.halves ? i : 2 * i, second = a.halves ? i + half : 2 * i + 1;
        float p = x[first], q = x[second], cosine = table[i], sine = table[half + i];
        store(to, dtype, first, __fsub_rn(__fmul_rn(p, cosine), __fmul_rn(q, sine)));
        store(to, dtype, second, __fadd_rn(__fmul_rn(q, cosine), __fmul_rn(p, sine)));
    }
    for (int i = 2 * half + (int)threadIdx.x; i < width; i += 32) store(to, dtype, i, x[i]);
}

// grid: (rows, heads / WRITE_WARPS rounded up), heads: of q, then of k, then of v.
static __global__ void __launch_bounds__(WRITE_WARPS * 32) write_kernel(const write_view a) {
    linear_dependents_may_start();
    linear_wait_for_previous();
    const int row = blockIdx.x, q_heads = a.q ? a.heads : 0;
    int head = blockIdx.y * WRITE_WARPS + threadIdx.y;
    const float *table = a.table ? a.table + row * a.table_stride : NULL;
    if (head < q_heads) {
        int64_t column = (int64_t)head * a.width;
        put_head(a, a.q + row * a.q_stride + column, a.width, table,
                 (char *)(a.rotated + row * a.rotated_stride + column), MOSA_F32);
        return;
    }
    head -= q_heads;
    const bool value = head >= a.kv_heads;
    if (value) head -= a.kv_heads;
    if (head >= a.kv_heads || (value && !a.v)) return;
    const mosa_cuda_segment s = a.segments[a.row_segment[row]];
    const int position = s.pos_begin + row - s.row_begin, within = position & ((1 << a.page_shift) - 1);
    const int element = a.dtype == MOSA_F32 ? 4 : 2, width = value ? a.value_width : a.width;
    char *to = a.pages_at + a.pages[s.page_begin + (position >> a.page_shift)] * a.page_stride + head * a.head_stride +
               (value ? a.v_offset : 0) + (int64_t)within * width * element;
    const float *from = value ? a.v + row * a.v_stride : a.k + row * a.k_stride;
    put_head(a, from + (int64_t)head * width, width, value ? NULL : table, to, a.dtype);
}

static cudaError_t write_launch(write_view a, const mosa_cuda_args *args, const mosa_kv *kv, const mosa_attrs *attrs,
                                cudaStream_t stream) {
    if (args->rows == 0) return cudaSuccess;
    if (kv->spec.dtype != MOSA_F32 && kv->spec.dtype != MOSA_F16 && kv->spec.dtype != MOSA_BF16)
        return cudaErrorNotSupported;
    a.kv_heads = attrs->attention.kv_heads;
    a.width = kv->spec.head_width, a.value_width = mosa_kv_value_width(&kv->spec);
    a.pages_at = kv->data + (size_t)attrs->attention.layer * kv->layer_stride;
    a.page_stride = (int64_t)kv->page_stride, a.head_stride = (int64_t)kv->head_stride;
    a.v_offset = (int64_t)kv->v_offset;
    a.dtype = kv->spec.dtype;
    a.pages = args->batch->pages, a.row_segment = args->batch->row_segment, a.segments = args->batch->segments;
    while (1 << a.page_shift < kv->spec.page_tokens) a.page_shift++;
    int heads = (a.q ? a.heads : 0) + (a.v ? 2 : 1) * a.kv_heads;
    dim3 grid(args->rows, (heads + WRITE_WARPS - 1) / WRITE_WARPS);
    return linear_launch_with(write_kernel, grid, dim3(32, WRITE_WARPS), 0, stream, a);
}

} // namespace mosa_attention

extern "C" cudaError_t mosa_cuda_kv_write_launch(const mosa_cuda_args *args, cudaStream_t stream) {
    mosa_attention::write_view a = {};
    bool in_key = args->node->attrs.attention.value_in_key;
    a.k = (const float *)args->in[0], a.k_stride = args->in_stride[0] / 4;
    if (!in_key) a.v = (const float *)args->in[1], a.v_stride = args->in_stride[1] / 4;
    const mosa_kv *kv = (const mosa_kv *)args->in[in_key ? 1 : 2];
    return mosa_attention::write_launch(a, args, kv, &args->node->attrs, stream);
}

extern "C" cudaError_t mosa_cuda_rope_kv_write_launch(const mosa_cuda_args *args, cudaStream_t stream) {
    mosa_attention::write_view a = {};
    const mosa_attrs *rope = &args->node->attrs;
    const mosa_value_info *q = mosa_graph_value(args->graph, args->node->in[0]);
    a.q = (const float *)args->in[0], a.q_stride = args->in_stride[0] / 4;
    a.k = (const float *)args->in[1], a.k_stride = args->in_stride[1] / 4;
    a.v = (const float *)args->in[2], a.v_stride = args->in_stride[2] / 4;
    a.table = (const float *)args->in[3], a.table_stride = args->in_stride[3] / 4;
    a.rotated = (float *)args->out[0], a.rotated_stride = args->out_stride[0] / 4;
    a.heads = (int)(q->shape.dim[1] / rope->rope.head_width);
    a.rot = rope->rope.rot, a.halves = rope->rope.style == MOSA_ROPE_HALF;
    return mosa_attention::write_launch(a, args, (const mosa_kv *)args->in[4], &args->node->attrs2, stream);
}
