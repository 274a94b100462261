// A small llama-like model with random weights, and a runner for it: shared by the tests of graphs and backends.
#ifndef MOSA_TESTS_LLAMA_FIXTURE_H
#define MOSA_TESTS_LLAMA_FIXTURE_H

#include "backend/backend.h"
#include "base/rng.h"
#include "graph/pass.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LLAMA_WEIGHTS_MAX = 64, LLAMA_PAGE = 16, LLAMA_PAGES = 64, LLAMA_V = 80 };

typedef struct llama_config {
    int layers, width, heads, kv_heads, head_width, ff;
    int window;
    mosa_dtype weights, kv;
    mosa_rope_style style;
    bool qk_norm, biases;
} llama_config;

static const llama_config llama_small = {2, 64, 4, 2, 16, 96, 0, MOSA_F32, MOSA_F32, MOSA_ROPE_HALF, false, false};

typedef struct llama_model {
    llama_config config;
    mosa_graph *graph;
    mosa_tensor_view views[LLAMA_WEIGHTS_MAX];
    int n_weights;
} llama_model;

// Deterministic values of about `scale` in size.
static inline float llama_noise(uint64_t seed, uint64_t i, float scale) {
    return ((float)mosa_rng_uniform(seed, i) * 2 - 1) * scale;
}

static inline mosa_value llama_weight(llama_model *m, const char *name, mosa_dtype dtype, mosa_shape shape, float scale,
                                      float offset) {
    mosa_value value = mosa_graph_weight(m->graph, name, dtype, shape);
    int slot = m->n_weights++;
    mosa_tensor_view *view = &m->views[slot];
    *view = (mosa_tensor_view){.name = m->graph->values[value].name, .dtype = dtype, .n_elements = 1};
    view->n_dims = (uint32_t)shape.ndim;
    for (int i = 0; i < shape.ndim; i++) {
        view->dims[i] = shape.dim[i];
        view->n_elements *= shape.dim[i];
    }
    float *f32 = malloc((size_t)view->n_elements * sizeof *f32);
    for (int64_t i = 0; i < view->n_elements; i++)
        f32[i] = offset + llama_noise(1000 + (uint64_t)slot, (uint64_t)i, scale);
    if (!mosa_dtype_bytes(dtype, view->n_elements, &view->bytes)) abort();
    void *data = malloc(view->bytes);
    mosa_dtype_traits_of(dtype)->from_f32(f32, data, view->n_elements);
    view->data = data;
    free(f32);
    return value;
}

static inline mosa_value llama_matrix(llama_model *m, const char *name, int64_t n, int64_t k) {
    return llama_weight(m, name, m->config.weights, MOSA_SHAPE2(n, k), 1.7f / sqrtf((float)k), 0);
}

static inline mosa_value llama_linear(llama_model *m, mosa_value x, const char *name, int64_t n, int64_t k) {
    mosa_value w = llama_matrix(m, name, n, k), bias = MOSA_NO_VALUE;
    if (m->config.biases) bias = llama_weight(m, "bias", MOSA_F16, MOSA_SHAPE1(n), 0.1f, 0);
    return mosa_g_linear(m->graph, x, w, bias);
}

static inline mosa_value llama_layer(llama_model *m, int layer, mosa_value x, mosa_value table, mosa_value *state) {
    const llama_config *c = &m->config;
    mosa_graph *g = m->graph;
    int64_t d = c->width, q_width = (int64_t)c->heads * c->head_width, kv_width = (int64_t)c->kv_heads * c->head_width;
    mosa_attrs attention;
    memset(&attention, 0, sizeof attention);
    attention.attention.heads = c->heads;
    attention.attention.kv_heads = c->kv_heads;
    attention.attention.head_width = c->head_width;
    attention.attention.layer = layer;
    attention.attention.window = c->window;
    attention.attention.scale = 1 / sqrtf((float)c->head_width);
    attention.attention.causal = true;
    mosa_value n = mosa_g_rms_norm(g, x, llama_weight(m, "norm", MOSA_F32, MOSA_SHAPE1(d), 0.2f, 1), 1e-5f);
    mosa_value q = llama_linear(m, n, "q", q_width, d);
    mosa_value k = llama_linear(m, n, "k", kv_width, d);
    mosa_value v = llama_linear(m, n, "v", kv_width, d);
    if (c->qk_norm) {
        q = mosa_g_head_rms_norm(g, q, llama_weight(m, "qn", MOSA_F32, MOSA_SHAPE1(c->head_width), 0.2f, 1), 1e-6f);
        k = mosa_g_head_rms_norm(g, k, llama_weight(m, "kn", MOSA_F32, MOSA_SHAPE1(c->head_width), 0.2f, 1), 1e-6f);
    }
    q = mosa_g_rope(g, q, table, c->head_width, c->style);
    k = mosa_g_rope(g, k, table, c->head_width, c->style);
    *state = mosa_g_kv_write(g, k, v, *state, &attention);
    x = mosa_g_add(g, x, llama_linear(m, mosa_g_attention_kv(g, q, *state, &attention), "o", d, q_width));
    n = mosa_g_rms_norm(g, x, llama_weight(m, "norm", MOSA_F32, MOSA_SHAPE1(d), 0.2f, 1), 1e-5f);
    mosa_value gate = mosa_g_act(g, llama_linear(m, n, "gate", c->ff, d), MOSA_ACT_SILU);
    mosa_value up = llama_linear(m, n, "up", c->ff, d);
    return mosa_g_add(g, x, llama_linear(m, mosa_g_mul(g, gate, up), "down", d, c->ff));
}

