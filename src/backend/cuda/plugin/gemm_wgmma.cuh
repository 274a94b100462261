// LINEAR for many rows on Hopper: wgmma with the packed weights as A, in registers, and bf16 tokens as B, by TMA.
//
// A block works on tiles of 128 rows of the matrix by BN tokens, one after the other (persistent; gemm_place says in
// which order). Warpgroup 0 produces: one thread loads tokens, 64 columns a step, into a ring in shared memory; with
// CLUSTER = 2 or 4 blocks with neighbouring rows of the matrix each load a part of the tokens for all of them.
// Warpgroups 1 and 2 consume: each multiplies its 64 rows by the BN tokens. A warp reads the 16 rows of its own packed
// tile straight from global memory, a step ahead, and decodes them while the instructions of the step before run.
//
// Order of sums: linear_layout.cuh, the same as with few rows: each chunk of K begins at zero; the chunks are added in
// order in `totals`, a part of shared memory where each thread sees its own sums alone, then the bias. When tiles are
// few, each chunk is a tile of its own instead (`separate`): its sums go to a plane of partial sums, which
// gemm_merge_kernel adds in the same order. A finished tile is laid out in `totals` and stored by TMA while the next
// one is multiplied.
#ifndef MOSA_BACKEND_CUDA_PLUGIN_GEMM_WGMMA_CUH
#define MOSA_BACKEND_CUDA_PLUGIN_GEMM_WGMMA_CUH

#include "backend/cuda/plugin/gemm_wgmma.h"
#include "backend/cuda/plugin/hopper.cuh"
#include "backend/cuda/plugin/linear_layout.cuh"

typedef struct gemm_params {
    const char *packed;
    const float *bias; // or NULL
    float *out;
    int64_t out_stride; // bytes
    int32_t rows, n, units, splits;
    int32_t tiles_m, tiles_n; // tiles of CLUSTER * 128 rows of the matrix, of BN tokens
    int32_t tiles;            // tiles_m * tiles_n, times splits when separate
    int32_t separate;         // each chunk is a tile: store without bias
    int32_t by_tma;           // the map of the output may be used
    int32_t group;            // tiles_m that are worked on together, for L2
    int32_t lag;              // cycles that warpgroup 2 begins later, so that the two do not merge at once
    // Stacks: tile column i is groups[i]; rows of x and `order` are the sorted pairs.
    const mosa_cuda_gemm_group *groups; // or NULL
    const int32_t *order;
    int32_t slots;
    int64_t matrix_bytes;
} gemm_params;

template <class Q_, int BN_, int STAGES_, int CLUSTER_> struct gemm_shape {
    typedef Q_ Q;
    enum {
        BN = BN_,
        STAGES = STAGES_,
        CLUSTER = CLUSTER_,
        PLAIN = (int)Q::KIND == MOSA_LINEAR_BF16, // packed weights are operands as they are
        THREADS = 384,
        STEPS = Q::UNIT_K / LINEAR_STEP,
        UNIT = Q::HEAD + STEPS * Q::STEP,
        STAGE = BN * 128,
        TOTALS = 128 * BN * 4,
        SHARED = 1024 + STAGES * STAGE + TOTALS + STAGES * 16
    };
};

// Tile t of the order that L2 likes: groups of `group` tile rows, in each all of them with the first tokens, then with
// the next. Chunks follow one another.
__device__ static __forceinline__ void gemm_place(const gemm_params &p, int t, int *m, int *n) {
    int all = p.tiles_m * p.tiles_n, whole = p.group * p.tiles_n;
    t %= all;
    int first = t / whole * p.group, rest = t % whole;
    int height = min(p.group, p.tiles_m - first);
    *m = first + rest % height;
    *n = rest / height;
}

// The first tile from t on, in steps of stride, that has work; p.tiles or more when none has.
__device__ static __forceinline__ int gemm_next(const gemm_params &p, int t, int stride) {
    if (!p.groups) return t;
    for (int m, n; t < p.tiles; t += stride) {
        gemm_place(p, t, &m, &n);
        if (p.groups[n].expert >= 0) break;
    }
    return t;
}

