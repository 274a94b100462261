// Host side of gemm_wgmma.cuh: the tensor map of the tokens, the choice of a tile, the launch.
#include "backend/cuda/plugin/gemm_wgmma.h"

#include "backend/cuda/plugin/gemm_wgmma.cuh"

#include <cuda_runtime.h>

typedef CUresult (*gemm_encode_fn)(CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *, const cuuint64_t *,
                                   const cuuint64_t *, const cuuint32_t *, const cuuint32_t *, CUtensorMapInterleave,
                                   CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill);

// What is known of a device, found at its first use. Racing threads find the same.
typedef struct gemm_device {
    int known, hopper, sms, ordinal;
} gemm_device;

static gemm_device *gemm_find_device(void) {
    static gemm_device devices[64];
    int ordinal = 0, major = 0, minor = 0;
    if (cudaGetDevice(&ordinal) || ordinal >= 64) return NULL;
    gemm_device *d = &devices[ordinal];
    if (d->known) return d;
    if (cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, ordinal) ||
        cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, ordinal) ||
        cudaDeviceGetAttribute(&d->sms, cudaDevAttrMultiProcessorCount, ordinal))
        return NULL;
    d->hopper = major == 9 && minor == 0;
    d->ordinal = ordinal;
    d->known = 1;
    return d;
}

// libcuda's function, which the runtime has loaded.
static gemm_encode_fn gemm_find_encode(void) {
    static gemm_encode_fn encode;
    void *found = NULL;
    cudaDriverEntryPointQueryResult result;
    if (!encode &&
        !cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, 12000, cudaEnableDefault, &result) &&
        result == cudaDriverEntryPointSuccess)
        encode = (gemm_encode_fn)found;
    return encode;
}

static cudaError_t gemm_map_tokens(const mosa_cuda_gemm *g, int box_rows, CUtensorMap *map) {
    gemm_encode_fn encode = gemm_find_encode();
    if (!encode) return cudaErrorNotSupported;
    cuuint64_t size[2] = {(cuuint64_t)g->x_columns, (cuuint64_t)g->rows}, stride[1] = {(cuuint64_t)g->x_stride};
    cuuint32_t box[2] = {LINEAR_STEP, (cuuint32_t)box_rows}, step[2] = {1, 1};
    CUresult r = encode(map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, (void *)g->x, size, stride, box, step,
                        CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                        CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    return r == CUDA_SUCCESS ? cudaSuccess : cudaErrorNotSupported;
}

template <class S> static cudaError_t gemm_start(const mosa_cuda_gemm *g, const gemm_device *d, cudaStream_t stream) {
    CUtensorMap map;
    cudaError_t e = gemm_map_tokens(g, S::BN / S::CLUSTER, &map);
    if (e) return e;
    int rows_m = S::CLUSTER * LINEAR_ROWS;
    gemm_params p = {g->packed,
                     g->bias,
                     g->out,
                     g->out_stride,
                     g->rows,
                     (int32_t)g->n,
                     (int32_t)linear_units(g->kind, g->k),
                     g->splits,
                     (int32_t)((g->n + rows_m - 1) / rows_m),
                     (g->rows + S::BN - 1) / S::BN,
                     16 / S::CLUSTER};
    cudaLaunchAttribute attribute;
    attribute.id = cudaLaunchAttributeClusterDimension;
    attribute.val.clusterDim.x = S::CLUSTER, attribute.val.clusterDim.y = attribute.val.clusterDim.z = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(d->sms / S::CLUSTER * S::CLUSTER);
    config.blockDim = dim3(S::THREADS);
    config.dynamicSmemBytes = S::SHARED;
    config.stream = stream;
    config.attrs = &attribute, config.numAttrs = 1;
    static int clusters[64]; // that run at once, on each device; 0 = not asked yet
    if (!clusters[d->ordinal]) {
        if ((e = cudaFuncSetAttribute(gemm_kernel<S>, cudaFuncAttributeMaxDynamicSharedMemorySize, S::SHARED)))
            return e;
        if ((e = cudaOccupancyMaxActiveClusters(&clusters[d->ordinal], gemm_kernel<S>, &config))) return e;
        if (!clusters[d->ordinal]) return cudaErrorNotSupported;
    }
    int tiles = p.tiles_m * p.tiles_n, busy = clusters[d->ordinal];
    config.gridDim = dim3((tiles < busy ? tiles : busy) * S::CLUSTER);
    return cudaLaunchKernelEx(&config, gemm_kernel<S>, map, p);
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

static int gemm_choose(const mosa_cuda_gemm *g, const gemm_device *d) {
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
static cudaError_t gemm_start_variant(const mosa_cuda_gemm *g, int variant, const gemm_device *d, cudaStream_t stream) {
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
    const gemm_device *d = gemm_find_device();
    if (!d || !d->hopper || g->x_stride % 16 || (uintptr_t)g->x % 16) return cudaErrorNotSupported;
    if (variant < 1 || variant >= GEMM_VARIANTS) variant = gemm_choose(g, d);
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
