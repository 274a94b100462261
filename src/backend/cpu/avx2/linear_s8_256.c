// LINEAR tiles for super-blocks of 256 with unsigned levels, integer scales and integer minima: q4_k, q5_k.
//
// Levels up to 15 fit eight k4 steps into int16 (30480), up to 31 four (31496); vpmaddwd with the group's scale then
// moves them into int32 exactly. Minima meet the activations' sums, two groups at a time.
#include "backend/cpu/avx2/linear_tile.h"

// Unpacked record: u8 [64 k4][16][4], int16 scale pairs [8 groups][16][2], int16 min pairs [4][16][2], f32 d[16],
// f32 dmin[16].
enum { UNPACKED_SCALE = 4096, UNPACKED_MIN = 4608, UNPACKED_D = 4864, UNPACKED_BYTES = 4992 };

typedef enum source_form { Q4_DIRECT, Q5_DIRECT, Q4_UNPACKED, Q5_UNPACKED } source_form;

// Scale bytes of a group as int16 pairs: (s, s) for each of 16 rows.
INLINE two_vectors scale_pairs(const uint8_t *at) {
    __m256i low = _mm256_setr_epi8(0, -1, 0, -1, 1, -1, 1, -1, 2, -1, 2, -1, 3, -1, 3, -1, //
                                   4, -1, 4, -1, 5, -1, 5, -1, 6, -1, 6, -1, 7, -1, 7, -1);
    __m256i all = _mm256_broadcastsi128_si256(load128(at));
    __m256i high = _mm256_or_si256(low, _mm256_set1_epi16(8)); // -1 | 8 stays -1
    return (two_vectors){{_mm256_shuffle_epi8(all, low), _mm256_shuffle_epi8(all, high)}};
}

INLINE two_vectors widen_u8(const uint8_t *at) {
    return (two_vectors){{_mm256_cvtepu8_epi16(load128(at)), _mm256_cvtepu8_epi16(load128(at + 16))}};
}

// Levels of k4 step `step` (a constant 0..3) of a group of four, fifth bits included.
INLINE two_vectors five_bits(const uint8_t *nibble, __m256i high, const int step) {
    __m256i bit = _mm256_set1_epi8(16);
    two_vectors w = nibbles(nibble);
    __m256i h0 = step < 2 ? _mm256_slli_epi16(high, 4 - 2 * step) : _mm256_srli_epi16(high, 2 * step - 4);
    __m256i h1 = step < 2 ? _mm256_slli_epi16(high, 3 - 2 * step) : _mm256_srli_epi16(high, 2 * step - 3);
    w.v[0] = _mm256_or_si256(w.v[0], _mm256_and_si256(h0, bit));
    w.v[1] = _mm256_or_si256(w.v[1], _mm256_and_si256(h1, bit));
    return w;
}

// sum += scale * (levels * activations) of group g, 32 k.
INLINE void add_group(const int rows, const source_form form, tile_ints *sum, const uint8_t *w, int g,
                      const uint8_t *act, int64_t stride, two_vectors scale) {
    tile_ints c;
    const int budget = form == Q4_DIRECT || form == Q4_UNPACKED ? 8 : 4; // steps that int16 holds
    __m256i high = _mm256_setzero_si256();
    UNROLL for (int k = 0; k < 8; k++) {
        two_vectors levels;
        if (form == Q4_UNPACKED || form == Q5_UNPACKED) {
            levels = load_two(w + 512 * g + 64 * k);
        } else {
            if (k % 2 == 0) prefetch_ahead(w + 256 * g + 32 * k);
            if (form == Q5_DIRECT && k % 4 == 0) high = load256(w + MOSA_PANEL_Q5_K_HIGH + 64 * g + 8 * k);
            levels = form == Q4_DIRECT ? nibbles(w + 256 * g + 32 * k) : five_bits(w + 256 * g + 32 * k, high, k % 4);
        }
        step_weight_unsigned(rows, &c, levels, act + 32 * g + 4 * k, stride, k % budget == 0);
        if (k % budget == budget - 1) add_scaled(rows, sum, &c, scale);
    }
}

// Where the parts of a record lie.
typedef struct record_parts {
    int scale, min, d, bytes;
} record_parts;

INLINE record_parts parts_of(const source_form form) {
    if (form == Q4_DIRECT)
        return (record_parts){MOSA_PANEL_Q4_K_SCALE, MOSA_PANEL_Q4_K_MIN, MOSA_PANEL_Q4_K_D, MOSA_PANEL_Q4_K};
    if (form == Q5_DIRECT)
        return (record_parts){MOSA_PANEL_Q5_K_SCALE, MOSA_PANEL_Q5_K_MIN, MOSA_PANEL_Q5_K_D, MOSA_PANEL_Q5_K};
    return (record_parts){UNPACKED_SCALE, UNPACKED_MIN, UNPACKED_D, UNPACKED_BYTES};
}

// y = fma(da, fma(d, (float)sum, -(dmin * (float)mins)), y)
INLINE void add_record(const int rows, const int direct, tile_sums *y, const tile_ints *sum, const tile_ints *mins,
                       const uint8_t *d, const uint8_t *act, int64_t stride) {
    UNROLL for (int v = 0; v < 2; v++) {
        __m256 scale = direct ? load_half8(d + 16 * v) : _mm256_loadu_ps((const float *)d + 8 * v);
        __m256 min = direct ? load_half8(d + 32 + 16 * v) : _mm256_loadu_ps((const float *)d + 16 + 8 * v);
        UNROLL for (int r = 0; r < rows; r++) {
            __m256 offset = _mm256_mul_ps(min, _mm256_cvtepi32_ps(mins->v[r][v]));
            __m256 dot = _mm256_fmsub_ps(scale, _mm256_cvtepi32_ps(sum->v[r][v]), offset);
            __m256 da = broadcast_f32(act + offsetof(mosa_act_s8_256, d) + r * stride);
            y->v[r][v] = _mm256_fmadd_ps(da, dot, y->v[r][v]);
        }
    }
}

