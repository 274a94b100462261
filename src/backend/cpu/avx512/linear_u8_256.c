// LINEAR tiles for super-blocks of 256 with signed levels and signed scales per 16: q6_k, q3_k.
//
// The activations are 128 + a, the unsigned operand. What the 128 adds is the same for every row: the sums start from a
// constant, which a q6_k panel holds and a q3_k tile makes from the levels as it goes.
#include "backend/cpu/avx512/linear_tile.h"

// Unpacked record: s8 [64 k4][16][4], then what follows the levels in the panel record.
enum { UNPACKED_BYTES = 4096 + 384 };

INLINE int level_bytes(const mosa_dtype dtype) {
    return dtype == MOSA_Q6_K ? MOSA_PANEL_Q6_K_SCALE : MOSA_PANEL_Q3_K_SCALE;
}
INLINE int record_bytes(const mosa_dtype dtype) {
    return dtype == MOSA_Q6_K ? MOSA_PANEL_Q6_K : MOSA_PANEL_Q3_K;
}

// Signed levels of k4 step `k` (a constant) of group g.
INLINE __m512i panel_levels(const mosa_dtype dtype, const uint8_t *w, int g, const int k) {
    if (dtype == MOSA_Q6_K) {
        __m512i levels = nibbles(w + 128 * g + 32 * k);
        __m512i plane = load256_twice(w + MOSA_PANEL_Q6_K_HIGH + 64 * g + k / 2 * 32);
        levels = OR_IF(levels, plane_pair(plane, k % 2, 4), _mm512_set1_epi8(0x30));
        return _mm512_sub_epi8(levels, _mm512_set1_epi8(32));
    }
    __m512i pairs = load256_twice(w + 64 * g + k / 2 * 32), plane = load256_twice(w + MOSA_PANEL_Q3_K_HIGH + 32 * g);
    __m512i levels = _mm512_and_si512(plane_pair(pairs, k % 2, 0), _mm512_set1_epi8(3));
    levels = OR_IF(levels, plane_bit(plane, k, 2), _mm512_set1_epi8(4));
    return _mm512_sub_epi8(levels, _mm512_set1_epi8(4));
}

// Six-bit scale of group g of 16 rows from the file's packing, less 32.
INLINE __m128i q3_k_scales(const uint8_t *scales, int g) {
    __m128i low = load128(scales + 16 * (g % 8)), high = load128(scales + 16 * (8 + g % 4));
    low = _mm_and_si128(g < 8 ? low : _mm_srli_epi16(low, 4), _mm_set1_epi8(15));
    high = _mm_and_si128(_mm_srl_epi16(high, _mm_cvtsi32_si128(g / 4 * 2)), _mm_set1_epi8(3));
    return _mm_sub_epi8(_mm_or_si128(low, _mm_slli_epi16(high, 4)), _mm_set1_epi8(32));
}

INLINE __m512i group_scale(const mosa_dtype dtype, const uint8_t *w, int g) {
    return _mm512_cvtepi8_epi32(dtype == MOSA_Q6_K ? load128(w + MOSA_PANEL_Q6_K_SCALE + 16 * g)
                                                   : q3_k_scales(w + MOSA_PANEL_Q3_K_SCALE, g));
}

// sum += scale * (levels * activations) of the 16 k of group g; for q3_k the 128 is taken off.
INLINE void add_group(const int rows, const mosa_dtype dtype, const int direct, __m512i scale, tile_ints *sum,
                      const uint8_t *w, int g, mosa_act_rows act, int64_t at) {
    const int parts = rows <= 4 ? 2 : 1;
    __m512i surplus = _mm512_setzero_si512();
    tile_ints c;
    UNROLL for (int i = 0; i < rows * parts; i++) c.v[i] = _mm512_setzero_si512();
    UNROLL for (int k = 0; k < 4; k++) {
        __m512i levels = direct ? panel_levels(dtype, w, g, k) : load512(w + 256 * g + 64 * k);
        if (dtype == MOSA_Q3_K) surplus = _mm512_dpbusd_epi32(surplus, _mm512_set1_epi8(-128), levels);
        UNROLL for (int r = 0; r < rows; r++) {
            __m512i *part = &c.v[r + k % parts * rows];
            *part = _mm512_dpbusd_epi32(*part, broadcast32(act[r] + at + 16 * g + 4 * k), levels);
            KEEP(*part);
        }
    }
    UNROLL for (int r = 0; r < rows; r++) {
        __m512i dot = sum_of_parts(rows, parts, &c, r);
        if (dtype == MOSA_Q3_K) dot = _mm512_sub_epi32(dot, surplus);
        sum->v[r] = _mm512_add_epi32(sum->v[r], _mm512_mullo_epi32(dot, scale));
    }
}

