// LINEAR tiles for weights of at most four bits with one scale per 32: q4_0.
// Levels 0..15 times int8: eight k4 steps fit int16 exactly (8 * 2 * 15 * 127 = 30480); the zero point 8 is taken off
// through the activations' sum.
#include "backend/cpu/avx2/linear_tile.h"

enum { UNPACKED_D = 512, UNPACKED_BYTES = 576 }; // u8 [8 k4][16][4], f32 d[16]

INLINE void q4_0_body(const int rows, const int direct, const uint8_t *w, const uint8_t *act, int64_t stride,
                      float *acc, int64_t records) {
    tile_sums y;
    tile_load(rows, &y, acc);
    for (; records > 0; records--) {
        tile_ints c, sum;
        UNROLL for (int k = 0; k < 8; k++) {
            if (direct && k % 2 == 0) prefetch_ahead(w + 32 * k);
            step_weight_unsigned(rows, &c, direct ? nibbles(w + 32 * k) : load_two(w + 64 * k), act + 4 * k, stride,
                                 k == 0);
        }
        UNROLL for (int r = 0; r < rows; r++) {
            __m256i zero = _mm256_slli_epi32(broadcast32(act + offsetof(mosa_act_s8_32, sum) + r * stride), 3);
            sum.v[r][0] = _mm256_sub_epi32(_mm256_madd_epi16(c.v[r][0], _mm256_set1_epi16(1)), zero);
            sum.v[r][1] = _mm256_sub_epi32(_mm256_madd_epi16(c.v[r][1], _mm256_set1_epi16(1)), zero);
        }
        const uint8_t *d = w + (direct ? MOSA_PANEL_Q4_0_D : UNPACKED_D);
        __m256 d0 = direct ? load_half8(d) : _mm256_loadu_ps((const float *)d);
        __m256 d1 = direct ? load_half8(d + 16) : _mm256_loadu_ps((const float *)d + 8);
        add_product(rows, &y, &sum, d0, d1, act + offsetof(mosa_act_s8_32, d), stride);
        w += direct ? MOSA_PANEL_Q4_0 : UNPACKED_BYTES;
        act += sizeof(mosa_act_s8_32);
    }
    tile_store(rows, &y, acc);
}

TILES_1_TO_4(q4_0_direct, q4_0_body, 1)
TILES_1_TO_4(q4_0_unpacked, q4_0_body, 0)

static void q4_0_unpack(const uint8_t *record, uint8_t *out, int64_t records) {
    for (; records > 0; records--, record += MOSA_PANEL_Q4_0, out += UNPACKED_BYTES) {
        for (int k = 0; k < 8; k++) {
            two_vectors w = nibbles(record + 32 * k);
            store256(out + 64 * k, w.v[0]);
            store256(out + 64 * k + 32, w.v[1]);
        }
        _mm256_storeu_ps((float *)(out + UNPACKED_D), load_half8(record + MOSA_PANEL_Q4_0_D));
        _mm256_storeu_ps((float *)(out + UNPACKED_D) + 8, load_half8(record + MOSA_PANEL_Q4_0_D + 16));
    }
}

const linear_format *mosa_avx2_linear_s8_32(mosa_dtype dtype) {
    static const linear_format q4_0 = {
        .record_k = 32,
        .record_bytes = MOSA_PANEL_Q4_0,
        .act_bytes = sizeof(mosa_act_s8_32),
        .tile_rows = 4,
        .direct_rows = 16,
        .unpacked_bytes = UNPACKED_BYTES,
        .chunk = 8,
        .unpack = q4_0_unpack,
        .direct = TILE_TABLE_4(q4_0_direct),
        .unpacked = TILE_TABLE_4(q4_0_unpacked),
    };
    return dtype == MOSA_Q4_0 ? &q4_0 : NULL;
}
