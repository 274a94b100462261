// Every derivative against finite differences of the same graph in double precision (fp64_graph.h), over a batch of
// three segments, on the reference and on the fastest kernels, with one thread and with two.
#include "backend/backend.h"
#include "base/rng.h"
#include "graph/pass.h"

#include "fp64_graph.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { ROWS = 11, SLOTS = 16, SEEDS = 3 };

static const mosa_segment segments[] = {
    {.row_begin = 0, .row_count = 5}, {.row_begin = 5, .row_count = 1}, {.row_begin = 6, .row_count = 5}};
static const mosa_batch batch = {.rows = ROWS, .n_segments = 3, .segments = segments};

// A graph and what goes into it. Seeds are values whose gradients are given, at random.
typedef struct problem {
    mosa_graph *g;
    mosa_value seeds[SEEDS];
    int n_seeds;
    bool input_wanted[SLOTS], weight_wanted[SLOTS];
    int64_t ints[SLOTS];      // i32 inputs: numbers below this, at random
    double centre[SLOTS];     // weights lie around this
    mosa_dtype stored[SLOTS]; // weights: as the graph says
} problem;

static mosa_value input(problem *p, int64_t columns) {
    p->input_wanted[p->g->n_inputs] = true;
    return mosa_graph_input(p->g, "x", MOSA_F32, MOSA_SHAPE2(MOSA_ROWS, columns));
}

static mosa_value ints(problem *p, int64_t count, int64_t below) {
    p->ints[p->g->n_inputs] = below;
    return mosa_graph_input(p->g, "ids", MOSA_I32, MOSA_SHAPE1(count));
}

static mosa_value weight_of(problem *p, mosa_shape shape, mosa_dtype dtype, double centre) {
    p->weight_wanted[p->g->n_weights] = dtype == MOSA_F32;
    p->centre[p->g->n_weights] = centre;
    return mosa_graph_weight(p->g, "w", dtype, shape);
}

static mosa_value vector(problem *p, int64_t n, double centre) {
    return weight_of(p, MOSA_SHAPE1(n), MOSA_F32, centre);
}

static mosa_value matrix(problem *p, int64_t n, int64_t k) {
    return weight_of(p, MOSA_SHAPE2(n, k), MOSA_F32, 0);
}

static void seed(problem *p, mosa_value v) {
    p->seeds[p->n_seeds++] = v;
    mosa_graph_output(p->g, v);
}

// ---- running

typedef struct run {
    const problem *p;
    mosa_graph *graph; // forward and backward
    float *in[SLOTS + SEEDS];
    int64_t in_count[SLOTS + SEEDS]; // elements
    float *w[SLOTS];                 // decoded
    void *stored[SLOTS];             // as the weight's type holds them
    int64_t w_count[SLOTS];
    float *grads;
    int64_t offset[SLOTS], grads_count;
} run;

static double draw(uint64_t stream, int64_t i) {
    return 2 * mosa_rng_uniform(stream * 977 + 5, (uint64_t)i) - 1;
}

static int64_t count_of(const mosa_value_info *value) {
    int64_t count = 1;
    for (int i = 0; i < value->shape.ndim; i++) count *= value->shape.dim[i] == MOSA_ROWS ? ROWS : value->shape.dim[i];
    return count;
}

static void make_input(run *r, const mosa_value_info *value) {
    int slot = value->slot;
    r->in_count[slot] = count_of(value);
    r->in[slot] = calloc((size_t)r->in_count[slot] + 1, sizeof(float));
    for (int64_t i = 0; i < r->in_count[slot]; i++) {
        int32_t whole = (int32_t)floor((draw((uint64_t)slot + 1, i) + 1) / 2 * (double)r->p->ints[slot]);
        if (strcmp(value->name, "labels") == 0 && i % 5 == 3) whole = -1;
        if (value->dtype == MOSA_I32)
            memcpy(&r->in[slot][i], &whole, sizeof whole);
        else
            r->in[slot][i] = (float)draw((uint64_t)slot + 1, i);
    }
}

