// Vector twins of backend/cpu/math.h: eight lanes, the same operations in the same order, the same bits.
//
// Operand order of min and max is chosen so that a NaN passes through as it does in the scalar comparisons.
#ifndef MOSA_BACKEND_CPU_AVX2_MATH_AVX2_H
#define MOSA_BACKEND_CPU_AVX2_MATH_AVX2_H

#include "backend/cpu/math.h"

#include <immintrin.h>

static inline __m256 splat(float x) {
    return _mm256_set1_ps(x);
}

static inline __m256 exp8(__m256 x) {
    x = _mm256_min_ps(splat(MOSA_EXP_HI), x);
    x = _mm256_max_ps(splat(MOSA_EXP_LO), x);
    __m256 t = _mm256_fmadd_ps(x, splat(MOSA_EXP_LOG2E), splat(MOSA_EXP_MAGIC));
    __m256 n = _mm256_sub_ps(t, splat(MOSA_EXP_MAGIC));
    __m256 r = _mm256_fmadd_ps(n, splat(-MOSA_EXP_LN2_LO), _mm256_fmadd_ps(n, splat(-MOSA_EXP_LN2_HI), x));
    __m256 p = _mm256_fmadd_ps(splat(MOSA_EXP_C6), r, splat(MOSA_EXP_C5));
    p = _mm256_fmadd_ps(p, r, splat(MOSA_EXP_C4));
    p = _mm256_fmadd_ps(p, r, splat(MOSA_EXP_C3));
    p = _mm256_fmadd_ps(p, r, splat(MOSA_EXP_C2));
    p = _mm256_fmadd_ps(p, r, splat(1.0f));
    p = _mm256_fmadd_ps(p, r, splat(1.0f));
    __m256i exponent = _mm256_add_epi32(_mm256_slli_epi32(_mm256_castps_si256(t), 23), _mm256_set1_epi32(127 << 23));
    return _mm256_mul_ps(p, _mm256_castsi256_ps(exponent));
}

static inline __m256 abs8(__m256 x) {
    return _mm256_andnot_ps(splat(-0.0f), x);
}

static inline __m256 with_sign8(__m256 magnitude, __m256 sign) {
    return _mm256_or_ps(abs8(magnitude), _mm256_and_ps(splat(-0.0f), sign));
}

static inline __m256 tanh8(__m256 x) {
    __m256 a = abs8(x), z = _mm256_mul_ps(x, x);
    __m256 p = _mm256_fmadd_ps(splat(MOSA_TANH_C4), z, splat(MOSA_TANH_C3));
    p = _mm256_fmadd_ps(p, z, splat(MOSA_TANH_C2));
    p = _mm256_fmadd_ps(p, z, splat(MOSA_TANH_C1));
    p = _mm256_fmadd_ps(p, z, splat(MOSA_TANH_C0));
    __m256 small = _mm256_fmadd_ps(_mm256_mul_ps(p, z), x, x);
    __m256 e = _mm256_add_ps(exp8(_mm256_add_ps(a, a)), splat(1.0f));
    __m256 large = with_sign8(_mm256_sub_ps(splat(1.0f), _mm256_div_ps(splat(2.0f), e)), x);
    return _mm256_blendv_ps(large, small, _mm256_cmp_ps(a, splat(MOSA_TANH_SMALL), _CMP_LT_OQ));
}

static inline __m256 erf8(__m256 x) {
    __m256 a = abs8(x), z = _mm256_mul_ps(x, x);
    __m256 s = _mm256_fmadd_ps(splat(MOSA_ERF_S6), z, splat(MOSA_ERF_S5));
    s = _mm256_fmadd_ps(s, z, splat(MOSA_ERF_S4));
    s = _mm256_fmadd_ps(s, z, splat(MOSA_ERF_S3));
    s = _mm256_fmadd_ps(s, z, splat(MOSA_ERF_S2));
    s = _mm256_fmadd_ps(s, z, splat(MOSA_ERF_S1));
    s = _mm256_fmadd_ps(s, z, splat(MOSA_ERF_S0));
    __m256 b = _mm256_min_ps(splat(4.0f), a);
    __m256 l = _mm256_fmadd_ps(splat(MOSA_ERF_L7), b, splat(MOSA_ERF_L6));
    l = _mm256_fmadd_ps(l, b, splat(MOSA_ERF_L5));
    l = _mm256_fmadd_ps(l, b, splat(MOSA_ERF_L4));
    l = _mm256_fmadd_ps(l, b, splat(MOSA_ERF_L3));
    l = _mm256_fmadd_ps(l, b, splat(MOSA_ERF_L2));
    l = _mm256_fmadd_ps(l, b, splat(MOSA_ERF_L1));
    l = _mm256_fmadd_ps(l, b, splat(MOSA_ERF_L0));
    __m256 e = exp8(_mm256_xor_ps(l, splat(-0.0f)));
    __m256 large = with_sign8(_mm256_sub_ps(splat(1.0f), e), x);
    return _mm256_blendv_ps(large, _mm256_mul_ps(x, s), _mm256_cmp_ps(a, splat(1.0f), _CMP_LT_OQ));
}

static inline __m256 act8(mosa_act kind, __m256 x) {
    __m256 one = splat(1.0f);
    switch (kind) {
    case MOSA_ACT_SILU:
        return _mm256_div_ps(x, _mm256_add_ps(one, exp8(_mm256_xor_ps(x, splat(-0.0f)))));
    case MOSA_ACT_GELU: {
        __m256 e = _mm256_add_ps(one, erf8(_mm256_mul_ps(x, splat(MOSA_GELU_SQRT_HALF))));
        return _mm256_mul_ps(_mm256_mul_ps(splat(0.5f), x), e);
    }
    case MOSA_ACT_GELU_TANH: {
        __m256 cubic = _mm256_mul_ps(splat(MOSA_GELU_TANH_B), _mm256_mul_ps(x, x));
        __m256 u = _mm256_mul_ps(splat(MOSA_GELU_TANH_A), _mm256_fmadd_ps(cubic, x, x));
        return _mm256_div_ps(x, _mm256_add_ps(one, exp8(_mm256_mul_ps(splat(-2.0f), u))));
    }
    case MOSA_ACT_RELU:
        return _mm256_max_ps(x, _mm256_setzero_ps());
    case MOSA_ACT_SIGMOID:
        return _mm256_div_ps(one, _mm256_add_ps(one, exp8(_mm256_xor_ps(x, splat(-0.0f)))));
    case MOSA_ACT_TANH:
        return tanh8(x);
    case MOSA_ACT_CLAMPED_SWIGLU:
        break;
    }
    return x;
}

// The order of mosa_sum8.
static inline float sum8(__m256 v) {
    __m256 pairs = _mm256_hadd_ps(v, v), fours = _mm256_hadd_ps(pairs, pairs);
    return _mm_cvtss_f32(_mm_add_ss(_mm256_castps256_ps128(fours), _mm256_extractf128_ps(fours, 1)));
}

// The order of mosa_sum32; lane[v] holds lanes 8v to 8v + 7.
static inline float sum32(const __m256 lane[4]) {
    return sum8(_mm256_add_ps(_mm256_add_ps(lane[0], lane[1]), _mm256_add_ps(lane[2], lane[3])));
}

// All ones in the first n lanes; n in 0..8.
static inline __m256i first_lanes(int64_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

#endif
