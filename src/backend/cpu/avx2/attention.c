// ATTENTION on AVX2: the table of its arithmetic, the softmax of a split and the integer weights of q8_0 values.
#include "backend/cpu/avx2/attention.h"

#include "backend/cpu/avx2/attention_query.h"

#include "backend/cpu/avx2/avx2.h"
#include "backend/cpu/avx2/math_avx2.h"

static void quantize(mosa_attention_work *work, int vector) {
    int width = work->tile.width, padded = (width + 3) / 4 * 4, blocks = mosa_kv_key_blocks(width);
    int8_t n[MOSA_HEAD_WIDTH_MAX];
    int16_t *wide = work->q16 + (int64_t)vector * padded;
    quantize_query(work->q + (int64_t)vector * width, width, n, work->q_scale + (int64_t)vector * blocks,
                   work->q_start + (int64_t)vector * blocks);
    int c = 0;
    for (; c + 16 <= padded; c += 16) {
        __m256i x = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)(n + c)));
        x = _mm256_shufflehi_epi16(_mm256_shufflelo_epi16(x, 0xd8), 0xd8);
        _mm256_storeu_si256((__m256i *)(void *)(wide + c), x);
    }
    for (; c < padded; c += 4)
        for (int i = 0; i < 4; i++) wide[c + i] = n[c + (i == 1 ? 2 : i == 2 ? 1 : i)];
}

static inline __m256 scaled(const mosa_attrs *attrs, __m256 dot) {
    __m256 s = _mm256_mul_ps(dot, splat(attrs->attention.scale)), cap = splat(attrs->attention.softcap);
    return attrs->attention.softcap > 0 ? _mm256_mul_ps(cap, tanh8(_mm256_div_ps(s, cap))) : s;
}

static inline __m256 visible_lanes(int j, int from, int to) {
    __m256i index = _mm256_add_epi32(_mm256_set1_epi32(j), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    return _mm256_castsi256_ps(_mm256_and_si256(_mm256_cmpgt_epi32(index, _mm256_set1_epi32(from - 1)),
                                                _mm256_cmpgt_epi32(_mm256_set1_epi32(to), index)));
}

static inline float max8(__m256 v) {
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}

static void soften(mosa_attention_work *work, int vector, int from, int to, int g0, int g1) {
    const mosa_attrs *attrs = &work->tile.args->node->attrs;
    float *score = work->score[vector];
    __m256 largest = splat(-INFINITY);
    for (int j = from & ~7; j < to; j += 8) {
        __m256 s = scaled(attrs, _mm256_loadu_ps(score + j));
        if (j < from || j + 8 > to) s = _mm256_blendv_ps(splat(-INFINITY), s, visible_lanes(j, from, to));
        _mm256_storeu_ps(score + j, s);
        largest = _mm256_max_ps(s, largest);
    }
    __m256 total[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()}, m = splat(work->max[vector] = max8(largest));
    for (int j = g0 * 16; j < g1 * 16; j += 8) {
        __m256 e = _mm256_setzero_ps();
        if (j + 8 > from && j < to) {
            e = exp8(_mm256_sub_ps(_mm256_loadu_ps(score + j), m));
            if (j < from || j + 8 > to) e = _mm256_and_ps(e, visible_lanes(j, from, to));
        }
        _mm256_storeu_ps(score + j, e);
        total[j / 8 % 2] = _mm256_add_ps(total[j / 8 % 2], e);
    }
    work->sum[vector] = sum8(_mm256_add_ps(total[0], total[1]));
}

static inline __m256 weight_at(const mosa_attention_work *work, int vector, int j) {
    return _mm256_mul_ps(_mm256_loadu_ps(work->score[vector] + j), _mm256_loadu_ps(work->scale + j));
}

static void weigh(mosa_attention_work *work, int begin, int end, int g0, int g1) {
    for (int i = begin; i < end; i++) {
        __m256 largest = _mm256_setzero_ps();
        for (int j = g0 * 16; j < g1 * 16; j += 8) largest = _mm256_max_ps(weight_at(work, i, j), largest);
        float max = max8(largest);
        __m256 up = splat(mosa_attention_weight_scale(max));
        for (int j = g0 * 16; j < g1 * 16; j += 16) {
            __m256i a = _mm256_cvtps_epi32(_mm256_mul_ps(weight_at(work, i, j), up));
            __m256i b = _mm256_cvtps_epi32(_mm256_mul_ps(weight_at(work, i, j + 8), up));
            __m256i n = _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8);
            _mm256_storeu_si256((__m256i *)(void *)&work->weight[i][j], n);
        }
        work->unit[i] = max * MOSA_ATTENTION_UNIT;
    }
}

static void join(float *max, float *sum, float *total, float m, float l, const float *a, int width) {
    mosa_attention_join(max, sum, total, m, l, a, width);
}

static void finish(const float *total, float sum, int width, float *y) {
    mosa_attention_finish(total, sum, width, y);
}

void mosa_avx2_attention(const mosa_cpu_args *args, int thread, int n_threads) {
    static const mosa_attention_math math = {
        .quantize = quantize,
        .scores = mosa_avx2_attention_scores,
        .soften = soften,
        .values = mosa_avx2_attention_values,
        .weigh = weigh,
        .values_q8 = mosa_avx2_attention_values_q8,
        .join = join,
        .finish = finish,
    };
    mosa_attention_run(args, &math, thread, n_threads);
}
