// The op table, and the checks and messages that its shape rules share.
#include "graph/op.h"

#include "graph/ops/ops.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

static const mosa_op_info *const op_table[MOSA_OP_COUNT] = {
    [MOSA_OP_EMBED] = &mosa_op_embed,
    [MOSA_OP_GATHER_ROWS] = &mosa_op_gather_rows,
    [MOSA_OP_LINEAR] = &mosa_op_linear,
    [MOSA_OP_LORA] = &mosa_op_lora,
    [MOSA_OP_LORA_ADD] = &mosa_op_lora_add,
    [MOSA_OP_RMS_NORM] = &mosa_op_rms_norm,
    [MOSA_OP_LAYER_NORM] = &mosa_op_layer_norm,
    [MOSA_OP_L2_NORM] = &mosa_op_l2_norm,
    [MOSA_OP_ADD] = &mosa_op_add,
    [MOSA_OP_MUL] = &mosa_op_mul,
    [MOSA_OP_SCALE] = &mosa_op_scale,
    [MOSA_OP_ACT] = &mosa_op_act,
    [MOSA_OP_ROUND] = &mosa_op_round,
    [MOSA_OP_SLICE] = &mosa_op_slice,
    [MOSA_OP_JOIN] = &mosa_op_join,
    [MOSA_OP_ROPE_TABLE] = &mosa_op_rope_table,
    [MOSA_OP_ROPE] = &mosa_op_rope,
    [MOSA_OP_KV_WRITE] = &mosa_op_kv_write,
    [MOSA_OP_ATTENTION] = &mosa_op_attention,
    [MOSA_OP_MOE_ROUTE] = &mosa_op_moe_route,
    [MOSA_OP_EXPERT_LINEAR] = &mosa_op_expert_linear,
    [MOSA_OP_MOE_COMBINE] = &mosa_op_moe_combine,
    [MOSA_OP_ADD_RMS_NORM] = &mosa_op_add_rms_norm,
    [MOSA_OP_GATED_ACT] = &mosa_op_gated_act,
    [MOSA_OP_ROPE_KV_WRITE] = &mosa_op_rope_kv_write,
    [MOSA_OP_QUANTIZE_ROWS] = &mosa_op_quantize_rows,
    [MOSA_OP_LINEAR_CE] = &mosa_op_linear_ce,
    [MOSA_OP_LINEAR_DX] = &mosa_op_linear_dx,
    [MOSA_OP_LINEAR_DW] = &mosa_op_linear_dw,
    [MOSA_OP_ROWS_SUM] = &mosa_op_rows_sum,
    [MOSA_OP_EMBED_DW] = &mosa_op_embed_dw,
    [MOSA_OP_SCATTER_ROWS] = &mosa_op_scatter_rows,
    [MOSA_OP_RMS_NORM_DX] = &mosa_op_rms_norm_dx,
    [MOSA_OP_RMS_NORM_DW] = &mosa_op_rms_norm_dw,
    [MOSA_OP_LAYER_NORM_DX] = &mosa_op_layer_norm_dx,
    [MOSA_OP_LAYER_NORM_DW] = &mosa_op_layer_norm_dw,
    [MOSA_OP_L2_NORM_DX] = &mosa_op_l2_norm_dx,
    [MOSA_OP_ACT_DX] = &mosa_op_act_dx,
    [MOSA_OP_GATED_ACT_DX] = &mosa_op_gated_act_dx,
    [MOSA_OP_UNSLICE] = &mosa_op_unslice,
    [MOSA_OP_ROPE_DX] = &mosa_op_rope_dx,
    [MOSA_OP_ATTENTION_DX] = &mosa_op_attention_dx,
    [MOSA_OP_ATTENTION_DSINKS] = &mosa_op_attention_dsinks,
    [MOSA_OP_MOE_ROUTE_DX] = &mosa_op_moe_route_dx,
    [MOSA_OP_EXPERT_LINEAR_DX] = &mosa_op_expert_linear_dx,
    [MOSA_OP_EXPERT_LINEAR_DW] = &mosa_op_expert_linear_dw,
    [MOSA_OP_EXPERT_ROWS_SUM] = &mosa_op_expert_rows_sum,
    [MOSA_OP_MOE_COMBINE_DX] = &mosa_op_moe_combine_dx,
};

const mosa_op_info *mosa_op_get(mosa_op op) {
    assert((int)op >= 0 && op < MOSA_OP_COUNT);
    return op_table[op];
}

void mosa_value_text(const mosa_value_info *value, char text[MOSA_SHAPE_TEXT_MAX]) {
    if (value->kind == MOSA_VALUE_STATE) {
        (void)snprintf(text, MOSA_SHAPE_TEXT_MAX, "state");
        return;
    }
    int used = snprintf(text, MOSA_SHAPE_TEXT_MAX, "%s [", mosa_dtype_name(value->dtype));
    for (int i = 0; i < value->shape.ndim; i++) {
        const char *comma = i ? "," : "";
        if (value->shape.dim[i] == MOSA_ROWS)
            used += snprintf(text + used, (size_t)(MOSA_SHAPE_TEXT_MAX - used), "%sT", comma);
        else
            used += snprintf(text + used, (size_t)(MOSA_SHAPE_TEXT_MAX - used), "%s%lld", comma,
                             (long long)value->shape.dim[i]);
    }
    (void)snprintf(text + used, (size_t)(MOSA_SHAPE_TEXT_MAX - used), "]");
}

