// Adapters through a backend's interface: what an executor refuses, and that a run gives the sums that it should.
#include "backend/backend.h"
#include "graph/pass.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ROWS = 6, K = 40, N = 24, RANK = 3, RANK_MAX = 4 };

typedef struct fixture {
    mosa_backend *backend;
    mosa_graph *graph, *adapted, *lowered;
    mosa_plan *plan;
    mosa_weight *weight;
    mosa_exec *exec;
    float w[N * K], x[ROWS * K], a[RANK_MAX * K], b[N * RANK_MAX];
} fixture;

static void must(mosa_status status, const mosa_error *err) {
    if (status != MOSA_OK) fail_msg("%s", err->message);
}

static void fill(float *values, int n, int seed) {
    for (int i = 0; i < n; i++) values[i] = (float)((i * 37 + seed * 11) % 19 - 9) / 8;
}

static mosa_tensor_view matrix(const float *data, int64_t rows, int64_t columns) {
    mosa_tensor_view view = {.name = "m", .dtype = MOSA_F32, .n_dims = 2, .n_elements = rows * columns, .data = data};
    view.dims[0] = rows;
    view.dims[1] = columns;
    view.bytes = (size_t)(rows * columns) * sizeof *data;
    return view;
}

static void open_fixture(fixture *f, const char *device) {
    mosa_error err;
    *f = (fixture){0};
    fill(f->w, N * K, 1);
    fill(f->x, ROWS * K, 2);
    fill(f->a, RANK_MAX * K, 3);
    fill(f->b, N * RANK_MAX, 4);
    must(mosa_backend_open(&(mosa_backend_options){device, 2}, &f->backend, &err), &err);
    f->graph = mosa_graph_create(&err);
    mosa_value x = mosa_graph_input(f->graph, "x", MOSA_F32, MOSA_SHAPE2(MOSA_ROWS, K));
    mosa_value w = mosa_graph_weight(f->graph, "w", MOSA_F32, MOSA_SHAPE2(N, K));
    mosa_graph_output(f->graph, mosa_g_linear(f->graph, x, w, MOSA_NO_VALUE));
    must(mosa_pass_adapters(f->graph, RANK_MAX, &f->adapted, &err), &err);
    must(f->backend->ops->lower(f->backend, f->adapted, &f->lowered, &err), &err);
    must(mosa_plan_create(f->lowered, ROWS, &f->plan, &err), &err);
    mosa_tensor_view view = matrix(f->w, N, K);
    must(f->backend->ops->weight_create(f->backend, &view, MOSA_WEIGHT_MATRIX, &f->weight, &err), &err);
    must(f->backend->ops->exec_create(f->backend, f->plan, &f->weight, &f->exec, &err), &err);
}

static void close_fixture(fixture *f) {
    f->backend->ops->exec_destroy(f->backend, f->exec);
    f->backend->ops->weight_destroy(f->backend, f->weight);
    mosa_plan_destroy(f->plan);
    mosa_graph_destroy(f->lowered);
    mosa_graph_destroy(f->adapted);
    mosa_graph_destroy(f->graph);
    f->backend->ops->destroy(f->backend);
}

// An adapter of A [rank, k] and B [n, rank] for `target` of `n_targets`.
static mosa_status adapter(fixture *f, int64_t rank, int64_t k, int64_t n, int target, int n_targets,
                           mosa_adapter **out, mosa_error *err) {
    mosa_tensor_view a = matrix(f->a, rank, k), b = matrix(f->b, n, rank);
    mosa_lora_pair pair = {.target = target, .scale = 0.5f, .a = &a, .b = &b};
    return f->backend->ops->adapter_create(f->backend, &pair, 1, n_targets, out, err);
}

