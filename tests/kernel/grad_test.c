// Derivatives: the fast kernels against the reference bit for bit, outputs and accumulated gradients, with any number
// of threads.
//
// grad_test --bench prints the time of one thread over shapes of GPT-2 124M.
#include "op_problem.h"

#include "graph/op.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const int64_t odd_columns[] = {1, 7, 8, 9, 31, 32, 33, 40, 64, 100, 257, 576};

// A problem with an arena of gradients of one weight, slot 0.
typedef struct grad_problem {
    op_problem op;
    mosa_grads grads;
    int64_t offset;
    float *before;
    int skipped_output; // whose contents are no result; -1: none
} grad_problem;

static void *must(void *memory) {
    if (!memory) fail_msg("out of memory");
    return memory;
}

static void grad_begin(grad_problem *p, int32_t rows, uint64_t seed) {
    memset(p, 0, sizeof *p);
    op_begin(&p->op, rows, seed);
    p->skipped_output = -1;
}

static void grad_end(grad_problem *p) {
    free(p->grads.data);
    free(p->before);
    op_end(&p->op);
}

static mosa_value grad_state(grad_problem *p, int64_t elements) {
    mosa_value value = mosa_graph_state(p->op.graph, "grads");
    p->grads = (mosa_grads){.count = elements + 32, .n_slots = 1, .offset = &p->offset};
    p->offset = 16;
    p->grads.data = must(malloc((size_t)p->grads.count * sizeof(float)));
    p->before = must(malloc((size_t)p->grads.count * sizeof(float)));
    op_fill(&p->op, p->before, p->grads.count, 1);
    p->op.bound[value] = &p->grads;
    return value;
}

// A matrix, read by the kernels as its file holds it.
static mosa_value matrix(grad_problem *p, mosa_dtype dtype, int64_t n, int64_t k) {
    const mosa_dtype_traits *traits = mosa_dtype_traits_of(dtype);
    mosa_value value = mosa_graph_weight(p->op.graph, "m", dtype, MOSA_SHAPE2(n, k));
    size_t bytes = (size_t)(n * k / traits->block_len) * traits->block_bytes;
    unsigned char *data = must(malloc(bytes));
    if (dtype == MOSA_F32)
        op_fill(&p->op, (float *)(void *)data, n * k, 1);
    else // small numbers of any type: scales are halves with a small exponent
        for (size_t i = 0; i < bytes; i++) data[i] = (unsigned char)(op_below(&p->op, 256) & (i % 2 ? 0x3b : 0xff));
    p->op.data[p->op.n_data++] = data;
    mosa_weight *weight = &p->op.weights[p->op.graph->values[value].slot];
    weight->view = (mosa_tensor_view){.dtype = dtype, .n_dims = 2, .dims = {n, k}, .n_elements = n * k};
    weight->view.bytes = bytes;
    weight->view.data = data;
    p->op.bound[value] = weight;
    return value;
}

static mosa_value numbers(grad_problem *p, int64_t bound, int64_t lowest) {
    mosa_value value = mosa_graph_input(p->op.graph, "ids", MOSA_I32, MOSA_SHAPE1(MOSA_ROWS));
    int32_t *ids = must(malloc((size_t)p->op.batch.rows * sizeof *ids));
    for (int32_t i = 0; i < p->op.batch.rows; i++) ids[i] = (int32_t)(lowest + op_below(&p->op, bound - lowest));
    p->op.data[p->op.n_data++] = ids;
    p->op.bound[value] = ids;
    return value;
}

static void run(grad_problem *p, op_isa isa, int n_threads) {
    mosa_cpu_kernel kernel = op_kernel(p->op.args.node->op, isa);
    if (kernel.phases_of) kernel.phases = kernel.phases_of(&p->op.args);
    if (p->grads.data) memcpy(p->grads.data, p->before, (size_t)p->grads.count * sizeof(float));
    op_run(&p->op, &kernel, n_threads);
}

