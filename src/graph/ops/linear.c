// LINEAR and the lowering of its input, QUANTIZE_ROWS.
#include "graph/ops/ops.h"

int64_t mosa_op_packed_width(const mosa_graph *graph, const mosa_node *node) {
    const mosa_value_info *x = mosa_op_operand(graph, node, 0);
    if (x->dtype == MOSA_F32) return mosa_op_columns(graph, node, 0);
    if (x->kind != MOSA_VALUE_COMPUTED || graph->nodes[x->producer].op != MOSA_OP_QUANTIZE_ROWS) return -1;
    return mosa_op_columns(graph, &graph->nodes[x->producer], 0);
}

static mosa_status linear_infer(const mosa_graph *graph, const mosa_node *node, mosa_value_info *outs,
                                mosa_error *err) {
    const mosa_value_info *x = mosa_op_operand(graph, node, 0);
    const mosa_value_info *w = mosa_op_operand(graph, node, 1);
    if (x->dtype == MOSA_F32)
        MOSA_TRY(mosa_op_want_rows(graph, node, 0, err));
    else if (mosa_op_packed_width(graph, node) < 0)
        return mosa_op_fail(graph, node, 0, err, "must be f32 rows [T,K] or the result of quantize_rows");
    if (w->kind != MOSA_VALUE_WEIGHT || w->shape.ndim != 2)
        return mosa_op_fail(graph, node, 1, err, "must be a weight [N,K]");
    if (w->shape.dim[1] != mosa_op_packed_width(graph, node))
        return mosa_op_fail_against(graph, node, 1, 0, err, "input widths must be equal");
    if (node->n_in == 3) MOSA_TRY(mosa_op_want_vector(graph, node, 2, w->shape.dim[0], err));
    outs[0].dtype = MOSA_F32;
    outs[0].shape = MOSA_SHAPE2(x->shape.dim[0], w->shape.dim[0]);
    return MOSA_OK;
}

static void linear_cost(const mosa_graph *graph, const mosa_node *node, int64_t rows, double *flops, double *bytes) {
    mosa_op_stream_cost(graph, node, rows, 2 * (double)mosa_op_columns(graph, node, 1), flops, bytes);
}

static mosa_status quantize_infer(const mosa_graph *graph, const mosa_node *node, mosa_value_info *outs,
                                  mosa_error *err) {
    MOSA_TRY(mosa_op_want_rows(graph, node, 0, err));
    if (node->attrs.quantize.row_bytes <= 0 || node->attrs.quantize.layout < 0)
        return mosa_op_fail(graph, node, 0, err, "has no packed layout");
    outs[0].dtype = MOSA_U8;
    outs[0].shape = MOSA_SHAPE2(mosa_op_operand(graph, node, 0)->shape.dim[0], node->attrs.quantize.row_bytes);
    return MOSA_OK;
}

static void quantize_cost(const mosa_graph *graph, const mosa_node *node, int64_t rows, double *flops, double *bytes) {
    mosa_op_stream_cost(graph, node, rows, 3, flops, bytes);
}

const mosa_op_info mosa_op_linear = {
    .name = "linear",
    .n_in_min = 2,
    .n_in_max = 3,
    .n_out = 1,
    .operands = {"x", "w", "bias"},
    .infer = linear_infer,
    .cost = linear_cost,
    .vjp = mosa_vjp_linear,
};

const mosa_op_info mosa_op_quantize_rows = {
    .name = "quantize_rows",
    .n_in_min = 1,
    .n_in_max = 1,
    .n_out = 1,
    .operands = {"x"},
    .rowwise = true,
    .infer = quantize_infer,
    .cost = quantize_cost,
};
