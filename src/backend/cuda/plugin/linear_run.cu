// Chooses among the linear kernels and launches them; see linear.h.
#include "backend/cuda/plugin/linear.h"

#include "backend/cuda/plugin/gemm_wgmma.h"
#include "backend/cuda/plugin/linear_launch.cuh"
#include "backend/cuda/plugin/linear_rows.cuh"
#include "backend/cuda/plugin/linear_tiles.cuh"

// Absent from programs that do without gemm_wgmma.cu.
extern "C" __attribute__((weak)) cudaError_t mosa_cuda_gemm_launch(const mosa_cuda_gemm *g, int variant,
                                                                   cudaStream_t stream);

enum { WGMMA_ROWS = 128 }; // from so many rows on
enum {
    ROWS_MAX = 16,
    FEW_ROWS = 8,
    SHARED_MAX = 227 * 1024,
    SHARED_PAIR = 113 * 1024,
    SEPARATE_ROWS_MAX = 512,
    DEVICES_MAX = 16
};

typedef struct device_limits {
    int sms, shared_max, major;
} device_limits;

// Racing threads find the same.
static cudaError_t limits_of_device(device_limits *out) {
    static device_limits known[DEVICES_MAX];
    int device = 0;
    cudaError_t e = cudaGetDevice(&device);
    if (e) return e;
    if (device < DEVICES_MAX && known[device].sms) {
        *out = known[device];
        return cudaSuccess;
    }
    if ((e = cudaDeviceGetAttribute(&out->shared_max, cudaDevAttrMaxSharedMemoryPerBlockOptin, device))) return e;
    if ((e = cudaDeviceGetAttribute(&out->major, cudaDevAttrComputeCapabilityMajor, device))) return e;
    if ((e = cudaDeviceGetAttribute(&out->sms, cudaDevAttrMultiProcessorCount, device))) return e;
    if (device < DEVICES_MAX) known[device] = *out;
    return cudaSuccess;
}

// ---- bf16 rows

typedef struct bf16_params {
    const float *x;
    char *to;
    int64_t x_stride, to_stride, k;
} bf16_params;

static __global__ void __launch_bounds__(256) to_bf16_kernel(const __grid_constant__ bf16_params p) {
    linear_dependents_may_start();
    linear_wait_for_previous();
    const float *x = (const float *)((const char *)p.x + blockIdx.y * p.x_stride);
    int64_t col = (blockIdx.x * 256 + threadIdx.x) * 8;
    if (col * 2 >= p.to_stride) return;
    float v[8];
    if (col + 8 <= p.k && ((uintptr_t)(x + col) & 15) == 0) {
        *(float4 *)v = *(const float4 *)(x + col);
        *(float4 *)(v + 4) = *(const float4 *)(x + col + 4);
    } else {
        for (int i = 0; i < 8; i++) v[i] = col + i < p.k ? x[col + i] : 0.0f;
    }
    *(uint4 *)(p.to + blockIdx.y * p.to_stride + col * 2) = make_uint4(
        linear_bf16x2(v[0], v[1]), linear_bf16x2(v[2], v[3]), linear_bf16x2(v[4], v[5]), linear_bf16x2(v[6], v[7]));
}

cudaError_t linear_to_bf16(const float *x, int64_t x_stride, void *to, int64_t to_stride, int64_t rows, int64_t k,
                           bool serial, cudaStream_t stream) {
    for (int64_t at = 0; at < rows; at += 65535) {
        bf16_params p = {(const float *)((const char *)x + at * x_stride), (char *)to + at * to_stride, x_stride,
                         to_stride, k};
        int64_t some = rows - at < 65535 ? rows - at : 65535;
        cudaError_t e = linear_launch(to_bf16_kernel, dim3((unsigned)((to_stride / 16 + 255) / 256), (unsigned)some),
                                      256, 0, serial, p, stream);
        if (e) return e;
    }
    return cudaSuccess;
}

// ---- few rows

template <class Q> struct stages_of {
    enum { RING = (int)Q::KIND == MOSA_LINEAR_BF16 || (int)Q::KIND == MOSA_LINEAR_Q4_0 ? 5 : 4 };
};

