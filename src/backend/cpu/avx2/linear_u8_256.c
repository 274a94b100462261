// LINEAR tiles for super-blocks of 256 with signed levels and signed scales per 16: q6_k, q3_k.
//
// The weight is the signed operand, the activations are 128 + a: two k4 steps of levels -32..31 fit int16 (2 * 2 * 32 *
// 255 = 32640). What the 128 adds is the same for every row, so the sums start from a constant of the panel.
#include "backend/cpu/avx2/linear_tile.h"

// Unpacked record: s8 [64 k4][16][4], int16 scale pairs [16 groups][16][2], f32 d[16], i32 start[16].
enum { UNPACKED_SCALE = 4096, UNPACKED_D = 5120, UNPACKED_START = 5184, UNPACKED_BYTES = 5248 };

// Scale bytes of a group as int16 pairs: the byte goes to the upper half and is shifted down with its sign.
INLINE two_vectors scale_pairs(__m128i bytes) {
    __m256i low = _mm256_setr_epi8(-1, 0, -1, 0, -1, 1, -1, 1, -1, 2, -1, 2, -1, 3, -1, 3, //
                                   -1, 4, -1, 4, -1, 5, -1, 5, -1, 6, -1, 6, -1, 7, -1, 7);
    __m256i all = _mm256_broadcastsi128_si256(bytes);
    __m256i high = _mm256_or_si256(low, _mm256_set1_epi8(8)); // -1 | 8 stays -1
    return (two_vectors){
        {_mm256_srai_epi16(_mm256_shuffle_epi8(all, low), 8), _mm256_srai_epi16(_mm256_shuffle_epi8(all, high), 8)}};
}

// Signed levels of k4 step `step` (a constant 0..1 within its plane of upper bits).
INLINE two_vectors six_bits(const uint8_t *nibble, __m256i plane, const int step) {
    __m256i bits = _mm256_set1_epi8(0x30), zero_point = _mm256_set1_epi8(32);
    two_vectors w = nibbles(nibble);
    __m256i b0 = step == 0 ? _mm256_slli_epi16(plane, 4) : plane;
    __m256i b1 = step == 0 ? _mm256_slli_epi16(plane, 2) : _mm256_srli_epi16(plane, 2);
    w.v[0] = _mm256_sub_epi8(_mm256_or_si256(w.v[0], _mm256_and_si256(b0, bits)), zero_point);
    w.v[1] = _mm256_sub_epi8(_mm256_or_si256(w.v[1], _mm256_and_si256(b1, bits)), zero_point);
    return w;
}

// sum += scale * (levels * activations) of the 16 k of group g.
INLINE void add_group(const int rows, const int direct, tile_ints *sum, const uint8_t *w, int g, mosa_act_rows act,
                      int64_t at, two_vectors scale) {
    UNROLL for (int pair = 0; pair < 2; pair++) {
        tile_ints c;
        __m256i plane = direct ? load256(w + MOSA_PANEL_Q6_K_HIGH + 64 * g + 32 * pair) : _mm256_setzero_si256();
        if (direct) prefetch_ahead(w + 128 * g + 64 * pair);
        if (direct && pair == 0) prefetch_ahead(w + MOSA_PANEL_Q6_K_HIGH + 64 * g);
        UNROLL for (int s = 0; s < 2; s++) {
            int k = 4 * g + 2 * pair + s;
            step_weight_signed(rows, &c, direct ? six_bits(w + 32 * k, plane, s) : load_two(w + 64 * k), act,
                               at + 4 * k, s == 0);
        }
        add_scaled(rows, sum, &c, scale);
    }
}

INLINE void body_16(const int rows, const int direct, const uint8_t *w, mosa_act_rows act, int64_t at, float *acc,
                    int64_t records) {
    tile_sums y;
    tile_load(rows, &y, acc);
    for (; records > 0; records--) {
        tile_ints sum;
        const uint8_t *start = w + (direct ? MOSA_PANEL_Q6_K_START : UNPACKED_START);
        UNROLL for (int r = 0; r < rows; r++) {
            sum.v[r][0] = load256(start);
            sum.v[r][1] = load256(start + 32);
        }
        for (int g = 0; g < 16; g++)
            add_group(rows, direct, &sum, w, g, act, at,
                      direct ? scale_pairs(load128(w + MOSA_PANEL_Q6_K_SCALE + 16 * g))
                             : load_two(w + UNPACKED_SCALE + 64 * g));
        const uint8_t *d = w + (direct ? MOSA_PANEL_Q6_K_D : UNPACKED_D);
        __m256 d0 = direct ? load_half8(d) : _mm256_loadu_ps((const float *)d);
        __m256 d1 = direct ? load_half8(d + 16) : _mm256_loadu_ps((const float *)d + 8);
        add_product(rows, &y, &sum, d0, d1, act, at + offsetof(mosa_act_u8_256, d));
        w += direct ? MOSA_PANEL_Q6_K : UNPACKED_BYTES;
        at += sizeof(mosa_act_u8_256);
    }
    tile_store(rows, &y, acc);
}

TILES_1_TO_4(q6_k_direct, body_16, 1)
TILES_1_TO_4(unpacked, body_16, 0)

