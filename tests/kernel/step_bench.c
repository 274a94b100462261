// Times training steps of the GPT-2 124M shape: forward, backward, clipping and AdamW over random tokens and weights,
// f32; the peer of bench/train_torch.py.
//
//   step_bench [batch] [seq] [steps] [threads] [device] [--profile]
//
// Prints one JSON line: seconds per step (median, best) after two to warm up, of which clipping's and AdamW's, the mean
// loss of the last step, GFLOP/s by 6 x weights x tokens plus attention (causal half), their share of the peak of
// multiply-adds measured behind the steps, memory of activations. --profile adds the time of each kind of op in the
// last step.
#include "backend/backend.h"
#include "base/clock.h"
#include "base/rng.h"
#include "graph/op.h"
#include "graph/pass.h"
#include "graph/plan.h"
#include "train/grad_norm.h"
#include "train/optimizer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STEPS_MAX = 1000, D = 768, HEADS = 12, LAYERS = 12, VOCAB = 50257, CONTEXT = 1024, SLOTS_MAX = 256 };

typedef struct bench {
    mosa_backend *backend;
    mosa_pool *pool;
    mosa_graph *forward, *graph;
    mosa_plan *plan;
    mosa_exec *exec;
    mosa_params params;
    int64_t param_of[SLOTS_MAX]; // by weight slot
    float *weights, *gradient;
    int64_t offset[SLOTS_MAX];
    mosa_grads grads;
    mosa_optimizer *optimizer;
    mosa_grad_norm norm;
    mosa_weight *resident[SLOTS_MAX];
    int32_t rows, *tokens, *positions;
    float *coef;
    mosa_segment *segments;
    int n_segments;
    double total, adamw, loss; // of the last step
} bench;

// ---- the model

// A weight [n,k] or [n]; one of a name that is there already shares its parameter.
static mosa_value weight(bench *b, const char *name, int64_t n, int64_t k) {
    mosa_param param = {.name = name, .n_dims = k ? 2 : 1, .dims = {n, k}, .decay = k > 0, .lr_factor = 1};
    mosa_error err;
    mosa_value w = mosa_graph_weight(b->forward, name, MOSA_F32, k ? MOSA_SHAPE2(n, k) : MOSA_SHAPE1(n));
    if (mosa_params_find(&b->params, name) < 0 && mosa_params_add(&b->params, &param, &err)) exit(1);
    b->param_of[b->forward->values[w].slot] = mosa_params_find(&b->params, name);
    return w;
}

static mosa_value layer_weight(bench *b, const char *name, int layer, int64_t n, int64_t k) {
    char text[64];
    (void)snprintf(text, sizeof text, "blk.%d.%s", layer, name);
    return weight(b, text, n, k);
}

static mosa_value linear(bench *b, mosa_value x, const char *name, int layer, int64_t n, int64_t k) {
    char bias[64];
    (void)snprintf(bias, sizeof bias, "%s.bias", name);
    mosa_value w = layer_weight(b, name, layer, n, k);
    return mosa_g_linear(b->forward, x, w, layer_weight(b, bias, layer, n, 0));
}

static mosa_value norm(bench *b, mosa_value x, const char *name, int layer) {
    char bias[64];
    (void)snprintf(bias, sizeof bias, "%s.bias", name);
    mosa_value w = layer_weight(b, name, layer, D, 0);
    return mosa_g_layer_norm(b->forward, x, w, layer_weight(b, bias, layer, D, 0), 1e-5f);
}

static mosa_value block(bench *b, mosa_value x, int layer) {
    mosa_graph *g = b->forward;
    mosa_attrs attrs;
    memset(&attrs, 0, sizeof attrs);
    attrs.attention.heads = attrs.attention.kv_heads = HEADS;
    attrs.attention.head_width = D / HEADS;
    attrs.attention.scale = 0.125f;
    attrs.attention.causal = true;
    mosa_value qkv = linear(b, norm(b, x, "ln1", layer), "qkv", layer, 3 * D, D);
    mosa_value y = mosa_g_attention(g, mosa_g_slice(g, qkv, 0, D, 0), mosa_g_slice(g, qkv, D, D, 0),
                                    mosa_g_slice(g, qkv, 2 * D, D, 0), &attrs);
    x = mosa_g_add(g, x, linear(b, y, "proj", layer, D, D));
    y = mosa_g_act(g, linear(b, norm(b, x, "ln2", layer), "up", layer, 4 * D, D), MOSA_ACT_GELU_TANH);
    return mosa_g_add(g, x, linear(b, y, "down", layer, D, 4 * D));
}

