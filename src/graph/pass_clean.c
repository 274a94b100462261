// Common nodes merged, dead nodes dropped.
//
// Liveness is found on the old graph, backwards from its outputs and from every node that writes a state. Then nodes
// are copied in order; a pure node equal to one already copied (same op, mapped inputs and attribute bytes) is not
// copied again. Equal nodes are found by an open-addressing hash table over the new graph's nodes.
#include "graph/pass.h"

#include "base/str.h"
#include "graph/op.h"
#include "graph/pass_internal.h"

#include <stdlib.h>

typedef struct node_key {
    int32_t op, n_in;
    mosa_value in[MOSA_NODE_INPUTS_MAX];
    mosa_attrs attrs, attrs2;
    mosa_value after;
} node_key;

typedef struct node_table {
    int32_t *slots; // (mask + 1) node number + 1, 0 = empty
    uint32_t mask;
} node_table;

static bool writes_state(const mosa_graph *graph, const mosa_node *node) {
    for (int i = 0; i < node->n_out; i++)
        if (graph->values[node->out[i]].kind == MOSA_VALUE_STATE) return true;
    return false;
}

// live: (n_values) whether somebody needs a value.
static void mark_live(const mosa_graph *graph, bool *live) {
    for (int i = 0; i < graph->n_outputs; i++) live[graph->outputs[i]] = true;
    for (int n = graph->n_nodes; n-- > 0;) {
        const mosa_node *node = &graph->nodes[n];
        bool needed = writes_state(graph, node);
        for (int i = 0; i < node->n_out; i++) needed |= live[node->out[i]];
        for (int i = 0; needed && i < node->n_in; i++) live[node->in[i]] = true;
        for (int i = 0; needed && i < node->n_out; i++) live[node->out[i]] = true;
    }
}

static node_key key_of(const mosa_node *node, const mosa_value *map) {
    node_key key;
    memset(&key, 0, sizeof key);
    key.op = (int32_t)node->op;
    key.n_in = node->n_in;
    for (int i = 0; i < node->n_in; i++) key.in[i] = map ? map[node->in[i]] : node->in[i];
    key.after = map && node->after != MOSA_NO_VALUE ? map[node->after] : node->after;
    memcpy(&key.attrs, &node->attrs, sizeof key.attrs);
    memcpy(&key.attrs2, &node->attrs2, sizeof key.attrs2);
    return key;
}

// The slot of an equal node of `to`, or the empty slot where it would go.
static int32_t *find_slot(const node_table *table, const mosa_graph *to, const node_key *key) {
    uint32_t at = (uint32_t)mosa_hash_bytes(key, sizeof *key, 0) & table->mask;
    for (;; at = (at + 1) & table->mask) {
        int32_t *slot = &table->slots[at];
        if (*slot == 0) return slot;
        node_key other = key_of(&to->nodes[*slot - 1], NULL);
        if (memcmp(&other, key, sizeof other) == 0) return slot;
    }
}

static void copy_or_merge(mosa_rebuild *rebuild, node_table *table, const mosa_node *node) {
    if (mosa_op_get(node->op)->stateful) {
        mosa_rebuild_copy(rebuild, node);
        return;
    }
    node_key key = key_of(node, rebuild->map);
    int32_t *slot = find_slot(table, rebuild->to, &key);
    if (*slot == 0) {
        mosa_rebuild_copy(rebuild, node);
        *slot = rebuild->to->n_nodes;
        return;
    }
    const mosa_node *same = &rebuild->to->nodes[*slot - 1];
    for (int i = 0; i < node->n_out; i++) rebuild->map[node->out[i]] = same->out[i];
}

mosa_status mosa_pass_clean(const mosa_graph *graph, mosa_graph **out, mosa_error *err) {
    node_table table = {.mask = 63};
    while (table.mask < 2 * (uint32_t)graph->n_nodes) table.mask = table.mask * 2 + 1;
    MOSA_AUTO_FREE bool *live = calloc((size_t)graph->n_values + 1, sizeof *live);
    MOSA_AUTO_FREE int32_t *slots = calloc((size_t)table.mask + 1, sizeof *slots);
    if (!live || !slots) return mosa_fail(err, MOSA_ENOMEM, "graph: out of memory");
    table.slots = slots;
    mosa_rebuild rebuild;
    MOSA_TRY(mosa_rebuild_begin(&rebuild, graph, err));
    mark_live(graph, live);
    for (int n = 0; n < graph->n_nodes && rebuild.to->error.status == MOSA_OK; n++)
        if (live[graph->nodes[n].out[0]] || writes_state(graph, &graph->nodes[n]))
            copy_or_merge(&rebuild, &table, &graph->nodes[n]);
    return mosa_rebuild_finish(&rebuild, out, err);
}
