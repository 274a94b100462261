// Attention of few rows: eight warps work on one split of 16 packed rows at once, and blocks stream from split to
// split.
//
// A block walks over items: (segment, key/value head, 16 packed rows, DV value columns, worker). A worker of an item
// takes every workers-th split. With one worker the block keeps the total and writes the rows; with more, each split's
// sums go to scratch and decode_join joins them in order. Keys of a split and values of a split have a buffer each:
// while one is worked on, the other and then the next split's are under way.
#ifndef MOSA_BACKEND_CUDA_PLUGIN_ATTENTION_DECODE_CUH
#define MOSA_BACKEND_CUDA_PLUGIN_ATTENTION_DECODE_CUH

#include "backend/cuda/plugin/attention.cuh"

namespace mosa_attention {

enum { DECODE_WARPS = 8, DECODE_THREADS = 256, PART = SPLIT / DECODE_WARPS }; // positions of a warp: half a tile

// Partial results: of row r of the batch, head h, split i: number (r * heads + h) * splits + i.
struct partials {
    float *values; // [..][value_width]
    float2 *sums;  // [..] m, l
    int splits, workers, row_tiles, items;
};

// Where a block is: a split of an item.
struct cursor {
    int item, split, split_end, segment_number, kv_head, slice, first; // first: of the 16 packed rows
    mosa_cuda_segment segment;
    span all; // what the 16 rows see together
};

// Opens the first item at or after c.item that has work for this block.
__device__ __forceinline__ void open_item(cursor &c, const view &a, const partials &to, int slices) {
    for (; c.item < to.items; c.item += gridDim.x) {
        int n = c.item, worker = n % to.workers;
        n /= to.workers;
        c.slice = n % slices, n /= slices;
        c.first = n % to.row_tiles * 16, n /= to.row_tiles;
        c.kv_head = n % a.kv_heads, n /= a.kv_heads;
        c.segment = a.segments[n];
        int packed = c.segment.row_count * a.group;
        if (packed > a.small || c.first >= packed) continue;
        int last = min(c.first + 15, packed - 1) / a.group;
        c.all.lo = visible(a, c.segment, c.segment.pos_begin + c.first / a.group).lo;
        c.all.end = visible(a, c.segment, c.segment.pos_begin + last).end;
        c.split = c.all.lo / SPLIT + worker;
        c.split_end = (c.all.end + SPLIT - 1) / SPLIT;
        if (c.split < c.split_end) return;
    }
}
__device__ __forceinline__ void advance(cursor &c, const view &a, const partials &to, int slices) {
    c.split += to.workers;
    if (c.split < c.split_end) return;
    c.item += gridDim.x;
    open_item(c, a, to, slices);
}

template <typename T, int D, int DV> struct decode_memory {
    T keys[SPLIT * rows_of<T, D>::STRIDE];
    T values[SPLIT * rows_of<T, DV>::STRIDE];
    T query[16 * rows_of<T, D>::STRIDE];
    T weights[16 * rows_of<T, SPLIT>::STRIDE];
    float largest[DECODE_WARPS][16]; // of the scores of a warp's positions
    float sums[DECODE_WARPS][2][32]; // of its weights, by thread
};

// s = q k^T of the warp's 32 positions, whose keys begin at `keys`.
template <typename T, int D>
__device__ __forceinline__ void part_scores(float (&s)[4][4], const T *query, const T *keys) {
    constexpr int STRIDE = rows_of<T, D>::STRIDE;
    const int lane = threadIdx.x % 32;
    const T *q = query + (lane / 8 % 2 * 8 + lane % 8) * STRIDE + lane / 16 * 8;
    const T *k = keys + (lane / 16 * 8 + lane % 8) * STRIDE + lane / 8 % 2 * 8;
#pragma unroll
    for (int n = 0; n < 4; n++) s[n][0] = s[n][1] = s[n][2] = s[n][3] = 0;
#pragma unroll
    for (int kk = 0; kk < D / 16; kk++) {
        uint32_t f[4];
        load_matrix(f, q + kk * 16);
#pragma unroll
        for (int n = 0; n < 2; n++) {
            uint32_t b[4];
            load_matrix(b, k + n * 16 * STRIDE + kk * 16);
            half_type<T>::mma(s[2 * n], f, b[0], b[1]);
            half_type<T>::mma(s[2 * n + 1], f, b[2], b[3]);
        }
    }
}

// Caps and hides; stores each row's largest score of the part.
__device__ __forceinline__ void part_mask(float (&s)[4][4], const view &a, const cursor &c, float (*largest)[16]) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int column = c.split * SPLIT + warp * PART + lane % 4 * 2;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        int packed = c.first + lane / 4 + 8 * i, token = packed / a.group;
        span seen = {0, 0x7fffffff};
        if (token < c.segment.row_count) seen = visible(a, c.segment, c.segment.pos_begin + token);
        float most = -INFINITY;
#pragma unroll
        for (int n = 0; n < 4; n++)
#pragma unroll
            for (int e = 0; e < 2; e++) {
                float &x = s[n][2 * i + e];
                if (a.cap > 0) x = a.cap * tanh_fast(x * a.cap_in);
                int position = column + 8 * n + e;
                if (position < seen.lo || position >= seen.end) x = -INFINITY;
                most = fmaxf(most, x);
            }
        most = max_of_quad(most);
        if (lane % 4 == 0) largest[warp][lane / 4 + 8 * i] = most;
    }
}

