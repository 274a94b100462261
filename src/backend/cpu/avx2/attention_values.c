// Weighted values on AVX2: eight columns per vector, positions in order.
#include "backend/cpu/avx2/attention.h"

#define INLINE static inline __attribute__((always_inline))

INLINE __m256 load_values(const unsigned char *value, int64_t index, bool half) {
    if (!half) return _mm256_loadu_ps((const float *)(const void *)value + index);
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(value + 2 * index)));
}

// acc += e * values of positions [from, to) for `count` vectors and `vectors` * 8 columns.
INLINE void add(const int count, mosa_attention_work *work, int vector, int from, int to, int column, const int vectors,
                const bool half) {
    const mosa_attention_view *view = &work->view;
    int width = work->tile.value_width;
    float *acc = work->acc + (int64_t)vector * width + column;
    const float *e = work->score[vector];
    __m256 a[QUERIES][2];
    for (int i = 0; i < count; i++)
        for (int v = 0; v < vectors; v++) a[i][v] = _mm256_loadu_ps(acc + i * width + 8 * v);
    for (int j = from; j < to;) {
        int next = j - j % MOSA_KV_GROUP + MOSA_KV_GROUP;
        const unsigned char *value = view->value[j / MOSA_KV_GROUP];
        for (; j < next && j < to; j++) {
            int64_t index = j % MOSA_KV_GROUP * view->value_stride + column;
            __m256 x[2];
            for (int v = 0; v < vectors; v++) x[v] = load_values(value, index + 8 * v, half);
            for (int i = 0; i < count; i++) {
                __m256 p = _mm256_broadcast_ss(e + i * MOSA_TILE_SCORES + j);
                for (int v = 0; v < vectors; v++) {
                    a[i][v] = _mm256_fmadd_ps(p, x[v], a[i][v]);
                    KEEP(a[i][v]);
                }
            }
        }
    }
    for (int i = 0; i < count; i++)
        for (int v = 0; v < vectors; v++) _mm256_storeu_ps(acc + i * width + 8 * v, a[i][v]);
}

INLINE void add_range(const int count, mosa_attention_work *work, int vector, int from, int to, const bool half) {
    int width = work->tile.value_width, c = 0;
    if (from >= to) return;
    for (; c + 16 <= width; c += 16) add(count, work, vector, from, to, c, 2, half);
    if (c < width) add(count, work, vector, from, to, c, 1, half);
}

static void add_one(mosa_attention_work *work, int vector, int from, int to) {
    if (work->view.value_dtype == MOSA_F16)
        add_range(1, work, vector, from, to, true);
    else
        add_range(1, work, vector, from, to, false);
}

static void add_many(mosa_attention_work *work, int vector, int count, int from, int to) {
    if (work->view.value_dtype == MOSA_F16) {
        WITH_COUNT(count, add_range, work, vector, from, to, true)
    } else {
        WITH_COUNT(count, add_range, work, vector, from, to, false)
    }
}

void mosa_avx2_attention_values(mosa_attention_work *work, int begin, int end, int g0, int g1) {
    for (int i = begin, n; i < end; i += n) {
        int from[QUERIES], to[QUERIES];
        n = mosa_attention_take(end - i, QUERIES);
        for (int k = 0; k < n; k++) {
            from[k] = mosa_attention_clamp(work->tile.lo[i + k] - work->view.split, g0 * 16, g1 * 16);
            to[k] = mosa_attention_clamp(work->tile.end[i + k] - work->view.split, g0 * 16, g1 * 16);
        }
        // Limits ascend with the vector, so all see [from of the last, to of the first).
        int common = from[n - 1], common_end = to[0] > common ? to[0] : common;
        for (int k = 0; k < n; k++) add_one(work, i + k, from[k], common < to[k] ? common : to[k]);
        add_many(work, i, n, common, common_end);
        for (int k = 0; k < n; k++) add_one(work, i + k, common_end > from[k] ? common_end : from[k], to[k]);
    }
}

// Integer sums over pairs of positions.
INLINE void add_q8(const int count, mosa_attention_work *work, int vector, int g0, int g1, int column,
                   const int vectors) {
    const mosa_attention_view *view = &work->view;
    const int16_t *weight = work->weight[vector];
    __m256i a[QUERIES][2];
    for (int i = 0; i < count; i++)
        for (int v = 0; v < vectors; v++) a[i][v] = _mm256_setzero_si256();
    for (int g = g0; g < g1; g++)
        for (int pair = 0; pair < MOSA_KV_GROUP / 2; pair++) {
            const unsigned char *at = view->value[g] + 2 * (pair * view->value_stride + column);
            __m256i x[2];
            for (int v = 0; v < vectors; v++)
                x[v] = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)(at + 16 * v)));
            for (int i = 0; i < count; i++) {
                int32_t two;
                memcpy(&two, weight + i * MOSA_TILE_SCORES + g * MOSA_KV_GROUP + 2 * pair, sizeof two);
                __m256i p = _mm256_set1_epi32(two);
                for (int v = 0; v < vectors; v++) {
                    a[i][v] = _mm256_add_epi32(a[i][v], _mm256_madd_epi16(x[v], p));
                    KEEP(a[i][v]);
                }
            }
        }
    int width = work->tile.value_width;
    for (int i = 0; i < count; i++)
        for (int v = 0; v < vectors; v++) {
            __m256 y = _mm256_mul_ps(_mm256_cvtepi32_ps(a[i][v]), _mm256_broadcast_ss(&work->unit[vector + i]));
            _mm256_storeu_ps(work->acc + (int64_t)(vector + i) * width + column + 8 * v, y);
        }
}

INLINE void add_q8_columns(const int count, mosa_attention_work *work, int vector, int g0, int g1, int column,
                           int columns) {
    int c = 0;
    for (; c + 16 <= columns; c += 16) add_q8(count, work, vector, g0, g1, column + c, 2);
    if (c < columns) add_q8(count, work, vector, g0, g1, column + c, 1);
}

void mosa_avx2_attention_values_q8(mosa_attention_work *work, int begin, int end, int g0, int g1, int column,
                                   int count) {
    for (int i = begin, n; i < end; i += n) {
        n = mosa_attention_take(end - i, QUERIES);
        WITH_COUNT(n, add_q8_columns, work, i, g0, g1, column, count)
    }
}
