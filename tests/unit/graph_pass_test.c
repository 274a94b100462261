// The passes on the llama-like graph and on graphs that look like a pattern but are not.
#include "llama_fixture.h"

#include "graph/op.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static bool supports_all(mosa_op op, const void *context) {
    (void)op;
    (void)context;
    return true;
}

static bool supports_none(mosa_op op, const void *context) {
    (void)op;
    (void)context;
    return false;
}

static int count(const mosa_graph *g, mosa_op op) {
    int n = 0;
    for (int i = 0; i < g->n_nodes; i++) n += g->nodes[i].op == op;
    return n;
}

static mosa_graph *fuse(const mosa_graph *g, mosa_pass_supports_fn supports) {
    mosa_graph *out = NULL;
    mosa_error err = {0};
    if (mosa_pass_fuse(g, supports, NULL, &out, &err) != MOSA_OK) fail_msg("%s", err.message);
    return out;
}

static void a_llama_layer_is_fused_whole(void **state) {
    (void)state;
    llama_model m;
    llama_create(&m, llama_small);
    mosa_graph *fused = fuse(m.graph, supports_all);
    assert_int_equal(count(fused, MOSA_OP_ADD_RMS_NORM), 4); // two per layer, the last one before the head
    assert_int_equal(count(fused, MOSA_OP_GATED_ACT), 2);
    assert_int_equal(count(fused, MOSA_OP_ROPE_KV_WRITE), 2);
    assert_int_equal(count(fused, MOSA_OP_ADD) + count(fused, MOSA_OP_ACT) + count(fused, MOSA_OP_MUL) +
                         count(fused, MOSA_OP_ROPE) + count(fused, MOSA_OP_KV_WRITE),
                     0);
    mosa_graph *back = NULL;
    assert_int_equal(mosa_pass_decompose(fused, &back, NULL), MOSA_OK);
    for (int op = 0; op < MOSA_OP_COUNT; op++) assert_int_equal(count(back, (mosa_op)op), count(m.graph, (mosa_op)op));
    mosa_graph *same = fuse(m.graph, supports_none);
    assert_int_equal(same->n_nodes, m.graph->n_nodes);
    mosa_graph_destroy(same);
    mosa_graph_destroy(back);
    mosa_graph_destroy(fused);
    llama_destroy(&m);
}

static void fusion_keeps_values_that_others_use(void **state) {
    (void)state;
    mosa_graph *g = mosa_graph_create(NULL);
    mosa_value x = mosa_graph_input(g, "x", MOSA_F32, MOSA_SHAPE2(MOSA_ROWS, 32));
    mosa_value y = mosa_graph_input(g, "y", MOSA_F32, MOSA_SHAPE2(MOSA_ROWS, 32));
    mosa_value w = mosa_graph_weight(g, "w", MOSA_F32, MOSA_SHAPE1(32)),
               half = mosa_graph_weight(g, "h", MOSA_F32, MOSA_SHAPE1(16));
    mosa_value act = mosa_g_act(g, x, MOSA_ACT_SILU);
    mosa_graph_output(g, mosa_g_mul(g, act, y)); // act has a second user
    mosa_graph_output(g, act);
    mosa_value heads = mosa_g_add(g, x, y);
    mosa_graph_output(g, mosa_g_head_rms_norm(g, heads, half, 1e-5f)); // over groups, not rows
    mosa_value sum = mosa_g_add(g, y, x);
    mosa_graph_output(g, mosa_g_rms_norm(g, sum, w, 1e-5f));
    mosa_graph_output(g, mosa_g_rms_norm(g, sum, w, 1e-6f)); // a second norm of one sum
    mosa_graph_output(g, mosa_g_mul(g, sum, sum));
    mosa_graph *fused = fuse(g, supports_all);
    assert_int_equal(count(fused, MOSA_OP_GATED_ACT), 0);
    assert_int_equal(count(fused, MOSA_OP_ADD_RMS_NORM), 1);
    assert_int_equal(count(fused, MOSA_OP_RMS_NORM), 2);
    assert_int_equal(fused->n_outputs, g->n_outputs);
    mosa_graph_destroy(fused);
    mosa_graph_destroy(g);
}

