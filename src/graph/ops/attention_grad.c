// Derivatives of ATTENTION over packed segments.
#include "graph/ops/ops.h"

// Operands: dy, then those of the forward node. Returns the number of the first after the values.
static mosa_status check(const mosa_graph *graph, const mosa_node *node, int *next, mosa_error *err) {
    const mosa_attrs *a = &node->attrs;
    int64_t heads = a->attention.heads, kv_heads = a->attention.kv_heads, width = a->attention.head_width;
    int64_t value = mosa_attention_value_width(a);
    bool in_key = a->attention.value_in_key;
    *next = in_key ? 3 : 4;
    for (int i = 0; i < *next; i++) {
        if (i >= node->n_in) return mosa_op_fail(graph, node, node->n_in - 1, err, "is the last but one");
        MOSA_TRY(mosa_op_want_rows(graph, node, i, err));
    }
    if (heads <= 0 || kv_heads <= 0 || heads % kv_heads || width <= 0 || width > MOSA_HEAD_WIDTH_MAX || value <= 0 ||
        value > MOSA_HEAD_WIDTH_MAX || (in_key && value > width))
        return mosa_op_fail(graph, node, 1, err, "has impossible heads");
    const int64_t want[] = {heads * value, heads * width, kv_heads * width, kv_heads * value};
    for (int i = 0; i < *next; i++)
        if (mosa_op_columns(graph, node, i) != want[i] || mosa_op_operand(graph, node, i)->shape.dim[0] != MOSA_ROWS)
            return mosa_op_fail(graph, node, i, err, "must be the batch's rows of %lld columns", (long long)want[i]);
    return MOSA_OK;
}

static mosa_status dx_infer(const mosa_graph *graph, const mosa_node *node, mosa_value_info *outs, mosa_error *err) {
    int next;
    MOSA_TRY(check(graph, node, &next, err));
    if (node->n_in > next) MOSA_TRY(mosa_op_want_vector(graph, node, next, node->attrs.attention.heads, err));
    if (node->n_in > next + 1) return mosa_op_fail(graph, node, node->n_in - 1, err, "is too many");
    for (int i = 0; i < 3; i++) outs[i].dtype = MOSA_F32;
    outs[0].shape = mosa_op_operand(graph, node, 1)->shape;
    outs[1].shape = mosa_op_operand(graph, node, 2)->shape;
    outs[2].shape = next == 4 ? mosa_op_operand(graph, node, 3)->shape : MOSA_SHAPE2(MOSA_ROWS, 1);
    return MOSA_OK;
}

static mosa_status dsinks_infer(const mosa_graph *graph, const mosa_node *node, mosa_value_info *outs,
                                mosa_error *err) {
    int next;
    MOSA_TRY(check(graph, node, &next, err));
    if (node->n_in != next + 2) return mosa_op_fail(graph, node, node->n_in - 1, err, "is not the state behind sinks");
    MOSA_TRY(mosa_op_want_vector(graph, node, next, node->attrs.attention.heads, err));
    return mosa_op_want_grads(graph, node, node->attrs.attention.heads, &outs[0], err);
}

static void cost(const mosa_graph *graph, const mosa_node *node, int64_t rows, double *flops, double *bytes) {
    mosa_op_stream_cost(graph, node, rows, 0, flops, bytes);
    *flops = 5 * (double)rows * (double)rows * (double)mosa_op_columns(graph, node, 1);
}

const mosa_op_info mosa_op_attention_dx = {
    .name = "attention_dx",
    .n_in_min = 3,
    .n_in_max = 5,
    .n_out = 3,
    .operands = {"dy", "q", "k", "v or sinks", "sinks"},
    .infer = dx_infer,
    .cost = cost,
};

const mosa_op_info mosa_op_attention_dsinks = {
    .name = "attention_dsinks",
    .n_in_min = 5,
    .n_in_max = 6,
    .n_out = 1,
    .operands = {"dy", "q", "k", "v or sinks", "sinks or grads", "grads"},
    .stateful = true,
    .infer = dsinks_infer,
    .cost = cost,
};
