// MOE_ROUTE, EXPERT_LINEAR, MOE_COMBINE, JOIN and grouped SLICE through the whole pipeline (lower, plan, execute),
// against loops in double precision; and that rows, threads and instruction sets change no bit.
#include "backend/backend.h"
#include "base/rng.h"
#include "graph/op.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ROWS = 37, WEIGHTS_MAX = 8 };

static void check(mosa_status status, const mosa_error *err) {
    if (status != MOSA_OK) fail_msg("%s: %s", mosa_status_name(status), err->message);
}

static float noise(uint64_t seed, uint64_t i) {
    return (float)mosa_rng_uniform(seed, i) * 2 - 1;
}

static float *noises(uint64_t seed, int64_t n, float scale) {
    float *x = malloc((size_t)n * sizeof *x);
    for (int64_t i = 0; i < n; i++) x[i] = noise(seed, (uint64_t)i) * scale;
    return x;
}

// A weight of the graph under test: its view, and what it means in f32.
typedef struct test_weight {
    mosa_tensor_view view;
    float *values;
    void *data;
    const void **parts;
} test_weight;

typedef struct test_graph {
    mosa_graph *graph;
    test_weight weights[WEIGHTS_MAX];
    int n_weights;
} test_graph;

// Blocks of any levels with exponents that keep values about as large as those of the other types.
static void random_mxfp4(unsigned char *data, size_t bytes) {
    for (size_t i = 0; i < bytes; i++)
        data[i] = i % 17 ? (unsigned char)mosa_rng_u64(21, i) : (unsigned char)(122 + mosa_rng_below(22, i, 3));
}

static mosa_value weight(test_graph *t, const char *name, mosa_dtype dtype, mosa_shape shape) {
    test_weight *w = &t->weights[t->n_weights];
    const mosa_dtype_traits *traits = mosa_dtype_traits_of(dtype);
    w->view = (mosa_tensor_view){.name = name, .dtype = dtype, .n_dims = (uint32_t)shape.ndim, .n_elements = 1};
    for (int i = 0; i < shape.ndim; i++) w->view.n_elements *= w->view.dims[i] = shape.dim[i];
    w->values = noises((uint64_t)++t->n_weights * 1000, w->view.n_elements, 0.3f);
    assert_true(mosa_dtype_bytes(dtype, w->view.n_elements, &w->view.bytes));
    w->view.data = w->data = malloc(w->view.bytes);
    if (traits->from_f32)
        traits->from_f32(w->values, w->data, w->view.n_elements);
    else
        random_mxfp4(w->data, w->view.bytes);
    traits->to_f32(w->data, w->values, w->view.n_elements);
    return mosa_graph_weight(t->graph, name, dtype, shape);
}

// Moves the slices of a stack apart, in reverse order.
static void scatter(test_weight *w) {
    int64_t e = w->view.dims[0];
    size_t bytes = w->view.bytes / (size_t)e;
    char *apart = malloc((bytes + 3) * (size_t)e);
    w->parts = malloc((size_t)e * sizeof *w->parts);
    for (int64_t i = 0; i < e; i++) {
        char *at = apart + (size_t)(e - 1 - i) * (bytes + 3);
        w->parts[i] = memcpy(at, (char *)w->data + (size_t)i * bytes, bytes);
    }
    free(w->data);
    w->data = apart;
    w->view.parts = w->parts;
    w->view.data = w->parts[0];
}

static void finish(test_graph *t) {
    for (int i = 0; i < t->n_weights; i++) {
        free(t->weights[i].values);
        free(t->weights[i].data);
        free(t->weights[i].parts);
    }
    mosa_graph_destroy(t->graph);
}

typedef struct run_options {
    const char *device;
    int threads;
    int rows_at_once; // the batch is cut into runs of so many rows
} run_options;

