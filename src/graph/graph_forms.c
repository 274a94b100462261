// Typed forms of the builder: one function per op for family files. Each zeroes its attributes whole, padding included,
// because mosa_pass_clean compares them as bytes.
#include "graph/graph.h"

#include <string.h>

static mosa_value apply1(mosa_graph *g, mosa_op op, mosa_value a, const mosa_attrs *attrs) {
    return mosa_graph_apply(g, op, &a, 1, attrs);
}

static mosa_value apply2(mosa_graph *g, mosa_op op, mosa_value a, mosa_value b, const mosa_attrs *attrs) {
    mosa_value in[2] = {a, b};
    return mosa_graph_apply(g, op, in, 2, attrs);
}

static mosa_value apply3(mosa_graph *g, mosa_op op, mosa_value a, mosa_value b, mosa_value c, const mosa_attrs *attrs) {
    mosa_value in[3] = {a, b, c};
    return mosa_graph_apply(g, op, in, 3, attrs);
}

static void zero(mosa_attrs *attrs) {
    memset(attrs, 0, sizeof *attrs);
}

mosa_value mosa_g_embed(mosa_graph *g, mosa_value ids, mosa_value table) {
    return apply2(g, MOSA_OP_EMBED, ids, table, NULL);
}

mosa_value mosa_g_linear(mosa_graph *g, mosa_value x, mosa_value w, mosa_value bias) {
    if (bias == MOSA_NO_VALUE) return apply2(g, MOSA_OP_LINEAR, x, w, NULL);
    return apply3(g, MOSA_OP_LINEAR, x, w, bias, NULL);
}

mosa_value mosa_g_rms_norm(mosa_graph *g, mosa_value x, mosa_value w, float eps) {
    mosa_attrs attrs;
    zero(&attrs);
    attrs.norm.eps = eps;
    return apply2(g, MOSA_OP_RMS_NORM, x, w, &attrs);
}

mosa_value mosa_g_head_rms_norm(mosa_graph *g, mosa_value x, mosa_value w, float eps) {
    mosa_attrs attrs;
    zero(&attrs);
    attrs.norm.eps = eps;
    if (w >= 0 && w < g->n_values) attrs.norm.group = mosa_shape_row_elements(&g->values[w].shape);
    return apply2(g, MOSA_OP_RMS_NORM, x, w, &attrs);
}

mosa_value mosa_g_layer_norm(mosa_graph *g, mosa_value x, mosa_value w, mosa_value bias, float eps) {
    mosa_attrs attrs;
    zero(&attrs);
    attrs.norm.eps = eps;
    if (bias == MOSA_NO_VALUE) return apply2(g, MOSA_OP_LAYER_NORM, x, w, &attrs);
    return apply3(g, MOSA_OP_LAYER_NORM, x, w, bias, &attrs);
}

mosa_value mosa_g_add(mosa_graph *g, mosa_value a, mosa_value b) {
    return apply2(g, MOSA_OP_ADD, a, b, NULL);
}

mosa_value mosa_g_mul(mosa_graph *g, mosa_value a, mosa_value b) {
    return apply2(g, MOSA_OP_MUL, a, b, NULL);
}

mosa_value mosa_g_scale(mosa_graph *g, mosa_value x, float value) {
    mosa_attrs attrs;
    zero(&attrs);
    attrs.scale.value = value;
    return apply1(g, MOSA_OP_SCALE, x, &attrs);
}

mosa_value mosa_g_act(mosa_graph *g, mosa_value x, mosa_act kind) {
    mosa_attrs attrs;
    zero(&attrs);
    attrs.act.kind = kind;
    return apply1(g, MOSA_OP_ACT, x, &attrs);
}

mosa_value mosa_g_clamped_swiglu(mosa_graph *g, mosa_value gate, mosa_value up, float limit) {
    mosa_attrs attrs;
    zero(&attrs);
    attrs.act.kind = MOSA_ACT_CLAMPED_SWIGLU;
    attrs.act.limit = limit;
    return apply2(g, MOSA_OP_GATED_ACT, gate, up, &attrs);
}

mosa_value mosa_g_slice(mosa_graph *g, mosa_value x, int64_t begin, int64_t count, int64_t group) {
    mosa_attrs attrs;
    zero(&attrs);
    attrs.slice.begin = begin;
    attrs.slice.count = count;
    attrs.slice.group = group;
    return apply1(g, MOSA_OP_SLICE, x, &attrs);
}

mosa_value mosa_g_join(mosa_graph *g, mosa_value a, mosa_value b, int64_t groups) {
    mosa_attrs attrs;
    zero(&attrs);
    attrs.join.groups = groups;
    return apply2(g, MOSA_OP_JOIN, a, b, &attrs);
}

