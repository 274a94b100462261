// LINEAR tiles for types with one scale per 32: q4_0, q4_1, q5_0, q5_1, mxfp4, q8_0, iq4_nl, iq4_xs.
//
// Levels become unsigned bytes by adding a zero point, which is taken off again through the activations' sum.
#include "backend/cpu/avx512/linear_tile.h"

INLINE int has_fifth_bit(const mosa_dtype dtype) {
    return dtype == MOSA_Q5_0 || dtype == MOSA_Q5_1;
}
INLINE int has_offset(const mosa_dtype dtype) {
    return dtype == MOSA_Q4_1 || dtype == MOSA_Q5_1;
}
INLINE int is_iq4(const mosa_dtype dtype) {
    return dtype == MOSA_IQ4_NL || dtype == MOSA_IQ4_XS;
}

INLINE int record_bytes(const mosa_dtype dtype) {
    int offset = has_offset(dtype) ? 32 : 0;
    if (dtype == MOSA_MXFP4) return MOSA_PANEL_MXFP4;
    if (dtype == MOSA_Q8_0) return MOSA_PANEL_Q8_0;
    if (dtype == MOSA_IQ4_XS) return MOSA_PANEL_IQ4_XS;
    return (has_fifth_bit(dtype) ? MOSA_PANEL_Q5_0 : MOSA_PANEL_Q4_0) + offset; // iq4_nl is as q4_0
}

// Levels plus zero point of k4 step `step` (a constant) of 32 k: `part` of a record.
INLINE __m512i panel_levels(const mosa_dtype dtype, const uint8_t *record, const int part, const int step) {
    if (dtype == MOSA_Q8_0) return _mm512_xor_si512(load512(record + 64 * step), _mm512_set1_epi8(-128));
    __m512i w = nibbles(record + 256 * part + 32 * step);
    if (is_iq4(dtype)) // 128 + the code book
        return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_setr_epi8(1, 24, 45, 63, 79, 93, 106, 118, -127, -115,
                                                                        -103, -90, -75, -59, -39, -15)),
                                   w);
    if (dtype == MOSA_MXFP4) // 12 + twice the FP4 value
        return _mm512_shuffle_epi8(
            _mm512_broadcast_i32x4(_mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0)), w);
    if (!has_fifth_bit(dtype)) return w;
    __m512i plane = load256_twice(record + MOSA_PANEL_32_HIGH + step / 4 * 32);
    return OR_IF(w, plane_bit(plane, step % 4, 4), _mm512_set1_epi8(16));
}

// sum of activations times the zero point
INLINE __m512i zero_sum(const mosa_dtype dtype, __m512i sum) {
    switch (dtype) {
    case MOSA_Q4_0:
        return _mm512_slli_epi32(sum, 3);
    case MOSA_Q5_0:
        return _mm512_slli_epi32(sum, 4);
    case MOSA_MXFP4:
        return _mm512_add_epi32(_mm512_slli_epi32(sum, 3), _mm512_slli_epi32(sum, 2));
    case MOSA_Q4_1:
    case MOSA_Q5_1:
        return _mm512_setzero_si512();
    default:
        return _mm512_slli_epi32(sum, 7);
    }
}

// 2^(e - 128) for 16 exponent bytes, the two smallest being subnormal.
INLINE __m512 powers_of_two(const uint8_t *at) {
    __m512i e = _mm512_cvtepu8_epi32(load128(at));
    __m512i normal = _mm512_slli_epi32(_mm512_sub_epi32(e, _mm512_set1_epi32(1)), 23);
    __m512i subnormal = _mm512_sllv_epi32(_mm512_set1_epi32(0x00200000), e);
    __mmask16 small = _mm512_cmplt_epi32_mask(e, _mm512_set1_epi32(2));
    return _mm512_castsi512_ps(_mm512_mask_mov_epi32(normal, small, subnormal));
}

INLINE __m512 panel_scale(const mosa_dtype dtype, const uint8_t *record, const int part) {
    if (dtype == MOSA_MXFP4) return powers_of_two(record + MOSA_PANEL_MXFP4_E);
    if (dtype == MOSA_Q8_0) return load_half16(record + MOSA_PANEL_Q8_0_D);
    if (dtype != MOSA_IQ4_XS)
        return load_half16(record + (has_fifth_bit(dtype) ? MOSA_PANEL_Q5_0_D : MOSA_PANEL_Q4_0_D));
    __m512i scale = _mm512_cvtepi8_epi32(load128(record + MOSA_PANEL_IQ4_XS_SCALE + 16 * part));
    return _mm512_mul_ps(load_half16(record + MOSA_PANEL_IQ4_XS_D), _mm512_cvtepi32_ps(scale));
}

INLINE __m512 panel_offset(const mosa_dtype dtype, const uint8_t *record) {
    return load_half16(record + (dtype == MOSA_Q4_1 ? MOSA_PANEL_Q4_1_M : MOSA_PANEL_Q5_1_M));
}

