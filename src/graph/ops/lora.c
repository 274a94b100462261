// LORA: what low-rank adapters add to the output of a LINEAR, row by row.
#include "graph/ops/ops.h"

static mosa_status infer(const mosa_graph *graph, const mosa_node *node, mosa_value_info *outs, mosa_error *err) {
    MOSA_TRY(mosa_op_want_rows(graph, node, 0, err));
    MOSA_TRY(mosa_op_want_rows(graph, node, 1, err));
    MOSA_TRY(mosa_op_want_same_rows(graph, node, 1, 0, err));
    const mosa_shape *y = &mosa_op_operand(graph, node, 0)->shape;
    // Segments speak of the rows of the batch.
    if (y->dim[0] != MOSA_ROWS) return mosa_op_fail(graph, node, 0, err, "must have the batch's rows");
    if (mosa_op_operand(graph, node, 2)->kind != MOSA_VALUE_STATE)
        return mosa_op_fail(graph, node, 2, err, "must be a state");
    if (node->attrs.lora.rank <= 0 || node->attrs.lora.target < 0)
        return mosa_op_fail(graph, node, 2, err, "has no target or no rank");
    outs[0].dtype = outs[1].dtype = MOSA_F32;
    outs[0].shape = *y;
    outs[1].shape = MOSA_SHAPE2(MOSA_ROWS, node->attrs.lora.rank);
    return MOSA_OK;
}

// As if every row had an adapter of the full rank; the matrices are not operands and are counted once.
static void cost(const mosa_graph *graph, const mosa_node *node, int64_t rows, double *flops, double *bytes) {
    double n = (double)mosa_op_columns(graph, node, 0), k = (double)mosa_op_columns(graph, node, 1);
    double rank = (double)node->attrs.lora.rank;
    mosa_op_stream_cost(graph, node, rows, 0, flops, bytes);
    *flops = 2 * (double)rows * rank * (n + k);
    *bytes += 4 * rank * (n + k);
}

const mosa_op_info mosa_op_lora = {
    .name = "lora",
    .n_in_min = 3,
    .n_in_max = 3,
    .n_out = 2,
    .operands = {"y", "x", "adapters"},
    .stateful = true,
    .infer = infer,
    .cost = cost,
};

static mosa_status add_infer(const mosa_graph *graph, const mosa_node *node, mosa_value_info *outs, mosa_error *err) {
    MOSA_TRY(mosa_op_want_rows(graph, node, 0, err));
    MOSA_TRY(mosa_op_want_rows(graph, node, 1, err));
    MOSA_TRY(mosa_op_want_same_rows(graph, node, 1, 0, err));
    const mosa_value_info *b = mosa_op_operand(graph, node, 2);
    if (b->kind != MOSA_VALUE_WEIGHT || b->shape.ndim != 2 || !mosa_dtype_traits_of(b->dtype)->to_f32)
        return mosa_op_fail(graph, node, 2, err, "must be a weight [N,rank] of a type that decodes to f32");
    if (b->shape.dim[0] != mosa_op_columns(graph, node, 0) || b->shape.dim[1] != mosa_op_columns(graph, node, 1))
        return mosa_op_fail_against(graph, node, 2, 0, err, "widths must be equal");
    outs[0].dtype = MOSA_F32;
    outs[0].shape = mosa_op_operand(graph, node, 0)->shape;
    return MOSA_OK;
}

static void add_cost(const mosa_graph *graph, const mosa_node *node, int64_t rows, double *flops, double *bytes) {
    mosa_op_stream_cost(graph, node, rows, 2 * (double)mosa_op_columns(graph, node, 1), flops, bytes);
}

const mosa_op_info mosa_op_lora_add = {
    .name = "lora_add",
    .n_in_min = 3,
    .n_in_max = 3,
    .n_out = 1,
    .operands = {"y", "u", "b"},
    .rowwise = true,
    .infer = add_infer,
    .cost = add_cost,
    .vjp = mosa_vjp_lora_add,
};
