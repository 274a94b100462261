// Mixture of experts: MOE_ROUTE chooses, EXPERT_LINEAR multiplies with the matrices chosen, MOE_COMBINE adds up. Also
// JOIN, which MLA needs beside EXPERT_LINEAR's per-head matrices.
#include "graph/ops/ops.h"

static mosa_status check_groups(const mosa_graph *graph, const mosa_node *node, int64_t experts, mosa_error *err) {
    int groups = node->attrs.moe_route.groups, top = node->attrs.moe_route.top_groups;
    if (groups == 0) return MOSA_OK;
    if (groups < 0 || experts % groups != 0 || top < 1 || top > groups ||
        node->attrs.moe_route.top_k > experts / groups * top)
        return mosa_op_fail(graph, node, 0, err, "cannot be divided into %d groups of which %d are taken", groups, top);
    int best = node->attrs.moe_route.group_best;
    if (best < 1 || best > 2 || best > experts / groups)
        return mosa_op_fail(graph, node, 0, err, "cannot value a group by its best %d", best);
    return MOSA_OK;
}

static mosa_status route_infer(const mosa_graph *graph, const mosa_node *node, mosa_value_info *outs, mosa_error *err) {
    MOSA_TRY(mosa_op_want_rows(graph, node, 0, err));
    int64_t experts = mosa_op_columns(graph, node, 0);
    int top_k = node->attrs.moe_route.top_k;
    if (experts > MOSA_EXPERTS_MAX)
        return mosa_op_fail(graph, node, 0, err, "has more than %d experts", MOSA_EXPERTS_MAX);
    if (top_k < 1 || top_k > experts) return mosa_op_fail(graph, node, 0, err, "has no %d experts to choose", top_k);
    if ((int)node->attrs.moe_route.scoring < 0 || node->attrs.moe_route.scoring > MOSA_SCORE_SOFTMAX_CHOSEN)
        return mosa_op_fail(graph, node, 0, err, "has unknown scoring %d", (int)node->attrs.moe_route.scoring);
    MOSA_TRY(check_groups(graph, node, experts, err));
    if (node->n_in == 2) MOSA_TRY(mosa_op_want_vector(graph, node, 1, experts, err));
    int64_t rows = mosa_op_operand(graph, node, 0)->shape.dim[0];
    outs[0].dtype = MOSA_I32;
    outs[1].dtype = MOSA_F32;
    outs[0].shape = outs[1].shape = MOSA_SHAPE2(rows, top_k);
    return MOSA_OK;
}

// Scores cost an exponential each, and every choice looks at all of them.
static void route_cost(const mosa_graph *graph, const mosa_node *node, int64_t rows, double *flops, double *bytes) {
    mosa_op_stream_cost(graph, node, rows, 0, flops, bytes);
    double experts = (double)mosa_op_columns(graph, node, 0);
    *flops = (double)rows * experts * (20 + node->attrs.moe_route.top_k);
}

// The number of experts that an index operand can name: those of the MOE_ROUTE that made it. -1 when nothing vouches
// for the index.
static int64_t index_bound(const mosa_graph *graph, const mosa_node *node, int operand) {
    const mosa_value_info *index = mosa_op_operand(graph, node, operand);
    if (index->kind != MOSA_VALUE_COMPUTED || index->slot != 0) return -1;
    const mosa_node *route = &graph->nodes[index->producer];
    return route->op == MOSA_OP_MOE_ROUTE ? mosa_op_columns(graph, route, 0) : -1;
}

mosa_status mosa_op_check_expert_index(const mosa_graph *graph, const mosa_node *node, int operand, int64_t experts,
                                       mosa_error *err) {
    if (index_bound(graph, node, operand) != experts)
        return mosa_op_fail(graph, node, operand, err, "must be the index of a moe_route over %lld experts",
                            (long long)experts);
    return mosa_op_want_same_rows(graph, node, operand, 0, err);
}

static mosa_status check_bias(const mosa_graph *graph, const mosa_node *node, const mosa_shape *w, mosa_error *err) {
    const mosa_value_info *bias = mosa_op_operand(graph, node, 3);
    if (bias->kind != MOSA_VALUE_WEIGHT || bias->shape.ndim != 2 || bias->shape.dim[0] != w->dim[0] ||
        bias->shape.dim[1] != w->dim[1])
        return mosa_op_fail_against(graph, node, 3, 1, err, "must be a weight [E,N]");
    return MOSA_OK;
}

