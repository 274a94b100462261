// Autodiff: the forward copied, then its nodes in reverse order, each by its derivative.
//
// A value is needed when a wanted weight or input leads to it. Gradients of one value that come from several readers
// are added in the order in which they arrive, last reader first.
#include "graph/pass.h"

#include "graph/op.h"
#include "graph/pass_internal.h"
#include "graph/vjp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct differ {
    mosa_rebuild r;
    const mosa_autodiff *wanted;
    bool *needed;     // (from->n_values)
    mosa_value *grad; // (from->n_values) in r.to, MOSA_NO_VALUE
    int32_t *copy;    // (from->n_nodes) node of r.to
    mosa_value grads;
} differ;

static void mark_needed(differ *d) {
    const mosa_graph *from = d->r.from;
    for (mosa_value v = 0; v < from->n_values; v++) {
        const mosa_value_info *value = &from->values[v];
        d->needed[v] = (value->kind == MOSA_VALUE_WEIGHT && d->wanted->weights && d->wanted->weights[value->slot]) ||
                       (value->kind == MOSA_VALUE_INPUT && d->wanted->inputs && d->wanted->inputs[value->slot]);
    }
    for (int n = 0; n < from->n_nodes; n++) {
        const mosa_node *node = &from->nodes[n];
        bool any = false;
        for (int i = 0; i < node->n_in; i++) any |= d->needed[node->in[i]];
        for (int i = 0; i < node->n_out; i++)
            d->needed[node->out[i]] = any && from->values[node->out[i]].kind != MOSA_VALUE_STATE;
    }
}

static void copy_loss(differ *d, const mosa_node *node) {
    mosa_node copy = *node;
    const mosa_value_info *w = &d->r.from->values[node->in[1]];
    copy.attrs2.grad.slot = d->needed[node->in[1]] ? w->slot : -1;
    copy.attrs2.grad.elements = d->needed[node->in[1]] ? w->shape.dim[0] * w->shape.dim[1] : 0;
    mosa_rebuild_copy(&d->r, &copy);
    d->grads = d->r.map[node->out[3]];
}

static void copy_forward(differ *d) {
    const mosa_graph *from = d->r.from;
    for (int n = 0; n < from->n_nodes; n++) {
        if (from->nodes[n].op == MOSA_OP_LINEAR_CE)
            copy_loss(d, &from->nodes[n]);
        else
            mosa_rebuild_copy(&d->r, &from->nodes[n]);
        d->copy[n] = d->r.to->n_nodes - 1;
    }
}

static void accumulate(differ *d, mosa_value of, mosa_value gradient) {
    if (gradient == MOSA_NO_VALUE) return;
    d->grad[of] = d->grad[of] == MOSA_NO_VALUE ? gradient : mosa_g_add(d->r.to, d->grad[of], gradient);
}

static mosa_status add_seeds(differ *d, mosa_error *err) {
    for (int i = 0; i < d->wanted->n_seeds; i++) {
        mosa_value v = d->wanted->seeds[i];
        if (v < 0 || v >= d->r.from->n_values || d->r.from->values[v].dtype != MOSA_F32 ||
            d->r.from->values[v].kind == MOSA_VALUE_STATE)
            return mosa_fail(err, MOSA_EINVALID, "autodiff: seed %d is no value with a gradient", i);
        const mosa_value_info *value = &d->r.from->values[v];
        char name[128];
        (void)snprintf(name, sizeof name, "d.%.100s", value->name ? value->name : "output");
        accumulate(d, v, mosa_graph_input(d->r.to, name, value->dtype, value->shape));
    }
    return MOSA_OK;
}

