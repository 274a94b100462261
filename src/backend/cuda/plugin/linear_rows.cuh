// LINEAR for few rows: bound by the reading of weights.
//
// A block has 8 warps and works on 8 / splits tiles of 16 rows at a time, one warp for each tile and chunk of K, so
// that the chunks of a tile meet in one block and are added in order through shared memory. A warp has a ring of units
// of its own, filled by cp.async; the ring runs on into the warp's next tile, so reading never pauses. The activations
// lie whole in shared memory as bf16 rows. The ring is filled before the kernel that makes the activations ends.
// Matrices of one type that read the same rows (queries, keys, values) may share a launch: jobs of one part follow
// those of the part before.
#ifndef MOSA_BACKEND_CUDA_PLUGIN_LINEAR_ROWS_CUH
#define MOSA_BACKEND_CUDA_PLUGIN_LINEAR_ROWS_CUH

#include "backend/cuda/plugin/linear_device.cuh"
#include "backend/cuda/plugin/linear_layout.cuh"

enum { LINEAR_WARPS = 8, LINEAR_THREADS = 256, LINEAR_PARTS = 4 };

// A job: 8 / splits tiles.
typedef struct linear_part {
    const char *packed;
    const float *bias; // or NULL
    float *out;
    int64_t out_stride;              // bytes
    int32_t n, split_bits, jobs_end; // splits = 1 << split_bits; jobs of this part and those before
} linear_part;

typedef struct linear_rows_params {
    linear_part part[LINEAR_PARTS];
    const void *x;    // f32 or bf16 rows
    int64_t x_stride; // bytes
    int32_t rows, k, units, parts, jobs;
    int32_t pitch;       // bytes of a row of activations in shared memory
    bool x_bf16, x_wide; // x_wide: wide loads may be used
    // Stacks: rows and parts are 1, blockIdx.y = row * slots + slot.
    const int32_t *index; // NULL with slots > 0: slot s uses matrix s
    int64_t index_stride, x_slot_stride, matrix_bytes;
    int32_t slots; // 0: not a stack
} linear_rows_params;

// What a warp does of a job.
typedef struct linear_share {
    int part, first, tile, begin, end; // first: first tile of the job; units [begin, end)
} linear_share;

__device__ static __forceinline__ linear_share linear_share_of(const linear_rows_params &p, int job, int warp) {
    linear_share s;
    s.part = 0;
    while (s.part + 1 < p.parts && job >= p.part[s.part].jobs_end) s.part++;
    int bits = p.part[s.part].split_bits, local = s.part ? job - p.part[s.part - 1].jobs_end : job;
    int chunk = warp & ((1 << bits) - 1);
    s.first = local * (LINEAR_WARPS >> bits), s.tile = s.first + (warp >> bits);
    s.begin = linear_chunk(p.units, 1 << bits, chunk), s.end = linear_chunk(p.units, 1 << bits, chunk + 1);
    return s;
}

// What a warp reads: its units of job blockIdx.x, then those of blockIdx.x + gridDim.x, ...
template <class Q> struct linear_ring {
    enum { UNIT = Q::HEAD + Q::UNIT_K / LINEAR_STEP * Q::STEP };
    const linear_rows_params &p;
    int64_t stack_offset; // bytes to the matrix of a stack
    uint32_t slots;       // shared address of slot 0
    int n_slots, warp, lane, job, slot, left;
    const char *from;

    __device__ __forceinline__ void enter() {
        if (job >= p.jobs) return;
        linear_share s = linear_share_of(p, job, warp);
        from = p.part[s.part].packed + stack_offset + ((int64_t)s.tile * p.units + s.begin) * UNIT;
        left = s.end - s.begin;
    }
    // Puts the next unit on its way (nothing after the last one) and closes a group in any case.
    __device__ __forceinline__ void issue() {
        if (job < p.jobs) {
            uint32_t to = slots + slot * UNIT;
#pragma unroll
            for (int i = 0; i < (UNIT / 16 + 31) / 32; i++)
                if ((i + 1) * 32 <= UNIT / 16 || i * 32 + lane < UNIT / 16)
                    linear_copy16(to + (i * 32 + lane) * 16, from + (i * 32 + lane) * 16);
            from += UNIT;
            if (--left == 0) {
                job += gridDim.x;
                enter();
            }
        }
        if (++slot == n_slots) slot = 0;
        linear_commit();
    }
};

