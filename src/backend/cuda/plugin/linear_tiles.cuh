// LINEAR for many rows: blocks of BM rows of the matrix by BN tokens, both streamed through shared memory by cp.async.
//
// A step is 64 columns. Weights stay packed in shared memory and are decoded into registers by each warp that needs
// them; activations are bf16 rows of 128 bytes, their 16-byte parts permuted by row so that ldmatrix meets no bank
// twice. The chunks of K are added in order in registers (`total`), or, when there are too few blocks to fill the
// device, each chunk has a block of its own (blockIdx.z): the chunks' blocks are a cluster and read each other's sums,
// or, before Hopper, store them for linear_merge_kernel.
#ifndef MOSA_BACKEND_CUDA_PLUGIN_LINEAR_TILES_CUH
#define MOSA_BACKEND_CUDA_PLUGIN_LINEAR_TILES_CUH

#include "backend/cuda/plugin/linear_device.cuh"
#include "backend/cuda/plugin/linear_layout.cuh"

// Tokens [begin, begin + count) of the sorted list use matrix `expert`; expert -1: nothing to do.
typedef struct linear_group {
    int32_t expert, begin, count;
} linear_group;

typedef struct linear_tiles_params {
    const char *packed;
    const char *x;                // bf16 rows, 16-byte aligned
    int64_t x_stride, out_stride; // bytes
    const float *bias;            // or NULL
    float *out;
    bool cluster;   // the chunks of a tile are the blocks of a cluster
    float *partial; // [splits][rows][n_padded], or NULL: chunks are added in the block or cluster
    int32_t rows, n, n_padded, x_columns, units, splits; // x_columns: a multiple of 8 that rows of x have
    // Stacks: blockIdx.y names a group; token i of the sorted list is pair order[i] = row * slots + slot.
    const linear_group *groups;
    const int32_t *order;
    int32_t slots;
    int64_t x_slot_stride, matrix_bytes;
} linear_tiles_params;

template <class Q_, int MT_, int NT_, int WM_, int WN_, int STAGES_> struct linear_shape {
    typedef Q_ Q;
    enum {
        MT = MT_,
        NT = NT_,
        WM = WM_,
        WN = WN_,
        STAGES = STAGES_,
        THREADS = WM * WN * 32,
        TILES = WM * MT,
        BM = TILES * 16,
        BN = WN * NT * 8,
        STEPS = Q::UNIT_K / LINEAR_STEP,
        UNIT = Q::HEAD + STEPS * Q::STEP,
        HEADS = Q::HEAD ? (STAGES - 1 + STEPS - 1) / STEPS + 1 : 0, // units whose heads are alive
        STAGE_A = TILES * Q::STEP,
        STAGE_B = BN * 128,
        SHARED = STAGES * (STAGE_A + STAGE_B) + HEADS * TILES * Q::HEAD + BN * 8
    };
};