INLINE void k_body(const int rows, const source_form form, const uint8_t *w, const uint8_t *act, int64_t stride,
                   float *acc, int64_t records) {
    const int direct = form == Q4_DIRECT || form == Q5_DIRECT;
    const record_parts at = parts_of(form);
    tile_sums y;
    tile_load(rows, &y, acc);
    for (; records > 0; records--) {
        tile_ints sum, mins;
        UNROLL for (int r = 0; r < rows; r++) sum.v[r][0] = sum.v[r][1] = mins.v[r][0] = mins.v[r][1] =
            _mm256_setzero_si256();
        for (int g = 0; g < 8; g++) {
            const uint8_t *scale = w + at.scale + (direct ? 16 : 64) * g;
            add_group(rows, form, &sum, w, g, act, stride, direct ? scale_pairs(scale) : load_two(scale));
        }
        for (int p = 0; p < 4; p++) {
            const uint8_t *min = w + at.min + (direct ? 32 : 64) * p;
            two_vectors pairs = direct ? widen_u8(min) : load_two(min);
            UNROLL for (int r = 0; r < rows; r++) {
                __m256i a = broadcast32(act + offsetof(mosa_act_s8_256, sum32) + 4 * p + r * stride);
                mins.v[r][0] = _mm256_add_epi32(mins.v[r][0], _mm256_madd_epi16(pairs.v[0], a));
                mins.v[r][1] = _mm256_add_epi32(mins.v[r][1], _mm256_madd_epi16(pairs.v[1], a));
            }
        }
        add_record(rows, direct, &y, &sum, &mins, w + at.d, act, stride);
        w += at.bytes;
        act += sizeof(mosa_act_s8_256);
    }
    tile_store(rows, &y, acc);
}

TILES_1_TO_4(q4_k_direct, k_body, Q4_DIRECT)
TILES_1_TO_4(q5_k_direct, k_body, Q5_DIRECT)
TILES_1_TO_4(q4_k_unpacked, k_body, Q4_UNPACKED)
TILES_1_TO_4(q5_k_unpacked, k_body, Q5_UNPACKED)

INLINE void unpack_record(const source_form form, const uint8_t *record, uint8_t *out) {
    const record_parts at = parts_of(form);
    for (int i = 0; i < 16; i++) {
        __m256i high = form == Q5_DIRECT ? load256(record + MOSA_PANEL_Q5_K_HIGH + 32 * i) : _mm256_setzero_si256();
        UNROLL for (int s = 0; s < 4; s++) {
            const uint8_t *nibble = record + 128 * i + 32 * s;
            two_vectors w = form == Q5_DIRECT ? five_bits(nibble, high, s) : nibbles(nibble);
            store256(out + 256 * i + 64 * s, w.v[0]);
            store256(out + 256 * i + 64 * s + 32, w.v[1]);
        }
    }
    for (int g = 0; g < 8; g++) {
        two_vectors scale = scale_pairs(record + at.scale + 16 * g);
        store256(out + UNPACKED_SCALE + 64 * g, scale.v[0]);
        store256(out + UNPACKED_SCALE + 64 * g + 32, scale.v[1]);
    }
    for (int p = 0; p < 4; p++) {
        two_vectors min = widen_u8(record + at.min + 32 * p);
        store256(out + UNPACKED_MIN + 64 * p, min.v[0]);
        store256(out + UNPACKED_MIN + 64 * p + 32, min.v[1]);
    }
    for (int i = 0; i < 4; i++)
        _mm256_storeu_ps((float *)(out + UNPACKED_D) + 8 * i, load_half8(record + at.d + 16 * i));
}

static void q4_k_unpack(const uint8_t *record, uint8_t *out, int64_t records) {
    for (int64_t i = 0; i < records; i++)
        unpack_record(Q4_DIRECT, record + i * MOSA_PANEL_Q4_K, out + i * UNPACKED_BYTES);
}

static void q5_k_unpack(const uint8_t *record, uint8_t *out, int64_t records) {
    for (int64_t i = 0; i < records; i++)
        unpack_record(Q5_DIRECT, record + i * MOSA_PANEL_Q5_K, out + i * UNPACKED_BYTES);
}

const linear_format *mosa_avx2_linear_s8_256(mosa_dtype dtype) {
    static const linear_format q4_k = {
        .record_k = 256,
        .record_bytes = MOSA_PANEL_Q4_K,
        .act_bytes = sizeof(mosa_act_s8_256),
        .tile_rows = 4,
        .direct_rows = 16,
        .unpacked_bytes = UNPACKED_BYTES,
        .chunk = 1,
        .unpack = q4_k_unpack,
        .direct = TILE_TABLE_4(q4_k_direct),
        .unpacked = TILE_TABLE_4(q4_k_unpacked),
    };
    static const linear_format q5_k = {
        .record_k = 256,
        .record_bytes = MOSA_PANEL_Q5_K,
        .act_bytes = sizeof(mosa_act_s8_256),
        .tile_rows = 4,
        .direct_rows = 4,
        .unpacked_bytes = UNPACKED_BYTES,
        .chunk = 1,
        .unpack = q5_k_unpack,
        .direct = TILE_TABLE_4(q5_k_direct),
        .unpacked = TILE_TABLE_4(q5_k_unpacked),
    };
    return dtype == MOSA_Q4_K ? &q4_k : dtype == MOSA_Q5_K ? &q5_k : NULL;
}
