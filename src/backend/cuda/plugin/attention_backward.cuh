// Derivatives of attention over packed segments, without atomics: one kernel sums dk and dv of 64 positions over all
// rows that see them, another dq of 64 rows over all positions that they see. Both recompute the weights from each
// row's lse; p = 2^(x - lse), ds = p (dy v^T - delta), delta = sum of dy y over the row.
//
// Operands lie in bf16 as [head][T][width], lse (to base 2) and delta as [head][T]. Tokens are counted from the
// segment's first row. A warp owns 16 stationary rows; DS columns of the results are one block's share.
#ifndef MOSA_BACKEND_CUDA_PLUGIN_ATTENTION_BACKWARD_CUH
#define MOSA_BACKEND_CUDA_PLUGIN_ATTENTION_BACKWARD_CUH

#include "backend/cuda/plugin/attention_prefill.cuh"

namespace mosa_attention {

typedef __nv_bfloat16 bf16;

struct backward {
    view a; // of the forward node; k, v packed
    const bf16 *q, *dy;
    const float *lse, *delta;
    float *dq, *dk, *dv;                     // [T, heads*width] ...
    int64_t dq_stride, dk_stride, dv_stride; // floats
    float size;                              // of the scale
};

enum { BACK_WARPS = 4, BACK_THREADS = BACK_WARPS * 32 }; // 64 stationary rows

template <int D> struct backward_memory {
    bf16 fixed[2][TILE * rows_of<bf16, D>::STRIDE]; // keys, values; or queries, dy
    struct {
        bf16 first[TILE * rows_of<bf16, D>::STRIDE], second[TILE * rows_of<bf16, D>::STRIDE];
        float lse[TILE], delta[TILE];
    } stage[2];
};

// Rows [first, first + 64) of a head's matrix [T][D] of a segment (pos_begin 0).
template <int D>
__device__ __forceinline__ void load_matrix_rows(bf16 *to, const view &a, const mosa_cuda_segment &s, const bf16 *from,
                                                 int head, int first) {
    load_tile<bf16, D, false, TILE, BACK_THREADS>(to, a, s, (const char *)(from + (int64_t)head * a.rows * D),
                                                  D * (int64_t)sizeof *from, first, 0, s.row_count);
}

// Whether some (all) of rows [r0, r1) see some (all) of the positions [p0, p1) of a segment of n tokens.
__device__ __forceinline__ bool sees(const view &a, int row, int position) {
    return (!a.causal || position <= row) &&
           (a.window == 0 || (row - position < a.window && position - row < a.window));
}
__device__ __forceinline__ bool sees_all(const view &a, int r0, int r1, int p0, int p1, int n) {
    return r1 <= n && p1 <= n && sees(a, r0, p1 - 1) && (a.window == 0 || (sees(a, r1 - 1, p0)));
}

// s (scores of an element) becomes p; mask: row and position are looked at.
__device__ __forceinline__ float probability(const view &a, float s, float lse, bool hidden) {
    if (a.cap > 0) s = a.cap * tanh_fast(s * a.cap_in);
    return hidden ? 0.0f : weight(s, a.scale, lse);
}
// What ds is multiplied by on its way through the cap: 1 - tanh^2.
__device__ __forceinline__ float cap_slope(const view &a, float p, float lse) {
    if (!(a.cap > 0) || p == 0.0f) return 1.0f;
    float t = (log2f(p) + lse) / a.cap;
    return 1.0f - t * t;
}

// A warp's rows, of which `first` is the first token.
template <int DS>
__device__ __forceinline__ void write_gradient(float *to, int64_t stride, const mosa_cuda_segment &s, int first,
                                               int64_t column, const float (&acc)[DS / 8][4], float by) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        int token = first + lane / 4 + 8 * i;
        if (token >= s.row_count) continue;
        float *y = to + (s.row_begin + token) * stride + column + lane % 4 * 2;
#pragma unroll
        for (int n = 0; n < DS / 8; n++)
            *(float2 *)(y + 8 * n) = make_float2(acc[n][2 * i] * by, acc[n][2 * i + 1] * by);
    }
}

__device__ __forceinline__ void pack_weights(uint32_t (&to)[4][4], const float (&p)[8][4]) {
#pragma unroll
    for (int n = 0; n < 8; n++)
#pragma unroll
        for (int i = 0; i < 2; i++) to[n / 2][n % 2 * 2 + i] = half_type<bf16>::pair(p[n][2 * i], p[n][2 * i + 1]);
}

