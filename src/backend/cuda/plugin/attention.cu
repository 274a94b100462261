// ATTENTION on CUDA: the launcher that chooses between decode, prefill and the plain kernel, and packed segments.
//
// Head widths 64, 80, 96, 128 and 256 with as wide values run on tensor cores when pages are f16 or bf16; segments of
// at most SMALL packed rows (token and head of one key/value head) by the decode kernel, others by prefill. Packed keys
// and values are first rounded to bf16 in scratch. All else (f32 pages, values in keys, other widths) runs plain: one
// block per row and head, f32 throughout.
#include "backend/cuda/plugin/attention.cuh"

namespace mosa_attention {

enum { SMALL = 64, PLAIN_THREADS = 128 };
static const size_t PARTIALS_MAX = (size_t)64 << 20; // of decode; beyond it a row's splits stay in one block

// ---- plain

template <typename T> static __device__ __forceinline__ float widen(T x) {
    return (float)x;
}

static __device__ float block_reduce(float x, bool largest, float *shared) { // of PLAIN_THREADS, in a fixed tree
    for (int step = 16; step; step /= 2) {
        float other = __shfl_xor_sync(0xffffffffu, x, step);
        x = largest ? fmaxf(x, other) : x + other;
    }
    __syncthreads();
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
    __syncthreads();
    x = shared[0];
    for (int i = 1; i < PLAIN_THREADS / 32; i++) x = largest ? fmaxf(x, shared[i]) : x + shared[i];
    return x;
}

struct plain_memory {
    float query[MOSA_HEAD_WIDTH_MAX], total[MOSA_HEAD_WIDTH_MAX], score[SPLIT], reduce[PLAIN_THREADS / 32];
};

template <typename T, bool PAGED>
static __device__ void plain_scores(const view &a, const mosa_cuda_segment &s, const char *keys, plain_memory &shared,
                                    int begin, int end) {
    const int lane = threadIdx.x % 32;
    for (int j = begin + (int)threadIdx.x / 32; j < end; j += PLAIN_THREADS / 32) {
        const T *key = (const T *)at<PAGED>(a, s, keys, a.k_row, j);
        float dot = 0;
        for (int c = lane; c < a.width; c += 32) dot = __fmaf_rn(shared.query[c], widen(key[c]), dot);
        for (int step = 16; step; step /= 2) dot += __shfl_xor_sync(0xffffffffu, dot, step);
        if (a.cap > 0) dot = a.cap * tanhf(dot * a.cap_in);
        if (lane == 0) shared.score[j % SPLIT] = dot * a.scale;
    }
    __syncthreads();
}

// grid: (rows, heads). The order of ref/attention.c but for the trees of sums.
template <typename T, bool PAGED> static __global__ void __launch_bounds__(PLAIN_THREADS) plain_kernel(const view a) {
    __shared__ plain_memory shared;
    const int head = blockIdx.y, row = blockIdx.x, kv_head = head / a.group, thread = threadIdx.x;
    const mosa_cuda_segment s = a.segments[a.row_segment[row]];
    const span seen = visible(a, s, s.pos_begin + row - s.row_begin);
    const char *keys = a.k + kv_head * a.head_stride, *values = a.v + kv_head * a.v_head_stride;
    for (int c = thread; c < a.width; c += PLAIN_THREADS)
        shared.query[c] = a.q[row * a.q_stride + (int64_t)head * a.width + c] * a.sign;
    for (int c = thread; c < a.value_width; c += PLAIN_THREADS) shared.total[c] = 0;
    __syncthreads();
    float m = -INFINITY, l = 0;
    for (int begin = seen.lo, end; begin < seen.end; begin = end) {
        end = min(begin - begin % SPLIT + SPLIT, seen.end);
        plain_scores<T, PAGED>(a, s, keys, shared, begin, end);
        float largest = -INFINITY, sum = 0;
        for (int i = thread; i < SPLIT; i += PLAIN_THREADS)
            if (i >= begin % SPLIT && i < begin % SPLIT + end - begin) largest = fmaxf(largest, shared.score[i]);
        largest = block_reduce(largest, true, shared.reduce);
        for (int i = thread; i < SPLIT; i += PLAIN_THREADS)
            if (i >= begin % SPLIT && i < begin % SPLIT + end - begin)
                sum += shared.score[i] = exp2f(shared.score[i] - largest);
        sum = block_reduce(sum, false, shared.reduce); // and the weights are there for all
        joint j = join_factors(m, largest);
        l = join(l, sum, j);
        for (int c = thread; c < a.value_width; c += PLAIN_THREADS) {
            float acc = 0;
            for (int i = begin; i < end; i++)
                acc =
                    __fmaf_rn(shared.score[i % SPLIT], widen(((const T *)at<PAGED>(a, s, values, a.v_row, i))[c]), acc);
            shared.total[c] = join(shared.total[c], acc, j);
        }
        __syncthreads();
    }
    float *lse = a.lse && thread == 0 ? a.lse + (int64_t)row * a.heads + head : NULL;
    float by = finish(a, head, m, l, lse);
    for (int c = thread; c < a.value_width; c += PLAIN_THREADS)
        a.y[row * a.y_stride + (int64_t)head * a.value_width + c] = shared.total[c] * by;
}

cudaError_t plain_forward(const view &a, mosa_dtype dtype, cudaStream_t stream) {
    dim3 grid(a.rows, a.heads);
    if (!a.pages)
        plain_kernel<float, false><<<grid, PLAIN_THREADS, 0, stream>>>(a);
    else if (dtype == MOSA_F32)
        plain_kernel<float, true><<<grid, PLAIN_THREADS, 0, stream>>>(a);
    else if (dtype == MOSA_F16)
        plain_kernel<__half, true><<<grid, PLAIN_THREADS, 0, stream>>>(a);
    else if (dtype == MOSA_BF16)
        plain_kernel<__nv_bfloat16, true><<<grid, PLAIN_THREADS, 0, stream>>>(a);
    else
        return cudaErrorNotSupported;
    return cudaGetLastError();
}

// ---- packed segments

// to: bf16 [heads][T][width], from f32 rows [T, heads*width]. grid: rows.
static __global__ void pack_rows(__nv_bfloat16 *to, const float *from, int64_t stride, int heads, int width) {
    const int64_t row = blockIdx.x, rows = gridDim.x;
    for (int i = threadIdx.x * 4; i < heads * width; i += blockDim.x * 4) {
        float4 x = *(const float4 *)(from + row * stride + i);
        __nv_bfloat162 *out = (__nv_bfloat162 *)(to + (i / width * rows + row) * width + i % width);
        out[0] = __floats2bfloat162_rn(x.x, x.y);
        out[1] = __floats2bfloat162_rn(x.z, x.w);
    }
}

static size_t packed_bytes(const mosa_attrs *attrs, int64_t rows) {
    size_t columns = (size_t)attrs->attention.head_width + (size_t)mosa_attention_value_width(attrs);
    return (size_t)rows * (size_t)attrs->attention.kv_heads * columns * sizeof(__nv_bfloat16);
}

// Rounds keys and values into `packed` and runs prefill. a.k, a.v: the f32 rows.
cudaError_t packed_forward(view a, void *packed, cudaStream_t stream) {
    __nv_bfloat16 *k = (__nv_bfloat16 *)packed, *v = k + (int64_t)a.rows * a.kv_heads * a.width;
    pack_rows<<<a.rows, 256, 0, stream>>>(k, (const float *)a.k, a.k_row / 4, a.kv_heads, a.width);
    pack_rows<<<a.rows, 256, 0, stream>>>(v, (const float *)a.v, a.v_row / 4, a.kv_heads, a.width);
    a.k = (const char *)k, a.v = (const char *)v;
    a.k_row = a.v_row = a.width * (int64_t)sizeof *k;
    a.head_stride = a.v_head_stride = a.rows * a.k_row;
    a.small = 0;
    cudaError_t result = cudaGetLastError();
    if (result == cudaSuccess) prefill_launch(a, MOSA_BF16, stream, &result);
    return result;
}

// ---- the launcher

static view open_view(const mosa_cuda_args *args, int q, int sinks) { // numbers of operands; sinks may be -1
    const mosa_attrs *attrs = &args->node->attrs;
    const mosa_cuda_batch *batch = args->batch;
    view a = {};
    a.q = (const float *)args->in[q], a.q_stride = args->in_stride[q] / 4;
    a.segments = batch->segments, a.row_segment = batch->row_segment;
    a.n_segments = batch->n_segments, a.rows = args->rows;
    a.max_rows = batch->max_rows_of_segment, a.max_position = batch->max_position;
    a.heads = attrs->attention.heads, a.kv_heads = attrs->attention.kv_heads, a.group = a.heads / a.kv_heads;
    a.width = attrs->attention.head_width, a.value_width = mosa_attention_value_width(attrs);
    a.window = attrs->attention.window, a.causal = attrs->attention.causal;
    const float log2e = 1.4426950408889634f, scale = attrs->attention.scale, cap = attrs->attention.softcap;
    float size = scale < 0 ? -scale : scale > 0 ? scale : 1e-30f; // hidden scores are -inf: times 0 they would be NaN
    a.sign = scale < 0 ? -1.0f : 1.0f;
    a.scale = cap > 0 ? 1.0f : size * log2e;
    a.cap = cap * log2e, a.cap_in = cap > 0 ? size / cap : 0;
    a.sinks = sinks < 0 ? NULL : ((const mosa_weight *)args->in[sinks])->vector;
    a.small = SMALL;
    return a;
}

view packed_view(const mosa_cuda_args *args, int q) {
    const bool in_key = args->node->attrs.attention.value_in_key;
    const int k = q + 1, v = in_key ? k : q + 2, sinks = args->node->n_in > v + 1 ? v + 1 : -1;
    view a = open_view(args, q, sinks);
    a.k = (const char *)args->in[k], a.k_row = args->in_stride[k];
    a.v = (const char *)args->in[v], a.v_row = args->in_stride[v];
    a.head_stride = (int64_t)a.width * (int64_t)sizeof(float);
    a.v_head_stride = in_key ? a.head_stride : (int64_t)a.value_width * (int64_t)sizeof(float);
    return a;
}

static cudaError_t packed_launch(view a, const mosa_cuda_args *args, cudaStream_t stream) {
    if (args->node->attrs.attention.value_in_key || !has_kernels(a.width, a.value_width, MOSA_BF16))
        return plain_forward(a, MOSA_F32, stream);
    if (args->scratch_bytes < packed_bytes(&args->node->attrs, args->rows)) return cudaErrorInvalidValue;
    return packed_forward(a, args->scratch, stream);
}

static cudaError_t paged_launch(view a, const mosa_cuda_args *args, cudaStream_t stream) {
    const mosa_kv *kv = (const mosa_kv *)args->in[1];
    int64_t element = kv->spec.dtype == MOSA_F32 ? 4 : 2;
    a.k = kv->data + (size_t)args->node->attrs.attention.layer * kv->layer_stride;
    a.v = kv->spec.value_in_key ? a.k : a.k + kv->v_offset;
    a.k_row = a.width * element;
    a.v_row = kv->spec.value_in_key ? a.k_row : a.value_width * element;
    a.page_stride = (int64_t)kv->page_stride, a.head_stride = a.v_head_stride = (int64_t)kv->head_stride;
    a.pages = args->batch->pages;
    while (1 << a.page_shift < kv->spec.page_tokens) a.page_shift++;
    if (kv->spec.value_in_key || !has_kernels(a.width, a.value_width, kv->spec.dtype))
        return plain_forward(a, kv->spec.dtype, stream);
    cudaError_t result = cudaSuccess;
    bool many = a.max_rows * a.group > a.small;
    if (many) prefill_launch(a, kv->spec.dtype, stream, &result);
    if (result == cudaSuccess && !(many && a.n_segments == 1))
        decode_launch(a, kv->spec.dtype, args->scratch, args->scratch_bytes, stream, &result);
    return result;
}

} // namespace mosa_attention