static void make_weight(run *r, const mosa_value_info *value) {
    int slot = value->slot;
    const mosa_dtype_traits *traits = mosa_dtype_traits_of(value->dtype);
    size_t bytes = 0;
    int64_t n = r->w_count[slot] = count_of(value);
    assert_true(mosa_dtype_bytes(value->dtype, n, &bytes));
    r->w[slot] = calloc((size_t)n, sizeof(float));
    r->stored[slot] = calloc(1, bytes);
    for (int64_t i = 0; i < n; i++) r->w[slot][i] = (float)(r->p->centre[slot] + 0.7 * draw((uint64_t)slot + 100, i));
    traits->from_f32(r->w[slot], r->stored[slot], n);
    traits->to_f32(r->stored[slot], r->w[slot], n);
}

static void open_run(run *r, const problem *p) {
    mosa_error err = {0};
    *r = (run){.p = p};
    mosa_autodiff wanted = {
        .weights = p->weight_wanted, .inputs = p->input_wanted, .seeds = p->seeds, .n_seeds = p->n_seeds};
    if (mosa_pass_autodiff(p->g, &wanted, &r->graph, &err) != MOSA_OK) fail_msg("%s", err.message);
    for (mosa_value v = 0; v < r->graph->n_values; v++) {
        const mosa_value_info *value = &r->graph->values[v];
        if (value->kind == MOSA_VALUE_INPUT) make_input(r, value);
        if (value->kind == MOSA_VALUE_WEIGHT) make_weight(r, value);
    }
    for (int i = 0; i < r->graph->n_weights; i++) {
        r->offset[i] = p->weight_wanted[i] ? r->grads_count : -1;
        if (p->weight_wanted[i]) r->grads_count += r->w_count[i];
    }
    r->grads = calloc((size_t)r->grads_count + 1, sizeof(float));
}

static void close_run(run *r) {
    for (int i = 0; i < SLOTS + SEEDS; i++) free(r->in[i]);
    for (int i = 0; i < SLOTS; i++) {
        free(r->w[i]);
        free(r->stored[i]);
    }
    free(r->grads);
    mosa_graph_destroy(r->graph);
}

static void must(mosa_status status, const mosa_error *err) {
    if (status != MOSA_OK) fail_msg("%s", err->message);
}

// Runs r->graph on a device. out[i]: copies of its outputs, to free.
static void execute(run *r, const char *device, int threads, float **out) {
    mosa_error err = {0};
    mosa_backend *b;
    mosa_graph *lowered;
    mosa_plan *plan;
    mosa_exec *exec;
    mosa_weight *weights[SLOTS] = {0};
    must(mosa_backend_open(&(mosa_backend_options){.device = device, .threads = threads}, &b, &err), &err);
    must(b->ops->lower(b, r->graph, &lowered, &err), &err);
    must(mosa_plan_create(lowered, ROWS, &plan, &err), &err);
    for (mosa_value v = 0; v < lowered->n_values; v++) {
        const mosa_value_info *value = &lowered->values[v];
        if (value->kind != MOSA_VALUE_WEIGHT) continue;
        mosa_tensor_view view = {.name = "w", .dtype = value->dtype, .n_dims = (uint32_t)value->shape.ndim};
        for (int i = 0; i < MOSA_TENSOR_DIMS_MAX; i++) view.dims[i] = i < value->shape.ndim ? value->shape.dim[i] : 1;
        view.n_elements = r->w_count[value->slot];
        view.data = r->stored[value->slot];
        (void)mosa_dtype_bytes(value->dtype, view.n_elements, &view.bytes);
        unsigned uses = mosa_graph_weight_uses(lowered, value->slot);
        must(b->ops->weight_create(b, &view, uses, &weights[value->slot], &err), &err);
    }
    must(b->ops->exec_create(b, plan, weights, &exec, &err), &err);
    const void *outputs[2 * SLOTS];
    mosa_kv *states[SLOTS] = {0};
    mosa_grads grads = {.data = r->grads, .count = r->grads_count, .n_slots = SLOTS, .offset = r->offset};
    mosa_bindings bindings = {
        .inputs = (const void *const *)r->in, .states = states, .outputs = outputs, .grads = &grads};
    memset(r->grads, 0, (size_t)r->grads_count * sizeof(float));
    must(b->ops->exec_run(exec, &batch, &bindings, &err), &err);
    for (int i = 0; i < lowered->n_outputs; i++) {
        size_t bytes = (size_t)count_of(&lowered->values[lowered->outputs[i]]) * sizeof(float);
        out[i] = malloc(bytes + 1);
        memcpy(out[i], outputs[i], bytes);
    }
    b->ops->exec_destroy(b, exec);
    for (int i = 0; i < SLOTS; i++)
        if (weights[i]) b->ops->weight_destroy(b, weights[i]);
    mosa_plan_destroy(plan);
    mosa_graph_destroy(lowered);
    b->ops->destroy(b);
}

