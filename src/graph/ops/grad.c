// The ops of derivatives of dense layers, norms, elementwise ops and row movement.
#include "graph/ops/ops.h"

bool mosa_op_adds_gradients(mosa_op op) {
    switch (op) {
    case MOSA_OP_LINEAR_CE:
    case MOSA_OP_LINEAR_DW:
    case MOSA_OP_ROWS_SUM:
    case MOSA_OP_EMBED_DW:
    case MOSA_OP_RMS_NORM_DW:
    case MOSA_OP_LAYER_NORM_DW:
    case MOSA_OP_ATTENTION_DSINKS:
    case MOSA_OP_EXPERT_LINEAR_DW:
    case MOSA_OP_EXPERT_ROWS_SUM:
        return true;
    default:
        return false;
    }
}

mosa_status mosa_op_want_grads(const mosa_graph *graph, const mosa_node *node, int64_t elements, mosa_value_info *out,
                               mosa_error *err) {
    int operand = node->n_in - 1;
    const mosa_value_info *state = mosa_op_operand(graph, node, operand);
    if (state->kind != MOSA_VALUE_STATE) return mosa_op_fail(graph, node, operand, err, "must be a state");
    if (node->attrs2.grad.slot < 0 || node->attrs2.grad.elements <= 0 ||
        (elements > 0 && node->attrs2.grad.elements != elements))
        return mosa_op_fail(graph, node, operand, err, "has no gradient of %lld elements", (long long)elements);
    out->kind = MOSA_VALUE_STATE;
    out->dtype = state->dtype;
    out->shape = state->shape;
    out->slot = state->slot;
    return MOSA_OK;
}

static void set_rows(mosa_value_info *out, int64_t rows, int64_t columns) {
    out->dtype = MOSA_F32;
    out->shape = MOSA_SHAPE2(rows, columns);
}

static int64_t rows_of(const mosa_graph *graph, const mosa_node *node, int operand) {
    return mosa_op_operand(graph, node, operand)->shape.dim[0];
}

static mosa_status linear_dx_infer(const mosa_graph *graph, const mosa_node *node, mosa_value_info *outs,
                                   mosa_error *err) {
    MOSA_TRY(mosa_op_want_rows(graph, node, 0, err));
    const mosa_value_info *w = mosa_op_operand(graph, node, 1);
    if (w->kind != MOSA_VALUE_WEIGHT || w->shape.ndim != 2 || !mosa_dtype_traits_of(w->dtype)->to_f32)
        return mosa_op_fail(graph, node, 1, err, "must be a weight [N,K] of a type that decodes to f32");
    if (w->shape.dim[0] != mosa_op_columns(graph, node, 0))
        return mosa_op_fail_against(graph, node, 1, 0, err, "output widths must be equal");
    set_rows(&outs[0], rows_of(graph, node, 0), w->shape.dim[1]);
    return MOSA_OK;
}

static mosa_status linear_dw_infer(const mosa_graph *graph, const mosa_node *node, mosa_value_info *outs,
                                   mosa_error *err) {
    for (int i = 0; i < 2; i++) MOSA_TRY(mosa_op_want_rows(graph, node, i, err));
    MOSA_TRY(mosa_op_want_same_rows(graph, node, 1, 0, err));
    return mosa_op_want_grads(graph, node, mosa_op_columns(graph, node, 0) * mosa_op_columns(graph, node, 1), &outs[0],
                              err);
}

static mosa_status rows_sum_infer(const mosa_graph *graph, const mosa_node *node, mosa_value_info *outs,
                                  mosa_error *err) {
    MOSA_TRY(mosa_op_want_rows(graph, node, 0, err));
    MOSA_TRY(mosa_op_want_grads(graph, node, 0, &outs[0], err));
    if (mosa_op_columns(graph, node, 0) % node->attrs2.grad.elements)
        return mosa_op_fail(graph, node, 0, err, "is not made of groups of %lld columns",
                            (long long)node->attrs2.grad.elements);
    return MOSA_OK;
}

static mosa_status embed_dw_infer(const mosa_graph *graph, const mosa_node *node, mosa_value_info *outs,
                                  mosa_error *err) {
    MOSA_TRY(mosa_op_want_rows(graph, node, 0, err));
    MOSA_TRY(mosa_op_want_index(graph, node, 1, err));
    MOSA_TRY(mosa_op_want_same_rows(graph, node, 1, 0, err));
    MOSA_TRY(mosa_op_want_grads(graph, node, 0, &outs[0], err));
    if (node->attrs2.grad.elements % mosa_op_columns(graph, node, 0))
        return mosa_op_fail(graph, node, 0, err, "does not fit a table of %lld elements",
                            (long long)node->attrs2.grad.elements);
    return MOSA_OK;
}

