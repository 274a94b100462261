// Elementwise ops on AVX2: eight columns at a time, the last few by the scalar twins.
#include "backend/cpu/avx2/avx2.h"
#include "backend/cpu/avx2/math_avx2.h"

typedef void (*row_fn)(const mosa_node *node, const float *a, const float *b, float *y, int64_t n);

// Applies `fn` to each row of this thread; b is NULL for ops of one operand.
static void each_row(const mosa_cpu_args *args, int thread, int n_threads, row_fn fn) {
    int64_t columns = mosa_cpu_columns(args, 0), begin, end;
    mosa_cpu_share(args->rows, 1, thread, n_threads, &begin, &end);
    for (int64_t t = begin; t < end; t++)
        fn(args->node, mosa_cpu_in_row(args, 0, t), args->node->n_in > 1 ? mosa_cpu_in_row(args, 1, t) : NULL,
           mosa_cpu_out_row(args, 0, t), columns);
}

static void add_row(const mosa_node *node, const float *a, const float *b, float *y, int64_t n) {
    (void)node;
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) _mm256_storeu_ps(y + i, _mm256_add_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i)));
    for (; i < n; i++) y[i] = a[i] + b[i];
}

static void mul_row(const mosa_node *node, const float *a, const float *b, float *y, int64_t n) {
    (void)node;
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) _mm256_storeu_ps(y + i, _mm256_mul_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i)));
    for (; i < n; i++) y[i] = a[i] * b[i];
}

static void scale_row(const mosa_node *node, const float *a, const float *b, float *y, int64_t n) {
    (void)b;
    float value = node->attrs.scale.value;
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) _mm256_storeu_ps(y + i, _mm256_mul_ps(_mm256_loadu_ps(a + i), splat(value)));
    for (; i < n; i++) y[i] = a[i] * value;
}

// The switch on the kind stays outside the loop: each case gets a loop of its own.
static inline void act_loop(mosa_act kind, const float *a, const float *b, float *y, int64_t n) {
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 v = act8(kind, _mm256_loadu_ps(a + i));
        _mm256_storeu_ps(y + i, b ? _mm256_mul_ps(v, _mm256_loadu_ps(b + i)) : v);
    }
    for (; i < n; i++) y[i] = b ? mosa_actf(kind, a[i]) * b[i] : mosa_actf(kind, a[i]);
}

static void clamped_swiglu_loop(const float *a, const float *b, float limit, float *y, int64_t n) {
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) { // min and max give their second operand when one is NaN
        __m256 gate = _mm256_min_ps(splat(limit), _mm256_loadu_ps(a + i));
        __m256 up = _mm256_max_ps(splat(-limit), _mm256_min_ps(splat(limit), _mm256_loadu_ps(b + i)));
        __m256 e = exp8(_mm256_mul_ps(gate, splat(-MOSA_SWIGLU_ALPHA)));
        __m256 act = _mm256_div_ps(gate, _mm256_add_ps(splat(1.0f), e));
        _mm256_storeu_ps(y + i, _mm256_mul_ps(_mm256_add_ps(up, splat(1.0f)), act));
    }
    for (; i < n; i++) y[i] = mosa_clamped_swigluf(a[i], b[i], limit);
}

static void act_row(const mosa_node *node, const float *a, const float *b, float *y, int64_t n) {
    switch (node->attrs.act.kind) {
    case MOSA_ACT_SILU:
        act_loop(MOSA_ACT_SILU, a, b, y, n);
        break;
    case MOSA_ACT_GELU:
        act_loop(MOSA_ACT_GELU, a, b, y, n);
        break;
    case MOSA_ACT_GELU_TANH:
        act_loop(MOSA_ACT_GELU_TANH, a, b, y, n);
        break;
    case MOSA_ACT_RELU:
        act_loop(MOSA_ACT_RELU, a, b, y, n);
        break;
    case MOSA_ACT_SIGMOID:
        act_loop(MOSA_ACT_SIGMOID, a, b, y, n);
        break;
    case MOSA_ACT_TANH:
        act_loop(MOSA_ACT_TANH, a, b, y, n);
        break;
    case MOSA_ACT_CLAMPED_SWIGLU:
        clamped_swiglu_loop(a, b, node->attrs.act.limit, y, n);
        break;
    }
}

void mosa_avx2_add(const mosa_cpu_args *args, int thread, int n_threads) {
    each_row(args, thread, n_threads, add_row);
}

void mosa_avx2_mul(const mosa_cpu_args *args, int thread, int n_threads) {
    each_row(args, thread, n_threads, mul_row);
}

void mosa_avx2_scale(const mosa_cpu_args *args, int thread, int n_threads) {
    each_row(args, thread, n_threads, scale_row);
}

void mosa_avx2_act(const mosa_cpu_args *args, int thread, int n_threads) {
    each_row(args, thread, n_threads, act_row);
}

void mosa_avx2_gated_act(const mosa_cpu_args *args, int thread, int n_threads) {
    each_row(args, thread, n_threads, act_row);
}