// Addresses of a block: where its tiles and its tokens come from, and where its parts of shared memory are.
template <class S> struct linear_block_of {
    const char *tiles;      // unit 0 of the block's first tile
    const char *const *row; // shared: [BN] rows of x
    char *a, *b, *heads;    // shared
    int tokens, x_columns, units;

    __device__ __forceinline__ void issue_a(int step, int slot) const {
        typedef typename S::Q Q;
        enum { PARTS = Q::STEP / 16, HEAD_PARTS = Q::HEAD / 16 };
        int unit = step / S::STEPS, j = step % S::STEPS;
        const char *from = tiles + (int64_t)unit * S::UNIT;
        uint32_t to = linear_shared(a + slot * S::STAGE_A);
#pragma unroll
        for (int i = 0; i < (S::TILES * PARTS + S::THREADS - 1) / S::THREADS; i++) {
            int part = i * S::THREADS + threadIdx.x;
            if ((S::TILES * PARTS) % S::THREADS && part >= S::TILES * PARTS) break;
            linear_copy16(to + part * 16,
                          from + (int64_t)(part / PARTS) * units * S::UNIT + Q::HEAD + j * Q::STEP + part % PARTS * 16);
        }
        if (!Q::HEAD || j) return;
        uint32_t head = linear_shared(heads + unit % (S::HEADS ? S::HEADS : 1) * S::TILES * Q::HEAD);
        for (int part = threadIdx.x; part < S::TILES * HEAD_PARTS; part += S::THREADS)
            linear_copy16(head + part * 16, from + (int64_t)(part / (HEAD_PARTS ? HEAD_PARTS : 1)) * units * S::UNIT +
                                                part % (HEAD_PARTS ? HEAD_PARTS : 1) * 16);
    }
    __device__ __forceinline__ void issue_b(int step, int slot) const {
        uint32_t to = linear_shared(b + slot * S::STAGE_B);
#pragma unroll
        for (int i = 0; i < (S::BN * 8 + S::THREADS - 1) / S::THREADS; i++) {
            int part = i * S::THREADS + threadIdx.x, token = part / 8, col = step * LINEAR_STEP + part % 8 * 8;
            if ((S::BN * 8) % S::THREADS && part >= S::BN * 8) break;
            bool valid = token < tokens && col < x_columns;
            linear_copy16_or_zero(to + token * 128 + ((part % 8) ^ (token % 8)) * 16,
                                  row[token] + (valid ? col * 2 : 0), valid);
        }
    }
};

// One step of a warp: MT tiles by NT * 8 tokens.
template <class S>
__device__ static __forceinline__ void linear_step(float (*acc)[S::NT][4], const char *a, const char *head, uint32_t b,
                                                   int j, int lane) {
    typedef typename S::Q Q;
    Q q[S::MT];
#pragma unroll
    for (int m = 0; m < S::MT; m++) q[m].load(a + m * Q::STEP, head + m * Q::HEAD, j, lane);
    uint32_t x[S::NT][4], w[S::MT][4];
    auto multiply = [&](int half) {
#pragma unroll
        for (int m = 0; m < S::MT; m++)
#pragma unroll
            for (int t = 0; t < S::NT; t++) linear_mma(acc[m][t], w[m], x[t][2 * half], x[t][2 * half + 1]);
    };
    auto tokens = [&](int block) {
#pragma unroll
        for (int t = 0; t < S::NT; t++)
            linear_matrices(x[t], b + t * 8 * 128 + ((block * 4 + lane / 8) ^ (lane % 8)) * 16);
    };
    tokens(0);
#pragma unroll
    for (int m = 0; m < S::MT; m++) q[m].template fragment<0, 0>(w[m]);
    multiply(0);
#pragma unroll
    for (int m = 0; m < S::MT; m++) q[m].template fragment<0, 1>(w[m]);
    multiply(1);
    tokens(1);
#pragma unroll
    for (int m = 0; m < S::MT; m++) q[m].template fragment<1, 0>(w[m]);
    multiply(0);
#pragma unroll
    for (int m = 0; m < S::MT; m++) q[m].template fragment<1, 1>(w[m]);
    multiply(1);
}

// Adds a finished chunk to the totals and begins the next.
template <class S>
__device__ static __forceinline__ void linear_close(float (*acc)[S::NT][4], float (*total)[S::NT][4], bool first) {
#pragma unroll
    for (int m = 0; m < S::MT; m++)
#pragma unroll
        for (int t = 0; t < S::NT; t++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                total[m][t][i] = first ? acc[m][t][i] : total[m][t][i] + acc[m][t][i];
                acc[m][t][i] = 0.0f;
            }
}

// Where token `i` of the block goes: its row of out (from column 0 of its slot), or NULL.
template <class S>
__device__ static __forceinline__ float *linear_out_row(const linear_tiles_params &p, int first, int tokens, int i) {
    if (i >= tokens) return nullptr;
    if (p.partial) return p.partial + ((int64_t)blockIdx.z * p.rows + first + i) * p.n_padded;
    int row = first + i, slot = 0;
    if (p.groups) row = p.order[first + i], slot = row % p.slots, row /= p.slots;
    return (float *)((char *)p.out + row * p.out_stride) + (int64_t)slot * p.n;
}