static mosa_status differentiate(differ *d, int32_t n, mosa_error *err) {
    const mosa_node *from = &d->r.from->nodes[n];
    // The builder may move its nodes while the callback emits.
    mosa_node node = d->r.to->nodes[d->copy[n]];
    mosa_vjp vjp = {.to = d->r.to, .node = &node, .grads = &d->grads};
    bool reached = from->op == MOSA_OP_LINEAR_CE, any = false;
    for (int i = 0; i < MOSA_NODE_OUTPUTS_MAX; i++) {
        vjp.dout[i] = i < from->n_out ? d->grad[from->out[i]] : MOSA_NO_VALUE;
        reached |= vjp.dout[i] != MOSA_NO_VALUE;
    }
    for (int i = 0; i < MOSA_NODE_INPUTS_MAX; i++) {
        vjp.needs[i] = i < from->n_in && d->needed[from->in[i]];
        vjp.din[i] = MOSA_NO_VALUE;
        any |= vjp.needs[i];
    }
    if (!reached || !any) return MOSA_OK;
    const mosa_op_info *info = mosa_op_get(from->op);
    if (!info->vjp) return mosa_fail(err, MOSA_EUNSUPPORTED, "autodiff: %s has no derivative", info->name);
    MOSA_TRY(info->vjp(&vjp, err));
    for (int i = 0; i < from->n_in; i++)
        if (vjp.needs[i]) accumulate(d, from->in[i], vjp.din[i]);
    return mosa_graph_status(d->r.to, err);
}

static mosa_status build(differ *d, mosa_error *err) {
    mark_needed(d);
    copy_forward(d);
    MOSA_TRY(mosa_graph_status(d->r.to, err));
    MOSA_TRY(add_seeds(d, err));
    for (int32_t n = d->r.from->n_nodes; n-- > 0;) MOSA_TRY(differentiate(d, n, err));
    return MOSA_OK;
}

// Behind the forward's outputs.
static mosa_status add_outputs(const differ *d, mosa_graph *graph, const mosa_value *input, mosa_error *err) {
    for (int slot = 0; d->wanted->inputs && slot < d->r.from->n_inputs; slot++) {
        if (!d->wanted->inputs[slot]) continue;
        if (d->grad[input[slot]] == MOSA_NO_VALUE)
            return mosa_fail(err, MOSA_EINVALID, "autodiff: nothing that is differentiated depends on input %d", slot);
        mosa_graph_output(graph, d->grad[input[slot]]);
    }
    return mosa_graph_status(graph, err);
}

static mosa_status run(differ *d, mosa_value *input, mosa_graph **out, mosa_error *err) {
    const mosa_graph *from = d->r.from;
    for (mosa_value v = 0; v < from->n_values; v++) {
        d->grad[v] = MOSA_NO_VALUE;
        if (from->values[v].kind == MOSA_VALUE_INPUT) input[from->values[v].slot] = v;
    }
    mosa_graph *made = NULL;
    mosa_status status = build(d, err);
    if (status != MOSA_OK) { // finish frees what was begun
        if (mosa_rebuild_finish(&d->r, &made, NULL) == MOSA_OK) mosa_graph_destroy(made);
        return status;
    }
    MOSA_TRY(mosa_rebuild_finish(&d->r, &made, err));
    status = add_outputs(d, made, input, err);
    if (status == MOSA_OK)
        *out = made;
    else
        mosa_graph_destroy(made);
    return status;
}

mosa_status mosa_pass_autodiff(const mosa_graph *forward, const mosa_autodiff *wanted, mosa_graph **out,
                               mosa_error *err) {
    size_t values = (size_t)forward->n_values + 1, nodes = (size_t)forward->n_nodes + 1;
    MOSA_AUTO_FREE bool *needed = calloc(values, sizeof *needed);
    MOSA_AUTO_FREE mosa_value *grad = calloc(values, sizeof *grad);
    MOSA_AUTO_FREE int32_t *copy = calloc(nodes, sizeof *copy);
    MOSA_AUTO_FREE mosa_value *input = calloc((size_t)forward->n_inputs + 1, sizeof *input);
    if (!needed || !grad || !copy || !input) return mosa_fail(err, MOSA_ENOMEM, "graph: out of memory");
    differ d = {.wanted = wanted, .needed = needed, .grad = grad, .copy = copy, .grads = MOSA_NO_VALUE};
    MOSA_TRY(mosa_rebuild_begin(&d.r, forward, err));
    return run(&d, input, out, err);
}
