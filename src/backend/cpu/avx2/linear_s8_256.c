// LINEAR tiles for super-blocks of 256 with unsigned levels, integer scales and integer minima: q4_k, q5_k, q2_k.
//
// Levels up to 15 fit eight k4 steps into int16 (30480), up to 31 four (31496); vpmaddwd with the group's scale then
// moves them into int32 exactly. Minima meet the activations' sums, two groups at a time.
#include "backend/cpu/avx2/linear_tile.h"

// Unpacked record: u8 [64 k4][16][4], int16 scale pairs [groups][16][2], int16 min pairs [groups / 2][16][2], f32
// d[16], f32 dmin[16]; 8 groups, or 16 for q2_k.
enum {
    UNPACKED_SCALE = 4096,
    UNPACKED_MIN = 4608,
    UNPACKED_D = 4864,
    UNPACKED_BYTES = 4992,
    UNPACKED_Q2_MIN = 5120,
    UNPACKED_Q2_D = 5632,
    UNPACKED_Q2_BYTES = 5760,
};

typedef enum source_form { Q4_DIRECT, Q5_DIRECT, Q4_UNPACKED, Q5_UNPACKED, Q2_UNPACKED } source_form;

// Where the parts of a record lie, and how many groups it has.
typedef struct record_parts {
    int scale, min, d, bytes, groups;
} record_parts;

INLINE record_parts parts_of(const source_form form) {
    switch (form) {
    case Q4_DIRECT:
        return (record_parts){MOSA_PANEL_Q4_K_SCALE, MOSA_PANEL_Q4_K_MIN, MOSA_PANEL_Q4_K_D, MOSA_PANEL_Q4_K, 8};
    case Q5_DIRECT:
        return (record_parts){MOSA_PANEL_Q5_K_SCALE, MOSA_PANEL_Q5_K_MIN, MOSA_PANEL_Q5_K_D, MOSA_PANEL_Q5_K, 8};
    case Q2_UNPACKED:
        return (record_parts){UNPACKED_SCALE, UNPACKED_Q2_MIN, UNPACKED_Q2_D, UNPACKED_Q2_BYTES, 16};
    default:
        return (record_parts){UNPACKED_SCALE, UNPACKED_MIN, UNPACKED_D, UNPACKED_BYTES, 8};
    }
}

INLINE int is_direct(const source_form form) {
    return form == Q4_DIRECT || form == Q5_DIRECT;
}

// Scale bytes of a group as int16 pairs: (s, s) for each of 16 rows.
INLINE two_vectors scale_pairs(__m128i bytes) {
    __m256i low = _mm256_setr_epi8(0, -1, 0, -1, 1, -1, 1, -1, 2, -1, 2, -1, 3, -1, 3, -1, //
                                   4, -1, 4, -1, 5, -1, 5, -1, 6, -1, 6, -1, 7, -1, 7, -1);
    __m256i all = _mm256_broadcastsi128_si256(bytes);
    __m256i high = _mm256_or_si256(low, _mm256_set1_epi16(8)); // -1 | 8 stays -1
    return (two_vectors){{_mm256_shuffle_epi8(all, low), _mm256_shuffle_epi8(all, high)}};
}

INLINE two_vectors widen_u8(__m128i low, __m128i high) {
    return (two_vectors){{_mm256_cvtepu8_epi16(low), _mm256_cvtepu8_epi16(high)}};
}

// Levels of k4 step k of group g (of 32); `plane` keeps the fifth bits between the steps that share it.
INLINE two_vectors panel_levels(const source_form form, const uint8_t *w, int g, const int k, __m256i *plane) {
    two_vectors levels = nibbles(w + 256 * g + 32 * k);
    if (form == Q4_DIRECT) return levels;
    if (k % 4 == 0) *plane = load256(w + MOSA_PANEL_Q5_K_HIGH + 64 * g + 8 * k);
    return with_fifth_bits(levels, *plane, k % 4);
}

// sum += scale * (levels * activations) of group g.
INLINE void add_group(const int rows, const source_form form, tile_ints *sum, const uint8_t *w, int g,
                      mosa_act_rows act, int64_t at, two_vectors scale) {
    const int steps = form == Q2_UNPACKED ? 4 : 8;
    const int budget = form == Q4_DIRECT || form == Q4_UNPACKED ? 8 : 4; // steps that int16 holds
    tile_ints c;
    __m256i plane = _mm256_setzero_si256();
    UNROLL for (int k = 0; k < steps; k++) {
        if (is_direct(form) && k % 2 == 0) prefetch_ahead(w + 256 * g + 32 * k);
        two_vectors levels =
            is_direct(form) ? panel_levels(form, w, g, k, &plane) : load_two(w + 64 * steps * g + 64 * k);
        step_weight_unsigned(rows, &c, levels, act, at + 4 * steps * g + 4 * k, k % budget == 0);
        if (k % budget == budget - 1) add_scaled(rows, sum, &c, scale);
    }
}

