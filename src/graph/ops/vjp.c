// The derivative of every op, as nodes.
#include "graph/vjp.h"

#include "graph/ops/ops.h"

#include <string.h>

static mosa_value emit(mosa_vjp *v, mosa_op op, const mosa_value *in, int n_in, const mosa_attrs *attrs) {
    return mosa_graph_apply(v->to, op, in, n_in, attrs);
}

static int64_t elements_of(const mosa_graph *graph, mosa_value weight) {
    const mosa_shape *shape = &graph->values[weight].shape;
    int64_t elements = 1;
    for (int i = 0; i < shape->ndim; i++) elements *= shape->dim[i];
    return elements;
}

// Adds a gradient to a weight operand by `op` over in[0..n_in) and the state.
static void add_grad(mosa_vjp *v, int operand, mosa_op op, const mosa_value *in, int n_in, const mosa_attrs *attrs) {
    mosa_value all[MOSA_NODE_INPUTS_MAX], weight = v->node->in[operand];
    if (v->to->error.status != MOSA_OK) return;
    if (*v->grads == MOSA_NO_VALUE) *v->grads = mosa_graph_state(v->to, "grads");
    memcpy(all, in, (size_t)n_in * sizeof *all);
    all[n_in] = *v->grads;
    mosa_attrs grad;
    memset(&grad, 0, sizeof grad);
    grad.grad.slot = v->to->values[weight].slot;
    grad.grad.elements = elements_of(v->to, weight);
    *v->grads = mosa_graph_apply2(v->to, op, all, n_in + 1, attrs, &grad);
}

// Weights alone collect gradients; a vector that an input or an op delivers is not expected to want one.
static mosa_status want_weight(const mosa_vjp *v, int operand, mosa_error *err) {
    if (!v->needs[operand] || v->to->values[v->node->in[operand]].kind == MOSA_VALUE_WEIGHT) return MOSA_OK;
    return mosa_op_fail(v->to, v->node, operand, err, "is no weight and has no derivative");
}

mosa_status mosa_vjp_linear(mosa_vjp *v, mosa_error *err) {
    mosa_value dy = v->dout[0], x = v->node->in[0], w = v->node->in[1];
    if (v->node->n_in > 2) MOSA_TRY(want_weight(v, 2, err));
    if (v->to->values[x].dtype != MOSA_F32)
        return mosa_fail(err, MOSA_EUNSUPPORTED, "linear: quantised rows have no derivative");
    if (v->needs[0]) v->din[0] = emit(v, MOSA_OP_LINEAR_DX, (mosa_value[]){dy, w}, 2, NULL);
    if (v->needs[1]) add_grad(v, 1, MOSA_OP_LINEAR_DW, (mosa_value[]){dy, x}, 2, NULL);
    if (v->node->n_in > 2 && v->needs[2]) add_grad(v, 2, MOSA_OP_ROWS_SUM, &dy, 1, NULL);
    return MOSA_OK;
}

mosa_status mosa_vjp_lora_add(mosa_vjp *v, mosa_error *err) {
    (void)err;
    mosa_value dy = v->dout[0], u = v->node->in[1], b = v->node->in[2];
    if (v->needs[0]) v->din[0] = dy;
    if (v->needs[1]) v->din[1] = emit(v, MOSA_OP_LINEAR_DX, (mosa_value[]){dy, b}, 2, NULL);
    if (v->needs[2]) add_grad(v, 2, MOSA_OP_LINEAR_DW, (mosa_value[]){dy, u}, 2, NULL);
    return MOSA_OK;
}

mosa_status mosa_vjp_embed(mosa_vjp *v, mosa_error *err) {
    (void)err;
    if (v->needs[1]) add_grad(v, 1, MOSA_OP_EMBED_DW, (mosa_value[]){v->dout[0], v->node->in[0]}, 2, NULL);
    return MOSA_OK;
}

mosa_status mosa_vjp_gather_rows(mosa_vjp *v, mosa_error *err) {
    (void)err;
    mosa_attrs attrs;
    memset(&attrs, 0, sizeof attrs);
    attrs.scatter.rows = v->to->values[v->node->in[0]].shape.dim[0];
    if (v->needs[0]) v->din[0] = emit(v, MOSA_OP_SCATTER_ROWS, (mosa_value[]){v->dout[0], v->node->in[1]}, 2, &attrs);
    return MOSA_OK;
}

