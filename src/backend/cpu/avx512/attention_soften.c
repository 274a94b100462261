// Softmax of a split on AVX-512: exponentials of a row of scores, and the integer weights of q8_0 values.
#include "backend/cpu/avx512/attention.h"
#include "backend/cpu/avx512/math_avx512.h"

#define INLINE static inline __attribute__((always_inline))

INLINE __m512 scaled(const mosa_attrs *attrs, __m512 dot) {
    __m512 s = _mm512_mul_ps(dot, splat16(attrs->attention.scale));
    if (attrs->attention.softcap > 0) {
        __m512 cap = splat16(attrs->attention.softcap);
        s = _mm512_mul_ps(cap, tanh16(_mm512_div_ps(s, cap)));
    }
    return s;
}

// All of a split is visible: scores stay in registers between the two passes.
INLINE void soften_whole(mosa_attention_work *work, int vector) {
    const mosa_attrs *attrs = &work->tile.args->node->attrs;
    float *score = work->score[vector];
    __m512 s[MOSA_TILE_GROUPS], largest = splat16(-INFINITY), total = _mm512_setzero_ps();
#pragma GCC unroll 16
    for (int g = 0; g < MOSA_TILE_GROUPS; g++) {
        s[g] = scaled(attrs, _mm512_loadu_ps(score + g * 16));
        largest = _mm512_max_ps(s[g], largest);
    }
    float max = _mm512_reduce_max_ps(largest);
#pragma GCC unroll 16
    for (int g = 0; g < MOSA_TILE_GROUPS; g++) {
        __m512 e = exp16(_mm512_sub_ps(s[g], splat16(max)));
        total = _mm512_add_ps(total, e);
        _mm512_storeu_ps(score + g * 16, e);
    }
    work->max[vector] = max;
    work->sum[vector] = sum16(total);
}

INLINE __mmask16 visible(int g, int from, int to) {
    int a = mosa_attention_clamp(from - g * 16, 0, 16), b = mosa_attention_clamp(to - g * 16, 0, 16);
    return a < b ? (__mmask16)((1u << b) - (1u << a)) : 0;
}

void mosa_avx512_attention_soften(mosa_attention_work *work, int vector, int from, int to, int g0, int g1) {
    if (from == 0 && to == MOSA_ATTENTION_SPLIT) {
        soften_whole(work, vector);
        return;
    }
    const mosa_attrs *attrs = &work->tile.args->node->attrs;
    float *score = work->score[vector];
    __m512 largest = splat16(-INFINITY), total = _mm512_setzero_ps();
    for (int g = from / 16; g * 16 < to; g++) {
        __m512 s = _mm512_mask_blend_ps(visible(g, from, to), splat16(-INFINITY),
                                        scaled(attrs, _mm512_loadu_ps(score + g * 16)));
        _mm512_storeu_ps(score + g * 16, s);
        largest = _mm512_max_ps(s, largest);
    }
    float max = _mm512_reduce_max_ps(largest);
    for (int g = g0; g < g1; g++) {
        __mmask16 mask = visible(g, from, to);
        __m512 e = _mm512_setzero_ps();
        if (mask) e = _mm512_maskz_mov_ps(mask, exp16(_mm512_sub_ps(_mm512_loadu_ps(score + g * 16), splat16(max))));
        total = _mm512_add_ps(total, e);
        _mm512_storeu_ps(score + g * 16, e);
    }
    work->max[vector] = max;
    work->sum[vector] = sum16(total);
}

static void weigh_one(mosa_attention_work *work, int vector, int g0, int g1) {
    const float *score = work->score[vector];
    __m512 largest = _mm512_setzero_ps();
    for (int g = g0; g < g1; g++) {
        __m512 w = _mm512_mul_ps(_mm512_loadu_ps(score + g * 16), _mm512_loadu_ps(work->scale + g * 16));
        largest = _mm512_max_ps(w, largest);
    }
    float max = _mm512_reduce_max_ps(largest);
    __m512 up = splat16(mosa_attention_weight_scale(max));
    for (int g = g0; g < g1; g++) {
        __m512 w = _mm512_mul_ps(_mm512_loadu_ps(score + g * 16), _mm512_loadu_ps(work->scale + g * 16));
        __m256i n = _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(_mm512_mul_ps(w, up)));
        _mm256_storeu_si256((__m256i *)(void *)&work->weight[vector][g * 16], n);
    }
    work->unit[vector] = max * MOSA_ATTENTION_UNIT;
}

void mosa_avx512_attention_weigh(mosa_attention_work *work, int begin, int end, int g0, int g1) {
    for (int i = begin; i < end; i++) weigh_one(work, i, g0, g1);
}
