// Norms, elementwise ops and rotation: AVX2 against the reference bit for bit, on random shapes.
//
// rowwise_test --bench prints GB/s of rows read and written by one thread.
#include "op_problem.h"

#include "graph/op.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const int64_t odd_columns[] = {1, 7, 8, 9, 31, 32, 33, 40, 64, 100, 257, 576, 2048};

// Zeros, infinities, NaN, huge and tiny values, and the branch points of the functions.
static void add_specials(op_problem *p, mosa_value value) {
    static const float specials[] = {0.0f,    -0.0f,   INFINITY, -INFINITY, NAN,     88.0f,  89.0f,     -87.4f,
                                     -104.0f, 1e30f,   -1e30f,   1e-40f,    -1e-40f, 0.625f, -0.62499f, 1.0f,
                                     -1.0f,   1.4142f, 4.0f,     -4.0f,     5.7f,    -5.7f};
    int64_t n = p->batch.rows * p->graph->values[value].shape.dim[1];
    for (size_t i = 0; i < MOSA_COUNT(specials); i++)
        if (op_below(p, 2)) op_data(p, value)[op_below(p, n)] = specials[i];
}

static void norms_match_the_reference(void **state) {
    (void)state;
    for (size_t i = 0; i < 4 * MOSA_COUNT(odd_columns); i++) {
        op_problem p;
        op_begin(&p, 1 + (int32_t)(i * 7 % 70), 100 + i);
        int64_t group = odd_columns[i / 4], heads = i % 4 == 3 ? 1 : 1 + op_below(&p, 3);
        mosa_attrs attrs = {.norm = {.eps = 1e-5f, .group = heads > 1 ? group : 0}};
        mosa_value x = op_rows(&p, group * heads, 3), b = op_rows(&p, group * heads, 1);
        mosa_value w = op_vector(&p, group, 2), bias = op_vector(&p, group, 1);
        switch (i % 4) {
        case 0:
            op_apply(&p, MOSA_OP_RMS_NORM, (mosa_value[]){x, w}, 2, &attrs, NULL);
            break;
        case 1:
            op_apply(&p, MOSA_OP_LAYER_NORM, (mosa_value[]){x, w, bias}, i % 8 == 1 ? 3 : 2, &attrs, NULL);
            break;
        case 2:
            op_apply(&p, MOSA_OP_L2_NORM, &x, 1, &attrs, NULL);
            break;
        default:
            op_apply(&p, MOSA_OP_ADD_RMS_NORM, (mosa_value[]){x, b, w}, 3, &attrs, NULL);
        }
        op_compare(&p);
        op_end(&p);
    }
}

static void elementwise_ops_match_the_reference(void **state) {
    (void)state;
    static const mosa_op ops[] = {MOSA_OP_ADD, MOSA_OP_MUL, MOSA_OP_SCALE, MOSA_OP_SLICE};
    for (size_t i = 0; i < MOSA_COUNT(ops) * MOSA_COUNT(odd_columns); i++) {
        op_problem p;
        op_begin(&p, 1 + (int32_t)(i * 5 % 70), 200 + i);
        mosa_op op = ops[i % MOSA_COUNT(ops)];
        int64_t columns = odd_columns[i / MOSA_COUNT(ops)];
        mosa_value a = op_rows(&p, columns, 9), b = op_rows(&p, columns, 9);
        mosa_attrs attrs = {.scale = {1.7f}};
        if (op == MOSA_OP_SLICE) attrs.slice.begin = columns / 3, attrs.slice.count = columns - columns / 3;
        op_apply(&p, op, (mosa_value[]){a, b}, mosa_op_get(op)->n_in_max, &attrs, NULL);
        op_compare(&p);
        op_end(&p);
    }
}

