// LINEAR tiles for levels of at most five bits with one scale per 32: q4_0, q4_1, q5_0, q5_1, mxfp4.
//
// Unsigned levels times int8: of four bits, eight k4 steps fit int16 exactly (8 * 2 * 15 * 127 = 30480), of five bits
// four (31496). The zero point is taken off through the activations' sum; mxfp4 levels are moved up by 12 to 0..24.
#include "backend/cpu/avx2/linear_tile.h"

// Unpacked record: u8 [8 k4][16][4], f32 d[16], f32 m[16].
enum { UNPACKED_D = 512, UNPACKED_M = 576, UNPACKED_BYTES = 640 };

INLINE int zero_point(const mosa_dtype dtype) {
    return dtype == MOSA_Q4_0 ? 8 : dtype == MOSA_Q5_0 ? 16 : dtype == MOSA_MXFP4 ? 12 : 0;
}

INLINE int has_fifth_bit(const mosa_dtype dtype) {
    return dtype == MOSA_Q5_0 || dtype == MOSA_Q5_1;
}

INLINE int has_offset(const mosa_dtype dtype) {
    return dtype == MOSA_Q4_1 || dtype == MOSA_Q5_1;
}

INLINE int record_bytes(const mosa_dtype dtype) {
    int offset = has_offset(dtype) ? 32 : 0;
    if (dtype == MOSA_MXFP4) return MOSA_PANEL_MXFP4;
    return (has_fifth_bit(dtype) ? MOSA_PANEL_Q5_0 : MOSA_PANEL_Q4_0) + offset;
}

// Levels of k4 step `step` of a panel record.
INLINE two_vectors panel_levels(const mosa_dtype dtype, const uint8_t *record, const int step) {
    two_vectors w = nibbles(record + 32 * step);
    if (has_fifth_bit(dtype)) return with_fifth_bits(w, load256(record + MOSA_PANEL_32_HIGH + step / 4 * 32), step % 4);
    if (dtype != MOSA_MXFP4) return w;
    __m256i book = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0)); // 12 + twice the FP4 value
    return (two_vectors){{_mm256_shuffle_epi8(book, w.v[0]), _mm256_shuffle_epi8(book, w.v[1])}};
}

// 2^(e - 128) for eight exponent bytes, the two smallest being subnormal.
INLINE __m256 powers_of_two(const uint8_t *at) {
    __m256i e = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)at));
    __m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(e, _mm256_set1_epi32(1)), 23);
    __m256i subnormal = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), e);
    __m256i small = _mm256_cmpgt_epi32(_mm256_set1_epi32(2), e);
    return _mm256_castsi256_ps(_mm256_blendv_epi8(normal, subnormal, small));
}

INLINE __m256 panel_scale(const mosa_dtype dtype, const uint8_t *record, const int half) {
    if (dtype == MOSA_MXFP4) return powers_of_two(record + MOSA_PANEL_MXFP4_E + 8 * half);
    return load_half8(record + (has_fifth_bit(dtype) ? MOSA_PANEL_Q5_0_D : MOSA_PANEL_Q4_0_D) + 16 * half);
}

INLINE __m256 panel_offset(const mosa_dtype dtype, const uint8_t *record, const int half) {
    return load_half8(record + (dtype == MOSA_Q4_1 ? MOSA_PANEL_Q4_1_M : MOSA_PANEL_Q5_1_M) + 16 * half);
}

INLINE __m256 unpacked_vector(const uint8_t *record, int at, const int half) {
    return _mm256_loadu_ps((const float *)(record + at) + 8 * half);
}

// y = fma(m, da * (float)A, y)
INLINE void add_offset(const int rows, tile_sums *y, __m256 m0, __m256 m1, mosa_act_rows act, int64_t at) {
    UNROLL for (int r = 0; r < rows; r++) {
        __m256 sum = _mm256_cvtepi32_ps(broadcast32(act[r] + at + offsetof(mosa_act_s8_32, sum)));
        __m256 scaled = _mm256_mul_ps(broadcast_f32(act[r] + at + offsetof(mosa_act_s8_32, d)), sum);
        y->v[r][0] = _mm256_fmadd_ps(m0, scaled, y->v[r][0]);
        y->v[r][1] = _mm256_fmadd_ps(m1, scaled, y->v[r][1]);
    }
}

