// Products of bf16 matrices for training on Hopper: both operands by TMA, either of them stored transposed.
//
//   C[M,N] = or += sum over k of A(m,k) B(n,k)
//
// A lies as [M][K] or, TA, as [K][M]; B as [N][K] or, TB, as [K][N]; C is f32 or bf16 rows. So y = x w^T (x, w), the
// gradient of inputs dx = dy w (dy, w transposed) and that of weights dw += dy^T x (both transposed) are one kernel.
// A block works on tiles of 128 x BN of C, one after the other: a producer thread fills a ring of 64 columns of k, two
// warpgroups multiply 64 rows each. CLUSTER = 2: two blocks with neighbouring rows of C each load half of B for both.
// k is summed in ascending order by one accumulator: the result does not depend on the number of blocks.
#ifndef MOSA_BACKEND_CUDA_PLUGIN_MATMUL_WGMMA_CUH
#define MOSA_BACKEND_CUDA_PLUGIN_MATMUL_WGMMA_CUH

#include "backend/cuda/plugin/hopper.cuh"

#include <cuda_bf16.h>

enum matmul_out { MATMUL_F32, MATMUL_ADD_F32, MATMUL_BF16 };

typedef struct matmul_params {
    char *c;
    int64_t c_stride; // bytes
    int32_t m, n, k;
    int32_t tiles_m, tiles_n, group; // tiles of CLUSTER * 128 rows, of BN columns; rows of tiles done together
    int32_t out;                     // enum matmul_out
} matmul_params;

template <int BN_, int STAGES_, int CLUSTER_, bool TA_, bool TB_> struct matmul_shape {
    enum {
        BN = BN_,
        STAGES = STAGES_,
        CLUSTER = CLUSTER_,
        TA = TA_,
        TB = TB_,
        THREADS = 384,
        PART = BN / CLUSTER, // rows of B that a block loads
        BYTES_A = 128 * 128,
        STAGE = BYTES_A + BN * 128,
        SHARED = 1024 + STAGES * STAGE + STAGES * 16
    };
};

__device__ static __forceinline__ void matmul_place(const matmul_params &p, int t, int *m, int *n) {
    int whole = p.group * p.tiles_n, first = t / whole * p.group, rest = t % whole;
    int height = min(p.group, p.tiles_m - first);
    *m = first + rest % height;
    *n = rest / height;
}

// ROWS rows from `row` on, 64 columns of k from `k` on, of an operand: one box, or when transposed a box of 64 k by 64
// rows for each 64 rows. blocks: 0 = this one alone.
template <int ROWS, bool TRANSPOSED>
__device__ static __forceinline__ void matmul_load(uint32_t to, const CUtensorMap *map, uint32_t full, int row, int k,
                                                   uint16_t blocks) {
#pragma unroll
    for (int i = 0; i < (TRANSPOSED ? ROWS / 64 : 1); i++) {
        int x = TRANSPOSED ? row + 64 * i : k, y = TRANSPOSED ? k : row;
        if (blocks)
            hopper_tma_load_multicast(to + i * 8192, map, full, x, y, blocks);
        else
            hopper_tma_load(to + i * 8192, map, full, x, y);
    }
}

// Descriptor of a tile; step: what k16 instruction i adds to it.
template <bool TRANSPOSED> __device__ static __forceinline__ uint64_t matmul_descriptor(uint32_t tile) {
    uint64_t apart = TRANSPOSED ? 8192 >> 4 : 1; // between groups of 64 rows
    return (uint64_t)((tile & 0x3ffff) >> 4) | apart << 16 | (uint64_t)(1024 >> 4) << 32 | (uint64_t)1 << 62;
}
template <bool TRANSPOSED> __device__ static __forceinline__ uint64_t matmul_step(int i) {
    return (uint64_t)(TRANSPOSED ? 128 : 2) * i;
}

template <class S>
__device__ static void matmul_produce(const CUtensorMap *a, const CUtensorMap *b, const matmul_params &p,
                                      uint32_t stages, uint32_t full, uint32_t empty, int rank, int first, int stride) {
    int slot = 0;
    uint32_t phase = 1;
    for (int t = first; t < p.tiles_m * p.tiles_n; t += stride) {
        int m, n;
        matmul_place(p, t, &m, &n);
        for (int k = 0; k < p.k; k += 64) {
            uint32_t to = stages + slot * S::STAGE, bar = full + 8 * slot;
            hopper_barrier_wait(empty + 8 * slot, phase, 1);
            hopper_barrier_expect(bar, S::STAGE);
            matmul_load<128, S::TA>(to, a, bar, (m * S::CLUSTER + rank) * 128, k, 0);
            matmul_load<S::PART, S::TB>(to + S::BYTES_A + rank * S::PART * 128, b, bar, n * S::BN + rank * S::PART, k,
                                        S::CLUSTER > 1 ? (1 << S::CLUSTER) - 1 : 0);
            if (++slot == S::STAGES) slot = 0, phase ^= 1;
        }
    }
}

template <class S> __device__ static __forceinline__ void matmul_release(uint32_t empty, int slot) {
    int thread = threadIdx.x % 128;
    if (S::CLUSTER > 1) {
        if (thread < S::CLUSTER) hopper_barrier_arrive_at(empty + 8 * slot, thread);
    } else if (thread == 0) {
        hopper_barrier_arrive(empty + 8 * slot);
    }
}