static mosa_status scatter_infer(const mosa_graph *graph, const mosa_node *node, mosa_value_info *outs,
                                 mosa_error *err) {
    MOSA_TRY(mosa_op_want_rows(graph, node, 0, err));
    MOSA_TRY(mosa_op_want_index(graph, node, 1, err));
    MOSA_TRY(mosa_op_want_same_rows(graph, node, 1, 0, err));
    int64_t rows = node->attrs.scatter.rows;
    if (rows != MOSA_ROWS && (rows <= 0 || rows > INT32_MAX))
        return mosa_op_fail(graph, node, 0, err, "cannot be scattered over %lld rows", (long long)rows);
    set_rows(&outs[0], rows, mosa_op_columns(graph, node, 0));
    return MOSA_OK;
}

// The group that a norm works over; -1 when it does not divide the row.
static int64_t norm_group(const mosa_graph *graph, const mosa_node *node) {
    int64_t columns = mosa_op_columns(graph, node, 0),
            group = node->attrs.norm.group ? node->attrs.norm.group : columns;
    return group > 0 && columns % group == 0 && node->attrs.norm.eps >= 0 ? group : -1;
}

static mosa_status norm_dx_infer(const mosa_graph *graph, const mosa_node *node, mosa_value_info *outs,
                                 mosa_error *err) {
    MOSA_TRY(mosa_op_want_rows(graph, node, 0, err));
    MOSA_TRY(mosa_op_want_same(graph, node, 1, 0, err));
    int64_t group = norm_group(graph, node);
    if (group < 0) return mosa_op_fail(graph, node, 0, err, "is not made of groups of the norm");
    if (node->n_in > 2) MOSA_TRY(mosa_op_want_vector(graph, node, 2, group, err));
    set_rows(&outs[0], rows_of(graph, node, 0), mosa_op_columns(graph, node, 0));
    return MOSA_OK;
}

static mosa_status norm_dw_infer(const mosa_graph *graph, const mosa_node *node, mosa_value_info *outs,
                                 mosa_error *err) {
    MOSA_TRY(mosa_op_want_rows(graph, node, 0, err));
    MOSA_TRY(mosa_op_want_same(graph, node, 1, 0, err));
    int64_t group = norm_group(graph, node);
    if (group < 0) return mosa_op_fail(graph, node, 0, err, "is not made of groups of the norm");
    return mosa_op_want_grads(graph, node, group, &outs[0], err);
}

// Any number of operands and outputs of one shape.
static mosa_status same_infer(const mosa_graph *graph, const mosa_node *node, mosa_value_info *outs, mosa_error *err) {
    MOSA_TRY(mosa_op_want_rows(graph, node, 0, err));
    for (int i = 1; i < node->n_in; i++) MOSA_TRY(mosa_op_want_same(graph, node, i, 0, err));
    mosa_act last = node->op == MOSA_OP_ACT_DX ? MOSA_ACT_TANH : MOSA_ACT_CLAMPED_SWIGLU;
    if ((int)node->attrs.act.kind < 0 || node->attrs.act.kind > last)
        return mosa_op_fail(graph, node, 0, err, "has unknown activation %d", (int)node->attrs.act.kind);
    for (int i = 0; i < mosa_op_get(node->op)->n_out; i++)
        set_rows(&outs[i], rows_of(graph, node, 0), mosa_op_columns(graph, node, 0));
    return MOSA_OK;
}

static mosa_status unslice_infer(const mosa_graph *graph, const mosa_node *node, mosa_value_info *outs,
                                 mosa_error *err) {
    MOSA_TRY(mosa_op_want_rows(graph, node, 0, err));
    int64_t begin = node->attrs.slice.begin, count = node->attrs.slice.count, width = node->attrs2.slice.count;
    int64_t group = node->attrs.slice.group ? node->attrs.slice.group : width;
    if (group <= 0 || width % group || begin < 0 || count <= 0 || begin > group || count > group - begin ||
        width / group * count != mosa_op_columns(graph, node, 0))
        return mosa_op_fail(graph, node, 0, err, "is no slice of rows of %lld columns", (long long)width);
    set_rows(&outs[0], rows_of(graph, node, 0), width);
    return MOSA_OK;
}