static mosa_status run(fixture *f, const mosa_batch *batch, const float **y, mosa_error *err) {
    const void *inputs[] = {f->x}, *outputs[1] = {NULL};
    mosa_kv *states[] = {NULL};
    mosa_bindings bindings = {inputs, states, outputs};
    mosa_status status = f->backend->ops->exec_run(f->exec, batch, &bindings, err);
    *y = outputs[0];
    return status;
}

static void rows_get_what_their_segment_names(void **state) {
    (void)state;
    static const char *const devices[] = {"cpu", "cpu:ref"};
    for (int d = 0; d < 2; d++) {
        fixture f;
        mosa_error err;
        mosa_adapter *one;
        const float *y;
        open_fixture(&f, devices[d]);
        must(adapter(&f, RANK, K, N, 0, 1, &one, &err), &err);
        const mosa_segment segments[] = {{.row_count = 2}, {.row_begin = 2, .row_count = 3, .adapter = 1}, {5, 1}};
        mosa_batch batch = {ROWS, 3, segments, 1, (const mosa_adapter *const[]){one}};
        must(run(&f, &batch, &y, &err), &err);
        for (int t = 0; t < ROWS; t++)
            for (int n = 0; n < N; n++) {
                double sum = 0;
                for (int k = 0; k < K; k++) sum += (double)f.x[t * K + k] * f.w[n * K + k];
                for (int j = 0; t >= 2 && t < 5 && j < RANK; j++) {
                    double u = 0;
                    for (int k = 0; k < K; k++) u += (double)f.x[t * K + k] * f.a[j * K + k];
                    sum += 0.5 * u * f.b[n * RANK + j];
                }
                if (fabs(sum - y[t * N + n]) > 1e-3) fail_msg("row %d output %d: %g, not %g", t, n, y[t * N + n], sum);
            }
        f.backend->ops->adapter_destroy(f.backend, one);
        close_fixture(&f);
    }
}

static void adapters_that_do_not_fit_are_refused_before_a_kernel_sees_them(void **state) {
    (void)state;
    fixture f;
    mosa_error err;
    mosa_adapter *made[5];
    const float *y;
    open_fixture(&f, "cpu");
    must(adapter(&f, RANK, K, N, 0, 1, &made[0], &err), &err);
    must(adapter(&f, RANK, K, N, 0, 2, &made[1], &err), &err);     // of a graph with two weights
    must(adapter(&f, RANK, K - 1, N, 0, 1, &made[2], &err), &err); // of another width
    must(adapter(&f, RANK, K, N - 1, 0, 1, &made[3], &err), &err);
    must(adapter(&f, RANK_MAX, K, N, 0, 1, &made[4], &err), &err); // as wide as may be
    mosa_segment segment = {.row_count = ROWS, .adapter = 1};
    for (int i = 0; i < 5; i++) {
        mosa_batch batch = {ROWS, 1, &segment, 1, (const mosa_adapter *const[]){made[i]}};
        bool fits = i == 0 || i == 4;
        assert_int_equal(run(&f, &batch, &y, &err), fits ? MOSA_OK : MOSA_EINVALID);
        if (!fits) assert_non_null(strstr(err.message, "adapter 0 does not fit"));
    }
    static const int32_t numbers[] = {2, -1};
    for (int i = 0; i < 2; i++) {
        segment.adapter = numbers[i];
        mosa_batch batch = {ROWS, 1, &segment, 1, (const mosa_adapter *const[]){made[0]}};
        assert_int_equal(run(&f, &batch, &y, &err), MOSA_EINVALID);
        assert_non_null(strstr(err.message, "names adapter"));
    }
    mosa_adapter *none;
    assert_int_equal(adapter(&f, RANK, K, N, 1, 1, &none, &err), MOSA_EINVALID); // no such target
    for (int i = 0; i < 5; i++) f.backend->ops->adapter_destroy(f.backend, made[i]);
    close_fixture(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_get_what_their_segment_names),
        cmocka_unit_test(adapters_that_do_not_fit_are_refused_before_a_kernel_sees_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
