// Elementwise ops and SLICE, reference.
#include "backend/cpu/math.h"
#include "backend/cpu/ref/ref.h"

#include <string.h>

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
    for (int64_t i = 0; i < n; i++) y[i] = a[i] + b[i];
}

static void mul_row(const mosa_node *node, const float *a, const float *b, float *y, int64_t n) {
    (void)node;
    for (int64_t i = 0; i < n; i++) y[i] = a[i] * b[i];
}

static void scale_row(const mosa_node *node, const float *a, const float *b, float *y, int64_t n) {
    (void)b;
    for (int64_t i = 0; i < n; i++) y[i] = a[i] * node->attrs.scale.value;
}

static void act_row(const mosa_node *node, const float *a, const float *b, float *y, int64_t n) {
    (void)b;
    for (int64_t i = 0; i < n; i++) y[i] = mosa_actf(node->attrs.act.kind, a[i]);
}

static void gated_row(const mosa_node *node, const float *a, const float *b, float *y, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = mosa_actf(node->attrs.act.kind, a[i]) * b[i];
}

static void slice_row(const mosa_node *node, const float *a, const float *b, float *y, int64_t n) {
    (void)b;
    (void)n;
    memcpy(y, a + node->attrs.slice.begin, (size_t)node->attrs.slice.count * sizeof *y);
}

void mosa_ref_add(const mosa_cpu_args *args, int thread, int n_threads) {
    each_row(args, thread, n_threads, add_row);
}

void mosa_ref_mul(const mosa_cpu_args *args, int thread, int n_threads) {
    each_row(args, thread, n_threads, mul_row);
}

void mosa_ref_scale(const mosa_cpu_args *args, int thread, int n_threads) {
    each_row(args, thread, n_threads, scale_row);
}

void mosa_ref_act(const mosa_cpu_args *args, int thread, int n_threads) {
    each_row(args, thread, n_threads, act_row);
}

void mosa_ref_gated_act(const mosa_cpu_args *args, int thread, int n_threads) {
    each_row(args, thread, n_threads, gated_row);
}

void mosa_ref_slice(const mosa_cpu_args *args, int thread, int n_threads) {
    each_row(args, thread, n_threads, slice_row);
}