// Rows of the matrix [128 * CLUSTER * m, ...), tokens [token, token + count) of x, matrix `expert` of a stack, units
// [begin, end).
typedef struct gemm_tile {
    int m, token, count, expert, chunk, begin, end;
} gemm_tile;

template <class S> __device__ static __forceinline__ gemm_tile gemm_tile_of(const gemm_params &p, int t) {
    int m, n;
    gemm_place(p, t, &m, &n);
    gemm_tile tile = {m, n * S::BN, min((int)S::BN, p.rows - n * S::BN), 0, 0, 0, p.units};
    if (p.separate) {
        tile.chunk = t / (p.tiles_m * p.tiles_n);
        tile.begin = linear_chunk(p.units, p.splits, tile.chunk);
        tile.end = linear_chunk(p.units, p.splits, tile.chunk + 1);
    }
    if (p.groups) {
        mosa_cuda_gemm_group g = p.groups[n];
        tile.token = g.begin, tile.count = g.count, tile.expert = g.expert;
    }
    return tile;
}

// What a warp reads, step by step, over all tiles of its block. Beyond the last one it stays on valid addresses.
template <class S> struct gemm_walk {
    const char *unit;           // the current one
    int tile, left, j, w, rank; // left: units of the tile, with this one

    __device__ __forceinline__ void enter(const gemm_params &p) {
        gemm_tile at = gemm_tile_of<S>(p, tile);
        int last = (p.n + LINEAR_ROWS - 1) / LINEAR_ROWS - 1;
        int m = min(at.m * S::CLUSTER + rank, last);
        unit = p.packed + at.expert * p.matrix_bytes +
               (((int64_t)m * (LINEAR_ROWS / LINEAR_TILE) + w) * p.units + at.begin) * S::UNIT;
        left = at.end - at.begin;
    }
    __device__ __forceinline__ void load(typename S::Q &q, int lane) const {
        q.load(unit + S::Q::HEAD + j * S::Q::STEP, unit, j, lane);
    }
    __device__ __forceinline__ void next(const gemm_params &p, int stride) {
        if (++j < S::STEPS) return;
        j = 0, unit += S::UNIT;
        if (--left) return;
        tile = gemm_next(p, tile + stride, stride);
        if (tile < p.tiles)
            enter(p);
        else
            unit -= S::UNIT, left = 1;
    }
};

template <class Q> __device__ static __forceinline__ void gemm_decode(uint32_t (&f)[4][4], const Q &q) {
    q.template fragment<0, 0>(f[0]);
    q.template fragment<0, 1>(f[1]);
    q.template fragment<1, 0>(f[2]);
    q.template fragment<1, 1>(f[3]);
}

// Where the parts of shared memory are, as shared addresses.
template <class S> struct gemm_shared {
    uint32_t stages, full, empty;
    char *totals;
    __device__ __forceinline__ explicit gemm_shared(char *raw) {
        raw += (1024 - hopper_shared(raw) % 1024) % 1024;
        stages = hopper_shared(raw);
        totals = raw + S::STAGES * S::STAGE;
        full = stages + S::STAGES * S::STAGE + S::TOTALS;
        empty = full + 8 * S::STAGES;
    }
};

template <class S>
__device__ static void gemm_produce(const CUtensorMap *x, const gemm_params &p, const gemm_shared<S> &s, int rank,
                                    int first, int stride) {
    enum { PART = S::BN / S::CLUSTER };
    int slot = 0;
    uint32_t phase = 1;
    for (int t = first; t < p.tiles; t = gemm_next(p, t + stride, stride)) {
        gemm_tile tile = gemm_tile_of<S>(p, t);
        int token = tile.token + rank * PART;
        for (int i = tile.begin * S::STEPS; i < tile.end * S::STEPS; i++) {
            uint32_t full = s.full + 8 * slot, to = s.stages + slot * S::STAGE + rank * PART * 128;
            hopper_barrier_wait(s.empty + 8 * slot, phase, 1);
            hopper_barrier_expect(full, S::STAGE);
            if (S::CLUSTER > 1)
                hopper_tma_load_multicast(to, x, full, i * LINEAR_STEP, token, (1 << S::CLUSTER) - 1);
            else
                hopper_tma_load(to, x, full, i * LINEAR_STEP, token);
            if (++slot == S::STAGES) slot = 0, phase ^= 1;
        }
    }
}