static mosa_status build(bench *b, mosa_error *err) {
    mosa_graph *g = b->forward = mosa_graph_create(err), *both = NULL;
    if (!g) return MOSA_ENOMEM;
    mosa_value tokens = mosa_graph_input(g, "tokens", MOSA_I32, MOSA_SHAPE1(MOSA_ROWS));
    mosa_value positions = mosa_graph_input(g, "positions", MOSA_I32, MOSA_SHAPE1(MOSA_ROWS));
    mosa_value labels = mosa_graph_input(g, "labels", MOSA_I32, MOSA_SHAPE1(MOSA_ROWS));
    mosa_value coef = mosa_graph_input(g, "coef", MOSA_F32, MOSA_SHAPE2(MOSA_ROWS, 1));
    mosa_value x = mosa_g_embed(g, tokens, weight(b, "wte", VOCAB, D));
    x = mosa_g_add(g, x, mosa_g_embed(g, positions, weight(b, "wpe", CONTEXT, D)));
    for (int layer = 0; layer < LAYERS; layer++) x = block(b, x, layer);
    mosa_value grads = mosa_graph_state(g, "grads"), table = weight(b, "wte", VOCAB, D);
    mosa_graph_output(g, mosa_g_linear_ce(g, norm(b, x, "ln", LAYERS), table, labels, coef, &grads, 1, 0));
    MOSA_TRY(mosa_graph_status(g, err));
    bool wanted[SLOTS_MAX];
    memset(wanted, true, sizeof wanted);
    MOSA_TRY(mosa_pass_autodiff(g, &(mosa_autodiff){.weights = wanted}, &both, err));
    mosa_status status = b->backend->ops->lower(b->backend, both, &b->graph, err);
    mosa_graph_destroy(both);
    MOSA_TRY(status);
    MOSA_TRY(mosa_params_finish_layout(&b->params, err));
    return mosa_plan_create(b->graph, b->rows, &b->plan, err);
}

static mosa_status make_weights(bench *b, mosa_error *err) {
    MOSA_TRY(mosa_params_alloc(&b->params, &b->weights, err));
    MOSA_TRY(mosa_params_alloc(&b->params, &b->gradient, err));
    for (size_t i = 0; i < b->params.count; i++) {
        const mosa_param *p = &b->params.items[i];
        for (int64_t j = 0; j < p->n; j++) { // near normal, deviation 0.02
            double sum = 0;
            for (uint64_t d = 0; d < 4; d++) sum += mosa_rng_uniform(i, 4 * (uint64_t)j + d) - 0.5;
            bool one = p->n_dims == 1 && !strstr(p->name, "bias");
            b->weights[p->offset + (size_t)j] = one ? 1 : p->n_dims == 1 ? 0 : (float)(sum * 0.02 * sqrt(3));
        }
    }
    for (int s = 0; s < b->graph->n_weights; s++) {
        const mosa_param *p = &b->params.items[b->param_of[s]];
        mosa_tensor_view view = {.name = p->name, .dtype = MOSA_F32, .n_dims = p->n_dims, .n_elements = p->n};
        for (uint32_t d = 0; d < p->n_dims; d++) view.dims[d] = p->dims[d];
        view.bytes = (size_t)p->n * sizeof(float);
        view.data = b->weights + p->offset;
        b->offset[s] = (int64_t)p->offset;
        unsigned uses = mosa_graph_weight_uses(b->graph, s) | MOSA_WEIGHT_LIVE;
        MOSA_TRY(b->backend->ops->weight_create(b->backend, &view, uses, &b->resident[s], err));
    }
    b->grads = (mosa_grads){b->gradient, (int64_t)b->params.elements, b->graph->n_weights, b->offset};
    return b->backend->ops->exec_create(b->backend, b->plan, b->resident, &b->exec, err);
}

static mosa_status open_all(bench *b, const mosa_backend_options *device, mosa_error *err) {
    mosa_optimizer_options adamw = mosa_optimizer_defaults(MOSA_OPTIMIZER_ADAMW);
    mosa_params_init(&b->params);
    MOSA_TRY(mosa_backend_open(device, &b->backend, err));
    MOSA_TRY(mosa_pool_create(device->threads, &b->pool, err));
    MOSA_TRY(build(b, err));
    MOSA_TRY(make_weights(b, err));
    MOSA_TRY(mosa_grad_norm_init(&b->norm, &b->params, err));
    return mosa_optimizer_create(&adamw, &b->params, b->pool, &b->optimizer, err);
}

static mosa_status make_batch(bench *b, int segments, int32_t length, mosa_error *err) {
    b->rows = segments * length;
    b->n_segments = segments;
    b->tokens = calloc((size_t)b->rows + 1, sizeof *b->tokens);
    b->positions = calloc((size_t)b->rows, sizeof *b->positions);
    b->coef = calloc((size_t)b->rows, sizeof *b->coef);
    b->segments = calloc((size_t)segments, sizeof *b->segments);
    if (!b->tokens || !b->positions || !b->coef || !b->segments) return mosa_fail(err, MOSA_ENOMEM, "out of memory");
    for (int32_t i = 0; i <= b->rows; i++) b->tokens[i] = (int32_t)mosa_rng_below(1, (uint64_t)i, VOCAB);
    for (int32_t i = 0; i < b->rows; i++) {
        b->coef[i] = 1.0f / (float)b->rows;
        b->positions[i] = i % length;
    }
    for (int s = 0; s < segments; s++) b->segments[s] = (mosa_segment){.row_begin = s * length, .row_count = length};
    return MOSA_OK;
}