// ---- comparing

// What the gradients are of: sum of seed gradient * seed value, and of coef * -logp.
static double loss_of(fp64_graph *f, const run *r) {
    double loss = 0;
    fp64_run(f);
    for (int s = 0; s < r->p->n_seeds; s++)
        for (int64_t i = 0; i < fp64_elements(f, r->p->seeds[s]); i++)
            loss += (double)r->in[r->p->g->n_inputs + s][i] * f->value[r->p->seeds[s]][i];
    for (int n = 0; n < f->graph->n_nodes; n++) {
        const mosa_node *node = &f->graph->nodes[n];
        for (int t = 0; node->op == MOSA_OP_LINEAR_CE && t < ROWS; t++)
            loss -= f->value[node->in[3]][t] * f->value[node->out[0]][4 * t];
    }
    return loss;
}

static void fill(fp64_graph *f, const run *r) {
    for (mosa_value v = 0; v < f->graph->n_values; v++) {
        const mosa_value_info *value = &f->graph->values[v];
        for (int64_t i = 0; value->kind == MOSA_VALUE_INPUT && i < r->in_count[value->slot]; i++) {
            int32_t whole;
            memcpy(&whole, &r->in[value->slot][i], sizeof whole);
            f->value[v][i] = value->dtype == MOSA_I32 ? whole : (double)r->in[value->slot][i];
        }
        for (int64_t i = 0; value->kind == MOSA_VALUE_WEIGHT && i < r->w_count[value->slot]; i++)
            f->value[v][i] = (double)r->w[value->slot][i];
    }
}

// Relative distance of a gradient from central differences of fourth order.
static double distance(fp64_graph *f, const run *r, mosa_value v, const float *gradient) {
    double error = 0, size = 0, h = 1e-4;
    for (int64_t i = 0; i < fp64_elements(f, v); i++) {
        double x = f->value[v][i], at[4];
        static const double steps[4] = {-2, -1, 1, 2};
        for (int s = 0; s < 4; s++) {
            f->value[v][i] = x + steps[s] * h;
            at[s] = loss_of(f, r);
        }
        f->value[v][i] = x;
        double expected = (at[0] - 8 * at[1] + 8 * at[2] - at[3]) / (12 * h);
        error += (expected - (double)gradient[i]) * (expected - (double)gradient[i]);
        size += expected * expected;
    }
    return sqrt(error / fmax(size, 1e-12));
}

