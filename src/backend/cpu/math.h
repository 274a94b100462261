// Transcendental functions of our own, so that a result does not depend on a C library: f32 scalars.
//
// avx2/math_avx2.h has the vector twins, which perform the same operations in the same order and agree bit for bit.
// Errors against double precision, which a test holds them to: exp 1 ulp, tanh 2 ulp, erf 1.2e-7 absolute. Polynomials:
// least squares at Chebyshev points, coefficients rounded to f32.
#ifndef MOSA_BACKEND_CPU_MATH_H
#define MOSA_BACKEND_CPU_MATH_H

#include "graph/graph.h"
#include "tensor/half.h"

#include <math.h>

// exp(x) = 2^n * p(r), n = round(x / ln 2), r = x - n ln 2.
#define MOSA_EXP_HI     88.3762626647949f    // 127.5 ln 2: beyond, the result stays at that of the bound
#define MOSA_EXP_LO     (-87.3365402221680f) // -126 ln 2: likewise, so a result is never denormal or zero
#define MOSA_EXP_LOG2E  1.44269504088896341f
#define MOSA_EXP_LN2_HI 0.693359375f
#define MOSA_EXP_LN2_LO (-2.12194440e-4f)
#define MOSA_EXP_MAGIC  12582912.0f // 1.5 * 2^23: adding it rounds to an integer, held in the low bits
#define MOSA_EXP_C2     0.5f
#define MOSA_EXP_C3     0.16666515f
#define MOSA_EXP_C4     0.04166626f
#define MOSA_EXP_C5     0.008369223f
#define MOSA_EXP_C6     0.0013946561f

// exp(x) for x in [MOSA_EXP_LO, MOSA_EXP_HI], saturating outside; NaN gives NaN.
static inline float mosa_expf(float x) {
    x = x > MOSA_EXP_HI ? MOSA_EXP_HI : x;
    x = x < MOSA_EXP_LO ? MOSA_EXP_LO : x;
    float t = fmaf(x, MOSA_EXP_LOG2E, MOSA_EXP_MAGIC);
    float n = t - MOSA_EXP_MAGIC;
    float r = fmaf(n, -MOSA_EXP_LN2_LO, fmaf(n, -MOSA_EXP_LN2_HI, x));
    float p = fmaf(MOSA_EXP_C6, r, MOSA_EXP_C5);
    p = fmaf(p, r, MOSA_EXP_C4);
    p = fmaf(p, r, MOSA_EXP_C3);
    p = fmaf(p, r, MOSA_EXP_C2);
    p = fmaf(p, r, 1.0f);
    p = fmaf(p, r, 1.0f);
    uint32_t exponent = (mosa_f32_bits(t) << 23) + (127u << 23);
    return p * mosa_f32_from_bits(exponent);
}

#define MOSA_TANH_SMALL 0.625f
#define MOSA_TANH_C0    (-0.33333287f)
#define MOSA_TANH_C1    0.13331561f
#define MOSA_TANH_C2    (-0.053748444f)
#define MOSA_TANH_C3    0.020664724f
#define MOSA_TANH_C4    (-0.0057311947f)

static inline float mosa_tanhf(float x) {
    float a = fabsf(x), z = x * x;
    float p = fmaf(MOSA_TANH_C4, z, MOSA_TANH_C3);
    p = fmaf(p, z, MOSA_TANH_C2);
    p = fmaf(p, z, MOSA_TANH_C1);
    p = fmaf(p, z, MOSA_TANH_C0);
    float small = fmaf(p * z, x, x);
    float large = copysignf(1.0f - 2.0f / (mosa_expf(a + a) + 1.0f), x);
    return a < MOSA_TANH_SMALL ? small : large;
}

// erf(x) = x * S(x^2) below 1, 1 - exp(-L(x)) from there to 4, and 1 beyond.
#define MOSA_ERF_S0 1.1283792f
#define MOSA_ERF_S1 (-0.3761263f)
#define MOSA_ERF_S2 0.11283612f
#define MOSA_ERF_S3 (-0.02685481f)
#define MOSA_ERF_S4 0.0051900535f
#define MOSA_ERF_S5 (-0.0008024354f)
#define MOSA_ERF_S6 7.89821e-05f
#define MOSA_ERF_L0 (-0.0001914785f)
#define MOSA_ERF_L1 1.129594f
#define MOSA_ERF_L2 0.6331906f
#define MOSA_ERF_L3 0.10844885f
#define MOSA_ERF_L4 (-0.025226628f)
#define MOSA_ERF_L5 0.0042111143f
#define MOSA_ERF_L6 (-0.00044260768f)
#define MOSA_ERF_L7 2.1790322e-05f

