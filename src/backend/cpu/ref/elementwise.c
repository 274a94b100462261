// Elementwise ops, SLICE and JOIN, reference.
#include "backend/cpu/kv_page.h"
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

static void round_row(const mosa_node *node, const float *a, const float *b, float *y, int64_t n) {
    (void)b;
    bool f16 = node->attrs.round.dtype == MOSA_F16;
    for (int64_t i = 0; i < n; i++)
        y[i] = f16 ? mosa_f16_to_f32(mosa_kv_half(a[i])) : mosa_bf16_to_f32(mosa_bf16_from_f32(a[i]));
}

static void act_row(const mosa_node *node, const float *a, const float *b, float *y, int64_t n) {
    (void)b;
    for (int64_t i = 0; i < n; i++) y[i] = mosa_actf(node->attrs.act.kind, a[i]);
}

static void gated_row(const mosa_node *node, const float *a, const float *b, float *y, int64_t n) {
    mosa_act kind = node->attrs.act.kind;
    for (int64_t i = 0; i < n; i++)
        y[i] = kind == MOSA_ACT_CLAMPED_SWIGLU ? mosa_clamped_swigluf(a[i], b[i], node->attrs.act.limit)
                                               : mosa_actf(kind, a[i]) * b[i];
}

static void slice_row(const mosa_node *node, const float *a, const float *b, float *y, int64_t n) {
    (void)b;
    int64_t group = node->attrs.slice.group ? node->attrs.slice.group : n, count = node->attrs.slice.count;
    for (int64_t at = 0; at < n; at += group, y += count)
        memcpy(y, a + at + node->attrs.slice.begin, (size_t)count * sizeof *y);
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

void mosa_ref_round(const mosa_cpu_args *args, int thread, int n_threads) {
    each_row(args, thread, n_threads, round_row);
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

void mosa_ref_join(const mosa_cpu_args *args, int thread, int n_threads) {
    int64_t groups = args->node->attrs.join.groups, begin, end;
    int64_t a_width = mosa_cpu_columns(args, 0) / groups, b_width = mosa_cpu_columns(args, 1) / groups;
    mosa_cpu_share(args->rows, 1, thread, n_threads, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        const float *a = mosa_cpu_in_row(args, 0, t), *b = mosa_cpu_in_row(args, 1, t);
        float *y = mosa_cpu_out_row(args, 0, t);
        for (int64_t g = 0; g < groups; g++, y += a_width + b_width) {
            memcpy(y, a + g * a_width, (size_t)a_width * sizeof *y);
            memcpy(y + a_width, b + g * b_width, (size_t)b_width * sizeof *y);
        }
    }
}
