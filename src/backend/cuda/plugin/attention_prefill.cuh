// Attention of many rows: a block owns 16 * WARPS packed rows of one key/value head of one segment (and DV columns of
// its values) and walks over tiles of 64 positions, double-buffered; each warp owns 16 rows and works alone.
#ifndef MOSA_BACKEND_CUDA_PLUGIN_ATTENTION_PREFILL_CUH
#define MOSA_BACKEND_CUDA_PLUGIN_ATTENTION_PREFILL_CUH

#include "backend/cuda/plugin/attention.cuh"

namespace mosa_attention {

template <typename T, int D, int DV, int WARPS> struct prefill_shape {
    enum {
        K_STRIDE = rows_of<T, D>::STRIDE,
        V_STRIDE = rows_of<T, DV>::STRIDE,
        QUERY = WARPS * 16 * K_STRIDE,
        STAGE = TILE * (K_STRIDE + V_STRIDE),
        BYTES = (QUERY + 2 * STAGE) * (int)sizeof(T),
        KEEP = D <= 128 // queries stay in registers
    };
};

// Two rows of a thread: lane / 4 and lane / 4 + 8 of the warp's 16.
struct row_state {
    float m[2], l[2], total_m[2], total_l[2];
};

// s = q k^T of a tile. query: the warp's fragments, or NULL to read them from shared memory.
template <typename T, int D, bool KEEP>
__device__ __forceinline__ void tile_scores(float (&s)[8][4], const uint32_t (*query)[4], const T *q_rows,
                                            const T *keys) {
    constexpr int STRIDE = rows_of<T, D>::STRIDE;
    const int lane = threadIdx.x % 32;
    const T *k = keys + (lane / 16 * 8 + lane % 8) * STRIDE + lane / 8 % 2 * 8;
    const T *q = q_rows + (lane / 8 % 2 * 8 + lane % 8) * STRIDE + lane / 16 * 8;
#pragma unroll
    for (int n = 0; n < 8; n++) s[n][0] = s[n][1] = s[n][2] = s[n][3] = 0;
#pragma unroll
    for (int kk = 0; kk < D / 16; kk++) {
        uint32_t f[4];
        if (KEEP)
            for (int i = 0; i < 4; i++) f[i] = query[KEEP ? kk : 0][i];
        else
            load_matrix(f, q + kk * 16);
#pragma unroll
        for (int n = 0; n < 4; n++) {
            uint32_t b[4];
            load_matrix(b, k + n * 16 * STRIDE + kk * 16);
            half_type<T>::mma(s[2 * n], f, b[0], b[1]);
            half_type<T>::mma(s[2 * n + 1], f, b[2], b[3]);
        }
    }
}

// Caps scores and hides positions; column of s[n][2 i + e]: first + 8 n + 2 (lane % 4) + e, row i.
__device__ __forceinline__ void tile_mask(float (&s)[8][4], const view &a, const span (&seen)[2], int first) {
    if (a.cap > 0)
#pragma unroll
        for (int n = 0; n < 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) s[n][i] = a.cap * tanh_fast(s[n][i] * a.cap_in);
    bool whole = true;
#pragma unroll
    for (int i = 0; i < 2; i++) whole = whole && seen[i].lo <= first && seen[i].end >= first + TILE;
    if (__all_sync(0xffffffffu, whole)) return;
    const int column = first + threadIdx.x % 4 * 2;
#pragma unroll
    for (int n = 0; n < 8; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int position = column + 8 * n + i % 2;
            if (position < seen[i / 2].lo || position >= seen[i / 2].end) s[n][i] = -INFINITY;
        }
}

// Step 3 for a tile: s becomes the weights, rounded; f: what the sums so far are multiplied by. True when some row of
// the warp moved.
template <typename T>
__device__ __forceinline__ bool tile_soften(float (&s)[8][4], row_state &r, float scale, float (&f)[2]) {
#pragma unroll
    for (int i = 0; i < 2; i++) {
        float largest = -INFINITY;
#pragma unroll
        for (int n = 0; n < 8; n++) largest = fmaxf(largest, fmaxf(s[n][2 * i], s[n][2 * i + 1]));
        float m = raise(r.m[i], max_of_quad(largest), scale), base = finite(m), half[2] = {0, 0};
        f[i] = factor(r.m[i], m);
        r.m[i] = m;
#pragma unroll
        for (int n = 0; n < 8; n++) {
            float2 p = half_type<T>::unpair(
                half_type<T>::pair(weight(s[n][2 * i], scale, base), weight(s[n][2 * i + 1], scale, base)));
            half[n / 4] = half[n / 4] + p.x + p.y;
            s[n][2 * i] = p.x, s[n][2 * i + 1] = p.y;
        }
        r.l[i] = __fmaf_rn(r.l[i], f[i], half[0] + half[1]);
    }
    return __any_sync(0xffffffffu, f[0] != 1.0f || f[1] != 1.0f);
}

// Rounded weights as fragments of mma: p[kk] is for positions 16 kk and on.
template <typename T> __device__ __forceinline__ void tile_pack(uint32_t (&p)[4][4], const float (&s)[8][4]) {
#pragma unroll
    for (int n = 0; n < 8; n++)
#pragma unroll
        for (int i = 0; i < 2; i++) p[n / 2][n % 2 * 2 + i] = half_type<T>::pair_here(s[n][2 * i], s[n][2 * i + 1]);
}

// The same of weights that are not rounded yet.
__device__ __forceinline__ void tile_pack_rounding(uint32_t (&p)[4][4], const float (&s)[8][4]) {
#pragma unroll
    for (int n = 0; n < 8; n++)
#pragma unroll
        for (int i = 0; i < 2; i++)
            p[n / 2][n % 2 * 2 + i] = half_type<__nv_bfloat16>::round_here(s[n][2 * i], s[n][2 * i + 1]);
}

// acc += p v; v: DV columns of rows of STRIDE.
template <typename T, int DV, int STRIDE>
__device__ __forceinline__ void tile_values(float (&acc)[DV / 8][4], const uint32_t (&p)[4][4], const T *values) {
    const int lane = threadIdx.x % 32;
    const T *v = values + (lane / 8 % 2 * 8 + lane % 8) * STRIDE + lane / 16 * 8;
#pragma unroll
    for (int kk = 0; kk < 4; kk++)
#pragma unroll
        for (int n = 0; n < DV / 16; n++) {
            uint32_t b[4];
            load_transposed(b, v + kk * 16 * STRIDE + n * 16);
            half_type<T>::mma(acc[2 * n], p[kk], b[0], b[1]);
            half_type<T>::mma(acc[2 * n + 1], p[kk], b[2], b[3]);
        }
}

// Step 4: the split's sums join the total and start again; first those of rows, then those of columns.
__device__ __forceinline__ void end_sums(row_state &r, joint (&j)[2]) {
#pragma unroll
    for (int i = 0; i < 2; i++) {
        j[i] = join_factors(r.total_m[i], r.m[i]);
        r.total_l[i] = join(r.total_l[i], sum_of_quad(r.l[i]), j[i]);
        r.m[i] = -INFINITY;
        r.l[i] = 0;
    }
}
template <int N>
__device__ __forceinline__ void end_values(float (&total)[N][4], float (&acc)[N][4], const joint (&j)[2]) {
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            total[n][i] = join(total[n][i], acc[n][i], j[i / 2]);
            acc[n][i] = 0;
        }
}
template <int N> __device__ __forceinline__ void end_split(float (&total)[N][4], float (&acc)[N][4], row_state &r) {
    joint j[2];
    end_sums(r, j);
    end_values(total, acc, j);
}

