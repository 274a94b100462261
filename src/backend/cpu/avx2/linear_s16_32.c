// LINEAR tiles for signed levels of eight bits with one scale per 32: q8_0 and the code books iq4_nl and iq4_xs.
// Signed 8 x 8 bits would overflow vpmaddubsw, so both sides are widened to int16 and vpmaddwd adds pairs of k into
// int32: exact for every level, -128 included.
#include "backend/cpu/avx2/linear_tile.h"

// Unpacked record of 32 k: s8 [16 k2][16][2], f32 d[16].
enum { UNPACKED_D = 512, UNPACKED_BYTES = 576 };

typedef enum source_form { Q8_DIRECT, NL_DIRECT, XS_DIRECT, UNPACKED } source_form;

INLINE two_vectors widen(__m128i low, __m128i high) {
    return (two_vectors){{_mm256_cvtepi8_epi16(low), _mm256_cvtepi8_epi16(high)}};
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

// Levels of two k2 steps from the 32 bytes of a nibbles2 plane.
INLINE two_vectors book_levels(const uint8_t *at) {
    __m256i book = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113));
    two_vectors codes = nibbles(at);
    return (two_vectors){{_mm256_shuffle_epi8(book, codes.v[0]), _mm256_shuffle_epi8(book, codes.v[1])}};
}

// sum of level * activation over 32 k; w points at the levels (or codes) of these.
INLINE void dot_32(const int rows, const int codes, const int prefetch, tile_ints *c, const uint8_t *w,
                   const uint8_t *act, int64_t stride) {
    UNROLL for (int k = 0; k < 16; k += 2) {
        if (prefetch && (!codes || k % 4 == 0)) prefetch_ahead(w + (codes ? 16 : 32) * k);
        two_vectors both = codes ? book_levels(w + 16 * k) : load_two(w + 32 * k);
        UNROLL for (int s = 0; s < 2; s++) {
            __m128i low = _mm256_castsi256_si128(both.v[s]), high = _mm256_extracti128_si256(both.v[s], 1);
            two_vectors levels =
                codes ? widen(low, high) : widen(load128(w + 32 * (k + s)), load128(w + 32 * (k + s) + 16));
            step_pairs(rows, c, levels, act + 4 * (k + s), stride, k + s == 0);
        }
    }
}

INLINE __m256 panel_scale(const source_form form, const uint8_t *w, int part, const int half) {
    if (form == UNPACKED) return _mm256_loadu_ps((const float *)(w + UNPACKED_D) + 8 * half);
    if (form == Q8_DIRECT) return load_half8(w + MOSA_PANEL_Q8_0_D + 16 * half);
    if (form == NL_DIRECT) return load_half8(w + MOSA_PANEL_IQ4_NL_D + 16 * half);
    const __m128i *bytes = (const __m128i *)(w + MOSA_PANEL_IQ4_XS_SCALE + 16 * part + 8 * half);
    __m256 scale = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(bytes)));
    return _mm256_mul_ps(load_half8(w + MOSA_PANEL_IQ4_XS_D + 16 * half), scale);
}

INLINE void body(const int rows, const source_form form, const int parts, const int bytes, const uint8_t *w,
                 const uint8_t *act, int64_t stride, float *acc, int64_t records) {
    const int codes = form == NL_DIRECT || form == XS_DIRECT;
    tile_sums y;
    tile_load(rows, &y, acc);
    for (; records > 0; records--, w += bytes) {
        for (int part = 0; part < parts; part++) {
            tile_ints c;
            dot_32(rows, codes, form != UNPACKED, &c, w + (form == XS_DIRECT ? 256 : UNPACKED_BYTES) * part, act,
                   stride);
            const uint8_t *scales = form == UNPACKED ? w + UNPACKED_BYTES * part : w;
            add_product(rows, &y, &c, panel_scale(form, scales, part, 0), panel_scale(form, scales, part, 1),
                        act + offsetof(mosa_act_s16_32, d), stride);
            act += sizeof(mosa_act_s16_32);
        }
    }
    tile_store(rows, &y, acc);
}

TILES_1_TO_4(q8_0, body, Q8_DIRECT, 1, MOSA_PANEL_Q8_0)
TILES_1_TO_4(iq4_nl_direct, body, NL_DIRECT, 1, MOSA_PANEL_IQ4_NL)
TILES_1_TO_4(iq4_xs_direct, body, XS_DIRECT, 8, MOSA_PANEL_IQ4_XS)
TILES_1_TO_4(unpacked_1, body, UNPACKED, 1, UNPACKED_BYTES)
TILES_1_TO_4(unpacked_8, body, UNPACKED, 8, 8 * UNPACKED_BYTES)

INLINE void unpack_part(const source_form form, const uint8_t *record, int part, uint8_t *out) {
    for (int i = 0; i < 8; i++) {
        two_vectors levels = book_levels(record + 256 * part + 32 * i);
        store256(out + 64 * i, levels.v[0]);
        store256(out + 64 * i + 32, levels.v[1]);
    }
    _mm256_storeu_ps((float *)(out + UNPACKED_D), panel_scale(form, record, part, 0));
    _mm256_storeu_ps((float *)(out + UNPACKED_D) + 8, panel_scale(form, record, part, 1));
}

static void iq4_nl_unpack(const uint8_t *record, uint8_t *out, int64_t records) {
    for (int64_t i = 0; i < records; i++)
        unpack_part(NL_DIRECT, record + i * MOSA_PANEL_IQ4_NL, 0, out + i * UNPACKED_BYTES);
}

static void iq4_xs_unpack(const uint8_t *record, uint8_t *out, int64_t records) {
    for (int64_t i = 0; i < 8 * records; i++)
        unpack_part(XS_DIRECT, record + i / 8 * MOSA_PANEL_IQ4_XS, (int)(i % 8), out + i * UNPACKED_BYTES);
}

const linear_format *mosa_avx2_linear_s16_32(mosa_dtype dtype) {
    static const linear_format q8_0_format = {
        .record_k = 32,
        .record_bytes = MOSA_PANEL_Q8_0,
        .act_bytes = sizeof(mosa_act_s16_32),
        .tile_rows = 4,
        .direct_rows = INT32_MAX,
        .chunk = 8,
        .direct = TILE_TABLE_4(q8_0),
    };
    static const linear_format iq4_nl_format = {
        .record_k = 32,
        .record_bytes = MOSA_PANEL_IQ4_NL,
        .act_bytes = sizeof(mosa_act_s16_32),
        .tile_rows = 4,
        .direct_rows = 4,
        .unpacked_bytes = UNPACKED_BYTES,
        .chunk = 8,
        .unpack = iq4_nl_unpack,
        .direct = TILE_TABLE_4(iq4_nl_direct),
        .unpacked = TILE_TABLE_4(unpacked_1),
    };
    static const linear_format iq4_xs_format = {
        .record_k = 256,
        .record_bytes = MOSA_PANEL_IQ4_XS,
        .act_bytes = 8 * sizeof(mosa_act_s16_32),
        .tile_rows = 4,
        .direct_rows = 4,
        .unpacked_bytes = 8 * UNPACKED_BYTES,
        .chunk = 1,
        .unpack = iq4_xs_unpack,
        .direct = TILE_TABLE_4(iq4_xs_direct),
        .unpacked = TILE_TABLE_4(unpacked_8),
    };
    return dtype == MOSA_Q8_0     ? &q8_0_format
           : dtype == MOSA_IQ4_NL ? &iq4_nl_format
           : dtype == MOSA_IQ4_XS ? &iq4_xs_format
                                  : NULL;
}