static void compare(grad_problem *p) {
    static const int threads[] = {1, 2, 3, OP_THREADS_MAX};
    float *expected[MOSA_NODE_OUTPUTS_MAX] = {NULL}, *grads = NULL;
    run(p, OP_REF, 3);
    for (int o = 0; o < MOSA_NODE_OUTPUTS_MAX; o++)
        if (p->op.out[o] && o != p->skipped_output) expected[o] = op_take_output(&p->op, o);
    size_t bytes = (size_t)p->grads.count * sizeof(float);
    if (p->grads.data) grads = memcpy(must(malloc(bytes)), p->grads.data, bytes);
    for (op_isa isa = OP_REF; isa <= op_best_isa(); isa++)
        for (size_t i = 0; i < MOSA_COUNT(threads); i++) {
            run(p, isa, threads[i]);
            for (int o = 0; o < MOSA_NODE_OUTPUTS_MAX; o++)
                if (expected[o]) op_assert_same(&p->op, o, expected[o], op_kernel(p->op.args.node->op, isa).isa);
            for (int64_t g = 0; grads && g < p->grads.count; g++)
                if (memcmp(&grads[g], &p->grads.data[g], sizeof *grads))
                    fail_msg("%s isa %d, %d threads: gradient %lld is %.9g, not %.9g",
                             mosa_op_get(p->op.args.node->op)->name, (int)isa, threads[i], (long long)(g - p->offset),
                             (double)p->grads.data[g], (double)grads[g]);
        }
    for (int o = 0; o < MOSA_NODE_OUTPUTS_MAX; o++) free(expected[o]);
    free(grads);
}

static void dense_layers(void **state) {
    (void)state;
    static const mosa_dtype types[] = {MOSA_F32, MOSA_BF16, MOSA_F16, MOSA_Q8_0};
    for (uint64_t i = 0; i < 40; i++) {
        grad_problem p;
        grad_begin(&p, 1 + (int32_t)(i * 13 % 50), 300 + i);
        mosa_dtype dtype = types[i / 3 % 4];
        int64_t n = 1 + op_below(&p.op, 70);
        int64_t k = dtype == MOSA_Q8_0 ? 32 * (1 + op_below(&p.op, 3)) : 1 + op_below(&p.op, 70);
        if (i % 3 == 0) {
            mosa_value in[] = {op_rows(&p.op, n, 1), matrix(&p, dtype, n, k)};
            op_apply(&p.op, MOSA_OP_LINEAR_DX, in, 2, NULL, NULL);
        } else if (i % 3 == 1) {
            mosa_attrs grad = {.grad = {0, n * k}};
            mosa_value in[] = {op_rows(&p.op, n, 1), op_rows(&p.op, k, 1), grad_state(&p, n * k)};
            op_apply(&p.op, MOSA_OP_LINEAR_DW, in, 3, NULL, &grad);
        } else {
            mosa_value in[] = {op_rows(&p.op, n, 1), op_rows(&p.op, k, 1), matrix(&p, dtype, n, k)};
            op_apply(&p.op, MOSA_OP_LORA_ADD, in, 3, NULL, NULL);
        }
        compare(&p);
        grad_end(&p);
    }
}

// LINEAR over a matrix that was not packed gives what LINEAR means.
static void linear_over_live_weights(void **state) {
    (void)state;
    static const mosa_dtype types[] = {MOSA_F32, MOSA_BF16, MOSA_F16};
    for (uint64_t i = 0; i < 12; i++) {
        grad_problem p;
        grad_begin(&p, 1 + (int32_t)(i * 13 % 50), 400 + i);
        int64_t n = 1 + op_below(&p.op, 70), k = 1 + op_below(&p.op, 70);
        mosa_value in[] = {op_rows(&p.op, k, 1), matrix(&p, types[i % 3], n, k), op_vector(&p.op, n, 1)};
        op_apply(&p.op, MOSA_OP_LINEAR, in, i % 2 ? 3 : 2, NULL, NULL);
        compare(&p);
        grad_end(&p);
    }
}

