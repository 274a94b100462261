// The norms on AVX2. The 32 lanes of mosa_sum32 are four vectors; missing lanes of a last partial vector add +0, which
// changes nothing because a lane is never -0.
#include "backend/cpu/avx2/avx2.h"
#include "backend/cpu/avx2/math_avx2.h"

// Sum of (x - offset)^2, or of x when squares is false.
static inline float reduce(const float *x, int64_t n, float offset, bool squares) {
    __m256 lane[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
    int64_t i = 0;
    for (; i + 32 <= n; i += 32)
        for (int v = 0; v < 4; v++) {
            __m256 d = _mm256_sub_ps(_mm256_loadu_ps(x + i + 8 * v), splat(offset));
            lane[v] = squares ? _mm256_fmadd_ps(d, d, lane[v]) : _mm256_add_ps(lane[v], d);
        }
    for (int v = 0; i < n; v++, i += 8) {
        __m256i mask = first_lanes(n - i < 8 ? n - i : 8);
        __m256 d = _mm256_sub_ps(_mm256_maskload_ps(x + i, mask), splat(offset));
        d = _mm256_and_ps(d, _mm256_castsi256_ps(mask));
        lane[v] = squares ? _mm256_fmadd_ps(d, d, lane[v]) : _mm256_add_ps(lane[v], d);
    }
    return sum32(lane);
}

static void rms_norm_group(const float *x, const float *w, float eps, int64_t n, float *y) {
    float r = 1.0f / sqrtf(reduce(x, n, 0, true) / (float)n + eps);
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 scaled = _mm256_mul_ps(_mm256_loadu_ps(x + i), splat(r));
        _mm256_storeu_ps(y + i, _mm256_mul_ps(scaled, _mm256_loadu_ps(w + i)));
    }
    for (; i < n; i++) y[i] = x[i] * r * w[i];
}

static void layer_norm_group(const float *x, const float *w, const float *bias, float eps, int64_t n, float *y) {
    float mean = reduce(x, n, 0, false) / (float)n;
    float r = 1.0f / sqrtf(reduce(x, n, mean, true) / (float)n + eps);
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 v = _mm256_mul_ps(_mm256_sub_ps(_mm256_loadu_ps(x + i), splat(mean)), splat(r));
        v = _mm256_mul_ps(v, _mm256_loadu_ps(w + i));
        _mm256_storeu_ps(y + i, bias ? _mm256_add_ps(v, _mm256_loadu_ps(bias + i)) : v);
    }
    for (; i < n; i++) {
        float v = (x[i] - mean) * r * w[i];
        y[i] = bias ? v + bias[i] : v;
    }
}

static void l2_norm_group(const float *x, float eps, int64_t n, float *y) {
    float length = sqrtf(reduce(x, n, 0, true));
    float r = 1.0f / (length > eps ? length : eps);
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) _mm256_storeu_ps(y + i, _mm256_mul_ps(_mm256_loadu_ps(x + i), splat(r)));
    for (; i < n; i++) y[i] = x[i] * r;
}

void mosa_avx2_rms_norm(const mosa_cpu_args *args, int thread, int n_threads) {
    int64_t columns = mosa_cpu_columns(args, 0), begin, end;
    int64_t group = args->node->attrs.norm.group ? args->node->attrs.norm.group : columns;
    const float *w = mosa_cpu_vector(args, 1);
    mosa_cpu_share(args->rows, 1, thread, n_threads, &begin, &end);
    for (int64_t t = begin; t < end; t++)
        for (int64_t c = 0; c < columns; c += group)
            rms_norm_group(mosa_cpu_in_row(args, 0, t) + c, w, args->node->attrs.norm.eps, group,
                           mosa_cpu_out_row(args, 0, t) + c);
}

void mosa_avx2_layer_norm(const mosa_cpu_args *args, int thread, int n_threads) {
    int64_t columns = mosa_cpu_columns(args, 0), begin, end;
    int64_t group = args->node->attrs.norm.group ? args->node->attrs.norm.group : columns;
    const float *w = mosa_cpu_vector(args, 1);
    const float *bias = args->node->n_in > 2 ? mosa_cpu_vector(args, 2) : NULL;
    mosa_cpu_share(args->rows, 1, thread, n_threads, &begin, &end);
    for (int64_t t = begin; t < end; t++)
        for (int64_t c = 0; c < columns; c += group)
            layer_norm_group(mosa_cpu_in_row(args, 0, t) + c, w, bias, args->node->attrs.norm.eps, group,
                             mosa_cpu_out_row(args, 0, t) + c);
}

void mosa_avx2_l2_norm(const mosa_cpu_args *args, int thread, int n_threads) {
    int64_t columns = mosa_cpu_columns(args, 0), begin, end;
    int64_t group = args->node->attrs.norm.group ? args->node->attrs.norm.group : columns;
    mosa_cpu_share(args->rows, 1, thread, n_threads, &begin, &end);
    for (int64_t t = begin; t < end; t++)
        for (int64_t c = 0; c < columns; c += group)
            l2_norm_group(mosa_cpu_in_row(args, 0, t) + c, args->node->attrs.norm.eps, group,
                          mosa_cpu_out_row(args, 0, t) + c);
}

void mosa_avx2_add_rms_norm(const mosa_cpu_args *args, int thread, int n_threads) {
    int64_t columns = mosa_cpu_columns(args, 0), begin, end;
    const float *w = mosa_cpu_vector(args, 2);
    mosa_cpu_share(args->rows, 1, thread, n_threads, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        const float *a = mosa_cpu_in_row(args, 0, t), *b = mosa_cpu_in_row(args, 1, t);
        float *s = mosa_cpu_out_row(args, 0, t);
        int64_t i = 0;
        for (; i + 8 <= columns; i += 8)
            _mm256_storeu_ps(s + i, _mm256_add_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i)));
        for (; i < columns; i++) s[i] = a[i] + b[i];
        rms_norm_group(s, w, args->node->attrs.norm.eps, columns, mosa_cpu_out_row(args, 1, t));
    }
}
