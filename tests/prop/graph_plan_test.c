// Random graphs: a plan never lets two living values share memory, stages respect every dependency, and the planned,
// cleaned, fused and threaded run gives the bits of running node after node in memory of its own.
//
// MOSA_PROP_SEED and MOSA_PROP_RUNS choose what is drawn.
#include "backend/cpu/kernel.h"
#include "base/rng.h"
#include "graph/op.h"
#include "graph/pass.h"
#include "graph/plan.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ROWS = 13, NODES = 40, POOL_MAX = 256, WIDTH = 32, PAGES = 8 };

// A random graph with what a run of it needs.
typedef struct random_graph {
    mosa_graph *g;
    uint64_t seed, draws;
    mosa_value pool[POOL_MAX]; // f32 rows [T, WIDTH]
    int n_pool;
    mosa_value gate, norm, table, index; // sources: weights [WIDTH,WIDTH], [WIDTH]; rope rows; indices
    mosa_value state;
    float *inputs[8]; // by slot; x0, x1, rope table, then indices as int32
    float *weights[2];
} random_graph;

static uint64_t draw(random_graph *r, uint64_t n) {
    return mosa_rng_below(r->seed, r->draws++, n);
}

static mosa_value any(random_graph *r) {
    // Favours young values, so that graphs get deep.
    int young = r->n_pool > 6 && draw(r, 4) ? 6 : r->n_pool;
    return r->pool[r->n_pool - 1 - (int)draw(r, (uint64_t)young)];
}

static mosa_attrs attention_attrs(int layer, int window) {
    mosa_attrs a;
    memset(&a, 0, sizeof a);
    a.attention.heads = a.attention.kv_heads = 2;
    a.attention.head_width = WIDTH / 2;
    a.attention.layer = layer;
    a.attention.window = window;
    a.attention.scale = 0.25f;
    a.attention.causal = true;
    return a;
}

static float *noise(random_graph *r, int64_t n) {
    float *x = malloc((size_t)n * sizeof *x);
    for (int64_t i = 0; i < n; i++) x[i] = (float)mosa_rng_uniform(r->seed, r->draws++) * 2 - 1;
    return x;
}

static void add_sources(random_graph *r) {
    mosa_graph *g = r->g;
    for (int i = 0; i < 2; i++) {
        r->pool[r->n_pool++] = mosa_graph_input(g, "x", MOSA_F32, MOSA_SHAPE2(MOSA_ROWS, WIDTH));
        r->inputs[i] = noise(r, ROWS * WIDTH);
    }
    r->table = mosa_graph_input(g, "table", MOSA_F32, MOSA_SHAPE2(MOSA_ROWS, WIDTH / 2));
    r->inputs[2] = noise(r, ROWS * WIDTH / 2);
    r->index = mosa_graph_input(g, "index", MOSA_I32, MOSA_SHAPE1(MOSA_ROWS));
    int32_t *index = malloc(ROWS * sizeof *index);
    for (int i = 0; i < ROWS; i++) index[i] = (int32_t)draw(r, ROWS);
    r->inputs[3] = (float *)(void *)index;
    r->gate = mosa_graph_weight(g, "matrix", MOSA_F32, MOSA_SHAPE2(WIDTH, WIDTH));
    r->weights[0] = noise(r, WIDTH * WIDTH);
    r->norm = mosa_graph_weight(g, "norm", MOSA_F32, MOSA_SHAPE1(WIDTH));
    r->weights[1] = noise(r, WIDTH);
    r->state = mosa_graph_state(g, "kv");
}

