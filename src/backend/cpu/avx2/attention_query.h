// Queries as integers on AVX2, for tiles over q8_0 pages; shared with AVX-512. The rounding is that of
// mosa_attention_quantize_query.
#ifndef MOSA_BACKEND_CPU_AVX2_ATTENTION_QUERY_H
#define MOSA_BACKEND_CPU_AVX2_ATTENTION_QUERY_H

#include "backend/cpu/attention_join.h"

#include <immintrin.h>

static inline float largest_of_32(const float *x) {
    __m256 m = _mm256_setzero_ps(), sign = _mm256_set1_ps(-0.0f);
    for (int i = 0; i < MOSA_KV_BLOCK; i += 8)
        m = _mm256_max_ps(_mm256_andnot_ps(sign, _mm256_loadu_ps(x + i)), m); // a NaN leaves m
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(m), _mm256_extractf128_ps(m, 1));
    four = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
}

static inline __m256i eight_integers(const float *x, __m256 inverse) {
    __m256 v = _mm256_max_ps(_mm256_mul_ps(_mm256_loadu_ps(x), inverse), _mm256_set1_ps(-127.0f));
    return _mm256_cvtps_epi32(_mm256_min_ps(v, _mm256_set1_ps(127.0f)));
}

// n[32]; returns the scale.
static inline float quantize_32(const float *x, int8_t *n) {
    float scale = largest_of_32(x) / 127.0f;
    if (scale < 1e-30f) scale = 0;
    __m256 inverse = _mm256_set1_ps(scale > 0 ? 1.0f / scale : 0);
    __m256i a = _mm256_packs_epi32(eight_integers(x, inverse), eight_integers(x + 8, inverse));
    __m256i b = _mm256_packs_epi32(eight_integers(x + 16, inverse), eight_integers(x + 24, inverse));
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    _mm256_storeu_si256((__m256i *)(void *)n, _mm256_permutevar8x32_epi32(_mm256_packs_epi16(a, b), order));
    return scale;
}

static inline int32_t sum_of_32(const int8_t *n) {
    __m256i ones = _mm256_set1_epi8(1), x = _mm256_loadu_si256((const __m256i *)(const void *)n);
    __m256i s = _mm256_madd_epi16(_mm256_maddubs_epi16(ones, x), _mm256_set1_epi16(1));
    __m128i four = _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
    four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 0xb1)));
}

// n[width up to a multiple of 4], scale[blocks], start[blocks] = -128 * the sum of each block.
static inline void quantize_query(const float *q, int width, int8_t *n, float *scale, int32_t *start) {
    int c = 0;
    for (; c + MOSA_KV_BLOCK <= width; c += MOSA_KV_BLOCK) {
        scale[c / MOSA_KV_BLOCK] = quantize_32(q + c, n + c);
        start[c / MOSA_KV_BLOCK] = -128 * sum_of_32(n + c);
    }
    if (c == width) return;
    mosa_attention_quantize_query(q + c, width - c, n + c, scale + c / MOSA_KV_BLOCK);
    int32_t sum = 0;
    for (int i = c; i < width; i++) sum += n[i];
    for (int i = width; i % 4; i++) n[i] = 0;
    start[c / MOSA_KV_BLOCK] = -128 * sum;
}

#endif
