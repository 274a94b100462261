// Prefill attention with warpgroup instructions (sm_90a): the arithmetic of attention_prefill.cuh, with wgmma m64n64k16
// and m64nDVk16 in place of mma.sync m16n8k16, which round alike (tests/gpu/mma_bits.cu).
//
// A block owns 128 packed rows of one key/value head: two consumer warpgroups of 64 rows and one that loads tiles of 64
// positions through cp.async, because positions lie in pages. Tiles lie in the 128-byte swizzle: 64 columns wide,
// chunk j of row r at r * 128 + (j ^ r % 8) * 16. Scores of the next tile are under way while the weights of this one
// meet their values, and the exponentials of the next are taken meanwhile.
#ifndef MOSA_BACKEND_CUDA_PLUGIN_ATTENTION_HOPPER_CUH
#define MOSA_BACKEND_CUDA_PLUGIN_ATTENTION_HOPPER_CUH

#include "backend/cuda/plugin/attention_prefill.cuh"
#include "backend/cuda/plugin/attention_wgmma.cuh"

namespace mosa_attention {

enum { HOPPER_ROWS = 128, HOPPER_THREADS = 384, HOPPER_SUB = TILE * 128 }; // bytes of 64 rows of 64 columns

template <int D> struct hopper_shape {
    enum {
        MATRIX = D / 64 * HOPPER_SUB, // bytes of 64 rows of D columns
        STAGES = D == 128 ? 4 : 6,
        BARRIERS = 2 * MATRIX + STAGES * 2 * MATRIX, // offset
        BYTES = BARRIERS + 3 * STAGES * 8 + 1024     // and room to align
    };
};

template <int D> struct hopper_memory {
    unsigned char *base;
    __device__ unsigned char *query(int group) const { return base + group * hopper_shape<D>::MATRIX; }
    __device__ unsigned char *keys(int stage) const { return base + (2 + 2 * stage) * hopper_shape<D>::MATRIX; }
    __device__ unsigned char *values(int stage) const { return keys(stage) + hopper_shape<D>::MATRIX; }
    // 0: keys are here, 1: values are here, 2: stage is free
    __device__ uint32_t barrier(int kind, int stage) const {
        return shared_address(base + hopper_shape<D>::BARRIERS + (kind * hopper_shape<D>::STAGES + stage) * 8);
    }
};

__device__ __forceinline__ int swizzled(int row, int chunk) { // chunk: of 8 columns
    return chunk / 8 * HOPPER_SUB + row * 128 + (chunk % 8 ^ row % 8) * 16;
}

// The block's rows and what they see together.
struct hopper_work {
    mosa_cuda_segment segment;
    int first, kv_head, tile, tile_end;
    span all;
};

template <int D, bool PAGED>
__device__ __forceinline__ void hopper_load(unsigned char *to, const view &a, const hopper_work &w, const char *base,
                                            int64_t row, int tile) {
    constexpr int CHUNKS = D / 8;
#pragma unroll 4 // the loading warpgroup has few registers
    for (int n = 0; n < TILE * CHUNKS / 128; n++) {
        int i = n * 128 + (int)threadIdx.x % 128, r = i / CHUNKS, c = i % CHUNKS, position = tile * TILE + r;
        bool real = position >= w.all.lo && position < w.all.end;
        const char *from = real ? at<PAGED>(a, w.segment, base, row, position) + c * 16 : base;
        copy16(to + swizzled(r, c), from, real);
    }
}

// The loading warpgroup. Copies complete in order; a group is announced when LAG younger ones are under way.
template <int D, bool PAGED>
__device__ __forceinline__ void hopper_produce(const hopper_memory<D> &shared, const view &a, const hopper_work &w) {
    constexpr int STAGES = hopper_shape<D>::STAGES, LAG = 3;
    const char *keys = a.k + w.kv_head * a.head_stride, *values = a.v + w.kv_head * a.v_head_stride;
    const int groups = 2 * (w.tile_end - w.tile);
    for (int n = 0; n < groups + LAG; n++) {
        const int stage = n / 2 % STAGES;
        if (n < groups) {
            if (n % 2 == 0) wg_barrier_wait(shared.barrier(2, stage), (n / 2 / STAGES & 1) ^ 1, 1);
            if (n % 2 == 0)
                hopper_load<D, PAGED>(shared.keys(stage), a, w, keys, a.k_row, w.tile + n / 2);
            else
                hopper_load<D, PAGED>(shared.values(stage), a, w, values, a.v_row, w.tile + n / 2);
        }
        copy_commit();
        if (n < LAG) continue;
        copy_wait<LAG>();
        wg_fence_shared();
        wg_barrier_arrive(shared.barrier((n - LAG) % 2, (n - LAG) / 2 % STAGES));
    }
}

template <typename T, int D>
__device__ __forceinline__ void hopper_queries(unsigned char *to, const view &a, const hopper_work &w, int group) {
    for (int i = threadIdx.x % 128; i < 64 * D / 8; i += 128) {
        int r = i / (D / 8), c = i % (D / 8), packed = w.first + group * 64 + r, token = packed / a.group;
        float x[8] = {};
        if (token < w.segment.row_count) {
            const float *q = a.q + (w.segment.row_begin + token) * a.q_stride +
                             ((int64_t)w.kv_head * a.group + packed % a.group) * D + c * 8;
            *(float4 *)x = *(const float4 *)q, *(float4 *)(x + 4) = *(const float4 *)(q + 4);
        }
        T *p = (T *)(to + swizzled(r, c));
#pragma unroll
        for (int k = 0; k < 8; k++) p[k] = half_type<T>::from(x[k] * a.sign);
    }
}

template <typename T, int D>
__device__ __forceinline__ void hopper_scores(float (&s)[8][4], const unsigned char *query, const unsigned char *keys) {
    uint64_t q = wg_descriptor(query, 16), k = wg_descriptor(keys, 16);
#pragma unroll
    for (int kk = 0; kk < D / 16; kk++) {
        uint64_t step = (kk / 4 * HOPPER_SUB + kk % 4 * 32) / 16;
        wg_scores<T>((float(&)[32])s, q + step, k + step, kk > 0);
    }
}

template <typename T, int D>
__device__ __forceinline__ void hopper_values(float (&acc)[D / 8][4], const uint32_t (&p)[4][4],
                                              const unsigned char *values) {
    uint64_t v = wg_descriptor(values, HOPPER_SUB);
#pragma unroll
    for (int kk = 0; kk < 4; kk++) wg_values<T, D>((float(&)[D / 2]) acc, p[kk], v + kk * (2048 / 16));
}

// One consumer warpgroup: 64 rows.
template <typename T, int D>
__device__ __forceinline__ void hopper_consume(const hopper_memory<D> &shared, const view &a, const hopper_work &w,
                                               int group) {
    constexpr int STAGES = hopper_shape<D>::STAGES;
    const mosa_cuda_segment &s = w.segment;
    const int packed = s.row_count * a.group, first = w.first + group * 64, lane = threadIdx.x % 32;
    const int row = first + threadIdx.x % 128 / 32 * 16 + lane / 4, last = min(first + 63, packed - 1);
    hopper_queries<T, D>(shared.query(group), a, w, group);
    wg_fence_shared();
    wg_sync_group(1 + group);
    int begin = w.tile_end, end = w.tile_end; // tiles that these rows see
    if (first < packed) {
        begin = visible(a, s, s.pos_begin + first / a.group).lo / TILE;
        end = (visible(a, s, s.pos_begin + last / a.group).end + TILE - 1) / TILE;
    }
    span seen[2];
#pragma unroll
    for (int i = 0; i < 2; i++)
        seen[i] = row + 8 * i < packed ? visible(a, s, s.pos_begin + (row + 8 * i) / a.group) : (span){0, 0x7fffffff};
    auto stage_of = [&](int tile) { return (tile - w.tile) % STAGES; };
    auto parity_of = [&](int tile) { return (uint32_t)((tile - w.tile) / STAGES & 1); };
    auto release = [&](int tile) {
        __syncwarp();
        if (lane == 0) wg_barrier_arrive(shared.barrier(2, stage_of(tile)));
    };
    auto pass = [&](int from, int to) { // tiles that others of the block see
        for (int tile = from; tile < to; tile++) {
            wg_barrier_wait(shared.barrier(1, stage_of(tile)), parity_of(tile), 2);
            release(tile);
        }
    };
    pass(w.tile, begin);
    if (begin >= end) return;
    float total[D / 8][4] = {}, acc[D / 8][4] = {}, scores[8][4], f[2];
    row_state r = {{-INFINITY, -INFINITY}, {0, 0}, {-INFINITY, -INFINITY}, {0, 0}};
    uint32_t p[4][4];
    wg_barrier_wait(shared.barrier(0, stage_of(begin)), parity_of(begin), 3);
    wg_fence_registers();
    hopper_scores<T, D>(scores, shared.query(group), shared.keys(stage_of(begin)));
    wg_commit();
    wg_wait<0>();
    tile_mask(scores, a, seen, begin * TILE);
    tile_soften<T>(scores, r, a.scale, f);
    tile_pack<T>(p, scores);
    int tile = begin;
    for (; tile + 1 < end; tile++) {
        const bool ends = tile % TILES == TILES - 1;
        joint j[2];
        wg_barrier_wait(shared.barrier(0, stage_of(tile + 1)), parity_of(tile + 1), 4);
        wg_barrier_wait(shared.barrier(1, stage_of(tile)), parity_of(tile), 5);
        wg_fence_registers();
        hopper_scores<T, D>(scores, shared.query(group), shared.keys(stage_of(tile + 1)));
        wg_commit();
        hopper_values<T, D>(acc, p, shared.values(stage_of(tile)));
        wg_commit();
        if (ends) end_sums(r, j);
        wg_wait<1>();
        wg_pin((float(&)[32])scores);
        tile_mask(scores, a, seen, (tile + 1) * TILE);
        const bool moved = tile_soften<T>(scores, r, a.scale, f);
        wg_wait<0>();
        wg_pin((float(&)[D / 2]) acc);
        release(tile);
        if (ends)
            end_values(total, acc, j);
        else if (moved)
#pragma unroll
            for (int n = 0; n < D / 8; n++)
#pragma unroll
                for (int i = 0; i < 4; i++) acc[n][i] *= f[i / 2];
        tile_pack<T>(p, scores);
    }
    wg_barrier_wait(shared.barrier(1, stage_of(tile)), parity_of(tile), 6);
    wg_fence_registers();
    hopper_values<T, D>(acc, p, shared.values(stage_of(tile)));
    wg_commit();
    wg_wait<0>();
    wg_pin((float(&)[D / 2]) acc);
    release(tile);
    end_split(total, acc, r);
    write_rows<D>(a, s, w.kv_head, 0, row, total, r);
    pass(end, w.tile_end);
}

// grid: (tiles of packed rows, late ones first; kv_heads; segments)
template <typename T, int D, bool PAGED>
__global__ void __launch_bounds__(HOPPER_THREADS, 1) hopper_prefill_kernel(const view a) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL) || !defined(__CUDA_ARCH__)
    extern __shared__ __align__(16) unsigned char memory[];
    const hopper_memory<D> shared = {memory + (1024 - shared_address(memory) % 1024) % 1024};
    hopper_work w;
    w.segment = a.segments[blockIdx.z];
    w.first = (int)(gridDim.x - 1 - blockIdx.x) * HOPPER_ROWS;
    w.kv_head = blockIdx.y;
    const int packed = w.segment.row_count * a.group;
    if (packed <= a.small || w.first >= packed) return;
    const int last = min(w.first + HOPPER_ROWS, packed) - 1;
    w.all.lo = visible(a, w.segment, w.segment.pos_begin + w.first / a.group).lo;
    w.all.end = visible(a, w.segment, w.segment.pos_begin + last / a.group).end;
    w.tile = w.all.lo / TILE, w.tile_end = (w.all.end + TILE - 1) / TILE;
    if (threadIdx.x == 0) {
        for (int i = 0; i < hopper_shape<D>::STAGES; i++) {
            wg_barrier_init(shared.barrier(0, i), 128);
            wg_barrier_init(shared.barrier(1, i), 128);
            wg_barrier_init(shared.barrier(2, i), 8);
        }
        wg_barrier_init_fence();
    }
    __syncthreads();
    if (threadIdx.x / 128 == 0) {
        wg_registers_down<40>();
        hopper_produce<D, PAGED>(shared, a, w);
    } else {
        wg_registers_up<232>();
        hopper_consume<T, D>(shared, a, w, threadIdx.x / 128 - 1);
    }
#endif
}

template <typename T, int D, bool PAGED> cudaError_t hopper_run(const view &a, cudaStream_t stream) {
    auto *kernel = hopper_prefill_kernel<T, D, PAGED>;
    constexpr int bytes = hopper_shape<D>::BYTES;
    static const cudaError_t set = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    if (set != cudaSuccess) return set;
    dim3 grid((a.max_rows * a.group + HOPPER_ROWS - 1) / HOPPER_ROWS, a.kv_heads, a.n_segments);
    kernel<<<grid, HOPPER_THREADS, bytes, stream>>>(a);
    return cudaGetLastError();
}

} // namespace mosa_attention

#endif
