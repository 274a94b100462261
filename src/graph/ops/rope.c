// Rotary position embedding: the table of cosines and sines, and the rotation.
#include "graph/ops/ops.h"

static mosa_status table_infer(const mosa_graph *graph, const mosa_node *node, mosa_value_info *outs, mosa_error *err) {
    MOSA_TRY(mosa_op_want_index(graph, node, 0, err));
    int rot = node->attrs.rope_table.rot;
    if (rot <= 0 || rot % 2) return mosa_op_fail(graph, node, 1, err, "gives an odd rotary width %d", rot);
    MOSA_TRY(mosa_op_want_vector(graph, node, 1, rot / 2, err));
    outs[0].dtype = MOSA_F32;
    outs[0].shape = MOSA_SHAPE2(mosa_op_operand(graph, node, 0)->shape.dim[0], rot);
    return MOSA_OK;
}

mosa_status mosa_op_check_rope(const mosa_graph *graph, const mosa_node *node, const mosa_attrs *attrs, int operand,
                               int table, mosa_error *err) {
    MOSA_TRY(mosa_op_want_rows(graph, node, operand, err));
    MOSA_TRY(mosa_op_want_rows(graph, node, table, err));
    MOSA_TRY(mosa_op_want_same_rows(graph, node, operand, table, err));
    int width = attrs->rope.head_width, rot = attrs->rope.rot;
    if (width <= 0 || width > MOSA_HEAD_WIDTH_MAX || mosa_op_columns(graph, node, operand) % width)
        return mosa_op_fail(graph, node, operand, err, "is not made of heads of %d columns", width);
    if (rot <= 0 || rot % 2 || rot > width || mosa_op_columns(graph, node, table) != rot)
        return mosa_op_fail(graph, node, table, err, "cannot rotate %d columns of heads of %d", rot, width);
    if (attrs->rope.style != MOSA_ROPE_HALF && attrs->rope.style != MOSA_ROPE_INTERLEAVED)
        return mosa_op_fail(graph, node, operand, err, "has unknown rotary style %d", (int)attrs->rope.style);
    return MOSA_OK;
}

static mosa_status rope_infer(const mosa_graph *graph, const mosa_node *node, mosa_value_info *outs, mosa_error *err) {
    MOSA_TRY(mosa_op_check_rope(graph, node, &node->attrs, 0, 1, err));
    outs[0].dtype = MOSA_F32;
    outs[0].shape = mosa_op_operand(graph, node, 0)->shape;
    return MOSA_OK;
}

static void table_cost(const mosa_graph *graph, const mosa_node *node, int64_t rows, double *flops, double *bytes) {
    mosa_op_stream_cost(graph, node, rows, 30, flops, bytes);
}

static void rope_cost(const mosa_graph *graph, const mosa_node *node, int64_t rows, double *flops, double *bytes) {
    mosa_op_stream_cost(graph, node, rows, 3, flops, bytes);
}

const mosa_op_info mosa_op_rope_table = {
    .name = "rope_table",
    .n_in_min = 2,
    .n_in_max = 2,
    .n_out = 1,
    .operands = {"positions", "inv_freq"},
    .rowwise = true,
    .infer = table_infer,
    .cost = table_cost,
};

const mosa_op_info mosa_op_rope = {
    .name = "rope",
    .n_in_min = 2,
    .n_in_max = 2,
    .n_out = 1,
    .operands = {"x", "table"},
    .rowwise = true,
    .infer = rope_infer,
    .cost = rope_cost,
    .vjp = mosa_vjp_rope,
};
