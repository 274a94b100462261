// LINEAR_CE: logits, their loss and its derivative, chunk by chunk of rows.
#include "graph/ops/ops.h"

#include <math.h>

static mosa_status check_attrs(const mosa_graph *graph, const mosa_node *node, mosa_error *err) {
    const mosa_attrs *attrs = &node->attrs;
    if (!isfinite(attrs->linear_ce.scale) || !(attrs->linear_ce.softcap >= 0) || attrs->linear_ce.chunk <= 0)
        return mosa_op_fail(graph, node, 0, err, "has a bad scale, softcap or chunk");
    const mosa_shape *w = &mosa_op_operand(graph, node, 1)->shape;
    if (node->attrs2.grad.slot >= 0 && node->attrs2.grad.elements != w->dim[0] * w->dim[1])
        return mosa_op_fail(graph, node, 1, err, "has no gradient of %lld elements",
                            (long long)node->attrs2.grad.elements);
    return MOSA_OK;
}

static mosa_status check_packed(const mosa_graph *graph, const mosa_node *node, mosa_error *err) {
    const mosa_value_info *packed = mosa_op_operand(graph, node, 5);
    bool made = packed->kind == MOSA_VALUE_COMPUTED && graph->nodes[packed->producer].op == MOSA_OP_QUANTIZE_ROWS;
    if (!made || graph->nodes[packed->producer].in[0] != node->in[0])
        return mosa_op_fail(graph, node, 5, err, "must be quantize_rows of h");
    return MOSA_OK;
}

static mosa_status infer(const mosa_graph *graph, const mosa_node *node, mosa_value_info *outs, mosa_error *err) {
    MOSA_TRY(mosa_op_want_rows(graph, node, 0, err));
    const mosa_value_info *w = mosa_op_operand(graph, node, 1);
    if (w->kind != MOSA_VALUE_WEIGHT || w->shape.ndim != 2 || !mosa_dtype_traits_of(w->dtype)->to_f32)
        return mosa_op_fail(graph, node, 1, err, "must be a weight [V,D] of a type that decodes to f32");
    if (w->shape.dim[1] != mosa_op_columns(graph, node, 0))
        return mosa_op_fail_against(graph, node, 1, 0, err, "input widths must be equal");
    MOSA_TRY(mosa_op_want_index(graph, node, 2, err));
    MOSA_TRY(mosa_op_want_same_rows(graph, node, 2, 0, err));
    MOSA_TRY(mosa_op_want_rows(graph, node, 3, err));
    MOSA_TRY(mosa_op_want_same_rows(graph, node, 3, 0, err));
    if (mosa_op_columns(graph, node, 3) != 1) return mosa_op_fail(graph, node, 3, err, "must be one number per row");
    const mosa_value_info *grads = mosa_op_operand(graph, node, 4);
    if (grads->kind != MOSA_VALUE_STATE) return mosa_op_fail(graph, node, 4, err, "must be a state");
    MOSA_TRY(check_attrs(graph, node, err));
    if (node->n_in > 5) MOSA_TRY(check_packed(graph, node, err));
    int64_t rows = mosa_op_operand(graph, node, 0)->shape.dim[0];
    outs[0].dtype = outs[1].dtype = outs[2].dtype = MOSA_F32;
    outs[0].shape = MOSA_SHAPE2(rows, 4);
    outs[1].shape = MOSA_SHAPE2(rows, w->shape.dim[1]);
    outs[2].shape = MOSA_SHAPE2(node->attrs.linear_ce.chunk, w->shape.dim[0]);
    outs[3].kind = MOSA_VALUE_STATE;
    outs[3].dtype = grads->dtype;
    outs[3].shape = grads->shape;
    outs[3].slot = grads->slot;
    return MOSA_OK;
}

static void cost(const mosa_graph *graph, const mosa_node *node, int64_t rows, double *flops, double *bytes) {
    const mosa_shape *w = &mosa_op_operand(graph, node, 1)->shape;
    mosa_op_stream_cost(graph, node, rows, 0, flops, bytes);
    bool adds = node->attrs2.grad.slot >= 0;
    *flops = (adds ? 6 : 4) * (double)rows * (double)w->dim[0] * (double)w->dim[1];
    if (adds) *bytes += 8 * (double)w->dim[0] * (double)w->dim[1];
}

const mosa_op_info mosa_op_linear_ce = {
    .name = "linear_ce",
    .n_in_min = 5,
    .n_in_max = 6,
    .n_out = 4,
    .operands = {"h", "w", "labels", "coef", "grads", "packed h"},
    .stateful = true,
    .infer = infer,
    .cost = cost,
    .vjp = mosa_vjp_linear_ce,
};