static mosa_status rope_dx_infer(const mosa_graph *graph, const mosa_node *node, mosa_value_info *outs,
                                 mosa_error *err) {
    MOSA_TRY(mosa_op_check_rope(graph, node, &node->attrs, 0, 1, err));
    set_rows(&outs[0], rows_of(graph, node, 0), mosa_op_columns(graph, node, 0));
    return MOSA_OK;
}

static void linear_dx_cost(const mosa_graph *graph, const mosa_node *node, int64_t rows, double *flops, double *bytes) {
    mosa_op_stream_cost(graph, node, rows, 2 * (double)mosa_op_columns(graph, node, 0), flops, bytes);
}

static void linear_dw_cost(const mosa_graph *graph, const mosa_node *node, int64_t rows, double *flops, double *bytes) {
    mosa_op_stream_cost(graph, node, rows, 0, flops, bytes);
    *flops = 2 * (double)rows * (double)node->attrs2.grad.elements;
    *bytes += 8 * (double)node->attrs2.grad.elements;
}

static void add_cost(const mosa_graph *graph, const mosa_node *node, int64_t rows, double *flops, double *bytes) {
    mosa_op_stream_cost(graph, node, rows, 0, flops, bytes);
    *flops = (double)rows * (double)mosa_op_columns(graph, node, 0);
    *bytes += 8 * (double)node->attrs2.grad.elements;
}

static void row_cost(const mosa_graph *graph, const mosa_node *node, int64_t rows, double *flops, double *bytes) {
    mosa_op_stream_cost(graph, node, rows, 8, flops, bytes);
}

static void act_cost(const mosa_graph *graph, const mosa_node *node, int64_t rows, double *flops, double *bytes) {
    mosa_op_stream_cost(graph, node, rows, 25, flops, bytes);
}

#define DERIVATIVE(symbol, text, operand_count, outputs, by_rows, state, infer_fn, cost_fn, ...)                       \
    const mosa_op_info symbol = {                                                                                      \
        .name = text,                                                                                                  \
        .n_in_min = operand_count,                                                                                     \
        .n_in_max = operand_count,                                                                                     \
        .n_out = outputs,                                                                                              \
        .operands = {__VA_ARGS__},                                                                                     \
        .stateful = state,                                                                                             \
        .rowwise = by_rows,                                                                                            \
        .infer = infer_fn,                                                                                             \
        .cost = cost_fn,                                                                                               \
    }

DERIVATIVE(mosa_op_linear_dx, "linear_dx", 2, 1, false, false, linear_dx_infer, linear_dx_cost, "dy", "w");
DERIVATIVE(mosa_op_linear_dw, "linear_dw", 3, 1, false, true, linear_dw_infer, linear_dw_cost, "dy", "x", "grads");
DERIVATIVE(mosa_op_rows_sum, "rows_sum", 2, 1, false, true, rows_sum_infer, add_cost, "dy", "grads");
DERIVATIVE(mosa_op_embed_dw, "embed_dw", 3, 1, false, true, embed_dw_infer, add_cost, "dy", "ids", "grads");
DERIVATIVE(mosa_op_scatter_rows, "scatter_rows", 2, 1, false, false, scatter_infer, row_cost, "dy", "index");
DERIVATIVE(mosa_op_rms_norm_dx, "rms_norm_dx", 3, 1, true, false, norm_dx_infer, row_cost, "dy", "x", "w");
DERIVATIVE(mosa_op_rms_norm_dw, "rms_norm_dw", 3, 1, false, true, norm_dw_infer, add_cost, "dy", "x", "grads");
DERIVATIVE(mosa_op_layer_norm_dx, "layer_norm_dx", 3, 1, true, false, norm_dx_infer, row_cost, "dy", "x", "w");
DERIVATIVE(mosa_op_layer_norm_dw, "layer_norm_dw", 3, 1, false, true, norm_dw_infer, add_cost, "dy", "x", "grads");
DERIVATIVE(mosa_op_l2_norm_dx, "l2_norm_dx", 2, 1, true, false, norm_dx_infer, row_cost, "dy", "x");
DERIVATIVE(mosa_op_act_dx, "act_dx", 2, 1, true, false, same_infer, act_cost, "dy", "x");
DERIVATIVE(mosa_op_gated_act_dx, "gated_act_dx", 3, 2, true, false, same_infer, act_cost, "dy", "gate", "up");
DERIVATIVE(mosa_op_unslice, "unslice", 1, 1, true, false, unslice_infer, row_cost, "dy");
DERIVATIVE(mosa_op_rope_dx, "rope_dx", 2, 1, true, false, rope_dx_infer, row_cost, "dy", "table");
