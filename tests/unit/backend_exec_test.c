// The executor at its edges: no allocation in a run, one clear error for each wrong batch, binding and weight, awkward
// but legal inputs.
//
// Allocations are counted by wrapping the C library's functions at link time.
#include "llama_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>

#include <cmocka.h>

static atomic_long allocations;

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *memory, size_t bytes);
void *__real_aligned_alloc(size_t alignment, size_t bytes);
void *__real_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *memory, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes);
void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);

void *__wrap_malloc(size_t bytes) {
    atomic_fetch_add(&allocations, 1);
    return __real_malloc(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes) {
    atomic_fetch_add(&allocations, 1);
    return __real_calloc(count, bytes);
}

void *__wrap_realloc(void *memory, size_t bytes) {
    atomic_fetch_add(&allocations, 1);
    return __real_realloc(memory, bytes);
}

void *__wrap_aligned_alloc(size_t alignment, size_t bytes) {
    atomic_fetch_add(&allocations, 1);
    return __real_aligned_alloc(alignment, bytes);
}

void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset) {
    atomic_fetch_add(&allocations, 1);
    return __real_mmap(at, bytes, protection, flags, fd, offset);
}

static const int32_t tokens[80] = {5, 3, 79, 0, 11, 42, 7, 7, 1, 60};
static const int32_t pages[] = {4, 2, 9, 0, 1, 3, 5, 6};

static void check(mosa_status status, const mosa_error *err) {
    if (status != MOSA_OK) fail_msg("%s: %s", mosa_status_name(status), err->message);
}

static void a_run_allocates_nothing(void **state) {
    (void)state;
    static const char *const devices[] = {"cpu", "cpu:ref"};
    for (int d = 0; d < 2; d++) {
        llama_model model;
        llama_config config = llama_small;
        config.weights = MOSA_Q8_0;
        llama_create(&model, config);
        llama_session s;
        mosa_error err;
        check(llama_open(&s, &model, devices[d], 3, true, 64, &err), &err);
        assert_true(atomic_load(&allocations) > 0); // the wrapping works
        long before = atomic_load(&allocations);
        for (int at = 0; at < 50; at += at < 40 ? 40 : 1) {
            llama_part part = {tokens, pages, at, at < 40 ? 40 : 1, NULL};
            check(llama_step(&s, &part, 1, &err), &err);
        }
        llama_part wrong = {tokens, pages, 0, 65, NULL};
        assert_int_equal(llama_step(&s, &wrong, 1, &err), MOSA_EINVALID);
        assert_int_equal(atomic_load(&allocations), before);
        llama_close(&s);
        llama_destroy(&model);
    }
}

typedef struct bad_run {
    const char *message;
    int32_t rows, n_segments;
    mosa_segment segments[2];
    int32_t id;
    bool no_input, no_state;
} bad_run;

static void wrong_batches_get_one_clear_error(void **state) {
    (void)state;
    static const int32_t bad_pages[] = {4, 99}, negative_page[] = {-1};
    static const bad_run runs[] = {
        {"0 rows", 0, 1, {{0, 0, 0, 1, pages}}, 1},
        {"33 rows, the plan takes 1 to 32", 33, 1, {{0, 33, 0, 3, pages}}, 1},
        {"cover 3 of 4 rows", 4, 1, {{0, 3, 0, 1, pages}}, 1},
        {"segment 1 does not continue at row 2", 4, 2, {{0, 2, 0, 1, pages}, {1, 2, 0, 1, pages}}, 1},
        {"segment 0 does not continue at row 0", 4, 1, {{0, 5, 0, 1, pages}}, 1},
        {"segment 0 does not continue at row 0", 4, 1, {{0, -4, 0, 1, pages}}, 1},
        {"segment 0 begins at position -1", 4, 1, {{0, 4, -1, 1, pages}}, 1},
        {"segment 0 begins at position 2147483647", 4, 1, {{0, 4, INT32_MAX, 1, pages}}, 1},
        {"segment 0 has 1 pages for 17 positions", 4, 1, {{0, 4, 13, 1, pages}}, 1},
        {"segment 0 has 1 pages for 4 positions", 4, 1, {{0, 4, 0, 1, NULL}}, 1},
        {"names page 99 of 64", 4, 1, {{0, 4, 13, 2, bad_pages}}, 1},
        {"names page -1 of 64", 4, 1, {{0, 4, 0, 1, negative_page}}, 1},
        {"embed: index 80 of row 2 is not in [0, 80)", 4, 1, {{0, 4, 0, 1, pages}}, 80},
        {"embed: index -1 of row 2 is not in [0, 80)", 4, 1, {{0, 4, 0, 1, pages}}, -1},
        {"input 1 is missing", 4, 1, {{0, 4, 0, 1, pages}}, 1, .no_input = true},
        {"state 0 is missing", 4, 1, {{0, 4, 0, 1, pages}}, 1, .no_state = true},
    };
    llama_model model;
    llama_create(&model, llama_small);
    llama_session s;
    mosa_error err;
    check(llama_open(&s, &model, "cpu", 2, true, 32, &err), &err);
    for (size_t i = 0; i < MOSA_COUNT(runs); i++) {
        const bad_run *r = &runs[i];
        int32_t ids[64] = {1, 2, r->id}, positions[64] = {0};
        mosa_batch batch = {r->rows, r->n_segments, r->segments};
        const void *inputs[] = {ids, r->no_input ? NULL : positions}, *outputs[1] = {NULL};
        mosa_kv *kv = r->no_state ? NULL : s.kv;
        mosa_bindings bindings = {inputs, &kv, outputs};
        mosa_error_clear(&err);
        assert_int_equal(s.backend->ops->exec_run(s.exec, &batch, &bindings, &err), MOSA_EINVALID);
        if (!strstr(err.message, r->message)) fail_msg("'%s' lacks '%s'", err.message, r->message);
        assert_null(outputs[0]);
    }
    llama_close(&s);
    llama_destroy(&model);
}

