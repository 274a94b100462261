// LINEAR tiles for signed levels of eight bits with one scale per 32: q8_0 and the code books iq4_nl and iq4_xs.
// Signed 8 x 8 bits would overflow vpmaddubsw, so both sides are widened to int16 and vpmaddwd adds pairs of k into
// int32: exact for every level, -128 included.
#include "backend/cpu/avx2/linear_tile.h"

// Unpacked record of 32 k: s8 [16 k2][16][2], f32 d[16].
enum { UNPACKED_D = 512, UNPACKED_BYTES = 576 };

INLINE two_vectors widen(const uint8_t *at) {
    return (two_vectors){{_mm256_cvtepi8_epi16(load128(at)), _mm256_cvtepi8_epi16(load128(at + 16))}};
}

// One k2 step: sums (int32) of int16 pairs.
INLINE void step_pairs(const int rows, tile_ints *c, two_vectors w, act_rows act, int64_t at, const int first) {
    UNROLL for (int r = 0; r < rows; r++) {
        __m256i a = broadcast32(act[r] + at);
        __m256i low = _mm256_madd_epi16(w.v[0], a), high = _mm256_madd_epi16(w.v[1], a);
        c->v[r][0] = first ? low : _mm256_add_epi32(c->v[r][0], low);
        c->v[r][1] = first ? high : _mm256_add_epi32(c->v[r][1], high);
        KEEP(c->v[r][0]);
        KEEP(c->v[r][1]);
    }
}

// Levels of two k2 steps from the 32 bytes of a nibbles2 plane.
INLINE two_vectors book_levels(const uint8_t *at) {
    __m256i book = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113));
    two_vectors codes = nibbles(at);
    return (two_vectors){{_mm256_shuffle_epi8(book, codes.v[0]), _mm256_shuffle_epi8(book, codes.v[1])}};
}

// `parts` parts of 32 k make a panel record. Levels of a part come first, its scales follow: half floats in a q8_0
// panel, f32 where unpacked.
INLINE void body_pairs(const int rows, const int direct, const int parts, const uint8_t *w, act_rows act, int64_t at,
                       float *acc, int64_t records) {
    tile_sums y;
    tile_load(rows, &y, acc);
    for (records *= parts; records > 0; records--) {
        tile_ints c;
        UNROLL for (int k = 0; k < 16; k++) {
            if (direct && k % 2 == 0) prefetch_ahead(w + 32 * k);
            step_pairs(rows, &c, widen(w + 32 * k), act, at + 4 * k, k == 0);
        }
        const uint8_t *d = w + (direct ? MOSA_PANEL_Q8_0_D : UNPACKED_D);
        __m256 d0 = direct ? load_half8(d) : _mm256_loadu_ps((const float *)d);
        __m256 d1 = direct ? load_half8(d + 16) : _mm256_loadu_ps((const float *)d + 8);
        add_product(rows, &y, &c, d0, d1, act, at + offsetof(mosa_act_s16_32, d));
        w += direct ? MOSA_PANEL_Q8_0 : UNPACKED_BYTES;
        at += sizeof(mosa_act_s16_32);
    }
    tile_store(rows, &y, acc);
}

TILES_1_TO_4(q8_0, body_pairs, 1, 1)
TILES_1_TO_4(iq4_nl, body_pairs, 0, 1)
TILES_1_TO_4(iq4_xs, body_pairs, 0, 8)

static void unpack_codes(const uint8_t *nibbles2, uint8_t *out) {
    for (int i = 0; i < 8; i++) store_two(out + 64 * i, book_levels(nibbles2 + 32 * i));
}

static void iq4_nl_unpack(const uint8_t *record, uint8_t *out, int64_t records) {
    for (; records > 0; records--, record += MOSA_PANEL_IQ4_NL, out += UNPACKED_BYTES) {
        unpack_codes(record, out);
        for (int v = 0; v < 2; v++)
            _mm256_storeu_ps((float *)(out + UNPACKED_D) + 8 * v, load_half8(record + MOSA_PANEL_IQ4_NL_D + 16 * v));
    }
}

static void iq4_xs_unpack(const uint8_t *record, uint8_t *out, int64_t records) {
    for (; records > 0; records--, record += MOSA_PANEL_IQ4_XS) {
        __m256 d[2] = {load_half8(record + MOSA_PANEL_IQ4_XS_D), load_half8(record + MOSA_PANEL_IQ4_XS_D + 16)};
        for (int g = 0; g < 8; g++, out += UNPACKED_BYTES) {
            unpack_codes(record + 256 * g, out);
            for (int v = 0; v < 2; v++) {
                const uint8_t *scale = record + MOSA_PANEL_IQ4_XS_SCALE + 16 * g + 8 * v;
                __m256i wide = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)scale));
                _mm256_storeu_ps((float *)(out + UNPACKED_D) + 8 * v, _mm256_mul_ps(d[v], _mm256_cvtepi32_ps(wide)));
            }
        }
    }
}

const linear_format *mosa_avx2_linear_s16_32(mosa_dtype dtype) {
    static const linear_format q8_0_format = {
        .record_k = 32,
        .record_bytes = MOSA_PANEL_Q8_0,
        .act_bytes = sizeof(mosa_act_s16_32),
        .tile_rows = 4,
        .direct_rows = INT32_MAX,
        .direct_chunk = 16,
        .direct = TILE_TABLE_4(q8_0),
    };
    static const linear_format iq4_nl_format = {
        .record_k = 32,
        .record_bytes = MOSA_PANEL_IQ4_NL,
        .act_bytes = sizeof(mosa_act_s16_32),
        .tile_rows = 4,
        .unpacked_bytes = UNPACKED_BYTES,
        .unpacked_chunk = 8,
        .unpack = iq4_nl_unpack,
        .unpacked = TILE_TABLE_4(iq4_nl),
    };
    static const linear_format iq4_xs_format = {
        .record_k = 256,
        .record_bytes = MOSA_PANEL_IQ4_XS,
        .act_bytes = 8 * sizeof(mosa_act_s16_32),
        .tile_rows = 4,
        .unpacked_bytes = 8 * UNPACKED_BYTES,
        .unpacked_chunk = 1,
        .unpack = iq4_xs_unpack,
        .unpacked = TILE_TABLE_4(iq4_xs),
    };
    return dtype == MOSA_Q8_0     ? &q8_0_format
           : dtype == MOSA_IQ4_NL ? &iq4_nl_format
           : dtype == MOSA_IQ4_XS ? &iq4_xs_format
                                  : NULL;
}