// sum of min * (sum of activations) over the groups of a record
INLINE void dot_mins(const int rows, const source_form form, tile_ints *mins, const uint8_t *min, mosa_act_rows act,
                     int64_t at) {
    at += form == Q2_UNPACKED ? offsetof(mosa_act_s8_256, sum16) : offsetof(mosa_act_s8_256, sum32);
    UNROLL for (int r = 0; r < rows; r++) mins->v[r][0] = mins->v[r][1] = _mm256_setzero_si256();
    for (int p = 0; p < parts_of(form).groups / 2; p++) {
        two_vectors pairs =
            is_direct(form) ? widen_u8(load128(min + 32 * p), load128(min + 32 * p + 16)) : load_two(min + 64 * p);
        UNROLL for (int r = 0; r < rows; r++) {
            __m256i a = broadcast32(act[r] + at + 4 * p);
            mins->v[r][0] = _mm256_add_epi32(mins->v[r][0], _mm256_madd_epi16(pairs.v[0], a));
            mins->v[r][1] = _mm256_add_epi32(mins->v[r][1], _mm256_madd_epi16(pairs.v[1], a));
        }
    }
}

// y = fma(da, fma(d, (float)sum, -(dmin * (float)mins)), y)
INLINE void add_record(const int rows, const source_form form, tile_sums *y, const tile_ints *sum,
                       const tile_ints *mins, const uint8_t *d, mosa_act_rows act, int64_t at) {
    UNROLL for (int v = 0; v < 2; v++) {
        __m256 scale = is_direct(form) ? load_half8(d + 16 * v) : _mm256_loadu_ps((const float *)d + 8 * v);
        __m256 min = is_direct(form) ? load_half8(d + 32 + 16 * v) : _mm256_loadu_ps((const float *)d + 16 + 8 * v);
        UNROLL for (int r = 0; r < rows; r++) {
            __m256 offset = _mm256_mul_ps(min, _mm256_cvtepi32_ps(mins->v[r][v]));
            __m256 dot = _mm256_fmsub_ps(scale, _mm256_cvtepi32_ps(sum->v[r][v]), offset);
            __m256 da = broadcast_f32(act[r] + at + offsetof(mosa_act_s8_256, d));
            y->v[r][v] = _mm256_fmadd_ps(da, dot, y->v[r][v]);
        }
    }
}

INLINE void body_k(const int rows, const source_form form, const uint8_t *w, mosa_act_rows act, int64_t at, float *acc,
                   int64_t records) {
    const record_parts part = parts_of(form);
    tile_sums y;
    tile_load(rows, &y, acc);
    for (; records > 0; records--) {
        tile_ints sum, mins;
        UNROLL for (int r = 0; r < rows; r++) sum.v[r][0] = sum.v[r][1] = _mm256_setzero_si256();
        for (int g = 0; g < part.groups; g++) {
            const uint8_t *scale = w + part.scale + (is_direct(form) ? 16 : 64) * g;
            add_group(rows, form, &sum, w, g, act, at, is_direct(form) ? scale_pairs(load128(scale)) : load_two(scale));
        }
        dot_mins(rows, form, &mins, w + part.min, act, at);
        add_record(rows, form, &y, &sum, &mins, w + part.d, act, at);
        w += part.bytes;
        at += sizeof(mosa_act_s8_256);
    }
    tile_store(rows, &y, acc);
}

TILES_1_TO_4(q4_k_direct, body_k, Q4_DIRECT)
TILES_1_TO_4(q5_k_direct, body_k, Q5_DIRECT)
TILES_1_TO_4(q4_k_unpacked, body_k, Q4_UNPACKED)
TILES_1_TO_4(q5_k_unpacked, body_k, Q5_UNPACKED)
TILES_1_TO_4(q2_k_unpacked, body_k, Q2_UNPACKED)

static void unpack_halves(const uint8_t *record, uint8_t *out) { // d and dmin
    for (int i = 0; i < 4; i++) _mm256_storeu_ps((float *)out + 8 * i, load_half8(record + 16 * i));
}