// Queries, dy, lse and delta of 64 rows of a head.
template <int D, typename S>
__device__ __forceinline__ void load_rows_stage(S &stage, const backward &b, const mosa_cuda_segment &s, int head,
                                                int first) {
    load_matrix_rows<D>(stage.first, b.a, s, b.q, head, first);
    load_matrix_rows<D>(stage.second, b.a, s, b.dy, head, first);
    int i = threadIdx.x % TILE;
    const float *from = (threadIdx.x < TILE ? b.lse : b.delta) + (int64_t)head * b.a.rows + s.row_begin;
    bool real = first + i < s.row_count;
    copy4((threadIdx.x < TILE ? stage.lse : stage.delta) + i, from + (real ? first + i : 0), real);
}

// Rows that see something of the positions [first, first + 64).
__device__ __forceinline__ span rows_that_see(const view &a, const mosa_cuda_segment &s, int first) {
    span r = {a.causal ? first : 0, s.row_count};
    if (a.window > 0) {
        if (first - a.window + 1 > r.lo) r.lo = first - a.window + 1;
        if (a.window < r.end - first - TILE + 1) r.end = first + TILE - 1 + a.window;
    }
    return r;
}

// grid: (tiles of positions, kv_heads * slices, segments)
template <int D, int DS> __global__ void __launch_bounds__(BACK_THREADS) backward_kv_kernel(const backward b) {
    extern __shared__ __align__(16) unsigned char memory[];
    backward_memory<D> &shared = *(backward_memory<D> *)memory;
    constexpr int STRIDE = rows_of<bf16, D>::STRIDE;
    const view &a = b.a;
    mosa_cuda_segment s = a.segments[blockIdx.z];
    s.pos_begin = 0;
    const int first = blockIdx.x * TILE, kv_head = blockIdx.y % a.kv_heads, slice = blockIdx.y / a.kv_heads;
    if (first >= s.row_count) return;
    const span rows = rows_that_see(a, s, first);
    const int tile_begin = rows.lo / TILE, tiles = (rows.end + TILE - 1) / TILE - tile_begin, all = tiles * a.group;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, position = first + warp * 16 + lane / 4;
    load_matrix_rows<D>(shared.fixed[0], a, s, (const bf16 *)a.k, kv_head, first);
    load_matrix_rows<D>(shared.fixed[1], a, s, (const bf16 *)a.v, kv_head, first);
    load_rows_stage<D>(shared.stage[0], b, s, kv_head * a.group, tile_begin * TILE);
    copy_commit();
    float dk[DS / 8][4] = {}, dv[DS / 8][4] = {};
    for (int it = 0; it < all; it++) {
        if (it + 1 < all)
            load_rows_stage<D>(shared.stage[(it + 1) % 2], b, s, kv_head * a.group + (it + 1) / tiles,
                               (tile_begin + (it + 1) % tiles) * TILE);
        copy_commit();
        copy_wait<1>();
        __syncthreads();
        const auto &stage = shared.stage[it % 2];
        const int row = (tile_begin + it % tiles) * TILE, column = lane % 4 * 2;
        const bool whole = sees_all(a, row, row + TILE, first, first + TILE, s.row_count);
        float p[8][4], dp[8][4];
        uint32_t f[4][4];
        tile_scores<bf16, D, false>(p, NULL, shared.fixed[0] + warp * 16 * STRIDE, stage.first);
#pragma unroll
        for (int n = 0; n < 8; n++) {
            float2 lse = *(const float2 *)(stage.lse + 8 * n + column);
#pragma unroll
            for (int i = 0; i < 4; i++) {
                int r = row + 8 * n + column + i % 2;
                bool hidden = !whole && (r >= s.row_count || !sees(a, r, position + i / 2 * 8));
                p[n][i] = probability(a, p[n][i], i % 2 ? lse.y : lse.x, hidden);
            }
        }
        pack_weights(f, p);
        tile_values<bf16, DS, STRIDE>(dv, f, stage.second + slice * DS);
        tile_scores<bf16, D, false>(dp, NULL, shared.fixed[1] + warp * 16 * STRIDE, stage.second);
#pragma unroll
        for (int n = 0; n < 8; n++) {
            float2 delta = *(const float2 *)(stage.delta + 8 * n + column);
            float2 lse = *(const float2 *)(stage.lse + 8 * n + column);
#pragma unroll
            for (int i = 0; i < 4; i++)
                p[n][i] *= (dp[n][i] - (i % 2 ? delta.y : delta.x)) * cap_slope(a, p[n][i], i % 2 ? lse.y : lse.x);
        }
        pack_weights(f, p);
        tile_values<bf16, DS, STRIDE>(dk, f, stage.first + slice * DS);
        __syncthreads();
    }
    write_gradient<DS>(b.dk, b.dk_stride, s, first + warp * 16, (int64_t)kv_head * D + slice * DS, dk, b.size);
    write_gradient<DS>(b.dv, b.dv_stride, s, first + warp * 16, (int64_t)kv_head * D + slice * DS, dv, 1.0f);
}

