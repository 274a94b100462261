// Attention and its state port. KV_WRITE and ROPE_KV_WRITE consume a version of the state and yield the next one.
#include "graph/ops/ops.h"

#include <math.h>

// operand holds `heads` heads of `width` columns in each row.
static mosa_status want_heads(const mosa_graph *graph, const mosa_node *node, int operand, int heads, int width,
                              mosa_error *err) {
    MOSA_TRY(mosa_op_want_rows(graph, node, operand, err));
    if (width <= 0 || width > MOSA_HEAD_WIDTH_MAX || heads <= 0 ||
        mosa_op_columns(graph, node, operand) != (int64_t)heads * width)
        return mosa_op_fail(graph, node, operand, err, "must hold %d heads of %d columns", heads, width);
    // Segments speak of the rows of the batch.
    if (mosa_op_operand(graph, node, operand)->shape.dim[0] != MOSA_ROWS)
        return mosa_op_fail(graph, node, operand, err, "must have the batch's rows");
    return MOSA_OK;
}

static mosa_status want_state(const mosa_graph *graph, const mosa_node *node, const mosa_attrs *attrs, int operand,
                              mosa_error *err) {
    if (mosa_op_operand(graph, node, operand)->kind != MOSA_VALUE_STATE)
        return mosa_op_fail(graph, node, operand, err, "must be a state");
    if (attrs->attention.layer < 0)
        return mosa_op_fail(graph, node, operand, err, "has no layer %d", attrs->attention.layer);
    return MOSA_OK;
}

static mosa_status want_value_width(const mosa_graph *graph, const mosa_node *node, const mosa_attrs *attrs, int k,
                                    mosa_error *err) {
    int width = attrs->attention.value_width;
    if (width < 0 || width > MOSA_HEAD_WIDTH_MAX)
        return mosa_op_fail(graph, node, k, err, "has values of %d columns", width);
    if (attrs->attention.value_in_key && width > attrs->attention.head_width)
        return mosa_op_fail(graph, node, k, err, "has values of %d columns in keys of %d", width,
                            attrs->attention.head_width);
    return MOSA_OK;
}

// Keys and values of rows; v = -1 where the values are part of the keys.
static mosa_status want_kv(const mosa_graph *graph, const mosa_node *node, const mosa_attrs *attrs, int k, int v,
                           mosa_error *err) {
    int heads = attrs->attention.kv_heads;
    MOSA_TRY(want_value_width(graph, node, attrs, k, err));
    MOSA_TRY(want_heads(graph, node, k, heads, attrs->attention.head_width, err));
    if (v < 0) return MOSA_OK;
    MOSA_TRY(want_heads(graph, node, v, heads, mosa_attention_value_width(attrs), err));
    return mosa_op_want_same_rows(graph, node, v, k, err);
}

static void set_state(const mosa_graph *graph, const mosa_node *node, int operand, mosa_value_info *out) {
    const mosa_value_info *state = mosa_op_operand(graph, node, operand);
    out->kind = MOSA_VALUE_STATE;
    out->dtype = state->dtype;
    out->shape = state->shape;
    out->slot = state->slot;
}

static mosa_status write_infer(const mosa_graph *graph, const mosa_node *node, mosa_value_info *outs, mosa_error *err) {
    int state = node->n_in - 1;
    if (node->attrs.attention.value_in_key != (state == 1))
        return mosa_op_fail(graph, node, 0, err, "%s", state == 1 ? "has no values" : "holds the values already");
    MOSA_TRY(want_kv(graph, node, &node->attrs, 0, state == 1 ? -1 : 1, err));
    MOSA_TRY(want_state(graph, node, &node->attrs, state, err));
    set_state(graph, node, state, &outs[0]);
    return MOSA_OK;
}

// What stands behind q: a state, or keys and values of the same rows.
static mosa_status want_sources(const mosa_graph *graph, const mosa_node *node, mosa_error *err) {
    const mosa_attrs *attrs = &node->attrs;
    if (mosa_attention_paged(graph, node)) {
        MOSA_TRY(want_value_width(graph, node, attrs, 0, err));
        MOSA_TRY(want_state(graph, node, attrs, 1, err));
        // Rows of a later chunk would change the result of earlier ones.
        if (!attrs->attention.causal) return mosa_op_fail(graph, node, 1, err, "needs causal attention");
        return MOSA_OK;
    }
    bool in_key = attrs->attention.value_in_key;
    if (!in_key && node->n_in == 2) return mosa_op_fail(graph, node, 1, err, "must be a state when no values follow");
    MOSA_TRY(want_kv(graph, node, attrs, 1, in_key ? -1 : 2, err));
    return mosa_op_want_same_rows(graph, node, 1, 0, err);
}