// Gives lane c of a quad the columns 8(4i+c)...8(4i+c)+7 of the quad's row as eight bf16; v[j]: of column group 4i+j
// the pair that this lane has.
__device__ static __forceinline__ uint4 matmul_quad_row(const uint32_t v[4], int c) {
    uint32_t r[4];
#pragma unroll
    for (int d = 0; d < 4; d++) { // from lane c ^ d, which sends what lane (itself ^ d) wants
        uint32_t mine = (c ^ d) == 0 ? v[0] : (c ^ d) == 1 ? v[1] : (c ^ d) == 2 ? v[2] : v[3];
        uint32_t got = __shfl_xor_sync(0xffffffffu, mine, d);
#pragma unroll
        for (int s = 0; s < 4; s++)
            if ((c ^ d) == s) r[s] = got;
    }
    return make_uint4(r[0], r[1], r[2], r[3]);
}

// One row of a warp's tile: acc[4j + at], acc[4j + at + 1] are columns column + 8j + 2c, +1.
template <class S>
__device__ static __forceinline__ void matmul_store_row(const matmul_params &p, const float (&acc)[S::BN / 2], int at,
                                                        int row, int column, int c) {
    char *to = p.c + (int64_t)row * p.c_stride;
    if (p.out == MATMUL_BF16) {
#pragma unroll
        for (int i = 0; i < S::BN / 32; i++) {
            uint32_t v[4];
#pragma unroll
            for (int j = 0; j < 4; j++)
                asm("cvt.rn.bf16x2.f32 %0, %1, %2;"
                    : "=r"(v[j])
                    : "f"(acc[16 * i + 4 * j + at + 1]), "f"(acc[16 * i + 4 * j + at]));
            uint4 eight = matmul_quad_row(v, c);
            int col = column + 32 * i + 8 * c;
            if (row >= p.m || col >= p.n) continue;
            *(uint4 *)(to + 2 * col) = eight;
        }
        return;
    }
#pragma unroll
    for (int j = 0; j < S::BN / 8; j++) {
        int col = column + 8 * j + 2 * c;
        if (row >= p.m || col >= p.n) continue;
        float2 *pair = (float2 *)(to + 4 * col), v = make_float2(acc[4 * j + at], acc[4 * j + at + 1]);
        if (p.out == MATMUL_ADD_F32) {
            float2 old = *pair;
            v.x += old.x, v.y += old.y;
        }
        *pair = v;
    }
}

template <class S>
__device__ static __forceinline__ void matmul_consume(const matmul_params &p, uint32_t stages, uint32_t full,
                                                      uint32_t empty, int rank, int first, int stride) {
    int group = threadIdx.x / 128 - 1, warp = threadIdx.x % 128 / 32, lane = threadIdx.x % 32;
    int slot = 0, steps = (p.k + 63) / 64;
    uint32_t phase = 0;
    float acc[S::BN / 2];
    for (int t = first; t < p.tiles_m * p.tiles_n; t += stride) {
        int last = -1;
        for (int i = 0; i < steps; i++) {
            uint32_t tile = stages + slot * S::STAGE; // 64 rows of a are 8192 bytes, transposed or not
            uint64_t a = matmul_descriptor<S::TA>(tile + group * 8192), b = matmul_descriptor<S::TB>(tile + S::BYTES_A);
            hopper_barrier_wait(full + 8 * slot, phase, 2);
            hopper_mma_fence();
#pragma unroll
            for (int j = 0; j < 4; j++)
                hopper_mma_ss<S::BN, S::TA, S::TB>(acc, a + matmul_step<S::TA>(j), b + matmul_step<S::TB>(j), i | j);
            hopper_mma_commit();
            hopper_mma_wait<1>();
            if (last >= 0) matmul_release<S>(empty, last);
            last = slot;
            if (++slot == S::STAGES) slot = 0, phase ^= 1;
        }
        hopper_mma_wait<0>();
        hopper_pin(acc);
        if (last >= 0) matmul_release<S>(empty, last);
        int m, n;
        matmul_place(p, t, &m, &n);
        int row = (m * S::CLUSTER + rank) * 128 + group * 64 + warp * 16 + lane / 4;
        matmul_store_row<S>(p, acc, 0, row, n * S::BN, lane % 4);
        matmul_store_row<S>(p, acc, 2, row + 8, n * S::BN, lane % 4);
        __syncwarp();
    }
}

template <class S>
__global__ void __launch_bounds__(S::THREADS, 1)
    matmul_kernel(const __grid_constant__ CUtensorMap a, const __grid_constant__ CUtensorMap b,
                  const __grid_constant__ matmul_params p) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    extern __shared__ char raw[];
    uint32_t stages = hopper_shared(raw) + (1024 - hopper_shared(raw) % 1024) % 1024;
    uint32_t full = stages + S::STAGES * S::STAGE, empty = full + 8 * S::STAGES;
    int rank = S::CLUSTER > 1 ? (int)hopper_cluster_rank() : 0;
    int first = blockIdx.x / S::CLUSTER, stride = gridDim.x / S::CLUSTER;
    if (threadIdx.x == 0) {
        for (int i = 0; i < S::STAGES; i++) {
            hopper_barrier_init(full + 8 * i, 1);
            hopper_barrier_init(empty + 8 * i, 2 * S::CLUSTER);
        }
        hopper_barrier_init_fence();
    }
    __syncthreads();
    if (S::CLUSTER > 1) hopper_cluster_sync();
    if (threadIdx.x < 128) {
        hopper_registers_down<40>();
        if (threadIdx.x == 0) matmul_produce<S>(&a, &b, p, stages, full, empty, rank, first, stride);
        __syncwarp();
    } else {
        hopper_registers_up<232>();
        matmul_consume<S>(p, stages, full, empty, rank, first, stride);
    }
    if (S::CLUSTER > 1) hopper_cluster_sync(); // a block's barriers live until its neighbour's last arrival
#endif
}

#endif
