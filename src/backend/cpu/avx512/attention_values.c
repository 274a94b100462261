// Weighted values on AVX-512: sixteen columns per vector, positions in order.
#include "backend/cpu/avx512/attention.h"

#define INLINE static inline __attribute__((always_inline))

INLINE __mmask16 columns_mask(int columns) {
    return columns >= 16 ? (__mmask16)0xffff : (__mmask16)((1u << columns) - 1);
}

INLINE __m512 load_values(const unsigned char *value, int64_t index, __mmask16 mask, bool half) {
    if (!half) return _mm512_maskz_loadu_ps(mask, (const float *)(const void *)value + index);
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, (const uint16_t *)(const void *)value + index));
}

// acc += e * values of positions [from, to) for `count` vectors and `vectors` * 16 columns, the last ones by `mask`.
INLINE void add(const int count, mosa_attention_work *work, int vector, int from, int to, int column, const int vectors,
                __mmask16 mask, const bool half) {
    const mosa_attention_view *view = &work->view;
    int width = work->tile.value_width;
    float *acc = work->acc + (int64_t)vector * width + column;
    const float *e = work->score[vector];
    __m512 a[QUERIES][4];
    for (int i = 0; i < count; i++)
        for (int v = 0; v < vectors; v++) a[i][v] = _mm512_maskz_loadu_ps(mask, acc + i * width + 16 * v);
    for (int j = from; j < to;) {
        int next = j - j % MOSA_KV_GROUP + MOSA_KV_GROUP;
        const unsigned char *value = view->value[j / MOSA_KV_GROUP];
        for (; j < next && j < to; j++) {
            int64_t index = j % MOSA_KV_GROUP * view->value_stride + column;
            __m512 x[4];
            for (int v = 0; v < vectors; v++) x[v] = load_values(value, index + 16 * v, mask, half);
            for (int i = 0; i < count; i++) {
                __m512 p = _mm512_set1_ps(e[i * MOSA_TILE_SCORES + j]);
                for (int v = 0; v < vectors; v++) {
                    a[i][v] = _mm512_fmadd_ps(p, x[v], a[i][v]);
                    KEEP(a[i][v]);
                }
            }
        }
    }
    for (int i = 0; i < count; i++)
        for (int v = 0; v < vectors; v++) _mm512_mask_storeu_ps(acc + i * width + 16 * v, mask, a[i][v]);
}

INLINE void add_range(const int count, mosa_attention_work *work, int vector, int from, int to, const bool half) {
    int width = work->tile.value_width, c = 0;
    if (from >= to) return;
    for (; c + 64 <= width; c += 64) add(count, work, vector, from, to, c, 4, 0xffff, half);
    for (; c < width; c += 16) add(count, work, vector, from, to, c, 1, columns_mask(width - c), half);
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

void mosa_avx512_attention_values(mosa_attention_work *work, int begin, int end, int g0, int g1) {
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
                   const int vectors, int columns) {
    const mosa_attention_view *view = &work->view;
    __mmask16 mask = columns_mask(columns);
    __mmask32 byte_mask = columns >= 16 ? 0xffffffffu : (1u << 2 * columns) - 1;
    const int16_t *weight = work->weight[vector];
    __m512i a[QUERIES][4];
    for (int i = 0; i < count; i++)
        for (int v = 0; v < vectors; v++) a[i][v] = _mm512_setzero_si512();
    for (int g = g0; g < g1; g++)
        for (int pair = 0; pair < MOSA_KV_GROUP / 2; pair++) {
            const unsigned char *at = view->value[g] + 2 * (pair * view->value_stride + column);
            __m512i x[4];
            for (int v = 0; v < vectors; v++)
                x[v] = _mm512_cvtepi8_epi16(_mm256_maskz_loadu_epi8(byte_mask, at + 32 * v));
            for (int i = 0; i < count; i++) {
                int32_t two;
                memcpy(&two, weight + i * MOSA_TILE_SCORES + g * MOSA_KV_GROUP + 2 * pair, sizeof two);
                __m512i p = _mm512_set1_epi32(two);
                for (int v = 0; v < vectors; v++) {
                    a[i][v] = _mm512_dpwssd_epi32(a[i][v], x[v], p);
                    KEEP(a[i][v]);
                }
            }
        }
    int width = work->tile.value_width;
    for (int i = 0; i < count; i++)
        for (int v = 0; v < vectors; v++) {
            __m512 y = _mm512_mul_ps(_mm512_cvtepi32_ps(a[i][v]), _mm512_set1_ps(work->unit[vector + i]));
            _mm512_mask_storeu_ps(work->acc + (int64_t)(vector + i) * width + column + 16 * v, mask, y);
        }
}

INLINE void add_q8_columns(const int count, mosa_attention_work *work, int vector, int g0, int g1, int column,
                           int columns) {
    int c = 0;
    for (; c + 64 <= columns; c += 64) add_q8(count, work, vector, g0, g1, column + c, 4, 16);
    for (; c + 32 <= columns; c += 32) add_q8(count, work, vector, g0, g1, column + c, 2, 16);
    for (; c < columns; c += 16) add_q8(count, work, vector, g0, g1, column + c, 1, columns - c);
}

void mosa_avx512_attention_values_q8(mosa_attention_work *work, int begin, int end, int g0, int g1, int column,
                                     int count) {
    for (int i = begin, n; i < end; i += n) {
        n = mosa_attention_take(end - i, QUERIES);
        WITH_COUNT(n, add_q8_columns, work, i, g0, g1, column, count)
    }
}