// Writes the warp's rows: packed rows `row` and row + 8 of this thread.
template <int DV>
__device__ __forceinline__ void write_rows(const view &a, const mosa_cuda_segment &s, int kv_head, int slice, int row,
                                           const float (&total)[DV / 8][4], const row_state &r) {
#pragma unroll
    for (int i = 0; i < 2; i++) {
        int packed = row + 8 * i, token = packed / a.group, head = kv_head * a.group + packed % a.group;
        if (token >= s.row_count) continue;
        int64_t at_row = s.row_begin + token;
        float *lse = a.lse && slice == 0 && threadIdx.x % 4 == 0 ? a.lse + at_row * a.heads + head : NULL;
        float by = finish(a, head, r.total_m[i], r.total_l[i], lse);
        float *y = a.y + at_row * a.y_stride + (int64_t)head * a.value_width + slice * DV + threadIdx.x % 4 * 2;
#pragma unroll
        for (int n = 0; n < DV / 8; n++)
            *(float2 *)(y + 8 * n) = make_float2(total[n][2 * i] * by, total[n][2 * i + 1] * by);
    }
}

template <typename T, int D, int DV, bool PAGED, int WARPS>
__device__ __forceinline__ void load_stage(T *stage, const view &a, const mosa_cuda_segment &s, const char *keys,
                                           const char *values, int tile, span all) {
    load_tile<T, D, PAGED, TILE, WARPS * 32>(stage, a, s, keys, a.k_row, tile * TILE, all.lo, all.end);
    load_tile<T, DV, PAGED, TILE, WARPS * 32>(stage + TILE * rows_of<T, D>::STRIDE, a, s, values, a.v_row, tile * TILE,
                                              all.lo, all.end);
}