template <class Q, int NT, int STAGES>
static cudaError_t run_rows(const linear_call *call, linear_rows_params p, cudaStream_t stream, bool *fits) {
    device_limits limits;
    cudaError_t e = limits_of_device(&limits);
    if (e) return e;
    size_t shared =
        linear_rows_partial<NT>::BYTES + LINEAR_WARPS * STAGES * linear_ring<Q>::UNIT + (size_t)p.rows * p.pitch;
    *fits = shared <= (size_t)limits.shared_max;
    if (!*fits) return cudaSuccess;
    int per_sm = call->tuning.blocks_per_sm ? call->tuning.blocks_per_sm : shared <= SHARED_PAIR ? 2 : 1;
    int blocks = p.jobs < limits.sms * per_sm ? p.jobs : limits.sms * per_sm;
    int stack = p.slots ? p.slots * call->rows : 1;
    return linear_launch(linear_rows_kernel<Q, NT, STAGES>, dim3((unsigned)blocks, (unsigned)stack), LINEAR_THREADS,
                         shared, call->tuning.serial, p, stream);
}

template <class Q>
static cudaError_t run_rows_of(const linear_call *call, const linear_rows_params &p, cudaStream_t stream, bool *fits) {
    enum { RING = stages_of<Q>::RING };
    if (p.rows > 8) return run_rows<Q, 2, RING>(call, p, stream, fits);
    if constexpr ((int)Q::KIND == MOSA_LINEAR_BF16 || (int)Q::KIND == MOSA_LINEAR_Q4_K) { // those that are measured
        if (call->tuning.stages == 1) return run_rows<Q, 1, RING - 1>(call, p, stream, fits);
        if (call->tuning.stages == 2) return run_rows<Q, 1, RING + 3>(call, p, stream, fits);
    }
    return run_rows<Q, 1, RING>(call, p, stream, fits);
}

#define LINEAR_BY_KIND(function, ...)                                                                                  \
    switch (call->matrix->kind) {                                                                                      \
    case MOSA_LINEAR_BF16:                                                                                             \
        return function<linear_bf16>(__VA_ARGS__);                                                                     \
    case MOSA_LINEAR_Q8_0:                                                                                             \
        return function<linear_q8_0>(__VA_ARGS__);                                                                     \
    case MOSA_LINEAR_Q4_0:                                                                                             \
        return function<linear_q4_0>(__VA_ARGS__);                                                                     \
    case MOSA_LINEAR_Q4_K:                                                                                             \
        return function<linear_q4_k>(__VA_ARGS__);                                                                     \
    case MOSA_LINEAR_Q5_K:                                                                                             \
        return function<linear_q5_k>(__VA_ARGS__);                                                                     \
    case MOSA_LINEAR_Q6_K:                                                                                             \
        return function<linear_q6_k>(__VA_ARGS__);                                                                     \
    default:                                                                                                           \
        return cudaErrorInvalidValue;                                                                                  \
    }

static cudaError_t dispatch_rows(const linear_call *call, const linear_rows_params &p, cudaStream_t stream,
                                 bool *fits) {
    LINEAR_BY_KIND(run_rows_of, call, p, stream, fits)
}

// The matrices of n calls that read the same rows. *fits false: nothing was launched, the activations do not fit in
// shared memory.
static cudaError_t few_rows(const linear_call *call, int n, cudaStream_t stream, bool *fits) {
    const linear_matrix *m = call->matrix;
    linear_rows_params p = {};
    p.x = call->x, p.x_stride = call->x_stride, p.rows = call->slots ? 1 : call->rows;
    p.k = (int32_t)m->k, p.units = (int32_t)linear_units(m->kind, m->k), p.parts = n;
    for (int i = 0; i < n; i++) {
        const linear_matrix *w = call[i].matrix;
        p.jobs += (int32_t)(linear_tiles(w->n) * w->splits / LINEAR_WARPS);
        p.part[i] = linear_part{
            w->packed, call[i].bias, call[i].out, call[i].out_stride, (int32_t)w->n, __builtin_ctz((unsigned)w->splits),
            p.jobs};
    }
    p.pitch = p.units * linear_format_of(m->kind).unit_k * 2 + 16;
    p.x_bf16 = call->x_bf16;
    int64_t align = call->x_bf16 ? 8 : 16;
    p.x_wide = (uintptr_t)call->x % align == 0 && call->x_stride % align == 0 && call->x_slot_stride % align == 0 &&
               m->k % 4 == 0;
    p.index = call->index, p.index_stride = call->index_stride, p.x_slot_stride = call->x_slot_stride;
    p.matrix_bytes = linear_matrix_bytes(m->kind, m->n, m->k), p.slots = call->slots;
    return dispatch_rows(call, p, stream, fits);
}

// ---- many rows

static const int tile_tokens[] = {16, 32, 64, 128};