__device__ __forceinline__ float raise_by_tile(float m, const float (*largest)[16], int tile, int row, float scale) {
    return raise(m, fmaxf(largest[2 * tile][row], largest[2 * tile + 1][row]), scale);
}

// p of the warp's positions into shared memory, rounded, and their sums.
template <typename T>
__device__ __forceinline__ void part_soften(float (&s)[4][4], float scale, const float (*largest)[16], T *weights,
                                            float (*sums)[2][32]) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        int row = lane / 4 + 8 * i;
        float m = -INFINITY, sum = 0;
        for (int tile = 0; tile <= warp / 2; tile++) m = raise_by_tile(m, largest, tile, row, scale);
        m = finite(m);
#pragma unroll
        for (int n = 0; n < 4; n++) {
            uint32_t p = half_type<T>::pair(weight(s[n][2 * i], scale, m), weight(s[n][2 * i + 1], scale, m));
            *(uint32_t *)(weights + row * rows_of<T, SPLIT>::STRIDE + warp * PART + n * 8 + lane % 4 * 2) = p;
            sum = add_pair<T>(sum, p);
        }
        sums[warp][i][lane] = sum;
    }
}

// acc, m, l of tiles [tile_begin, tile_begin + COUNT) of the split for the warp's 16 value columns; values: of the
// first of these tiles. Begin with acc, l 0 and m -inf.
template <typename T, int DV, int COUNT>
__device__ __forceinline__ void tiles_values(float (&acc)[2][4], float (&m)[2], float (&l)[2], int tile_begin,
                                             float scale, const float (*largest)[16], const float (*sums)[2][32],
                                             const T *weights, const T *values) {
    constexpr int STRIDE = rows_of<T, DV>::STRIDE, W_STRIDE = rows_of<T, SPLIT>::STRIDE;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const bool mine = warp < DV / 16;
    const T *w = weights + (lane / 8 % 2 * 8 + lane % 8) * W_STRIDE + lane / 16 * 8;
    const T *v = values + (lane / 8 % 2 * 8 + lane % 8) * STRIDE + (mine ? warp : 0) * 16 + lane / 16 * 8;
#pragma unroll
    for (int n = 0; n < COUNT; n++) {
        const int tile = tile_begin + n;
#pragma unroll
        for (int i = 0; i < 2; i++) {
            float to = raise_by_tile(m[i], largest, tile, lane / 4 + 8 * i, scale), f = factor(m[i], to);
            l[i] = __fmaf_rn(l[i], f, sums[2 * tile][i][lane] + sums[2 * tile + 1][i][lane]);
            m[i] = to;
#pragma unroll
            for (int k = 0; k < 2; k++) acc[k][2 * i] *= f, acc[k][2 * i + 1] *= f;
        }
        if (!mine) continue;
#pragma unroll
        for (int kk = 0; kk < 4; kk++) {
            uint32_t f[4], b[4];
            load_matrix(f, w + tile * TILE + kk * 16);
            load_transposed(b, v + (n * TILE + kk * 16) * STRIDE);
            half_type<T>::mma(acc[0], f, b[0], b[1]);
            half_type<T>::mma(acc[1], f, b[2], b[3]);
        }
    }
}

// A thread's rows of a split, from nothing.
__device__ __forceinline__ void start_split(float (&acc)[2][4], float (&m)[2], float (&l)[2]) {
#pragma unroll
    for (int i = 0; i < 4; i++) acc[0][i] = acc[1][i] = 0;
#pragma unroll
    for (int i = 0; i < 2; i++) m[i] = -INFINITY, l[i] = 0;
}

// A split's sums join the total of an item.
__device__ __forceinline__ void join_total(float (&total)[2][4], float (&total_m)[2], float (&total_l)[2],
                                           const float (&acc)[2][4], const float (&m)[2], const float (&l)[2]) {
#pragma unroll
    for (int i = 0; i < 2; i++) {
        joint j = join_factors(total_m[i], m[i]);
        total_l[i] = join(total_l[i], l[i], j);
#pragma unroll
        for (int n = 0; n < 4; n++)
            total[n / 2][2 * i + n % 2] = join(total[n / 2][2 * i + n % 2], acc[n / 2][2 * i + n % 2], j);
    }
}

