// Fusion: known patterns of primitive ops replaced by one fused op each.
//
// First every pattern is matched on the old graph: `plan[n]` tells what becomes of node n. Then the graph is rebuilt in
// order. A fused node stands where all its inputs exist and before the first use of any output:
//   add + rms_norm                     at the add (the norm's weight is a source)
//   act(gate) * up                     at the mul
//   rope(q), kv_write(rope(k), v)      at the kv_write, when only the attention that reads the new state uses rope(q)
#include "graph/pass.h"

#include "graph/op.h"
#include "graph/pass_internal.h"

#include <stdlib.h>
#include <string.h>

typedef enum action { KEEP, DROP, FUSE_ADD_NORM, FUSE_GATED, FUSE_ROPE_WRITE } action;

typedef struct fusion {
    action act;
    int32_t other;  // add_norm: the rms_norm; gated: the act; rope_write: the rope of k
    int32_t other2; // rope_write: the rope of q
} fusion;

typedef struct fuser {
    const mosa_graph *graph;
    int32_t *uses; // (n_values) nodes that read it, plus one when it is an output
    fusion *plan;  // (n_nodes)
} fuser;

static int32_t producer_of(const fuser *f, mosa_value value, mosa_op op) {
    int32_t node = f->graph->values[value].producer;
    return node >= 0 && f->graph->nodes[node].op == op && f->plan[node].act == KEEP ? node : -1;
}

static bool is_source(const fuser *f, mosa_value value) {
    return f->graph->values[value].producer < 0;
}

// Node n is an rms_norm; its input may come from an add.
static void match_add_norm(fuser *f, int32_t n) {
    const mosa_node *norm = &f->graph->nodes[n];
    int32_t add = producer_of(f, norm->in[0], MOSA_OP_ADD);
    int64_t columns = f->graph->values[norm->in[0]].shape.dim[1];
    bool whole_row = norm->attrs.norm.group == 0 || norm->attrs.norm.group == columns;
    if (add < 0 || !whole_row || !is_source(f, norm->in[1])) return;
    f->plan[add] = (fusion){FUSE_ADD_NORM, n, -1};
    f->plan[n].act = DROP;
}

// Node n is a mul; one of its inputs may be an act that nobody else uses.
static void match_gated(fuser *f, int32_t n) {
    const mosa_node *mul = &f->graph->nodes[n];
    for (int i = 0; i < 2; i++) {
        int32_t act = producer_of(f, mul->in[i], MOSA_OP_ACT);
        if (act < 0 || f->uses[mul->in[i]] != 1) continue;
        f->plan[n] = (fusion){FUSE_GATED, act, i};
        f->plan[act].act = DROP;
        return;
    }
}

// The one attention that reads a state version; -1 when there is none or more than one.
static int32_t reader_of(const mosa_graph *graph, mosa_value state) {
    int32_t found = -1;
    for (int32_t n = 0; n < graph->n_nodes; n++) {
        const mosa_node *node = &graph->nodes[n];
        if (node->op != MOSA_OP_ATTENTION || node->in[1] != state) continue;
        if (found >= 0) return -1;
        found = n;
    }
    return found;
}

// Node n is a kv_write of a roped k; the q of the attention behind it may be roped alike.
static void match_rope_write(fuser *f, int32_t n) {
    const mosa_graph *graph = f->graph;
    const mosa_node *write = &graph->nodes[n];
    int32_t rope_k = producer_of(f, write->in[0], MOSA_OP_ROPE);
    int32_t attention = reader_of(graph, write->out[0]);
    if (rope_k < 0 || attention < 0 || f->uses[write->in[0]] != 1 || write->attrs.attention.value_in_key) return;
    mosa_value q = graph->nodes[attention].in[0];
    int32_t rope_q = producer_of(f, q, MOSA_OP_ROPE);
    if (rope_q < 0 || rope_q > n || rope_q == rope_k || f->uses[q] != 1) return;
    const mosa_node *nk = &graph->nodes[rope_k], *nq = &graph->nodes[rope_q];
    if (nk->in[1] != nq->in[1] || nk->attrs.rope.head_width != nq->attrs.rope.head_width ||
        nk->attrs.rope.rot != nq->attrs.rope.rot || nk->attrs.rope.style != nq->attrs.rope.style ||
        nk->attrs.rope.head_width != write->attrs.attention.head_width)
        return;
    f->plan[n] = (fusion){FUSE_ROPE_WRITE, rope_k, rope_q};
    f->plan[rope_k].act = f->plan[rope_q].act = DROP;
}

