// What the passes share, and the simplest of them, mosa_pass_decompose.
#include "graph/pass.h"

#include "graph/op.h"
#include "graph/pass_internal.h"

#include <stdlib.h>

static void copy_sources(mosa_rebuild *rebuild) {
    const mosa_graph *from = rebuild->from;
    for (mosa_value v = 0; v < from->n_values; v++) {
        const mosa_value_info *value = &from->values[v];
        if (value->producer >= 0) continue;
        if (value->kind == MOSA_VALUE_INPUT)
            rebuild->map[v] = mosa_graph_input(rebuild->to, value->name, value->dtype, value->shape);
        else if (value->kind == MOSA_VALUE_WEIGHT)
            rebuild->map[v] = mosa_graph_weight(rebuild->to, value->name, value->dtype, value->shape);
        else
            rebuild->map[v] = mosa_graph_state(rebuild->to, value->name);
    }
}

mosa_status mosa_rebuild_begin(mosa_rebuild *rebuild, const mosa_graph *from, mosa_error *err) {
    MOSA_TRY(mosa_graph_status(from, err));
    *rebuild = (mosa_rebuild){.from = from};
    rebuild->map = malloc(((size_t)from->n_values + 1) * sizeof *rebuild->map);
    if (!rebuild->map) return mosa_fail(err, MOSA_ENOMEM, "graph: out of memory");
    rebuild->to = mosa_graph_create(err);
    if (!rebuild->to) {
        free(rebuild->map);
        return MOSA_ENOMEM;
    }
    for (mosa_value v = 0; v < from->n_values; v++) rebuild->map[v] = MOSA_NO_VALUE;
    copy_sources(rebuild);
    return MOSA_OK;
}

void mosa_rebuild_copy(mosa_rebuild *rebuild, const mosa_node *node) {
    mosa_value in[MOSA_NODE_INPUTS_MAX];
    for (int i = 0; i < node->n_in; i++) in[i] = rebuild->map[node->in[i]];
    mosa_value first = mosa_graph_apply2(rebuild->to, node->op, in, node->n_in, &node->attrs, &node->attrs2);
    mosa_rebuild_keep_order(rebuild, node, first);
    for (int i = 0; i < node->n_out; i++) rebuild->map[node->out[i]] = mosa_graph_node_output(rebuild->to, first, i);
}

void mosa_rebuild_keep_order(mosa_rebuild *rebuild, const mosa_node *node, mosa_value first) {
    if (first == MOSA_NO_VALUE || node->after == MOSA_NO_VALUE) return;
    rebuild->to->nodes[rebuild->to->values[first].producer].after = rebuild->map[node->after];
}

mosa_status mosa_rebuild_finish(mosa_rebuild *rebuild, mosa_graph **out, mosa_error *err) {
    for (int i = 0; i < rebuild->from->n_outputs; i++)
        mosa_graph_output(rebuild->to, rebuild->map[rebuild->from->outputs[i]]);
    free(rebuild->map);
    rebuild->map = NULL;
    mosa_status status = mosa_graph_status(rebuild->to, err);
    if (status == MOSA_OK)
        *out = rebuild->to;
    else
        mosa_graph_destroy(rebuild->to);
    rebuild->to = NULL;
    return status;
}

mosa_status mosa_pass_decompose(const mosa_graph *graph, mosa_graph **out, mosa_error *err) {
    mosa_rebuild rebuild;
    MOSA_TRY(mosa_rebuild_begin(&rebuild, graph, err));
    for (int n = 0; n < graph->n_nodes; n++) {
        const mosa_node *node = &graph->nodes[n];
        const mosa_op_info *info = mosa_op_get(node->op);
        if (!info->decompose) {
            mosa_rebuild_copy(&rebuild, node);
            continue;
        }
        mosa_value in[MOSA_NODE_INPUTS_MAX], replaced[MOSA_NODE_OUTPUTS_MAX];
        for (int i = 0; i < node->n_in; i++) in[i] = rebuild.map[node->in[i]];
        // A fault stays in the new graph and is reported by finish.
        if (info->decompose(rebuild.to, node, in, replaced) != MOSA_OK) break;
        for (int i = 0; i < node->n_out; i++) rebuild.map[node->out[i]] = replaced[i];
    }
    return mosa_rebuild_finish(&rebuild, out, err);
}
