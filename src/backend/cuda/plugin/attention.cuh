// What the attention kernels share: the view of one node, instructions, and the arithmetic of a row.
//
// Float order, which makes a row's bits depend on its query and its sequence alone. Per row (a token and a head):
//   1. Positions lie in splits of MOSA_ATTENTION_SPLIT and in tiles of 64, both cut at absolute positions.
//   2. score = mma.sync m16n8k16 over the columns in steps of 16, ascending, from zero; query, keys, weights and values
//      in the pages' type (bf16 for packed segments), sums in f32. x = score * scale * log2(e), or capped.
//   3. Within a split, tile by tile: m' = max(m, ceil(max x)), a whole number, so that 2^(m - m') is exact and a tile
//      that a row does not see changes nothing; p = 2^(x - m'), rounded; l = l 2^(m - m') + (first half + second half
//      of p), each half by thread, columns ascending; a = a 2^(m - m') + p v by mma over positions in steps of 16.
//   4. At the end of a split l is summed over its four threads, and the split joins what came before: join() below.
//   5. A sink joins last; y = A * (1 / L).
// Decode (attention_decode.cuh) works on a split with eight warps at once, prefill (attention_prefill.cuh) with one
// warp for 16 rows; both do these same operations on each element.
//
// Rows of a tile are pairs of token and head of one key/value head: packed row i is token i / group, head i % group.
#ifndef MOSA_BACKEND_CUDA_PLUGIN_ATTENTION_CUH
#define MOSA_BACKEND_CUDA_PLUGIN_ATTENTION_CUH

#include "backend/cuda/plugin/attention_instructions.cuh"
#include "backend/cuda/plugin/cuda_kernel.h"

