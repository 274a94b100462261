// LORA: AVX2 against the reference bit for bit, over random mixes of adapters, types and shapes.
//
// lora_test --bench prints what an adapter adds to a linear of 4096 x 4096, by one thread.
#include "op_problem.h"

#include "backend/cpu/cpu_backend.h"
#include "tensor/half.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SEGMENTS_MAX = 80, ADAPTERS_MAX = 4 };

typedef struct problem {
    op_problem op;
    mosa_adapter *adapters[ADAPTERS_MAX];
    int n_adapters;
    mosa_segment segments[SEGMENTS_MAX];
    mosa_cpu_lora_rows rows;
    int64_t k, n;
    int rank;
} problem;

// A random matrix of a type; freed by the caller.
static mosa_tensor_view random_matrix(op_problem *p, mosa_dtype dtype, int64_t rows, int64_t columns) {
    float *values = malloc((size_t)(rows * columns) * sizeof *values);
    unsigned char *data = malloc((size_t)(rows * columns) * 4);
    assert_true(values && data);
    op_fill(p, values, rows * columns, 0.5f);
    mosa_dtype_traits_of(dtype)->from_f32(values, data, rows * columns);
    free(values);
    mosa_tensor_view view = {.name = "m", .dtype = dtype, .n_dims = 2, .n_elements = rows * columns, .data = data};
    view.dims[0] = rows;
    view.dims[1] = columns;
    return view;
}

static mosa_adapter *random_adapter(problem *p, mosa_dtype dtype, int rank) {
    mosa_tensor_view a = random_matrix(&p->op, dtype, rank, p->k), b = random_matrix(&p->op, dtype, p->n, rank);
    mosa_lora_pair pair = {.target = 2, .scale = 1.7f, .a = &a, .b = &b};
    mosa_adapter *adapter;
    mosa_error err;
    if (mosa_cpu_adapter_create(NULL, &pair, rank > 0, 3, &adapter, &err) != MOSA_OK) fail_msg("%s", err.message);
    free((void *)(uintptr_t)a.data);
    free((void *)(uintptr_t)b.data);
    return adapter;
}

// Cuts the rows into segments, each with a random adapter or none.
static void mix_segments(problem *p) {
    int n = 0;
    for (int32_t row = 0; row < p->op.batch.rows; n++) {
        int32_t left = p->op.batch.rows - row, count = 1 + (int32_t)op_below(&p->op, left < 9 ? left : 9);
        if (n == SEGMENTS_MAX - 1) count = left;
        p->segments[n] = (mosa_segment){
            .row_begin = row, .row_count = count, .adapter = (int32_t)op_below(&p->op, p->n_adapters + 1)};
        row += count;
    }
    p->op.batch.n_segments = n;
    p->op.batch.segments = p->segments;
    p->op.batch.n_adapters = p->n_adapters;
    p->op.batch.adapters = (const mosa_adapter *const *)p->adapters;
}

static void begin(problem *p, int32_t rows, int64_t k, int64_t n, int rank, uint64_t seed) {
    *p = (problem){.k = k, .n = n, .rank = rank};
    op_begin(&p->op, rows, seed);
    mosa_value y = op_rows(&p->op, n, 3), x = op_rows(&p->op, k, 2), state = op_state(&p->op, NULL);
    mosa_attrs attrs = {.lora = {.target = 2, .rank = rank}};
    op_apply(&p->op, MOSA_OP_LORA, (mosa_value[]){y, x, state}, 3, &attrs, NULL);
    mosa_error err;
    assert_int_equal(mosa_cpu_lora_rows_init(&p->rows, rows + ADAPTERS_MAX, &err), MOSA_OK);
    p->op.args.lora = &p->rows;
}

static void end(problem *p) {
    for (int i = 0; i < p->n_adapters; i++) mosa_cpu_adapter_destroy(NULL, p->adapters[i]);
    mosa_cpu_lora_rows_finish(&p->rows);
    op_end(&p->op);
}

