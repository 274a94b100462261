// Rotation of one head on AVX2, shared by ROPE and ROPE_KV_WRITE; the twin of ref/rope_row.h.
#ifndef MOSA_BACKEND_CPU_AVX2_ROPE_ROW_H
#define MOSA_BACKEND_CPU_AVX2_ROPE_ROW_H

#include "graph/graph.h"

#include <immintrin.h>
#include <stdint.h>

// Pairs (i, i + half).
static inline void rope_halves(const float *x, const float *table, int half, float *y) {
    int i = 0;
    for (; i + 8 <= half; i += 8) {
        __m256 a = _mm256_loadu_ps(x + i), b = _mm256_loadu_ps(x + half + i);
        __m256 cosine = _mm256_loadu_ps(table + i), sine = _mm256_loadu_ps(table + half + i);
        _mm256_storeu_ps(y + i, _mm256_sub_ps(_mm256_mul_ps(a, cosine), _mm256_mul_ps(b, sine)));
        _mm256_storeu_ps(y + half + i, _mm256_add_ps(_mm256_mul_ps(b, cosine), _mm256_mul_ps(a, sine)));
    }
    for (; i < half; i++) {
        float a = x[i], b = x[half + i], cosine = table[i], sine = table[half + i];
        y[i] = a * cosine - b * sine;
        y[half + i] = b * cosine + a * sine;
    }
}

static inline __m256 each_twice(const float *four) {
    const __m256i twice = _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3);
    return _mm256_permutevar8x32_ps(_mm256_castps128_ps256(_mm_loadu_ps(four)), twice);
}

static inline void rope_pairs(const float *x, const float *table, int half, float *y) {
    int i = 0;
    for (; i + 4 <= half; i += 4) {
        __m256 ab = _mm256_loadu_ps(x + 2 * i), ba = _mm256_permute_ps(ab, 0xb1);
        __m256 cosine = each_twice(table + i), sine = each_twice(table + half + i);
        _mm256_storeu_ps(y + 2 * i, _mm256_addsub_ps(_mm256_mul_ps(ab, cosine), _mm256_mul_ps(ba, sine)));
    }
    for (; i < half; i++) {
        float a = x[2 * i], b = x[2 * i + 1], cosine = table[i], sine = table[half + i];
        y[2 * i] = a * cosine - b * sine;
        y[2 * i + 1] = b * cosine + a * sine;
    }
}

static inline void rope_head(const mosa_attrs *attrs, const float *x, const float *table, float *y) {
    int half = attrs->rope.rot / 2;
    if (attrs->rope.style == MOSA_ROPE_HALF)
        rope_halves(x, table, half, y);
    else
        rope_pairs(x, table, half, y);
    for (int i = attrs->rope.rot; i < attrs->rope.head_width; i++) y[i] = x[i];
}

#endif
