// The arithmetic of attention on AVX2 (mosa_attention_math): lanes are eight positions for scores and weights, eight
// columns for values. Private to this folder.
#ifndef MOSA_BACKEND_CPU_AVX2_ATTENTION_H
#define MOSA_BACKEND_CPU_AVX2_ATTENTION_H

#include "backend/cpu/attention.h"

#include <immintrin.h>

enum { QUERIES = 4 }; // vectors that a kernel takes at once: what the registers hold beside two vectors each

void mosa_avx2_attention_scores(mosa_attention_work *work, int begin, int end, int g0, int g1);
void mosa_avx2_attention_values(mosa_attention_work *work, int begin, int end, int g0, int g1);
void mosa_avx2_attention_values_q8(mosa_attention_work *work, int begin, int end, int g0, int g1, int column,
                                   int count);

// Keeps a sum in its register: gcc would copy it before and after each product.
#define KEEP(sum) __asm__("" : "+x"(sum))

// Calls f(n, ...) with n a constant from 1 to 4, so that loops over it unroll.
#define WITH_COUNT(n, f, ...)                                                                                          \
    switch (n) {                                                                                                       \
    case 1:                                                                                                            \
        f(1, __VA_ARGS__);                                                                                             \
        break;                                                                                                         \
    case 2:                                                                                                            \
        f(2, __VA_ARGS__);                                                                                             \
        break;                                                                                                         \
    case 3:                                                                                                            \
        f(3, __VA_ARGS__);                                                                                             \
        break;                                                                                                         \
    default:                                                                                                           \
        f(4, __VA_ARGS__);                                                                                             \
    }

#endif
