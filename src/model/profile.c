// Adding up the times of runs.
#include "model/profile.h"

#include "graph/op.h"

#include <stdio.h>
#include <string.h>

// "linear q4_k": a matrix product is told apart by its weights, everything else by its op.
static void row_name(const mosa_graph *graph, const mosa_node *node, char name[MOSA_PROFILE_OP_NAME_MAX]) {
    const mosa_value_info *weight = node->n_in > 1 ? &graph->values[node->in[1]] : NULL;
    bool matrix = weight && weight->kind == MOSA_VALUE_WEIGHT && weight->shape.ndim >= 2;
    (void)snprintf(name, MOSA_PROFILE_OP_NAME_MAX, "%s%s%s", mosa_op_get(node->op)->name, matrix ? " " : "",
                   matrix ? mosa_dtype_name(weight->dtype) : "");
}

static mosa_op_time *find_row(mosa_profile *profile, const char *name) {
    for (int i = 0; i < profile->n_ops; i++)
        if (strcmp(profile->ops[i].name, name) == 0) return &profile->ops[i];
    if (profile->n_ops == MOSA_PROFILE_OPS_MAX) return NULL;
    mosa_op_time *row = &profile->ops[profile->n_ops++];
    *row = (mosa_op_time){0};
    memcpy(row->name, name, MOSA_PROFILE_OP_NAME_MAX);
    return row;
}

// Causal attention: a multiply-add per column, visible position and head, for scores and for values; every visible key
// and value of a sequence is read once for all rows of its segment.
static void attention_cost(const mosa_node *node, const mosa_batch *batch, double kv_element_bytes, double *flops,
                           double *bytes) {
    double width = node->attrs.attention.head_width, pairs = 0, positions = 0;
    int window = node->attrs.attention.window;
    for (int s = 0; s < batch->n_segments; s++) {
        const mosa_segment *segment = &batch->segments[s];
        for (int r = 0; r < segment->row_count; r++) {
            int visible = segment->pos_begin + r + 1;
            pairs += window && visible > window ? window : visible;
        }
        int end = segment->pos_begin + segment->row_count;
        positions += window && end > window + segment->row_count ? window + segment->row_count : end;
    }
    *flops = 4 * pairs * width * node->attrs.attention.heads;
    *bytes += 2 * positions * width * node->attrs.attention.kv_heads * kv_element_bytes;
}

void mosa_profile_add(mosa_profile *profile, const mosa_graph *graph, const mosa_batch *batch, const int64_t *times,
                      double kv_element_bytes) {
    for (int n = 0; times && n < graph->n_nodes; n++) {
        const mosa_node *node = &graph->nodes[n];
        char name[MOSA_PROFILE_OP_NAME_MAX] = {0};
        row_name(graph, node, name);
        mosa_op_time *row = find_row(profile, name);
        if (!row) continue;
        double flops = 0, bytes = 0;
        mosa_op_get(node->op)->cost(graph, node, batch->rows, &flops, &bytes);
        if (node->op == MOSA_OP_ATTENTION && batch->segments)
            attention_cost(node, batch, kv_element_bytes, &flops, &bytes);
        row->calls++;
        row->ns += (uint64_t)times[n];
        row->flops += flops;
        row->bytes += bytes;
    }
}