// Eight columns as bf16, of memory that is not aligned or ends within them.
__device__ static __noinline__ uint4 linear_eight_careful(const char *from, int columns, bool bf16) {
    uint32_t v[8];
    for (int i = 0; i < 8; i++) {
        v[i] = 0;
        if (i < columns) v[i] = bf16 ? ((const uint16_t *)from)[i] : linear_bf16x2(((const float *)from)[i], 0.0f);
    }
    return make_uint4(v[0] | v[1] << 16, v[2] | v[3] << 16, v[4] | v[5] << 16, v[6] | v[7] << 16);
}

// The activations to shared memory, zeros from K on; BATCH loads of a thread are under way at a time.
__device__ static __forceinline__ void linear_fill_rows(const linear_rows_params &p, const char *x, char *to,
                                                        int columns) {
    enum { BATCH = 4 };
    const int eights = columns / 8, all = p.rows * eights;
    for (int base = threadIdx.x; base < all; base += BATCH * LINEAR_THREADS) {
        uint4 v[BATCH], w[BATCH];
        int at[BATCH];
#pragma unroll
        for (int j = 0; j < BATCH; j++) {
            int i = base + j * LINEAR_THREADS, row = p.rows == 1 ? 0 : i / eights, col = (i - row * eights) * 8;
            const char *from = x + row * p.x_stride + col * (p.x_bf16 ? 2 : 4);
            at[j] = i < all ? row * p.pitch + col * 2 : -1;
            v[j] = w[j] = make_uint4(0, 0, 0, 0);
            if (at[j] < 0 || col >= p.k) continue;
            if (!p.x_wide) {
                v[j] = linear_eight_careful(from, p.k - col, p.x_bf16);
            } else {
                v[j] = *(const uint4 *)from;
                if (!p.x_bf16) w[j] = *(const uint4 *)(from + 16);
            }
        }
#pragma unroll
        for (int j = 0; j < BATCH; j++) {
            if (at[j] < 0) continue;
            if (p.x_wide && !p.x_bf16)
                v[j] = make_uint4(linear_bf16x2(linear_float(v[j].x), linear_float(v[j].y)),
                                  linear_bf16x2(linear_float(v[j].z), linear_float(v[j].w)),
                                  linear_bf16x2(linear_float(w[j].x), linear_float(w[j].y)),
                                  linear_bf16x2(linear_float(w[j].z), linear_float(w[j].w)));
            *(uint4 *)(to + at[j]) = v[j];
        }
    }
}

// One unit of a warp: 8 * NT tokens.
template <class Q, int NT>
__device__ static __forceinline__ void linear_unit(float acc[NT][4], const char *unit, const uint32_t x[NT],
                                                   uint32_t column_bytes, int lane) {
#pragma unroll
    for (int j = 0; j < Q::UNIT_K / LINEAR_STEP; j++) {
        Q q;
        q.load(unit + Q::HEAD + j * Q::STEP, unit, j, lane);
        uint32_t a[4], b[NT][4];
#pragma unroll
        for (int t = 0; t < NT; t++) linear_matrices(b[t], x[t] + column_bytes + j * 128);
        q.template fragment<0, 0>(a);
#pragma unroll
        for (int t = 0; t < NT; t++) linear_mma(acc[t], a, b[t][0], b[t][1]);
        q.template fragment<0, 1>(a);
#pragma unroll
        for (int t = 0; t < NT; t++) linear_mma(acc[t], a, b[t][2], b[t][3]);
#pragma unroll
        for (int t = 0; t < NT; t++) linear_matrices(b[t], x[t] + column_bytes + j * 128 + 64);
        q.template fragment<1, 0>(a);
#pragma unroll
        for (int t = 0; t < NT; t++) linear_mma(acc[t], a, b[t][0], b[t][1]);
        q.template fragment<1, 1>(a);
#pragma unroll
        for (int t = 0; t < NT; t++) linear_mma(acc[t], a, b[t][2], b[t][3]);
    }
}

// Where outputs and biases of a stack's slot begin, in elements.
typedef struct linear_slot {
    int64_t out, bias;
} linear_slot;