static void compare(const run *r, float *const *out, const char *device, double tolerance) {
    fp64_graph f;
    fp64_open(&f, r->p->g, ROWS, segments, 3);
    fill(&f, r);
    (void)loss_of(&f, r);
    for (int n = 0; n < f.graph->n_nodes; n++) // indices may differ by nothing
        if (f.graph->nodes[n].op == MOSA_OP_LINEAR_CE)
            for (int i = 0; i < 4 * ROWS; i++)
                assert_float_equal(out[0][i], f.value[f.graph->nodes[n].out[0]][i], 2e-5);
    int made = r->p->g->n_outputs;
    for (mosa_value v = 0; v < f.graph->n_values; v++) {
        const mosa_value_info *value = &f.graph->values[v];
        bool weight = value->kind == MOSA_VALUE_WEIGHT && r->p->weight_wanted[value->slot];
        if (!weight && !(value->kind == MOSA_VALUE_INPUT && r->p->input_wanted[value->slot])) continue;
        const float *gradient = weight ? r->grads + r->offset[value->slot] : out[made++];
        double far = distance(&f, r, v, gradient);
        if (!(far <= tolerance))
            fail_msg("%s: the gradient of %s %d is off by %.3g", device, weight ? "weight" : "input", value->slot, far);
    }
    fp64_close(&f);
}

static void free_outputs(float **out) {
    for (int i = 0; i < 2 * SLOTS; i++) {
        free(out[i]);
        out[i] = NULL;
    }
}

static void check_within(problem *p, double tolerance) {
    static const char *const devices[] = {"cpu:ref", "cpu"};
    mosa_error err = {0};
    run r;
    must(mosa_graph_status(p->g, &err), &err);
    open_run(&r, p);
    for (int d = 0; d < 2; d++) {
        float *out[2 * SLOTS] = {0}, *again[2 * SLOTS] = {0};
        execute(&r, devices[d], 1, out);
        compare(&r, out, devices[d], tolerance);
        float *first = malloc((size_t)r.grads_count * sizeof(float) + 1);
        memcpy(first, r.grads, (size_t)r.grads_count * sizeof(float));
        execute(&r, devices[d], 2, again);
        assert_memory_equal(first, r.grads, (size_t)r.grads_count * sizeof(float));
        for (int i = 0; i < r.graph->n_outputs; i++)
            assert_memory_equal(out[i], again[i], (size_t)count_of(&r.graph->values[r.graph->outputs[i]]) * 4);
        free(first);
        free_outputs(out);
        free_outputs(again);
    }
    close_run(&r);
    mosa_graph_destroy(p->g);
}

static void check(problem *p) {
    check_within(p, 1e-5);
}

static problem begin(void) {
    mosa_error err;
    return (problem){.g = mosa_graph_create(&err)};
}

// ---- dense

static void linear_and_bias(void **state) {
    (void)state;
    problem p = begin();
    mosa_value x = input(&p, 24);
    mosa_value h = mosa_g_linear(p.g, x, matrix(&p, 19, 24), vector(&p, 19, 0));
    seed(&p, mosa_g_linear(p.g, h, matrix(&p, 5, 19), MOSA_NO_VALUE));
    check(&p);
}

static void a_frozen_quantised_matrix_passes_gradients(void **state) {
    static const mosa_dtype types[] = {MOSA_Q8_0, MOSA_Q4_K, MOSA_Q6_K, MOSA_Q4_0, MOSA_BF16, MOSA_F16};
    (void)state;
    for (size_t i = 0; i < MOSA_COUNT(types); i++) {
        problem p = begin();
        mosa_value w = weight_of(&p, MOSA_SHAPE2(7, 256), types[i], 0);
        seed(&p, mosa_g_linear(p.g, input(&p, 256), w, MOSA_NO_VALUE));
        check(&p);
    }
}

