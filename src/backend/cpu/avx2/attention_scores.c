// Scores on AVX2: dots of query vectors with the sixteen keys of a group, each a chain over the columns.
#include "backend/cpu/avx2/attention.h"

#define INLINE static inline __attribute__((always_inline))

INLINE __m256 load_keys(const unsigned char *key, int column, int half_group, bool half) {
    size_t index = (size_t)column * MOSA_KV_GROUP + 8 * (size_t)half_group;
    if (!half) return _mm256_loadu_ps((const float *)(const void *)key + index);
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(key + 2 * index)));
}

INLINE void dots(const int count, mosa_attention_work *work, int vector, int g, const bool half) {
    int width = work->tile.width;
    const float *q = work->q + (int64_t)vector * width;
    const unsigned char *key = work->view.key[g];
    __m256 acc[QUERIES][2];
    for (int i = 0; i < count; i++) acc[i][0] = acc[i][1] = _mm256_setzero_ps();
    for (int c = 0; c < width; c++) {
        __m256 a = load_keys(key, c, 0, half), b = load_keys(key, c, 1, half);
        for (int i = 0; i < count; i++) {
            __m256 x = _mm256_broadcast_ss(q + i * width + c);
            acc[i][0] = _mm256_fmadd_ps(x, a, acc[i][0]);
            acc[i][1] = _mm256_fmadd_ps(x, b, acc[i][1]);
            KEEP(acc[i][0]);
            KEEP(acc[i][1]);
        }
    }
    for (int i = 0; i < count; i++)
        for (int v = 0; v < 2; v++) _mm256_storeu_ps(&work->score[vector + i][g * MOSA_KV_GROUP + 8 * v], acc[i][v]);
}

// Four columns of eight keys, + 128: bytes 0 and 2 of each key as 16 bits, then bytes 1 and 3.
INLINE __m256i even_columns(__m256i k) {
    return _mm256_and_si256(k, _mm256_set1_epi16(0xff));
}
INLINE __m256i odd_columns(__m256i k) {
    return _mm256_srli_epi16(k, 8);
}

INLINE __m256i broadcast_two(const int16_t *two) {
    int32_t both;
    memcpy(&both, two, sizeof both);
    return _mm256_set1_epi32(both);
}

// Integer sums of one block of 32 columns, from a start that takes the keys' + 128 back.
INLINE void block_q8(const int count, const mosa_attention_work *work, int vector, const unsigned char *key, int b,
                     __m256i acc[QUERIES][2]) {
    int width = work->tile.width, padded = (width + 3) / 4 * 4, blocks = mosa_kv_key_blocks(width);
    int first = b * MOSA_KV_BLOCK, last = first + MOSA_KV_BLOCK < padded ? first + MOSA_KV_BLOCK : padded;
    const int16_t *q = work->q16 + (int64_t)vector * padded;
    for (int i = 0; i < count; i++) acc[i][0] = acc[i][1] = _mm256_set1_epi32(work->q_start[(vector + i) * blocks + b]);
    for (int c = first; c < last; c += 4) {
        const __m256i *at = (const __m256i *)(const void *)(key + (size_t)c * MOSA_KV_GROUP);
        for (int v = 0; v < 2; v++) {
            __m256i k = _mm256_loadu_si256(at + v), even = even_columns(k), odd = odd_columns(k);
            for (int i = 0; i < count; i++) {
                __m256i x = _mm256_madd_epi16(even, broadcast_two(q + i * padded + c));
                __m256i y = _mm256_madd_epi16(odd, broadcast_two(q + i * padded + c + 2));
                acc[i][v] = _mm256_add_epi32(acc[i][v], _mm256_add_epi32(x, y));
                KEEP(acc[i][v]);
            }
        }
    }
}

INLINE void dots_q8(const int count, mosa_attention_work *work, int vector, int g) {
    int width = work->tile.width, blocks = mosa_kv_key_blocks(width);
    const unsigned char *key = work->view.key[g], *scales = key + mosa_kv_key_scales(width);
    for (int b = 0; b < blocks; b++) {
        __m256i acc[QUERIES][2];
        block_q8(count, work, vector, key, b, acc);
        for (int v = 0; v < 2; v++) {
            const unsigned char *at = scales + 2 * (b * MOSA_KV_GROUP + 8 * v);
            __m256 s = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)at));
            for (int i = 0; i < count; i++) {
                float *score = &work->score[vector + i][g * MOSA_KV_GROUP + 8 * v];
                __m256 d = _mm256_broadcast_ss(&work->q_scale[(vector + i) * blocks + b]);
                __m256 before = b ? _mm256_loadu_ps(score) : _mm256_setzero_ps();
                d = _mm256_mul_ps(_mm256_cvtepi32_ps(acc[i][v]), d);
                _mm256_storeu_ps(score, _mm256_fmadd_ps(d, s, before));
            }
        }
    }
}

void mosa_avx2_attention_scores(mosa_attention_work *work, int begin, int end, int g0, int g1) {
    for (int g = g0; g < g1; g++)
        for (int i = begin, n; i < end; i += n) {
            n = mosa_attention_take(end - i, QUERIES);
            if (work->view.key_dtype == MOSA_Q8_0) {
                WITH_COUNT(n, dots_q8, work, i, g)
            } else if (work->view.key_dtype == MOSA_F16) {
                WITH_COUNT(n, dots, work, i, g, true)
            } else {
                WITH_COUNT(n, dots, work, i, g, false)
            }
        }
}