// Adds the chunks of the block's tiles in order and stores. partial: [warp][16][8 * NT].
template <int NT>
__device__ static __forceinline__ void linear_store_rows(const linear_rows_params &p, const linear_share &share,
                                                         const float *partial, const linear_slot &slot) {
    const linear_part &part = p.part[share.part];
    const int bits = part.split_bits, row_bits = 7 - bits; // rows: 16 * 8 / splits
    const float *bias = part.bias ? part.bias + slot.bias : nullptr;
    for (int i = threadIdx.x; i < p.rows << row_bits; i += LINEAR_THREADS) {
        int token = i >> row_bits, r = i & ((1 << row_bits) - 1), n = share.first * LINEAR_TILE + r;
        if (n >= part.n) continue;
        const float *from = partial + (((r / LINEAR_TILE) << bits) * LINEAR_TILE + r % LINEAR_TILE) * 8 * NT + token;
        float sum = from[0];
        for (int s = 1; s < 1 << bits; s++) sum += from[s * LINEAR_TILE * 8 * NT];
        if (bias) sum += bias[n];
        *((float *)((char *)part.out + token * part.out_stride) + slot.out + n) = sum;
    }
}

template <int NT> struct linear_rows_partial {
    enum { BYTES = 2 * LINEAR_WARPS * LINEAR_TILE * 8 * NT * 4 };
};

// Dynamic shared memory: partials (two turns), ring, activations.
template <class Q, int NT, int STAGES>
__global__ void __launch_bounds__(LINEAR_THREADS, NT == 1 ? 3 : 2) linear_rows_kernel(const __grid_constant__ linear_rows_params p) {
    extern __shared__ __align__(128) char shared[];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    float *partial = (float *)shared;
    char *ring_data = shared + linear_rows_partial<NT>::BYTES + warp * STAGES * linear_ring<Q>::UNIT;
    char *rows = shared + linear_rows_partial<NT>::BYTES + LINEAR_WARPS * STAGES * linear_ring<Q>::UNIT;
    const char *x = (const char *)p.x;
    linear_slot where = {0, 0};
    int64_t stack_offset = 0;
    if (p.slots) {
        linear_wait_for_previous();
        int row = blockIdx.y / p.slots, slot = blockIdx.y % p.slots;
        int expert = p.index ? *(const int32_t *)((const char *)p.index + row * p.index_stride + slot * 4) : slot;
        stack_offset = expert * p.matrix_bytes;
        x += row * p.x_stride + slot * p.x_slot_stride;
        where.out = row * p.part[0].out_stride / 4 + (int64_t)slot * p.part[0].n;
        where.bias = (int64_t)expert * p.part[0].n;
    }
    linear_ring<Q> ring = {p, stack_offset, linear_shared(ring_data), STAGES, warp, lane, (int)blockIdx.x, 0,
                           0, nullptr};
    ring.enter();
    for (int i = 0; i < STAGES - 1; i++) ring.issue();
    linear_dependents_may_start();
    if (!p.slots) linear_wait_for_previous();
    linear_fill_rows(p, x, rows, p.units * Q::UNIT_K);
    __syncthreads();

    uint32_t address[NT];
#pragma unroll
    for (int t = 0; t < NT; t++) {
        int token = 8 * t + lane % 8;
        address[t] = linear_shared(rows) + (token < p.rows ? token : p.rows - 1) * p.pitch + lane / 8 * 16;
    }
    int slot = 0, turn = 0;
    for (int job = blockIdx.x; job < p.jobs; job += gridDim.x) {
        float acc[NT][4] = {};
        const linear_share share = linear_share_of(p, job, warp);
        for (int u = share.begin; u < share.end; u++) {
            linear_wait<STAGES - 2>();
            __syncwarp();
            ring.issue();
            linear_unit<Q, NT>(acc, ring_data + slot * linear_ring<Q>::UNIT, address, u * Q::UNIT_K * 2, lane);
            if (++slot == STAGES) slot = 0;
        }
        float *mine = partial + turn * LINEAR_WARPS * LINEAR_TILE * 8 * NT + warp * LINEAR_TILE * 8 * NT;
#pragma unroll
        for (int t = 0; t < NT; t++) {
            float *to = mine + lane / 4 * 8 * NT + 8 * t + lane % 4 * 2;
            *(float2 *)to = make_float2(acc[t][0], acc[t][1]);
            *(float2 *)(to + 8 * 8 * NT) = make_float2(acc[t][2], acc[t][3]);
        }
        __syncthreads();
        linear_store_rows<NT>(p, share, partial + turn * LINEAR_WARPS * LINEAR_TILE * 8 * NT, where);
        turn ^= 1;
    }
}

#endif