template <class S>
__device__ static __forceinline__ void linear_store_tiles(const linear_tiles_params &p, float (*sum)[S::NT][4],
                                                          const float *bias, int n0, int t0, int first, int tokens) {
    const int lane = threadIdx.x % 32, limit = p.partial ? p.n_padded : p.n;
#pragma unroll
    for (int t = 0; t < S::NT; t++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
            float *out = linear_out_row<S>(p, first, tokens, t0 + t * 8 + lane % 4 * 2 + e);
            if (!out) continue;
#pragma unroll
            for (int m = 0; m < S::MT; m++)
#pragma unroll
                for (int h = 0; h < 2; h++) {
                    int n = n0 + m * 16 + h * 8 + lane / 4;
                    if (n >= limit) continue;
                    float value = sum[m][t][2 * h + e];
                    out[n] = bias && !p.partial ? value + bias[n] : value;
                }
        }
}

// Rows of x of the block's tokens, in shared memory.
template <class S>
__device__ static __forceinline__ void linear_find_rows(const linear_tiles_params &p, const char **row, int first,
                                                        int tokens) {
    for (int i = threadIdx.x; i < S::BN; i += S::THREADS) {
        int at = first + (i < tokens ? i : 0);
        if (p.groups) {
            int pair = p.order[at];
            row[i] = p.x + pair / p.slots * p.x_stride + pair % p.slots * p.x_slot_stride;
        } else {
            row[i] = p.x + at * p.x_stride;
        }
    }
}