// One consumer warpgroup.
template <class S> struct gemm_consumer {
    typedef typename S::Q Q;
    const gemm_params &p;
    const gemm_shared<S> &s;
    float (&acc)[S::BN / 2];
    uint32_t (&f)[2][4][4]; // operands of this step and of the next
    Q (&q)[2];              // packed weights, unless plain: of the next step, then of the one after it
    gemm_walk<S> walk;
    char *totals; // of this warpgroup, BN * 256 bytes
    int stride, group, thread, slot;
    uint32_t phase;

    __device__ __forceinline__ void release(int which) const {
        if (S::CLUSTER > 1) {
            if (thread < S::CLUSTER) hopper_barrier_arrive_at(s.empty + 8 * which, thread);
        } else if (thread == 0) {
            hopper_barrier_arrive(s.empty + 8 * which);
        }
    }

    // Operands of the step after this one: those of plain weights are loaded while this step runs, others, loaded two
    // steps earlier, are decoded meanwhile.
    template <int P> __device__ __forceinline__ void fetch() {
        if (S::PLAIN) walk.load(q[P ^ 1], thread % 32);
        gemm_decode(f[P ^ 1], q[P ^ 1]);
        if (!S::PLAIN) walk.load(q[P ^ 1], thread % 32);
        walk.next(p, stride);
    }

    // Loads what the first step wants.
    __device__ __forceinline__ void begin() {
        walk.enter(p);
        walk.load(q[0], thread % 32);
        gemm_decode(f[0], q[0]);
        walk.next(p, stride);
        if (S::PLAIN) return;
        walk.load(q[1], thread % 32);
        walk.next(p, stride);
        walk.load(q[0], thread % 32);
        walk.next(p, stride);
    }

    template <int P> __device__ __forceinline__ void step(int accumulate) {
        uint64_t b = hopper_descriptor(s.stages + slot * S::STAGE);
        hopper_barrier_wait(s.full + 8 * slot, phase, 2);
        hopper_mma_fence();
#pragma unroll
        for (int i = 0; i < 4; i++) hopper_mma_rs<S::BN>(acc, f[P][i], b + 2 * i, i ? 1 : accumulate);
        hopper_mma_commit();
        fetch<P>();
        hopper_mma_wait<0>();
        release(slot);
        if (++slot == S::STAGES) slot = 0, phase ^= 1;
    }

    // The steps of a chunk; f[0] is ready before and after.
    __device__ __forceinline__ void chunk(int steps) {
        int i = 0;
        for (; i + 1 < steps; i += 2) {
            step<0>(i);
            step<1>(1);
        }
        if (i < steps) step<0>(i);
        hopper_pin(acc);
        if (i == steps) return;
#pragma unroll
        for (int k = 0; k < 16; k++) f[0][k / 4][k % 4] = f[1][k / 4][k % 4];
        Q other = q[0];
        q[0] = q[1], q[1] = other;
    }

    // Until the stores of the tile before have read `totals`.
    __device__ __forceinline__ void drain() const {
        if (thread == 0) hopper_tma_store_wait_read();
        hopper_warpgroup_sync(1 + group);
    }

    // Adds the totals to the sums of a chunk, in place, and keeps them unless it was the last one.
    __device__ __forceinline__ void merge(bool begin, bool end) {
        float4 *mine = (float4 *)totals + thread;
        if (begin) {
            drain();
        } else {
#pragma unroll
            for (int i = 0; i < S::BN / 8; i++) {
                float4 t = mine[i * 128];
                acc[4 * i] += t.x, acc[4 * i + 1] += t.y, acc[4 * i + 2] += t.z, acc[4 * i + 3] += t.w;
            }
        }
        if (!end)
#pragma unroll
            for (int i = 0; i < S::BN / 8; i++)
                mine[i * 128] = make_float4(acc[4 * i], acc[4 * i + 1], acc[4 * i + 2], acc[4 * i + 3]);
    }

    __device__ __forceinline__ void add_bias(int row, const float *bias) const {
        float top = row < p.n ? bias[row] : 0.0f, low = row + 8 < p.n ? bias[row + 8] : 0.0f;
#pragma unroll
        for (int i = 0; i < S::BN / 8; i++)
            acc[4 * i] += top, acc[4 * i + 1] += top, acc[4 * i + 2] += low, acc[4 * i + 3] += low;
    }

    // Lays the tile out as two boxes of 32 rows of the matrix by BN tokens, in the swizzle, and has them stored.
    __device__ __forceinline__ void store_by_tma(const CUtensorMap *map, int row, int token, int plane) const {
        int w = thread / 32, g = thread % 32 / 4, c = thread % 4, chunk = w % 2 * 4 + g / 4;
        char *box = totals + w / 2 * S::BN * 128 + 2 * c * 128 + g % 4 * 4;
        float *at[2][2]; // [row, row + 8][even, odd token]
#pragma unroll
        for (int h = 0; h < 2; h++)
#pragma unroll
            for (int e = 0; e < 2; e++) at[h][e] = (float *)(box + e * 128 + (((chunk + 2 * h) ^ (2 * c + e)) * 16));
        drain();
#pragma unroll
        for (int i = 0; i < S::BN / 8; i++) {
            at[0][0][256 * i] = acc[4 * i], at[0][1][256 * i] = acc[4 * i + 1];
            at[1][0][256 * i] = acc[4 * i + 2], at[1][1][256 * i] = acc[4 * i + 3];
        }
        hopper_tma_store_fence();
        hopper_warpgroup_sync(1 + group);
        if (thread == 0) {
            hopper_tma_store(hopper_shared(totals), map, row, token, plane);
            hopper_tma_store(hopper_shared(totals) + S::BN * 128, map, row + 32, token, plane);
            hopper_tma_store_commit();
        }
    }

    // The same for rows that TMA cannot address. row: of the matrix, of acc[0]; token: of x, of acc[0].
    __device__ __forceinline__ void store(int row, int token) const {
        bool top = row < p.n, low = row + 8 < p.n;
        char *even = (char *)(p.out + row) + token * p.out_stride, *odd = even + p.out_stride;
#pragma unroll
        for (int i = 0; i < S::BN / 8; i++) {
            if (token + 8 * i < p.rows) {
                if (top) ((float *)even)[0] = acc[4 * i];
                if (low) ((float *)even)[8] = acc[4 * i + 2];
            }
            if (token + 8 * i + 1 < p.rows) {
                if (top) ((float *)odd)[0] = acc[4 * i + 1];
                if (low) ((float *)odd)[8] = acc[4 * i + 3];
            }
            even += 8 * p.out_stride, odd += 8 * p.out_stride;
        }
    }

    // The same for a stack: to the row and slot that a pair came from. left: pairs of the tile from this thread's
    // first.
    __device__ __forceinline__ void store_pairs(int row, const int32_t *order, int left) const {
#pragma unroll
        for (int i = 0; i < S::BN / 8; i++)
#pragma unroll
            for (int e = 0; e < 2; e++) {
                if (8 * i + e >= left) continue;
                int pair = order[8 * i + e];
                float *to = (float *)((char *)p.out + pair / p.slots * p.out_stride) + pair % p.slots * p.n + row;
                if (row < p.n) to[0] = acc[4 * i + e];
                if (row + 8 < p.n) to[8] = acc[4 * i + 2 + e];
            }
    }
};

