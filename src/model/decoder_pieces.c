// Pieces of a transformer and the whole graphs of a decoder. How weights get into a graph is in decoder.c.
#include "backend/backend.h"
#include "model/decoder.h"

#include <math.h>

mosa_value mosa_decoder_use(mosa_decoder *d, mosa_value weight, unsigned use) {
    if (weight != MOSA_NO_VALUE) d->weights[d->slot_weight[d->graph->values[weight].slot]].uses |= use;
    return weight;
}

// One of several matrices that the file holds below each other: rows [begin, begin + out) of `total`.
static mosa_value linear_rows(mosa_decoder *d, mosa_value x, mosa_weight_slot slot, mosa_weight_slot bias_slot,
                              int layer, int64_t total, int64_t begin, int64_t out) {
    int64_t in = d->config->width;
    mosa_value w = mosa_decoder_weight_rows(d, slot, layer, MOSA_SHAPE2(total, in), begin, out, true);
    mosa_decoder_use(d, w, MOSA_WEIGHT_MATRIX);
    mosa_value bias = mosa_decoder_weight_rows(d, bias_slot, layer, MOSA_SHAPE1(total), begin, out, false);
    return d->error.status == MOSA_OK ? mosa_g_linear(d->graph, x, w, bias) : MOSA_NO_VALUE;
}

mosa_value mosa_decoder_norm(mosa_decoder *d, mosa_value x, mosa_weight_slot slot, int layer) {
    mosa_value w = mosa_decoder_norm_weight(d, slot, layer, d->config->width);
    return mosa_g_rms_norm(d->graph, x, w, d->config->norm_eps);
}

mosa_value mosa_decoder_add(mosa_decoder *d, mosa_value x, mosa_value y) {
    if (d->config->residual_scale != 1) y = mosa_g_scale(d->graph, y, d->config->residual_scale);
    return mosa_g_add(d->graph, x, y);
}

static bool windowed(const mosa_model_config *c, int layer) {
    return c->window > 0 && !c->sees_all[layer];
}

mosa_attrs mosa_decoder_attention_attrs(const mosa_decoder *d, int layer) {
    const mosa_model_config *c = d->config;
    mosa_attrs attrs = {0};
    attrs.attention.heads = c->heads;
    attrs.attention.kv_heads = c->kv_heads;
    attrs.attention.head_width = c->head_width;
    attrs.attention.value_width = c->value_width;
    attrs.attention.value_in_key = c->value_in_key;
    attrs.attention.layer = layer;
    attrs.attention.window = windowed(c, layer) ? c->window : 0;
    attrs.attention.scale = c->attention_scale > 0 ? c->attention_scale : 1.0f / sqrtf((float)c->head_width);
    attrs.attention.softcap = c->attention_softcap;
    attrs.attention.causal = true;
    return attrs;
}

void mosa_decoder_project_qkv(mosa_decoder *d, mosa_value x, int layer, mosa_value *q, mosa_value *k, mosa_value *v) {
    const mosa_model_config *c = d->config;
    int64_t wide = (int64_t)c->heads * c->head_width, narrow = (int64_t)c->kv_heads * c->head_width;
    if (mosa_model_source_weight(d->source, MOSA_W_ATTN_QKV, layer)) {
        int64_t total = wide + 2 * narrow;
        *q = linear_rows(d, x, MOSA_W_ATTN_QKV, MOSA_W_ATTN_QKV_BIAS, layer, total, 0, wide);
        *k = linear_rows(d, x, MOSA_W_ATTN_QKV, MOSA_W_ATTN_QKV_BIAS, layer, total, wide, narrow);
        *v = linear_rows(d, x, MOSA_W_ATTN_QKV, MOSA_W_ATTN_QKV_BIAS, layer, total, wide + narrow, narrow);
        return;
    }
    *q = mosa_decoder_linear(d, x, MOSA_W_ATTN_Q, MOSA_W_ATTN_Q_BIAS, layer, wide, c->width);
    *k = mosa_decoder_linear(d, x, MOSA_W_ATTN_K, MOSA_W_ATTN_K_BIAS, layer, narrow, c->width);
    *v = mosa_decoder_linear(d, x, MOSA_W_ATTN_V, MOSA_W_ATTN_V_BIAS, layer, narrow, c->width);
}

static mosa_value norm_heads(mosa_decoder *d, mosa_value x, mosa_weight_slot slot, int layer) {
    mosa_value w = mosa_decoder_norm_weight(d, slot, layer, d->config->head_width);
    return mosa_g_head_rms_norm(d->graph, x, w, d->config->norm_eps);
}

