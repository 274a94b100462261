// LINEAR tiles for f32, f16 and bf16 weights: one fused multiply-add per k, in order of k, for 16 outputs in two
// registers. Six rows make twelve independent sums, enough to hide the latency of the FMA units.
#include "backend/cpu/avx2/linear_tile.h"

typedef struct two_floats {
    __m256 v[2];
} two_floats;

INLINE two_floats load_f32(const uint8_t *at) {
    return (two_floats){{_mm256_loadu_ps((const float *)at), _mm256_loadu_ps((const float *)at + 8)}};
}

INLINE two_floats load_f16(const uint8_t *at) {
    return (two_floats){{load_half8(at), load_half8(at + 16)}};
}

INLINE two_floats load_bf16(const uint8_t *at) {
    __m256i low = _mm256_slli_epi32(_mm256_cvtepu16_epi32(load128(at)), 16);
    __m256i high = _mm256_slli_epi32(_mm256_cvtepu16_epi32(load128(at + 16)), 16);
    return (two_floats){{_mm256_castsi256_ps(low), _mm256_castsi256_ps(high)}};
}

INLINE two_floats load_weights(mosa_dtype dtype, const uint8_t *at) {
    return dtype == MOSA_F32 ? load_f32(at) : dtype == MOSA_F16 ? load_f16(at) : load_bf16(at);
}

INLINE void float_body(const int rows, const mosa_dtype dtype, const uint8_t *w, mosa_act_rows act, int64_t at,
                       float *acc, int64_t records) {
    const int step = dtype == MOSA_F32 ? 64 : 32;
    tile_sums y;
    tile_load(rows, &y, acc);
    for (; records > 0; records--) {
        two_floats weights = load_weights(dtype, w);
        if (rows <= 2) prefetch_ahead(w);
        UNROLL for (int r = 0; r < rows; r++) {
            __m256 x = broadcast_f32(act[r] + at);
            y.v[r][0] = _mm256_fmadd_ps(x, weights.v[0], y.v[r][0]);
            y.v[r][1] = _mm256_fmadd_ps(x, weights.v[1], y.v[r][1]);
        }
        w += step;
        at += sizeof(float);
    }
    tile_store(rows, &y, acc);
}

#define TILES_1_TO_6(name, dtype)                                                                                      \
    TILES_1_TO_4(name, float_body, dtype) TILE_OF(name, 5, float_body, dtype) TILE_OF(name, 6, float_body, dtype)
#define TILE_TABLE_6(name)                                                                                             \
    { NULL, name##_1, name##_2, name##_3, name##_4, name##_5, name##_6 }

TILES_1_TO_6(f32, MOSA_F32)
TILES_1_TO_6(f16, MOSA_F16)
TILES_1_TO_6(bf16, MOSA_BF16)

const mosa_linear_format *mosa_avx2_linear_f32(mosa_dtype dtype) {
    static const mosa_linear_format f32 = {
        .record_k = 1,
        .record_bytes = 64,
        .act_bytes = 4,
        .tile_rows = 6,
        .direct_rows = INT32_MAX,
        .direct_chunk = 256,
        .direct = TILE_TABLE_6(f32),
    };
    static const mosa_linear_format f16 = {
        .record_k = 1,
        .record_bytes = 32,
        .act_bytes = 4,
        .tile_rows = 6,
        .direct_rows = INT32_MAX,
        .direct_chunk = 384,
        .direct = TILE_TABLE_6(f16),
    };
    static const mosa_linear_format bf16 = {
        .record_k = 1,
        .record_bytes = 32,
        .act_bytes = 4,
        .tile_rows = 6,
        .direct_rows = INT32_MAX,
        .direct_chunk = 384,
        .direct = TILE_TABLE_6(bf16),
    };
    return dtype == MOSA_F32 ? &f32 : dtype == MOSA_F16 ? &f16 : dtype == MOSA_BF16 ? &bf16 : NULL;
}
