// Adapters: a LORA node behind every LINEAR.
#include "graph/pass.h"

#include "graph/pass_internal.h"

#include <string.h>

// Linears over few rows of their own (not the batch's) belong to no sequence.
static bool is_target(const mosa_graph *graph, const mosa_node *node) {
    return node->op == MOSA_OP_LINEAR && graph->values[node->in[0]].dtype == MOSA_F32 &&
           graph->values[node->in[0]].shape.dim[0] == MOSA_ROWS;
}

mosa_status mosa_pass_adapters(const mosa_graph *graph, int rank, mosa_graph **out, mosa_error *err) {
    mosa_rebuild rebuild;
    MOSA_TRY(mosa_rebuild_begin(&rebuild, graph, err));
    mosa_value adapters = mosa_graph_state(rebuild.to, "adapters");
    for (int n = 0; n < graph->n_nodes; n++) {
        const mosa_node *node = &graph->nodes[n];
        mosa_rebuild_copy(&rebuild, node);
        if (!is_target(graph, node)) continue;
        mosa_attrs attrs;
        memset(&attrs, 0, sizeof attrs);
        attrs.lora.target = graph->values[node->in[1]].slot;
        attrs.lora.rank = rank;
        mosa_value in[] = {rebuild.map[node->out[0]], rebuild.map[node->in[0]], adapters};
        rebuild.map[node->out[0]] = mosa_graph_apply(rebuild.to, MOSA_OP_LORA, in, 3, &attrs);
    }
    return mosa_rebuild_finish(&rebuild, out, err);
}
