// The norms. A group is the whole row, or with attrs.norm.group each run of that many columns (one head).
#include "graph/ops/ops.h"

// The width that a norm works over; -1 when attrs.norm.group does not divide the row.
static int64_t group_width(const mosa_graph *graph, const mosa_node *node, int operand) {
    int64_t columns = mosa_op_columns(graph, node, operand), group = node->attrs.norm.group;
    if (group == 0) return columns;
    return group > 0 && columns % group == 0 ? group : -1;
}

static mosa_status norm_infer(const mosa_graph *graph, const mosa_node *node, mosa_value_info *outs, mosa_error *err) {
    MOSA_TRY(mosa_op_want_rows(graph, node, 0, err));
    int64_t group = group_width(graph, node, 0);
    if (group < 0)
        return mosa_op_fail(graph, node, 0, err, "is not made of groups of %lld columns",
                            (long long)node->attrs.norm.group);
    if (!(node->attrs.norm.eps >= 0)) return mosa_op_fail(graph, node, 0, err, "has a negative eps");
    for (int i = 1; i < node->n_in; i++) MOSA_TRY(mosa_op_want_vector(graph, node, i, group, err));
    outs[0].dtype = MOSA_F32;
    outs[0].shape = mosa_op_operand(graph, node, 0)->shape;
    return MOSA_OK;
}

static mosa_status add_norm_infer(const mosa_graph *graph, const mosa_node *node, mosa_value_info *outs,
                                  mosa_error *err) {
    MOSA_TRY(mosa_op_want_rows(graph, node, 0, err));
    MOSA_TRY(mosa_op_want_same(graph, node, 1, 0, err));
    if (node->attrs.norm.group != 0 || !(node->attrs.norm.eps >= 0))
        return mosa_op_fail(graph, node, 0, err, "must be normed as a whole row with eps >= 0");
    MOSA_TRY(mosa_op_want_vector(graph, node, 2, mosa_op_columns(graph, node, 0), err));
    for (int i = 0; i < 2; i++) {
        outs[i].dtype = MOSA_F32;
        outs[i].shape = mosa_op_operand(graph, node, 0)->shape;
    }
    return MOSA_OK;
}

static mosa_status add_norm_decompose(mosa_graph *to, const mosa_node *node, const mosa_value *in, mosa_value *out) {
    out[0] = mosa_g_add(to, in[0], in[1]);
    out[1] = mosa_graph_apply(to, MOSA_OP_RMS_NORM, (mosa_value[]){out[0], in[2]}, 2, &node->attrs);
    return mosa_graph_status(to, NULL);
}

static void norm_cost(const mosa_graph *graph, const mosa_node *node, int64_t rows, double *flops, double *bytes) {
    mosa_op_stream_cost(graph, node, rows, 4, flops, bytes);
}

const mosa_op_info mosa_op_rms_norm = {
    .name = "rms_norm",
    .n_in_min = 2,
    .n_in_max = 2,
    .n_out = 1,
    .operands = {"x", "w"},
    .rowwise = true,
    .infer = norm_infer,
    .cost = norm_cost,
    .vjp = mosa_vjp_rms_norm,
};

const mosa_op_info mosa_op_layer_norm = {
    .name = "layer_norm",
    .n_in_min = 2,
    .n_in_max = 3,
    .n_out = 1,
    .operands = {"x", "w", "bias"},
    .rowwise = true,
    .infer = norm_infer,
    .cost = norm_cost,
    .vjp = mosa_vjp_layer_norm,
};

const mosa_op_info mosa_op_l2_norm = {
    .name = "l2_norm",
    .n_in_min = 1,
    .n_in_max = 1,
    .n_out = 1,
    .operands = {"x"},
    .rowwise = true,
    .infer = norm_infer,
    .cost = norm_cost,
    .vjp = mosa_vjp_l2_norm,
};

const mosa_op_info mosa_op_add_rms_norm = {
    .name = "add_rms_norm",
    .n_in_min = 3,
    .n_in_max = 3,
    .n_out = 2,
    .operands = {"a", "b", "w"},
    .rowwise = true,
    .infer = add_norm_infer,
    .decompose = add_norm_decompose,
    .cost = norm_cost,
    .vjp = mosa_vjp_add_rms_norm,
};