extern "C" cudaError_t mosa_cuda_attention_launch(const mosa_cuda_args *args, cudaStream_t stream) {
    using namespace mosa_attention;
    if (args->rows == 0 || args->batch->n_segments == 0) return cudaSuccess;
    const bool paged = mosa_attention_paged(args->graph, args->node);
    view a = paged ? open_view(args, 0, mosa_attention_sinks(args->graph, args->node)) : packed_view(args, 0);
    a.y = (float *)args->out[0], a.y_stride = args->out_stride[0] / 4;
    return paged ? paged_launch(a, args, stream) : packed_launch(a, args, stream);
}

extern "C" size_t mosa_cuda_attention_scratch_bytes(const mosa_graph *graph, const mosa_node *node, int64_t max_rows,
                                                    int64_t max_position) {
    using namespace mosa_attention;
    const mosa_attrs *attrs = &node->attrs;
    if (!mosa_attention_paged(graph, node)) return packed_bytes(attrs, max_rows);
    size_t splits = (size_t)(max_position / SPLIT + 1), width = (size_t)mosa_attention_value_width(attrs) + 2;
    size_t bytes = (size_t)max_rows * (size_t)attrs->attention.heads * splits * width * sizeof(float);
    return bytes < PARTIALS_MAX ? bytes : PARTIALS_MAX;
}