static mosa_status run_step(bench *b, mosa_error *err) {
    const void *inputs[] = {b->tokens, b->positions, b->tokens + 1, b->coef}, *outputs[1] = {NULL};
    mosa_batch batch = {.rows = b->rows, .n_segments = b->n_segments, .segments = b->segments};
    mosa_bindings bindings = {.inputs = inputs, .outputs = outputs, .grads = &b->grads};
    uint64_t begin = mosa_clock_ns();
    MOSA_TRY(b->backend->ops->exec_run(b->exec, &batch, &bindings, err));
    const float *stats = outputs[0];
    b->loss = 0;
    for (int32_t i = 0; i < b->rows; i++) b->loss -= (double)stats[4 * i] * (double)b->coef[i];
    uint64_t middle = mosa_clock_ns();
    mosa_grad_norm_compute(&b->norm, &b->params, b->pool, b->gradient, 1);
    mosa_optimizer_step(b->optimizer, b->weights, b->gradient, 1e-4f, mosa_clip_factor(b->norm.total, 1));
    for (int s = 0; s < b->graph->n_weights; s++) b->backend->ops->weight_refresh(b->backend, b->resident[s]);
    memset(b->gradient, 0, b->params.elements * sizeof(float));
    uint64_t end = mosa_clock_ns();
    b->total = 1e-9 * (double)(end - begin);
    b->adamw = 1e-9 * (double)(end - middle);
    return MOSA_OK;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_profile(const bench *b) {
    const int64_t *times = b->backend->ops->exec_times(b->exec);
    double of[MOSA_OP_COUNT] = {0}, flop[MOSA_OP_COUNT] = {0};
    for (int n = 0; times && n < b->graph->n_nodes; n++) {
        const mosa_node *node = &b->graph->nodes[n];
        double flops = 0, bytes = 0;
        mosa_op_get(node->op)->cost(b->graph, node, b->rows, &flops, &bytes);
        of[node->op] += 1e-6 * (double)times[n];
        flop[node->op] += flops;
    }
    for (int op = 0; op < MOSA_OP_COUNT; op++)
        if (of[op] > 0)
            printf("%-18s %9.2f ms %7.1f GFLOP/s\n", mosa_op_get((mosa_op)op)->name, of[op], 1e-6 * flop[op] / of[op]);
}

int main(int argc, char **argv) {
    bool profile = argc > 1 && !strcmp(argv[argc - 1], "--profile");
    argc -= profile;
    int segments = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 4;
    int32_t length = argc > 2 ? (int32_t)strtol(argv[2], NULL, 10) : 64;
    int steps = argc > 3 ? (int)strtol(argv[3], NULL, 10) : 5;
    mosa_backend_options device = {argc > 5 ? argv[5] : "cpu", argc > 4 ? (int)strtol(argv[4], NULL, 10) : 0};
    static bench b;
    mosa_error err;
    double seconds[STEPS_MAX], adamw[STEPS_MAX];
    if (segments < 1 || length < 1 || length > CONTEXT || steps < 1 || steps > STEPS_MAX) return 2;
    mosa_status status = make_batch(&b, segments, length, &err);
    if (status == MOSA_OK) status = open_all(&b, &device, &err);
    if (status == MOSA_OK && profile) b.backend->ops->exec_profile(b.exec, true);
    for (int i = -2; status == MOSA_OK && i < steps; i++) {
        status = run_step(&b, &err);
        if (i < 0) continue;
        seconds[i] = b.total;
        adamw[i] = b.adamw;
    }
    if (status != MOSA_OK) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    mosa_device_limits limits = {0};
    if (b.backend->ops->measure && b.backend->ops->measure(b.backend, &limits, NULL) != MOSA_OK)
        limits.f32_ops_per_s = 0;
    qsort(seconds, (size_t)steps, sizeof *seconds, by_size);
    qsort(adamw, (size_t)steps, sizeof *adamw, by_size);
    double weights = LAYERS * 12.0 * D * D + (double)VOCAB * D;
    double gflop = 1e-9 * (6.0 * b.rows * weights + 6.0 * LAYERS * b.rows * (double)length * D);
    printf("{\"batch\": %d, \"seq\": %d, \"median_s\": %.4f, \"best_s\": %.4f, \"adamw_s\": %.4f, \"loss\": %.5f, "
           "\"gflops\": %.1f, \"peak_gflops\": %.1f, \"share\": %.3f, \"activations_mb\": %.0f}\n",
           segments, length, seconds[steps / 2], seconds[0], adamw[steps / 2], b.loss, gflop / seconds[steps / 2],
           1e-9 * limits.f32_ops_per_s,
           limits.f32_ops_per_s > 0 ? 1e9 * gflop / seconds[steps / 2] / limits.f32_ops_per_s : 0,
           1e-6 * (double)b.plan->arena_bytes);
    if (profile) print_profile(&b);
    return 0;
}