// "operand 1 (w) 'blk.0.attn_norm.weight' f32 [64]"
static void operand_text(const mosa_graph *graph, const mosa_node *node, int operand, char *text, size_t size) {
    const mosa_value_info *value = mosa_op_operand(graph, node, operand);
    char shape[MOSA_SHAPE_TEXT_MAX];
    mosa_value_text(value, shape);
    const char *role = mosa_op_get(node->op)->operands[operand];
    (void)snprintf(text, size, "operand %d (%s)%s%.100s%s %s", operand, role ? role : "?", value->name ? " '" : "",
                   value->name ? value->name : "", value->name ? "'" : "", shape);
}

mosa_status mosa_op_fail(const mosa_graph *graph, const mosa_node *node, int operand, mosa_error *err,
                         const char *format, ...) {
    char subject[256], wanted[256];
    operand_text(graph, node, operand, subject, sizeof subject);
    va_list list;
    va_start(list, format);
    (void)vsnprintf(wanted, sizeof wanted, format, list);
    va_end(list);
    return mosa_fail(err, MOSA_EINVALID, "%s: %s %s", mosa_op_get(node->op)->name, subject, wanted);
}

mosa_status mosa_op_fail_against(const mosa_graph *graph, const mosa_node *node, int operand, int other,
                                 mosa_error *err, const char *wanted) {
    char text[256];
    operand_text(graph, node, other, text, sizeof text);
    return mosa_op_fail(graph, node, operand, err, "does not fit %.180s: %s", text, wanted);
}

mosa_status mosa_op_want_rows(const mosa_graph *graph, const mosa_node *node, int operand, mosa_error *err) {
    const mosa_value_info *value = mosa_op_operand(graph, node, operand);
    if (value->kind == MOSA_VALUE_WEIGHT || value->kind == MOSA_VALUE_STATE || value->dtype != MOSA_F32 ||
        value->shape.ndim != 2)
        return mosa_op_fail(graph, node, operand, err, "must be f32 rows [T,n] that an op or an input delivers");
    return MOSA_OK;
}

mosa_status mosa_op_want_vector(const mosa_graph *graph, const mosa_node *node, int operand, int64_t n,
                                mosa_error *err) {
    const mosa_value_info *value = mosa_op_operand(graph, node, operand);
    bool numbers = value->kind == MOSA_VALUE_WEIGHT ? mosa_dtype_traits_of(value->dtype)->to_f32 != NULL
                                                    : value->kind != MOSA_VALUE_STATE && value->dtype == MOSA_F32;
    if (!numbers || value->shape.ndim != 1 || value->shape.dim[0] != n)
        return mosa_op_fail(graph, node, operand, err, "must be a vector [%lld]", (long long)n);
    return MOSA_OK;
}

mosa_status mosa_op_want_index(const mosa_graph *graph, const mosa_node *node, int operand, mosa_error *err) {
    const mosa_value_info *value = mosa_op_operand(graph, node, operand);
    if (value->kind != MOSA_VALUE_INPUT || value->dtype != MOSA_I32 || value->shape.ndim != 1)
        return mosa_op_fail(graph, node, operand, err, "must be an i32 input [T]");
    return MOSA_OK;
}

mosa_status mosa_op_want_same(const mosa_graph *graph, const mosa_node *node, int operand, int other, mosa_error *err) {
    MOSA_TRY(mosa_op_want_rows(graph, node, operand, err));
    const mosa_shape *a = &mosa_op_operand(graph, node, operand)->shape;
    const mosa_shape *b = &mosa_op_operand(graph, node, other)->shape;
    if (a->dim[0] != b->dim[0] || a->dim[1] != b->dim[1])
        return mosa_op_fail_against(graph, node, operand, other, err, "shapes must be equal");
    return MOSA_OK;
}

mosa_status mosa_op_want_same_rows(const mosa_graph *graph, const mosa_node *node, int operand, int other,
                                   mosa_error *err) {
    if (mosa_op_operand(graph, node, operand)->shape.dim[0] != mosa_op_operand(graph, node, other)->shape.dim[0])
        return mosa_op_fail_against(graph, node, operand, other, err, "rows must be equal");
    return MOSA_OK;
}

static double value_elements(const mosa_value_info *value, int64_t rows) {
    if (value->kind == MOSA_VALUE_STATE) return 0;
    double elements = (double)mosa_shape_row_elements(&value->shape);
    return value->shape.ndim > 0 && value->shape.dim[0] == MOSA_ROWS ? elements * (double)rows : elements;
}

void mosa_op_stream_cost(const mosa_graph *graph, const mosa_node *node, int64_t rows, double per_element,
                         double *flops, double *bytes) {
    *flops = *bytes = 0;
    for (int i = 0; i < node->n_in; i++) {
        const mosa_value_info *value = &graph->values[node->in[i]];
        *bytes += value_elements(value, rows) * mosa_dtype_bits(value->dtype) / 8;
    }
    for (int i = 0; i < node->n_out; i++) {
        const mosa_value_info *value = &graph->values[node->out[i]];
        *bytes += value_elements(value, rows) * mosa_dtype_bits(value->dtype) / 8;
        *flops += value_elements(value, rows) * per_element;
    }
}
