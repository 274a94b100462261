// Host side of matmul_wgmma.cuh: tensor maps, the choice of a tile, the launch.
#include "backend/cuda/plugin/matmul_wgmma.h"

#include "backend/cuda/plugin/hopper_host.cuh"
#include "backend/cuda/plugin/matmul_wgmma.cuh"

static cudaError_t matmul_map(const void *data, int64_t stride, int transposed, int64_t rows, int64_t k, int box_rows,
                              CUtensorMap *map) {
    if (transposed) return hopper_map(data, k, rows, stride, 64, map);
    return hopper_map(data, rows, k, stride, box_rows, map);
}

template <class S>
static cudaError_t matmul_start(const mosa_cuda_matmul *g, const hopper_device *d, cudaStream_t stream) {
    CUtensorMap a, b;
    cudaError_t e = matmul_map(g->a, g->a_stride, S::TA, g->m, g->k, 128, &a);
    if (!e) e = matmul_map(g->b, g->b_stride, S::TB, g->n, g->k, S::PART, &b);
    if (e) return e;
    matmul_params p = {};
    p.c = (char *)g->c, p.c_stride = g->c_stride, p.m = g->m, p.n = g->n, p.k = g->k, p.out = g->out;
    p.tiles_m = (g->m + 128 * S::CLUSTER - 1) / (128 * S::CLUSTER), p.tiles_n = (g->n + S::BN - 1) / S::BN;
    p.group = 16 / S::CLUSTER;
    return hopper_launch<S, CUtensorMap, CUtensorMap, matmul_params>(d, matmul_kernel<S>,
                                                                     (int64_t)p.tiles_m * p.tiles_n, stream, a, b, p);
}

// Turns over all multiprocessors, times the cost of a turn.
static int64_t matmul_cost(const mosa_cuda_matmul *g, int64_t rows, int64_t columns, int64_t at_once, int64_t turn) {
    int64_t tiles = (g->m + rows - 1) / rows * ((g->n + columns - 1) / columns);
    return (tiles + at_once - 1) / at_once * turn;
}

template <bool TA, bool TB>
static cudaError_t matmul_start_tile(const mosa_cuda_matmul *g, int tile, const hopper_device *d, cudaStream_t stream) {
    if (tile == 0) tile = matmul_cost(g, 128, 128, d->sms, 60) < matmul_cost(g, 256, 256, d->sms / 2, 100) ? 1 : 2;
    if (tile == 1) return matmul_start<matmul_shape<128, 6, 1, TA, TB>>(g, d, stream);
    return matmul_start<matmul_shape<256, 4, 2, TA, TB>>(g, d, stream);
}

cudaError_t mosa_cuda_matmul_launch(const mosa_cuda_matmul *g, int tile, cudaStream_t stream) {
    const hopper_device *d = hopper_find_device();
    int even = g->out == MOSA_CUDA_MATMUL_BF16 ? 8 : 2;
    if (!d || g->n % even || g->c_stride % 16 || (uintptr_t)g->c % 16) return cudaErrorNotSupported;
    if (g->a_transposed && !g->b_transposed) return cudaErrorNotSupported;
    if (g->a_transposed) return matmul_start_tile<true, true>(g, tile, d, stream);
    if (g->b_transposed) return matmul_start_tile<false, true>(g, tile, d, stream);
    return matmul_start_tile<false, false>(g, tile, d, stream);
}
