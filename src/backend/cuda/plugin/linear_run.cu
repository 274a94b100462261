// Chooses among the linear kernels and launches them; see linear.h.
#include "backend/cuda/plugin/linear.h"

#include "backend/cuda/plugin/gemm_wgmma.h"
#include "backend/cuda/plugin/linear_launch.cuh"
#include "backend/cuda/plugin/linear_rows.cuh"
#include "backend/cuda/plugin/linear_tiles.cuh"

// Absent from programs that do without gemm_wgmma.cu.
extern "C" __attribute__((weak)) cudaError_t mosa_cuda_gemm_launch(const mosa_cuda_gemm *g, int variant,
                                                                   cudaStream_t stream);
extern "C" __attribute__((weak)) int mosa_cuda_gemm_tokens(int variant);

enum { WGMMA_ROWS = 128 }; // from so many rows on
enum {
    ROWS_MAX = 16,
    FEW_ROWS = 8,
    SHARED_PAIR = 113 * 1024,
    SHARED_TRIPLE = 75 * 1024,
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

// Row i of `to` is made of pair i, or of pair order[i]: pair = row * parts + part, which lies at x + row * x_stride +
// part * part_stride, f32 or bf16.
typedef struct bf16_params {
    const char *x;
    char *to;
    int64_t x_stride, part_stride, to_stride, k, first; // first: pair of block 0
    const int32_t *order;
    int32_t parts, order_parts; // order's pairs count order_parts a row; parts 1: they share their row
    bool from_bf16;
} bf16_params;

static __global__ void __launch_bounds__(256) to_bf16_kernel(const __grid_constant__ bf16_params p) {
    linear_dependents_may_start();
    linear_wait_for_previous();
    int64_t i = p.first + blockIdx.y, row = i / p.parts, part = i % p.parts;
    if (p.order) {
        row = p.order[i] / p.order_parts;
        part = p.parts > 1 ? p.order[i] % p.order_parts : 0;
    }
    int64_t col = (blockIdx.x * 256 + threadIdx.x) * 8;
    if (col * 2 >= p.to_stride) return;
    const char *from = p.x + row * p.x_stride + part * p.part_stride + col * (p.from_bf16 ? 2 : 4);
    uint4 v;
    if (col + 8 > p.k || (uintptr_t)from % 16) {
        v = linear_eight_careful(from, (int)(p.k - col), p.from_bf16);
    } else if (p.from_bf16) {
        v = *(const uint4 *)from;
    } else {
        float4 a = *(const float4 *)from, b = *(const float4 *)(from + 16);
        v = make_uint4(linear_bf16x2(a.x, a.y), linear_bf16x2(a.z, a.w), linear_bf16x2(b.x, b.y),
                       linear_bf16x2(b.z, b.w));
    }
    *(uint4 *)(p.to + i * p.to_stride + col * 2) = v;
}

static cudaError_t pack_rows(bf16_params p, int64_t rows, bool serial, cudaStream_t stream) {
    for (p.first = 0; p.first < rows; p.first += 65535) {
        int64_t some = rows - p.first < 65535 ? rows - p.first : 65535;
        cudaError_t e = linear_launch(to_bf16_kernel, dim3((unsigned)((p.to_stride / 16 + 255) / 256), (unsigned)some),
                                      256, 0, serial, p, stream);
        if (e) return e;
    }
    return cudaSuccess;
}

cudaError_t linear_to_bf16(const float *x, int64_t x_stride, void *to, int64_t to_stride, int64_t rows, int64_t k,
                           bool serial, cudaStream_t stream) {
    bf16_params p = {(const char *)x, (char *)to, x_stride, 0, to_stride, k, 0, nullptr, 1, 1, false};
    return pack_rows(p, rows, serial, stream);
}

// ---- few rows

// Types that are decoded want warps more than bytes under way: three blocks of an SM rather than two.
template <class Q> struct stages_of {
    enum { PLAIN = (int)Q::KIND == MOSA_LINEAR_BF16, RING = PLAIN || (int)Q::KIND == MOSA_LINEAR_Q4_0 ? 5 : 3 };
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
    int per_sm = shared <= SHARED_PAIR ? 2 : 1;
    if (!stages_of<Q>::PLAIN && shared <= SHARED_TRIPLE) per_sm = 3;
    if (call->tuning.blocks_per_sm) per_sm = call->tuning.blocks_per_sm;
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
    p.x_wide =
        (uintptr_t)call->x % 16 == 0 && call->x_stride % 16 == 0 && call->x_slot_stride % 16 == 0 && m->k % 8 == 0;
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
    bool want =
        separate ? separate >= 2 : x * y < (unsigned)limits.sms * ((int)S::Q::KIND == MOSA_LINEAR_BF16 ? 3 : 6) / 4;
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
    return rows_bytes(pairs, k) + (size_t)(pairs * 4 + 256) + (size_t)(pairs / 16 + experts) * sizeof(linear_group) +
           256;
}

// Makes bf16 rows in scratch of rows that are not, or not aligned; *used grows by what they take. With order: always,
// in the order of the sorted pairs.
static cudaError_t bf16_input(const linear_call *call, const int32_t *order, linear_tiles_params *p, size_t *used,
                              cudaStream_t stream) {
    const linear_matrix *m = call->matrix;
    p->x = (const char *)call->x, p->x_stride = call->x_stride, p->x_slot_stride = call->x_slot_stride;
    p->x_columns = (int32_t)((m->k + 7) / 8 * 8);
    bool aligned = (uintptr_t)call->x % 16 == 0 && call->x_stride % 16 == 0 && call->x_slot_stride % 16 == 0;
    if (call->x_bf16 && aligned && !order) return cudaSuccess;
    const int32_t slots = call->slots ? call->slots : 1, parts = call->x_slot_stride ? slots : 1;
    const int64_t stride = linear_bf16_row_bytes(m->k), rows = (int64_t)call->rows * (order ? slots : parts);
    if (*used + rows_bytes(rows, m->k) > call->scratch_bytes) return cudaErrorInvalidValue;
    bf16_params b = {(const char *)call->x,
                     (char *)call->scratch + *used,
                     call->x_stride,
                     call->x_slot_stride,
                     stride,
                     m->k,
                     0,
                     order,
                     parts,
                     slots,
                     call->x_bf16};
    p->x = b.to, p->x_stride = stride * parts, p->x_slot_stride = call->x_slot_stride ? stride : 0;
    *used += rows_bytes(rows, m->k);
    return pack_rows(b, rows, call->tuning.serial, stream);
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
    cudaError_t e = bf16_input(call, nullptr, &p, &used, stream);
    if (e) return e;
    bool wide = call->tuning.path == LINEAR_AUTO ? call->rows >= WGMMA_ROWS : call->tuning.path == LINEAR_BY_WGMMA;
    if (wide && (e = by_wgmma(call, p, used, stream)) != cudaErrorNotSupported) return e;
    size_t want = (size_t)p.splits * (size_t)p.rows * (size_t)p.n_padded * sizeof(float);
    if (used + want <= call->scratch_bytes) p.partial = (float *)((char *)call->scratch + used);
    return dispatch_tiles(call, p, tile_by_rows(call, call->rows), 0, stream);
}

// Every block reads all of the activations, so they must be little beside its weights.
static bool are_few(const linear_call *call) {
    int64_t limit = call->matrix->kind == MOSA_LINEAR_BF16 ? 16384 : 32768;
    return call->rows == 1 || (call->rows <= FEW_ROWS && call->rows * call->matrix->k <= limit);
}

cudaError_t linear_run(const linear_call *call, cudaStream_t stream) {
    if (call->rows <= 0) return cudaSuccess;
    bool fits = false;
    bool few = call->tuning.path == LINEAR_AUTO ? are_few(call) : call->tuning.path == LINEAR_BY_ROWS;
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
        if (some > 1 && calls[i].rows > 0 && calls[i].tuning.path == LINEAR_AUTO && are_few(&calls[i]))
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

// Sorts the pairs of a stack into groups of at most `tokens`; what it makes lies in scratch from *used on.
static cudaError_t sort_pairs(const linear_call *call, int tokens, group_params *g, size_t *used, cudaStream_t stream) {
    const linear_matrix *m = call->matrix;
    int64_t pairs = (int64_t)call->rows * call->slots, groups = pairs / tokens + m->experts;
    if (groups > pairs) groups = pairs;
    size_t order_bytes = ((size_t)pairs * 4 + 255) / 256 * 256;
    size_t group_bytes = ((size_t)groups * sizeof(linear_group) + 255) / 256 * 256;
    if (*used + order_bytes + group_bytes > call->scratch_bytes) return cudaErrorInvalidValue;
    *g = group_params{call->index,
                      call->index_stride,
                      call->slots,
                      (int32_t)pairs,
                      (int32_t)m->experts,
                      tokens,
                      (int32_t)groups,
                      (int32_t *)((char *)call->scratch + *used),
                      (linear_group *)((char *)call->scratch + *used + order_bytes)};
    *used += order_bytes + group_bytes;
    size_t shared = (size_t)m->experts * GROUP_WARPS * sizeof(int32_t);
    return linear_launch(group_kernel, dim3(1), GROUP_THREADS, shared, call->tuning.serial, *g, stream);
}

static cudaError_t stack_by_wgmma(const linear_call *call, linear_tiles_params *p, int variant, cudaStream_t stream) {
    const linear_matrix *m = call->matrix;
    if (!mosa_cuda_gemm_launch || !mosa_cuda_gemm_tokens) return cudaErrorNotSupported;
    device_limits limits;
    cudaError_t e = limits_of_device(&limits);
    if (e) return e;
    if (limits.major != 9) return cudaErrorNotSupported;
    group_params sorted;
    size_t used = 0;
    if ((e = sort_pairs(call, mosa_cuda_gemm_tokens(variant), &sorted, &used, stream))) return e;
    if ((e = bf16_input(call, sorted.order, p, &used, stream))) return e;
    mosa_cuda_gemm g = {m->packed,
                        m->kind,
                        m->splits,
                        m->n,
                        m->k,
                        p->x,
                        linear_bf16_row_bytes(m->k),
                        p->x_columns,
                        p->bias,
                        p->out,
                        p->out_stride,
                        sorted.pairs,
                        (const mosa_cuda_gemm_group *)sorted.groups,
                        sorted.order,
                        sorted.max_groups,
                        call->slots};
    return mosa_cuda_gemm_launch(&g, variant, stream);
}

// The variant of wgmma for a stack, 0 for none: tiles of 128 or 256 tokens that most groups fill.
static int stack_variant(const linear_call *call, int64_t pairs) {
    if (call->tuning.path == LINEAR_BY_WGMMA) return call->tuning.wgmma ? call->tuning.wgmma : 2;
    int64_t mean = pairs / call->matrix->experts;
    return call->tuning.path != LINEAR_AUTO || mean < 96 ? 0 : mean < 384 ? 2 : 3;
}

cudaError_t linear_run_stack(const linear_call *call, cudaStream_t stream) {
    if (call->rows <= 0) return cudaSuccess;
    const linear_matrix *m = call->matrix;
    int64_t pairs = (int64_t)call->rows * call->slots;
    bool few = call->tuning.path == LINEAR_AUTO ? pairs <= 32 : call->tuning.path == LINEAR_BY_ROWS, fits = false;
    cudaError_t e = cudaSuccess;
    if (few && pairs <= 65535 && ((e = few_rows(call, 1, stream, &fits)) || fits)) return e;
    linear_tiles_params p = tiles_params(call);
    int variant = stack_variant(call, pairs);
    if (variant && (e = stack_by_wgmma(call, &p, variant, stream)) != cudaErrorNotSupported) return e;
    int tile = tile_by_rows(call, (pairs + m->experts - 1) / m->experts);
    size_t used = 0;
    group_params sorted;
    if ((e = bf16_input(call, nullptr, &p, &used, stream))) return e;
    if ((e = sort_pairs(call, tile_tokens[tile], &sorted, &used, stream))) return e;
    p.groups = sorted.groups, p.order = sorted.order;
    return dispatch_tiles(call, p, tile, sorted.max_groups, stream);
}