static void add_random_node(random_graph *r) {
    mosa_graph *g = r->g;
    mosa_value a = any(r), b = any(r), out = MOSA_NO_VALUE;
    mosa_attrs attention = attention_attrs((int)draw(r, 2), draw(r, 2) ? 4 : 0);
    switch (draw(r, 13)) {
    case 0:
        out = mosa_g_add(g, a, b);
        break;
    case 1:
        out = mosa_g_rms_norm(g, mosa_g_add(g, a, b), r->norm, 1e-3f);
        break; // fusable
    case 2:
        out = mosa_g_mul(g, mosa_g_act(g, a, (mosa_act)draw(r, 4)), b);
        break; // fusable
    case 3:
        out = mosa_g_scale(g, a, 0.5f);
        break;
    case 4:
        out = mosa_g_act(g, a, MOSA_ACT_GELU);
        break;
    case 5:
        out = mosa_g_linear(g, a, r->gate, draw(r, 2) ? r->norm : MOSA_NO_VALUE);
        break;
    case 6:
        out = mosa_graph_apply(g, MOSA_OP_GATHER_ROWS, (mosa_value[]){a, r->index}, 2, NULL);
        break;
    case 7:
        out = mosa_g_rope(g, a, r->table, WIDTH / 2, MOSA_ROPE_HALF);
        break;
    case 8:
        out = mosa_g_attention(g, a, b, a, &attention);
        break;
    case 9:
        r->state = mosa_g_kv_write(g, a, b, r->state, &attention);
        return;
    case 10:
        out = mosa_g_attention_kv(g, a, r->state, &attention);
        break;
    case 11: { // fusable
        mosa_value k = mosa_g_rope(g, b, r->table, WIDTH / 2, MOSA_ROPE_INTERLEAVED);
        r->state = mosa_g_kv_write(g, k, a, r->state, &attention);
        mosa_value q = mosa_g_rope(g, a, r->table, WIDTH / 2, MOSA_ROPE_INTERLEAVED);
        if (draw(r, 2)) out = mosa_g_attention_kv(g, q, r->state, &attention);
        break;
    }
    default: {
        mosa_attrs eps;
        memset(&eps, 0, sizeof eps);
        eps.norm.eps = 1e-3f;
        out = mosa_graph_apply(g, MOSA_OP_ADD_RMS_NORM, (mosa_value[]){a, b, r->norm}, 3, &eps);
        r->pool[r->n_pool++] = mosa_graph_node_output(g, out, 1);
    }
    }
    if (out != MOSA_NO_VALUE) r->pool[r->n_pool++] = out;
}

static void random_graph_begin(random_graph *r, uint64_t seed) {
    *r = (random_graph){.g = mosa_graph_create(NULL), .seed = seed};
    add_sources(r);
    for (int i = 0; i < NODES; i++) add_random_node(r);
    for (int i = 0; i < 4; i++) mosa_graph_output(r->g, any(r));
    mosa_error err = {0};
    if (mosa_graph_status(r->g, &err) != MOSA_OK) fail_msg("seed %llu: %s", (unsigned long long)seed, err.message);
}

static void random_graph_end(random_graph *r) {
    for (size_t i = 0; i < MOSA_COUNT(r->inputs); i++) free(r->inputs[i]);
    free(r->weights[0]);
    free(r->weights[1]);
    mosa_graph_destroy(r->g);
}

static const int32_t pages[PAGES] = {3, 1, 6, 0, 2, 5, 7, 4};
static const mosa_segment segments[] = {{0, 5, 11, 1, pages}, {5, ROWS - 5, 0, 1, pages + 3}};
static const mosa_batch batch = {ROWS, 2, segments};

static mosa_kv_spec kv_spec(void) {
    return (mosa_kv_spec){2, 2, WIDTH / 2, 16, PAGES, MOSA_F32};
}

static mosa_tensor_view weight_view(const random_graph *r, int slot) {
    const char *name = slot ? "norm" : "matrix";
    int64_t n = slot ? WIDTH : WIDTH * WIDTH;
    mosa_tensor_view view = {.name = name, .dtype = MOSA_F32, .n_dims = slot ? 1 : 2, .n_elements = n};
    for (int i = 0; i < MOSA_TENSOR_DIMS_MAX; i++) view.dims[i] = i < (int)view.n_dims ? WIDTH : 1;
    view.data = r->weights[slot];
    view.bytes = (size_t)n * sizeof(float);
    return view;
}

