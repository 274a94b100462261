// Recomputation: nodes of forward layers cloned in front of the derivatives that read them.
//
// Layers are cut where little passes: at a cut only values of at most two residual rows, and what many layers share
// (rotary tables), go on. `layer_of` numbers the forward's nodes; a value of a layer that no later layer reads is
// replaced, for readers behind the forward, by its clone. Clones of a layer stand before the first such reader and run
// after the latest gradient that this reader needs (mosa_node.after), or a plan would compute them at once.
#include "graph/pass.h"

#include "graph/op.h"
#include "graph/pass_internal.h"

#include <stdlib.h>
#include <string.h>

typedef struct recomputer {
    mosa_rebuild r;
    const mosa_graph *graph;
    int n_forward, n_layers, layers;
    int32_t *last_use; // (n_values) last forward node that reads it, -1
    int32_t *layer_of; // (n_forward) -1 = before the first and after the last
    bool *wanted;      // (n_forward) a clone is needed
    mosa_value *clone; // (n_values) in the new graph
    bool *cloned;      // (n_layers)
} recomputer;

static int64_t row_elements(const recomputer *c, mosa_value v) {
    const mosa_value_info *value = &c->graph->values[v];
    if (value->kind != MOSA_VALUE_COMPUTED || value->shape.ndim == 0 || value->shape.dim[0] != MOSA_ROWS) return 0;
    return mosa_shape_row_elements(&value->shape);
}

static void find_uses(recomputer *c) {
    for (mosa_value v = 0; v < c->graph->n_values; v++) c->last_use[v] = -1;
    for (int32_t n = 0; n < c->n_forward; n++)
        for (int i = 0; i < c->graph->nodes[n].n_in; i++) c->last_use[c->graph->nodes[n].in[i]] = n;
}

// Elements of a row that go over the border before node p, but for what goes over half of the forward.
static int64_t crossing(const recomputer *c, int32_t p) {
    int64_t sum = 0;
    for (int32_t n = 0; n < p; n++)
        for (int i = 0; i < c->graph->nodes[n].n_out; i++) {
            mosa_value v = c->graph->nodes[n].out[i];
            if (c->last_use[v] >= p && c->last_use[v] - n < c->n_forward / 2) sum += row_elements(c, v);
        }
    return sum;
}

static int64_t residual_width(const recomputer *c) {
    for (int32_t n = 0; n < c->n_forward; n++)
        if (c->graph->nodes[n].op == MOSA_OP_LINEAR_CE) return row_elements(c, c->graph->nodes[n].in[0]);
    return 0;
}

// Numbers the layers: one begins at the last narrow border before each attention, the last ends at the last one of all.
static void cut_layers(recomputer *c) {
    int64_t narrow = 2 * residual_width(c);
    int32_t border = -1, last_border = -1;
    for (int32_t n = 0; n < c->n_forward; n++) c->layer_of[n] = -1;
    for (int32_t n = 0; n < c->n_forward; n++) {
        if (c->graph->nodes[n].op == MOSA_OP_LINEAR_CE) break;
        if (n > 0 && crossing(c, n) <= narrow) border = last_border = n;
        if (c->graph->nodes[n].op != MOSA_OP_ATTENTION || border < 0) continue;
        c->layer_of[border] = c->n_layers++;
        border = -1;
    }
    for (int32_t n = 1; n < c->n_forward; n++)
        if (c->layer_of[n] < 0 && n < last_border) c->layer_of[n] = c->layer_of[n - 1];
}

// Whether readers behind the forward get a clone of v instead.
static bool is_replaced(const recomputer *c, mosa_value v) {
    int32_t producer = c->graph->values[v].producer;
    if (producer < 0 || producer >= c->n_forward) return false;
    int32_t layer = c->layer_of[producer];
    if (layer < 0 || layer >= c->layers || c->graph->values[v].kind != MOSA_VALUE_COMPUTED) return false;
    return c->last_use[v] < 0 || c->layer_of[c->last_use[v]] == layer;
}

static void mark_wanted(recomputer *c) {
    const mosa_graph *graph = c->graph;
    for (int32_t n = c->n_forward; n < graph->n_nodes; n++)
        for (int i = 0; i < graph->nodes[n].n_in; i++)
            if (is_replaced(c, graph->nodes[n].in[i])) c->wanted[graph->values[graph->nodes[n].in[i]].producer] = true;
    for (int32_t n = c->n_forward; n-- > 0;)
        for (int i = 0; c->wanted[n] && i < graph->nodes[n].n_in; i++)
            if (is_replaced(c, graph->nodes[n].in[i])) c->wanted[graph->values[graph->nodes[n].in[i]].producer] = true;
}

