// Host side of gemm_wgmma.cuh: the tensor map of the tokens, the choice of a tile, the launch.
#include "backend/cuda/plugin/gemm_wgmma.h"

#include "backend/cuda/plugin/gemm_wgmma.cuh"
#include "backend/cuda/plugin/hopper_host.cuh"

static int gemm_lag = 1000; // a test sets others

template <class S> static cudaError_t gemm_start(const mosa_cuda_gemm *g, const hopper_device *d, cudaStream_t stream) {
    CUtensorMap map;
    cudaError_t e = hopper_map(g->x, g->rows, g->x_columns, g->x_stride, S::BN / S::CLUSTER, &map);
    if (e) return e;
    int rows_m = S::CLUSTER * LINEAR_ROWS;
    gemm_params p = {};
    p.packed = g->packed, p.bias = g->bias, p.out = g->out, p.out_stride = g->out_stride;
    p.rows = g->rows, p.n = (int32_t)g->n, p.units = (int32_t)linear_units(g->kind, g->k), p.splits = g->splits;
    p.tiles_m = (int32_t)((g->n + rows_m - 1) / rows_m), p.tiles_n = (g->rows + S::BN - 1) / S::BN;
    p.group = 16 / S::CLUSTER, p.lag = gemm_lag;
    if (g->groups) {
        p.groups = g->groups, p.order = g->order, p.slots = g->slots, p.tiles_n = g->n_groups;
        p.matrix_bytes = linear_matrix_bytes(g->kind, g->n, g->k);
    }
    return hopper_launch<S, CUtensorMap, gemm_params>(d, gemm_kernel<S>, (int64_t)p.tiles_m * p.tiles_n, stream, map,
                                                      p);
}

// Tiles that a launch may use: rows of the matrix are 128 * cluster. cost: of a tile, beside that of 256 tokens = 256.
// plain: for bf16 weights alone.
static const struct gemm_variant {
    const char *name;
    int tokens, cluster, cost;
    bool plain;
} gemm_variants[] = {
    {"chosen", 0, 0, 0, false},      {"128x64", 64, 1, 90, false},   {"128x128", 128, 1, 150, false},
    {"256x256", 256, 2, 256, false}, {"256x128", 128, 2, 142, true}, {"128x256", 256, 1, 270, true},
    {"512x256", 256, 4, 260, true},
};
enum { GEMM_VARIANTS = sizeof gemm_variants / sizeof *gemm_variants };

static int gemm_choose(const mosa_cuda_gemm *g, const hopper_device *d) {
    int best = 1;
    int64_t best_cost = INT64_MAX;
    for (int i = 1; i < GEMM_VARIANTS; i++) {
        const gemm_variant *v = &gemm_variants[i];
        if (v->plain && g->kind != MOSA_LINEAR_BF16) continue;
        int64_t m = (g->n + LINEAR_ROWS * v->cluster - 1) / (LINEAR_ROWS * v->cluster);
        int64_t tiles = m * ((g->rows + v->tokens - 1) / v->tokens), clusters = d->sms / v->cluster;
        int64_t cost = (tiles + clusters - 1) / clusters * v->cost;
        if (cost < best_cost) best_cost = cost, best = i;
    }
    return best;
}

template <class Q>
static cudaError_t gemm_start_variant(const mosa_cuda_gemm *g, int variant, const hopper_device *d,
                                      cudaStream_t stream) {
    if (variant == 1) return gemm_start<gemm_shape<Q, 64, 8, 1>>(g, d, stream);
    if (variant == 2) return gemm_start<gemm_shape<Q, 128, 8, 1>>(g, d, stream);
    if (variant == 3) return gemm_start<gemm_shape<Q, 256, 3, 2>>(g, d, stream);
    if constexpr ((int)Q::KIND == MOSA_LINEAR_BF16) {
        if (variant == 4) return gemm_start<gemm_shape<Q, 128, 8, 2>>(g, d, stream);
        if (variant == 5) return gemm_start<gemm_shape<Q, 256, 3, 1>>(g, d, stream);
        if (variant == 6) return gemm_start<gemm_shape<Q, 256, 3, 4>>(g, d, stream);
    }
    return cudaErrorNotSupported;
}

cudaError_t mosa_cuda_gemm_launch(const mosa_cuda_gemm *g, int variant, cudaStream_t stream) {
    const hopper_device *d = hopper_find_device();
    if (!d) return cudaErrorNotSupported;
    if (variant < 0 || variant >= GEMM_VARIANTS || (g->groups && !variant)) return cudaErrorInvalidValue;
    if (!variant) variant = gemm_choose(g, d);
    switch (g->kind) {
    case MOSA_LINEAR_BF16:
        return gemm_start_variant<linear_bf16>(g, variant, d, stream);
    case MOSA_LINEAR_Q8_0:
        return gemm_start_variant<linear_q8_0>(g, variant, d, stream);
    case MOSA_LINEAR_Q4_0:
        return gemm_start_variant<linear_q4_0>(g, variant, d, stream);
    case MOSA_LINEAR_Q4_K:
        return gemm_start_variant<linear_q4_k>(g, variant, d, stream);
    case MOSA_LINEAR_Q5_K:
        return gemm_start_variant<linear_q5_k>(g, variant, d, stream);
    case MOSA_LINEAR_Q6_K:
        return gemm_start_variant<linear_q6_k>(g, variant, d, stream);
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