mosa_value mosa_g_expert_linear(mosa_graph *g, mosa_value x, mosa_value w, mosa_value index, mosa_value bias) {
    mosa_value in[4] = {x, w, index, bias};
    int n_in = bias != MOSA_NO_VALUE ? 4 : index != MOSA_NO_VALUE ? 3 : 2;
    return mosa_graph_apply(g, MOSA_OP_EXPERT_LINEAR, in, n_in, NULL);
}

mosa_value mosa_g_moe_combine(mosa_graph *g, mosa_value x, mosa_value weight) {
    return apply2(g, MOSA_OP_MOE_COMBINE, x, weight, NULL);
}

mosa_value mosa_g_rope_table(mosa_graph *g, mosa_value positions, mosa_value inv_freq, float mscale) {
    mosa_attrs attrs;
    zero(&attrs);
    if (inv_freq >= 0 && inv_freq < g->n_values)
        attrs.rope_table.rot = (int)(2 * mosa_shape_row_elements(&g->values[inv_freq].shape));
    attrs.rope_table.mscale = mscale;
    return apply2(g, MOSA_OP_ROPE_TABLE, positions, inv_freq, &attrs);
}

mosa_value mosa_g_rope(mosa_graph *g, mosa_value x, mosa_value table, int head_width, mosa_rope_style style) {
    mosa_attrs attrs;
    zero(&attrs);
    attrs.rope.head_width = head_width;
    if (table >= 0 && table < g->n_values) attrs.rope.rot = (int)mosa_shape_row_elements(&g->values[table].shape);
    attrs.rope.style = style;
    return apply2(g, MOSA_OP_ROPE, x, table, &attrs);
}

mosa_value mosa_g_kv_write(mosa_graph *g, mosa_value k, mosa_value v, mosa_value state, const mosa_attrs *attention) {
    if (attention->attention.value_in_key) return apply2(g, MOSA_OP_KV_WRITE, k, state, attention);
    return apply3(g, MOSA_OP_KV_WRITE, k, v, state, attention);
}

mosa_value mosa_g_attention_kv(mosa_graph *g, mosa_value q, mosa_value state, const mosa_attrs *attention) {
    return apply2(g, MOSA_OP_ATTENTION, q, state, attention);
}

mosa_value mosa_g_attention_kv_sinks(mosa_graph *g, mosa_value q, mosa_value state, mosa_value sinks,
                                     const mosa_attrs *attention) {
    return apply3(g, MOSA_OP_ATTENTION, q, state, sinks, attention);
}

mosa_value mosa_g_attention(mosa_graph *g, mosa_value q, mosa_value k, mosa_value v, const mosa_attrs *attention) {
    if (attention->attention.value_in_key) return apply2(g, MOSA_OP_ATTENTION, q, k, attention);
    return apply3(g, MOSA_OP_ATTENTION, q, k, v, attention);
}

mosa_value mosa_g_attention_sinks(mosa_graph *g, mosa_value q, mosa_value k, mosa_value v, mosa_value sinks,
                                  const mosa_attrs *attention) {
    if (sinks == MOSA_NO_VALUE) return mosa_g_attention(g, q, k, v, attention);
    if (attention->attention.value_in_key) return apply3(g, MOSA_OP_ATTENTION, q, k, sinks, attention);
    return mosa_graph_apply(g, MOSA_OP_ATTENTION, (mosa_value[]){q, k, v, sinks}, 4, attention);
}

mosa_value mosa_g_round(mosa_graph *g, mosa_value x, mosa_dtype dtype) {
    if (dtype == MOSA_F32) return x;
    mosa_attrs attrs;
    memset(&attrs, 0, sizeof attrs);
    attrs.round.dtype = dtype;
    return mosa_graph_apply(g, MOSA_OP_ROUND, &x, 1, &attrs);
}

mosa_value mosa_g_linear_ce(mosa_graph *g, mosa_value h, mosa_value w, mosa_value labels, mosa_value coef,
                            mosa_value *grads, float scale, float softcap) {
    enum { CHUNK = 256 }; // more rows share the reading of the matrix; 50 MB of logits of a GPT-2 vocabulary
    mosa_attrs attrs, grad;
    memset(&attrs, 0, sizeof attrs);
    memset(&grad, 0, sizeof grad);
    attrs.linear_ce.scale = scale;
    attrs.linear_ce.softcap = softcap;
    attrs.linear_ce.chunk = CHUNK;
    grad.grad.slot = -1;
    mosa_value stats =
        mosa_graph_apply2(g, MOSA_OP_LINEAR_CE, (mosa_value[]){h, w, labels, coef, *grads}, 5, &attrs, &grad);
    *grads = mosa_graph_node_output(g, stats, 3);
    return stats;
}
