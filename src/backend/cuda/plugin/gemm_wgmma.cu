// Host side of gemm_wgmma.cuh: the tensor map of the tokens, the choice of a tile, the launch.
#include "backend/cuda/plugin/gemm_wgmma.h"

#include "backend/cuda/plugin/gemm_wgmma.cuh"
#include "backend/cuda/plugin/hopper_host.cuh"

static int gemm_lag = 1000; // a test sets others

// Tiles that a launch may use: rows of the matrix are 128 * cluster. step: cycles of 64 columns of a tile.
// plain: for bf16 weights alone.
static const struct gemm_variant {
    const char *name;
    int tokens, cluster, step;
    bool plain;
} gemm_variants[] = {
    {"chosen", 0, 0, 0, false},       {"128x64", 64, 1, 640, false},  {"128x128", 128, 1, 740, false},
    {"256x256", 256, 2, 1080, false}, {"256x128", 128, 2, 720, true}, {"128x256", 256, 1, 1130, true},
    {"512x256", 256, 4, 1200, true},
};
enum { GEMM_VARIANTS = sizeof gemm_variants / sizeof *gemm_variants };

// How a launch is made: variant, and each chunk a tile.
typedef struct gemm_plan {
    int variant;
    bool separate;
} gemm_plan;

static int64_t gemm_pitch(const mosa_cuda_gemm *g) {
    return (g->n + 3) / 4 * 4;
}

static bool gemm_may_separate(const mosa_cuda_gemm *g) {
    size_t want = (size_t)g->splits * (size_t)g->rows * (size_t)gemm_pitch(g) * sizeof(float);
    return g->splits > 1 && !g->groups && g->separate != 1 && g->scratch && g->scratch_bytes >= want;
}

// Cycles that a plan takes, near enough to choose by.
static int64_t gemm_cost(const mosa_cuda_gemm *g, gemm_plan plan, const hopper_device *d) {
    const gemm_variant *v = &gemm_variants[plan.variant];
    int64_t rows_m = LINEAR_ROWS * v->cluster, steps = (g->k + LINEAR_STEP - 1) / LINEAR_STEP;
    int64_t tiles = (g->n + rows_m - 1) / rows_m * ((g->rows + v->tokens - 1) / v->tokens), merges = g->splits - 1;
    int64_t at_once = d->sms / v->cluster, merge = 10 * v->tokens, after = 0;
    if (plan.separate) {
        tiles *= g->splits, steps = (steps + g->splits - 1) / g->splits, merges = 0;
        after = 5000 + g->splits * g->rows * gemm_pitch(g) * (int64_t)sizeof(float) / 1600;
    }
    return (tiles + at_once - 1) / at_once * (steps * v->step + merges * merge + 1500 + 8 * v->tokens) + after;
}

static gemm_plan gemm_choose(const mosa_cuda_gemm *g, int variant, const hopper_device *d) {
    gemm_plan best = {variant ? variant : 3, false};
    int64_t best_cost = INT64_MAX;
    for (int i = 1; i < GEMM_VARIANTS; i++) {
        if (variant ? i != variant : gemm_variants[i].plain && g->kind != MOSA_LINEAR_BF16) continue;
        for (int separate = 0; separate < 2; separate++) {
            gemm_plan plan = {i, separate != 0};
            if (separate ? !gemm_may_separate(g) : g->separate == 2 && gemm_may_separate(g)) continue;
            int64_t cost = gemm_cost(g, plan, d);
            if (cost < best_cost) best_cost = cost, best = plan;
        }
    }
    return best;
}

static cudaError_t gemm_merge(const mosa_cuda_gemm *g, cudaStream_t stream) {
    gemm_merge_params p = {(const float *)g->scratch, g->bias,  g->out, g->out_stride, g->rows, (int32_t)g->n,
                           (int32_t)gemm_pitch(g),    g->splits};
    gemm_merge_kernel<<<dim3((unsigned)((g->n + 1023) / 1024), (unsigned)g->rows), 256, 0, stream>>>(p);
    return cudaGetLastError();
}

// Parameters but for the tiles.
static gemm_params gemm_params_of(const mosa_cuda_gemm *g, bool separate) {
    gemm_params p = {};
    p.packed = g->packed, p.bias = g->bias, p.out = g->out, p.out_stride = g->out_stride;
    p.rows = g->rows, p.n = (int32_t)g->n, p.units = (int32_t)linear_units(g->kind, g->k), p.splits = g->splits;
    p.lag = gemm_lag, p.separate = separate;
    p.groups = g->groups, p.order = g->order, p.slots = g->slots;
    p.matrix_bytes = linear_matrix_bytes(g->kind, g->n, g->k);
    return p;
}