static mosa_backend *must_open(const char *device, int threads) {
    mosa_backend *backend = NULL;
    mosa_error err = {0};
    if (mosa_backend_open(&(mosa_backend_options){device, threads}, &backend, &err) != MOSA_OK)
        fail_msg("%s", err.message);
    return backend;
}

// Node after node, in order, each value in memory of its own. Fills outputs[4] with copies.
static void interpret(const random_graph *r, float *outputs[4]) {
    const mosa_graph *g = r->g;
    mosa_kv_spec spec = kv_spec();
    mosa_backend *backend = must_open("cpu:ref", 1);
    mosa_kv *kv = NULL;
    assert_int_equal(backend->ops->kv_create(backend, &spec, &kv, NULL), MOSA_OK);
    mosa_kv *writable = kv;
    mosa_cpu_kernels kernels;
    mosa_cpu_kernels_ref(&kernels);
    mosa_weight weights[2];
    for (int i = 0; i < 2; i++)
        weights[i] = (mosa_weight){.view = weight_view(r, i), .vector = r->weights[i], .uses = ~0u};
    float **values = calloc((size_t)g->n_values, sizeof *values);
    void *scratch = aligned_alloc(64, MOSA_CPU_SCRATCH_BYTES);
    for (int n = 0; n < g->n_nodes; n++) {
        const mosa_node *node = &g->nodes[n];
        mosa_cpu_args args = {.graph = g, .node = node, .rows = ROWS, .batch = &batch, .scratch = scratch};
        for (int i = 0; i < node->n_in; i++) {
            const mosa_value_info *v = &g->values[node->in[i]];
            args.in[i] = v->kind == MOSA_VALUE_WEIGHT  ? (const void *)&weights[v->slot]
                         : v->kind == MOSA_VALUE_STATE ? (const void *)writable
                         : v->kind == MOSA_VALUE_INPUT ? r->inputs[v->slot]
                                                       : values[node->in[i]];
            args.in_stride[i] = mosa_shape_row_elements(&v->shape) * 4;
        }
        for (int i = 0; i < node->n_out; i++) {
            const mosa_value_info *v = &g->values[node->out[i]];
            if (v->kind == MOSA_VALUE_STATE) continue;
            values[node->out[i]] = calloc(ROWS * (size_t)v->shape.dim[1], sizeof(float));
            args.out[i] = values[node->out[i]];
            args.out_stride[i] = v->shape.dim[1] * 4;
        }
        kernels.op[node->op].run(&args, 0, 1);
    }
    for (int i = 0; i < 4; i++) {
        const mosa_value_info *v = &g->values[g->outputs[i]];
        const float *from = v->kind == MOSA_VALUE_INPUT ? r->inputs[v->slot] : values[g->outputs[i]];
        outputs[i] = memcpy(malloc(ROWS * WIDTH * sizeof(float)), from, ROWS * WIDTH * sizeof(float));
    }
    for (int v = 0; v < g->n_values; v++) free(values[v]);
    free(values);
    free(scratch);
    backend->ops->kv_destroy(backend, kv);
    backend->ops->destroy(backend);
}

