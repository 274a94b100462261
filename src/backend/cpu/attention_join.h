// Small steps of attention that reference and fast kernels share as plain C: quantising a query, integer weights, and
// how splits join. The order is that of ref/attention.c.
#ifndef MOSA_BACKEND_CPU_ATTENTION_JOIN_H
#define MOSA_BACKEND_CPU_ATTENTION_JOIN_H

#include "backend/cpu/kv_page.h"
#include "backend/cpu/math.h"

#define MOSA_ATTENTION_UNIT (1.0f / 32767.0f)

// n[width], d[ceil(width / 32)]: blocks of 32 columns as integers within [-127, 127] and their scales.
static inline void mosa_attention_quantize_query(const float *q, int width, int8_t *n, float *d) {
    for (int b = 0; b * MOSA_KV_BLOCK < width; b++) {
        int first = b * MOSA_KV_BLOCK, count = width - first < MOSA_KV_BLOCK ? width - first : MOSA_KV_BLOCK;
        d[b] = mosa_kv_largest(q + first, count) / 127.0f;
        if (d[b] < 1e-30f) d[b] = 0; // its inverse must be finite
        mosa_kv_quantize(q + first, count, d[b], n + first);
    }
}

// What a split's largest weight W is multiplied by to become 32767; 0 when all weights are 0.
static inline float mosa_attention_weight_scale(float largest) {
    return largest > 0 ? 32767.0f / largest : 0;
}

static inline int16_t mosa_attention_weight(float w, float up) { // rounded to nearest even
    return (int16_t)(mosa_f32_bits(w * up + MOSA_EXP_MAGIC) - mosa_f32_bits(MOSA_EXP_MAGIC));
}

// Joins a split's (m, l, a[width]) to what came before it.
static inline void mosa_attention_join(float *max, float *sum, float *total, float m, float l, const float *a,
                                       int width) {
    float joint = m > *max ? m : *max;
    float f = mosa_expf(*max - joint), g = mosa_expf(m - joint);
    *max = joint;
    *sum = *sum * f + l * g;
    for (int c = 0; c < width; c++) total[c] = total[c] * f + a[c] * g;
}

static inline void mosa_attention_join_sink(float *max, float *sum, float *total, float sink, int width) {
    float joint = sink > *max ? sink : *max, f = mosa_expf(*max - joint);
    *max = joint;
    *sum = *sum * f + mosa_expf(sink - joint);
    for (int c = 0; c < width; c++) total[c] *= f;
}

static inline void mosa_attention_finish(const float *total, float sum, int width, float *y) {
    float inverse = 1.0f / sum;
    for (int c = 0; c < width; c++) y[c] = total[c] * inverse;
}

#endif