static void low_rank_pairs(void **state) {
    (void)state;
    problem p = begin();
    mosa_value x = input(&p, 32), base = weight_of(&p, MOSA_SHAPE2(9, 32), MOSA_Q8_0, 0);
    mosa_value u = mosa_g_scale(p.g, mosa_g_linear(p.g, x, matrix(&p, 4, 32), MOSA_NO_VALUE), 0.5f);
    mosa_value in[] = {mosa_g_linear(p.g, x, base, MOSA_NO_VALUE), u, matrix(&p, 9, 4)};
    seed(&p, mosa_graph_apply(p.g, MOSA_OP_LORA_ADD, in, 3, NULL));
    check(&p);
}

static void embeddings_and_gathered_rows(void **state) {
    (void)state;
    problem p = begin();
    mosa_value x = mosa_g_embed(p.g, ints(&p, MOSA_ROWS, 6), matrix(&p, 6, 20));
    mosa_value in[] = {mosa_g_scale(p.g, x, 1.5f), ints(&p, 7, ROWS)};
    seed(&p, mosa_graph_apply(p.g, MOSA_OP_GATHER_ROWS, in, 2, NULL));
    check(&p);
}

// ---- norms

static void norms_of_rows(void **state) {
    (void)state;
    problem p = begin();
    mosa_value x = input(&p, 37);
    seed(&p, mosa_g_rms_norm(p.g, x, vector(&p, 37, 1), 1e-5f));
    seed(&p, mosa_g_layer_norm(p.g, x, vector(&p, 37, 1), vector(&p, 37, 0), 1e-5f));
    check(&p);
}

static void norms_of_heads(void **state) {
    (void)state;
    problem p = begin();
    mosa_value x = input(&p, 48);
    seed(&p, mosa_g_head_rms_norm(p.g, x, vector(&p, 16, 1), 1e-6f));
    mosa_attrs attrs;
    memset(&attrs, 0, sizeof attrs);
    attrs.norm.group = 12;
    attrs.norm.eps = 1e-6f;
    seed(&p, mosa_graph_apply(p.g, MOSA_OP_L2_NORM, &x, 1, &attrs));
    check(&p);
}

static void a_fused_sum_and_norm(void **state) {
    (void)state;
    problem p = begin();
    mosa_attrs attrs;
    memset(&attrs, 0, sizeof attrs);
    attrs.norm.eps = 1e-5f;
    mosa_value in[] = {input(&p, 33), input(&p, 33), vector(&p, 33, 1)};
    mosa_value sum = mosa_graph_apply(p.g, MOSA_OP_ADD_RMS_NORM, in, 3, &attrs);
    seed(&p, sum);
    seed(&p, mosa_graph_node_output(p.g, sum, 1));
    check(&p);
}

// ---- elementwise

static void sums_products_and_activations(void **state) {
    (void)state;
    for (int kind = 0; kind <= MOSA_ACT_TANH; kind++) {
        problem p = begin();
        mosa_value a = input(&p, 21), b = input(&p, 21);
        mosa_value y = mosa_g_mul(p.g, mosa_g_act(p.g, mosa_g_scale(p.g, a, 3), (mosa_act)kind), b);
        seed(&p, mosa_g_add(p.g, y, mosa_g_mul(p.g, b, b)));
        check(&p);
    }
}

static void gated_activations(void **state) {
    (void)state;
    for (int kind = 0; kind <= MOSA_ACT_CLAMPED_SWIGLU; kind++) {
        problem p = begin();
        mosa_attrs attrs;
        memset(&attrs, 0, sizeof attrs);
        attrs.act.kind = (mosa_act)kind;
        attrs.act.limit = 0.8f;
        mosa_value in[] = {input(&p, 29), input(&p, 29)};
        seed(&p, mosa_graph_apply(p.g, MOSA_OP_GATED_ACT, in, 2, &attrs));
        check(&p);
    }
}

static void slices_and_joins(void **state) {
    (void)state;
    problem p = begin();
    mosa_value x = input(&p, 24), y = input(&p, 6);
    mosa_value part = mosa_g_slice(p.g, x, 3, 4, 8);
    seed(&p, mosa_g_join(p.g, part, y, 3));
    seed(&p, mosa_g_slice(p.g, x, 5, 7, 0));
    check(&p);
}