// Plans and runs `graph` (the random graph or a rewritten form of it) and compares with `expected`.
static void run_and_compare(const random_graph *r, const mosa_graph *graph, const char *device, int threads,
                            float *const expected[4], const char *what) {
    mosa_backend *backend = must_open(device, threads);
    const mosa_backend_ops *ops = backend->ops;
    mosa_plan *plan = NULL;
    mosa_kv *kv = NULL;
    mosa_exec *exec = NULL;
    mosa_weight *weights[2] = {NULL};
    mosa_kv_spec spec = kv_spec();
    assert_int_equal(mosa_plan_create(graph, ROWS + 5, &plan, NULL), MOSA_OK);
    assert_int_equal(ops->kv_create(backend, &spec, &kv, NULL), MOSA_OK);
    for (int i = 0; i < 2; i++) {
        mosa_tensor_view view = weight_view(r, i);
        assert_int_equal(ops->weight_create(backend, &view, mosa_graph_weight_uses(graph, i), &weights[i], NULL),
                         MOSA_OK);
    }
    mosa_error err = {0};
    if (ops->exec_create(backend, plan, weights, &exec, &err) != MOSA_OK) fail_msg("%s", err.message);
    const void *outputs[4];
    mosa_bindings bindings = {(const void *const *)r->inputs, &kv, outputs};
    if (ops->exec_run(exec, &batch, &bindings, &err) != MOSA_OK) fail_msg("%s", err.message);
    for (int i = 0; i < 4; i++)
        if (memcmp(outputs[i], expected[i], ROWS * WIDTH * sizeof(float)) != 0)
            fail_msg("seed %llu, %s: output %d differs", (unsigned long long)r->seed, what, i);
    ops->exec_destroy(backend, exec);
    for (int i = 0; i < 2; i++) ops->weight_destroy(backend, weights[i]);
    ops->kv_destroy(backend, kv);
    mosa_plan_destroy(plan);
    ops->destroy(backend);
}

static void stages_of_nodes(const mosa_plan *plan, int *stage, int *rank) {
    int seen = 0;
    for (int s = 0; s < plan->n_stages; s++)
        for (int i = 0; i < plan->stages[s].node_count; i++, seen++) {
            assert_int_equal(plan->stages[s].node_begin + i, seen);
            stage[plan->order[seen]] = s;
            rank[plan->order[seen]] = seen;
        }
    assert_int_equal(seen, plan->graph->n_nodes);
}

// A consumer runs in a later stage, or after its producer in the same one when both are rowwise.
static void check_order(const mosa_plan *plan, const int *stage, const int *rank) {
    const mosa_graph *g = plan->graph;
    for (int n = 0; n < g->n_nodes; n++)
        for (int i = 0; i < g->nodes[n].n_in; i++) {
            int p = g->values[g->nodes[n].in[i]].producer;
            if (p < 0 || stage[p] < stage[n]) continue;
            assert_int_equal(stage[p], stage[n]);
            assert_true(rank[p] < rank[n]);
            assert_true(mosa_op_get(g->nodes[p].op)->rowwise && mosa_op_get(g->nodes[n].op)->rowwise);
        }
}

// Whoever replaces a state version runs after all who read it.
static void check_states(const mosa_plan *plan, const int *stage) {
    const mosa_graph *g = plan->graph;
    for (int w = 0; w < g->n_nodes; w++) {
        const mosa_node *writer = &g->nodes[w];
        if (g->values[writer->out[writer->n_out - 1]].kind != MOSA_VALUE_STATE) continue;
        mosa_value old = writer->in[writer->n_in - 1];
        for (int n = 0; n < g->n_nodes; n++)
            for (int i = 0; i < g->nodes[n].n_in; i++)
                if (n != w && g->nodes[n].in[i] == old) assert_true(stage[n] < stage[w]);
    }
}

static void check_memory(const mosa_plan *plan, const int *stage) {
    const mosa_graph *g = plan->graph;
    int *first = calloc((size_t)g->n_values, sizeof *first), *last = calloc((size_t)g->n_values, sizeof *last);
    for (int v = 0; v < g->n_values; v++)
        first[v] = last[v] = g->values[v].producer >= 0 ? stage[g->values[v].producer] : 0;
    for (int n = 0; n < g->n_nodes; n++)
        for (int i = 0; i < g->nodes[n].n_in; i++)
            if (last[g->nodes[n].in[i]] < stage[n]) last[g->nodes[n].in[i]] = stage[n];
    for (int i = 0; i < g->n_outputs; i++) last[g->outputs[i]] = plan->n_stages;
    for (int a = 0; a < g->n_values; a++) {
        if (g->values[a].kind != MOSA_VALUE_COMPUTED) {
            assert_int_equal(plan->offset[a], -1);
            continue;
        }
        int64_t begin = plan->offset[a], end = begin + plan->row_stride[a] * plan->max_rows;
        assert_true(begin >= 0 && begin % MOSA_PLAN_ALIGN == 0 && end <= plan->arena_bytes);
        for (int b = 0; b < a; b++) {
            if (g->values[b].kind != MOSA_VALUE_COMPUTED || first[a] > last[b] || first[b] > last[a]) continue;
            int64_t other = plan->offset[b];
            assert_true(end <= other || other + plan->row_stride[b] * plan->max_rows <= begin);
        }
    }
    free(first);
    free(last);
}