static inline void llama_create(llama_model *m, llama_config config) {
    *m = (llama_model){.config = config, .graph = mosa_graph_create(NULL)};
    mosa_graph *g = m->graph;
    mosa_value ids = mosa_graph_input(g, "ids", MOSA_I32, MOSA_SHAPE1(MOSA_ROWS));
    mosa_value positions = mosa_graph_input(g, "positions", MOSA_I32, MOSA_SHAPE1(MOSA_ROWS));
    mosa_value state = mosa_graph_state(g, "kv");
    mosa_value table = llama_weight(m, "embd", config.weights, MOSA_SHAPE2(LLAMA_V, config.width), 1, 0);
    mosa_value freq = llama_weight(m, "freq", MOSA_F32, MOSA_SHAPE1(config.head_width / 2), 0.5f, 0.5f);
    mosa_value x = mosa_g_embed(g, ids, table);
    mosa_value rope = mosa_g_rope_table(g, positions, freq, 1);
    for (int l = 0; l < config.layers; l++) x = llama_layer(m, l, x, rope, &state);
    x = mosa_g_rms_norm(g, x, llama_weight(m, "norm", MOSA_F32, MOSA_SHAPE1(config.width), 0.2f, 1), 1e-5f);
    mosa_graph_output(g, mosa_g_linear(g, x, table, MOSA_NO_VALUE)); // tied
}

static inline void llama_destroy(llama_model *m) {
    for (int i = 0; i < m->n_weights; i++) free((void *)m->views[i].data);
    mosa_graph_destroy(m->graph);
}

typedef struct llama_session {
    const llama_model *model;
    mosa_backend *backend;
    mosa_graph *lowered; // NULL when the graph runs as it was built
    mosa_plan *plan;
    mosa_weight *weights[LLAMA_WEIGHTS_MAX];
    mosa_kv *kv;
    mosa_exec *exec;
} llama_session;

static inline mosa_status llama_open(llama_session *s, const llama_model *model, const char *device, int threads,
                                     bool lower, int max_rows, mosa_error *err) {
    *s = (llama_session){.model = model};
    MOSA_TRY(mosa_backend_open(&(mosa_backend_options){device, threads}, &s->backend, err));
    const mosa_backend_ops *ops = s->backend->ops;
    if (lower) MOSA_TRY(ops->lower(s->backend, model->graph, &s->lowered, err));
    const mosa_graph *graph = lower ? s->lowered : model->graph;
    MOSA_TRY(mosa_plan_create(graph, max_rows, &s->plan, err));
    for (int i = 0; i < model->n_weights; i++)
        MOSA_TRY(
            ops->weight_create(s->backend, &model->views[i], mosa_graph_weight_uses(graph, i), &s->weights[i], err));
    const llama_config *c = &model->config;
    mosa_kv_spec spec = {c->layers, c->kv_heads, c->head_width, LLAMA_PAGE, LLAMA_PAGES, c->kv};
    MOSA_TRY(ops->kv_create(s->backend, &spec, &s->kv, err));
    return ops->exec_create(s->backend, s->plan, s->weights, &s->exec, err);
}

static inline void llama_close(llama_session *s) {
    if (!s->backend) return;
    const mosa_backend_ops *ops = s->backend->ops;
    ops->exec_destroy(s->backend, s->exec);
    ops->kv_destroy(s->backend, s->kv);
    for (int i = 0; i < s->model->n_weights; i++) ops->weight_destroy(s->backend, s->weights[i]);
    mosa_plan_destroy(s->plan);
    mosa_graph_destroy(s->lowered);
    ops->destroy(s->backend);
}

// One sequence of a batch: rows are tokens [at, at + count) of it.
typedef struct llama_part {
    const int32_t *tokens, *pages;
    int32_t at, count;
    float *logits; // (count, LLAMA_V) or NULL
} llama_part;

static inline mosa_status llama_step(llama_session *s, const llama_part *parts, int n_parts, mosa_error *err) {
    enum { ROWS_MAX = 512, PARTS_MAX = 8 };
    int32_t ids[ROWS_MAX], positions[ROWS_MAX], rows = 0;
    mosa_segment segments[PARTS_MAX];
    for (int p = 0; p < n_parts; p++) {
        int32_t n_pages = (parts[p].at + parts[p].count + LLAMA_PAGE - 1) / LLAMA_PAGE;
        segments[p] = (mosa_segment){rows, parts[p].count, parts[p].at, n_pages, parts[p].pages};
        for (int32_t i = 0; i < parts[p].count; i++, rows++) {
            ids[rows] = parts[p].tokens[parts[p].at + i];
            positions[rows] = parts[p].at + i;
        }
    }
    mosa_batch batch = {rows, n_parts, segments};
    const void *inputs[] = {ids, positions}, *outputs[1];
    mosa_bindings bindings = {inputs, &s->kv, outputs};
    MOSA_TRY(s->backend->ops->exec_run(s->exec, &batch, &bindings, err));
    const float *logits = outputs[0];
    for (int p = 0; p < n_parts; p++) {
        if (parts[p].logits) memcpy(parts[p].logits, logits, (size_t)parts[p].count * LLAMA_V * sizeof *logits);
        logits += (size_t)parts[p].count * LLAMA_V;
    }
    return MOSA_OK;
}

#endif