// The value of the way back that a reader waits for: what it reads of the latest node.
static mosa_value gradient_of(const recomputer *c, const mosa_node *reader) {
    mosa_value found = MOSA_NO_VALUE;
    int32_t latest = -1;
    for (int i = 0; i < reader->n_in; i++) {
        const mosa_value_info *value = &c->graph->values[reader->in[i]];
        bool back = value->producer >= c->n_forward ||
                    (value->producer >= 0 && c->graph->nodes[value->producer].op == MOSA_OP_LINEAR_CE);
        if (!back || value->kind != MOSA_VALUE_COMPUTED || value->producer <= latest) continue;
        latest = value->producer;
        found = c->r.map[reader->in[i]];
    }
    return found;
}

static void emit_clones(recomputer *c, int32_t layer, const mosa_node *reader) {
    mosa_value after = gradient_of(c, reader);
    c->cloned[layer] = true;
    for (int32_t n = 0; n < c->n_forward; n++) {
        if (!c->wanted[n] || c->layer_of[n] != layer) continue;
        const mosa_node *node = &c->graph->nodes[n];
        mosa_value in[MOSA_NODE_INPUTS_MAX];
        for (int i = 0; i < node->n_in; i++)
            in[i] = is_replaced(c, node->in[i]) ? c->clone[node->in[i]] : c->r.map[node->in[i]];
        mosa_value first = mosa_graph_apply2(c->r.to, node->op, in, node->n_in, &node->attrs, &node->attrs2);
        if (first == MOSA_NO_VALUE) return;
        c->r.to->nodes[c->r.to->values[first].producer].after = after;
        for (int i = 0; i < node->n_out; i++) {
            mosa_value again = mosa_graph_node_output(c->r.to, first, i), was = node->out[i];
            c->clone[was] = is_replaced(c, was) ? again : c->r.map[was];
        }
    }
}

static void emit_back(recomputer *c, const mosa_node *node) {
    mosa_value kept[MOSA_NODE_INPUTS_MAX];
    for (int i = 0; i < node->n_in; i++) {
        kept[i] = c->r.map[node->in[i]];
        if (!is_replaced(c, node->in[i])) continue;
        int32_t layer = c->layer_of[c->graph->values[node->in[i]].producer];
        if (!c->cloned[layer]) emit_clones(c, layer, node);
    }
    for (int i = 0; i < node->n_in; i++)
        if (is_replaced(c, node->in[i])) c->r.map[node->in[i]] = c->clone[node->in[i]];
    mosa_rebuild_copy(&c->r, node);
    for (int i = 0; i < node->n_in; i++) c->r.map[node->in[i]] = kept[i];
}

static void build(recomputer *c) {
    find_uses(c);
    cut_layers(c);
    mark_wanted(c);
    for (int32_t n = 0; n < c->graph->n_nodes && c->r.to->error.status == MOSA_OK; n++) {
        if (n < c->n_forward)
            mosa_rebuild_copy(&c->r, &c->graph->nodes[n]);
        else
            emit_back(c, &c->graph->nodes[n]);
    }
}

mosa_status mosa_pass_recompute(const mosa_graph *graph, int n_forward, int layers, int *n_layers, mosa_graph **out,
                                mosa_error *err) {
    size_t values = (size_t)graph->n_values + 1, nodes = (size_t)n_forward + 1;
    MOSA_AUTO_FREE int32_t *last_use = calloc(values, sizeof *last_use);
    MOSA_AUTO_FREE int32_t *layer_of = calloc(nodes, sizeof *layer_of);
    MOSA_AUTO_FREE bool *wanted = calloc(nodes, sizeof *wanted);
    MOSA_AUTO_FREE bool *cloned = calloc(nodes, sizeof *cloned);
    MOSA_AUTO_FREE mosa_value *clone = calloc(values, sizeof *clone);
    if (!last_use || !layer_of || !wanted || !cloned || !clone)
        return mosa_fail(err, MOSA_ENOMEM, "graph: out of memory");
    recomputer c = {.graph = graph, .n_forward = n_forward, .layers = layers};
    c.last_use = last_use;
    c.layer_of = layer_of;
    c.wanted = wanted;
    c.cloned = cloned;
    c.clone = clone;
    MOSA_TRY(mosa_rebuild_begin(&c.r, graph, err));
    build(&c);
    *n_layers = c.n_layers;
    return mosa_rebuild_finish(&c.r, out, err);
}