// ---- rotation and attention

static void rotation(void **state) {
    (void)state;
    for (int style = 0; style < 2; style++) {
        problem p = begin();
        mosa_value freq = vector(&p, 5, 0.5);
        p.weight_wanted[0] = false;
        mosa_value table = mosa_g_rope_table(p.g, ints(&p, MOSA_ROWS, 9), freq, 1.25f);
        seed(&p, mosa_g_rope(p.g, input(&p, 36), table, 12, (mosa_rope_style)style));
        check(&p);
    }
}

static mosa_attrs attention_attrs(int heads, int kv_heads, int width, int value) {
    mosa_attrs attrs;
    memset(&attrs, 0, sizeof attrs);
    attrs.attention.heads = heads;
    attrs.attention.kv_heads = kv_heads;
    attrs.attention.head_width = width;
    attrs.attention.value_width = value;
    attrs.attention.scale = 0.6f;
    attrs.attention.causal = true;
    return attrs;
}

static void check_attention(const mosa_attrs *attrs, bool sinks) {
    problem p = begin();
    int kv = attrs->attention.kv_heads, value = mosa_attention_value_width(attrs);
    mosa_value q = input(&p, (int64_t)attrs->attention.heads * attrs->attention.head_width);
    mosa_value k = input(&p, (int64_t)kv * attrs->attention.head_width);
    mosa_value v = attrs->attention.value_in_key ? MOSA_NO_VALUE : input(&p, (int64_t)kv * value);
    mosa_value sink = sinks ? vector(&p, attrs->attention.heads, 0) : MOSA_NO_VALUE;
    seed(&p, mosa_g_attention_sinks(p.g, q, k, v, sink, attrs));
    check(&p);
}

static void attention_of_grouped_heads(void **state) {
    (void)state;
    mosa_attrs attrs = attention_attrs(4, 2, 12, 0);
    check_attention(&attrs, false);
    attrs.attention.causal = false;
    check_attention(&attrs, false);
}

static void attention_with_window_cap_and_sinks(void **state) {
    (void)state;
    mosa_attrs attrs = attention_attrs(6, 2, 8, 0);
    attrs.attention.window = 3;
    check_attention(&attrs, true);
    attrs.attention.softcap = 0.7f;
    check_attention(&attrs, true);
}

static void attention_over_latent_rows(void **state) {
    (void)state;
    mosa_attrs attrs = attention_attrs(4, 1, 20, 12);
    check_attention(&attrs, false);
    attrs.attention.value_in_key = true;
    check_attention(&attrs, false);
    check_attention(&attrs, true);
}

// ROUND: what it passes on is what it is given.
static void rounding_is_straight_through(void **state) {
    (void)state;
    problem p = begin();
    seed(&p, mosa_g_round(p.g, mosa_g_scale(p.g, input(&p, 17), 2), MOSA_F16));
    check(&p);
}

// ---- experts

static void check_experts(mosa_scoring scoring, bool normalise, mosa_dtype dtype) {
    problem p = begin();
    mosa_attrs attrs;
    memset(&attrs, 0, sizeof attrs);
    attrs.moe_route.top_k = 3;
    attrs.moe_route.scoring = scoring;
    attrs.moe_route.normalise = normalise;
    attrs.moe_route.scale = 1.5f;
    mosa_value x = input(&p, 32), logits = mosa_g_linear(p.g, x, matrix(&p, 6, 32), MOSA_NO_VALUE);
    mosa_value index = mosa_graph_apply(p.g, MOSA_OP_MOE_ROUTE, &logits, 1, &attrs);
    mosa_value weight = mosa_graph_node_output(p.g, index, 1);
    mosa_value up = weight_of(&p, MOSA_SHAPE3(6, 32, 32), dtype, 0);
    mosa_value h = mosa_g_expert_linear(p.g, x, up, index, weight_of(&p, MOSA_SHAPE2(6, 32), MOSA_F32, 0));
    mosa_value y = mosa_g_expert_linear(p.g, h, weight_of(&p, MOSA_SHAPE3(6, 5, 32), dtype, 0), index, MOSA_NO_VALUE);
    seed(&p, mosa_g_moe_combine(p.g, y, weight));
    check_within(&p, dtype == MOSA_F32 ? 1e-5 : 2e-2); // the router's gradient sees quantised activations
}