// Sums of this block's chunk to shared memory, [token][BM + 4]; then each block of the cluster adds its share of the
// tile, the chunks in order, and stores it.
template <class S>
__device__ static __forceinline__ void linear_store_cluster(const linear_tiles_params &p, float (*sum)[S::NT][4],
                                                            char *shared, int n0, int t0, int first, int tokens) {
    enum { PITCH = S::BM + 4, QUADS = S::BM / 4 };
    const int lane = threadIdx.x % 32;
    float *mine = (float *)shared;
    __syncthreads();
#pragma unroll
    for (int m = 0; m < S::MT; m++)
#pragma unroll
        for (int t = 0; t < S::NT; t++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                mine[(t0 + t * 8 + lane % 4 * 2 + i % 2) * PITCH + n0 + m * 16 + i / 2 * 8 + lane / 4] = sum[m][t][i];
    linear_cluster_barrier();
    for (int i = blockIdx.z * S::THREADS + threadIdx.x; i < tokens * QUADS; i += gridDim.z * S::THREADS) {
        int token = i / QUADS, n = blockIdx.x * S::BM + i % QUADS * 4;
        if (n >= p.n) continue;
        uint32_t at = linear_shared(mine + token * PITCH + i % QUADS * 4);
        float4 v = linear_cluster_load(at, 0);
        for (int z = 1; z < (int)gridDim.z; z++) {
            float4 w = linear_cluster_load(at, z);
            v.x += w.x, v.y += w.y, v.z += w.z, v.w += w.w;
        }
        float *out = (float *)((char *)p.out + (first + token) * p.out_stride) + n, four[4] = {v.x, v.y, v.z, v.w};
        for (int e = 0; e < 4; e++)
            if (n + e < p.n) out[e] = p.bias ? four[e] + p.bias[n + e] : four[e];
    }
    linear_cluster_barrier(); // nobody leaves while others read
}

template <class S>
__global__ void __launch_bounds__(S::THREADS) linear_tiles_kernel(const __grid_constant__ linear_tiles_params p) {
    typedef typename S::Q Q;
    extern __shared__ __align__(128) char shared[];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, wm = warp % S::WM, wn = warp / S::WM;
    linear_block_of<S> block;
    block.b = shared, block.a = shared + S::STAGES * S::STAGE_B, block.heads = block.a + S::STAGES * S::STAGE_A;
    const char **row = (const char **)(block.heads + S::HEADS * S::TILES * Q::HEAD);
    block.row = row, block.x_columns = p.x_columns, block.units = p.units;
    int first = blockIdx.y * S::BN, tokens = min(p.rows - first, (int)S::BN);
    const char *packed = p.packed;
    const float *bias = p.bias;
    linear_dependents_may_start();
    if (p.groups) {
        linear_wait_for_previous();
        linear_group g = p.groups[blockIdx.y];
        if (g.expert < 0) return;
        first = g.begin, tokens = g.count;
        packed += g.expert * p.matrix_bytes;
        if (bias) bias += (int64_t)g.expert * p.n;
    }
    block.tokens = tokens;
    block.tiles = packed + (int64_t)blockIdx.x * S::TILES * p.units * S::UNIT;
    const bool separate = p.partial || p.cluster;
    const int chunk0 = separate ? blockIdx.z : 0, chunks = separate ? 1 : p.splits;
    const int begin = linear_chunk(p.units, p.splits, chunk0) * S::STEPS;
    const int end = linear_chunk(p.units, p.splits, chunk0 + chunks) * S::STEPS;
    for (int i = 0; i < S::STAGES - 1; i++) // weights, which need no waiting
        if (begin + i < end) block.issue_a(begin + i, i);
    linear_wait_for_previous();
    linear_find_rows<S>(p, row, first, tokens);
    __syncthreads();
    for (int i = 0; i < S::STAGES - 1; i++) {
        if (begin + i < end) block.issue_b(begin + i, i);
        linear_commit();
    }
    float acc[S::MT][S::NT][4] = {}, total[S::MT][S::NT][4] = {};
    int slot = 0, next = S::STAGES - 1, chunk = chunk0;
    int boundary = linear_chunk(p.units, p.splits, chunk + 1) * S::STEPS;
    for (int i = begin; i < end; i++) {
        linear_wait<S::STAGES - 2>();
        __syncthreads();
        if (i + S::STAGES - 1 < end) block.issue_a(i + S::STAGES - 1, next), block.issue_b(i + S::STAGES - 1, next);
        linear_commit();
        int unit = i / S::STEPS;
        linear_step<S>(acc, block.a + slot * S::STAGE_A + wm * S::MT * Q::STEP,
                       block.heads + (unit % (S::HEADS ? S::HEADS : 1) * S::TILES + wm * S::MT) * Q::HEAD,
                       linear_shared(block.b + slot * S::STAGE_B + (wn * S::NT * 8 + lane % 8) * 128), i % S::STEPS,
                       lane);
        if (i + 1 == boundary) {
            linear_close<S>(acc, total, chunk == chunk0);
            boundary = linear_chunk(p.units, p.splits, ++chunk + 1) * S::STEPS;
        }
        if (++slot == S::STAGES) slot = 0;
        if (++next == S::STAGES) next = 0;
    }
    if (p.cluster) return linear_store_cluster<S>(p, total, shared, wm * S::MT * 16, wn * S::NT * 8, first, tokens);
    linear_store_tiles<S>(p, total, bias, blockIdx.x * S::BM + wm * S::MT * 16, wn * S::NT * 8, first, tokens);
}

// out = ((p0 + p1) + ...) + bias, four columns a thread.
__global__ void __launch_bounds__(256) linear_merge_kernel(const __grid_constant__ linear_tiles_params p) {
    linear_dependents_may_start();
    linear_wait_for_previous();
    int n = (blockIdx.x * 256 + threadIdx.x) * 4, row = blockIdx.y;
    if (n >= p.n) return;
    const float *from = p.partial + (int64_t)row * p.n_padded + n;
    float4 sum = *(const float4 *)from;
    for (int s = 1; s < p.splits; s++) {
        float4 v = *(const float4 *)(from + (int64_t)s * p.rows * p.n_padded);
        sum.x += v.x, sum.y += v.y, sum.z += v.z, sum.w += v.w;
    }
    float *out = (float *)((char *)p.out + row * p.out_stride) + n, v[4] = {sum.x, sum.y, sum.z, sum.w};
    for (int i = 0; i < 4; i++)
        if (n + i < p.n) out[i] = p.bias ? v[i] + p.bias[n + i] : v[i];
}

#endif
