// Attention arithmetic on AVX2: see attention_tile.h, and ref/attention.c for the order that it keeps.
//
// Scores are dot products with columns across lanes, so each is the same whatever is computed beside it: two vectors by
// four keys, or one vector by eight keys, both ending in one reduction of eight accumulators. Weighted values have
// columns across lanes and positions in order: four vectors together where all four see a position, one by one at the
// ragged edges.
#include "backend/cpu/avx2/attention_tile.h"

#include "backend/cpu/avx2/math_avx2.h"
#include "backend/cpu/rows.h"

#include <string.h>

// Sixteen positions as f32 rows: row j of the block is data + j * stride.
typedef struct block {
    const float *data;
    int64_t stride;
} block;

static void widen_rows(const uint16_t *half, int count, float *out) {
    for (int i = 0; i < count; i += 8)
        _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(half + i))));
}

// Keys (values) of positions [position, position + 16); position is a multiple of 16. Only rows [from, to) of the block
// are there to be read.
static block get_block(const mosa_attention_tile *tile, int32_t position, int from, int to, bool value, float *buffer) {
    const mosa_cpu_args *args = tile->args;
    if (!mosa_attention_paged(args->graph, args->node)) {
        int64_t row = tile->segment->row_begin + ((int64_t)position - tile->segment->pos_begin);
        int operand = value ? 2 : 1;
        int64_t stride = args->in_stride[operand] / (int64_t)sizeof(float);
        const float *first = (const float *)args->in[operand] + (int64_t)tile->kv_head * tile->width;
        return (block){first + row * stride, stride};
    }
    const mosa_kv *kv = args->in[1];
    const unsigned char *at =
        mosa_cpu_kv_at(kv, tile->segment, args->node->attrs.attention.layer, tile->kv_head, position, value);
    if (kv->spec.dtype == MOSA_F32) return (block){(const float *)(const void *)at, tile->width};
    int first = from * tile->width;
    widen_rows((const uint16_t *)(const void *)at + first, (to - from) * tile->width, buffer + first);
    return (block){buffer, tile->width};
}

// The eight sums of eight accumulators, each in the order of mosa_sum8.
static inline __m256 reduce8(const __m256 acc[8]) {
    __m256 a = _mm256_hadd_ps(_mm256_hadd_ps(acc[0], acc[1]), _mm256_hadd_ps(acc[2], acc[3]));
    __m256 b = _mm256_hadd_ps(_mm256_hadd_ps(acc[4], acc[5]), _mm256_hadd_ps(acc[6], acc[7]));
    return _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
}

// Dots of two vectors with four keys: lanes 0 to 3 of the first, 4 to 7 of the second.
static inline __m256 dots_2x4(const float *q, int width, const float *const k[4]) {
    __m256 acc[8];
    for (int i = 0; i < 8; i++) acc[i] = _mm256_setzero_ps();
    for (int c = 0; c < width; c += 8) {
        __m256 x = _mm256_loadu_ps(q + c), y = _mm256_loadu_ps(q + width + c);
        for (int i = 0; i < 4; i++) {
            __m256 key = _mm256_loadu_ps(k[i] + c);
            __asm__("" : "+x"(key)); // one load for two uses: gcc would load it twice, and loads are the limit
            acc[i] = _mm256_fmadd_ps(x, key, acc[i]);
            acc[4 + i] = _mm256_fmadd_ps(y, key, acc[4 + i]);
        }
    }
    return reduce8(acc);
}

// Keys outside [from, to) are taken from its edge: their dots are never looked at.
static inline const float *edge_key(block keys, int j, int from, int to) {
    return keys.data + (j < from ? from : j >= to ? to - 1 : j) * keys.stride;
}

static void scores_of_2(const mosa_attention_tile *tile, mosa_attention_work *work, int vector, block keys, int from,
                        int to, int at) {
    for (int j = from & ~3; j < to; j += 4) {
        const float *k[4];
        for (int i = 0; i < 4; i++) k[i] = edge_key(keys, j + i, from, to);
        __m256 dots = dots_2x4(tile->q + (int64_t)vector * tile->width, tile->width, k);
        _mm_storeu_ps(&work->score[vector][at + j], _mm256_castps256_ps128(dots));
        _mm_storeu_ps(&work->score[vector + 1][at + j], _mm256_extractf128_ps(dots, 1));
    }
}

// One vector with the eight keys of a half block.
static void scores_of_1(const mosa_attention_tile *tile, mosa_attention_work *work, int vector, block keys, int from,
                        int to, int at) {
    for (int begin = from & ~7; begin < to; begin += 8) {
        const float *k[8];
        for (int i = 0; i < 8; i++) k[i] = edge_key(keys, begin + i, from, to);
        __m256 acc[8];
        for (int i = 0; i < 8; i++) acc[i] = _mm256_setzero_ps();
        for (int c = 0; c < tile->width; c += 8) {
            __m256 x = _mm256_loadu_ps(tile->q + (int64_t)vector * tile->width + c);
            for (int i = 0; i < 8; i++) acc[i] = _mm256_fmadd_ps(x, _mm256_loadu_ps(k[i] + c), acc[i]);
        }
        _mm256_storeu_ps(&work->score[vector][at + begin], reduce8(acc));
    }
}