template <class S>
static cudaError_t run_shape(const linear_call *call, linear_tiles_params p, int64_t groups, cudaStream_t stream) {
    device_limits limits;
    cudaError_t e = limits_of_device(&limits);
    if (e) return e;
    unsigned x = (unsigned)((p.n + S::BM - 1) / S::BM);
    unsigned y = p.groups ? (unsigned)groups : (unsigned)((p.rows + S::BN - 1) / S::BN);
    const int separate = call->tuning.separate;
    bool want = separate ? separate >= 2 : x * y < (unsigned)limits.sms * 3 / 4;
    want = want && !p.groups && p.splits > 1;
    p.cluster = want && separate != 2 && limits.major >= 9 && S::BN * (S::BM + 4) * 4 <= S::SHARED;
    if (!want || p.cluster || p.rows > SEPARATE_ROWS_MAX) p.partial = nullptr;
    unsigned z = p.partial || p.cluster ? (unsigned)p.splits : 1;
    e = linear_launch(linear_tiles_kernel<S>, dim3(x, y, z), S::THREADS, S::SHARED, call->tuning.serial, p, stream,
                      p.cluster ? z : 0);
    if (e || !p.partial) return e;
    return linear_launch(linear_merge_kernel, dim3((unsigned)((p.n + 1023) / 1024), (unsigned)p.rows), 256, 0,
                         call->tuning.serial, p, stream);
}

template <class Q>
static cudaError_t run_tiles_of(const linear_call *call, const linear_tiles_params &p, int tile, int64_t groups,
                                cudaStream_t stream) {
    enum { DEEP = (int)Q::KIND == MOSA_LINEAR_BF16 ? 5 : 8, MIDDLE = (int)Q::KIND == MOSA_LINEAR_BF16 ? 5 : 6 };
    if (tile == 0) return run_shape<linear_shape<Q, 1, 2, 8, 1, DEEP>>(call, p, groups, stream);
    if (tile == 1) return run_shape<linear_shape<Q, 1, 4, 8, 1, DEEP>>(call, p, groups, stream);
    if (tile == 2) return run_shape<linear_shape<Q, 2, 4, 4, 2, MIDDLE>>(call, p, groups, stream);
    return run_shape<linear_shape<Q, 2, 8, 4, 2, 4>>(call, p, groups, stream);
}

static cudaError_t dispatch_tiles(const linear_call *call, const linear_tiles_params &p, int tile, int64_t groups,
                                  cudaStream_t stream) {
    LINEAR_BY_KIND(run_tiles_of, call, p, tile, groups, stream)
}

static int tile_by_rows(const linear_call *call, int64_t rows) {
    if (call->tuning.tile) return call->tuning.tile - 1;
    int tile = 0;
    while (tile < 3 && rows > tile_tokens[tile]) tile++;
    return tile;
}

// Scratch: bf16 rows, then partial sums or the sorted pairs of a stack.
static size_t rows_bytes(int64_t rows, int64_t k) {
    return ((size_t)rows * (size_t)linear_bf16_row_bytes(k) + 255) / 256 * 256;
}
static size_t partial_bytes(int64_t rows, int64_t n) {
    if (rows > SEPARATE_ROWS_MAX) rows = SEPARATE_ROWS_MAX;
    return (size_t)LINEAR_SPLITS_MAX * (size_t)rows * (size_t)linear_tiles(n) * LINEAR_TILE * sizeof(float);
}

size_t linear_scratch_bytes(int64_t n, int64_t k, int64_t experts, int64_t slots, int64_t max_rows) {
    if (slots == 0) return rows_bytes(max_rows, k) + (n <= 32768 ? partial_bytes(max_rows, n) : 0);
    int64_t pairs = max_rows * slots;
    return rows_bytes(pairs, k) + (size_t)(pairs * 4 + 256) + (size_t)(pairs / 16 + experts + 1) * sizeof(linear_group);
}