static void norms(void **state) {
    (void)state;
    static const mosa_op ops[] = {MOSA_OP_RMS_NORM_DX, MOSA_OP_LAYER_NORM_DX, MOSA_OP_RMS_NORM_DW,
                                  MOSA_OP_LAYER_NORM_DW, MOSA_OP_ROWS_SUM};
    for (size_t i = 0; i < 5 * MOSA_COUNT(odd_columns); i++) {
        grad_problem p;
        grad_begin(&p, 1 + (int32_t)(i * 7 % 40), 500 + i);
        int64_t group = odd_columns[i / 5], heads = 1 + op_below(&p.op, 3);
        mosa_attrs attrs = {.norm = {.eps = 1e-5f, .group = heads > 1 ? group : 0}}, grad = {.grad = {0, group}};
        mosa_value dy = op_rows(&p.op, group * heads, 1), x = op_rows(&p.op, group * heads, 3);
        if (i % 5 < 2)
            op_apply(&p.op, ops[i % 5], (mosa_value[]){dy, x, op_vector(&p.op, group, 2)}, 3, &attrs, NULL);
        else if (i % 5 < 4)
            op_apply(&p.op, ops[i % 5], (mosa_value[]){dy, x, grad_state(&p, group)}, 3, &attrs, &grad);
        else
            op_apply(&p.op, ops[i % 5], (mosa_value[]){dy, grad_state(&p, group)}, 2, NULL, &grad);
        compare(&p);
        grad_end(&p);
    }
}

static void activations(void **state) {
    (void)state;
    for (size_t i = 0; i < 2 * 7 * MOSA_COUNT(odd_columns); i++) {
        grad_problem p;
        grad_begin(&p, 1 + (int32_t)(i * 7 % 40), 600 + i);
        int64_t columns = odd_columns[i / 14];
        mosa_attrs attrs = {.act = {.kind = (mosa_act)(i % 14 / 2), .limit = 2}};
        bool gated = i % 2 || attrs.act.kind == MOSA_ACT_CLAMPED_SWIGLU;
        mosa_value dy = op_rows(&p.op, columns, 1), x = op_rows(&p.op, columns, 6), up = op_rows(&p.op, columns, 3);
        if (i % 3) op_data(&p.op, x)[op_below(&p.op, columns)] = i % 3 == 1 ? INFINITY : -0.0f;
        op_apply(&p.op, gated ? MOSA_OP_GATED_ACT_DX : MOSA_OP_ACT_DX, (mosa_value[]){dy, x, up}, gated ? 3 : 2, &attrs,
                 NULL);
        compare(&p);
        grad_end(&p);
    }
}

static void rounding(void **state) {
    (void)state;
    static const float specials[] = {0.0f, -0.0f, 65504.0f, 1e9f,   -1e9f,      INFINITY,
                                     NAN,  6e-8f, 3e-8f,    1e-40f, 1.00048828f};
    for (size_t i = 0; i < 2 * MOSA_COUNT(odd_columns); i++) {
        grad_problem p;
        grad_begin(&p, 5, 700 + i);
        mosa_attrs attrs = {.round = {i % 2 ? MOSA_F16 : MOSA_BF16}};
        mosa_value x = op_rows(&p.op, odd_columns[i / 2], 3);
        for (size_t s = 0; s < MOSA_COUNT(specials); s++)
            op_data(&p.op, x)[op_below(&p.op, 5 * odd_columns[i / 2])] = specials[s];
        op_apply(&p.op, MOSA_OP_ROUND, &x, 1, &attrs, NULL);
        compare(&p);
        grad_end(&p);
    }
}

// Segments of uneven length over all rows.
static void cut_segments(grad_problem *p) {
    int32_t n = 1 + (int32_t)op_below(&p->op, 4), row = 0;
    if (n > p->op.batch.rows) n = p->op.batch.rows;
    mosa_segment *segments = must(calloc((size_t)n, sizeof *segments));
    for (int32_t s = 0; s < n; s++) {
        int32_t left = p->op.batch.rows - row - (n - 1 - s);
        segments[s].row_begin = row;
        segments[s].row_count = s + 1 == n ? p->op.batch.rows - row : 1 + (int32_t)op_below(&p->op, left);
        segments[s].pos_begin = (int32_t)op_below(&p->op, 3) * 7;
        row += segments[s].row_count;
    }
    p->op.data[p->op.n_data++] = segments;
    p->op.batch.segments = segments;
    p->op.batch.n_segments = n;
}