// Runs the graph over ROWS rows of x [ROWS, columns] and gives each output's rows, malloc'ed.
static void run(const test_graph *t, const run_options *o, const float *x, int64_t columns, void **outs) {
    mosa_error err;
    mosa_backend *backend;
    mosa_graph *lowered;
    mosa_plan *plan;
    mosa_exec *exec;
    mosa_weight *weights[WEIGHTS_MAX];
    check(mosa_backend_open(&(mosa_backend_options){o->device, o->threads}, &backend, &err), &err);
    const mosa_backend_ops *ops = backend->ops;
    check(ops->lower(backend, t->graph, &lowered, &err), &err);
    check(mosa_plan_create(lowered, ROWS, &plan, &err), &err);
    for (int i = 0; i < t->n_weights; i++)
        check(ops->weight_create(backend, &t->weights[i].view, mosa_graph_weight_uses(lowered, i), &weights[i], &err),
              &err);
    check(ops->exec_create(backend, plan, weights, &exec, &err), &err);
    const void *got[8];
    int64_t row_bytes[8];
    for (int i = 0; i < lowered->n_outputs; i++) {
        row_bytes[i] = plan->row_stride[lowered->outputs[i]];
        outs[i] = malloc((size_t)(ROWS * row_bytes[i]));
    }
    for (int row = 0; row < ROWS; row += o->rows_at_once) {
        int rows = ROWS - row < o->rows_at_once ? ROWS - row : o->rows_at_once;
        const void *inputs[] = {x + row * columns};
        check(ops->exec_run(exec, &(mosa_batch){.rows = rows}, &(mosa_bindings){inputs, NULL, got}, &err), &err);
        for (int i = 0; i < lowered->n_outputs; i++)
            memcpy((char *)outs[i] + row * row_bytes[i], got[i], (size_t)(rows * row_bytes[i]));
    }
    ops->exec_destroy(backend, exec);
    for (int i = 0; i < t->n_weights; i++) ops->weight_destroy(backend, weights[i]);
    mosa_plan_destroy(plan);
    mosa_graph_destroy(lowered);
    ops->destroy(backend);
}

// Runs in several ways, demands the same bits of all, and gives the outputs of one.
static void run_every_way(const test_graph *t, const float *x, int64_t columns, void **outs) {
    static const run_options ways[] = {{"cpu:ref", 1, ROWS}, {"cpu", 1, ROWS}, {"cpu", 3, ROWS},
                                       {"cpu", 2, 1},        {"cpu", 2, 5},    {"cpu:avx2", 2, ROWS},
                                       {"cpu:avx2", 1, 4},   {"cpu:ref", 2, 3}};
    run(t, &ways[0], x, columns, outs);
    for (size_t w = 1; w < MOSA_COUNT(ways); w++) {
        void *other[8];
        run(t, &ways[w], x, columns, other);
        for (int i = 0; i < t->graph->n_outputs; i++) {
            const mosa_shape *shape = &t->graph->values[t->graph->outputs[i]].shape;
            if (memcmp(outs[i], other[i], (size_t)(ROWS * shape->dim[1] * 4)) != 0)
                fail_msg("output %d differs on %s with %d threads, %d rows at once", i, ways[w].device, ways[w].threads,
                         ways[w].rows_at_once);
            free(other[i]);
        }
    }
}

// --- routing --------------------------------------------------------------------------------------------------------

typedef struct route_case {
    int experts;
    bool bias;
    mosa_attrs attrs;
} route_case;

static int compare_descending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

// The weights of all experts of a row, 0 for those not chosen, by sorting.
static void route(const route_case *c, const float *logits, const float *bias, double *weights) {
    double score[MOSA_EXPERTS_MAX], choice[MOSA_EXPERTS_MAX], sorted[MOSA_EXPERTS_MAX], group[64], sum = 0;
    int groups = c->attrs.moe_route.groups, k = c->attrs.moe_route.top_k, width = groups ? c->experts / groups : 0;
    mosa_scoring scoring = c->attrs.moe_route.scoring;
    for (int e = 0; e < c->experts; e++) sum += exp((double)logits[e]);
    for (int e = 0; e < c->experts; e++) {
        double x = (double)logits[e];
        score[e] = scoring == MOSA_SCORE_SOFTMAX ? exp(x) / sum : scoring == MOSA_SCORE_SIGMOID ? 1 / (1 + exp(-x)) : x;
        choice[e] = score[e] + (bias ? (double)bias[e] : 0);
    }
    for (int g = 0; g < groups; g++) {
        memcpy(sorted, choice + g * width, (size_t)width * sizeof *sorted);
        qsort(sorted, (size_t)width, sizeof *sorted, compare_descending);
        group[g] = sorted[0] + (c->attrs.moe_route.group_best == 2 ? sorted[1] : 0);
    }
    memcpy(sorted, group, (size_t)groups * sizeof *sorted);
    qsort(sorted, (size_t)groups, sizeof *sorted, compare_descending);
    for (int e = 0; groups && e < c->experts; e++)
        if (group[e / width] < sorted[c->attrs.moe_route.top_groups - 1]) choice[e] = -INFINITY;
    memcpy(sorted, choice, (size_t)c->experts * sizeof *sorted);
    qsort(sorted, (size_t)c->experts, sizeof *sorted, compare_descending);
    sum = 0;
    for (int e = 0; e < c->experts; e++) {
        bool chosen = choice[e] >= sorted[k - 1];
        weights[e] = !chosen ? 0 : scoring == MOSA_SCORE_SOFTMAX_CHOSEN ? exp(score[e]) : score[e];
        sum += weights[e];
    }
    bool divide = c->attrs.moe_route.normalise || scoring == MOSA_SCORE_SOFTMAX_CHOSEN;
    for (int e = 0; e < c->experts; e++) weights[e] *= (double)c->attrs.moe_route.scale / (divide ? sum : 1);
}