template <class S>
__device__ static __forceinline__ void gemm_consume(const gemm_params &p, const CUtensorMap *out_map,
                                                    const gemm_shared<S> &s, int rank, int first, int stride) {
    int group = threadIdx.x / 128 - 1, thread = threadIdx.x % 128, lane = thread % 32;
    float acc[S::BN / 2];
    uint32_t f[2][4][4];
    typename S::Q q[2];
    gemm_walk<S> walk = {nullptr, first, 0, 0, 4 * group + thread / 32, rank};
    gemm_consumer<S> c = {p, s, acc, f, q, walk, s.totals + group * S::BN * 256, stride, group, thread, 0, 0};
    if (first >= p.tiles) return;
    if (group)
        for (long long begin = clock64(); clock64() - begin < p.lag;) {
        }
    c.begin();
    for (int t = first; t < p.tiles; t = gemm_next(p, t + stride, stride)) {
        gemm_tile tile = gemm_tile_of<S>(p, t);
        int chunks = p.separate ? 1 : p.splits, begin = tile.begin;
        for (int i = 0; i < chunks; i++) {
            int end = linear_chunk(p.units, p.splits, tile.chunk + i + 1);
            c.chunk((end - begin) * S::STEPS);
            if (chunks > 1) c.merge(i == 0, i == chunks - 1);
            begin = end;
        }
        int first_row = (tile.m * S::CLUSTER + rank) * LINEAR_ROWS + 64 * group, column = lane % 4 * 2;
        int row = first_row + thread / 32 * LINEAR_TILE + lane / 4;
        if (p.bias && !p.separate) c.add_bias(row, p.bias + (int64_t)tile.expert * p.n);
        if (p.groups)
            c.store_pairs(row, p.order + tile.token + column, tile.count - column);
        else if (p.by_tma)
            c.store_by_tma(out_map, first_row, tile.token, tile.chunk);
        else
            c.store(row, tile.token + column);
        __syncwarp();
    }
    if (thread == 0) hopper_tma_store_wait();
}