// y = fma(d, da * (float)S, y), and y = fma(m, da * (float)A, y) where there is an offset
INLINE void add_part(const int rows, const int parts, const mosa_dtype dtype, tile_sums *y, const tile_ints *c,
                     __m512 d, __m512 m, mosa_act_rows act, int64_t at) {
    UNROLL for (int r = 0; r < rows; r++) {
        __m512i sum = broadcast32(act[r] + at + offsetof(mosa_act_s8_32, sum));
        __m512i dot = _mm512_sub_epi32(sum_of_parts(rows, parts, c, r), zero_sum(dtype, sum));
        __m512 da = broadcast_f32(act[r] + at + offsetof(mosa_act_s8_32, d));
        y->v[r] = _mm512_fmadd_ps(d, _mm512_mul_ps(da, _mm512_cvtepi32_ps(dot)), y->v[r]);
        if (has_offset(dtype)) y->v[r] = _mm512_fmadd_ps(m, _mm512_mul_ps(da, _mm512_cvtepi32_ps(sum)), y->v[r]);
    }
}

// The 32 k of a part: levels times activations.
INLINE void dot_part(const int rows, const int parts, const mosa_dtype dtype, tile_ints *c, const uint8_t *w,
                     const int part, mosa_act_rows act, int64_t at) {
    UNROLL for (int i = 0; i < rows * parts; i++) c->v[i] = _mm512_setzero_si512();
    UNROLL for (int k = 0; k < 8; k++) {
        __m512i levels = panel_levels(dtype, w, part, k);
        UNROLL for (int r = 0; r < rows; r++) {
            __m512i *sum = &c->v[r + k % parts * rows];
            *sum = _mm512_dpbusd_epi32(*sum, levels, broadcast32(act[r] + at + 4 * k));
            KEEP(*sum);
        }
    }
}

INLINE void body_32(const int rows, const mosa_dtype dtype, const uint8_t *w, mosa_act_rows act, int64_t at, float *acc,
                    int64_t records) {
    const int parts = rows <= 2 ? 4 : rows <= 4 ? 2 : 1; // of each sum
    tile_sums y;
    tile_load(rows, &y, acc);
    for (; records > 0; records--) {
        for (int part = 0; part < (dtype == MOSA_IQ4_XS ? 8 : 1); part++) {
            tile_ints c;
            prefetch_piece(w, record_bytes(dtype), dtype == MOSA_IQ4_XS ? 8 : 1, part);
            dot_part(rows, parts, dtype, &c, w, part, act, at);
            __m512 d = panel_scale(dtype, w, part);
            add_part(rows, parts, dtype, &y, &c, d, has_offset(dtype) ? panel_offset(dtype, w) : d, act, at);
            at += sizeof(mosa_act_s8_32);
        }
        w += record_bytes(dtype);
    }
    tile_store(rows, &y, acc);
}

// All of a type: its tiles and its format.
#define FORMAT(name, dtype, k, bytes, chunk)                                                                           \
    TILES(name, body_32, dtype)                                                                                        \
    static const mosa_linear_format name##_format = {                                                                  \
        .record_k = k,                                                                                                 \
        .record_bytes = bytes,                                                                                         \
        .act_bytes = k / 32 * sizeof(mosa_act_s8_32),                                                                  \
        .tile_rows = 8,                                                                                                \
        .direct_rows = INT32_MAX,                                                                                      \
        .direct_chunk = chunk,                                                                                         \
        .direct = TILE_TABLE(name),                                                                                    \
    };

FORMAT(q4_0, MOSA_Q4_0, 32, MOSA_PANEL_Q4_0, 32)
FORMAT(q4_1, MOSA_Q4_1, 32, MOSA_PANEL_Q4_1, 16)
FORMAT(q5_0, MOSA_Q5_0, 32, MOSA_PANEL_Q5_0, 16)
FORMAT(q5_1, MOSA_Q5_1, 32, MOSA_PANEL_Q5_1, 16)
FORMAT(q8_0, MOSA_Q8_0, 32, MOSA_PANEL_Q8_0, 16)
FORMAT(mxfp4, MOSA_MXFP4, 32, MOSA_PANEL_MXFP4, 16)
FORMAT(iq4_nl, MOSA_IQ4_NL, 32, MOSA_PANEL_IQ4_NL, 16)
FORMAT(iq4_xs, MOSA_IQ4_XS, 256, MOSA_PANEL_IQ4_XS, 2)

const mosa_linear_format *mosa_avx512_linear_s8_32(mosa_dtype dtype) {
    static const mosa_linear_format *const formats[MOSA_DTYPE_COUNT] = {
        [MOSA_Q4_0] = &q4_0_format,     [MOSA_Q4_1] = &q4_1_format,     [MOSA_Q5_0] = &q5_0_format,
        [MOSA_Q5_1] = &q5_1_format,     [MOSA_Q8_0] = &q8_0_format,     [MOSA_MXFP4] = &mxfp4_format,
        [MOSA_IQ4_NL] = &iq4_nl_format, [MOSA_IQ4_XS] = &iq4_xs_format,
    };
    return formats[dtype];
}
