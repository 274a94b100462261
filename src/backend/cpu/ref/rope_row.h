// Rotation of one head, shared by ROPE and ROPE_KV_WRITE of the reference.
#ifndef MOSA_BACKEND_CPU_REF_ROPE_ROW_H
#define MOSA_BACKEND_CPU_REF_ROPE_ROW_H

#include "graph/graph.h"

// y[head_width] = x with its first rot columns rotated: (a, b) becomes (a cos - b sin, b cos + a sin), each product
// rounded. table: rot/2 cosines, rot/2 sines.
static inline void mosa_ref_rope_head(const mosa_attrs *attrs, const float *x, const float *table, float *y) {
    int half = attrs->rope.rot / 2;
    bool halves = attrs->rope.style == MOSA_ROPE_HALF;
    for (int i = 0; i < half; i++) {
        int first = halves ? i : 2 * i, second = halves ? i + half : 2 * i + 1;
        float a = x[first], b = x[second], cosine = table[i], sine = table[half + i];
        y[first] = a * cosine - b * sine;
        y[second] = b * cosine + a * sine;
    }
    for (int i = attrs->rope.rot; i < attrs->rope.head_width; i++) y[i] = x[i];
}

#endif
