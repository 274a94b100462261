// ATTENTION_DX on CUDA: runs the forward pass again for each row's lse and delta, then the kernels of
// attention_backward.cuh in bf16; widths that those do not know, and values in keys, run plain in f32.
#include "backend/cuda/plugin/attention_backward.cuh"
#include "backend/cuda/plugin/attention_backward_hopper.cuh"

namespace mosa_attention {

enum { BACK_PLAIN = 128 };

bool backward_hopper = true; // wgmma where the device has it; a benchmark compares

// ---- what a row needs: lse to base 2 and delta, by head; dy and q rounded. One warp per row and head.
static __global__ void __launch_bounds__(BACK_THREADS)
    prepare_kernel(const backward b, const float *dy, int64_t dy_stride, bf16 *q_to, bf16 *dy_to, float *lse_to,
                   float *delta_to) {
    const view &a = b.a;
    const int row = blockIdx.x, head = blockIdx.y * BACK_WARPS + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (head >= a.heads) return;
    const float *from = dy + row * dy_stride + (int64_t)head * a.value_width;
    const float *y = a.y + row * a.y_stride + (int64_t)head * a.value_width;
    const float *q = a.q + row * a.q_stride + (int64_t)head * a.width;
    const int64_t n = (int64_t)head * a.rows + row;
    float delta = 0;
    for (int c = lane; c < a.value_width; c += 32) {
        delta = __fmaf_rn(from[c], y[c], delta);
        if (dy_to) dy_to[n * a.value_width + c] = half_type<bf16>::from(from[c]);
    }
    if (q_to)
        for (int c = lane; c < a.width; c += 32) q_to[n * a.width + c] = half_type<bf16>::from(q[c] * a.sign);
    for (int step = 16; step; step /= 2) delta += __shfl_xor_sync(0xffffffffu, delta, step);
    if (lane == 0) delta_to[n] = delta, lse_to[n] = a.lse[(int64_t)row * a.heads + head] * 1.4426950408889634f;
}

// ---- plain

struct plain_backward {
    backward b;
    const float *dy;
    int64_t dy_stride;
    bool in_key;
};

static __device__ float sum_of_block(float x, float *shared) {
    for (int step = 16; step; step /= 2) x += __shfl_xor_sync(0xffffffffu, x, step);
    __syncthreads();
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
    __syncthreads();
    x = shared[0];
    for (int i = 1; i < BACK_PLAIN / 32; i++) x += shared[i];
    return x;
}

// p and ds of a row, a head and a position; all rows counted in the whole batch.
static __device__ float2 plain_pair(const plain_backward &u, int row, int head, int key_row, float *shared) {
    const view &a = u.b.a;
    const int kv_head = head / a.group, thread = threadIdx.x;
    const float *q = a.q + row * a.q_stride + (int64_t)head * a.width;
    const float *dy = u.dy + row * u.dy_stride + (int64_t)head * a.value_width;
    const float *k = (const float *)(a.k + kv_head * a.head_stride + key_row * a.k_row);
    const float *v = (const float *)(a.v + kv_head * a.v_head_stride + key_row * a.v_row);
    float score = 0, dp = 0;
    for (int c = thread; c < a.width; c += BACK_PLAIN) score = __fmaf_rn(q[c] * a.sign, k[c], score);
    for (int c = thread; c < a.value_width; c += BACK_PLAIN) dp = __fmaf_rn(dy[c], v[c], dp);
    score = sum_of_block(score, shared);
    dp = sum_of_block(dp, shared);
    const int64_t n = (int64_t)head * a.rows + row;
    float p = probability(a, score, u.b.lse[n], false);
    return make_float2(p, p * (dp - u.b.delta[n]) * cap_slope(a, p, u.b.lse[n]));
}

// grid: (rows, kv_heads): dk and dv of one position.
static __global__ void __launch_bounds__(BACK_PLAIN) plain_kv_kernel(const plain_backward u) {
    __shared__ float dk[MOSA_HEAD_WIDTH_MAX], dv[MOSA_HEAD_WIDTH_MAX], reduce[BACK_PLAIN / 32];
    const view &a = u.b.a;
    const int key_row = blockIdx.x, kv_head = blockIdx.y, thread = threadIdx.x;
    const mosa_cuda_segment s = a.segments[a.row_segment[key_row]];
    for (int c = thread; c < MOSA_HEAD_WIDTH_MAX; c += BACK_PLAIN) dk[c] = dv[c] = 0;
    for (int head = kv_head * a.group; head < (kv_head + 1) * a.group; head++)
        for (int row = s.row_begin; row < s.row_begin + s.row_count; row++) {
            if (!sees(a, row, key_row)) continue;
            float2 pair = plain_pair(u, row, head, key_row, reduce);
            const float *q = a.q + row * a.q_stride + (int64_t)head * a.width;
            const float *dy = u.dy + row * u.dy_stride + (int64_t)head * a.value_width;
            for (int c = thread; c < a.width; c += BACK_PLAIN) dk[c] = __fmaf_rn(pair.y, q[c] * a.sign, dk[c]);
            for (int c = thread; c < a.value_width; c += BACK_PLAIN) dv[c] = __fmaf_rn(pair.x, dy[c], dv[c]);
        }
    float *k_to = u.b.dk + key_row * u.b.dk_stride + (int64_t)kv_head * a.width;
    for (int c = thread; c < a.width; c += BACK_PLAIN)
        k_to[c] = dk[c] * u.b.size + (u.in_key && c < a.value_width ? dv[c] : 0);
    if (u.in_key) return;
    float *v_to = u.b.dv + key_row * u.b.dv_stride + (int64_t)kv_head * a.value_width;
    for (int c = thread; c < a.value_width; c += BACK_PLAIN) v_to[c] = dv[c];
}

// grid: (rows, heads)
static __global__ void __launch_bounds__(BACK_PLAIN) plain_q_kernel(const plain_backward u) {
    __shared__ float dq[MOSA_HEAD_WIDTH_MAX], reduce[BACK_PLAIN / 32];
    const view &a = u.b.a;
    const int row = blockIdx.x, head = blockIdx.y, thread = threadIdx.x;
    const mosa_cuda_segment s = a.segments[a.row_segment[row]];
    for (int c = thread; c < a.width; c += BACK_PLAIN) dq[c] = 0;
    for (int key_row = s.row_begin; key_row < s.row_begin + s.row_count; key_row++) {
        if (!sees(a, row, key_row)) continue;
        float2 pair = plain_pair(u, row, head, key_row, reduce);
        const float *k = (const float *)(a.k + head / a.group * a.head_stride + key_row * a.k_row);
        for (int c = thread; c < a.width; c += BACK_PLAIN) dq[c] = __fmaf_rn(pair.y, k[c], dq[c]);
    }
    float *to = u.b.dq + row * u.b.dq_stride + (int64_t)head * a.width;
    for (int c = thread; c < a.width; c += BACK_PLAIN) to[c] = dq[c] * u.b.size * a.sign;
}

// ---- the launcher

// Scratch: y, lse as the forward kernels write it, lse and delta by head, then k, v, q, dy in bf16.
struct backward_scratch {
    float *y, *row_lse, *lse, *delta;
    bf16 *k, *q, *dy;
    size_t bytes;
};

static backward_scratch lay_out(const mosa_attrs *attrs, int64_t rows, void *at) {
    int64_t heads = attrs->attention.heads, width = attrs->attention.head_width;
    int64_t value_width = mosa_attention_value_width(attrs);
    size_t used = 0;
    auto take = [&](int64_t elements, size_t size) {
        void *p = (char *)at + used;
        used += ((size_t)(rows * elements) * size + 255) / 256 * 256;
        return p;
    };
    backward_scratch s;
    s.y = (float *)take(heads * value_width, sizeof(float));
    s.row_lse = (float *)take(heads, sizeof(float));
    s.lse = (float *)take(heads, sizeof(float));
    s.delta = (float *)take(heads, sizeof(float));
    s.k = (bf16 *)take(attrs->attention.kv_heads * (width + value_width), sizeof(bf16));
    s.q = (bf16 *)take(heads * width, sizeof(bf16));
    s.dy = (bf16 *)take(heads * value_width, sizeof(bf16));
    s.bytes = used;
    return s;
}

static cudaError_t run_plain(const backward &b, const mosa_cuda_args *args, bool in_key, cudaStream_t stream) {
    plain_backward u = {b, (const float *)args->in[0], args->in_stride[0] / 4, in_key};
    plain_kv_kernel<<<dim3(b.a.rows, b.a.kv_heads), BACK_PLAIN, 0, stream>>>(u);
    plain_q_kernel<<<dim3(b.a.rows, b.a.heads), BACK_PLAIN, 0, stream>>>(u);
    return cudaGetLastError();
}

static cudaError_t run_kernels(const backward &b, cudaStream_t stream) {
    if (backward_hopper && has_wgmma() && !(b.a.cap > 0)) {
        if (b.a.width == 64) return back_hopper_run<64>(b, stream);
        if (b.a.width == 128) return back_hopper_run<128>(b, stream);
    }
    switch (b.a.width) {
    case 64:
        return backward_run<64, 64>(b, stream);
    case 80:
        return backward_run<80, 80>(b, stream);
    case 96:
        return backward_run<96, 96>(b, stream);
    case 128:
        return backward_run<128, 128>(b, stream);
    default:
        return backward_run<256, 128>(b, stream);
    }
}

static cudaError_t backward_launch(view a, const mosa_cuda_args *args, cudaStream_t stream) {
    const mosa_attrs *attrs = &args->node->attrs;
    const bool in_key = attrs->attention.value_in_key;
    backward_scratch s = lay_out(attrs, args->rows, args->scratch);
    if (args->scratch_bytes < s.bytes) return cudaErrorInvalidValue;
    const bool plain = in_key || !has_kernels(a.width, a.value_width, MOSA_BF16);
    a.y = s.y, a.y_stride = (int64_t)a.heads * a.value_width, a.lse = s.row_lse;
    backward b = {};
    b.size = fabsf(attrs->attention.scale);
    b.dq = (float *)args->out[0], b.dq_stride = args->out_stride[0] / 4;
    b.dk = (float *)args->out[1], b.dk_stride = args->out_stride[1] / 4;
    b.dv = (float *)args->out[2], b.dv_stride = args->out_stride[2] / 4;
    b.lse = s.lse, b.delta = s.delta, b.q = s.q, b.dy = s.dy;
    cudaError_t result = plain ? plain_forward(a, MOSA_F32, stream) : packed_forward(a, s.k, stream);
    if (result != cudaSuccess) return result;
    if (!plain) { // as packed_forward left them
        a.k = (const char *)s.k, a.v = (const char *)(s.k + (int64_t)args->rows * a.kv_heads * a.width);
        a.k_row = a.v_row = a.width * (int64_t)sizeof(bf16);
        a.head_stride = a.v_head_stride = args->rows * a.k_row;
    }
    b.a = a;
    prepare_kernel<<<dim3(args->rows, (a.heads + BACK_WARPS - 1) / BACK_WARPS), BACK_THREADS, 0, stream>>>(
        b, (const float *)args->in[0], args->in_stride[0] / 4, plain ? NULL : s.q, plain ? NULL : s.dy, s.lse, s.delta);
    return plain ? run_plain(b, args, in_key, stream) : run_kernels(b, stream);
}

} // namespace mosa_attention

extern "C" cudaError_t mosa_cuda_attention_dx_launch(const mosa_cuda_args *args, cudaStream_t stream) {
    using namespace mosa_attention;
    if (args->rows == 0 || args->batch->n_segments == 0) return cudaSuccess;
    return backward_launch(packed_view(args, 1), args, stream);
}

extern "C" size_t mosa_cuda_attention_dx_scratch_bytes(const mosa_graph *graph, const mosa_node *node, int64_t max_rows,
                                                       int64_t max_position) {
    (void)graph, (void)max_position;
    return mosa_attention::lay_out(&node->attrs, max_rows, NULL).bytes;
}