// Makes bf16 rows in scratch of rows that are not; *used grows by what they take.
static cudaError_t bf16_input(const linear_call *call, linear_tiles_params *p, size_t *used, cudaStream_t stream) {
    const linear_matrix *m = call->matrix;
    bool fit = call->x_bf16 && (uintptr_t)call->x % 16 == 0 && call->x_stride % 16 == 0;
    p->x = (const char *)call->x, p->x_stride = call->x_stride, p->x_slot_stride = call->x_slot_stride;
    p->x_columns = (int32_t)((m->k + 7) / 8 * 8);
    if (fit) return cudaSuccess;
    if (call->x_bf16) return cudaErrorInvalidValue;
    int64_t stride = linear_bf16_row_bytes(m->k), parts = call->x_slot_stride ? call->slots : 1;
    if (rows_bytes(call->rows * parts, m->k) > call->scratch_bytes) return cudaErrorInvalidValue;
    for (int64_t s = 0; s < parts; s++) {
        const float *from = (const float *)((const char *)call->x + s * call->x_slot_stride);
        char *to = (char *)call->scratch + s * call->rows * stride;
        cudaError_t e = linear_to_bf16(from, call->x_stride, to, stride, call->rows, m->k, call->tuning.serial, stream);
        if (e) return e;
    }
    p->x = (const char *)call->scratch, p->x_stride = stride;
    p->x_slot_stride = call->x_slot_stride ? call->rows * stride : 0;
    *used = rows_bytes(call->rows * parts, m->k);
    return cudaSuccess;
}

static linear_tiles_params tiles_params(const linear_call *call) {
    const linear_matrix *m = call->matrix;
    linear_tiles_params p = {};
    p.packed = m->packed, p.out_stride = call->out_stride, p.bias = call->bias, p.out = call->out;
    p.rows = call->rows, p.n = (int32_t)m->n, p.n_padded = (int32_t)(linear_tiles(m->n) * LINEAR_TILE);
    p.units = (int32_t)linear_units(m->kind, m->k), p.splits = m->splits;
    p.slots = call->slots, p.matrix_bytes = linear_matrix_bytes(m->kind, m->n, m->k);
    return p;
}

static cudaError_t by_wgmma(const linear_call *call, const linear_tiles_params &p, size_t used, cudaStream_t stream) {
    const linear_matrix *m = call->matrix;
    if (!mosa_cuda_gemm_launch) return cudaErrorNotSupported;
    mosa_cuda_gemm g = {m->packed,  m->kind,     m->splits, m->n,  m->k,         p.x,
                        p.x_stride, p.x_columns, p.bias,    p.out, p.out_stride, p.rows};
    if (call->scratch_bytes > used)
        g.scratch = (char *)call->scratch + used, g.scratch_bytes = call->scratch_bytes - used;
    return mosa_cuda_gemm_launch(&g, call->tuning.wgmma, stream);
}

static cudaError_t many_rows(const linear_call *call, cudaStream_t stream) {
    linear_tiles_params p = tiles_params(call);
    size_t used = 0;
    cudaError_t e = bf16_input(call, &p, &used, stream);
    if (e) return e;
    bool wide = call->tuning.path == LINEAR_AUTO ? call->rows >= WGMMA_ROWS : call->tuning.path == LINEAR_BY_WGMMA;
    if (wide && (e = by_wgmma(call, p, used, stream)) != cudaErrorNotSupported) return e;
    size_t want = (size_t)p.splits * (size_t)p.rows * (size_t)p.n_padded * sizeof(float);
    if (used + want <= call->scratch_bytes) p.partial = (float *)((char *)call->scratch + used);
    return dispatch_tiles(call, p, tile_by_rows(call, call->rows), 0, stream);
}

cudaError_t linear_run(const linear_call *call, cudaStream_t stream) {
    if (call->rows <= 0) return cudaSuccess;
    bool fits = false;
    bool few = call->tuning.path == LINEAR_AUTO ? call->rows <= FEW_ROWS : call->tuning.path == LINEAR_BY_ROWS;
    if (few && call->rows <= ROWS_MAX) {
        cudaError_t e = few_rows(call, 1, stream, &fits);
        if (e || fits) return e;
    }
    return many_rows(call, stream);
}

static bool reads_same(const linear_call *a, const linear_call *b) {
    return a->x == b->x && a->x_stride == b->x_stride && a->x_bf16 == b->x_bf16 && a->rows == b->rows &&
           a->matrix->kind == b->matrix->kind && a->matrix->k == b->matrix->k && !a->slots && !b->slots;
}

cudaError_t linear_run_together(const linear_call *calls, int n, cudaStream_t stream) {
    for (int i = 0; i < n;) {
        int some = 1;
        while (i + some < n && some < LINEAR_PARTS && reads_same(&calls[i], &calls[i + some])) some++;
        bool fits = false;
        cudaError_t e = cudaSuccess;
        if (some > 1 && calls[i].rows > 0 && calls[i].rows <= FEW_ROWS && calls[i].tuning.path == LINEAR_AUTO)
            e = few_rows(&calls[i], some, stream, &fits);
        for (int j = 0; !e && !fits && j < some; j++) e = linear_run(&calls[i + j], stream);
        if (e) return e;
        i += some;
    }
    return cudaSuccess;
}

