// LINEAR tiles for signed levels of eight bits with one scale per 32: q8_0 and the code books iq4_nl and iq4_xs.
//
// The activation takes the weight's sign, so that the weight's magnitude may be the unsigned operand of vpmaddubsw. A
// pair of k is at most 2 * 128 * 127 = 32512: it fits int16, two do not, and vpmaddwd moves each into int32.
#include "backend/cpu/avx2/linear_tile.h"

// Unpacked record of 32 k: s8 [8 k4][16][4], f32 d[16].
enum { UNPACKED_D = 512, UNPACKED_BYTES = 576 };

// One k4 step: sums (int32) of signed bytes times signed bytes.
INLINE void step_signed(const int rows, tile_ints *c, two_vectors w, mosa_act_rows act, int64_t at, const int first) {
    const __m256i ones = _mm256_set1_epi16(1);
    two_vectors size = {{_mm256_abs_epi8(w.v[0]), _mm256_abs_epi8(w.v[1])}};
    UNROLL for (int r = 0; r < rows; r++) {
        __m256i a = broadcast32(act[r] + at);
        UNROLL for (int v = 0; v < 2; v++) {
            __m256i pairs = _mm256_maddubs_epi16(size.v[v], _mm256_sign_epi8(a, w.v[v]));
            __m256i dot = _mm256_madd_epi16(pairs, ones);
            c->v[r][v] = first ? dot : _mm256_add_epi32(c->v[r][v], dot);
            KEEP(c->v[r][v]);
        }
    }
}

// Levels of a k4 step from its nibbles.
INLINE two_vectors book_levels(const uint8_t *at) {
    __m256i book = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113));
    two_vectors codes = nibbles(at);
    return (two_vectors){{_mm256_shuffle_epi8(book, codes.v[0]), _mm256_shuffle_epi8(book, codes.v[1])}};
}

// `parts` parts of 32 k make a panel record. Levels of a part come first, its scales follow: half floats in a q8_0
// panel, f32 where unpacked.
INLINE void body_signed(const int rows, const int direct, const int parts, const uint8_t *w, mosa_act_rows act,
                        int64_t at, float *acc, int64_t records) {
    tile_sums y;
    tile_load(rows, &y, acc);
    for (records *= parts; records > 0; records--) {
        tile_ints c;
        UNROLL for (int k = 0; k < 8; k++) {
            if (direct) prefetch_ahead(w + 64 * k);
            step_signed(rows, &c, load_two(w + 64 * k), act, at + 4 * k, k == 0);
        }
        const uint8_t *d = w + (direct ? MOSA_PANEL_Q8_0_D : UNPACKED_D);
        __m256 d0 = direct ? load_half8(d) : _mm256_loadu_ps((const float *)d);
        __m256 d1 = direct ? load_half8(d + 16) : _mm256_loadu_ps((const float *)d + 8);
        add_product(rows, &y, &c, d0, d1, act, at + offsetof(mosa_act_s8_32, d));
        w += direct ? MOSA_PANEL_Q8_0 : UNPACKED_BYTES;
        at += sizeof(mosa_act_s8_32);
    }
    tile_store(rows, &y, acc);
}

TILES_1_TO_4(q8_0, body_signed, 1, 1)
TILES_1_TO_4(iq4_nl, body_signed, 0, 1)
TILES_1_TO_4(iq4_xs, body_signed, 0, 8)

static void unpack_codes(const uint8_t *codes, uint8_t *out) {
    for (int k = 0; k < 8; k++) store_two(out + 64 * k, book_levels(codes + 32 * k));
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

const mosa_linear_format *mosa_avx2_linear_signed_32(mosa_dtype dtype) {
    static const mosa_linear_format q8_0_format = {
        .record_k = 32,
        .record_bytes = MOSA_PANEL_Q8_0,
        .act_bytes = sizeof(mosa_act_s8_32),
        .tile_rows = 4,
        .direct_rows = INT32_MAX,
        .direct_chunk = 16,
        .direct = TILE_TABLE_4(q8_0),
    };
    static const mosa_linear_format iq4_nl_format = {
        .record_k = 32,
        .record_bytes = MOSA_PANEL_IQ4_NL,
        .act_bytes = sizeof(mosa_act_s8_32),
        .tile_rows = 4,
        .unpacked_bytes = UNPACKED_BYTES,
        .unpacked_chunk = 8,
        .unpack = iq4_nl_unpack,
        .unpacked = TILE_TABLE_4(iq4_nl),
    };
    static const mosa_linear_format iq4_xs_format = {
        .record_k = 256,
        .record_bytes = MOSA_PANEL_IQ4_XS,
        .act_bytes = 8 * sizeof(mosa_act_s8_32),
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