static void attention(void **state) {
    (void)state;
    for (uint64_t i = 0; i < 48; i++) {
        grad_problem p;
        grad_begin(&p, 1 + (int32_t)(i * 37 % 200), 800 + i);
        cut_segments(&p);
        int kv_heads = 1 + (int)op_below(&p.op, 3), group = 1 + (int)op_below(&p.op, 3);
        int width = 1 + (int)op_below(&p.op, 40), value_width = i % 3 ? width : 1 + (int)op_below(&p.op, 40);
        mosa_attrs attrs;
        memset(&attrs, 0, sizeof attrs);
        attrs.attention.heads = kv_heads * group;
        attrs.attention.kv_heads = kv_heads;
        attrs.attention.head_width = width;
        attrs.attention.value_width = value_width;
        attrs.attention.causal = i % 4 != 3;
        attrs.attention.window = i % 5 == 4 ? 1 + (int)op_below(&p.op, 50) : 0;
        attrs.attention.scale = 0.3f;
        attrs.attention.softcap = i % 7 == 6 ? 2 : 0;
        mosa_value in[5] = {op_rows(&p.op, kv_heads * group * value_width, 1),
                            op_rows(&p.op, kv_heads * group * width, 2), op_rows(&p.op, kv_heads * width, 2),
                            op_rows(&p.op, kv_heads * value_width, 1)};
        in[4] = op_vector(&p.op, kv_heads * group, 1);
        op_apply(&p.op, MOSA_OP_ATTENTION_DX, in, i % 6 == 5 ? 5 : 4, &attrs, NULL);
        compare(&p);
        grad_end(&p);
    }
}

static void loss(void **state) {
    (void)state;
    for (uint64_t i = 0; i < 24; i++) {
        grad_problem p;
        grad_begin(&p, 4 + (int32_t)(i * 13 % 60), 900 + i);
        int64_t vocab = odd_columns[i / 2 % 12], width = 1 + op_below(&p.op, 50);
        mosa_attrs attrs, grad = {.grad = {i % 3 ? 0 : -1, vocab * width}};
        memset(&attrs, 0, sizeof attrs);
        attrs.linear_ce.scale = i % 4 == 3 ? 0.5f : 1;
        attrs.linear_ce.softcap = i % 5 == 4 ? 3 : 0;
        attrs.linear_ce.chunk = 1 + (int32_t)op_below(&p.op, p.op.batch.rows);
        mosa_value h = op_rows(&p.op, width, 1), w = matrix(&p, i % 2 ? MOSA_F32 : MOSA_BF16, vocab, width);
        mosa_value labels = numbers(&p, vocab, i % 4 ? -1 : 0), coef = op_rows(&p.op, 1, 1);
        for (int32_t t = 0; t < p.op.batch.rows; t++)
            if (op_below(&p.op, 3) == 0) op_data(&p.op, coef)[t] = 0;
        for (int32_t t = 0; t < p.op.batch.rows / 2 && i % 3 == 1; t++) ((int32_t *)p.op.bound[labels])[t] = -1;
        if (i % 3 == 0) grad.grad.elements = 0;
        op_apply(&p.op, MOSA_OP_LINEAR_CE, (mosa_value[]){h, w, labels, coef, grad_state(&p, vocab * width)}, 5, &attrs,
                 &grad);
        p.skipped_output = 2; // room
        compare(&p);
        grad_end(&p);
    }
}

// --bench

static void time_op(grad_problem *p, double flop, double bytes) {
    for (op_isa isa = OP_AVX2; isa <= op_best_isa(); isa++) {
        mosa_cpu_kernel kernel = op_kernel(p->op.args.node->op, isa);
        if (kernel.phases_of) kernel.phases = kernel.phases_of(&p->op.args);
        double seconds = op_time(&p->op, &kernel);
        printf("%-16s %-7s %9.3f ms %7.1f GFLOP/s %6.1f GB/s\n", mosa_op_get(p->op.args.node->op)->name, kernel.isa,
               1e3 * seconds, 1e-9 * flop / seconds, 1e-9 * bytes / seconds);
    }
    grad_end(p);
}