template <class S>
static cudaError_t gemm_start(const mosa_cuda_gemm *g, bool separate, const hopper_device *d, cudaStream_t stream) {
    CUtensorMap x, out = {};
    cudaError_t e = hopper_map(g->x, g->rows, g->x_columns, g->x_stride, S::BN / S::CLUSTER, &x);
    if (e) return e;
    int rows_m = S::CLUSTER * LINEAR_ROWS;
    gemm_params p = gemm_params_of(g, separate);
    p.tiles_m = (int32_t)((g->n + rows_m - 1) / rows_m);
    p.tiles_n = g->groups ? g->n_groups : (g->rows + S::BN - 1) / S::BN;
    p.tiles = p.tiles_m * p.tiles_n * (separate ? p.splits : 1), p.group = 16 / S::CLUSTER;
    if (separate)
        e = hopper_map_f32(g->scratch, g->splits, g->rows, g->n, gemm_pitch(g) * 4, S::BN, &out);
    else if (!g->groups)
        p.by_tma = !hopper_map_f32(g->out, 1, g->rows, g->n, g->out_stride, S::BN, &out);
    if (e) return e;
    if (separate) p.by_tma = 1;
    e = hopper_launch<S, CUtensorMap, CUtensorMap, gemm_params>(d, gemm_kernel<S>, p.tiles, stream, x, out, p);
    return e || !separate ? e : gemm_merge(g, stream);
}

template <class Q>
static cudaError_t gemm_start_plan(const mosa_cuda_gemm *g, gemm_plan plan, const hopper_device *d,
                                   cudaStream_t stream) {
    int variant = plan.variant;
    if (variant == 1) return gemm_start<gemm_shape<Q, 64, 8, 1>>(g, plan.separate, d, stream);
    if (variant == 2) return gemm_start<gemm_shape<Q, 128, 8, 1>>(g, plan.separate, d, stream);
    if (variant == 3) return gemm_start<gemm_shape<Q, 256, 3, 2>>(g, plan.separate, d, stream);
    if constexpr ((int)Q::KIND == MOSA_LINEAR_BF16) {
        if (variant == 4) return gemm_start<gemm_shape<Q, 128, 8, 2>>(g, plan.separate, d, stream);
        if (variant == 5) return gemm_start<gemm_shape<Q, 256, 3, 1>>(g, plan.separate, d, stream);
        if (variant == 6) return gemm_start<gemm_shape<Q, 256, 3, 4>>(g, plan.separate, d, stream);
    }
    return cudaErrorNotSupported;
}

cudaError_t mosa_cuda_gemm_launch(const mosa_cuda_gemm *g, int variant, cudaStream_t stream) {
    const hopper_device *d = hopper_find_device();
    if (!d) return cudaErrorNotSupported;
    if (variant < 0 || variant >= GEMM_VARIANTS || (g->groups && !variant)) return cudaErrorInvalidValue;
    gemm_plan plan = gemm_choose(g, variant, d);
    switch (g->kind) {
    case MOSA_LINEAR_BF16:
        return gemm_start_plan<linear_bf16>(g, plan, d, stream);
    case MOSA_LINEAR_Q8_0:
        return gemm_start_plan<linear_q8_0>(g, plan, d, stream);
    case MOSA_LINEAR_Q4_0:
        return gemm_start_plan<linear_q4_0>(g, plan, d, stream);
    case MOSA_LINEAR_Q4_K:
        return gemm_start_plan<linear_q4_k>(g, plan, d, stream);
    case MOSA_LINEAR_Q5_K:
        return gemm_start_plan<linear_q5_k>(g, plan, d, stream);
    case MOSA_LINEAR_Q6_K:
        return gemm_start_plan<linear_q6_k>(g, plan, d, stream);
    default:
        return cudaErrorNotSupported;
    }
}

int mosa_cuda_gemm_variants(void) {
    return GEMM_VARIANTS;
}
const char *mosa_cuda_gemm_variant_name(int variant) {
    return gemm_variants[variant].name;
}
int mosa_cuda_gemm_tokens(int variant) {
    return gemm_variants[variant].tokens;
}