mosa_value mosa_decoder_attend(mosa_decoder *d, mosa_value q, mosa_value k, mosa_value v, mosa_value sinks,
                               const mosa_attrs *attrs) {
    if (d->packed) {
        k = mosa_g_round(d->graph, k, d->kv_dtype);
        if (v != MOSA_NO_VALUE) v = mosa_g_round(d->graph, v, d->kv_dtype);
        return mosa_g_attention_sinks(d->graph, q, k, v, sinks, attrs);
    }
    d->kv = mosa_g_kv_write(d->graph, k, v, d->kv, attrs);
    return sinks == MOSA_NO_VALUE ? mosa_g_attention_kv(d->graph, q, d->kv, attrs)
                                  : mosa_g_attention_kv_sinks(d->graph, q, d->kv, sinks, attrs);
}

mosa_value mosa_decoder_attention(mosa_decoder *d, mosa_value x, int layer) {
    const mosa_model_config *c = d->config;
    mosa_value q, k, v;
    mosa_decoder_project_qkv(d, x, layer, &q, &k, &v);
    if (c->qk_norm) {
        q = norm_heads(d, q, MOSA_W_ATTN_Q_NORM, layer);
        k = norm_heads(d, k, MOSA_W_ATTN_K_NORM, layer);
    }
    bool local = c->rope_local_inv_freq && windowed(c, layer);
    mosa_value table = local ? d->rope_local_table : d->rope_table;
    q = mosa_g_rope(d->graph, q, table, c->head_width, c->rope_style);
    k = mosa_g_rope(d->graph, k, table, c->head_width, c->rope_style);
    mosa_attrs attrs = mosa_decoder_attention_attrs(d, layer);
    mosa_value sinks = mosa_decoder_weight_of(d, MOSA_W_ATTN_SINKS, layer, MOSA_SHAPE1(c->heads), false);
    mosa_value mixed = mosa_decoder_attend(d, q, k, v, sinks, &attrs);
    return mosa_decoder_linear(d, mixed, MOSA_W_ATTN_OUT, MOSA_W_ATTN_OUT_BIAS, layer, c->width,
                               (int64_t)c->heads * c->head_width);
}

mosa_value mosa_decoder_gated_ffn(mosa_decoder *d, mosa_value x, int layer) {
    const mosa_model_config *c = d->config;
    bool fused = mosa_model_source_weight(d->source, MOSA_W_FFN_GATE_UP, layer) != NULL;
    mosa_value gate, up;
    if (fused) {
        gate = linear_rows(d, x, MOSA_W_FFN_GATE_UP, MOSA_W_COUNT, layer, 2 * c->ffn, 0, c->ffn);
        up = linear_rows(d, x, MOSA_W_FFN_GATE_UP, MOSA_W_COUNT, layer, 2 * c->ffn, c->ffn, c->ffn);
    } else {
        gate = mosa_decoder_linear(d, x, MOSA_W_FFN_GATE, MOSA_W_FFN_GATE_BIAS, layer, c->ffn, c->width);
        up = mosa_decoder_linear(d, x, MOSA_W_FFN_UP, MOSA_W_FFN_UP_BIAS, layer, c->ffn, c->width);
    }
    mosa_value product = mosa_g_mul(d->graph, mosa_g_act(d->graph, gate, c->act), up);
    return mosa_decoder_linear(d, product, MOSA_W_FFN_DOWN, MOSA_W_FFN_DOWN_BIAS, layer, c->width, c->ffn);
}

mosa_value mosa_decoder_prenorm_block(mosa_decoder *d, mosa_value x, int layer) {
    mosa_value normed = mosa_decoder_norm(d, x, MOSA_W_ATTN_NORM, layer);
    x = mosa_decoder_add(d, x, mosa_decoder_attention(d, normed, layer));
    normed = mosa_decoder_norm(d, x, MOSA_W_FFN_NORM, layer);
    return mosa_decoder_add(d, x, mosa_decoder_gated_ffn(d, normed, layer));
}

mosa_value mosa_decoder_sandwich_block(mosa_decoder *d, mosa_value x, int layer) {
    mosa_value y = mosa_decoder_attention(d, mosa_decoder_norm(d, x, MOSA_W_ATTN_NORM, layer), layer);
    x = mosa_decoder_add(d, x, mosa_decoder_norm(d, y, MOSA_W_ATTN_POST_NORM, layer));
    y = mosa_decoder_gated_ffn(d, mosa_decoder_norm(d, x, MOSA_W_FFN_NORM, layer), layer);
    return mosa_decoder_add(d, x, mosa_decoder_norm(d, y, MOSA_W_FFN_POST_NORM, layer));
}