static void routing_chooses_and_weighs_as_each_scheme_says(void **state) {
    (void)state;
    static const route_case cases[] = {
        {8, false, {.moe_route = {.top_k = 2, .scoring = MOSA_SCORE_SOFTMAX, .normalise = true, .scale = 1}}},
        {60, false, {.moe_route = {.top_k = 4, .scoring = MOSA_SCORE_SOFTMAX, .scale = 1}}},
        {32, false, {.moe_route = {.top_k = 4, .scoring = MOSA_SCORE_SOFTMAX_CHOSEN, .scale = 1}}},
        {64, false, {.moe_route = {6, MOSA_SCORE_SOFTMAX, false, 16, 8, 3, 1}}},
        {256, true, {.moe_route = {8, MOSA_SCORE_SIGMOID, true, 2.5f, 8, 4, 2}}},
        {5, true, {.moe_route = {5, MOSA_SCORE_SIGMOID, true, 1, 0, 0, 0}}},
    };
    for (size_t i = 0; i < MOSA_COUNT(cases); i++) {
        const route_case *c = &cases[i];
        int experts = c->experts, k = c->attrs.moe_route.top_k;
        test_graph t = {.graph = mosa_graph_create(NULL)};
        mosa_value in[2] = {mosa_graph_input(t.graph, "x", MOSA_F32, MOSA_SHAPE2(MOSA_ROWS, experts))};
        if (c->bias) in[1] = weight(&t, "bias", MOSA_F32, MOSA_SHAPE1(experts));
        mosa_value index = mosa_graph_apply(t.graph, MOSA_OP_MOE_ROUTE, in, 1 + c->bias, &c->attrs);
        mosa_graph_output(t.graph, index);
        mosa_graph_output(t.graph, mosa_graph_node_output(t.graph, index, 1));
        float *x = noises(7 + i, ROWS * experts, 3);
        void *outs[2];
        run_every_way(&t, x, experts, outs);
        for (int r = 0; r < ROWS; r++) {
            double expected[MOSA_EXPERTS_MAX];
            const int32_t *chosen = (const int32_t *)outs[0] + r * k;
            route(c, x + r * experts, c->bias ? t.weights[0].values : NULL, expected);
            for (int s = 0; s < k; s++) {
                for (int other = 0; other < s; other++) assert_int_not_equal(chosen[s], chosen[other]);
                assert_true(expected[chosen[s]] > 0);
                assert_float_equal(((const float *)outs[1])[r * k + s], expected[chosen[s]],
                                   2e-6 * (1 + expected[chosen[s]]));
            }
        }
        free(outs[0]);
        free(outs[1]);
        free(x);
        finish(&t);
    }
}