static void rotation_is_not_fused_when_something_else_sees_it(void **state) {
    (void)state;
    for (int variant = 0; variant < 4; variant++) {
        mosa_graph *g = mosa_graph_create(NULL);
        mosa_value q = mosa_graph_input(g, "q", MOSA_F32, MOSA_SHAPE2(MOSA_ROWS, 32));
        mosa_value k = mosa_graph_input(g, "k", MOSA_F32, MOSA_SHAPE2(MOSA_ROWS, 32));
        mosa_value t = mosa_graph_input(g, "t", MOSA_F32, MOSA_SHAPE2(MOSA_ROWS, 16));
        mosa_attrs a;
        memset(&a, 0, sizeof a);
        a.attention.heads = a.attention.kv_heads = 2;
        a.attention.head_width = 16;
        a.attention.scale = 1;
        a.attention.causal = true;
        a.attention.value_in_key = variant == 3;
        mosa_value rq = mosa_g_rope(g, q, t, 16, MOSA_ROPE_HALF);
        mosa_value rk = mosa_g_rope(g, k, t, 16, variant == 2 ? MOSA_ROPE_INTERLEAVED : MOSA_ROPE_HALF);
        mosa_value s = mosa_g_kv_write(g, rk, k, mosa_graph_state(g, "kv"), &a);
        mosa_graph_output(g, mosa_g_attention_kv(g, rq, s, &a));
        if (variant == 0) mosa_graph_output(g, rq);
        if (variant == 1) mosa_graph_output(g, rk);
        mosa_graph *fused = fuse(g, supports_all);
        assert_int_equal(count(fused, MOSA_OP_ROPE_KV_WRITE), 0);
        assert_int_equal(count(fused, MOSA_OP_ROPE), 2);
        mosa_graph_destroy(fused);
        mosa_graph_destroy(g);
    }
}

static void clean_merges_equal_nodes_and_drops_dead_ones(void **state) {
    (void)state;
    mosa_graph *g = mosa_graph_create(NULL);
    mosa_value x = mosa_graph_input(g, "x", MOSA_F32, MOSA_SHAPE2(MOSA_ROWS, 32));
    mosa_value w = mosa_graph_weight(g, "w", MOSA_F32, MOSA_SHAPE1(32));
    mosa_graph_weight(g, "unused", MOSA_F32, MOSA_SHAPE1(7));
    mosa_value state_0 = mosa_graph_state(g, "kv");
    mosa_value a = mosa_g_rms_norm(g, x, w, 1e-5f), b = mosa_g_rms_norm(g, x, w, 1e-5f);
    mosa_value c = mosa_g_rms_norm(g, x, w, 1e-6f); // another eps
    mosa_g_scale(g, c, 2);                          // nobody needs it
    mosa_attrs attrs;
    memset(&attrs, 0, sizeof attrs);
    attrs.attention.kv_heads = 2;
    attrs.attention.head_width = 16;
    mosa_value state_1 = mosa_g_kv_write(g, a, b, state_0, &attrs); // its effect is needed
    mosa_g_kv_write(g, a, b, state_1, &attrs);                      // likewise, though it is equal
    mosa_graph_output(g, mosa_g_add(g, a, b));
    mosa_graph_output(g, c);
    mosa_graph *out = NULL;
    assert_int_equal(mosa_pass_clean(g, &out, NULL), MOSA_OK);
    assert_int_equal(count(out, MOSA_OP_RMS_NORM), 2);
    assert_int_equal(count(out, MOSA_OP_SCALE), 0);
    assert_int_equal(count(out, MOSA_OP_KV_WRITE), 2);
    const mosa_node *add = &out->nodes[mosa_graph_value(out, out->outputs[0])->producer];
    assert_int_equal(add->in[0], add->in[1]);
    assert_int_equal(out->n_weights, 2);
    mosa_graph_destroy(out);
    mosa_graph_destroy(g);
}

static int layout_of(mosa_dtype dtype, int64_t k, const void *context) {
    (void)k;
    (void)context;
    return dtype == MOSA_Q8_0 ? 1 : dtype == MOSA_Q4_0 ? 2 : -1;
}

static int64_t row_bytes(int layout, int64_t k, const void *context) {
    (void)context;
    return layout * k;
}