static int run_bench(void) {
    grad_problem p;
    const int32_t rows = 1024;
    const int64_t d = 768, f = 3072;
    mosa_attrs norm = {.norm = {.eps = 1e-5f}}, act = {.act = {.kind = MOSA_ACT_GELU_TANH}}, grad = {.grad = {0, d}};
    double row_bytes = 4.0 * rows * d;
    grad_begin(&p, rows, 1);
    op_apply(&p.op, MOSA_OP_LAYER_NORM_DX,
             (mosa_value[]){op_rows(&p.op, d, 1), op_rows(&p.op, d, 1), op_vector(&p.op, d, 1)}, 3, &norm, NULL);
    time_op(&p, 0, 3 * row_bytes);
    grad_begin(&p, rows, 1);
    op_apply(&p.op, MOSA_OP_LAYER_NORM_DW,
             (mosa_value[]){op_rows(&p.op, d, 1), op_rows(&p.op, d, 1), grad_state(&p, d)}, 3, &norm, &grad);
    time_op(&p, 0, 2 * row_bytes);
    grad_begin(&p, rows, 1);
    op_apply(&p.op, MOSA_OP_ROWS_SUM, (mosa_value[]){op_rows(&p.op, d, 1), grad_state(&p, d)}, 2, NULL, &grad);
    time_op(&p, 0, row_bytes);
    grad_begin(&p, rows, 1);
    op_apply(&p.op, MOSA_OP_ACT_DX, (mosa_value[]){op_rows(&p.op, f, 1), op_rows(&p.op, f, 1)}, 2, &act, NULL);
    time_op(&p, 0, 12 * row_bytes);
    mosa_attrs attrs;
    memset(&attrs, 0, sizeof attrs);
    attrs.attention.heads = attrs.attention.kv_heads = 12;
    attrs.attention.head_width = 64;
    attrs.attention.causal = true;
    attrs.attention.scale = 0.125f;
    grad_begin(&p, rows, 1);
    op_apply(&p.op, MOSA_OP_ATTENTION, (mosa_value[]){op_rows(&p.op, d, 1), op_rows(&p.op, d, 1), op_rows(&p.op, d, 1)},
             3, &attrs, NULL);
    time_op(&p, 2.0 * rows * rows * (double)d, 4 * row_bytes);
    grad_begin(&p, rows, 1);
    mosa_value in[] = {op_rows(&p.op, d, 1), op_rows(&p.op, d, 1), op_rows(&p.op, d, 1), op_rows(&p.op, d, 1)};
    op_apply(&p.op, MOSA_OP_ATTENTION_DX, in, 4, &attrs, NULL);
    time_op(&p, 5.0 * rows * rows * (double)d, 7 * row_bytes);
    memset(&attrs, 0, sizeof attrs);
    attrs.linear_ce.scale = 1;
    attrs.linear_ce.chunk = 256;
    grad_begin(&p, 256, 1);
    grad.grad.elements = 50257 * d;
    mosa_value h = op_rows(&p.op, d, 0.1f), w = matrix(&p, MOSA_F32, 50257, d), labels = numbers(&p, 50257, 0);
    op_apply(&p.op, MOSA_OP_LINEAR_CE, (mosa_value[]){h, w, labels, op_rows(&p.op, 1, 1), grad_state(&p, 50257 * d)}, 5,
             &attrs, &grad);
    time_op(&p, 6.0 * 256 * 50257 * (double)d, 0);
    return 0;
}

int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "--bench")) return run_bench();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dense_layers), cmocka_unit_test(linear_over_live_weights),
        cmocka_unit_test(norms),        cmocka_unit_test(activations),
        cmocka_unit_test(rounding),     cmocka_unit_test(attention),
        cmocka_unit_test(loss),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
