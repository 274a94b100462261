// Decoders in the shape of the families: pre-norm blocks with grouped heads, query and key norms, biases, windows,
// sinks, experts; and an encoder block.
#include "ops_models.h"

#include <math.h>

enum { LAYERS = 3, WIDTH = 128, HEADS = 4, KV_HEADS = 2, HEAD = 32, FF = 192, EXPERTS = 6, TOP_K = 2, VOCABULARY = 90 };

typedef struct model_config {
    mosa_dtype weights, kv;
    int window;
    bool qk_norm, biases, sinks, experts, interleaved, plain_ffn;
    bool encoder; // layer norms behind, attention both ways, no pages
    int adapter_rank;
} model_config;

typedef struct model {
    ops_build *b;
    const model_config *c;
    mosa_value table, state;
} model;

static mosa_value norm(model *m, mosa_value x) {
    mosa_graph *g = m->b->graph;
    mosa_value w = ops_weight_of(m->b, MOSA_F32, MOSA_SHAPE1(WIDTH), 0.2f, 1);
    if (!m->c->encoder) return mosa_g_rms_norm(g, x, w, 1e-5f);
    return mosa_g_layer_norm(g, x, w, ops_weight_of(m->b, MOSA_F32, MOSA_SHAPE1(WIDTH), 0.2f, 0), 1e-5f);
}

static mosa_value linear(model *m, mosa_value x, int64_t n, int64_t k) {
    mosa_value w = ops_weight_of(m->b, m->c->weights, MOSA_SHAPE2(n, k), 1.7f / sqrtf((float)k), 0);
    mosa_value bias = m->c->biases ? ops_weight_of(m->b, MOSA_F16, MOSA_SHAPE1(n), 0.1f, 0) : MOSA_NO_VALUE;
    return mosa_g_linear(m->b->graph, x, w, bias);
}

static mosa_value attention(model *m, mosa_value x, int layer) {
    mosa_graph *g = m->b->graph;
    mosa_attrs attrs = {.attention = {.heads = HEADS,
                                      .kv_heads = KV_HEADS,
                                      .head_width = HEAD,
                                      .layer = layer,
                                      .window = m->c->window,
                                      .scale = 1 / sqrtf(HEAD),
                                      .causal = !m->c->encoder}};
    mosa_value q = linear(m, x, HEADS * HEAD, WIDTH), k = linear(m, x, KV_HEADS * HEAD, WIDTH);
    mosa_value v = linear(m, x, KV_HEADS * HEAD, WIDTH);
    if (m->c->qk_norm) {
        q = mosa_g_head_rms_norm(g, q, ops_weight_of(m->b, MOSA_F32, MOSA_SHAPE1(HEAD), 0.2f, 1), 1e-6f);
        k = mosa_g_head_rms_norm(g, k, ops_weight_of(m->b, MOSA_F32, MOSA_SHAPE1(HEAD), 0.2f, 1), 1e-6f);
    }
    mosa_rope_style style = m->c->interleaved ? MOSA_ROPE_INTERLEAVED : MOSA_ROPE_HALF;
    q = mosa_g_rope(g, q, m->table, HEAD, style);
    k = mosa_g_rope(g, k, m->table, HEAD, style);
    if (m->c->encoder) return linear(m, mosa_g_attention(g, q, k, v, &attrs), WIDTH, HEADS * HEAD);
    m->state = mosa_g_kv_write(g, k, v, m->state, &attrs);
    mosa_value y =
        m->c->sinks
            ? mosa_g_attention_kv_sinks(g, q, m->state, ops_weight_of(m->b, MOSA_F32, MOSA_SHAPE1(HEADS), 1, 0), &attrs)
            : mosa_g_attention_kv(g, q, m->state, &attrs);
    return linear(m, y, WIDTH, HEADS * HEAD);
}