static void check_plan(const mosa_graph *graph) {
    mosa_plan *plan = NULL;
    assert_int_equal(mosa_plan_create(graph, ROWS, &plan, NULL), MOSA_OK);
    int *stage = calloc((size_t)graph->n_nodes + 1, sizeof *stage),
        *rank = calloc((size_t)graph->n_nodes + 1, sizeof *rank);
    stages_of_nodes(plan, stage, rank);
    check_order(plan, stage, rank);
    check_states(plan, stage);
    check_memory(plan, stage);
    assert_true(plan->arena_bytes <= plan->unshared_bytes);
    free(stage);
    free(rank);
    mosa_plan_destroy(plan);
}

static bool supports_all(mosa_op op, const void *context) {
    (void)op;
    (void)context;
    return true;
}

// Returns how many of the outputs' numbers are finite and not zero: a comparison of nothing else would prove little.
static int check_seed(uint64_t seed) {
    random_graph r;
    random_graph_begin(&r, seed);
    float *expected[4];
    interpret(&r, expected);
    int telling = 0;
    for (int i = 0; i < 4 * ROWS * WIDTH; i++) {
        float x = expected[i / (ROWS * WIDTH)][i % (ROWS * WIDTH)];
        telling += isfinite(x) && x != 0;
    }
    mosa_graph *clean = NULL, *fused = NULL, *plain = NULL;
    assert_int_equal(mosa_pass_clean(r.g, &clean, NULL), MOSA_OK);
    assert_int_equal(mosa_pass_fuse(clean, supports_all, NULL, &fused, NULL), MOSA_OK);
    assert_int_equal(mosa_pass_decompose(fused, &plain, NULL), MOSA_OK);
    assert_true(clean->n_nodes <= r.g->n_nodes && fused->n_nodes <= clean->n_nodes);
    const mosa_graph *forms[] = {r.g, clean, fused, plain};
    static const char *const names[] = {"as built", "cleaned", "fused", "decomposed"};
    for (size_t i = 0; i < MOSA_COUNT(forms); i++) {
        check_plan(forms[i]);
        run_and_compare(&r, forms[i], "cpu:ref", 1 + (int)i % 3, expected, names[i]);
    }
    run_and_compare(&r, fused, "cpu", 3, expected, "fused, fast kernels");
    mosa_graph_destroy(clean);
    mosa_graph_destroy(fused);
    mosa_graph_destroy(plain);
    for (int i = 0; i < 4; i++) free(expected[i]);
    random_graph_end(&r);
    return telling;
}

static uint64_t number_from(const char *variable, uint64_t otherwise) {
    const char *text = getenv(variable);
    return text ? strtoull(text, NULL, 10) : otherwise;
}

static void random_graphs_run_the_same_in_every_form(void **state) {
    (void)state;
    uint64_t seed = number_from("MOSA_PROP_SEED", 1), runs = number_from("MOSA_PROP_RUNS", 60);
    int telling = 0;
    for (uint64_t i = 0; i < runs; i++) telling += check_seed(seed + i);
    assert_true(telling > (int)runs * 4 * ROWS * WIDTH / 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_graphs_run_the_same_in_every_form),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