static inline float mosa_erff(float x) {
    float a = fabsf(x), z = x * x;
    float s = fmaf(MOSA_ERF_S6, z, MOSA_ERF_S5);
    s = fmaf(s, z, MOSA_ERF_S4);
    s = fmaf(s, z, MOSA_ERF_S3);
    s = fmaf(s, z, MOSA_ERF_S2);
    s = fmaf(s, z, MOSA_ERF_S1);
    s = fmaf(s, z, MOSA_ERF_S0);
    float b = a > 4.0f ? 4.0f : a;
    float l = fmaf(MOSA_ERF_L7, b, MOSA_ERF_L6);
    l = fmaf(l, b, MOSA_ERF_L5);
    l = fmaf(l, b, MOSA_ERF_L4);
    l = fmaf(l, b, MOSA_ERF_L3);
    l = fmaf(l, b, MOSA_ERF_L2);
    l = fmaf(l, b, MOSA_ERF_L1);
    l = fmaf(l, b, MOSA_ERF_L0);
    float large = copysignf(1.0f - mosa_expf(-l), x);
    return a < 1.0f ? x * s : large;
}

#define MOSA_GELU_SQRT_HALF 0.70710678118654752f
#define MOSA_GELU_TANH_A    0.79788456080286536f // sqrt(2 / pi)
#define MOSA_GELU_TANH_B    0.044715f

static inline float mosa_actf(mosa_act kind, float x) {
    switch (kind) {
    case MOSA_ACT_SILU:
        return x / (1.0f + mosa_expf(-x));
    case MOSA_ACT_GELU:
        return 0.5f * x * (1.0f + mosa_erff(x * MOSA_GELU_SQRT_HALF));
    case MOSA_ACT_GELU_TANH: { // (1 + tanh u) / 2 = 1 / (1 + exp(-2u))
        float u = MOSA_GELU_TANH_A * fmaf(MOSA_GELU_TANH_B * (x * x), x, x);
        return x / (1.0f + mosa_expf(-2.0f * u));
    }
    case MOSA_ACT_RELU:
        return x > 0 ? x : 0;
    case MOSA_ACT_SIGMOID:
        return 1.0f / (1.0f + mosa_expf(-x));
    case MOSA_ACT_TANH:
        return mosa_tanhf(x);
    case MOSA_ACT_CLAMPED_SWIGLU: // takes two numbers: below
        break;
    }
    return x;
}

#define MOSA_SWIGLU_ALPHA 1.702f

// A NaN stays one.
static inline float mosa_clamped_swigluf(float gate, float up, float limit) {
    gate = gate > limit ? limit : gate;
    up = up > limit ? limit : up;
    up = up < -limit ? -limit : up;
    return (up + 1.0f) * (gate / (1.0f + mosa_expf(gate * -MOSA_SWIGLU_ALPHA)));
}

// The order in which eight partial sums are added up, everywhere.
static inline float mosa_sum8(const float lane[8]) {
    return ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
}

// Sums over a row run in 32 lanes, element i in lane i % 32; lanes fold to eight, then as above.
static inline float mosa_sum32(const float lane[32]) {
    float fold[8];
    for (int i = 0; i < 8; i++) fold[i] = (lane[i] + lane[i + 8]) + (lane[i + 16] + lane[i + 24]);
    return mosa_sum8(fold);
}

// Sum of exp(z[i] - max) over a row, in those lanes, and its log: what log-probabilities are made of wherever they are,
// logp(i) = z[i] - max - log_of(sum). *max: the largest logit.
static inline float mosa_softmax_sum(const float *z, int64_t n, float *max) {
    float lane[32] = {0}, m = z[0];
    for (int64_t i = 1; i < n; i++) m = z[i] > m ? z[i] : m;
    int64_t i = 0;
    for (; i + 32 <= n; i += 32)
        for (int j = 0; j < 32; j++) lane[j] += mosa_expf(z[i + j] - m);
    for (; i < n; i++) lane[i % 32] += mosa_expf(z[i] - m);
    *max = m;
    return mosa_sum32(lane);
}

static inline float mosa_log_of(float sum) {
    return (float)log((double)sum);
}

#endif