static void pages_of_another_model_are_refused(void **state) {
    (void)state;
    llama_model model;
    llama_create(&model, llama_small);
    llama_session s;
    mosa_error err;
    check(llama_open(&s, &model, "cpu", 1, true, 8, &err), &err);
    mosa_kv_spec specs[] = {{1, 2, 16, 16, 8, MOSA_F32},
                            {2, 1, 16, 16, 8, MOSA_F32},
                            {2, 2, 8, 16, 8, MOSA_F32},
                            {2, 2, 16, 16, 8, MOSA_F32, .value_width = 8},
                            {2, 2, 16, 16, 8, MOSA_F32, .value_in_key = true}};
    mosa_kv *own = s.kv;
    for (size_t i = 0; i < MOSA_COUNT(specs); i++) {
        check(s.backend->ops->kv_create(s.backend, &specs[i], &s.kv, &err), &err);
        llama_part part = {tokens, pages, 0, 4, NULL};
        assert_int_equal(llama_step(&s, &part, 1, &err), MOSA_EINVALID);
        assert_non_null(strstr(err.message, "state 0"));
        s.backend->ops->kv_destroy(s.backend, s.kv);
    }
    s.kv = own;
    llama_close(&s);
    llama_destroy(&model);
}

static void impossible_page_pools_are_refused(void **state) {
    (void)state;
    mosa_backend *backend = NULL;
    mosa_error err;
    check(mosa_backend_open(&(mosa_backend_options){"cpu", 1}, &backend, &err), &err);
    static const mosa_kv_spec specs[] = {
        {0, 2, 16, 16, 8, MOSA_F32},
        {2, 0, 16, 16, 8, MOSA_F32},
        {2, 2, 0, 16, 8, MOSA_F32},
        {2, 2, 16, 24, 8, MOSA_F32},
        {2, 2, 16, 512, 8, MOSA_F32},
        {2, 2, 16, 0, 8, MOSA_F32},
        {2, 2, 16, 16, 0, MOSA_F32},
        {2, 2, 16, 16, 8, MOSA_Q4_0},
        {2, 2, 16, 16, 8, MOSA_F32, .value_width = 2000},
        {2, 2, 16, 16, 8, MOSA_F32, .value_width = 17, .value_in_key = true},
        {2, 2, 2000, 16, 8, MOSA_F32},
        {1 << 16, 1 << 16, 1024, 256, INT32_MAX, MOSA_F32}, // more bytes than there are
    };
    for (size_t i = 0; i < MOSA_COUNT(specs); i++) {
        mosa_kv *kv = NULL;
        assert_int_not_equal(backend->ops->kv_create(backend, &specs[i], &kv, &err), MOSA_OK);
        assert_null(kv);
        assert_true(strlen(err.message) > 0);
    }
    assert_int_equal(backend->ops->kv_page_bytes(&(mosa_kv_spec){2, 3, 64, 16, 8, MOSA_F16}), 2 * 3 * 2 * 16 * 64 * 2);
    mosa_kv_spec spec = {2, 3, 64, 16, 8, MOSA_F16, .value_width = 32};
    assert_int_equal(backend->ops->kv_page_bytes(&spec), 2 * 3 * 16 * (64 + 32) * 2);
    spec.dtype = MOSA_Q8_0; // int8; an f16 scale for each 32 columns of a key, an f32 scale for each value
    assert_int_equal(backend->ops->kv_page_bytes(&spec), 2 * 3 * 16 * (64 + 2 * 2 + 32 + 4));
    spec.dtype = MOSA_F16;
    spec.value_in_key = true;
    assert_int_equal(backend->ops->kv_page_bytes(&spec), 2 * 3 * 16 * 64 * 2);
    backend->ops->destroy(backend);
}