static inline __m256i visible_lanes(int j, int from, int to) {
    __m256i index = _mm256_add_epi32(_mm256_set1_epi32(j), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    return _mm256_and_si256(_mm256_cmpgt_epi32(index, _mm256_set1_epi32(from - 1)),
                            _mm256_cmpgt_epi32(_mm256_set1_epi32(to), index));
}

static inline float max8(__m256 v) {
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}

// Turns the dots [from, to) of a row of scores into exponentials; invisible ones become 0. Only the first and the last
// vector can hold invisible ones.
static void soften(const mosa_attrs *attrs, float *score, int from, int to, float *max, float *sum) {
    __m256 largest = splat(-INFINITY), scale = splat(attrs->attention.scale), cap = splat(attrs->attention.softcap);
    for (int j = from & ~7; j < to; j += 8) {
        __m256 s = _mm256_mul_ps(_mm256_loadu_ps(score + j), scale);
        if (attrs->attention.softcap > 0) s = _mm256_mul_ps(cap, tanh8(_mm256_div_ps(s, cap)));
        if (j < from || j + 8 > to)
            s = _mm256_blendv_ps(splat(-INFINITY), s, _mm256_castsi256_ps(visible_lanes(j, from, to)));
        _mm256_storeu_ps(score + j, s);
        largest = _mm256_max_ps(s, largest);
    }
    *max = max8(largest);
    __m256 total = _mm256_setzero_ps(), m = splat(*max);
    for (int j = from & ~7; j < to; j += 8) {
        __m256 e = exp8(_mm256_sub_ps(_mm256_loadu_ps(score + j), m));
        if (j < from || j + 8 > to) e = _mm256_and_ps(e, _mm256_castsi256_ps(visible_lanes(j, from, to)));
        _mm256_storeu_ps(score + j, e);
        total = _mm256_add_ps(total, e);
    }
    *sum = sum8(total);
}

// acc += e[j] * value j for j in [from, to), columns in chunks of `vectors` vectors.
static inline void add_values_1(const float *e, block values, int from, int to, int column, const int vectors,
                                float *acc) {
    __m256 a[8];
    for (int v = 0; v < vectors; v++) a[v] = _mm256_loadu_ps(acc + column + 8 * v);
    for (int j = from; j < to; j++) {
        const float *value = values.data + j * values.stride + column;
        __m256 p = splat(e[j]);
        for (int v = 0; v < vectors; v++) a[v] = _mm256_fmadd_ps(p, _mm256_loadu_ps(value + 8 * v), a[v]);
    }
    for (int v = 0; v < vectors; v++) _mm256_storeu_ps(acc + column + 8 * v, a[v]);
}

static void values_of_1(const float *e, block values, int from, int to, int width, float *acc) {
    int c = 0;
    for (; c + 64 <= width; c += 64) add_values_1(e, values, from, to, c, 8, acc);
    for (; c + 16 <= width; c += 16) add_values_1(e, values, from, to, c, 2, acc);
    for (; c < width; c += 8) add_values_1(e, values, from, to, c, 1, acc);
}

// The same for four vectors at once; e rows are MOSA_TILE_SCORES apart, acc rows `width`.
static inline void add_values_4(const float *e, block values, int from, int to, int column, const int vectors,
                                int width, float *acc) {
    __m256 a[4][2];
    for (int i = 0; i < 4; i++)
        for (int v = 0; v < vectors; v++) a[i][v] = _mm256_loadu_ps(acc + (int64_t)i * width + column + 8 * v);
    for (int j = from; j < to; j++) {
        const float *value = values.data + j * values.stride + column;
        for (int v = 0; v < vectors; v++) {
            __m256 x = _mm256_loadu_ps(value + 8 * v);
            for (int i = 0; i < 4; i++)
                a[i][v] = _mm256_fmadd_ps(_mm256_broadcast_ss(e + (int64_t)i * MOSA_TILE_SCORES + j), x, a[i][v]);
        }
    }
    for (int i = 0; i < 4; i++)
        for (int v = 0; v < vectors; v++) _mm256_storeu_ps(acc + (int64_t)i * width + column + 8 * v, a[i][v]);
}

static void values_of_4(const float *e, block values, int from, int to, int width, float *acc) {
    int c = 0;
    for (; c + 16 <= width; c += 16) add_values_4(e, values, from, to, c, 2, width, acc);
    for (; c < width; c += 8) add_values_4(e, values, from, to, c, 1, width, acc);
}

static inline int clamp(int32_t x, int32_t lo, int32_t hi) {
    return (int)(x < lo ? lo : x > hi ? hi : x);
}

// Adds the values of the block at `position` for vectors [vector, vector + count), which may see parts of it only.
static void values_of_block(const mosa_attention_tile *tile, mosa_attention_work *work, int vector, int count,
                            int32_t position, block values) {
    float *acc = work->acc + (int64_t)vector * tile->width;
    const float *e = &work->score[vector][position % MOSA_ATTENTION_SPLIT];
    if (count == 4 && tile->lo[vector + 3] <= position && tile->end[vector] >= position + MOSA_TILE_BLOCK) {
        values_of_4(e, values, 0, MOSA_TILE_BLOCK, tile->width, acc);
        return;
    }
    int from[4], to[4];
    for (int i = 0; i < count; i++) {
        from[i] = clamp(tile->lo[vector + i] - position, 0, MOSA_TILE_BLOCK);
        to[i] = clamp(tile->end[vector + i] - position, 0, MOSA_TILE_BLOCK);
    }
    // Limits ascend with the vector, so all four see [from of the last, to of the first).
    int common = from[count - 1], common_end = count == 4 && to[0] > common ? to[0] : common;
    for (int i = 0; i < count; i++)
        values_of_1(e + (int64_t)i * MOSA_TILE_SCORES, values, from[i], common < to[i] ? common : to[i], tile->width,
                    acc + (int64_t)i * tile->width);
    if (common_end > common) values_of_4(e, values, common, common_end, tile->width, acc);
    for (int i = 0; i < count; i++)
        values_of_1(e + (int64_t)i * MOSA_TILE_SCORES, values, common_end > from[i] ? common_end : from[i], to[i],
                    tile->width, acc + (int64_t)i * tile->width);
}

bool mosa_attention_active(const mosa_attention_tile *tile, int32_t split, int *begin, int *end) {
    int a = 0, b = tile->n;
    while (a < b && tile->end[a] <= split) a++;
    while (a < b && tile->lo[b - 1] >= split + MOSA_ATTENTION_SPLIT) b--;
    *begin = a;
    *end = b;
    return a < b;
}

void mosa_attention_split(const mosa_attention_tile *tile, mosa_attention_work *work, int32_t split, int begin,
                          int end) {
    int32_t first = tile->lo[begin] > split ? tile->lo[begin] : split;
    int32_t last = split + MOSA_ATTENTION_SPLIT; // one past
    if (tile->end[end - 1] < last) last = tile->end[end - 1];
    for (int32_t p = first & ~(MOSA_TILE_BLOCK - 1); p < last; p += MOSA_TILE_BLOCK) {
        int from = clamp(first - p, 0, MOSA_TILE_BLOCK), to = clamp(last - p, 0, MOSA_TILE_BLOCK);
        block keys = get_block(tile, p, from, to, false, work->block);
        int i = begin;
        for (; i + 2 <= end; i += 2) scores_of_2(tile, work, i, keys, from, to, (int)(p - split));
        for (; i < end; i++) scores_of_1(tile, work, i, keys, from, to, (int)(p - split));
    }
    for (int i = begin; i < end; i++)
        soften(&tile->args->node->attrs, work->score[i], clamp(tile->lo[i] - split, 0, MOSA_ATTENTION_SPLIT),
               clamp(tile->end[i] - split, 0, MOSA_ATTENTION_SPLIT), &work->max[i], &work->sum[i]);
    memset(work->acc + (int64_t)begin * tile->width, 0, sizeof(float) * (size_t)(end - begin) * (size_t)tile->width);
    for (int32_t p = first & ~(MOSA_TILE_BLOCK - 1); p < last; p += MOSA_TILE_BLOCK) {
        int from = clamp(first - p, 0, MOSA_TILE_BLOCK), to = clamp(last - p, 0, MOSA_TILE_BLOCK);
        block values = get_block(tile, p, from, to, true, work->block);
        int i = begin;
        for (; i + 4 <= end; i += 4) values_of_block(tile, work, i, 4, p, values);
        for (; i < end; i++) values_of_block(tile, work, i, 1, p, values);
    }
}

void mosa_attention_join(float *max, float *sum, float *total, float m, float l, const float *a, int width) {
    float joint = m > *max ? m : *max;
    float f = mosa_expf(*max - joint), g = mosa_expf(m - joint);
    *max = joint;
    *sum = *sum * f + l * g;
    for (int c = 0; c < width; c += 8) {
        __m256 old = _mm256_mul_ps(_mm256_loadu_ps(total + c), splat(f));
        _mm256_storeu_ps(total + c, _mm256_add_ps(old, _mm256_mul_ps(_mm256_loadu_ps(a + c), splat(g))));
    }
}

void mosa_attention_finish(const float *total, float sum, int width, float *y) {
    float inverse = 1.0f / sum;
    for (int c = 0; c < width; c += 8)
        _mm256_storeu_ps(y + c, _mm256_mul_ps(_mm256_loadu_ps(total + c), splat(inverse)));
}
