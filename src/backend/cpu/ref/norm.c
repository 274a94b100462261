// The norms, reference. Sums over a group run in the 32 lanes of mosa_sum32; squares enter by fused multiply-add.
#include "backend/cpu/math.h"
#include "backend/cpu/ref/ref.h"

static float sum(const float *x, int64_t n) {
    float lane[32] = {0};
    for (int64_t i = 0; i < n; i++) lane[i % 32] += x[i];
    return mosa_sum32(lane);
}

static float sum_squares(const float *x, int64_t n, float offset) {
    float lane[32] = {0};
    for (int64_t i = 0; i < n; i++) {
        float d = x[i] - offset;
        lane[i % 32] = fmaf(d, d, lane[i % 32]);
    }
    return mosa_sum32(lane);
}

static void rms_norm_group(const float *x, const float *w, float eps, int64_t n, float *y) {
    float r = 1.0f / sqrtf(sum_squares(x, n, 0) / (float)n + eps);
    for (int64_t i = 0; i < n; i++) y[i] = x[i] * r * w[i];
}

static void layer_norm_group(const float *x, const float *w, const float *bias, float eps, int64_t n, float *y) {
    float mean = sum(x, n) / (float)n;
    float r = 1.0f / sqrtf(sum_squares(x, n, mean) / (float)n + eps);
    for (int64_t i = 0; i < n; i++) {
        float v = (x[i] - mean) * r * w[i];
        y[i] = bias ? v + bias[i] : v;
    }
}

static void l2_norm_group(const float *x, float eps, int64_t n, float *y) {
    float length = sqrtf(sum_squares(x, n, 0));
    float r = 1.0f / (length > eps ? length : eps);
    for (int64_t i = 0; i < n; i++) y[i] = x[i] * r;
}

void mosa_ref_rms_norm(const mosa_cpu_args *args, int thread, int n_threads) {
    int64_t columns = mosa_cpu_columns(args, 0), begin, end;
    int64_t group = args->node->attrs.norm.group ? args->node->attrs.norm.group : columns;
    const float *w = mosa_cpu_vector(args, 1);
    mosa_cpu_share(args->rows, 1, thread, n_threads, &begin, &end);
    for (int64_t t = begin; t < end; t++)
        for (int64_t c = 0; c < columns; c += group)
            rms_norm_group(mosa_cpu_in_row(args, 0, t) + c, w, args->node->attrs.norm.eps, group,
                           mosa_cpu_out_row(args, 0, t) + c);
}

void mosa_ref_layer_norm(const mosa_cpu_args *args, int thread, int n_threads) {
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

void mosa_ref_l2_norm(const mosa_cpu_args *args, int thread, int n_threads) {
    int64_t columns = mosa_cpu_columns(args, 0), begin, end;
    int64_t group = args->node->attrs.norm.group ? args->node->attrs.norm.group : columns;
    mosa_cpu_share(args->rows, 1, thread, n_threads, &begin, &end);
    for (int64_t t = begin; t < end; t++)
        for (int64_t c = 0; c < columns; c += group)
            l2_norm_group(mosa_cpu_in_row(args, 0, t) + c, args->node->attrs.norm.eps, group,
                          mosa_cpu_out_row(args, 0, t) + c);
}

void mosa_ref_add_rms_norm(const mosa_cpu_args *args, int thread, int n_threads) {
    int64_t columns = mosa_cpu_columns(args, 0), begin, end;
    const float *w = mosa_cpu_vector(args, 2);
    mosa_cpu_share(args->rows, 1, thread, n_threads, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        const float *a = mosa_cpu_in_row(args, 0, t), *b = mosa_cpu_in_row(args, 1, t);
        float *s = mosa_cpu_out_row(args, 0, t);
        for (int64_t i = 0; i < columns; i++) s[i] = a[i] + b[i];
        rms_norm_group(s, w, args->node->attrs.norm.eps, columns, mosa_cpu_out_row(args, 1, t));
    }
}
