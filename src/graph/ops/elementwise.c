// Elementwise ops and SLICE, which takes a range of columns.
#include "graph/ops/ops.h"

static mosa_status unary_infer(const mosa_graph *graph, const mosa_node *node, mosa_value_info *outs, mosa_error *err) {
    MOSA_TRY(mosa_op_want_rows(graph, node, 0, err));
    outs[0].dtype = MOSA_F32;
    outs[0].shape = mosa_op_operand(graph, node, 0)->shape;
    return MOSA_OK;
}

static mosa_status binary_infer(const mosa_graph *graph, const mosa_node *node, mosa_value_info *outs,
                                mosa_error *err) {
    MOSA_TRY(unary_infer(graph, node, outs, err));
    return mosa_op_want_same(graph, node, 1, 0, err);
}

static mosa_status check_act(const mosa_graph *graph, const mosa_node *node, mosa_act last, mosa_error *err) {
    if ((int)node->attrs.act.kind < 0 || node->attrs.act.kind > last)
        return mosa_op_fail(graph, node, 0, err, "has unknown activation %d", (int)node->attrs.act.kind);
    return MOSA_OK;
}

static mosa_status act_infer(const mosa_graph *graph, const mosa_node *node, mosa_value_info *outs, mosa_error *err) {
    MOSA_TRY(unary_infer(graph, node, outs, err));
    return check_act(graph, node, MOSA_ACT_TANH, err);
}

static mosa_status gated_infer(const mosa_graph *graph, const mosa_node *node, mosa_value_info *outs, mosa_error *err) {
    MOSA_TRY(binary_infer(graph, node, outs, err));
    MOSA_TRY(check_act(graph, node, MOSA_ACT_CLAMPED_SWIGLU, err));
    if (node->attrs.act.kind == MOSA_ACT_CLAMPED_SWIGLU && !(node->attrs.act.limit > 0))
        return mosa_op_fail(graph, node, 0, err, "cannot be clamped at %g", (double)node->attrs.act.limit);
    return MOSA_OK;
}

// A clamped swiglu is no product of an activation and a factor: it stays whole.
static mosa_status gated_decompose(mosa_graph *to, const mosa_node *node, const mosa_value *in, mosa_value *out) {
    if (node->attrs.act.kind == MOSA_ACT_CLAMPED_SWIGLU)
        out[0] = mosa_g_clamped_swiglu(to, in[0], in[1], node->attrs.act.limit);
    else
        out[0] = mosa_g_mul(to, mosa_g_act(to, in[0], node->attrs.act.kind), in[1]);
    return mosa_graph_status(to, NULL);
}

static mosa_status slice_infer(const mosa_graph *graph, const mosa_node *node, mosa_value_info *outs, mosa_error *err) {
    MOSA_TRY(mosa_op_want_rows(graph, node, 0, err));
    int64_t begin = node->attrs.slice.begin, count = node->attrs.slice.count;
    int64_t width = mosa_op_columns(graph, node, 0), group = node->attrs.slice.group;
    if (group < 0 || (group > 0 && width % group != 0))
        return mosa_op_fail(graph, node, 0, err, "does not consist of groups of %lld columns", (long long)group);
    int64_t columns = group ? group : width;
    if (begin < 0 || count <= 0 || begin > columns || count > columns - begin)
        return mosa_op_fail(graph, node, 0, err, "has no columns [%lld, %lld + %lld)", (long long)begin,
                            (long long)begin, (long long)count);
    outs[0].dtype = MOSA_F32;
    outs[0].shape = MOSA_SHAPE2(mosa_op_operand(graph, node, 0)->shape.dim[0], width / columns * count);
    return MOSA_OK;
}

static void slice_cost(const mosa_graph *graph, const mosa_node *node, int64_t rows, double *flops, double *bytes) {
    mosa_op_stream_cost(graph, node, rows, 0, flops, bytes);
    double columns = (double)mosa_op_columns(graph, node, 0);
    double taken = (double)graph->values[node->out[0]].shape.dim[1];
    *bytes -= (columns - taken) * 4 * (double)rows;
}

static mosa_status round_infer(const mosa_graph *graph, const mosa_node *node, mosa_value_info *outs, mosa_error *err) {
    MOSA_TRY(unary_infer(graph, node, outs, err));
    if (node->attrs.round.dtype != MOSA_F16 && node->attrs.round.dtype != MOSA_BF16)
        return mosa_op_fail(graph, node, 0, err, "cannot be rounded to %s", mosa_dtype_name(node->attrs.round.dtype));
    return MOSA_OK;
}

static void simple_cost(const mosa_graph *graph, const mosa_node *node, int64_t rows, double *flops, double *bytes) {
    mosa_op_stream_cost(graph, node, rows, 1, flops, bytes);
}

// An exponential and a division count as about 20 operations.
static void act_cost(const mosa_graph *graph, const mosa_node *node, int64_t rows, double *flops, double *bytes) {
    mosa_op_stream_cost(graph, node, rows, 20, flops, bytes);
}

#define ELEMENTWISE(symbol, text, operand_count, infer_fn, decompose_fn, cost_fn, vjp_fn, ...)                         \
    const mosa_op_info symbol = {                                                                                      \
        .name = text,                                                                                                  \
        .n_in_min = operand_count,                                                                                     \
        .n_in_max = operand_count,                                                                                     \
        .n_out = 1,                                                                                                    \
        .operands = {__VA_ARGS__},                                                                                     \
        .rowwise = true,                                                                                               \
        .infer = infer_fn,                                                                                             \
        .decompose = decompose_fn,                                                                                     \
        .cost = cost_fn,                                                                                               \
        .vjp = vjp_fn,                                                                                                 \
    }

ELEMENTWISE(mosa_op_add, "add", 2, binary_infer, NULL, simple_cost, mosa_vjp_add, "a", "b");
ELEMENTWISE(mosa_op_mul, "mul", 2, binary_infer, NULL, simple_cost, mosa_vjp_mul, "a", "b");
ELEMENTWISE(mosa_op_scale, "scale", 1, unary_infer, NULL, simple_cost, mosa_vjp_scale, "x");
ELEMENTWISE(mosa_op_act, "act", 1, act_infer, NULL, act_cost, mosa_vjp_act, "x");
ELEMENTWISE(mosa_op_round, "round", 1, round_infer, NULL, simple_cost, mosa_vjp_add, "x");
ELEMENTWISE(mosa_op_slice, "slice", 1, slice_infer, NULL, slice_cost, mosa_vjp_slice, "x");
ELEMENTWISE(mosa_op_gated_act, "gated_act", 2, gated_infer, gated_decompose, act_cost, mosa_vjp_gated_act, "gate",
            "up");
