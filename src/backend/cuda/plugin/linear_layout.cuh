// The packed layouts of matrices, and how a lane of a warp turns one into operands of mma.m16n8k16 (bf16, f32 sums).
//
// A matrix [N,K] is cut into tiles of 16 rows (the instruction's m16) and units of unit_k columns (linear_format_of);
// N is padded to 128 rows and K to whole units with zeros. Packed: [tile][unit], a unit being `head` bytes of scales
// and then, for each 64 columns ("step"), `step` bytes of weights. A step holds four k16 instructions in natural order
// of k: of block b (0, 1: 32 columns) and half s (0, 1: 16 columns) the lane (g = lane / 4, c = lane % 4) feeds
//   a0 = row g columns 2c, 2c+1    a1 = row g+8, the same    a2 = row g columns 2c+8, 2c+9    a3 = row g+8, the same
// which are the registers that wgmma.m64nNk16 takes from the four warps of a warpgroup, too. Activations are plain
// bf16 rows (round to nearest even).
//
// Order of sums, the same at every number of rows: the units are cut into linear_splits() chunks (linear_chunk); in a
// chunk one f32 accumulator, begun at zero, is carried through the k16 instructions in ascending order; the chunks are
// added in ascending order, ((p0 + p1) + p2) + ...; the bias is added last.
//
// Each format Q gives: KIND, UNIT_K, HEAD, STEP, load (of step j of a unit, 16 bytes a lane) and fragment (operands of
// block B, half S). A weight is decoded as tensor/quant.h says and rounded to bf16; of the types of 4 to 6 bits the
// scale and the minimum of a group are rounded to bf16 first, which adds less than a hundredth of the type's own error.
// The same function serves every number of rows. linear_pack_word says what lies where; it runs on the host, too.
#ifndef MOSA_BACKEND_CUDA_PLUGIN_LINEAR_LAYOUT_CUH
#define MOSA_BACKEND_CUDA_PLUGIN_LINEAR_LAYOUT_CUH

#ifndef LINEAR_EMULATE // tests/gpu/emulate stands in for CUDA
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif
#include <stdint.h>
#include <string.h>

enum mosa_linear_kind {
    MOSA_LINEAR_NONE,
    MOSA_LINEAR_BF16,
    MOSA_LINEAR_Q8_0,
    MOSA_LINEAR_Q4_0,
    MOSA_LINEAR_Q4_K,
    MOSA_LINEAR_Q5_K,
    MOSA_LINEAR_Q6_K,
    MOSA_LINEAR_KINDS
};

enum { LINEAR_TILE = 16, LINEAR_STEP = 64, LINEAR_ROWS = 128, LINEAR_SPLITS_MAX = 8 };

typedef struct linear_format {
    int unit_k, head, step;
} linear_format;

__host__ __device__ static inline linear_format linear_format_of(int kind) {
    switch (kind) {
    case MOSA_LINEAR_BF16:
        return linear_format{64, 0, 2048};
    case MOSA_LINEAR_Q8_0:
        return linear_format{128, 128, 1024};
    case MOSA_LINEAR_Q4_0:
        return linear_format{128, 128, 512};
    case MOSA_LINEAR_Q4_K:
        return linear_format{256, 320, 512};
    case MOSA_LINEAR_Q5_K:
        return linear_format{256, 320, 640};
    default:
        return linear_format{256, 288, 768}; // q6_k
    }
}

// A packed matrix, or stack of `experts` matrices one behind the other.
typedef struct linear_matrix {
    const char *packed; // device
    int kind, splits;
    int64_t n, k, experts;
} linear_matrix;

__host__ __device__ static inline int64_t linear_units(int kind, int64_t k) {
    int unit = linear_format_of(kind).unit_k;
    return (k + unit - 1) / unit;
}
__host__ __device__ static inline int64_t linear_tiles(int64_t n) {
    return (n + LINEAR_ROWS - 1) / LINEAR_ROWS * (LINEAR_ROWS / LINEAR_TILE);
}
__host__ __device__ static inline int linear_unit_bytes(int kind) {
    linear_format f = linear_format_of(kind);
    return f.head + f.unit_k / LINEAR_STEP * f.step;
}
__host__ __device__ static inline int64_t linear_matrix_bytes(int kind, int64_t n, int64_t k) {
    return linear_tiles(n) * linear_units(kind, k) * linear_unit_bytes(kind);
}

// Chunks of K, a power of two: enough warps for one row of activations to keep every SM reading, and, of types that
// must be decoded, decoding. By shape alone.
static inline int linear_splits(int kind, int64_t n, int64_t k) {
    int64_t splits = n <= (kind == MOSA_LINEAR_BF16 ? 2048 : 4096) ? 8 : n <= 32768 ? 4 : 2;
    while (splits > 1 && splits > linear_units(kind, k)) splits /= 2;
    return (int)splits;
}
// First unit of chunk i.
__host__ __device__ static inline int linear_chunk(int units, int splits, int i) {
    return (int)((int64_t)i * units / splits);
}

#include "backend/cuda/plugin/linear_pack.cuh"

#include "backend/cuda/plugin/linear_decode.cuh"

#endif