static mosa_status expert_infer(const mosa_graph *graph, const mosa_node *node, mosa_value_info *outs,
                                mosa_error *err) {
    const mosa_value_info *x = mosa_op_operand(graph, node, 0), *w = mosa_op_operand(graph, node, 1);
    int64_t width = mosa_op_packed_width(graph, node);
    if (x->dtype == MOSA_F32)
        MOSA_TRY(mosa_op_want_rows(graph, node, 0, err));
    else if (width < 0)
        return mosa_op_fail(graph, node, 0, err, "must be f32 rows [T,K] or the result of quantize_rows");
    if (w->kind != MOSA_VALUE_WEIGHT || w->shape.ndim != 3)
        return mosa_op_fail(graph, node, 1, err, "must be a weight [E,N,K]");
    if (w->shape.dim[0] > MOSA_EXPERTS_MAX)
        return mosa_op_fail(graph, node, 1, err, "has more than %d matrices", MOSA_EXPERTS_MAX);
    if (node->n_in > 2) MOSA_TRY(mosa_op_check_expert_index(graph, node, 2, w->shape.dim[0], err));
    if (node->n_in > 3) MOSA_TRY(check_bias(graph, node, &w->shape, err));
    int64_t slots = node->n_in > 2 ? mosa_op_columns(graph, node, 2) : w->shape.dim[0];
    if (width != w->shape.dim[2] && width != slots * w->shape.dim[2])
        return mosa_op_fail_against(graph, node, 0, 1, err, "its width must be K, or K for each slot");
    outs[0].dtype = MOSA_F32;
    outs[0].shape = MOSA_SHAPE2(x->shape.dim[0], slots * w->shape.dim[1]);
    return MOSA_OK;
}

// Of the matrices, at most rows * slots are read.
static void expert_cost(const mosa_graph *graph, const mosa_node *node, int64_t rows, double *flops, double *bytes) {
    const mosa_value_info *w = mosa_op_operand(graph, node, 1);
    mosa_op_stream_cost(graph, node, rows, 2 * (double)w->shape.dim[2], flops, bytes);
    if (node->n_in < 3) return;
    double experts = (double)w->shape.dim[0], read = (double)(rows * mosa_op_columns(graph, node, 2));
    double all = (double)mosa_shape_row_elements(&w->shape) * mosa_dtype_bits(w->dtype) / 8;
    if (read < experts) *bytes -= all * (1 - read / experts);
}

static mosa_status combine_infer(const mosa_graph *graph, const mosa_node *node, mosa_value_info *outs,
                                 mosa_error *err) {
    MOSA_TRY(mosa_op_want_rows(graph, node, 0, err));
    MOSA_TRY(mosa_op_want_rows(graph, node, 1, err));
    MOSA_TRY(mosa_op_want_same_rows(graph, node, 1, 0, err));
    int64_t columns = mosa_op_columns(graph, node, 0), slots = mosa_op_columns(graph, node, 1);
    if (columns % slots != 0) return mosa_op_fail_against(graph, node, 0, 1, err, "its width must be D for each slot");
    outs[0].dtype = MOSA_F32;
    outs[0].shape = MOSA_SHAPE2(mosa_op_operand(graph, node, 0)->shape.dim[0], columns / slots);
    return MOSA_OK;
}

static void combine_cost(const mosa_graph *graph, const mosa_node *node, int64_t rows, double *flops, double *bytes) {
    mosa_op_stream_cost(graph, node, rows, 2 * (double)mosa_op_columns(graph, node, 1), flops, bytes);
}

static mosa_status join_infer(const mosa_graph *graph, const mosa_node *node, mosa_value_info *outs, mosa_error *err) {
    MOSA_TRY(mosa_op_want_rows(graph, node, 0, err));
    MOSA_TRY(mosa_op_want_rows(graph, node, 1, err));
    MOSA_TRY(mosa_op_want_same_rows(graph, node, 1, 0, err));
    int64_t a = mosa_op_columns(graph, node, 0), b = mosa_op_columns(graph, node, 1), groups = node->attrs.join.groups;
    if (groups < 1 || a % groups != 0 || b % groups != 0)
        return mosa_op_fail_against(graph, node, 1, 0, err, "both must consist of as many groups");
    outs[0].dtype = MOSA_F32;
    outs[0].shape = MOSA_SHAPE2(mosa_op_operand(graph, node, 0)->shape.dim[0], a + b);
    return MOSA_OK;
}

static void join_cost(const mosa_graph *graph, const mosa_node *node, int64_t rows, double *flops, double *bytes) {
    mosa_op_stream_cost(graph, node, rows, 0, flops, bytes);
}

const mosa_op_info mosa_op_moe_route = {
    .name = "moe_route",
    .n_in_min = 1,
    .n_in_max = 2,
    .n_out = 2,
    .operands = {"logits", "bias"},
    .rowwise = true,
    .infer = route_infer,
    .cost = route_cost,
    .vjp = mosa_vjp_moe_route,
};

const mosa_op_info mosa_op_expert_linear = {
    .name = "expert_linear",
    .n_in_min = 2,
    .n_in_max = 4,
    .n_out = 1,
    .operands = {"x", "w", "index", "bias"},
    .infer = expert_infer,
    .cost = expert_cost,
    .vjp = mosa_vjp_expert_linear,
};

const mosa_op_info mosa_op_moe_combine = {
    .name = "moe_combine",
    .n_in_min = 2,
    .n_in_max = 2,
    .n_out = 1,
    .operands = {"x", "weight"},
    .rowwise = true,
    .infer = combine_infer,
    .cost = combine_cost,
    .vjp = mosa_vjp_moe_combine,
};

const mosa_op_info mosa_op_join = {
    .name = "join",
    .n_in_min = 2,
    .n_in_max = 2,
    .n_out = 1,
    .operands = {"a", "b"},
    .rowwise = true,
    .infer = join_infer,
    .cost = join_cost,
    .vjp = mosa_vjp_join,
};
