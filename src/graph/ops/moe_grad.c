// Derivatives of the ops of a mixture of experts.
#include "graph/ops/ops.h"

static mosa_status route_dx_infer(const mosa_graph *graph, const mosa_node *node, mosa_value_info *outs,
                                  mosa_error *err) {
    MOSA_TRY(mosa_op_want_rows(graph, node, 0, err));
    MOSA_TRY(mosa_op_want_rows(graph, node, 1, err));
    MOSA_TRY(mosa_op_want_same_rows(graph, node, 1, 0, err));
    int64_t experts = mosa_op_columns(graph, node, 1);
    if (experts > MOSA_EXPERTS_MAX)
        return mosa_op_fail(graph, node, 1, err, "has more than %d experts", MOSA_EXPERTS_MAX);
    MOSA_TRY(mosa_op_check_expert_index(graph, node, 2, experts, err));
    if (mosa_op_columns(graph, node, 0) != mosa_op_columns(graph, node, 2))
        return mosa_op_fail_against(graph, node, 0, 2, err, "slots must be equal");
    outs[0].dtype = MOSA_F32;
    outs[0].shape = mosa_op_operand(graph, node, 1)->shape;
    return MOSA_OK;
}

// Slots of a row: those of the index operand, or one per matrix.
static mosa_status want_slots(const mosa_graph *graph, const mosa_node *node, int index, int64_t experts,
                              int64_t *slots, mosa_error *err) {
    *slots = experts;
    if (index < 0) return MOSA_OK;
    MOSA_TRY(mosa_op_check_expert_index(graph, node, index, experts, err));
    *slots = mosa_op_columns(graph, node, index);
    return MOSA_OK;
}

static mosa_status expert_dx_infer(const mosa_graph *graph, const mosa_node *node, mosa_value_info *outs,
                                   mosa_error *err) {
    MOSA_TRY(mosa_op_want_rows(graph, node, 0, err));
    const mosa_value_info *w = mosa_op_operand(graph, node, 1);
    if (w->kind != MOSA_VALUE_WEIGHT || w->shape.ndim != 3 || !mosa_dtype_traits_of(w->dtype)->to_f32)
        return mosa_op_fail(graph, node, 1, err, "must be a weight [E,N,K] of a type that decodes to f32");
    int64_t slots, columns = node->attrs.expert.columns, k = w->shape.dim[2];
    MOSA_TRY(want_slots(graph, node, node->n_in > 2 ? 2 : -1, w->shape.dim[0], &slots, err));
    if (mosa_op_columns(graph, node, 0) != slots * w->shape.dim[1])
        return mosa_op_fail_against(graph, node, 0, 1, err, "its width must be N for each slot");
    if (columns != k && columns != slots * k)
        return mosa_op_fail(graph, node, 1, err, "does not lead to %lld columns", (long long)columns);
    outs[0].dtype = MOSA_F32;
    outs[0].shape = MOSA_SHAPE2(mosa_op_operand(graph, node, 0)->shape.dim[0], columns);
    return MOSA_OK;
}

static mosa_status expert_dw_infer(const mosa_graph *graph, const mosa_node *node, mosa_value_info *outs,
                                   mosa_error *err) {
    for (int i = 0; i < 2; i++) MOSA_TRY(mosa_op_want_rows(graph, node, i, err));
    MOSA_TRY(mosa_op_want_same_rows(graph, node, 1, 0, err));
    int64_t slots, experts = node->attrs.expert.experts, k = node->attrs.expert.width;
    if (experts <= 0 || experts > MOSA_EXPERTS_MAX || k <= 0)
        return mosa_op_fail(graph, node, 1, err, "has no experts");
    MOSA_TRY(want_slots(graph, node, node->n_in > 3 ? 2 : -1, experts, &slots, err));
    int64_t columns = mosa_op_columns(graph, node, 1), out = mosa_op_columns(graph, node, 0);
    if (out % slots || (columns != k && columns != slots * k))
        return mosa_op_fail(graph, node, 1, err, "must be %lld columns, or as many for each slot", (long long)k);
    return mosa_op_want_grads(graph, node, experts * (out / slots) * k, &outs[0], err);
}

