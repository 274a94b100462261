// attention_backward.cuh with warpgroup instructions (sm_90a), heads of 64 and 128 columns, no cap: two consumer
// warpgroups own 64 stationary rows each, a third loads tiles of 64 rows through a ring of barriers. Every tile serves
// twice: with columns as the summed side for scores, with rows as the summed side for gradients.
#ifndef MOSA_BACKEND_CUDA_PLUGIN_ATTENTION_BACKWARD_HOPPER_CUH
#define MOSA_BACKEND_CUDA_PLUGIN_ATTENTION_BACKWARD_HOPPER_CUH

#include "backend/cuda/plugin/attention_backward.cuh"
#include "backend/cuda/plugin/attention_hopper.cuh"

namespace mosa_attention {

template <int D> struct back_memory {
    enum {
        MATRIX = D / 64 * HOPPER_SUB,
        STAGES = D == 128 ? 4 : 6,
        ROWS_AT = (4 + 2 * STAGES) * MATRIX, // lse and delta of the stages
        BARRIERS_AT = ROWS_AT + STAGES * 2 * TILE * 4,
        BYTES = BARRIERS_AT + 2 * STAGES * 8 + 1024
    };
    unsigned char *base;
    __device__ unsigned char *fixed(int group, int which) const { return base + (2 * group + which) * MATRIX; }
    __device__ unsigned char *stage(int it, int which) const { return base + (4 + it % STAGES * 2 + which) * MATRIX; }
    __device__ float *rows(int it) const { return (float *)(base + ROWS_AT) + it % STAGES * 2 * TILE; }
    __device__ uint32_t barrier(int kind, int it) const { // 0: stage is here, 1: stage is free
        return shared_address(base + BARRIERS_AT + (kind * STAGES + it % STAGES) * 8);
    }
    static __device__ uint32_t parity(int it) { return it / STAGES & 1; }
};

// Rows [first, first + 64) of n tokens of a head, swizzled; by 128 threads.
template <int D> __device__ __forceinline__ void back_load(unsigned char *to, const bf16 *from, int first, int n) {
    constexpr int CHUNKS = D / 8;
#pragma unroll 4
    for (int k = 0; k < TILE * CHUNKS / 128; k++) {
        int i = k * 128 + (int)threadIdx.x % 128, r = i / CHUNKS, c = i % CHUNKS;
        bool real = first + r < n;
        copy16(to + swizzled(r, c), real ? from + (int64_t)(first + r) * D + c * 8 : from, real);
    }
}

// Announces stages in the order in which they were loaded, LAG behind.
template <int D, typename L> __device__ __forceinline__ void back_produce(back_memory<D> shared, int all, L load) {
    constexpr int LAG = 2;
    for (int it = 0; it < all + LAG; it++) {
        if (it < all) {
            wg_barrier_wait(shared.barrier(1, it), shared.parity(it) ^ 1, 20);
            load(it);
        }
        copy_commit();
        if (it < LAG) continue;
        copy_wait<LAG>();
        wg_fence_shared();
        wg_barrier_arrive(shared.barrier(0, it - LAG));
    }
}

// The stationary operands of a consumer warpgroup.
template <int D>
__device__ __forceinline__ void back_fixed(back_memory<D> shared, int group, const bf16 *one, const bf16 *other,
                                           int first, int n) {
    back_load<D>(shared.fixed(group, 0), one, first, n);
    back_load<D>(shared.fixed(group, 1), other, first, n);
    copy_commit();
    copy_wait<0>();
    wg_fence_shared();
    wg_sync_group(1 + group);
}

template <int D> __device__ __forceinline__ back_memory<D> back_open(unsigned char *memory) {
    back_memory<D> shared = {memory + (1024 - shared_address(memory) % 1024) % 1024};
    if (threadIdx.x == 0) {
        for (int i = 0; i < back_memory<D>::STAGES; i++) {
            wg_barrier_init(shared.barrier(0, i), 128);
            wg_barrier_init(shared.barrier(1, i), 8);
        }
        wg_barrier_init_fence();
    }
    __syncthreads();
    return shared;
}

template <int D> __device__ __forceinline__ void back_release(back_memory<D> shared, int it) {
    __syncwarp();
    if (threadIdx.x % 32 == 0) wg_barrier_arrive(shared.barrier(1, it));
}

// What a block of the kv kernel works on.
struct back_kv_work {
    mosa_cuda_segment s;
    int first, kv_head, tile_begin, tiles, all;
};

template <int D>
__device__ __forceinline__ void back_kv_consume(back_memory<D> shared, const backward &b, const back_kv_work &w,
                                                int group) {
    const view &a = b.a;
    const int n = w.s.row_count, first = w.first + group * TILE, lane = threadIdx.x % 32;
    const int warp = threadIdx.x % 128 / 32, position = first + warp * 16 + lane / 4, column = lane % 4 * 2;
    const int64_t head_at = ((int64_t)w.kv_head * a.rows + w.s.row_begin) * D;
    back_fixed<D>(shared, group, (const bf16 *)a.k + head_at, (const bf16 *)a.v + head_at, first, n);
    span rows = rows_that_see(a, w.s, first);
    if (first >= n) rows.lo = rows.end = 0;
    float dk[D / 8][4] = {}, dv[D / 8][4] = {};
    for (int it = 0; it < w.all; it++) {
        const int row = (w.tile_begin + it % w.tiles) * TILE;
        wg_barrier_wait(shared.barrier(0, it), shared.parity(it), 21);
        if (row + TILE <= rows.lo || row >= rows.end) {
            back_release<D>(shared, it);
            continue;
        }
        const float *lse_of = shared.rows(it), *delta_of = lse_of + TILE;
        float p[8][4], dp[8][4];
        uint32_t p_half[4][4], ds_half[4][4];
        wg_fence_registers();
        hopper_scores<bf16, D>(p, shared.fixed(group, 0), shared.stage(it, 0));
        wg_commit();
        hopper_scores<bf16, D>(dp, shared.fixed(group, 1), shared.stage(it, 1));
        wg_commit();
        wg_wait<1>();
        wg_pin((float(&)[32])p);
        if (!sees_all(a, row, row + TILE, first, first + TILE, n))
#pragma unroll
            for (int k = 0; k < 32; k++) {
                int r = row + k / 4 * 8 + column + k % 2;
                if (r >= n || !sees(a, r, position + k % 4 / 2 * 8)) p[k / 4][k % 4] = -INFINITY;
            }
#pragma unroll
        for (int k = 0; k < 8; k++) {
            float2 lse = *(const float2 *)(lse_of + 8 * k + column);
#pragma unroll
            for (int i = 0; i < 4; i++) p[k][i] = weight(p[k][i], a.scale, i % 2 ? lse.y : lse.x);
        }
        wg_wait<0>();
        wg_pin((float(&)[32])dp);
        tile_pack_rounding(p_half, p);
#pragma unroll
        for (int k = 0; k < 8; k++) {
            float2 delta = *(const float2 *)(delta_of + 8 * k + column);
#pragma unroll
            for (int i = 0; i < 4; i++) p[k][i] *= dp[k][i] - (i % 2 ? delta.y : delta.x);
        }
        tile_pack_rounding(ds_half, p);
        wg_fence_registers();
        hopper_values<bf16, D>(dv, p_half, shared.stage(it, 1));
        hopper_values<bf16, D>(dk, ds_half, shared.stage(it, 0));
        wg_commit();
        wg_wait<0>();
        wg_pin((float(&)[D / 2]) dv);
        wg_pin((float(&)[D / 2]) dk);
        back_release<D>(shared, it);
    }
    write_gradient<D>(b.dk, b.dk_stride, w.s, first + warp * 16, (int64_t)w.kv_head * D, dk, b.size);
    write_gradient<D>(b.dv, b.dv_stride, w.s, first + warp * 16, (int64_t)w.kv_head * D, dv, 1.0f);
}

// grid: (pairs of tiles of positions, kv_heads, segments)
template <int D>
__global__ void __launch_bounds__(HOPPER_THREADS, 1) back_kv_kernel(const __grid_constant__ backward b) {
#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
    extern __shared__ __align__(16) unsigned char memory[];
    const view &a = b.a;
    back_kv_work w;
    w.s = a.segments[blockIdx.z];
    w.s.pos_begin = 0;
    w.first = blockIdx.x * 2 * TILE, w.kv_head = blockIdx.y;
    if (w.first >= w.s.row_count) return;
    span rows = rows_that_see(a, w.s, w.first);
    if (w.first + TILE < w.s.row_count) rows.end = max(rows.end, rows_that_see(a, w.s, w.first + TILE).end);
    w.tile_begin = rows.lo / TILE, w.tiles = (rows.end + TILE - 1) / TILE - w.tile_begin, w.all = w.tiles * a.group;
    const back_memory<D> shared = back_open<D>(memory);
    if (threadIdx.x / 128 > 0) {
        wg_registers_up<232>();
        back_kv_consume<D>(shared, b, w, threadIdx.x / 128 - 1);
        return;
    }
    wg_registers_down<40>();
    back_produce<D>(shared, w.all, [&](int it) {
        const int row = (w.tile_begin + it % w.tiles) * TILE, n = w.s.row_count, i = threadIdx.x % TILE;
        const int64_t at = (int64_t)(w.kv_head * a.group + it / w.tiles) * a.rows + w.s.row_begin;
        back_load<D>(shared.stage(it, 0), b.q + at * D, row, n);
        back_load<D>(shared.stage(it, 1), b.dy + at * D, row, n);
        const float *from = (threadIdx.x < TILE ? b.lse : b.delta) + at;
        copy4(shared.rows(it) + threadIdx.x, from + (row + i < n ? row + i : 0), row + i < n);
    });
#endif
}

// What a block of the q kernel works on.
struct back_q_work {
    mosa_cuda_segment s;
    int first, head, begin, end; // tiles [begin, end)
};

template <int D>
__device__ __forceinline__ void back_q_consume(back_memory<D> shared, const backward &b, const back_q_work &w,
                                               int group) {
    const view &a = b.a;
    const int n = w.s.row_count, first = w.first + group * TILE, lane = threadIdx.x % 32;
    const int warp = threadIdx.x % 128 / 32, row = first + warp * 16 + lane / 4, column = lane % 4 * 2;
    const int64_t at = (int64_t)w.head * a.rows + w.s.row_begin;
    back_fixed<D>(shared, group, b.q + at * D, b.dy + at * D, first, n);
    int begin = w.end, end = w.end;
    if (first < n) {
        begin = visible(a, w.s, first).lo / TILE;
        end = (visible(a, w.s, min(first + TILE, n) - 1).end + TILE - 1) / TILE;
    }
    float lse[2], delta[2], dq[D / 8][4] = {};
#pragma unroll
    for (int i = 0; i < 2; i++)
        lse[i] = b.lse[at + min(row + 8 * i, n - 1)], delta[i] = b.delta[at + min(row + 8 * i, n - 1)];
    for (int it = 0; it < w.end - w.begin; it++) {
        const int tile = w.begin + it;
        wg_barrier_wait(shared.barrier(0, it), shared.parity(it), 22);
        if (tile < begin || tile >= end) {
            back_release<D>(shared, it);
            continue;
        }
        float p[8][4], dp[8][4];
        uint32_t ds_half[4][4];
        wg_fence_registers();
        hopper_scores<bf16, D>(p, shared.fixed(group, 0), shared.stage(it, 0));
        wg_commit();
        hopper_scores<bf16, D>(dp, shared.fixed(group, 1), shared.stage(it, 1));
        wg_commit();
        wg_wait<1>();
        wg_pin((float(&)[32])p);
        if (!sees_all(a, first, first + TILE, tile * TILE, tile * TILE + TILE, n))
#pragma unroll
            for (int k = 0; k < 32; k++) {
                int j = tile * TILE + k / 4 * 8 + column + k % 2;
                if (j >= n || !sees(a, row + k % 4 / 2 * 8, j)) p[k / 4][k % 4] = -INFINITY;
            }
#pragma unroll
        for (int k = 0; k < 32; k++) p[k / 4][k % 4] = weight(p[k / 4][k % 4], a.scale, lse[k % 4 / 2]);
        wg_wait<0>();
        wg_pin((float(&)[32])dp);
#pragma unroll
        for (int k = 0; k < 32; k++) p[k / 4][k % 4] *= dp[k / 4][k % 4] - delta[k % 4 / 2];
        tile_pack_rounding(ds_half, p);
        wg_fence_registers();
        hopper_values<bf16, D>(dq, ds_half, shared.stage(it, 0));
        wg_commit();
        wg_wait<0>();
        wg_pin((float(&)[D / 2]) dq);
        back_release<D>(shared, it);
    }
    write_gradient<D>(b.dq, b.dq_stride, w.s, first + warp * 16, (int64_t)w.head * D, dq, b.size * a.sign);
}

// grid: (pairs of tiles of rows, late ones first; heads; segments)
template <int D>
__global__ void __launch_bounds__(HOPPER_THREADS, 1) back_q_kernel(const __grid_constant__ backward b) {
#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
    extern __shared__ __align__(16) unsigned char memory[];
    const view &a = b.a;
    back_q_work w;
    w.s = a.segments[blockIdx.z];
    w.s.pos_begin = 0;
    w.first = (int)(gridDim.x - 1 - blockIdx.x) * 2 * TILE, w.head = blockIdx.y;
    if (w.first >= w.s.row_count) return;
    const int last = min(w.first + 2 * TILE, w.s.row_count) - 1;
    w.begin = visible(a, w.s, w.first).lo / TILE, w.end = (visible(a, w.s, last).end + TILE - 1) / TILE;
    const back_memory<D> shared = back_open<D>(memory);
    if (threadIdx.x / 128 > 0) {
        wg_registers_up<232>();
        back_q_consume<D>(shared, b, w, threadIdx.x / 128 - 1);
        return;
    }
    wg_registers_down<40>();
    const int64_t at = ((int64_t)(w.head / a.group) * a.rows + w.s.row_begin) * D;
    back_produce<D>(shared, w.end - w.begin, [&](int it) {
        back_load<D>(shared.stage(it, 0), (const bf16 *)a.k + at, (w.begin + it) * TILE, w.s.row_count);
        back_load<D>(shared.stage(it, 1), (const bf16 *)a.v + at, (w.begin + it) * TILE, w.s.row_count);
    });
#endif
}

template <int D> cudaError_t back_hopper_run(const backward &b, cudaStream_t stream) {
    auto *kv = back_kv_kernel<D>;
    auto *q = back_q_kernel<D>;
    constexpr int bytes = back_memory<D>::BYTES;
    static const cudaError_t set_kv = cudaFuncSetAttribute(kv, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    static const cudaError_t set_q = cudaFuncSetAttribute(q, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    if (set_kv != cudaSuccess || set_q != cudaSuccess) return set_kv != cudaSuccess ? set_kv : set_q;
    int pairs = (b.a.max_rows + 2 * TILE - 1) / (2 * TILE);
    kv<<<dim3(pairs, b.a.kv_heads, b.a.n_segments), HOPPER_THREADS, bytes, stream>>>(b);
    q<<<dim3(pairs, b.a.heads, b.a.n_segments), HOPPER_THREADS, bytes, stream>>>(b);
    return cudaGetLastError();
}

} // namespace mosa_attention

#endif