static void unknown_devices_are_refused(void **state) {
    (void)state;
    static const char *const names[] = {"", "gpu", "cp", "cpu2", "cpu:fast", "cpu:ref:x", ":"};
    for (size_t i = 0; i < MOSA_COUNT(names); i++) {
        mosa_backend *backend = NULL;
        mosa_error err;
        assert_int_equal(mosa_backend_open(&(mosa_backend_options){names[i], 1}, &backend, &err), MOSA_ENOTFOUND);
        assert_non_null(strstr(err.message, names[i]));
        assert_null(backend);
    }
    mosa_backend *backend = NULL;
    assert_int_equal(mosa_backend_open(&(mosa_backend_options){"cpu", -1}, &backend, NULL), MOSA_EINVALID);
    assert_int_equal(mosa_backend_open(&(mosa_backend_options){NULL, 2}, &backend, NULL), MOSA_OK);
    assert_non_null(strstr(backend->ops->describe(backend), "2 threads"));
    backend->ops->destroy(backend);
}

static void lying_weights_are_refused(void **state) {
    (void)state;
    mosa_backend *backend = NULL;
    mosa_error err;
    check(mosa_backend_open(&(mosa_backend_options){"cpu", 1}, &backend, &err), &err);
    static const float data[64];
    static const mosa_tensor_view views[] = {
        {"short", MOSA_F32, 2, {4, 16}, 64, data, 64 * 4 - 1},
        {"count", MOSA_F32, 2, {4, 16}, 63, data, 64 * 4},
        {"zero", MOSA_F32, 2, {0, 16}, 0, data, 0},
        {"huge", MOSA_F32, 3, {INT64_MAX, 4, 4}, 64, data, 256},
        {"scalar", MOSA_F32, 0, {1}, 1, data, 4},
        {"null", MOSA_F32, 2, {4, 16}, 64, NULL, 256},
        {"block", MOSA_Q8_0, 2, {2, 16}, 32, data, 34},
        {"bits", MOSA_IQ1_S, 2, {1, 256}, 256, data, 50},
        {"dims", MOSA_F32, 9, {1, 1, 1, 1, 1, 1, 1, 1}, 1, data, 4},
    };
    for (size_t i = 0; i < MOSA_COUNT(views); i++) {
        mosa_weight *weight = NULL;
        mosa_status status = backend->ops->weight_create(backend, &views[i], MOSA_WEIGHT_MATRIX, &weight, &err);
        if (status == MOSA_OK) fail_msg("'%s' was accepted", views[i].name);
        assert_non_null(strstr(err.message, views[i].name));
        assert_null(weight);
    }
    backend->ops->destroy(backend);
}

static void weights_must_be_those_of_the_graph(void **state) {
    (void)state;
    llama_model model;
    llama_create(&model, llama_small);
    llama_session s;
    mosa_error err;
    check(llama_open(&s, &model, "cpu", 1, true, 8, &err), &err);
    const mosa_backend_ops *ops = s.backend->ops;
    mosa_weight *right = s.weights[3], *wrong[3] = {NULL};
    assert_string_equal(model.views[3].name, "q");
    mosa_tensor_view transposed = model.views[3];
    transposed.dims[0] *= 2;
    transposed.dims[1] /= 2;
    check(ops->weight_create(s.backend, &transposed, MOSA_WEIGHT_MATRIX, &wrong[1], &err), &err);
    check(ops->weight_create(s.backend, &model.views[3], MOSA_WEIGHT_TABLE, &wrong[2], &err), &err);
    static const char *const messages[] = {"weight q is missing", "weight q is not of the graph's type and shape",
                                           "weight q was not made for its use in linear"};
    for (int i = 0; i < 3; i++) {
        mosa_exec *exec = NULL;
        s.weights[3] = wrong[i];
        assert_int_equal(ops->exec_create(s.backend, s.plan, s.weights, &exec, &err), MOSA_EINVALID);
        assert_string_equal(err.message, messages[i]);
        assert_null(exec);
        ops->weight_destroy(s.backend, wrong[i]);
    }
    s.weights[3] = right;
    llama_close(&s);
    llama_destroy(&model);
}

