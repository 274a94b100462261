// Decode attention on sm_90: the arithmetic of attention_decode.cuh, with four warps that do nothing but load. Halves
// of a split (128 positions) of keys and of values go through a ring each, so that copies run on while eight warps
// compute.
#ifndef MOSA_BACKEND_CUDA_PLUGIN_ATTENTION_RING_CUH
#define MOSA_BACKEND_CUDA_PLUGIN_ATTENTION_RING_CUH

#include "backend/cuda/plugin/attention_decode.cuh"
#include "backend/cuda/plugin/attention_wgmma.cuh"

namespace mosa_attention {

enum { HALF = SPLIT / 2, RING_LOADERS = 128, RING_THREADS = DECODE_THREADS + RING_LOADERS };

template <typename T, int D, int DV> struct ring_memory {
    enum {
        STAGES = D <= 96    ? 4
                 : D == 128 ? 3
                            : 2,
        K_STRIDE = rows_of<T, D>::STRIDE,
        V_STRIDE = rows_of<T, DV>::STRIDE
    };
    T keys[STAGES][HALF * K_STRIDE];
    T values[STAGES][HALF * V_STRIDE];
    T query[16 * K_STRIDE];
    T weights[16 * rows_of<T, SPLIT>::STRIDE];
    float largest[2][DECODE_WARPS][16]; // by turns
    float sums[DECODE_WARPS][2][32];
    uint64_t barriers[4][STAGES]; // keys are here, values are here, room for keys, room for values
    __device__ __forceinline__ uint32_t barrier(int kind, int unit) {
        return shared_address(&barriers[kind][unit % STAGES]);
    }
    static __device__ __forceinline__ uint32_t parity(int unit) { return unit / STAGES & 1; }
};

template <typename T, int WIDTH>
__device__ __forceinline__ void ring_load(T *to, const view &a, const cursor &c, const char *base, int64_t row,
                                          int first) {
    constexpr int CHUNKS = WIDTH / 8, ALL = HALF * CHUNKS;
#pragma unroll 8
    for (int i = (int)threadIdx.x - DECODE_THREADS; i < ALL; i += RING_LOADERS) {
        int r = i / CHUNKS, chunk = i % CHUNKS, position = first + r;
        bool real = position >= c.all.lo && position < c.all.end;
        const char *from = real ? at<true>(a, c.segment, base, row, position) + chunk * 16 : base;
        copy16(to + r * rows_of<T, WIDTH>::STRIDE + chunk * 8, from, real);
    }
}

template <typename T, int D, int DV>
__device__ __forceinline__ void ring_produce(ring_memory<T, D, DV> &shared, const view &a, const partials &to, cursor c,
                                             int slices) {
    using memory = ring_memory<T, D, DV>;
    for (int unit = 0; c.item < to.items; advance(c, a, to, slices), unit += 2) {
        const char *keys = a.k + c.kv_head * a.head_stride;
        const char *values = a.v + c.kv_head * a.v_head_stride + c.slice * DV * (int)sizeof(T);
        for (int n = unit; n < unit + 2; n++) {
            wg_barrier_wait(shared.barrier(2, n), memory::parity(n) ^ 1, 10);
            ring_load<T, D>(shared.keys[n % memory::STAGES], a, c, keys, a.k_row, c.split * SPLIT + n % 2 * HALF);
            copy_arrive(shared.barrier(0, n));
        }
        for (int n = unit; n < unit + 2; n++) {
            wg_barrier_wait(shared.barrier(3, n), memory::parity(n) ^ 1, 11);
            ring_load<T, DV>(shared.values[n % memory::STAGES], a, c, values, a.v_row, c.split * SPLIT + n % 2 * HALF);
            copy_arrive(shared.barrier(1, n));
        }
    }
}

template <typename T, int D, int DV>
__device__ __forceinline__ void ring_consume(ring_memory<T, D, DV> &shared, const view &a, const partials &to, cursor c,
                                             int slices) {
    using memory = ring_memory<T, D, DV>;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    load_queries<T, D, 16, DECODE_THREADS>(shared.query, a, c.segment, c.kv_head, c.first);
    wg_sync_threads(1, DECODE_THREADS);
    float total[2][4] = {}, total_m[2] = {-INFINITY, -INFINITY}, total_l[2] = {0, 0};
    for (int unit = 0; c.item < to.items; unit += 2) {
        cursor next = c;
        advance(next, a, to, slices);
        float s[4][4], acc[2][4], m[2], l[2], (*largest)[16] = shared.largest[unit / 2 % 2];
        const int mine = unit + warp / 4; // the half that holds this warp's positions
        wg_barrier_wait(shared.barrier(0, mine), memory::parity(mine), 12);
        part_scores<T, D>(s, shared.query, shared.keys[mine % memory::STAGES] + warp % 4 * PART * memory::K_STRIDE);
        __syncwarp();
        if (lane == 0) wg_barrier_arrive(shared.barrier(2, mine));
        part_mask(s, a, c, largest);
        wg_sync_threads(1, DECODE_THREADS); // scores are seen; weights and sums of the last split are read
        part_soften<T>(s, a.scale, largest, shared.weights, shared.sums);
        if (next.item != c.item && next.item < to.items)
            load_queries<T, D, 16, DECODE_THREADS>(shared.query, a, next.segment, next.kv_head, next.first);
        wg_sync_threads(1, DECODE_THREADS);
        start_split(acc, m, l);
#pragma unroll
        for (int half = 0; half < 2; half++) {
            wg_barrier_wait(shared.barrier(1, unit + half), memory::parity(unit + half), 13);
            tiles_values<T, DV, TILES / 2>(acc, m, l, half * TILES / 2, a.scale, largest, shared.sums, shared.weights,
                                           shared.values[(unit + half) % memory::STAGES]);
            __syncwarp();
            if (lane == 0) wg_barrier_arrive(shared.barrier(3, unit + half));
        }
#pragma unroll
        for (int i = 0; i < 2; i++) l[i] = sum_of_quad(l[i]);
        if (to.workers > 1) {
            write_partial<DV>(a, c, to, acc, m, l);
        } else {
            join_total(total, total_m, total_l, acc, m, l);
            if (next.item != c.item) {
                write_total<DV>(a, c, total, total_m, total_l);
                start_split(total, total_m, total_l);
            }
        }
        c = next;
    }
}

template <typename T, int D, int DV>
__global__ void __launch_bounds__(RING_THREADS, 1) ring_kernel(const view a, const partials to) {
#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
    extern __shared__ __align__(16) unsigned char memory[];
    ring_memory<T, D, DV> &shared = *(ring_memory<T, D, DV> *)memory;
    const int slices = a.value_width / DV;
    launch_next();
    if (threadIdx.x == 0) {
        for (int i = 0; i < ring_memory<T, D, DV>::STAGES; i++) {
            wg_barrier_init(shared.barrier(0, i), RING_LOADERS);
            wg_barrier_init(shared.barrier(1, i), RING_LOADERS);
            wg_barrier_init(shared.barrier(2, i), DECODE_WARPS / 2);
            wg_barrier_init(shared.barrier(3, i), DECODE_WARPS);
        }
        wg_barrier_init_fence();
    }
    cursor c;
    c.item = blockIdx.x;
    open_item(c, a, to, slices);
    __syncthreads();
    if (c.item >= to.items) return;
    if (threadIdx.x >= DECODE_THREADS)
        ring_produce<T, D, DV>(shared, a, to, c, slices);
    else
        ring_consume<T, D, DV>(shared, a, to, c, slices);
#endif
}

} // namespace mosa_attention

#endif