// One split's sums of one thread's two rows, to scratch.
template <int DV>
__device__ __forceinline__ void write_partial(const view &a, const cursor &c, const partials &to,
                                              const float (&acc)[2][4], const float (&m)[2], const float (&l)[2]) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    if (warp >= DV / 16) return;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        int packed = c.first + lane / 4 + 8 * i, token = packed / a.group;
        if (token >= c.segment.row_count) continue;
        int head = c.kv_head * a.group + packed % a.group;
        int64_t n = ((int64_t)(c.segment.row_begin + token) * a.heads + head) * to.splits + c.split;
        float *values = to.values + n * a.value_width + c.slice * DV + warp * 16 + lane % 4 * 2;
        *(float2 *)values = make_float2(acc[0][2 * i], acc[0][2 * i + 1]);
        *(float2 *)(values + 8) = make_float2(acc[1][2 * i], acc[1][2 * i + 1]);
        if (c.slice == 0 && warp == 0 && lane % 4 == 0) to.sums[n] = make_float2(m[i], l[i]);
    }
}

template <int DV>
__device__ __forceinline__ void write_total(const view &a, const cursor &c, const float (&total)[2][4],
                                            const float (&m)[2], const float (&l)[2]) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    if (warp >= DV / 16) return;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        int packed = c.first + lane / 4 + 8 * i, token = packed / a.group;
        if (token >= c.segment.row_count) continue;
        int head = c.kv_head * a.group + packed % a.group;
        int64_t row = c.segment.row_begin + token;
        bool first = warp == 0 && c.slice == 0 && lane % 4 == 0;
        float by = finish(a, head, m[i], l[i], a.lse && first ? a.lse + row * a.heads + head : NULL);
        float *y = a.y + row * a.y_stride + (int64_t)head * a.value_width + c.slice * DV + warp * 16 + lane % 4 * 2;
        *(float2 *)y = make_float2(total[0][2 * i] * by, total[0][2 * i + 1] * by);
        *(float2 *)(y + 8) = make_float2(total[1][2 * i] * by, total[1][2 * i + 1] * by);
    }
}

template <typename T, int D, int DV> __device__ __forceinline__ void load_keys(T *to, const view &a, const cursor &c) {
    load_tile<T, D, true, SPLIT, DECODE_THREADS>(to, a, c.segment, a.k + c.kv_head * a.head_stride, a.k_row,
                                                 c.split * SPLIT, c.all.lo, c.all.end);
}
template <typename T, int D, int DV>
__device__ __forceinline__ void load_values(T *to, const view &a, const cursor &c) {
    load_tile<T, DV, true, SPLIT, DECODE_THREADS>(to, a, c.segment,
                                                  a.v + c.kv_head * a.v_head_stride + c.slice * DV * (int)sizeof(T),
                                                  a.v_row, c.split * SPLIT, c.all.lo, c.all.end);
}

template <typename T, int D, int DV>
__global__ void __launch_bounds__(DECODE_THREADS) decode_kernel(const view a, const partials to) {
    extern __shared__ __align__(16) unsigned char memory[];
    decode_memory<T, D, DV> &shared = *(decode_memory<T, D, DV> *)memory;
    const int slices = a.value_width / DV;
    cursor c;
    c.item = blockIdx.x;
    open_item(c, a, to, slices);
    if (c.item >= to.items) return;
    load_keys<T, D, DV>(shared.keys, a, c);
    copy_commit();
    load_values<T, D, DV>(shared.values, a, c);
    copy_commit();
    load_queries<T, D, 16, DECODE_THREADS>(shared.query, a, c.segment, c.kv_head, c.first);
    float total[2][4] = {}, total_m[2] = {-INFINITY, -INFINITY}, total_l[2] = {0, 0};
    while (c.item < to.items) {
        cursor next = c;
        advance(next, a, to, slices);
        float s[4][4], acc[2][4], m[2], l[2];
        copy_wait<1>(); // keys are here
        __syncthreads();
        part_scores<T, D>(s, shared.query, shared.keys + threadIdx.x / 32 * PART * rows_of<T, D>::STRIDE);
        part_mask(s, a, c, shared.largest);
        __syncthreads(); // keys and queries are read
        if (next.item < to.items) load_keys<T, D, DV>(shared.keys, a, next);
        copy_commit();
        part_soften<T>(s, a.scale, shared.largest, shared.weights, shared.sums);
        if (next.item != c.item && next.item < to.items)
            load_queries<T, D, 16, DECODE_THREADS>(shared.query, a, next.segment, next.kv_head, next.first);
        copy_wait<1>(); // values are here
        __syncthreads();
        start_split(acc, m, l);
        tiles_values<T, DV, TILES>(acc, m, l, 0, a.scale, shared.largest, shared.sums, shared.weights, shared.values);
#pragma unroll
        for (int i = 0; i < 2; i++) l[i] = sum_of_quad(l[i]);
        __syncthreads(); // values are read
        if (next.item < to.items) load_values<T, D, DV>(shared.values, a, next);
        copy_commit();
        if (to.workers > 1) {
            write_partial<DV>(a, c, to, acc, m, l);
        } else {
            join_total(total, total_m, total_l, acc, m, l);
            if (next.item != c.item) {
                write_total<DV>(a, c, total, total_m, total_l);
#pragma unroll
                for (int i = 0; i < 4; i++) total[0][i] = total[1][i] = 0;
                total_m[0] = total_m[1] = -INFINITY, total_l[0] = total_l[1] = 0;
            }
        }
        c = next;
    }
}

} // namespace mosa_attention

#endif