// ---- stacks

typedef struct group_params {
    const int32_t *index;
    int64_t index_stride;
    int32_t slots, pairs, experts, tokens, max_groups; // tokens: of a tile
    int32_t *order;
    linear_group *groups;
} group_params;

enum { GROUP_THREADS = 1024, GROUP_WARPS = 32 };

__device__ static int expert_of(const group_params &p, int pair) {
    int slot = pair % p.slots;
    if (!p.index) return slot;
    return *(const int32_t *)((const char *)p.index + pair / p.slots * p.index_stride + slot * 4);
}

// Sorts pairs by expert, ascending within one, in one block: warp w counts its own stretch of pairs, a prefix sum over
// (expert, warp) gives each warp its places. Shared: [experts][GROUP_WARPS] counts.
static __global__ void __launch_bounds__(GROUP_THREADS) group_kernel(const __grid_constant__ group_params p) {
    extern __shared__ int32_t count[];
    linear_dependents_may_start();
    linear_wait_for_previous();
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int stretch = (p.pairs + GROUP_THREADS - 1) / GROUP_THREADS * 32, begin = warp * stretch;
    const int end = min(begin + stretch, p.pairs);
    for (int i = threadIdx.x; i < p.experts * GROUP_WARPS; i += GROUP_THREADS) count[i] = 0;
    __syncthreads();
    for (int turn = 0; turn < 2; turn++) {
        for (int base = begin; base < end; base += 32) {
            int pair = base + lane, expert = pair < end ? expert_of(p, pair) : -1;
            unsigned same = __match_any_sync(0xffffffffu, expert);
            int rank = __popc(same & ((1u << lane) - 1)), at = expert * GROUP_WARPS + warp, old = 0;
            if (expert >= 0) old = count[at];
            __syncwarp();
            if (expert >= 0 && rank == 0) count[at] = old + __popc(same);
            __syncwarp();
            if (turn && expert >= 0) p.order[old + rank] = pair;
        }
        __syncthreads();
        if (turn == 0 && threadIdx.x == 0) {
            int sum = 0, n = 0;
            for (int e = 0; e < p.experts; e++) {
                int first = sum;
                for (int w = 0; w < GROUP_WARPS; w++) {
                    int here = count[e * GROUP_WARPS + w];
                    count[e * GROUP_WARPS + w] = sum;
                    sum += here;
                }
                for (int i = first; i < sum; i += p.tokens) p.groups[n++] = linear_group{e, i, min(p.tokens, sum - i)};
            }
            while (n < p.max_groups) p.groups[n++] = linear_group{-1, 0, 0};
        }
        __syncthreads();
    }
}

cudaError_t linear_run_stack(const linear_call *call, cudaStream_t stream) {
    if (call->rows <= 0) return cudaSuccess;
    const linear_matrix *m = call->matrix;
    int64_t pairs = (int64_t)call->rows * call->slots;
    bool few = call->tuning.path == LINEAR_AUTO ? pairs <= 32 : call->tuning.path == LINEAR_BY_ROWS, fits = false;
    if (few && pairs <= 65535) {
        cudaError_t e = few_rows(call, 1, stream, &fits);
        if (e || fits) return e;
    }
    linear_tiles_params p = tiles_params(call);
    size_t used = 0;
    cudaError_t e = bf16_input(call, &p, &used, stream);
    if (e) return e;
    int tile = tile_by_rows(call, (pairs + m->experts - 1) / m->experts);
    int64_t groups = pairs / tile_tokens[tile] + m->experts;
    if (groups > pairs) groups = pairs;
    size_t order_bytes = ((size_t)pairs * 4 + 255) / 256 * 256;
    if (used + order_bytes + (size_t)groups * sizeof(linear_group) > call->scratch_bytes) return cudaErrorInvalidValue;
    group_params g = {call->index,
                      call->index_stride,
                      call->slots,
                      (int32_t)pairs,
                      (int32_t)m->experts,
                      tile_tokens[tile],
                      (int32_t)groups,
                      (int32_t *)((char *)call->scratch + used),
                      (linear_group *)((char *)call->scratch + used + order_bytes)};
    size_t shared = (size_t)m->experts * GROUP_WARPS * sizeof(int32_t);
    e = linear_launch(group_kernel, dim3(1), GROUP_THREADS, shared, call->tuning.serial, g, stream);
    if (e) return e;
    p.groups = g.groups, p.order = g.order;
    return dispatch_tiles(call, p, tile, groups, stream);
}