static void routing_takes_any_bits(void **state) {
    (void)state;
    enum { E = 12, K = 5 };
    test_graph t = {.graph = mosa_graph_create(NULL)};
    mosa_value in = mosa_graph_input(t.graph, "x", MOSA_F32, MOSA_SHAPE2(MOSA_ROWS, E));
    mosa_attrs attrs = {.moe_route = {K, MOSA_SCORE_SOFTMAX, true, 1, 4, 2, 2}};
    mosa_graph_output(t.graph, mosa_graph_apply(t.graph, MOSA_OP_MOE_ROUTE, &in, 1, &attrs));
    float x[ROWS * E];
    static const float odd[] = {NAN, INFINITY, -INFINITY, 0, -0.0f, 3.4e38f, -3.4e38f, 1};
    for (int i = 0; i < ROWS * E; i++) x[i] = odd[mosa_rng_below(3, (uint64_t)i, MOSA_COUNT(odd))];
    for (int i = 0; i < E; i++) x[i] = NAN;
    void *out;
    run_every_way(&t, x, E, &out);
    for (int r = 0; r < ROWS; r++)
        for (int s = 0; s < K; s++) {
            int32_t e = ((const int32_t *)out)[r * K + s];
            assert_true(e >= 0 && e < E);
            for (int other = 0; other < s; other++) assert_int_not_equal(e, ((const int32_t *)out)[r * K + other]);
        }
    free(out);
    finish(&t);
}

// --- a whole layer --------------------------------------------------------------------------------------------------

typedef struct layer_case {
    mosa_dtype dtype;
    int experts, top_k;
    int64_t width, ffn; // D, F
    bool bias, apart;
    double tolerance; // of an output, over the root mean square of all
} layer_case;

static double dot(const float *w, const double *x, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)w[i] * x[i];
    return sum;
}

// sum over the chosen of weight * (down (silu(gate x) * (up x)) + bias), with the routing that the graph found.
static void mix(const layer_case *c, const test_graph *t, const float *x, const int32_t *index, const float *weights,
                double *y) {
    double in[1024], inner[1024];
    for (int64_t i = 0; i < c->width; i++) in[i] = (double)x[i], y[i] = 0;
    for (int s = 0; s < c->top_k; s++) {
        int64_t at = index[s] * c->ffn * c->width;
        for (int64_t f = 0; f < c->ffn; f++) {
            double gate = dot(t->weights[1].values + at + f * c->width, in, c->width);
            double up = dot(t->weights[2].values + at + f * c->width, in, c->width);
            if (c->bias) gate += (double)t->weights[4].values[index[s] * c->ffn + f];
            inner[f] = gate / (1 + exp(-gate)) * up;
        }
        for (int64_t i = 0; i < c->width; i++)
            y[i] += (double)weights[s] * dot(t->weights[3].values + at + i * c->ffn, inner, c->ffn);
    }
}

static void build_layer(test_graph *t, const layer_case *c) {
    mosa_graph *g = t->graph = mosa_graph_create(NULL);
    mosa_value x = mosa_graph_input(g, "x", MOSA_F32, MOSA_SHAPE2(MOSA_ROWS, c->width));
    mosa_value router = weight(t, "router", MOSA_F32, MOSA_SHAPE2(c->experts, c->width));
    mosa_value gate = weight(t, "gate", c->dtype, MOSA_SHAPE3(c->experts, c->ffn, c->width));
    mosa_value up = weight(t, "up", c->dtype, MOSA_SHAPE3(c->experts, c->ffn, c->width));
    mosa_value down = weight(t, "down", c->dtype, MOSA_SHAPE3(c->experts, c->width, c->ffn));
    mosa_value bias = c->bias ? weight(t, "bias", MOSA_F32, MOSA_SHAPE2(c->experts, c->ffn)) : MOSA_NO_VALUE;
    mosa_attrs attrs = {.moe_route = {.top_k = c->top_k, .normalise = true, .scale = 1}};
    mosa_value logits = mosa_g_linear(g, x, router, MOSA_NO_VALUE);
    mosa_value index = mosa_graph_apply(g, MOSA_OP_MOE_ROUTE, &logits, 1, &attrs);
    mosa_value weights = mosa_graph_node_output(g, index, 1);
    mosa_value inner = mosa_g_act(g, mosa_g_expert_linear(g, x, gate, index, bias), MOSA_ACT_SILU);
    inner = mosa_g_mul(g, inner, mosa_g_expert_linear(g, x, up, index, MOSA_NO_VALUE));
    mosa_graph_output(g, mosa_g_moe_combine(g, mosa_g_expert_linear(g, inner, down, index, MOSA_NO_VALUE), weights));
    mosa_graph_output(g, index);
    mosa_graph_output(g, weights);
    if (c->apart)
        for (int i = 1; i <= 3; i++) scatter(&t->weights[i]);
}