INLINE void body_16(const int rows, const mosa_dtype dtype, const int direct, const uint8_t *w, mosa_act_rows act,
                    int64_t at, float *acc, int64_t records) {
    tile_sums y;
    tile_load(rows, &y, acc);
    for (; records > 0; records--) {
        tile_ints sum;
        const uint8_t *rest = direct ? w : w + 4096 - level_bytes(dtype); // what is not levels, at its panel offsets
        __m512i start = dtype == MOSA_Q6_K ? load512(rest + MOSA_PANEL_Q6_K_START) : _mm512_setzero_si512();
        UNROLL for (int r = 0; r < rows; r++) sum.v[r] = start;
        for (int g = 0; g < 16; g++) {
            if (direct) prefetch_piece(w, record_bytes(dtype), 16, g);
            add_group(rows, dtype, direct, group_scale(dtype, rest, g), &sum, w, g, act, at);
        }
        __m512 d = load_half16(rest + (dtype == MOSA_Q6_K ? MOSA_PANEL_Q6_K_D : MOSA_PANEL_Q3_K_D));
        UNROLL for (int r = 0; r < rows; r++) {
            __m512 da = broadcast_f32(act[r] + at + offsetof(mosa_act_u8_256, d));
            y.v[r] = _mm512_fmadd_ps(d, _mm512_mul_ps(da, _mm512_cvtepi32_ps(sum.v[r])), y.v[r]);
        }
        w += direct ? record_bytes(dtype) : UNPACKED_BYTES;
        at += sizeof(mosa_act_u8_256);
    }
    tile_store(rows, &y, acc);
}

INLINE void unpack_16(const mosa_dtype dtype, const uint8_t *record, uint8_t *out, int64_t records) {
    for (; records > 0; records--, record += record_bytes(dtype), out += UNPACKED_BYTES) {
        for (int g = 0; g < 16; g++)
            UNROLL for (int k = 0; k < 4; k++)
                _mm512_storeu_si512(out + 256 * g + 64 * k, panel_levels(dtype, record, g, k));
        __builtin_memcpy(out + 4096, record + level_bytes(dtype), (size_t)(record_bytes(dtype) - level_bytes(dtype)));
    }
}

#define FORMAT(name, dtype)                                                                                            \
    TILES(name##_direct, body_16, dtype, 1)                                                                            \
    TILES(name##_unpacked, body_16, dtype, 0)                                                                          \
    static void name##_unpack(const uint8_t *record, uint8_t *out, int64_t records) {                                  \
        unpack_16(dtype, record, out, records);                                                                        \
    }                                                                                                                  \
    static const mosa_linear_format name##_format = {                                                                  \
        .record_k = 256,                                                                                               \
        .record_bytes = dtype == MOSA_Q6_K ? MOSA_PANEL_Q6_K : MOSA_PANEL_Q3_K,                                        \
        .act_bytes = sizeof(mosa_act_u8_256),                                                                          \
        .tile_rows = 8,                                                                                                \
        .direct_rows = 16,                                                                                             \
        .direct_chunk = 2,                                                                                             \
        .unpacked_bytes = UNPACKED_BYTES,                                                                              \
        .unpacked_chunk = 1,                                                                                           \
        .unpack = name##_unpack,                                                                                       \
        .direct = TILE_TABLE(name##_direct),                                                                           \
        .unpacked = TILE_TABLE(name##_unpacked),                                                                       \
    };

FORMAT(q6_k, MOSA_Q6_K)
FORMAT(q3_k, MOSA_Q3_K)

const mosa_linear_format *mosa_avx512_linear_u8_256(mosa_dtype dtype) {
    return dtype == MOSA_Q6_K ? &q6_k_format : dtype == MOSA_Q3_K ? &q3_k_format : NULL;
}