static mosa_status attention_infer(const mosa_graph *graph, const mosa_node *node, mosa_value_info *outs,
                                   mosa_error *err) {
    const mosa_attrs *attrs = &node->attrs;
    MOSA_TRY(want_heads(graph, node, 0, attrs->attention.heads, attrs->attention.head_width, err));
    if (attrs->attention.kv_heads <= 0 || attrs->attention.heads % attrs->attention.kv_heads)
        return mosa_op_fail(graph, node, 0, err, "has %d heads for %d key/value heads", attrs->attention.heads,
                            attrs->attention.kv_heads);
    if (attrs->attention.window < 0 || !(attrs->attention.softcap >= 0) || !isfinite(attrs->attention.scale))
        return mosa_op_fail(graph, node, 0, err, "has a bad window, softcap or scale");
    MOSA_TRY(want_sources(graph, node, err));
    int sinks = mosa_attention_sinks(graph, node);
    if (sinks >= 0) MOSA_TRY(mosa_op_want_vector(graph, node, sinks, attrs->attention.heads, err));
    if (node->n_in > (sinks >= 0 ? sinks + 1 : 3)) return mosa_op_fail(graph, node, node->n_in - 1, err, "is too many");
    outs[0].dtype = MOSA_F32;
    outs[0].shape = MOSA_SHAPE2(MOSA_ROWS, (int64_t)attrs->attention.heads * mosa_attention_value_width(attrs));
    return MOSA_OK;
}

static mosa_status rope_write_infer(const mosa_graph *graph, const mosa_node *node, mosa_value_info *outs,
                                    mosa_error *err) {
    MOSA_TRY(mosa_op_check_rope(graph, node, &node->attrs, 0, 3, err));
    MOSA_TRY(mosa_op_check_rope(graph, node, &node->attrs, 1, 3, err));
    if (node->attrs2.attention.value_in_key) return mosa_op_fail(graph, node, 1, err, "holds the values already");
    MOSA_TRY(want_kv(graph, node, &node->attrs2, 1, 2, err));
    MOSA_TRY(mosa_op_want_same_rows(graph, node, 1, 0, err));
    MOSA_TRY(want_state(graph, node, &node->attrs2, 4, err));
    outs[0].dtype = MOSA_F32;
    outs[0].shape = mosa_op_operand(graph, node, 0)->shape;
    set_state(graph, node, 4, &outs[1]);
    return MOSA_OK;
}

static mosa_status rope_write_decompose(mosa_graph *to, const mosa_node *node, const mosa_value *in, mosa_value *out) {
    out[0] = mosa_graph_apply(to, MOSA_OP_ROPE, (mosa_value[]){in[0], in[3]}, 2, &node->attrs);
    mosa_value k = mosa_graph_apply(to, MOSA_OP_ROPE, (mosa_value[]){in[1], in[3]}, 2, &node->attrs);
    out[1] = mosa_g_kv_write(to, k, in[2], in[4], &node->attrs2);
    return mosa_graph_status(to, NULL);
}

static void write_cost(const mosa_graph *graph, const mosa_node *node, int64_t rows, double *flops, double *bytes) {
    mosa_op_stream_cost(graph, node, rows, 3, flops, bytes);
}

// Of the rows alone: how far each looks back is not known here. Rows of one packed segment count half of each other.
static void attention_cost(const mosa_graph *graph, const mosa_node *node, int64_t rows, double *flops, double *bytes) {
    mosa_op_stream_cost(graph, node, rows, 2 * (double)rows, flops, bytes);
}

const mosa_op_info mosa_op_kv_write = {
    .name = "kv_write",
    .n_in_min = 2,
    .n_in_max = 3,
    .n_out = 1,
    .operands = {"k", "v or state", "state"},
    .stateful = true,
    .rowwise = true,
    .infer = write_infer,
    .cost = write_cost,
};

const mosa_op_info mosa_op_attention = {
    .name = "attention",
    .n_in_min = 2,
    .n_in_max = 4,
    .n_out = 1,
    .operands = {"q", "state or k", "v or sinks", "sinks"},
    .stateful = true,
    .infer = attention_infer,
    .cost = attention_cost,
    .vjp = mosa_vjp_attention,
};

const mosa_op_info mosa_op_rope_kv_write = {
    .name = "rope_kv_write",
    .n_in_min = 5,
    .n_in_max = 5,
    .n_out = 2,
    .operands = {"q", "k", "v", "table", "state"},
    .stateful = true,
    .rowwise = true,
    .infer = rope_write_infer,
    .decompose = rope_write_decompose,
    .cost = write_cost,
};