mosa_value mosa_decoder_embed_tokens(mosa_decoder *d, mosa_value tokens) {
    const mosa_model_config *c = d->config;
    mosa_value table = mosa_decoder_weight_of(d, MOSA_W_TOKEN_EMBD, 0, MOSA_SHAPE2(c->vocab, c->width), true);
    mosa_value x = mosa_g_embed(d->graph, tokens, mosa_decoder_use(d, table, MOSA_WEIGHT_TABLE));
    return c->embedding_scale != 1 ? mosa_g_scale(d->graph, x, c->embedding_scale) : x;
}

void mosa_decoder_rope_tables(mosa_decoder *d) {
    const mosa_model_config *c = d->config;
    int pairs = c->rope_width / 2;
    mosa_value inv_freq = mosa_decoder_constant(d, "rope.inv_freq", c->rope_inv_freq, pairs);
    d->rope_table = mosa_g_rope_table(d->graph, d->positions, inv_freq, c->rope_mscale);
    if (!c->rope_local_inv_freq) return;
    mosa_value local = mosa_decoder_constant(d, "rope.local_inv_freq", c->rope_local_inv_freq, pairs);
    d->rope_local_table = mosa_g_rope_table(d->graph, d->positions, local, 1);
}

void mosa_decoder_build_body(mosa_decoder *d, mosa_decoder_block_fn block) {
    mosa_value tokens = mosa_graph_input(d->graph, "tokens", MOSA_I32, MOSA_SHAPE1(MOSA_ROWS));
    d->positions = mosa_graph_input(d->graph, "positions", MOSA_I32, MOSA_SHAPE1(MOSA_ROWS));
    d->kv = mosa_graph_state(d->graph, "kv");
    mosa_decoder_rope_tables(d);
    mosa_value x = mosa_decoder_embed_tokens(d, tokens);
    for (int layer = 0; layer < d->config->layers; layer++) x = block(d, x, layer);
    mosa_graph_output(d->graph, x);
}

static mosa_value output_matrix(mosa_decoder *d) {
    bool untied = mosa_model_source_weight(d->source, MOSA_W_OUTPUT, 0) != NULL;
    return mosa_decoder_matrix(d, untied ? MOSA_W_OUTPUT : MOSA_W_TOKEN_EMBD, 0, d->config->vocab, d->config->width);
}

void mosa_decoder_build_training(mosa_decoder *d, mosa_decoder_block_fn block) {
    const mosa_model_config *c = d->config;
    mosa_value tokens = mosa_graph_input(d->graph, "tokens", MOSA_I32, MOSA_SHAPE1(MOSA_ROWS));
    d->positions = mosa_graph_input(d->graph, "positions", MOSA_I32, MOSA_SHAPE1(MOSA_ROWS));
    mosa_value labels = mosa_graph_input(d->graph, "labels", MOSA_I32, MOSA_SHAPE1(MOSA_ROWS));
    mosa_value coef = mosa_graph_input(d->graph, "coef", MOSA_F32, MOSA_SHAPE2(MOSA_ROWS, 1));
    mosa_value grads = mosa_graph_state(d->graph, "grads");
    mosa_decoder_rope_tables(d);
    mosa_value x = mosa_decoder_embed_tokens(d, tokens);
    for (int layer = 0; layer < c->layers; layer++) x = block(d, x, layer);
    x = mosa_decoder_norm(d, x, MOSA_W_OUTPUT_NORM, 0);
    mosa_value w = output_matrix(d);
    if (d->error.status != MOSA_OK) return;
    mosa_graph_output(d->graph,
                      mosa_g_linear_ce(d->graph, x, w, labels, coef, &grads, c->logit_scale, c->logit_softcap));
}

void mosa_decoder_build_head(mosa_decoder *d) {
    const mosa_model_config *c = d->config;
    mosa_value hidden = mosa_graph_input(d->graph, "hidden", MOSA_F32, MOSA_SHAPE2(MOSA_ROWS, c->width));
    mosa_value normed = mosa_decoder_norm(d, hidden, MOSA_W_OUTPUT_NORM, 0);
    mosa_value logits = mosa_g_linear(d->graph, normed, output_matrix(d), MOSA_NO_VALUE);
    if (c->logit_scale != 1) logits = mosa_g_scale(d->graph, logits, c->logit_scale);
    if (c->logit_softcap > 0) {
        logits = mosa_g_act(d->graph, mosa_g_scale(d->graph, logits, 1 / c->logit_softcap), MOSA_ACT_TANH);
        logits = mosa_g_scale(d->graph, logits, c->logit_softcap);
    }
    mosa_graph_output(d->graph, logits);
}

void mosa_decoder_build_embed(mosa_decoder *d) {
    mosa_value hidden = mosa_graph_input(d->graph, "hidden", MOSA_F32, MOSA_SHAPE2(MOSA_ROWS, d->config->width));
    mosa_graph_output(d->graph, mosa_decoder_norm(d, hidden, MOSA_W_OUTPUT_NORM, 0));
}