static mosa_status norm(mosa_vjp *v, mosa_op dx, mosa_op dw, mosa_error *err) {
    mosa_value dy = v->dout[0], x = v->node->in[0];
    const mosa_attrs *attrs = &v->node->attrs;
    for (int i = 1; i < v->node->n_in; i++) MOSA_TRY(want_weight(v, i, err));
    if (v->needs[0]) v->din[0] = emit(v, dx, (mosa_value[]){dy, x, v->node->in[1]}, 3, attrs);
    if (v->needs[1]) add_grad(v, 1, dw, (mosa_value[]){dy, x}, 2, attrs);
    if (v->node->n_in > 2 && v->needs[2]) add_grad(v, 2, MOSA_OP_ROWS_SUM, &dy, 1, NULL);
    return MOSA_OK;
}

mosa_status mosa_vjp_rms_norm(mosa_vjp *v, mosa_error *err) {
    return norm(v, MOSA_OP_RMS_NORM_DX, MOSA_OP_RMS_NORM_DW, err);
}

mosa_status mosa_vjp_layer_norm(mosa_vjp *v, mosa_error *err) {
    return norm(v, MOSA_OP_LAYER_NORM_DX, MOSA_OP_LAYER_NORM_DW, err);
}

mosa_status mosa_vjp_l2_norm(mosa_vjp *v, mosa_error *err) {
    (void)err;
    v->din[0] = emit(v, MOSA_OP_L2_NORM_DX, (mosa_value[]){v->dout[0], v->node->in[0]}, 2, &v->node->attrs);
    return MOSA_OK;
}

mosa_status mosa_vjp_add(mosa_vjp *v, mosa_error *err) {
    (void)err;
    for (int i = 0; i < v->node->n_in; i++)
        if (v->needs[i]) v->din[i] = v->dout[0];
    return MOSA_OK;
}

mosa_status mosa_vjp_mul(mosa_vjp *v, mosa_error *err) {
    (void)err;
    for (int i = 0; i < 2; i++)
        if (v->needs[i]) v->din[i] = mosa_g_mul(v->to, v->dout[0], v->node->in[1 - i]);
    return MOSA_OK;
}

mosa_status mosa_vjp_scale(mosa_vjp *v, mosa_error *err) {
    (void)err;
    v->din[0] = mosa_g_scale(v->to, v->dout[0], v->node->attrs.scale.value);
    return MOSA_OK;
}

mosa_status mosa_vjp_act(mosa_vjp *v, mosa_error *err) {
    (void)err;
    v->din[0] = emit(v, MOSA_OP_ACT_DX, (mosa_value[]){v->dout[0], v->node->in[0]}, 2, &v->node->attrs);
    return MOSA_OK;
}

mosa_status mosa_vjp_gated_act(mosa_vjp *v, mosa_error *err) {
    (void)err;
    mosa_value in[] = {v->dout[0], v->node->in[0], v->node->in[1]};
    v->din[0] = emit(v, MOSA_OP_GATED_ACT_DX, in, 3, &v->node->attrs);
    v->din[1] = mosa_graph_node_output(v->to, v->din[0], 1);
    return MOSA_OK;
}

mosa_status mosa_vjp_add_rms_norm(mosa_vjp *v, mosa_error *err) {
    MOSA_TRY(want_weight(v, 2, err));
    mosa_value sum = v->node->out[0], ds = v->dout[0], dy = v->dout[1], w = v->node->in[2];
    if (dy != MOSA_NO_VALUE) {
        if (v->needs[2]) add_grad(v, 2, MOSA_OP_RMS_NORM_DW, (mosa_value[]){dy, sum}, 2, &v->node->attrs);
        if (!v->needs[0] && !v->needs[1]) return MOSA_OK;
        mosa_value through = emit(v, MOSA_OP_RMS_NORM_DX, (mosa_value[]){dy, sum, w}, 3, &v->node->attrs);
        ds = ds == MOSA_NO_VALUE ? through : mosa_g_add(v->to, ds, through);
    }
    for (int i = 0; i < 2; i++)
        if (v->needs[i]) v->din[i] = ds;
    return MOSA_OK;
}

mosa_status mosa_vjp_slice(mosa_vjp *v, mosa_error *err) {
    (void)err;
    mosa_attrs width;
    memset(&width, 0, sizeof width);
    width.slice.count = v->to->values[v->node->in[0]].shape.dim[1];
    v->din[0] = mosa_graph_apply2(v->to, MOSA_OP_UNSLICE, &v->dout[0], 1, &v->node->attrs, &width);
    return MOSA_OK;
}

mosa_status mosa_vjp_join(mosa_vjp *v, mosa_error *err) {
    (void)err;
    int64_t groups = v->node->attrs.join.groups;
    int64_t a = v->to->values[v->node->in[0]].shape.dim[1] / groups;
    int64_t b = v->to->values[v->node->in[1]].shape.dim[1] / groups;
    if (v->needs[0]) v->din[0] = mosa_g_slice(v->to, v->dout[0], 0, a, a + b);
    if (v->needs[1]) v->din[1] = mosa_g_slice(v->to, v->dout[0], a, b, a + b);
    return MOSA_OK;
}