static void every_mix_matches_the_reference(void **state) {
    (void)state;
    static const int64_t widths[] = {1, 7, 8, 17, 33, 64, 100, 257};
    static const mosa_dtype types[] = {MOSA_F32, MOSA_F16, MOSA_BF16};
    for (size_t i = 0; i < 96; i++) {
        problem p;
        begin(&p, 1 + (int32_t)(i * 7 % 41), widths[i % MOSA_COUNT(widths)], widths[i / 8 % MOSA_COUNT(widths)], 20, i);
        p.n_adapters = 1 + (int)(i % ADAPTERS_MAX);
        for (int a = 0; a < p.n_adapters; a++)
            p.adapters[a] = random_adapter(&p, types[(i + (size_t)a) % 3], a == 3 ? 0 : 1 + (int)op_below(&p.op, 20));
        mix_segments(&p);
        mosa_cpu_lora_rows_set(&p.rows, &p.op.batch);
        op_compare(&p.op);
        end(&p);
    }
}

// A row's bits are those that it has alone, whoever is beside it; without an adapter they are the input's.
static void rows_do_not_depend_on_their_neighbours(void **state) {
    (void)state;
    problem p;
    begin(&p, 23, 100, 77, 16, 5);
    p.n_adapters = 3;
    for (int a = 0; a < 3; a++) p.adapters[a] = random_adapter(&p, MOSA_F32, 4 + 6 * a);
    mix_segments(&p);
    mosa_cpu_lora_rows_set(&p.rows, &p.op.batch);
    mosa_cpu_kernel kernel = op_kernel(MOSA_OP_LORA, op_has_avx2());
    op_run(&p.op, &kernel, 2);
    float *mixed = op_take_output(&p.op, 0);
    for (int32_t s = 0; s < p.op.batch.n_segments; s++) {
        mosa_segment one = p.segments[s];
        for (int32_t r = one.row_begin; r < one.row_begin + one.row_count; r++) {
            const float *y = (const float *)p.op.args.in[0] + r * p.n;
            if (one.adapter == 0) assert_memory_equal(mixed + r * p.n, y, (size_t)p.n * sizeof *y);
        }
        mosa_batch batch = p.op.batch;
        mosa_segment only[SEGMENTS_MAX];
        memcpy(only, p.segments, sizeof only);
        for (int32_t i = 0; i < batch.n_segments; i++)
            if (i != s) only[i].adapter = 0;
        batch.segments = only;
        mosa_cpu_lora_rows_set(&p.rows, &batch);
        op_run(&p.op, &kernel, 1);
        assert_memory_equal(p.op.out[0] + one.row_begin * p.n, mixed + one.row_begin * p.n,
                            (size_t)(one.row_count * p.n) * sizeof(float));
    }
    free(mixed);
    end(&p);
}

static void bench(void) {
    static const mosa_dtype types[] = {MOSA_F32, MOSA_F16};
    static const int32_t rows[] = {1, 4, 16, 512};
    for (size_t t = 0; t < MOSA_COUNT(types); t++)
        for (size_t r = 0; r < MOSA_COUNT(rows); r++) {
            problem p;
            begin(&p, rows[r], 4096, 4096, 16, 1);
            p.n_adapters = 1;
            p.adapters[0] = random_adapter(&p, types[t], 16);
            p.segments[0] = (mosa_segment){.row_count = rows[r], .adapter = 1};
            p.op.batch.n_adapters = 1;
            p.op.batch.segments = p.segments;
            p.op.batch.adapters = (const mosa_adapter *const *)p.adapters;
            mosa_cpu_lora_rows_set(&p.rows, &p.op.batch);
            mosa_cpu_kernel kernel = op_kernel(MOSA_OP_LORA, true);
            double seconds = op_time(&p.op, &kernel);
            double macs = (double)rows[r] * 16 * 2 * 4096, bytes = p.adapters[0]->bytes + rows[r] * 3.0 * 4 * 4096;
            printf("lora rank 16 %s, %3d rows: %8.1f us  %6.2f G multiply-adds/s  %5.1f GB/s\n",
                   mosa_dtype_name(types[t]), rows[r], seconds * 1e6, macs / seconds / 1e9, bytes / seconds / 1e9);
            end(&p);
        }
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "--bench") == 0) {
        bench();
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_mix_matches_the_reference),
        cmocka_unit_test(rows_do_not_depend_on_their_neighbours),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