// grid: (tiles of rows, late ones first; heads * slices; segments)
template <int D, int DS> __global__ void __launch_bounds__(BACK_THREADS) backward_q_kernel(const backward b) {
    extern __shared__ __align__(16) unsigned char memory[];
    backward_memory<D> &shared = *(backward_memory<D> *)memory;
    constexpr int STRIDE = rows_of<bf16, D>::STRIDE;
    const view &a = b.a;
    mosa_cuda_segment s = a.segments[blockIdx.z];
    s.pos_begin = 0;
    const int first = (int)(gridDim.x - 1 - blockIdx.x) * TILE, head = blockIdx.y % a.heads,
              slice = blockIdx.y / a.heads;
    if (first >= s.row_count) return;
    const int kv_head = head / a.group, last = min(first + TILE, s.row_count) - 1;
    const int begin = visible(a, s, first).lo / TILE, end = (visible(a, s, last).end + TILE - 1) / TILE;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, row = first + warp * 16 + lane / 4;
    load_matrix_rows<D>(shared.fixed[0], a, s, b.q, head, first);
    load_matrix_rows<D>(shared.fixed[1], a, s, b.dy, head, first);
    load_matrix_rows<D>(shared.stage[begin % 2].first, a, s, (const bf16 *)a.k, kv_head, begin * TILE);
    load_matrix_rows<D>(shared.stage[begin % 2].second, a, s, (const bf16 *)a.v, kv_head, begin * TILE);
    copy_commit();
    float lse[2], delta[2], dq[DS / 8][4] = {};
#pragma unroll
    for (int i = 0; i < 2; i++) {
        int64_t at_row = (int64_t)head * a.rows + s.row_begin + min(row + 8 * i, s.row_count - 1);
        lse[i] = b.lse[at_row], delta[i] = b.delta[at_row];
    }
    for (int tile = begin; tile < end; tile++) {
        if (tile + 1 < end) {
            load_matrix_rows<D>(shared.stage[(tile + 1) % 2].first, a, s, (const bf16 *)a.k, kv_head,
                                (tile + 1) * TILE);
            load_matrix_rows<D>(shared.stage[(tile + 1) % 2].second, a, s, (const bf16 *)a.v, kv_head,
                                (tile + 1) * TILE);
        }
        copy_commit();
        copy_wait<1>();
        __syncthreads();
        const auto &stage = shared.stage[tile % 2];
        const int position = tile * TILE + lane % 4 * 2;
        const bool whole = sees_all(a, first, first + TILE, tile * TILE, tile * TILE + TILE, s.row_count);
        float p[8][4], dp[8][4];
        uint32_t f[4][4];
        tile_scores<bf16, D, false>(p, NULL, shared.fixed[0] + warp * 16 * STRIDE, stage.first);
        tile_scores<bf16, D, false>(dp, NULL, shared.fixed[1] + warp * 16 * STRIDE, stage.second);
#pragma unroll
        for (int n = 0; n < 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                int j = position + 8 * n + i % 2;
                bool hidden = !whole && (j >= s.row_count || !sees(a, row + i / 2 * 8, j));
                float weight_of = probability(a, p[n][i], lse[i / 2], hidden);
                p[n][i] = weight_of * (dp[n][i] - delta[i / 2]) * cap_slope(a, weight_of, lse[i / 2]);
            }
        pack_weights(f, p);
        tile_values<bf16, DS, STRIDE>(dq, f, stage.first + slice * DS);
        __syncthreads();
    }
    write_gradient<DS>(b.dq, b.dq_stride, s, first + warp * 16, (int64_t)head * D + slice * DS, dq, b.size * a.sign);
}

template <int D, int DS> cudaError_t backward_run(const backward &b, cudaStream_t stream) {
    constexpr int bytes = (int)sizeof(backward_memory<D>);
    auto *kv = backward_kv_kernel<D, DS>;
    auto *q = backward_q_kernel<D, DS>;
    static const cudaError_t set_kv = cudaFuncSetAttribute(kv, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    static const cudaError_t set_q = cudaFuncSetAttribute(q, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    if (set_kv != cudaSuccess || set_q != cudaSuccess) return set_kv != cudaSuccess ? set_kv : set_q;
    int tiles = (b.a.max_rows + TILE - 1) / TILE;
    kv<<<dim3(tiles, b.a.kv_heads * (D / DS), b.a.n_segments), BACK_THREADS, bytes, stream>>>(b);
    q<<<dim3(tiles, b.a.heads * (D / DS), b.a.n_segments), BACK_THREADS, bytes, stream>>>(b);
    return cudaGetLastError();
}

} // namespace mosa_attention

#endif