template <class S>
__global__ void __launch_bounds__(S::THREADS, 1)
    gemm_kernel(const __grid_constant__ CUtensorMap x, const __grid_constant__ CUtensorMap out,
                const __grid_constant__ gemm_params p) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    extern __shared__ char raw[];
    gemm_shared<S> s(raw);
    int rank = S::CLUSTER > 1 ? (int)hopper_cluster_rank() : 0;
    int stride = gridDim.x / S::CLUSTER, first = gemm_next(p, blockIdx.x / S::CLUSTER, stride);
    if (threadIdx.x == 0) {
        hopper_tma_prefetch_map(&x);
        if (p.by_tma) hopper_tma_prefetch_map(&out);
        for (int i = 0; i < S::STAGES; i++) {
            hopper_barrier_init(s.full + 8 * i, 1);
            hopper_barrier_init(s.empty + 8 * i, 2 * S::CLUSTER);
        }
        hopper_barrier_init_fence();
    }
    __syncthreads();
    if (S::CLUSTER > 1) hopper_cluster_sync();
    if (threadIdx.x < 128) {
        hopper_registers_down<40>();
        if (threadIdx.x == 0) gemm_produce<S>(&x, p, s, rank, first, stride);
        __syncwarp();
    } else {
        hopper_registers_up<232>();
        gemm_consume<S>(p, &out, s, rank, first, stride);
    }
    if (S::CLUSTER > 1) hopper_cluster_sync(); // a block's barriers live until its neighbour's last arrival
#endif
}

// out = ((plane 0 + plane 1) + ...) + bias: four columns a thread, blockIdx.y = row.
typedef struct gemm_merge_params {
    const float *partial; // [splits][rows][pitch]
    const float *bias;
    float *out;
    int64_t out_stride; // bytes
    int32_t rows, n, pitch, splits;
} gemm_merge_params;

static __global__ void __launch_bounds__(256) gemm_merge_kernel(const __grid_constant__ gemm_merge_params p) {
    int n = (blockIdx.x * 256 + threadIdx.x) * 4, row = blockIdx.y;
    if (n >= p.n) return;
    const float *from = p.partial + (int64_t)row * p.pitch + n;
    float4 sum = *(const float4 *)from;
    for (int s = 1; s < p.splits; s++) {
        float4 v = *(const float4 *)(from + (int64_t)s * p.rows * p.pitch);
        sum.x += v.x, sum.y += v.y, sum.z += v.z, sum.w += v.w;
    }
    float *out = (float *)((char *)p.out + row * p.out_stride) + n, v[4] = {sum.x, sum.y, sum.z, sum.w};
#pragma unroll
    for (int i = 0; i < 4; i++)
        if (n + i < p.n) out[i] = p.bias ? v[i] + p.bias[n + i] : v[i];
}

#endif