// A head as an engine runs it: the last hidden rows of the sequences, by index, from a buffer of fixed size; the table
// and the norm lie unaligned in their file.
static void a_head_gathers_rows_and_reads_unaligned_weights(void **state) {
    (void)state;
    enum { N = 6, D = 32, V = 16 };
    mosa_graph *g = mosa_graph_create(NULL);
    mosa_value x = mosa_graph_input(g, "x", MOSA_F32, MOSA_SHAPE2(N, D));
    mosa_value index = mosa_graph_input(g, "index", MOSA_I32, MOSA_SHAPE1(MOSA_ROWS));
    mosa_value w = mosa_graph_weight(g, "w", MOSA_F32, MOSA_SHAPE2(V, D)),
               bias = mosa_graph_weight(g, "b", MOSA_F32, MOSA_SHAPE1(V));
    mosa_graph_output(
        g, mosa_g_linear(g, mosa_graph_apply(g, MOSA_OP_GATHER_ROWS, (mosa_value[]){x, index}, 2, NULL), w, bias));
    mosa_graph_output(g, x);
    float hidden[N * D], matrix[V * D], vector[V];
    for (int i = 0; i < N * D; i++) hidden[i] = llama_noise(1, (uint64_t)i, 1);
    for (int i = 0; i < V * D; i++) matrix[i] = llama_noise(2, (uint64_t)i, 1);
    for (int i = 0; i < V; i++) vector[i] = llama_noise(3, (uint64_t)i, 1);
    unsigned char file[sizeof matrix + sizeof vector + 1];
    memcpy(file + 1, matrix, sizeof matrix);
    memcpy(file + 1 + sizeof matrix, vector, sizeof vector);
    mosa_tensor_view views[] = {
        {"w", MOSA_F32, 2, {V, D, 1, 1, 1, 1, 1, 1}, V * D, file + 1, sizeof matrix},
        {"b", MOSA_F32, 1, {V, 1, 1, 1, 1, 1, 1, 1}, V, file + 1 + sizeof matrix, sizeof vector}};
    for (int fast = 0; fast < 2; fast++) {
        mosa_backend *backend = NULL;
        mosa_plan *plan = NULL;
        mosa_exec *exec = NULL;
        mosa_weight *weights[2];
        mosa_error err;
        check(mosa_backend_open(&(mosa_backend_options){fast ? "cpu" : "cpu:ref", 2}, &backend, &err), &err);
        check(mosa_plan_create(g, 4, &plan, &err), &err);
        for (int i = 0; i < 2; i++)
            check(backend->ops->weight_create(backend, &views[i], mosa_graph_weight_uses(g, i), &weights[i], &err),
                  &err);
        check(backend->ops->exec_create(backend, plan, weights, &exec, &err), &err);
        int32_t rows[4] = {5, 0, 5, 2};
        const void *inputs[] = {hidden, rows}, *outputs[2];
        mosa_bindings bindings = {inputs, NULL, outputs};
        mosa_batch batch = {.rows = 4};
        check(backend->ops->exec_run(exec, &batch, &bindings, &err), &err);
        for (int r = 0; r < 4; r++)
            for (int n = 0; n < V; n++) {
                double expected = vector[n];
                for (int i = 0; i < D; i++) expected += (double)hidden[rows[r] * D + i] * (double)matrix[n * D + i];
                assert_float_equal(((const float *)outputs[0])[r * V + n], expected, 1e-5);
            }
        assert_ptr_equal(outputs[1], hidden);
        rows[3] = N;
        assert_int_equal(backend->ops->exec_run(exec, &batch, &bindings, &err), MOSA_EINVALID);
        assert_string_equal(err.message, "gather_rows: index 6 of row 3 is not in [0, 6)");
        backend->ops->exec_destroy(backend, exec);
        for (int i = 0; i < 2; i++) backend->ops->weight_destroy(backend, weights[i]);
        mosa_plan_destroy(plan);
        backend->ops->destroy(backend);
    }
    mosa_graph_destroy(g);
}

// A row-wise graph y = value * x and all that runs it.
typedef struct scaler {
    mosa_graph *graph;
    mosa_plan *plan;
    mosa_exec *exec;
} scaler;

