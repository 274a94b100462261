// Activation quantisation: one QUANTIZE_ROWS per (input, layout), shared by the linears that read it.
#include "graph/pass.h"

#include "graph/op.h"
#include "graph/pass_internal.h"

#include <stdlib.h>
#include <string.h>

typedef struct packed_input {
    mosa_value x, packed; // in the new graph
    int layout;
} packed_input;

typedef struct quantizer {
    mosa_rebuild rebuild;
    packed_input *made; // (n_made) so far, oldest first
    int n_made;
    mosa_pass_row_bytes_fn row_bytes;
    const void *context;
} quantizer;

static mosa_value pack(quantizer *q, mosa_value x, int layout, int64_t k) {
    for (int i = q->n_made; i-- > 0;) // the newest are the likeliest
        if (q->made[i].x == x && q->made[i].layout == layout) return q->made[i].packed;
    mosa_attrs attrs;
    memset(&attrs, 0, sizeof attrs);
    attrs.quantize.layout = layout;
    attrs.quantize.row_bytes = q->row_bytes(layout, k, q->context);
    mosa_value packed = mosa_graph_apply(q->rebuild.to, MOSA_OP_QUANTIZE_ROWS, &x, 1, &attrs);
    q->made[q->n_made++] = (packed_input){x, packed, layout};
    return packed;
}

static void emit_linear(quantizer *q, const mosa_node *node, int layout) {
    const mosa_graph *from = q->rebuild.from;
    mosa_value in[MOSA_NODE_INPUTS_MAX];
    for (int i = 0; i < node->n_in; i++) in[i] = q->rebuild.map[node->in[i]];
    // The loss needs the rows themselves as well.
    bool loss = node->op == MOSA_OP_LINEAR_CE;
    in[loss ? node->n_in : 0] = pack(q, in[0], layout, mosa_shape_row_elements(&from->values[node->in[0]].shape));
    mosa_value first = mosa_graph_apply2(q->rebuild.to, node->op, in, node->n_in + loss, &node->attrs, &node->attrs2);
    mosa_rebuild_keep_order(&q->rebuild, node, first);
    for (int i = 0; i < node->n_out; i++)
        q->rebuild.map[node->out[i]] = mosa_graph_node_output(q->rebuild.to, first, i);
}

mosa_status mosa_pass_quantize(const mosa_graph *graph, mosa_pass_layout_fn layout_of, mosa_pass_row_bytes_fn row_bytes,
                               const void *context, mosa_graph **out, mosa_error *err) {
    MOSA_AUTO_FREE packed_input *made = calloc((size_t)graph->n_nodes + 1, sizeof *made);
    if (!made) return mosa_fail(err, MOSA_ENOMEM, "graph: out of memory");
    quantizer q = {.made = made, .row_bytes = row_bytes, .context = context};
    MOSA_TRY(mosa_rebuild_begin(&q.rebuild, graph, err));
    for (int n = 0; n < graph->n_nodes; n++) {
        const mosa_node *node = &graph->nodes[n];
        int layout = -1;
        bool packed = graph->values[node->in[0]].dtype != MOSA_F32 || (node->op == MOSA_OP_LINEAR_CE && node->n_in > 5);
        if (mosa_op_matrix_operand(node->op) >= 0 && !packed) {
            const mosa_value_info *w = &graph->values[node->in[1]];
            layout = layout_of(w->dtype, w->shape.dim[w->shape.ndim - 1], context);
        }
        if (layout < 0)
            mosa_rebuild_copy(&q.rebuild, node);
        else
            emit_linear(&q, node, layout);
    }
    return mosa_rebuild_finish(&q.rebuild, out, err);
}
