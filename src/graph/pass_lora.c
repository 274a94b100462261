// LoRA in training: a trainable pair of matrices beside chosen linears.
#include "graph/pass.h"

#include "graph/pass_internal.h"

#include <stdio.h>
#include <string.h>

static mosa_value side_weight(mosa_rebuild *r, const char *of, const char *end, mosa_shape shape) {
    char name[256];
    (void)snprintf(name, sizeof name, "%.200s.%s", of, end);
    return mosa_graph_weight(r->to, name, MOSA_F32, shape);
}

// y + (scale * x A^T) B^T, rounded as LORA rounds it.
static mosa_value add_pair(mosa_rebuild *r, const mosa_node *node, const char *name, int rank, float scale) {
    const mosa_shape *w = &r->from->values[node->in[1]].shape;
    mosa_value a = side_weight(r, name, "lora_a", MOSA_SHAPE2(rank, w->dim[1]));
    mosa_value b = side_weight(r, name, "lora_b", MOSA_SHAPE2(w->dim[0], rank));
    mosa_value u = mosa_g_linear(r->to, r->map[node->in[0]], a, MOSA_NO_VALUE);
    mosa_value in[] = {r->map[node->out[0]], mosa_g_scale(r->to, u, scale), b};
    return mosa_graph_apply(r->to, MOSA_OP_LORA_ADD, in, 3, NULL);
}

mosa_status mosa_pass_lora(const mosa_graph *graph, const char *const *targets, int rank, float scale,
                           int32_t *pair_target, int *n_pairs, mosa_graph **out, mosa_error *err) {
    mosa_rebuild rebuild;
    int pairs = 0;
    if (rank <= 0) return mosa_fail(err, MOSA_EINVALID, "lora: the rank is %d", rank);
    MOSA_TRY(mosa_rebuild_begin(&rebuild, graph, err));
    for (int n = 0; n < graph->n_nodes; n++) {
        const mosa_node *node = &graph->nodes[n];
        mosa_rebuild_copy(&rebuild, node);
        if (node->op != MOSA_OP_LINEAR || graph->values[node->in[0]].dtype != MOSA_F32) continue;
        int32_t slot = graph->values[node->in[1]].slot;
        if (!targets[slot]) continue;
        pair_target[pairs++] = slot;
        rebuild.map[node->out[0]] = add_pair(&rebuild, node, targets[slot], rank, scale);
    }
    MOSA_TRY(mosa_rebuild_finish(&rebuild, out, err));
    *n_pairs = pairs;
    return MOSA_OK;
}