static void scaler_open(scaler *s, mosa_backend *backend, int64_t width, float value) {
    mosa_error err;
    s->graph = mosa_graph_create(NULL);
    mosa_value x = mosa_graph_input(s->graph, "x", MOSA_F32, MOSA_SHAPE2(MOSA_ROWS, width));
    mosa_graph_output(s->graph, mosa_g_scale(s->graph, x, value));
    check(mosa_plan_create(s->graph, 4, &s->plan, &err), &err);
    check(backend->ops->exec_create(backend, s->plan, NULL, &s->exec, &err), &err);
}

static void scaler_close(scaler *s, mosa_backend *backend) {
    backend->ops->exec_destroy(backend, s->exec);
    mosa_plan_destroy(s->plan);
    mosa_graph_destroy(s->graph);
}

static void rows_that_one_exec_left_are_the_input_of_another(void **state) {
    (void)state;
    mosa_backend *backend = NULL;
    mosa_error err;
    check(mosa_backend_open(&(mosa_backend_options){"cpu:ref", 2}, &backend, &err), &err);
    const mosa_backend_ops *ops = backend->ops;
    scaler first, second, narrow;
    scaler_open(&first, backend, 3, 2);
    scaler_open(&second, backend, 3, 10);
    scaler_open(&narrow, backend, 2, 1);
    const float x[4][3] = {{1, 2, 3}, {4, 5, 6}, {7, 8, 9}, {10, 11, 12}};
    const void *inputs[] = {x}, *none[] = {NULL}, *outputs[1];
    check(ops->exec_run(first.exec, &(mosa_batch){.rows = 4}, &(mosa_bindings){.inputs = inputs}, &err), &err);
    int32_t index[2] = {3, 1};
    float got[2][3];
    check(ops->exec_read(first.exec, 0, index, 2, got[0], &err), &err);
    assert_true(got[0][0] == 20 && got[1][2] == 12);
    mosa_rows rows = {.exec = first.exec, .index = index};
    mosa_bindings bindings = {.inputs = none, .outputs = outputs, .rows = &rows};
    check(ops->exec_run(second.exec, &(mosa_batch){.rows = 2}, &bindings, &err), &err);
    const float *y = outputs[0];
    assert_true(y[0] == 200 && y[2] == 240 && y[3] == 80);
    assert_int_equal(ops->exec_run(narrow.exec, &(mosa_batch){.rows = 2}, &bindings, &err), MOSA_EINVALID);
    assert_string_equal(err.message, "input 0 cannot be those rows");
    index[1] = 4;
    assert_int_equal(ops->exec_run(second.exec, &(mosa_batch){.rows = 2}, &bindings, &err), MOSA_EINVALID);
    assert_string_equal(err.message, "row 4 of 4 is not there");
    rows.exec = NULL;
    assert_int_equal(ops->exec_run(second.exec, &(mosa_batch){.rows = 2}, &bindings, &err), MOSA_EINVALID);
    assert_string_equal(err.message, "input 0 is missing");
    scaler_close(&first, backend);
    scaler_close(&second, backend);
    scaler_close(&narrow, backend);
    ops->destroy(backend);
}

static void profiling_times_every_node(void **state) {
    (void)state;
    llama_model model;
    llama_create(&model, llama_small);
    llama_session s;
    mosa_error err;
    check(llama_open(&s, &model, "cpu", 2, true, 32, &err), &err);
    const mosa_backend_ops *ops = s.backend->ops;
    assert_null(ops->exec_times(s.exec));
    ops->exec_profile(s.exec, true);
    llama_part part = {tokens, pages, 0, 32, NULL};
    check(llama_step(&s, &part, 1, &err), &err);
    const int64_t *times = ops->exec_times(s.exec);
    int64_t total = 0;
    for (int n = 0; n < s.plan->graph->n_nodes; n++) {
        assert_true(times[n] >= 0);
        total += times[n];
    }
    assert_true(total > 0);
    ops->exec_profile(s.exec, false);
    assert_null(ops->exec_times(s.exec));
    llama_close(&s);
    llama_destroy(&model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_allocates_nothing),
        cmocka_unit_test(wrong_batches_get_one_clear_error),
        cmocka_unit_test(pages_of_another_model_are_refused),
        cmocka_unit_test(impossible_page_pools_are_refused),
        cmocka_unit_test(unknown_devices_are_refused),
        cmocka_unit_test(lying_weights_are_refused),
        cmocka_unit_test(weights_must_be_those_of_the_graph),
        cmocka_unit_test(a_head_gathers_rows_and_reads_unaligned_weights),
        cmocka_unit_test(rows_that_one_exec_left_are_the_input_of_another),
        cmocka_unit_test(profiling_times_every_node),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
