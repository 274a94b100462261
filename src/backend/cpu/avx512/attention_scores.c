// Scores on AVX-512: dots of query vectors with sixteen keys per vector, each a chain over the columns.
#include "backend/cpu/avx512/attention.h"

#define INLINE static inline __attribute__((always_inline))

INLINE __m512 load_keys(const unsigned char *key, int column, bool half) {
    if (!half) return _mm512_loadu_ps((const float *)(const void *)key + (size_t)column * MOSA_KV_GROUP);
    const unsigned char *at = key + (size_t)column * MOSA_KV_GROUP * 2;
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)at));
}

// `count` vectors from `vector` on by `groups` groups from g on.
INLINE void dots(const int count, mosa_attention_work *work, int vector, int g, const int groups, const bool half) {
    int width = work->tile.width;
    const float *q = work->q + (int64_t)vector * width;
    const unsigned char *const *key = work->view.key + g;
    __m512 acc[QUERIES][4];
    for (int i = 0; i < count; i++)
        for (int v = 0; v < groups; v++) acc[i][v] = _mm512_setzero_ps();
    for (int c = 0; c < width; c++) {
        __m512 k[4];
        for (int v = 0; v < groups; v++) k[v] = load_keys(key[v], c, half);
        for (int i = 0; i < count; i++) {
            __m512 x = _mm512_set1_ps(q[i * width + c]);
            for (int v = 0; v < groups; v++) {
                acc[i][v] = _mm512_fmadd_ps(x, k[v], acc[i][v]);
                KEEP(acc[i][v]);
            }
        }
    }
    for (int i = 0; i < count; i++)
        for (int v = 0; v < groups; v++) _mm512_storeu_ps(&work->score[vector + i][(g + v) * MOSA_KV_GROUP], acc[i][v]);
}

INLINE void dots_of(const int count, mosa_attention_work *work, int vector, int g0, int g1, const bool half) {
    int g = g0;
    for (; g + 4 <= g1; g += 4) dots(count, work, vector, g, 4, half);
    for (; g < g1; g++) dots(count, work, vector, g, 1, half);
}

// The same over q8_0 keys: u8 * s8 in VNNI, from a start that takes the keys' + 128 back.
INLINE void dots_q8(const int count, mosa_attention_work *work, int vector, int g, const int groups) {
    int width = work->tile.width, padded = (width + 3) / 4 * 4, blocks = mosa_kv_key_blocks(width);
    size_t scales = mosa_kv_key_scales(width);
    const int8_t *q = work->q8 + (int64_t)vector * padded;
    const unsigned char *const *key = work->view.key + g;
    __m512 sum[QUERIES][2];
    for (int i = 0; i < count; i++)
        for (int v = 0; v < groups; v++) sum[i][v] = _mm512_setzero_ps();
    for (int b = 0; b < blocks; b++) {
        int first = b * MOSA_KV_BLOCK, last = first + MOSA_KV_BLOCK < padded ? first + MOSA_KV_BLOCK : padded;
        __m512i acc[QUERIES][2];
        for (int i = 0; i < count; i++)
            for (int v = 0; v < groups; v++) acc[i][v] = _mm512_set1_epi32(work->q_start[(vector + i) * blocks + b]);
        for (int c = first; c < last; c += 4) {
            __m512i k[2];
            for (int v = 0; v < groups; v++) k[v] = _mm512_loadu_si512(key[v] + (size_t)c * MOSA_KV_GROUP);
            for (int i = 0; i < count; i++) {
                int32_t four;
                memcpy(&four, q + i * padded + c, sizeof four);
                for (int v = 0; v < groups; v++) {
                    acc[i][v] = _mm512_dpbusd_epi32(acc[i][v], k[v], _mm512_set1_epi32(four));
                    KEEP(acc[i][v]);
                }
            }
        }
        for (int v = 0; v < groups; v++) {
            const unsigned char *at = key[v] + scales + (size_t)b * MOSA_KV_GROUP * 2;
            __m512 s = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)at));
            for (int i = 0; i < count; i++) {
                __m512 d = _mm512_set1_ps(work->q_scale[(vector + i) * blocks + b]);
                sum[i][v] = _mm512_fmadd_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(acc[i][v]), d), s, sum[i][v]);
            }
        }
    }
    for (int i = 0; i < count; i++)
        for (int v = 0; v < groups; v++) _mm512_storeu_ps(&work->score[vector + i][(g + v) * MOSA_KV_GROUP], sum[i][v]);
}

INLINE void dots_q8_of(const int count, mosa_attention_work *work, int vector, int g0, int g1) {
    int g = g0;
    for (; g + 2 <= g1; g += 2) dots_q8(count, work, vector, g, 2);
    if (g < g1) dots_q8(count, work, vector, g, 1);
}

void mosa_avx512_attention_scores(mosa_attention_work *work, int begin, int end, int g0, int g1) {
    for (int i = begin, n; i < end; i += n) {
        n = mosa_attention_take(end - i, QUERIES);
        if (work->view.key_dtype == MOSA_Q8_0) {
            WITH_COUNT(n, dots_q8_of, work, i, g0, g1)
        } else if (work->view.key_dtype == MOSA_F16) {
            WITH_COUNT(n, dots_of, work, i, g0, g1, true)
        } else {
            WITH_COUNT(n, dots_of, work, i, g0, g1, false)
        }
    }
}