static mosa_status expert_sum_infer(const mosa_graph *graph, const mosa_node *node, mosa_value_info *outs,
                                    mosa_error *err) {
    MOSA_TRY(mosa_op_want_rows(graph, node, 0, err));
    int64_t slots, experts = node->attrs.expert.experts;
    MOSA_TRY(want_slots(graph, node, 1, experts, &slots, err));
    if (mosa_op_columns(graph, node, 0) % slots)
        return mosa_op_fail_against(graph, node, 0, 1, err, "its width must be N for each slot");
    return mosa_op_want_grads(graph, node, mosa_op_columns(graph, node, 0) / slots * experts, &outs[0], err);
}

static mosa_status combine_dx_infer(const mosa_graph *graph, const mosa_node *node, mosa_value_info *outs,
                                    mosa_error *err) {
    for (int i = 0; i < 3; i++) MOSA_TRY(mosa_op_want_rows(graph, node, i, err));
    for (int i = 1; i < 3; i++) MOSA_TRY(mosa_op_want_same_rows(graph, node, i, 0, err));
    if (mosa_op_columns(graph, node, 1) != mosa_op_columns(graph, node, 0) * mosa_op_columns(graph, node, 2))
        return mosa_op_fail_against(graph, node, 1, 0, err, "its width must be D for each slot");
    outs[0].dtype = outs[1].dtype = MOSA_F32;
    outs[0].shape = mosa_op_operand(graph, node, 1)->shape;
    outs[1].shape = mosa_op_operand(graph, node, 2)->shape;
    return MOSA_OK;
}

static void row_cost(const mosa_graph *graph, const mosa_node *node, int64_t rows, double *flops, double *bytes) {
    mosa_op_stream_cost(graph, node, rows, 4, flops, bytes);
}

static void expert_dx_cost(const mosa_graph *graph, const mosa_node *node, int64_t rows, double *flops, double *bytes) {
    mosa_op_stream_cost(graph, node, rows, 0, flops, bytes);
    *flops = 2 * (double)rows * (double)mosa_op_columns(graph, node, 0) *
             (double)mosa_op_operand(graph, node, 1)->shape.dim[2];
}

static void expert_dw_cost(const mosa_graph *graph, const mosa_node *node, int64_t rows, double *flops, double *bytes) {
    mosa_op_stream_cost(graph, node, rows, 0, flops, bytes);
    *flops = 2 * (double)rows * (double)mosa_op_columns(graph, node, 0) * (double)node->attrs.expert.width;
    *bytes += 8 * (double)node->attrs2.grad.elements;
}

const mosa_op_info mosa_op_moe_route_dx = {
    .name = "moe_route_dx",
    .n_in_min = 3,
    .n_in_max = 3,
    .n_out = 1,
    .operands = {"dweight", "logits", "index"},
    .rowwise = true,
    .infer = route_dx_infer,
    .cost = row_cost,
};

const mosa_op_info mosa_op_expert_linear_dx = {
    .name = "expert_linear_dx",
    .n_in_min = 2,
    .n_in_max = 3,
    .n_out = 1,
    .operands = {"dy", "w", "index"},
    .infer = expert_dx_infer,
    .cost = expert_dx_cost,
};

const mosa_op_info mosa_op_expert_linear_dw = {
    .name = "expert_linear_dw",
    .n_in_min = 3,
    .n_in_max = 4,
    .n_out = 1,
    .operands = {"dy", "x", "index or grads", "grads"},
    .stateful = true,
    .infer = expert_dw_infer,
    .cost = expert_dw_cost,
};

const mosa_op_info mosa_op_expert_rows_sum = {
    .name = "expert_rows_sum",
    .n_in_min = 3,
    .n_in_max = 3,
    .n_out = 1,
    .operands = {"dy", "index", "grads"},
    .stateful = true,
    .infer = expert_sum_infer,
    .cost = row_cost,
};

const mosa_op_info mosa_op_moe_combine_dx = {
    .name = "moe_combine_dx",
    .n_in_min = 3,
    .n_in_max = 3,
    .n_out = 2,
    .operands = {"dy", "x", "weight"},
    .rowwise = true,
    .infer = combine_dx_infer,
    .cost = row_cost,
};