mosa_status mosa_vjp_rope(mosa_vjp *v, mosa_error *err) {
    if (v->needs[1]) return mosa_op_fail(v->to, v->node, 1, err, "has no derivative");
    v->din[0] = emit(v, MOSA_OP_ROPE_DX, (mosa_value[]){v->dout[0], v->node->in[1]}, 2, &v->node->attrs);
    return MOSA_OK;
}

mosa_status mosa_vjp_attention(mosa_vjp *v, mosa_error *err) {
    const mosa_node *node = v->node;
    if (mosa_attention_paged(v->to, node))
        return mosa_fail(err, MOSA_EUNSUPPORTED, "attention: pages of keys and values have no derivative");
    int sinks = mosa_attention_sinks(v->to, node), sources = sinks >= 0 ? sinks : node->n_in;
    mosa_value in[MOSA_NODE_INPUTS_MAX] = {v->dout[0]};
    for (int i = 0; i < node->n_in; i++) in[i + 1] = node->in[i];
    bool rows = false;
    for (int i = 0; i < sources; i++) rows |= v->needs[i];
    if (rows) {
        mosa_value dq = emit(v, MOSA_OP_ATTENTION_DX, in, node->n_in + 1, &node->attrs);
        for (int i = 0; i < sources; i++)
            if (v->needs[i]) v->din[i] = mosa_graph_node_output(v->to, dq, i);
    }
    if (sinks < 0 || !v->needs[sinks]) return MOSA_OK;
    MOSA_TRY(want_weight(v, sinks, err));
    add_grad(v, sinks, MOSA_OP_ATTENTION_DSINKS, in, node->n_in + 1, &node->attrs);
    return MOSA_OK;
}

// The bias of a router serves the choice alone, which has no derivative.
mosa_status mosa_vjp_moe_route(mosa_vjp *v, mosa_error *err) {
    (void)err;
    mosa_value in[] = {v->dout[1], v->node->in[0], v->node->out[0]};
    if (v->dout[1] != MOSA_NO_VALUE && v->needs[0]) v->din[0] = emit(v, MOSA_OP_MOE_ROUTE_DX, in, 3, &v->node->attrs);
    return MOSA_OK;
}

mosa_status mosa_vjp_expert_linear(mosa_vjp *v, mosa_error *err) {
    const mosa_node *node = v->node;
    const mosa_shape *w = &v->to->values[node->in[1]].shape;
    if (v->to->values[node->in[0]].dtype != MOSA_F32)
        return mosa_fail(err, MOSA_EUNSUPPORTED, "expert_linear: quantised rows have no derivative");
    mosa_attrs attrs;
    memset(&attrs, 0, sizeof attrs);
    attrs.expert.experts = w->dim[0];
    attrs.expert.width = w->dim[2];
    attrs.expert.columns = v->to->values[node->in[0]].shape.dim[1];
    int indexed = node->n_in > 2;
    mosa_value dy = v->dout[0];
    if (v->needs[0])
        v->din[0] = emit(v, MOSA_OP_EXPERT_LINEAR_DX, (mosa_value[]){dy, node->in[1], indexed ? node->in[2] : 0},
                         2 + indexed, &attrs);
    if (v->needs[1])
        add_grad(v, 1, MOSA_OP_EXPERT_LINEAR_DW, (mosa_value[]){dy, node->in[0], indexed ? node->in[2] : 0},
                 2 + indexed, &attrs);
    if (node->n_in > 3 && v->needs[3])
        add_grad(v, 3, MOSA_OP_EXPERT_ROWS_SUM, (mosa_value[]){dy, node->in[2]}, 2, &attrs);
    return MOSA_OK;
}

mosa_status mosa_vjp_moe_combine(mosa_vjp *v, mosa_error *err) {
    (void)err;
    mosa_value in[] = {v->dout[0], v->node->in[0], v->node->in[1]};
    mosa_value dx = emit(v, MOSA_OP_MOE_COMBINE_DX, in, 3, NULL);
    if (v->needs[0]) v->din[0] = dx;
    if (v->needs[1]) v->din[1] = mosa_graph_node_output(v->to, dx, 1);
    return MOSA_OK;
}

// Its own forward makes the gradient.
mosa_status mosa_vjp_linear_ce(mosa_vjp *v, mosa_error *err) {
    (void)err;
    if (v->needs[0]) v->din[0] = v->node->out[1];
    return MOSA_OK;
}
