// Packs rows that lie on the device as a file has them: one thread makes one word of a unit (linear_pack_word).
#include "backend/cuda/plugin/linear.h"
#include "backend/cuda/plugin/linear_launch.cuh"
#include "backend/cuda/plugin/linear_layout.cuh"

typedef struct repack_params {
    linear_source source;
    int kind;
    int64_t units, words; // words: of all tiles
    uint32_t *to;
} repack_params;

static __global__ void __launch_bounds__(256) repack_kernel(const __grid_constant__ repack_params p) {
    const int unit_words = linear_unit_bytes(p.kind) / 4;
    for (int64_t i = (int64_t)blockIdx.x * 256 + threadIdx.x; i < p.words; i += (int64_t)gridDim.x * 256) {
        int64_t unit = i / unit_words;
        p.to[i] = linear_pack_word(&p.source, p.kind, unit / p.units, unit % p.units, (int)(i % unit_words));
    }
}

cudaError_t linear_repack(const linear_source *source, int kind, int64_t tile, int64_t tiles, char *to,
                          cudaStream_t stream) {
    int64_t units = linear_units(kind, source->k), unit_bytes = linear_unit_bytes(kind);
    repack_params p = {*source, kind, units, tiles * units * unit_bytes / 4,
                       (uint32_t *)(to + tile * units * unit_bytes)};
    int64_t blocks = (p.words + 255) / 256;
    return linear_launch(repack_kernel, dim3((unsigned)(blocks < 65536 ? blocks : 65536)), 256, 0, true, p, stream);
}