INLINE void unpack_record(const source_form form, const uint8_t *record, uint8_t *out) {
    const record_parts at = parts_of(form);
    __m256i plane = _mm256_setzero_si256();
    for (int g = 0; g < 8; g++) {
        UNROLL for (int k = 0; k < 8; k++) store_two(out + 512 * g + 64 * k, panel_levels(form, record, g, k, &plane));
        store_two(out + UNPACKED_SCALE + 64 * g, scale_pairs(load128(record + at.scale + 16 * g)));
    }
    for (int p = 0; p < 4; p++) {
        const uint8_t *min = record + at.min + 32 * p;
        store_two(out + UNPACKED_MIN + 64 * p, widen_u8(load128(min), load128(min + 16)));
    }
    unpack_halves(record + at.d, out + UNPACKED_D);
}

static void q4_k_unpack(const uint8_t *record, uint8_t *out, int64_t records) {
    for (int64_t i = 0; i < records; i++)
        unpack_record(Q4_DIRECT, record + i * MOSA_PANEL_Q4_K, out + i * UNPACKED_BYTES);
}

static void q5_k_unpack(const uint8_t *record, uint8_t *out, int64_t records) {
    for (int64_t i = 0; i < records; i++)
        unpack_record(Q5_DIRECT, record + i * MOSA_PANEL_Q5_K, out + i * UNPACKED_BYTES);
}

static void q2_k_unpack(const uint8_t *record, uint8_t *out, int64_t records) {
    __m128i nibble = _mm_set1_epi8(15);
    for (; records > 0; records--, record += MOSA_PANEL_Q2_K, out += UNPACKED_Q2_BYTES) {
        for (int i = 0; i < 32; i++) {
            __m256i plane = load256(record + 32 * i);
            store_two(out + 128 * i, bit_pairs(plane, 0));
            store_two(out + 128 * i + 64, bit_pairs(plane, 1));
        }
        for (int p = 0; p < 8; p++) {
            __m128i even = load128(record + MOSA_PANEL_Q2_K_SCALE + 32 * p);
            __m128i odd = load128(record + MOSA_PANEL_Q2_K_SCALE + 32 * p + 16);
            store_two(out + UNPACKED_SCALE + 128 * p, scale_pairs(_mm_and_si128(even, nibble)));
            store_two(out + UNPACKED_SCALE + 128 * p + 64, scale_pairs(_mm_and_si128(odd, nibble)));
            even = _mm_and_si128(_mm_srli_epi16(even, 4), nibble);
            odd = _mm_and_si128(_mm_srli_epi16(odd, 4), nibble);
            store_two(out + UNPACKED_Q2_MIN + 64 * p,
                      widen_u8(_mm_unpacklo_epi8(even, odd), _mm_unpackhi_epi8(even, odd)));
        }
        unpack_halves(record + MOSA_PANEL_Q2_K_D, out + UNPACKED_Q2_D);
    }
}

const mosa_linear_format *mosa_avx2_linear_s8_256(mosa_dtype dtype) {
    static const mosa_linear_format q4_k = {
        .record_k = 256,
        .record_bytes = MOSA_PANEL_Q4_K,
        .act_bytes = sizeof(mosa_act_s8_256),
        .tile_rows = 4,
        .direct_rows = 32,
        .direct_chunk = 4,
        .unpacked_bytes = UNPACKED_BYTES,
        .unpacked_chunk = 1,
        .unpack = q4_k_unpack,
        .direct = TILE_TABLE_4(q4_k_direct),
        .unpacked = TILE_TABLE_4(q4_k_unpacked),
    };
    static const mosa_linear_format q5_k = {
        .record_k = 256,
        .record_bytes = MOSA_PANEL_Q5_K,
        .act_bytes = sizeof(mosa_act_s8_256),
        .tile_rows = 4,
        .direct_rows = 4,
        .direct_chunk = 1,
        .unpacked_bytes = UNPACKED_BYTES,
        .unpacked_chunk = 1,
        .unpack = q5_k_unpack,
        .direct = TILE_TABLE_4(q5_k_direct),
        .unpacked = TILE_TABLE_4(q5_k_unpacked),
    };
    static const mosa_linear_format q2_k = {
        .record_k = 256,
        .record_bytes = MOSA_PANEL_Q2_K,
        .act_bytes = sizeof(mosa_act_s8_256),
        .tile_rows = 4,
        .unpacked_bytes = UNPACKED_Q2_BYTES,
        .unpacked_chunk = 1,
        .unpack = q2_k_unpack,
        .unpacked = TILE_TABLE_4(q2_k_unpacked),
    };
    return dtype == MOSA_Q4_K ? &q4_k : dtype == MOSA_Q5_K ? &q5_k : dtype == MOSA_Q2_K ? &q2_k : NULL;
}