// sum of (level - zero point) * activation over the 32 k of a record
INLINE void dot_record(const int rows, const mosa_dtype dtype, const int direct, tile_ints *sum, const uint8_t *w,
                       mosa_act_rows act, int64_t at) {
    const int budget = has_fifth_bit(dtype) || dtype == MOSA_MXFP4 ? 4 : 8; // steps that int16 holds
    two_vectors ones = {{_mm256_set1_epi16(1), _mm256_set1_epi16(1)}};
    tile_ints c;
    UNROLL for (int r = 0; r < rows; r++) {
        __m256i level_sum = broadcast32(act[r] + at + offsetof(mosa_act_s8_32, sum));
        __m256i zero = _mm256_mullo_epi32(level_sum, _mm256_set1_epi32(-zero_point(dtype)));
        sum->v[r][0] = sum->v[r][1] = zero_point(dtype) ? zero : _mm256_setzero_si256();
    }
    UNROLL for (int k = 0; k < 8; k++) {
        if (direct && k % 2 == 0) prefetch_ahead(w + 32 * k);
        step_weight_unsigned(rows, &c, direct ? panel_levels(dtype, w, k) : load_two(w + 64 * k), act, at + 4 * k,
                             k % budget == 0);
        if (k % budget == budget - 1) add_scaled(rows, sum, &c, ones);
    }
}

INLINE void body_32(const int rows, const mosa_dtype dtype, const int direct, const uint8_t *w, mosa_act_rows act,
                    int64_t at, float *acc, int64_t records) {
    tile_sums y;
    tile_load(rows, &y, acc);
    for (; records > 0; records--) {
        tile_ints sum;
        dot_record(rows, dtype, direct, &sum, w, act, at);
        add_product(rows, &y, &sum, direct ? panel_scale(dtype, w, 0) : unpacked_vector(w, UNPACKED_D, 0),
                    direct ? panel_scale(dtype, w, 1) : unpacked_vector(w, UNPACKED_D, 1), act,
                    at + offsetof(mosa_act_s8_32, d));
        if (has_offset(dtype))
            add_offset(rows, &y, direct ? panel_offset(dtype, w, 0) : unpacked_vector(w, UNPACKED_M, 0),
                       direct ? panel_offset(dtype, w, 1) : unpacked_vector(w, UNPACKED_M, 1), act, at);
        w += direct ? record_bytes(dtype) : UNPACKED_BYTES;
        at += sizeof(mosa_act_s8_32);
    }
    tile_store(rows, &y, acc);
}

INLINE void unpack_32(const mosa_dtype dtype, const uint8_t *record, uint8_t *out, int64_t records) {
    for (; records > 0; records--, record += record_bytes(dtype), out += UNPACKED_BYTES) {
        UNROLL for (int k = 0; k < 8; k++) {
            two_vectors w = panel_levels(dtype, record, k);
            store256(out + 64 * k, w.v[0]);
            store256(out + 64 * k + 32, w.v[1]);
        }
        UNROLL for (int half = 0; half < 2; half++) {
            _mm256_storeu_ps((float *)(out + UNPACKED_D) + 8 * half, panel_scale(dtype, record, half));
            if (has_offset(dtype))
                _mm256_storeu_ps((float *)(out + UNPACKED_M) + 8 * half, panel_offset(dtype, record, half));
        }
    }
}

// All of a type: its tiles, its unpacking and its format.
#define FORMAT_32(name, dtype, bytes, most_direct_rows)                                                                \
    TILES_1_TO_4(name##_direct, body_32, dtype, 1)                                                                     \
    TILES_1_TO_4(name##_unpacked, body_32, dtype, 0)                                                                   \
    static void name##_unpack(const uint8_t *record, uint8_t *out, int64_t records) {                                  \
        unpack_32(dtype, record, out, records);                                                                        \
    }                                                                                                                  \
    static const mosa_linear_format name = {                                                                           \
        .record_k = 32,                                                                                                \
        .record_bytes = bytes,                                                                                         \
        .act_bytes = sizeof(mosa_act_s8_32),                                                                           \
        .tile_rows = 4,                                                                                                \
        .direct_rows = most_direct_rows,                                                                               \
        .unpacked_bytes = UNPACKED_BYTES,                                                                              \
        .direct_chunk = 16,                                                                                            \
        .unpacked_chunk = 8,                                                                                           \
        .unpack = name##_unpack,                                                                                       \
        .direct = TILE_TABLE_4(name##_direct),                                                                         \
        .unpacked = TILE_TABLE_4(name##_unpacked),                                                                     \
    };

FORMAT_32(q4_0, MOSA_Q4_0, MOSA_PANEL_Q4_0, 16)
FORMAT_32(q4_1, MOSA_Q4_1, MOSA_PANEL_Q4_1, 16)
FORMAT_32(q5_0, MOSA_Q5_0, MOSA_PANEL_Q5_0, 4)
FORMAT_32(q5_1, MOSA_Q5_1, MOSA_PANEL_Q5_1, 4)
FORMAT_32(mxfp4, MOSA_MXFP4, MOSA_PANEL_MXFP4, 8)

const mosa_linear_format *mosa_avx2_linear_s8_32(mosa_dtype dtype) {
    switch (dtype) {
    case MOSA_Q4_0:
        return &q4_0;
    case MOSA_Q4_1:
        return &q4_1;
    case MOSA_Q5_0:
        return &q5_0;
    case MOSA_Q5_1:
        return &q5_1;
    case MOSA_MXFP4:
        return &mxfp4;
    default:
        return NULL;
    }
}
