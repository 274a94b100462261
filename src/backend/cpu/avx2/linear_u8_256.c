// LINEAR tiles for super-blocks of 256 with signed levels and signed scales per 16: q6_k.
//
// The weight is the signed operand, the activations are 128 + a: two k4 steps of levels -32..31 fit int16 (2 * 2 * 32 *
// 255 = 32640). What the 128 adds is the same for every row, so the sums start from a constant of the panel.
#include "backend/cpu/avx2/linear_tile.h"

// Unpacked record: s8 [64 k4][16][4], int16 scale pairs [16 groups][16][2], f32 d[16], i32 start[16].
enum { UNPACKED_SCALE = 4096, UNPACKED_D = 5120, UNPACKED_START = 5184, UNPACKED_BYTES = 5248 };

// Scale bytes of a group as int16 pairs: the byte goes to the upper half and is shifted down with its sign.
INLINE two_vectors scale_pairs(const uint8_t *at) {
    __m256i low = _mm256_setr_epi8(-1, 0, -1, 0, -1, 1, -1, 1, -1, 2, -1, 2, -1, 3, -1, 3, //
                                   -1, 4, -1, 4, -1, 5, -1, 5, -1, 6, -1, 6, -1, 7, -1, 7);
    __m256i all = _mm256_broadcastsi128_si256(load128(at));
    __m256i high = _mm256_or_si256(low, _mm256_set1_epi8(8)); // -1 | 8 stays -1
    return (two_vectors){
        {_mm256_srai_epi16(_mm256_shuffle_epi8(all, low), 8), _mm256_srai_epi16(_mm256_shuffle_epi8(all, high), 8)}};
}

// Signed levels of k4 step `step` (a constant 0..1) of a pair.
INLINE two_vectors six_bits(const uint8_t *nibble, __m256i high, const int step) {
    __m256i bits = _mm256_set1_epi8(0x30), zero_point = _mm256_set1_epi8(32);
    two_vectors w = nibbles(nibble);
    __m256i h0 = step == 0 ? _mm256_slli_epi16(high, 4) : high;
    __m256i h1 = step == 0 ? _mm256_slli_epi16(high, 2) : _mm256_srli_epi16(high, 2);
    w.v[0] = _mm256_sub_epi8(_mm256_or_si256(w.v[0], _mm256_and_si256(h0, bits)), zero_point);
    w.v[1] = _mm256_sub_epi8(_mm256_or_si256(w.v[1], _mm256_and_si256(h1, bits)), zero_point);
    return w;
}

INLINE void q6_k_body(const int rows, const int direct, const uint8_t *w, const uint8_t *act, int64_t stride,
                      float *acc, int64_t records) {
    tile_sums y;
    tile_load(rows, &y, acc);
    for (; records > 0; records--) {
        tile_ints sum;
        const uint8_t *start = w + (direct ? MOSA_PANEL_Q6_K_START : UNPACKED_START);
        UNROLL for (int r = 0; r < rows; r++) {
            sum.v[r][0] = load256(start);
            sum.v[r][1] = load256(start + 32);
        }
        for (int g = 0; g < 16; g++) {
            two_vectors scale =
                direct ? scale_pairs(w + MOSA_PANEL_Q6_K_SCALE + 16 * g) : load_two(w + UNPACKED_SCALE + 64 * g);
            UNROLL for (int pair = 0; pair < 2; pair++) {
                tile_ints c;
                __m256i high = direct ? load256(w + MOSA_PANEL_Q6_K_HIGH + 64 * g + 32 * pair) : _mm256_setzero_si256();
                if (direct) {
                    prefetch_ahead(w + 128 * g + 64 * pair);
                    if (pair == 0) prefetch_ahead(w + MOSA_PANEL_Q6_K_HIGH + 64 * g);
                }
                UNROLL for (int s = 0; s < 2; s++) {
                    int k = 4 * g + 2 * pair + s;
                    step_weight_signed(rows, &c, direct ? six_bits(w + 32 * k, high, s) : load_two(w + 64 * k),
                                       act + 4 * k, stride, s == 0);
                }
                add_scaled(rows, &sum, &c, scale);
            }
        }
        const uint8_t *d = w + (direct ? MOSA_PANEL_Q6_K_D : UNPACKED_D);
        __m256 d0 = direct ? load_half8(d) : _mm256_loadu_ps((const float *)d);
        __m256 d1 = direct ? load_half8(d + 16) : _mm256_loadu_ps((const float *)d + 8);
        add_product(rows, &y, &sum, d0, d1, act + offsetof(mosa_act_u8_256, d), stride);
        w += direct ? MOSA_PANEL_Q6_K : UNPACKED_BYTES;
        act += sizeof(mosa_act_u8_256);
    }
    tile_store(rows, &y, acc);
}

TILES_1_TO_4(q6_k_direct, q6_k_body, 1)
TILES_1_TO_4(q6_k_unpacked, q6_k_body, 0)

static void q6_k_unpack(const uint8_t *record, uint8_t *out, int64_t records) {
    for (; records > 0; records--, record += MOSA_PANEL_Q6_K, out += UNPACKED_BYTES) {
        for (int i = 0; i < 32; i++) {
            __m256i high = load256(record + MOSA_PANEL_Q6_K_HIGH + 32 * i);
            UNROLL for (int s = 0; s < 2; s++) {
                two_vectors w = six_bits(record + 64 * i + 32 * s, high, s);
                store256(out + 128 * i + 64 * s, w.v[0]);
                store256(out + 128 * i + 64 * s + 32, w.v[1]);
            }
        }
        for (int g = 0; g < 16; g++) {
            two_vectors scale = scale_pairs(record + MOSA_PANEL_Q6_K_SCALE + 16 * g);
            store256(out + UNPACKED_SCALE + 64 * g, scale.v[0]);
            store256(out + UNPACKED_SCALE + 64 * g + 32, scale.v[1]);
        }
        for (int v = 0; v < 2; v++) {
            _mm256_storeu_ps((float *)(out + UNPACKED_D) + 8 * v, load_half8(record + MOSA_PANEL_Q6_K_D + 16 * v));
            store256(out + UNPACKED_START + 32 * v, load256(record + MOSA_PANEL_Q6_K_START + 32 * v));
        }
    }
}

const linear_format *mosa_avx2_linear_u8_256(mosa_dtype dtype) {
    static const linear_format q6_k = {
        .record_k = 256,
        .record_bytes = MOSA_PANEL_Q6_K,
        .act_bytes = sizeof(mosa_act_u8_256),
        .tile_rows = 4,
        .direct_rows = 4,
        .unpacked_bytes = UNPACKED_BYTES,
        .chunk = 1,
        .unpack = q6_k_unpack,
        .direct = TILE_TABLE_4(q6_k_direct),
        .unpacked = TILE_TABLE_4(q6_k_unpacked),
    };
    return dtype == MOSA_Q6_K ? &q6_k : NULL;
}