static void linears_of_one_input_share_one_quantisation(void **state) {
    (void)state;
    mosa_graph *g = mosa_graph_create(NULL);
    mosa_value x = mosa_graph_input(g, "x", MOSA_F32, MOSA_SHAPE2(MOSA_ROWS, 64));
    static const mosa_dtype dtypes[] = {MOSA_Q8_0, MOSA_Q8_0, MOSA_F32, MOSA_Q4_0, MOSA_Q4_0};
    for (size_t i = 0; i < MOSA_COUNT(dtypes); i++)
        mosa_graph_output(
            g, mosa_g_linear(g, x, mosa_graph_weight(g, "w", dtypes[i], MOSA_SHAPE2(16, 64)), MOSA_NO_VALUE));
    mosa_graph *out = NULL;
    assert_int_equal(mosa_pass_quantize(g, layout_of, row_bytes, NULL, &out, NULL), MOSA_OK);
    assert_int_equal(count(out, MOSA_OP_QUANTIZE_ROWS), 2);
    assert_int_equal(count(out, MOSA_OP_LINEAR), 5);
    mosa_graph *again = NULL; // packed inputs are left alone
    assert_int_equal(mosa_pass_quantize(out, layout_of, row_bytes, NULL, &again, NULL), MOSA_OK);
    assert_int_equal(count(again, MOSA_OP_QUANTIZE_ROWS), 2);
    mosa_graph_destroy(again);
    mosa_graph_destroy(out);
    mosa_graph_destroy(g);
}

static void every_linear_of_the_batch_gets_its_adapter_and_is_fused_as_before(void **state) {
    (void)state;
    llama_model m;
    llama_create(&m, llama_small);
    mosa_graph *adapted = NULL;
    assert_int_equal(mosa_pass_adapters(m.graph, 8, &adapted, NULL), MOSA_OK);
    int linears = count(m.graph, MOSA_OP_LINEAR);
    assert_int_equal(count(adapted, MOSA_OP_LORA), linears);
    assert_int_equal(adapted->n_nodes, m.graph->n_nodes + linears);
    assert_int_equal(adapted->n_states, m.graph->n_states + 1);
    assert_int_equal(adapted->n_weights, m.graph->n_weights);
    for (int n = 0; n < adapted->n_nodes; n++) {
        const mosa_node *node = &adapted->nodes[n];
        if (node->op != MOSA_OP_LORA) continue;
        const mosa_node *linear = &adapted->nodes[adapted->values[node->in[0]].producer];
        assert_int_equal(linear->op, MOSA_OP_LINEAR);
        assert_int_equal(linear->in[0], node->in[1]);
        assert_int_equal(adapted->values[linear->in[1]].slot, node->attrs.lora.target);
    }
    mosa_graph *fused = fuse(adapted, supports_all), *plain = fuse(m.graph, supports_all);
    for (int op = 0; op < MOSA_OP_COUNT; op++)
        if (op != MOSA_OP_LORA) assert_int_equal(count(fused, (mosa_op)op), count(plain, (mosa_op)op));
    mosa_graph_destroy(plain);
    mosa_graph_destroy(fused);
    mosa_graph_destroy(adapted);
    llama_destroy(&m);
}

static void a_faulty_graph_is_refused_with_its_own_error(void **state) {
    (void)state;
    mosa_graph *g = mosa_graph_create(NULL), *out = NULL;
    mosa_g_add(g, 3, 4);
    mosa_error own = {0}, err = {0};
    (void)mosa_graph_status(g, &own);
    assert_int_equal(mosa_pass_clean(g, &out, &err), MOSA_EINVALID);
    assert_string_equal(err.message, own.message);
    assert_int_equal(mosa_pass_decompose(g, &out, NULL), MOSA_EINVALID);
    assert_int_equal(mosa_pass_fuse(g, supports_all, NULL, &out, NULL), MOSA_EINVALID);
    mosa_plan *plan = NULL;
    assert_int_equal(mosa_plan_create(g, 1, &plan, NULL), MOSA_EINVALID);
    assert_null(out);
    assert_null(plan);
    mosa_graph_destroy(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_llama_layer_is_fused_whole),
        cmocka_unit_test(fusion_keeps_values_that_others_use),
        cmocka_unit_test(rotation_is_not_fused_when_something_else_sees_it),
        cmocka_unit_test(clean_merges_equal_nodes_and_drops_dead_ones),
        cmocka_unit_test(linears_of_one_input_share_one_quantisation),
        cmocka_unit_test(every_linear_of_the_batch_gets_its_adapter_and_is_fused_as_before),
        cmocka_unit_test(a_faulty_graph_is_refused_with_its_own_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