static mosa_value experts(model *m, mosa_value x) {
    mosa_graph *g = m->b->graph;
    mosa_attrs attrs = {.moe_route = {.top_k = TOP_K, .scoring = MOSA_SCORE_SOFTMAX, .normalise = true, .scale = 1}};
    // Logits far apart: rounding must not send a row to another expert.
    mosa_value logits = mosa_g_scale(g, linear(m, x, EXPERTS, WIDTH), 4);
    mosa_value index = mosa_graph_apply(g, MOSA_OP_MOE_ROUTE, &logits, 1, &attrs);
    mosa_value weight = mosa_graph_node_output(g, index, 1), stack[3];
    for (int i = 0; i < 3; i++) {
        int64_t n = i < 2 ? FF : WIDTH, k = i < 2 ? WIDTH : FF;
        stack[i] = ops_weight_of(m->b, m->c->weights, MOSA_SHAPE3(EXPERTS, n, k), 1.7f / sqrtf((float)k), 0);
    }
    mosa_value gate = mosa_g_act(g, mosa_g_expert_linear(g, x, stack[0], index, MOSA_NO_VALUE), MOSA_ACT_SILU);
    mosa_value up = mosa_g_expert_linear(g, x, stack[1], index, MOSA_NO_VALUE);
    mosa_value down = mosa_g_expert_linear(g, mosa_g_mul(g, gate, up), stack[2], index, MOSA_NO_VALUE);
    return mosa_g_moe_combine(g, down, weight);
}

static mosa_value feed_forward(model *m, mosa_value x) {
    mosa_graph *g = m->b->graph;
    if (m->c->experts) return experts(m, x);
    if (m->c->plain_ffn) return linear(m, mosa_g_act(g, linear(m, x, FF, WIDTH), MOSA_ACT_GELU), WIDTH, FF);
    mosa_value gate = mosa_g_act(g, linear(m, x, FF, WIDTH), MOSA_ACT_SILU);
    return linear(m, mosa_g_mul(g, gate, linear(m, x, FF, WIDTH)), WIDTH, FF);
}

static void build_model(ops_build *b, const void *config) {
    const model_config *c = config;
    model m = {.b = b, .c = c};
    mosa_graph *g = b->graph;
    b->adapter_rank = c->adapter_rank;
    b->whole_sequences = c->encoder;
    mosa_value ids = ops_ids(b, VOCABULARY), positions = ops_positions(b);
    mosa_value embedding = ops_weight_of(b, c->weights, MOSA_SHAPE2(VOCABULARY, WIDTH), 1, 0);
    mosa_value frequencies = ops_weight_of(b, MOSA_F32, MOSA_SHAPE1(HEAD / 2), 0.5f, 0.5f);
    m.table = mosa_g_rope_table(g, positions, frequencies, 1);
    if (!c->encoder) m.state = ops_state(b, &(mosa_kv_spec){LAYERS, KV_HEADS, HEAD, 0, 0, c->kv, 0, false});
    mosa_value x = mosa_g_embed(g, ids, embedding);
    for (int l = 0; l < LAYERS && c->encoder; l++) {
        x = norm(&m, mosa_g_add(g, x, attention(&m, x, l)));
        x = norm(&m, mosa_g_add(g, x, feed_forward(&m, x)));
    }
    for (int l = 0; l < LAYERS && !c->encoder; l++) {
        x = mosa_g_add(g, x, attention(&m, norm(&m, x), l));
        x = mosa_g_add(g, x, feed_forward(&m, norm(&m, x)));
    }
    if (!c->encoder) x = mosa_g_linear(g, norm(&m, x), embedding, MOSA_NO_VALUE);
    mosa_graph_output(g, x);
}

#define MODEL(...)                                                                                                     \
    build_model, &(model_config) {                                                                                     \
        __VA_ARGS__                                                                                                    \
    }

const ops_case ops_model_cases[] = {
    {"llama f32", MODEL(MOSA_F32, MOSA_F32), 8e-2},
    {"llama bf16", MODEL(MOSA_BF16, MOSA_F16), 8e-2},
    {"llama q8_0, bf16 pages", MODEL(MOSA_Q8_0, MOSA_BF16, .interleaved = true), 8e-2},
    {"llama bf16, adapters", MODEL(MOSA_BF16, MOSA_F16, .adapter_rank = 6), 8e-2},
    {"qwen bf16, norms and biases", MODEL(MOSA_BF16, MOSA_F16, .qk_norm = true, .biases = true), 8e-2},
    {"windows and sinks, f16", MODEL(MOSA_F16, MOSA_F16, .window = 50, .sinks = true), 8e-2},
    {"experts bf16", MODEL(MOSA_BF16, MOSA_F16, .experts = true), 8e-2, 40},
    {"experts q8_0", MODEL(MOSA_Q8_0, MOSA_F16, .experts = true), 1.2e-1, 40},
    {"encoder bf16", MODEL(MOSA_BF16, MOSA_F16, .biases = true, .plain_ffn = true, .encoder = true), 8e-2},
};
const int ops_n_model_cases = MOSA_COUNT(ops_model_cases);