static void experts_and_their_routers(void **state) {
    (void)state;
    for (int scoring = 0; scoring <= MOSA_SCORE_SOFTMAX_CHOSEN; scoring++)
        for (int normalise = 0; normalise < 2; normalise++) check_experts((mosa_scoring)scoring, normalise, MOSA_F32);
    check_experts(MOSA_SCORE_SOFTMAX, true, MOSA_Q8_0);
}

static void one_matrix_for_each_slot(void **state) {
    (void)state;
    problem p = begin();
    mosa_value w = weight_of(&p, MOSA_SHAPE3(3, 7, 10), MOSA_F32, 0);
    seed(&p, mosa_g_expert_linear(p.g, input(&p, 30), w, MOSA_NO_VALUE, MOSA_NO_VALUE));
    check(&p);
}

// ---- the loss

static void check_loss(float scale, float softcap, mosa_dtype dtype, double tolerance) {
    problem p = begin();
    mosa_value h = mosa_g_linear(p.g, input(&p, 8), matrix(&p, 32, 8), MOSA_NO_VALUE);
    p.ints[p.g->n_inputs] = 45;
    mosa_value labels = mosa_graph_input(p.g, "labels", MOSA_I32, MOSA_SHAPE1(MOSA_ROWS));
    mosa_value coef = mosa_graph_input(p.g, "coef", MOSA_F32, MOSA_SHAPE2(MOSA_ROWS, 1));
    mosa_value grads = mosa_graph_state(p.g, "grads");
    mosa_value w = weight_of(&p, MOSA_SHAPE2(45, 32), dtype, 0);
    mosa_graph_output(p.g, mosa_g_linear_ce(p.g, h, w, labels, coef, &grads, scale, softcap));
    for (int n = 0; n < p.g->n_nodes; n++)
        if (p.g->nodes[n].op == MOSA_OP_LINEAR_CE) p.g->nodes[n].attrs.linear_ce.chunk = 4;
    p.g->values[p.g->nodes[p.g->n_nodes - 1].out[2]].shape.dim[0] = 4;
    check_within(&p, tolerance);
}

static void the_loss_by_chunks(void **state) {
    (void)state;
    check_loss(1, 0, MOSA_F32, 1e-5);
    check_loss(0.5f, 2, MOSA_F32, 1e-5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear_and_bias),
        cmocka_unit_test(a_frozen_quantised_matrix_passes_gradients),
        cmocka_unit_test(low_rank_pairs),
        cmocka_unit_test(embeddings_and_gathered_rows),
        cmocka_unit_test(norms_of_rows),
        cmocka_unit_test(norms_of_heads),
        cmocka_unit_test(a_fused_sum_and_norm),
        cmocka_unit_test(sums_products_and_activations),
        cmocka_unit_test(gated_activations),
        cmocka_unit_test(slices_and_joins),
        cmocka_unit_test(rotation),
        cmocka_unit_test(attention_of_grouped_heads),
        cmocka_unit_test(attention_with_window_cap_and_sinks),
        cmocka_unit_test(attention_over_latent_rows),
        cmocka_unit_test(rounding_is_straight_through),
        cmocka_unit_test(experts_and_their_routers),
        cmocka_unit_test(one_matrix_for_each_slot),
        cmocka_unit_test(the_loss_by_chunks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
