// LINEAR tiles for f32, f16 and bf16 weights: one fused multiply-add per k, in order of k, for 16 outputs in one
// register. Eight rows make eight independent sums, enough to hide the latency of the FMA units.
#include "backend/cpu/avx512/linear_tile.h"

INLINE __m512 load_weights(const mosa_dtype dtype, const uint8_t *at) {
    if (dtype == MOSA_F32) return _mm512_loadu_ps((const float *)at);
    if (dtype == MOSA_F16) return load_half16(at);
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)at));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

INLINE void float_body(const int rows, const mosa_dtype dtype, const uint8_t *w, mosa_act_rows act, int64_t at,
                       float *acc, int64_t records) {
    const int step = dtype == MOSA_F32 ? 64 : 32;
    tile_sums y;
    tile_load(rows, &y, acc);
    for (; records > 0; records--) {
        __m512 weights = load_weights(dtype, w);
        prefetch_piece(w, step, 1, 0);
        UNROLL for (int r = 0; r < rows; r++) y.v[r] = _mm512_fmadd_ps(broadcast_f32(act[r] + at), weights, y.v[r]);
        w += step;
        at += sizeof(float);
    }
    tile_store(rows, &y, acc);
}

TILES(f32, float_body, MOSA_F32)
TILES(f16, float_body, MOSA_F16)
TILES(bf16, float_body, MOSA_BF16)

#define FORMAT(name, bytes, chunk)                                                                                     \
    static const mosa_linear_format name##_format = {                                                                  \
        .record_k = 1,                                                                                                 \
        .record_bytes = bytes,                                                                                         \
        .act_bytes = 4,                                                                                                \
        .tile_rows = 8,                                                                                                \
        .direct_rows = INT32_MAX,                                                                                      \
        .direct_chunk = chunk,                                                                                         \
        .direct = TILE_TABLE(name),                                                                                    \
    };

FORMAT(f32, 64, 256)
FORMAT(f16, 32, 384)
FORMAT(bf16, 32, 384)

const mosa_linear_format *mosa_avx512_linear_f32(mosa_dtype dtype) {
    return dtype == MOSA_F32 ? &f32_format : dtype == MOSA_F16 ? &f16_format : dtype == MOSA_BF16 ? &bf16_format : NULL;
}