static void q6_k_unpack(const uint8_t *record, uint8_t *out, int64_t records) {
    for (; records > 0; records--, record += MOSA_PANEL_Q6_K, out += UNPACKED_BYTES) {
        for (int i = 0; i < 32; i++) {
            __m256i plane = load256(record + MOSA_PANEL_Q6_K_HIGH + 32 * i);
            store_two(out + 128 * i, six_bits(record + 64 * i, plane, 0));
            store_two(out + 128 * i + 64, six_bits(record + 64 * i + 32, plane, 1));
        }
        for (int g = 0; g < 16; g++)
            store_two(out + UNPACKED_SCALE + 64 * g, scale_pairs(load128(record + MOSA_PANEL_Q6_K_SCALE + 16 * g)));
        for (int v = 0; v < 2; v++)
            _mm256_storeu_ps((float *)(out + UNPACKED_D) + 8 * v, load_half8(record + MOSA_PANEL_Q6_K_D + 16 * v));
        store_two(out + UNPACKED_START, load_two(record + MOSA_PANEL_Q6_K_START));
    }
}

// Signed levels of k4 step `step` (a constant 0..3 within its plane of third bits).
INLINE two_vectors three_bits(__m256i pairs, __m256i plane, const int step) {
    __m256i zero_point = _mm256_set1_epi8(4), bit = _mm256_set1_epi8(1);
    two_vectors w = bit_pairs(pairs, step % 2);
    UNROLL for (int v = 0; v < 2; v++) {
        __m256i third = _mm256_and_si256(_mm256_srli_epi16(plane, 2 * step + v), bit);
        w.v[v] = _mm256_sub_epi8(_mm256_or_si256(w.v[v], _mm256_slli_epi16(third, 2)), zero_point);
    }
    return w;
}

// Six-bit scale of group g of 16 rows from the file's packing, less 32.
INLINE __m128i q3_k_scales(const uint8_t *scales, int g) {
    __m128i low = load128(scales + 16 * (g % 8)), high = load128(scales + 16 * (8 + g % 4));
    low = _mm_and_si128(g < 8 ? low : _mm_srli_epi16(low, 4), _mm_set1_epi8(15));
    high = _mm_and_si128(_mm_srl_epi16(high, _mm_cvtsi32_si128(g / 4 * 2)), _mm_set1_epi8(3));
    return _mm_sub_epi8(_mm_or_si128(low, _mm_slli_epi16(high, 4)), _mm_set1_epi8(32));
}

static void q3_k_unpack_record(const uint8_t *record, uint8_t *out) {
    __m256i offset = _mm256_set1_epi8(-128); // the 128 of each activation
    two_vectors start = {{_mm256_setzero_si256(), _mm256_setzero_si256()}};
    for (int g = 0; g < 16; g++) {
        two_vectors scale = scale_pairs(q3_k_scales(record + MOSA_PANEL_Q3_K_SCALE, g));
        __m256i plane = load256(record + MOSA_PANEL_Q3_K_HIGH + 32 * g);
        __m256i sum[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
        store_two(out + UNPACKED_SCALE + 64 * g, scale);
        UNROLL for (int k = 0; k < 4; k++) {
            two_vectors w = three_bits(load256(record + 64 * g + k / 2 * 32), plane, k);
            store_two(out + 256 * g + 64 * k, w);
            sum[0] = _mm256_add_epi16(sum[0], _mm256_maddubs_epi16(offset, w.v[0]));
            sum[1] = _mm256_add_epi16(sum[1], _mm256_maddubs_epi16(offset, w.v[1]));
        }
        start.v[0] = _mm256_sub_epi32(start.v[0], _mm256_madd_epi16(sum[0], scale.v[0]));
        start.v[1] = _mm256_sub_epi32(start.v[1], _mm256_madd_epi16(sum[1], scale.v[1]));
    }
    store_two(out + UNPACKED_START, start);
    for (int v = 0; v < 2; v++)
        _mm256_storeu_ps((float *)(out + UNPACKED_D) + 8 * v, load_half8(record + MOSA_PANEL_Q3_K_D + 16 * v));
}

static void q3_k_unpack(const uint8_t *record, uint8_t *out, int64_t records) {
    for (int64_t i = 0; i < records; i++) q3_k_unpack_record(record + i * MOSA_PANEL_Q3_K, out + i * UNPACKED_BYTES);
}

const mosa_linear_format *mosa_avx2_linear_u8_256(mosa_dtype dtype) {
    static const mosa_linear_format q6_k = {
        .record_k = 256,
        .record_bytes = MOSA_PANEL_Q6_K,
        .act_bytes = sizeof(mosa_act_u8_256),
        .tile_rows = 4,
        .direct_rows = 4,
        .direct_chunk = 1,
        .unpacked_bytes = UNPACKED_BYTES,
        .unpacked_chunk = 1,
        .unpack = q6_k_unpack,
        .direct = TILE_TABLE_4(q6_k_direct),
        .unpacked = TILE_TABLE_4(unpacked),
    };
    static const mosa_linear_format q3_k = {
        .record_k = 256,
        .record_bytes = MOSA_PANEL_Q3_K,
        .act_bytes = sizeof(mosa_act_u8_256),
        .tile_rows = 4,
        .unpacked_bytes = UNPACKED_BYTES,
        .unpacked_chunk = 1,
        .unpack = q3_k_unpack,
        .unpacked = TILE_TABLE_4(unpacked),
    };
    return dtype == MOSA_Q6_K ? &q6_k : dtype == MOSA_Q3_K ? &q3_k : NULL;
}
