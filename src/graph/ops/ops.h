// Private to graph/: the op descriptors and what their shape rules share.
#ifndef MOSA_GRAPH_OPS_OPS_H
#define MOSA_GRAPH_OPS_OPS_H

#include "graph/op.h"

extern const mosa_op_info mosa_op_embed, mosa_op_gather_rows;
extern const mosa_op_info mosa_op_linear, mosa_op_quantize_rows, mosa_op_lora, mosa_op_lora_add;
extern const mosa_op_info mosa_op_rms_norm, mosa_op_layer_norm, mosa_op_l2_norm, mosa_op_add_rms_norm;
extern const mosa_op_info mosa_op_add, mosa_op_mul, mosa_op_scale, mosa_op_act, mosa_op_round;
extern const mosa_op_info mosa_op_slice, mosa_op_gated_act;
extern const mosa_op_info mosa_op_moe_route, mosa_op_expert_linear, mosa_op_moe_combine, mosa_op_join;
extern const mosa_op_info mosa_op_rope_table, mosa_op_rope;
extern const mosa_op_info mosa_op_linear_ce, mosa_op_linear_dx, mosa_op_linear_dw, mosa_op_rows_sum;
extern const mosa_op_info mosa_op_embed_dw, mosa_op_scatter_rows, mosa_op_rms_norm_dx, mosa_op_rms_norm_dw;
extern const mosa_op_info mosa_op_layer_norm_dx, mosa_op_layer_norm_dw, mosa_op_l2_norm_dx, mosa_op_act_dx;
extern const mosa_op_info mosa_op_gated_act_dx, mosa_op_unslice, mosa_op_rope_dx, mosa_op_attention_dx;
extern const mosa_op_info mosa_op_attention_dsinks, mosa_op_moe_route_dx, mosa_op_expert_linear_dx,
    mosa_op_expert_linear_dw;
extern const mosa_op_info mosa_op_expert_rows_sum, mosa_op_moe_combine_dx;
extern const mosa_op_info mosa_op_kv_write, mosa_op_attention, mosa_op_rope_kv_write;

// The rule that ROPE and ROPE_KV_WRITE share: operand is rows of heads, table fits attrs->rope.
mosa_status mosa_op_check_rope(const mosa_graph *graph, const mosa_node *node, const mosa_attrs *attrs, int operand,
                               int table, mosa_error *err);

// Derivatives (ops/vjp.c).
mosa_status mosa_vjp_linear(mosa_vjp *v, mosa_error *err);
mosa_status mosa_vjp_lora_add(mosa_vjp *v, mosa_error *err);
mosa_status mosa_vjp_embed(mosa_vjp *v, mosa_error *err);
mosa_status mosa_vjp_gather_rows(mosa_vjp *v, mosa_error *err);
mosa_status mosa_vjp_rms_norm(mosa_vjp *v, mosa_error *err);
mosa_status mosa_vjp_layer_norm(mosa_vjp *v, mosa_error *err);
mosa_status mosa_vjp_l2_norm(mosa_vjp *v, mosa_error *err);
mosa_status mosa_vjp_add(mosa_vjp *v, mosa_error *err);
mosa_status mosa_vjp_mul(mosa_vjp *v, mosa_error *err);
mosa_status mosa_vjp_scale(mosa_vjp *v, mosa_error *err);
mosa_status mosa_vjp_act(mosa_vjp *v, mosa_error *err);
mosa_status mosa_vjp_slice(mosa_vjp *v, mosa_error *err);
mosa_status mosa_vjp_join(mosa_vjp *v, mosa_error *err);
mosa_status mosa_vjp_rope(mosa_vjp *v, mosa_error *err);
mosa_status mosa_vjp_attention(mosa_vjp *v, mosa_error *err);
mosa_status mosa_vjp_moe_route(mosa_vjp *v, mosa_error *err);
mosa_status mosa_vjp_expert_linear(mosa_vjp *v, mosa_error *err);
mosa_status mosa_vjp_moe_combine(mosa_vjp *v, mosa_error *err);
mosa_status mosa_vjp_add_rms_norm(mosa_vjp *v, mosa_error *err);
mosa_status mosa_vjp_gated_act(mosa_vjp *v, mosa_error *err);
mosa_status mosa_vjp_linear_ce(mosa_vjp *v, mosa_error *err);

// Faults. The text names op, operand, its name, dtype and shape; _against adds another operand likewise.
mosa_status mosa_op_fail(const mosa_graph *graph, const mosa_node *node, int operand, mosa_error *err,
                         const char *format, ...) __attribute__((format(printf, 5, 6)));
mosa_status mosa_op_fail_against(const mosa_graph *graph, const mosa_node *node, int operand, int other,
                                 mosa_error *err, const char *wanted);

// Checks that shape rules are made of.
mosa_status mosa_op_want_rows(const mosa_graph *graph, const mosa_node *node, int operand,
                              mosa_error *err); // f32 [T,n]
mosa_status mosa_op_want_vector(const mosa_graph *graph, const mosa_node *node, int operand, int64_t n,
                                mosa_error *err); // weight of any dtype, or f32, with shape [n]
mosa_status mosa_op_want_index(const mosa_graph *graph, const mosa_node *node, int operand,
                               mosa_error *err); // i32 [R] input
mosa_status mosa_op_want_same(const mosa_graph *graph, const mosa_node *node, int operand, int other, mosa_error *err);
mosa_status mosa_op_want_same_rows(const mosa_graph *graph, const mosa_node *node, int operand, int other,
                                   mosa_error *err);

static inline const mosa_value_info *mosa_op_operand(const mosa_graph *graph, const mosa_node *node, int operand) {
    return &graph->values[node->in[operand]];
}
static inline int64_t mosa_op_columns(const mosa_graph *graph, const mosa_node *node, int operand) {
    const mosa_shape *shape = &mosa_op_operand(graph, node, operand)->shape;
    return shape->dim[shape->ndim - 1];
}

// "f32 [T,128]" into text, for messages and for printing.
enum { MOSA_SHAPE_TEXT_MAX = 96 };
void mosa_value_text(const mosa_value_info *value, char text[MOSA_SHAPE_TEXT_MAX]);

// The last operand is the state of gradients, attrs2 names `elements` of them (0 = any number); sets its next version.
mosa_status mosa_op_want_grads(const mosa_graph *graph, const mosa_node *node, int64_t elements, mosa_value_info *out,
                               mosa_error *err);

// An operand is the index of a MOE_ROUTE over so many experts, with the rows of operand 0.
mosa_status mosa_op_check_expert_index(const mosa_graph *graph, const mosa_node *node, int operand, int64_t experts,
                                       mosa_error *err);

// Width K of operand 0 of LINEAR or EXPERT_LINEAR: its columns, or the columns of what QUANTIZE_ROWS packed. -1 when it
// is neither.
int64_t mosa_op_packed_width(const mosa_graph *graph, const mosa_node *node);

// Cost of an op that reads its operands and writes its outputs once and does `per_element` operations per output
// element.
void mosa_op_stream_cost(const mosa_graph *graph, const mosa_node *node, int64_t rows, double per_element,
                         double *flops, double *bytes);

#endif
