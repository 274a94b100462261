// Scores into slopes on AVX2: eight keys at a time, those that the row does not see as zeros.
#include "backend/cpu/attention_grad.h"

#include "backend/cpu/avx2/math_avx2.h"

// All ones in the lanes of keys [i, i + 8) that the row sees.
static inline __m256 seen(const mosa_attention_slopes *row, int32_t i) {
    __m256i at = _mm256_add_epi32(_mm256_set1_epi32(i), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    __m256i before = _mm256_cmpgt_epi32(_mm256_set1_epi32(row->begin), at);
    return _mm256_castsi256_ps(_mm256_andnot_si256(before, _mm256_cmpgt_epi32(_mm256_set1_epi32(row->end), at)));
}

// Scaled, capped scores, the slope of the cap, and the largest score.
static float scale_scores(const mosa_attention_slopes *row, int32_t from) {
    float lanes[8], max = row->sink ? *row->sink : -INFINITY;
    __m256 most = splat(max);
    for (int32_t i = from; i < row->end; i += 8) {
        __m256 s = _mm256_mul_ps(_mm256_loadu_ps(row->s + i), splat(row->scale));
        if (row->cap > 0) {
            __m256 t = tanh8(_mm256_div_ps(s, splat(row->cap)));
            s = _mm256_mul_ps(splat(row->cap), t);
            _mm256_storeu_ps(row->slope + i, _mm256_sub_ps(splat(1.0f), _mm256_mul_ps(t, t)));
        }
        _mm256_storeu_ps(row->s + i, s);
        most = _mm256_blendv_ps(most, _mm256_max_ps(s, most), seen(row, i));
    }
    _mm256_storeu_ps(lanes, most);
    for (int i = 0; i < 8; i++) max = lanes[i] > max ? lanes[i] : max;
    return max;
}

static void clear(float *x, int32_t begin, int32_t end) {
    for (int32_t i = begin; i < end; i++) x[i] = 0;
}

void mosa_avx2_attention_slopes(const mosa_attention_slopes *row) {
    int32_t from = row->begin / 8 * 8;
    float max = scale_scores(row, from);
    __m256 lane[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
    for (int32_t i = from; i < row->end; i += 8) {
        __m256 e = exp8(_mm256_sub_ps(_mm256_loadu_ps(row->s + i), splat(max)));
        e = _mm256_and_ps(e, seen(row, i));
        _mm256_storeu_ps(row->s + i, e);
        lane[i / 8 % 4] = _mm256_add_ps(lane[i / 8 % 4], e);
    }
    float inverse = 1.0f / (sum32(lane) + (row->sink ? mosa_expf(*row->sink - max) : 0));
    for (int i = 0; i < 4; i++) lane[i] = _mm256_setzero_ps();
    for (int32_t i = from; i < row->end; i += 8) {
        __m256 p = _mm256_mul_ps(_mm256_loadu_ps(row->s + i), splat(inverse));
        _mm256_storeu_ps(row->s + i, p);
        __m256 d = _mm256_and_ps(_mm256_loadu_ps(row->d + i), seen(row, i));
        lane[i / 8 % 4] = _mm256_fmadd_ps(p, d, lane[i / 8 % 4]);
    }
    float delta = sum32(lane);
    for (int32_t i = from; i < row->end; i += 8) {
        __m256 d = _mm256_sub_ps(_mm256_loadu_ps(row->d + i), splat(delta));
        d = _mm256_mul_ps(_mm256_mul_ps(_mm256_loadu_ps(row->s + i), d), splat(row->scale));
        if (row->cap > 0) d = _mm256_mul_ps(_mm256_loadu_ps(row->slope + i), d);
        _mm256_storeu_ps(row->d + i, _mm256_and_ps(d, seen(row, i)));
    }
    int32_t to = (row->end + 7) / 8 * 8;
    clear(row->s, 0, from);
    clear(row->d, 0, from);
    clear(row->s, to, row->n);
    clear(row->d, to, row->n);
}