static void a_layer_of_experts_is_the_weighted_sum_of_those_chosen(void **state) {
    (void)state;
    static const layer_case cases[] = {
        {MOSA_F32, 8, 2, 48, 40, false, false, 1e-5},    {MOSA_F16, 3, 3, 40, 17, true, true, 1e-5},
        {MOSA_Q8_0, 6, 2, 64, 96, true, false, 0.08},    {MOSA_Q4_K, 4, 1, 256, 256, false, true, 0.08},
        {MOSA_Q6_K, 9, 4, 256, 512, false, false, 0.08}, {MOSA_MXFP4, 5, 2, 64, 32, true, true, 0.08},
        {MOSA_Q4_0, 70, 6, 32, 32, false, false, 0.08},
    };
    for (size_t i = 0; i < MOSA_COUNT(cases); i++) {
        const layer_case *c = &cases[i];
        test_graph t = {0};
        build_layer(&t, c);
        float *x = noises(50 + i, ROWS * c->width, 1);
        void *outs[3];
        run_every_way(&t, x, c->width, outs);
        double square = 0, worst = 0;
        for (int r = 0; r < ROWS; r++) {
            double expected[1024];
            mix(c, &t, x + r * c->width, (const int32_t *)outs[1] + r * c->top_k, (const float *)outs[2] + r * c->top_k,
                expected);
            for (int64_t n = 0; n < c->width; n++) {
                double error = fabs((double)((const float *)outs[0])[r * c->width + n] - expected[n]);
                if (!(error <= worst)) worst = error;
                square += expected[n] * expected[n];
            }
        }
        double rms = sqrt(square / (double)(ROWS * c->width));
        if (!(worst <= c->tolerance * rms))
            fail_msg("%s: off by %g where the outputs are about %g", mosa_dtype_name(c->dtype), worst, rms);
        for (int o = 0; o < 3; o++) free(outs[o]);
        free(x);
        finish(&t);
    }
}

// --- matrices per head ----------------------------------------------------------------------------------------------

// MLA's queries: of each head the first columns pass its own matrix, the others stay, and both are joined again.
static void each_head_passes_its_own_matrix(void **state) {
    (void)state;
    enum { H = 5, A = 32, B = 6, L = 19, IN = H * (A + B), OUT = H * (L + B) };
    static const mosa_dtype dtypes[] = {MOSA_F32, MOSA_Q8_0};
    for (size_t i = 0; i < MOSA_COUNT(dtypes); i++) {
        test_graph t = {.graph = mosa_graph_create(NULL)};
        mosa_graph *g = t.graph;
        mosa_value q = mosa_graph_input(g, "q", MOSA_F32, MOSA_SHAPE2(MOSA_ROWS, IN));
        mosa_value w = weight(&t, "w", dtypes[i], MOSA_SHAPE3(H, L, A));
        mosa_value first = mosa_g_slice(g, q, 0, A, A + B), rest = mosa_g_slice(g, q, A, B, A + B);
        mosa_value passed = mosa_g_expert_linear(g, first, w, MOSA_NO_VALUE, MOSA_NO_VALUE);
        mosa_graph_output(g, mosa_g_join(g, passed, rest, H));
        float *x = noises(9, ROWS * IN, 1);
        void *out;
        run_every_way(&t, x, IN, &out);
        for (int r = 0; r < ROWS; r++)
            for (int h = 0; h < H; h++) {
                const float *y = (const float *)out + r * OUT + h * (L + B), *head = x + r * IN + h * (A + B);
                double in[A];
                for (int a = 0; a < A; a++) in[a] = (double)head[a];
                for (int n = 0; n < L; n++)
                    assert_float_equal(y[n], dot(t.weights[0].values + (h * L + n) * A, in, A), i ? 0.03 : 1e-5);
                assert_memory_equal(y + L, head + A, B * sizeof(float));
            }
        free(out);
        free(x);
        finish(&t);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(routing_chooses_and_weighs_as_each_scheme_says),
        cmocka_unit_test(routing_takes_any_bits),
        cmocka_unit_test(a_layer_of_experts_is_the_weighted_sum_of_those_chosen),
        cmocka_unit_test(each_head_passes_its_own_matrix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