static void activations_match_the_reference_also_at_extremes(void **state) {
    (void)state;
    for (size_t i = 0; i < 13 * MOSA_COUNT(odd_columns); i++) {
        op_problem p;
        op_begin(&p, 1 + (int32_t)(i * 11 % 40), 300 + i);
        int64_t columns = odd_columns[i / 13];
        mosa_value gate = op_rows(&p, columns, i % 3 ? 6 : 100), up = op_rows(&p, columns, 2);
        add_specials(&p, gate);
        add_specials(&p, up);
        // Six kinds alone, seven as gates.
        mosa_attrs attrs = {.act = {(mosa_act)(i % 13 % 7), 7}};
        if (i % 13 >= 7)
            op_apply(&p, MOSA_OP_ACT, &gate, 1, &attrs, NULL);
        else
            op_apply(&p, MOSA_OP_GATED_ACT, (mosa_value[]){gate, up}, 2, &attrs, NULL);
        op_compare(&p);
        op_end(&p);
    }
}

static void combined_experts_match_the_reference(void **state) {
    (void)state;
    for (size_t i = 0; i < 3 * MOSA_COUNT(odd_columns); i++) {
        op_problem p;
        op_begin(&p, 1 + (int32_t)(i * 7 % 40), 350 + i);
        int64_t slots = 1 + (int64_t)(i % 3) * 3;
        mosa_value x = op_rows(&p, slots * odd_columns[i / 3], 3), weight = op_rows(&p, slots, 1);
        op_apply(&p, MOSA_OP_MOE_COMBINE, (mosa_value[]){x, weight}, 2, NULL, NULL);
        op_compare(&p);
        op_end(&p);
    }
}

static void rotation_matches_the_reference(void **state) {
    (void)state;
    static const int widths[] = {2, 6, 8, 20, 32, 64, 72, 128, 256};
    for (size_t i = 0; i < 4 * MOSA_COUNT(widths); i++) {
        op_problem p;
        op_begin(&p, 1 + (int32_t)(i * 3 % 70), 400 + i);
        int width = widths[i / 4], rot = i % 2 || width < 4 ? width : width / 4 * 2;
        mosa_attrs attrs = {.rope = {width, rot, i % 4 < 2 ? MOSA_ROPE_HALF : MOSA_ROPE_INTERLEAVED}};
        mosa_value x = op_rows(&p, width * (1 + op_below(&p, 4)), 3), table = op_rows(&p, rot, 1);
        op_apply(&p, MOSA_OP_ROPE, (mosa_value[]){x, table}, 2, &attrs, NULL);
        op_compare(&p);
        op_end(&p);
    }
}

// Runs a writing kernel over pages of its own; returns the pages' bytes.
static unsigned char *written_pages(op_problem *p, mosa_kv *kv, bool fast, int n_threads) {
    size_t bytes = kv->layer_stride * (size_t)kv->spec.layers;
    memset(kv->data, 0, bytes);
    mosa_cpu_kernel kernel = op_kernel(p->args.node->op, fast);
    op_run(p, &kernel, n_threads);
    return memcpy(malloc(bytes), kv->data, bytes);
}

static void keys_and_values_are_stored_as_the_reference_stores_them(void **state) {
    (void)state;
    static const int widths[] = {4, 8, 20, 64, 128};
    for (size_t i = 0; i < 12 * MOSA_COUNT(widths) && op_has_avx2(); i++) {
        op_problem p;
        op_begin(&p, 1 + (int32_t)(i * 13 % 70), 500 + i);
        int width = widths[i / 12], heads = 1 + (int)op_below(&p, 3);
        mosa_kv_spec spec = {2, heads, width, 16, 8, i % 3 == 0 ? MOSA_F32 : i % 3 == 1 ? MOSA_F16 : MOSA_Q8_0};
        mosa_kv *kv = op_kv_create(&p, &spec);
        int32_t pages[6] = {5, 0, 7, 2, 1, 6};
        mosa_segment segments[2] = {{0, p.batch.rows, 9, 6, pages}};
        p.batch.segments = segments;
        mosa_value k = op_rows(&p, (int64_t)heads * width, 3), v = op_rows(&p, (int64_t)heads * width, 1e5f);
        add_specials(&p, v);
        mosa_attrs rope = {.rope = {width, width / 4 * 2, MOSA_ROPE_HALF}}, attention;
        memset(&attention, 0, sizeof attention);
        attention.attention.layer = 1;
        attention.attention.kv_heads = heads;
        attention.attention.head_width = width;
        if (i % 4 < 2) {
            op_apply(&p, MOSA_OP_KV_WRITE, (mosa_value[]){k, v, op_state(&p, kv)}, 3, &attention, NULL);
        } else {
            mosa_value q = op_rows(&p, 2 * width, 1), table = op_rows(&p, rope.rope.rot, 1);
            mosa_value in[] = {q, k, v, table, op_state(&p, kv)};
            op_apply(&p, MOSA_OP_ROPE_KV_WRITE, in, 5, &rope, &attention);
        }
        unsigned char *expected = written_pages(&p, kv, false, 1), *got = written_pages(&p, kv, true, 3);
        assert_memory_equal(expected, got, kv->layer_stride * 2);
        op_compare(&p);
        free(expected);
        free(got);
        op_kv_destroy(kv);
        op_end(&p);
    }
}

