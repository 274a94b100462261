// Vector twins of backend/cpu/math.h: sixteen lanes, the same operations in the same order, the same bits.
//
// Operand order of min and max is chosen so that a NaN passes through as it does in the scalar comparisons.
#ifndef MOSA_BACKEND_CPU_AVX512_MATH_AVX512_H
#define MOSA_BACKEND_CPU_AVX512_MATH_AVX512_H

#include "backend/cpu/math.h"

#include <immintrin.h>

static inline __m512 splat16(float x) {
    return _mm512_set1_ps(x);
}

static inline __m512 exp16(__m512 x) {
    x = _mm512_min_ps(splat16(MOSA_EXP_HI), x);
    x = _mm512_max_ps(splat16(MOSA_EXP_LO), x);
    __m512 t = _mm512_fmadd_ps(x, splat16(MOSA_EXP_LOG2E), splat16(MOSA_EXP_MAGIC));
    __m512 n = _mm512_sub_ps(t, splat16(MOSA_EXP_MAGIC));
    __m512 r = _mm512_fmadd_ps(n, splat16(-MOSA_EXP_LN2_LO), _mm512_fmadd_ps(n, splat16(-MOSA_EXP_LN2_HI), x));
    __m512 p = _mm512_fmadd_ps(splat16(MOSA_EXP_C6), r, splat16(MOSA_EXP_C5));
    p = _mm512_fmadd_ps(p, r, splat16(MOSA_EXP_C4));
    p = _mm512_fmadd_ps(p, r, splat16(MOSA_EXP_C3));
    p = _mm512_fmadd_ps(p, r, splat16(MOSA_EXP_C2));
    p = _mm512_fmadd_ps(p, r, splat16(1.0f));
    p = _mm512_fmadd_ps(p, r, splat16(1.0f));
    __m512i exponent = _mm512_add_epi32(_mm512_slli_epi32(_mm512_castps_si512(t), 23), _mm512_set1_epi32(127 << 23));
    return _mm512_mul_ps(p, _mm512_castsi512_ps(exponent));
}

static inline __m512 tanh16(__m512 x) {
    __m512 a = _mm512_andnot_ps(splat16(-0.0f), x), z = _mm512_mul_ps(x, x);
    __m512 p = _mm512_fmadd_ps(splat16(MOSA_TANH_C4), z, splat16(MOSA_TANH_C3));
    p = _mm512_fmadd_ps(p, z, splat16(MOSA_TANH_C2));
    p = _mm512_fmadd_ps(p, z, splat16(MOSA_TANH_C1));
    p = _mm512_fmadd_ps(p, z, splat16(MOSA_TANH_C0));
    __m512 small = _mm512_fmadd_ps(_mm512_mul_ps(p, z), x, x);
    __m512 e = _mm512_add_ps(exp16(_mm512_add_ps(a, a)), splat16(1.0f));
    __m512 large = _mm512_sub_ps(splat16(1.0f), _mm512_div_ps(splat16(2.0f), e));
    large = _mm512_or_ps(_mm512_andnot_ps(splat16(-0.0f), large), _mm512_and_ps(splat16(-0.0f), x));
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, splat16(MOSA_TANH_SMALL), _CMP_LT_OQ), large, small);
}

// Lanes i and i + 8 added, then the order of mosa_sum8.
static inline float sum16(__m512 v) {
    __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m256 pairs = _mm256_hadd_ps(eight, eight), fours = _mm256_hadd_ps(pairs, pairs);
    return _mm_cvtss_f32(_mm_add_ss(_mm256_castps256_ps128(fours), _mm256_extractf128_ps(fours, 1)));
}

#endif
