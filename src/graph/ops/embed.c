// Row movement: EMBED reads rows of a weight, GATHER_ROWS rows of an activation.
#include "graph/ops/ops.h"

static mosa_status embed_infer(const mosa_graph *graph, const mosa_node *node, mosa_value_info *outs, mosa_error *err) {
    MOSA_TRY(mosa_op_want_index(graph, node, 0, err));
    const mosa_value_info *table = mosa_op_operand(graph, node, 1);
    if (table->kind != MOSA_VALUE_WEIGHT || table->shape.ndim != 2 || !mosa_dtype_traits_of(table->dtype)->to_f32)
        return mosa_op_fail(graph, node, 1, err, "must be a weight [V,D] of a type that decodes to f32");
    outs[0].dtype = MOSA_F32;
    outs[0].shape = MOSA_SHAPE2(mosa_op_operand(graph, node, 0)->shape.dim[0], table->shape.dim[1]);
    return MOSA_OK;
}

static void embed_cost(const mosa_graph *graph, const mosa_node *node, int64_t rows, double *flops, double *bytes) {
    double width = (double)mosa_op_columns(graph, node, 1);
    *flops = (double)rows * width;
    *bytes = (double)rows * width * (4 + mosa_dtype_bits(mosa_op_operand(graph, node, 1)->dtype) / 8);
}

static mosa_status gather_infer(const mosa_graph *graph, const mosa_node *node, mosa_value_info *outs,
                                mosa_error *err) {
    MOSA_TRY(mosa_op_want_rows(graph, node, 0, err));
    MOSA_TRY(mosa_op_want_index(graph, node, 1, err));
    outs[0].dtype = MOSA_F32;
    outs[0].shape = MOSA_SHAPE2(mosa_op_operand(graph, node, 1)->shape.dim[0], mosa_op_columns(graph, node, 0));
    return MOSA_OK;
}

static void gather_cost(const mosa_graph *graph, const mosa_node *node, int64_t rows, double *flops, double *bytes) {
    int64_t taken = mosa_op_operand(graph, node, 1)->shape.dim[0];
    *flops = 0;
    *bytes = (double)(taken == MOSA_ROWS ? rows : taken) * (double)mosa_op_columns(graph, node, 0) * 8;
}

const mosa_op_info mosa_op_embed = {
    .name = "embed",
    .n_in_min = 2,
    .n_in_max = 2,
    .n_out = 1,
    .operands = {"ids", "table"},
    .rowwise = true,
    .infer = embed_infer,
    .cost = embed_cost,
    .vjp = mosa_vjp_embed,
};

const mosa_op_info mosa_op_gather_rows = {
    .name = "gather_rows",
    .n_in_min = 2,
    .n_in_max = 2,
    .n_out = 1,
    .operands = {"x", "index"},
    .infer = gather_infer,
    .cost = gather_cost,
    .vjp = mosa_vjp_gather_rows,
};