static void match_all(fuser *f, mosa_pass_supports_fn supports, const void *context) {
    bool add_norm = supports(MOSA_OP_ADD_RMS_NORM, context), gated = supports(MOSA_OP_GATED_ACT, context);
    bool rope_write = supports(MOSA_OP_ROPE_KV_WRITE, context);
    for (int32_t n = 0; n < f->graph->n_nodes; n++) {
        if (f->plan[n].act != KEEP) continue;
        switch (f->graph->nodes[n].op) {
        case MOSA_OP_RMS_NORM:
            if (add_norm) match_add_norm(f, n);
            break;
        case MOSA_OP_MUL:
            if (gated) match_gated(f, n);
            break;
        case MOSA_OP_KV_WRITE:
            if (rope_write) match_rope_write(f, n);
            break;
        default:
            break;
        }
    }
}

static void count_uses(fuser *f) {
    const mosa_graph *graph = f->graph;
    for (int32_t n = 0; n < graph->n_nodes; n++)
        for (int i = 0; i < graph->nodes[n].n_in; i++) f->uses[graph->nodes[n].in[i]]++;
    for (int i = 0; i < graph->n_outputs; i++) f->uses[graph->outputs[i]]++;
}

static void emit(mosa_rebuild *r, const fuser *f, int32_t n) {
    const mosa_node *nodes = f->graph->nodes, *node = &nodes[n];
    const fusion *plan = &f->plan[n];
    const mosa_value *map = r->map;
    mosa_value first;
    switch (plan->act) {
    case KEEP:
        mosa_rebuild_copy(r, node);
        break;
    case DROP:
        break;
    case FUSE_ADD_NORM: {
        const mosa_node *norm = &nodes[plan->other];
        mosa_attrs attrs = norm->attrs;
        attrs.norm.group = 0;
        first = mosa_graph_apply(r->to, MOSA_OP_ADD_RMS_NORM,
                                 (mosa_value[]){map[node->in[0]], map[node->in[1]], map[norm->in[1]]}, 3, &attrs);
        r->map[node->out[0]] = first;
        r->map[norm->out[0]] = mosa_graph_node_output(r->to, first, 1);
        break;
    }
    case FUSE_GATED: {
        const mosa_node *act = &nodes[plan->other];
        mosa_value up = node->in[1 - plan->other2];
        r->map[node->out[0]] =
            mosa_graph_apply(r->to, MOSA_OP_GATED_ACT, (mosa_value[]){map[act->in[0]], map[up]}, 2, &act->attrs);
        break;
    }
    case FUSE_ROPE_WRITE: {
        const mosa_node *k = &nodes[plan->other], *q = &nodes[plan->other2];
        mosa_value in[5] = {map[q->in[0]], map[k->in[0]], map[node->in[1]], map[k->in[1]], map[node->in[2]]};
        first = mosa_graph_apply2(r->to, MOSA_OP_ROPE_KV_WRITE, in, 5, &k->attrs, &node->attrs);
        r->map[q->out[0]] = first;
        r->map[node->out[0]] = mosa_graph_node_output(r->to, first, 1);
        break;
    }
    }
}

mosa_status mosa_pass_fuse(const mosa_graph *graph, mosa_pass_supports_fn supports, const void *context,
                           mosa_graph **out, mosa_error *err) {
    MOSA_AUTO_FREE int32_t *uses = calloc((size_t)graph->n_values + 1, sizeof *uses);
    MOSA_AUTO_FREE fusion *plan = calloc((size_t)graph->n_nodes + 1, sizeof *plan);
    if (!uses || !plan) return mosa_fail(err, MOSA_ENOMEM, "graph: out of memory");
    fuser f = {.graph = graph, .uses = uses, .plan = plan};
    mosa_rebuild rebuild;
    MOSA_TRY(mosa_rebuild_begin(&rebuild, graph, err));
    count_uses(&f);
    match_all(&f, supports, context);
    for (int32_t n = 0; n < graph->n_nodes; n++) emit(&rebuild, &f, n);
    return mosa_rebuild_finish(&rebuild, out, err);
}
