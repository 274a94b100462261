// Out of memory in graph and backend: building, rewriting, planning, and everything that a model load makes.
#include "../unit/llama_fixture.h"
#include "fault.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static mosa_status build_operation(void *user, mosa_error *err) {
    (void)user;
    mosa_graph *graph = mosa_graph_create(err);
    if (!graph) return MOSA_ENOMEM;
    mosa_value x = mosa_graph_input(graph, "x", MOSA_F32, MOSA_SHAPE2(MOSA_ROWS, 32));
    for (int i = 0; i < 200; i++) { // past the first size of every array
        x = mosa_g_add(graph, x, mosa_g_scale(graph, x, 0.5f));
        mosa_graph_output(graph, x);
    }
    mosa_status status = mosa_graph_status(graph, err);
    mosa_graph_destroy(graph);
    return status;
}

static void building(void **state) {
    (void)state;
    fault_run("build", build_operation, NULL);
}

static mosa_status load_operation(void *user, mosa_error *err) {
    llama_session s;
    mosa_status status = llama_open(&s, user, "cpu", 2, true, 8, err);
    llama_close(&s);
    return status;
}

static void loading(void **state) {
    (void)state;
    llama_model model;
    llama_config config = llama_small;
    config.weights = MOSA_Q8_0;
    config.biases = true; // f16, so that vectors are converted
    llama_create(&model, config);
    fault_run("load", load_operation, &model);
    llama_destroy(&model);
}

static mosa_status decompose_operation(void *user, mosa_error *err) {
    mosa_graph *out = NULL;
    MOSA_TRY(mosa_pass_decompose(user, &out, err));
    mosa_graph_destroy(out);
    return MOSA_OK;
}

static void decomposing(void **state) {
    (void)state;
    llama_model model;
    llama_create(&model, llama_small);
    mosa_backend *backend = NULL;
    mosa_graph *lowered = NULL;
    assert_int_equal(mosa_backend_open(&(mosa_backend_options){"cpu", 1}, &backend, NULL), MOSA_OK);
    assert_int_equal(backend->ops->lower(backend, model.graph, &lowered, NULL), MOSA_OK);
    fault_run("decompose", decompose_operation, lowered);
    mosa_graph_destroy(lowered);
    backend->ops->destroy(backend);
    llama_destroy(&model);
}

int main(void) {
    fault_setup();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(building),
        cmocka_unit_test(loading),
        cmocka_unit_test(decomposing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
