// Experts: routing, the gated feed-forward part of each, the shared expert.
#include "model/moe.h"

#include <string.h>

mosa_status mosa_moe_config_read(const mosa_model_source *source, mosa_model_config *config, mosa_error *err) {
    mosa_model_experts *e = &config->experts;
    int64_t count, used, groups, top_groups;
    double scale;
    MOSA_TRY(mosa_model_source_i64(source, MOSA_H_EXPERTS, 1, MOSA_EXPERTS_MAX, &count, err));
    MOSA_TRY(mosa_model_source_i64(source, MOSA_H_EXPERTS_USED, 1, count, &used, err));
    MOSA_TRY(
        mosa_model_source_i64_or(source, MOSA_H_EXPERT_FFN, 1, 8 * MOSA_MODEL_WIDTH_MAX, config->ffn, &e->ffn, err));
    MOSA_TRY(mosa_model_source_i64_or(source, MOSA_H_EXPERT_GROUPS, 0, count, 0, &groups, err));
    MOSA_TRY(mosa_model_source_i64_or(source, MOSA_H_EXPERT_TOP_GROUPS, 0, count, groups, &top_groups, err));
    MOSA_TRY(mosa_model_source_f64_or(source, MOSA_H_EXPERT_SCALE, 0, 1e6, 1, &scale, err));
    // All groups taken is no choice among groups.
    bool grouped = groups > 1 && top_groups < groups;
    e->count = (int)count;
    e->used = (int)used;
    e->groups = grouped ? (int)groups : 0;
    e->top_groups = grouped ? (int)top_groups : 0;
    e->group_best = 1;
    e->scoring = MOSA_SCORE_SOFTMAX;
    e->scale = (float)scale;
    e->normalise = true;
    e->swiglu_limit = 0;
    return MOSA_OK;
}

typedef struct routing {
    mosa_value index, weight;
} routing;

static routing route(mosa_decoder *d, mosa_value x, int layer) {
    const mosa_model_experts *e = &d->config->experts;
    mosa_value w = mosa_decoder_matrix(d, MOSA_W_ROUTER, layer, e->count, d->config->width);
    mosa_value bias = mosa_decoder_weight_of(d, MOSA_W_ROUTER_BIAS, layer, MOSA_SHAPE1(e->count), false);
    mosa_value in[2] = {mosa_g_linear(d->graph, x, w, bias),
                        mosa_decoder_weight_of(d, MOSA_W_ROUTER_CHOICE, layer, MOSA_SHAPE1(e->count), false)};
    mosa_attrs attrs;
    memset(&attrs, 0, sizeof attrs);
    attrs.moe_route.top_k = e->used;
    attrs.moe_route.scoring = e->scoring;
    attrs.moe_route.normalise = e->normalise;
    attrs.moe_route.scale = e->scale;
    attrs.moe_route.groups = e->groups;
    attrs.moe_route.top_groups = e->top_groups;
    attrs.moe_route.group_best = e->groups ? e->group_best : 0;
    mosa_value index = mosa_graph_apply(d->graph, MOSA_OP_MOE_ROUTE, in, in[1] == MOSA_NO_VALUE ? 1 : 2, &attrs);
    return (routing){index, mosa_graph_node_output(d->graph, index, 1)};
}

static mosa_value experts(mosa_decoder *d, mosa_value x, mosa_value index, mosa_weight_slot slot,
                          mosa_weight_slot bias_slot, int layer, int64_t out, int64_t in) {
    int64_t count = d->config->experts.count;
    mosa_value w = mosa_decoder_stack(d, slot, layer, MOSA_SHAPE3(count, out, in), true);
    mosa_value bias = mosa_decoder_stack(d, bias_slot, layer, MOSA_SHAPE2(count, out), false);
    return d->error.status == MOSA_OK ? mosa_g_expert_linear(d->graph, x, w, index, bias) : MOSA_NO_VALUE;
}

static mosa_value shared_expert(mosa_decoder *d, mosa_value x, int layer) {
    int64_t width = d->config->width, ffn = d->config->experts.shared_ffn;
    mosa_value gate = mosa_decoder_linear(d, x, MOSA_W_SHARED_GATE, MOSA_W_COUNT, layer, ffn, width);
    mosa_value up = mosa_decoder_linear(d, x, MOSA_W_SHARED_UP, MOSA_W_COUNT, layer, ffn, width);
    mosa_value inner = mosa_g_mul(d->graph, mosa_g_act(d->graph, gate, d->config->act), up);
    mosa_value y = mosa_decoder_linear(d, inner, MOSA_W_SHARED_DOWN, MOSA_W_COUNT, layer, width, ffn);
    if (!mosa_model_source_weight(d->source, MOSA_W_SHARED_ROUTER, layer)) return y;
    mosa_value logit = mosa_decoder_linear(d, x, MOSA_W_SHARED_ROUTER, MOSA_W_COUNT, layer, 1, width);
    return mosa_g_moe_combine(d->graph, y, mosa_g_act(d->graph, logit, MOSA_ACT_SIGMOID));
}

mosa_value mosa_moe_ffn(mosa_decoder *d, mosa_value x, int layer) {
    const mosa_model_config *c = d->config;
    const mosa_model_experts *e = &c->experts;
    routing r = route(d, x, layer);
    mosa_value gate = experts(d, x, r.index, MOSA_W_EXPERT_GATE, MOSA_W_EXPERT_GATE_BIAS, layer, e->ffn, c->width);
    mosa_value up = experts(d, x, r.index, MOSA_W_EXPERT_UP, MOSA_W_EXPERT_UP_BIAS, layer, e->ffn, c->width);
    mosa_value inner = e->swiglu_limit > 0 ? mosa_g_clamped_swiglu(d->graph, gate, up, e->swiglu_limit)
                                           : mosa_g_mul(d->graph, mosa_g_act(d->graph, gate, c->act), up);
    mosa_value y = experts(d, inner, r.index, MOSA_W_EXPERT_DOWN, MOSA_W_EXPERT_DOWN_BIAS, layer, c->width, e->ffn);
    y = mosa_g_moe_combine(d->graph, y, r.weight);
    return e->shared_ffn ? mosa_g_add(d->graph, y, shared_expert(d, x, layer)) : y;
}

mosa_value mosa_moe_add_ffn(mosa_decoder *d, mosa_value x, int layer) {
    mosa_value normed = mosa_decoder_norm(d, x, MOSA_W_FFN_NORM, layer);
    bool sparse = mosa_model_source_weight(d->source, MOSA_W_ROUTER, layer) != NULL;
    return mosa_decoder_add(d, x, sparse ? mosa_moe_ffn(d, normed, layer) : mosa_decoder_gated_ffn(d, normed, layer));
}

mosa_value mosa_moe_prenorm_block(mosa_decoder *d, mosa_value x, int layer) {
    mosa_value normed = mosa_decoder_norm(d, x, MOSA_W_ATTN_NORM, layer);
    return mosa_moe_add_ffn(d, mosa_decoder_add(d, x, mosa_decoder_attention(d, normed, layer)), layer);
}