namespace mosa_attention {

enum { SPLIT = MOSA_ATTENTION_SPLIT, TILE = 64, TILES = SPLIT / TILE };

struct view {
    const float *q;                     // [T, heads*width]
    float *y;                           // [T, heads*value_width]
    float *lse;                         // [T, heads] natural logarithm of the softmax's sum, or NULL
    int64_t q_stride, y_stride;         // floats between rows
    const char *k, *v;                  // of the layer, or of packed rows
    int64_t page_stride;                // bytes
    int64_t head_stride, v_head_stride; // bytes between heads of keys, of values
    int64_t k_row, v_row;               // bytes between positions
    const int32_t *pages, *row_segment; // pages is NULL for packed rows
    const mosa_cuda_segment *segments;
    const float *sinks;
    int n_segments, rows, max_rows, max_position;
    int heads, kv_heads, group, width, value_width, page_shift, window;
    bool causal;
    float scale;       // |scale| * log2(e); 1 when capped
    float sign;        // of the scale; multiplies the query
    float cap_in, cap; // x = cap * tanh(score * cap_in) when cap > 0
    int small;         // segments of at most so many packed rows are left to decode
};

struct span {
    int lo, end; // visible positions [lo, end)
};

__device__ __forceinline__ span visible(const view &a, const mosa_cuda_segment &s, int position) {
    span r = {a.pages ? 0 : s.pos_begin, a.causal ? position + 1 : s.pos_begin + s.row_count};
    if (a.window > 0) {
        if (position - a.window + 1 > r.lo) r.lo = position - a.window + 1;
        if (a.window <= r.end - position) r.end = position + a.window;
    }
    return r;
}

// Bytes of the key (value) of a position, from a base that stands at its head.
template <bool PAGED>
__device__ __forceinline__ const char *at(const view &a, const mosa_cuda_segment &s, const char *base, int64_t row,
                                          int position) {
    if (!PAGED) return base + (int64_t)(s.row_begin + position - s.pos_begin) * row;
    int page = __ldg(a.pages + s.page_begin + (position >> a.page_shift));
    return base + page * a.page_stride + (position & ((1 << a.page_shift) - 1)) * row;
}

// Absolute error below 1e-6: 1 - 2 / (e^2x + 1).
__device__ __forceinline__ float tanh_fast(float x) {
    return 1.0f - __fdividef(2.0f, exp2_fast(fminf(x * 2.885390082f, 80.0f)) + 1.0f);
}

// ---- arithmetic of a row

__device__ __forceinline__ float raise(float m, float largest, float scale) { // step 3: m'
    return fmaxf(m, ceilf(__fmul_rn(largest, scale)));
}
__device__ __forceinline__ float factor(float from, float to) { // 2^(from - to); 1 when nothing was seen yet
    return from == to ? 1.0f : exp2_fast(from - to);
}
__device__ __forceinline__ float weight(float score, float scale, float m) { // m: 0 where the row sees nothing
    return exp2_fast(__fmaf_rn(score, scale, -m));
}
template <typename T> __device__ __forceinline__ float add_pair(float sum, uint32_t p) { // of rounded weights
    float2 both = half_type<T>::unpair(p);
    return sum + both.x + both.y;
}
__device__ __forceinline__ float finite(float m) {
    return m == -INFINITY ? 0.0f : m;
}
__device__ __forceinline__ float sum_of_quad(float l) {
    l += __shfl_xor_sync(0xffffffffu, l, 1);
    return l + __shfl_xor_sync(0xffffffffu, l, 2);
}
__device__ __forceinline__ float max_of_quad(float x) {
    x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
    return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}

// Factors that a split (m) brings: of the total so far and of the split.
struct joint {
    float f, g;
};
__device__ __forceinline__ joint join_factors(float &total_m, float m) {
    float to = fmaxf(total_m, m);
    joint j = {factor(total_m, to), factor(m, to)};
    total_m = to;
    return j;
}
__device__ __forceinline__ float join(float total, float split, joint j) {
    return __fmaf_rn(split, j.g, __fmul_rn(total, j.f));
}

// What a row's values are multiplied by in the end; the sink included. Sets the row's lse when wanted.
__device__ __forceinline__ float finish(const view &a, int head, float m, float l, float *lse) {
    float f = 1.0f;
    if (a.sinks) {
        float sink = a.sinks[head] * 1.4426950408889634f, to = fmaxf(m, ceilf(sink));
        f = factor(m, to);
        l = __fmaf_rn(l, f, exp2_fast(sink - to));
        m = to;
    }
    if (lse) *lse = (m + log2f(l)) * 0.6931471805599453f;
    return __fmul_rn(f, 1.0f / l);
}

template <typename T, int WIDTH> struct rows_of { // of a tile in shared memory: padded, so that eight rows differ in
    enum { STRIDE = WIDTH + 8 };                  // their banks
};

// Rows of keys or values at [first, first + COUNT) into shared memory; zeros outside [lo, end).
template <typename T, int WIDTH, bool PAGED, int COUNT, int THREADS>
__device__ __forceinline__ void load_tile(T *to, const view &a, const mosa_cuda_segment &s, const char *base,
                                          int64_t row, int first, int lo, int end) {
    constexpr int CHUNKS = WIDTH / 8, ALL = COUNT * CHUNKS;
#pragma unroll
    for (int n = 0; n < (ALL + THREADS - 1) / THREADS; n++) {
        int i = n * THREADS + (int)threadIdx.x;
        if (ALL % THREADS && i >= ALL) break;
        int r = i / CHUNKS, c = i % CHUNKS, position = first + r;
        bool real = position >= lo && position < end;
        const char *from = real ? at<PAGED>(a, s, base, row, position) + c * 16 : base;
        copy16(to + r * rows_of<T, WIDTH>::STRIDE + c * 8, from, real);
    }
}

// Queries of packed rows [first, first + COUNT) of a key/value head into shared memory, rounded; zeros beyond the end.
template <typename T, int WIDTH, int COUNT, int THREADS>
__device__ __forceinline__ void load_queries(T *to, const view &a, const mosa_cuda_segment &s, int kv_head, int first) {
    constexpr int QUADS = WIDTH / 4;
    for (int i = threadIdx.x; i < COUNT * QUADS; i += THREADS) {
        int r = i / QUADS, c = i % QUADS * 4, packed = first + r, token = packed / a.group;
        float4 x = make_float4(0, 0, 0, 0);
        if (token < s.row_count) {
            const float *q = a.q + (s.row_begin + token) * a.q_stride + (int64_t)kv_head * a.group * WIDTH;
            x = *(const float4 *)(q + packed % a.group * WIDTH + c);
        }
        T *p = to + r * rows_of<T, WIDTH>::STRIDE + c;
        p[0] = half_type<T>::from(x.x * a.sign), p[1] = half_type<T>::from(x.y * a.sign);
        p[2] = half_type<T>::from(x.z * a.sign), p[3] = half_type<T>::from(x.w * a.sign);
    }
}

// attention_prefill*.cu, attention_decode*.cu: false when there is no kernel for this width and type.
bool prefill_launch(const view &a, mosa_dtype dtype, cudaStream_t stream, cudaError_t *result);
bool decode_launch(const view &a, mosa_dtype dtype, void *scratch, size_t scratch_bytes, cudaStream_t stream,
                   cudaError_t *result);
view packed_view(const mosa_cuda_args *args, int q); // of packed rows, whose queries are operand q; y is left open
cudaError_t packed_forward(view a, void *packed, cudaStream_t stream); // packed: room for keys and values in bf16
cudaError_t plain_forward(const view &a, mosa_dtype dtype, cudaStream_t stream);
bool has_wgmma(); // of the current device, in the code compiled for it
bool has_kernels(int width, int value_width, mosa_dtype dtype);

} // namespace mosa_attention

#endif