// grid: (tiles of packed rows, late ones first; kv_heads * slices; segments)
template <typename T, int D, int DV, bool PAGED, int WARPS>
__global__ void __launch_bounds__(WARPS * 32) prefill_kernel(const view a) {
    using shape = prefill_shape<T, D, DV, WARPS>;
    extern __shared__ __align__(16) unsigned char memory[];
    T *query = (T *)memory, *stages = query + shape::QUERY;
    const mosa_cuda_segment s = a.segments[blockIdx.z];
    const int packed = s.row_count * a.group, first = (int)(gridDim.x - 1 - blockIdx.x) * WARPS * 16;
    if (packed <= a.small || first >= packed) return;
    const int kv_head = blockIdx.y % a.kv_heads, slice = blockIdx.y / a.kv_heads;
    const char *keys = a.k + kv_head * a.head_stride;
    const char *values = a.v + kv_head * a.v_head_stride + slice * DV * (int)sizeof(T);
    const int last = min(first + WARPS * 16, packed) - 1;
    const span all = {visible(a, s, s.pos_begin + first / a.group).lo, visible(a, s, s.pos_begin + last / a.group).end};
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, row = first + warp * 16 + lane / 4;
    int tile = all.lo / TILE;
    const int tile_end = (all.end + TILE - 1) / TILE;
    load_stage<T, D, DV, PAGED, WARPS>(stages + tile % 2 * shape::STAGE, a, s, keys, values, tile, all);
    copy_commit();
    load_queries<T, D, WARPS * 16, WARPS * 32>(query, a, s, kv_head, first);
    span seen[2];
#pragma unroll
    for (int i = 0; i < 2; i++) // rows beyond the end see everything of zeros: they ask for no masks
        seen[i] = row + 8 * i < packed ? visible(a, s, s.pos_begin + (row + 8 * i) / a.group) : (span){0, 0x7fffffff};
    const bool real = first + warp * 16 < packed;
    __syncthreads();
    const T *q_rows = query + warp * 16 * shape::K_STRIDE;
    uint32_t fragments[shape::KEEP ? D / 16 : 1][4];
    if (shape::KEEP)
#pragma unroll
        for (int kk = 0; kk < D / 16; kk++)
            load_matrix(fragments[shape::KEEP ? kk : 0],
                        q_rows + (lane / 8 % 2 * 8 + lane % 8) * shape::K_STRIDE + lane / 16 * 8 + kk * 16);
    float total[DV / 8][4] = {}, acc[DV / 8][4] = {};
    row_state r = {{-INFINITY, -INFINITY}, {0, 0}, {-INFINITY, -INFINITY}, {0, 0}};
    for (; tile < tile_end; tile++) {
        if (tile + 1 < tile_end)
            load_stage<T, D, DV, PAGED, WARPS>(stages + (tile + 1) % 2 * shape::STAGE, a, s, keys, values, tile + 1,
                                               all);
        copy_commit();
        copy_wait<1>();
        __syncthreads();
        const T *stage = stages + tile % 2 * shape::STAGE;
        const int from = tile * TILE;
        bool some = real && ((seen[0].lo < from + TILE && seen[0].end > from) ||
                             (seen[1].lo < from + TILE && seen[1].end > from));
        if (__any_sync(0xffffffffu, some)) {
            float scores[8][4], f[2];
            uint32_t p[4][4];
            tile_scores<T, D, shape::KEEP>(scores, fragments, q_rows, stage);
            tile_mask(scores, a, seen, from);
            if (tile_soften<T>(scores, r, a.scale, f))
#pragma unroll
                for (int n = 0; n < DV / 8; n++)
#pragma unroll
                    for (int i = 0; i < 4; i++) acc[n][i] *= f[i / 2];
            tile_pack<T>(p, scores);
            tile_values<T, DV, shape::V_STRIDE>(acc, p, stage + TILE * shape::K_STRIDE);
        }
        if (tile % TILES == TILES - 1 || tile + 1 == tile_end) end_split(total, acc, r);
        __syncthreads();
    }
    write_rows<DV>(a, s, kv_head, slice, row, total, r);
}

template <typename T, int D, int DV, bool PAGED, int WARPS>
cudaError_t prefill_run(const view &a, cudaStream_t stream) {
    auto *kernel = prefill_kernel<T, D, DV, PAGED, WARPS>;
    constexpr int bytes = prefill_shape<T, D, DV, WARPS>::BYTES;
    static const cudaError_t set = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    if (set != cudaSuccess) return set;
    dim3 grid((a.max_rows * a.group + WARPS * 16 - 1) / (WARPS * 16), a.kv_heads * (a.value_width / DV), a.n_segments);
    kernel<<<grid, WARPS * 32, bytes, stream>>>(a);
    return cudaGetLastError();
}

} // namespace mosa_attention

#endif
