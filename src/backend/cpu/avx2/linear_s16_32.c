// LINEAR tiles for weights of up to eight bits with one scale per 32: q8_0.
// Signed 8 x 8 bits would overflow vpmaddubsw, so both sides are widened to int16 and vpmaddwd adds pairs of k into
// int32: exact for every level, -128 included.
#include "backend/cpu/avx2/linear_tile.h"

INLINE two_vectors widen(const uint8_t *at) {
    return (two_vectors){{_mm256_cvtepi8_epi16(load128(at)), _mm256_cvtepi8_epi16(load128(at + 16))}};
}

// One k2 step: sums (int32) of int16 pairs.
INLINE void step_pairs(const int rows, tile_ints *c, two_vectors w, const uint8_t *act, int64_t stride,
                       const int first) {
    UNROLL for (int r = 0; r < rows; r++) {
        __m256i a = broadcast32(act + r * stride);
        __m256i low = _mm256_madd_epi16(w.v[0], a), high = _mm256_madd_epi16(w.v[1], a);
        c->v[r][0] = first ? low : _mm256_add_epi32(c->v[r][0], low);
        c->v[r][1] = first ? high : _mm256_add_epi32(c->v[r][1], high);
        KEEP(c->v[r][0]);
        KEEP(c->v[r][1]);
    }
}

INLINE void q8_0_body(const int rows, const int prefetch, const uint8_t *w, const uint8_t *act, int64_t stride,
                      float *acc, int64_t records) {
    tile_sums y;
    tile_load(rows, &y, acc);
    for (; records > 0; records--) {
        tile_ints c;
        UNROLL for (int k = 0; k < 16; k++) {
            if (prefetch && k % 2 == 0) prefetch_ahead(w + 32 * k);
            step_pairs(rows, &c, widen(w + 32 * k), act + 4 * k, stride, k == 0);
        }
        add_product(rows, &y, &c, load_half8(w + MOSA_PANEL_Q8_0_D), load_half8(w + MOSA_PANEL_Q8_0_D + 16),
                    act + offsetof(mosa_act_s16_32, d), stride);
        w += MOSA_PANEL_Q8_0;
        act += sizeof(mosa_act_s16_32);
    }
    tile_store(rows, &y, acc);
}

TILES_1_TO_4(q8_0_direct, q8_0_body, 1)

const linear_format *mosa_avx2_linear_s16_32(mosa_dtype dtype) {
    static const linear_format q8_0 = {
        .record_k = 32,
        .record_bytes = MOSA_PANEL_Q8_0,
        .act_bytes = sizeof(mosa_act_s16_32),
        .tile_rows = 4,
        .direct_rows = INT32_MAX,
        .chunk = 8,
        .direct = TILE_TABLE_4(q8_0_direct),
    };
    return dtype == MOSA_Q8_0 ? &q8_0 : NULL;
}