static void bench_op(const char *name, mosa_op op, int n_in, const mosa_attrs *attrs, int64_t columns, int32_t rows,
                     int vector) {
    op_problem p;
    op_begin(&p, rows, 1);
    mosa_value in[3];
    for (int i = 0; i < n_in; i++) in[i] = i == vector ? op_vector(&p, columns, 1) : op_rows(&p, columns, 1);
    op_apply(&p, op, in, n_in, attrs, NULL);
    double bytes = 0;
    for (int i = 0; i < n_in; i++) bytes += i == vector ? 0 : 4.0 * (double)columns * rows;
    for (int i = 0; i < MOSA_NODE_OUTPUTS_MAX; i++) bytes += 4.0 * (double)p.out_columns[i] * rows;
    mosa_cpu_kernel ref = op_kernel(op, false), fast = op_kernel(op, true);
    double slow = op_time(&p, &ref), quick = op_time(&p, &fast);
    printf("%-24s %4d x %5lld  ref %7.2f us %6.2f GB/s   %s %7.2f us %6.2f GB/s  x%.1f\n", name, rows,
           (long long)columns, slow * 1e6, bytes / slow * 1e-9, fast.isa, quick * 1e6, bytes / quick * 1e-9,
           slow / quick);
    op_end(&p);
}

static int bench(void) {
    mosa_attrs norm = {.norm = {.eps = 1e-5f}}, heads = {.norm = {.eps = 1e-5f, .group = 2048}};
    static const char *const acts[] = {"silu", "gelu", "gelu_tanh", "relu"};
    for (int32_t rows = 1; rows <= 16; rows += 15) {
        bench_op("rms_norm", MOSA_OP_RMS_NORM, 2, &norm, 2048, rows, 1);
        bench_op("add_rms_norm", MOSA_OP_ADD_RMS_NORM, 3, &norm, 2048, rows, 2);
        bench_op("layer_norm", MOSA_OP_LAYER_NORM, 2, &norm, 2048, rows, 1);
        bench_op("l2_norm", MOSA_OP_L2_NORM, 1, &heads, 2048, rows, -1);
        bench_op("add", MOSA_OP_ADD, 2, NULL, 2048, rows, -1);
        for (int kind = 0; kind < 4; kind++) {
            mosa_attrs act = {.act = {(mosa_act)kind}};
            char name[32];
            (void)snprintf(name, sizeof name, "gated_act %s", acts[kind]);
            bench_op(name, MOSA_OP_GATED_ACT, 2, &act, 8192, rows, -1);
        }
        mosa_attrs rope = {.rope = {1024, 1024, MOSA_ROPE_HALF}};
        bench_op("rope half", MOSA_OP_ROPE, 2, &rope, 1024, rows, -1);
        rope.rope.style = MOSA_ROPE_INTERLEAVED;
        bench_op("rope interleaved", MOSA_OP_ROPE, 2, &rope, 1024, rows, -1);
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "--bench") == 0) return bench();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(norms_match_the_reference),
        cmocka_unit_test(elementwise_ops_match_the_reference),
        cmocka_unit_test(activations_match_the_reference_also_at_extremes),
        cmocka_unit_test(combined_experts_match_the_reference),
        cmocka_unit_test(rotation_matches_the_reference),
        cmocka_unit_test(keys_and_values_are_stored_as_the_reference_stores_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
