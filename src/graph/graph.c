// The builder: values and nodes appended in topological order, checked by the op table as they come.
//
// Invariants: a node's inputs have smaller value numbers than its outputs; a value is written by at most one node; a
// state version is consumed by at most one node, and nothing uses it after that. The first fault wins and sticks.
#include "graph/graph.h"

#include "graph/op.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { GRAPH_NODES_MAX = 1 << 20 };

mosa_graph *mosa_graph_create(mosa_error *err) {
    mosa_graph *graph = calloc(1, sizeof *graph);
    if (!graph) {
        (void)mosa_fail(err, MOSA_ENOMEM, "graph: out of memory");
        return NULL;
    }
    mosa_arena_init(&graph->arena, 16 * 1024, 0);
    return graph;
}

void mosa_graph_destroy(mosa_graph *graph) {
    if (!graph) return;
    free(graph->nodes);
    free(graph->values);
    free(graph->outputs);
    mosa_arena_finish(&graph->arena);
    free(graph);
}

mosa_status mosa_graph_status(const mosa_graph *graph, mosa_error *err) {
    if (graph->error.status != MOSA_OK && err) *err = graph->error;
    return graph->error.status;
}

static bool has_failed(const mosa_graph *graph) {
    return graph->error.status != MOSA_OK;
}

// Makes room for `extra` more elements; false and the graph's error on out-of-memory.
static bool reserve(mosa_graph *graph, void **array, int *cap, int count, int extra, size_t element_bytes) {
    if (count + extra <= *cap) return true;
    if (count > GRAPH_NODES_MAX) {
        (void)mosa_fail(&graph->error, MOSA_ELIMIT, "graph: more than %d nodes", GRAPH_NODES_MAX);
        return false;
    }
    int new_cap = *cap ? *cap * 2 : 64;
    void *grown = realloc(*array, (size_t)new_cap * element_bytes);
    if (!grown) {
        (void)mosa_fail(&graph->error, MOSA_ENOMEM, "graph: out of memory");
        return false;
    }
    *array = grown;
    *cap = new_cap;
    return true;
}

static bool reserve_values(mosa_graph *graph, int extra) {
    return reserve(graph, (void **)&graph->values, &graph->cap_values, graph->n_values, extra, sizeof *graph->values);
}

static bool check_shape(mosa_graph *graph, const char *name, mosa_shape shape) {
    bool valid = shape.ndim >= 0 && shape.ndim <= MOSA_DIMS_MAX;
    for (int i = 0; valid && i < shape.ndim; i++)
        valid = (shape.dim[i] > 0 && shape.dim[i] <= INT32_MAX) || (i == 0 && shape.dim[i] == MOSA_ROWS);
    if (!valid)
        (void)mosa_fail(&graph->error, MOSA_EINVALID, "graph: '%s' has an impossible shape", name ? name : "(unnamed)");
    return valid;
}

static mosa_value add_source(mosa_graph *graph, mosa_value_kind kind, int *n_slots, const char *name, mosa_dtype dtype,
                             mosa_shape shape) {
    if (has_failed(graph) || !check_shape(graph, name, shape) || !reserve_values(graph, 1)) return MOSA_NO_VALUE;
    char *copy = NULL;
    if (name && !(copy = mosa_arena_strdup(&graph->arena, name))) {
        (void)mosa_fail(&graph->error, MOSA_ENOMEM, "graph: out of memory");
        return MOSA_NO_VALUE;
    }
    graph->values[graph->n_values] = (mosa_value_info){
        .kind = kind, .dtype = dtype, .shape = shape, .producer = -1, .slot = (*n_slots)++, .name = copy};
    return graph->n_values++;
}

mosa_value mosa_graph_input(mosa_graph *graph, const char *name, mosa_dtype dtype, mosa_shape shape) {
    return add_source(graph, MOSA_VALUE_INPUT, &graph->n_inputs, name, dtype, shape);
}

mosa_value mosa_graph_weight(mosa_graph *graph, const char *name, mosa_dtype dtype, mosa_shape shape) {
    if (!has_failed(graph) && shape.ndim > 0 && shape.dim[0] == MOSA_ROWS) {
        (void)mosa_fail(&graph->error, MOSA_EINVALID, "graph: weight '%s' cannot have token rows", name ? name : "");
        return MOSA_NO_VALUE;
    }
    return add_source(graph, MOSA_VALUE_WEIGHT, &graph->n_weights, name, dtype, shape);
}

mosa_value mosa_graph_state(mosa_graph *graph, const char *name) {
    return add_source(graph, MOSA_VALUE_STATE, &graph->n_states, name, MOSA_U8, (mosa_shape){0});
}

void mosa_graph_output(mosa_graph *graph, mosa_value value) {
    if (has_failed(graph)) return;
    if (value < 0 || value >= graph->n_values) {
        (void)mosa_fail(&graph->error, MOSA_EINVALID, "graph: output %d is not a value", graph->n_outputs);
        return;
    }
    const mosa_value_info *info = &graph->values[value];
    if (info->kind == MOSA_VALUE_WEIGHT || info->kind == MOSA_VALUE_STATE) {
        (void)mosa_fail(&graph->error, MOSA_EINVALID, "graph: output %d is a %s", graph->n_outputs,
                        info->kind == MOSA_VALUE_WEIGHT ? "weight" : "state");
        return;
    }
    if (!reserve(graph, (void **)&graph->outputs, &graph->cap_outputs, graph->n_outputs, 1, sizeof *graph->outputs))
        return;
    graph->outputs[graph->n_outputs++] = value;
}

// True when a node consumes this version of a state, that is, yields the next one.
static bool is_consumed(const mosa_graph *graph, mosa_value state) {
    for (int n = graph->n_nodes; n-- > 0;) {
        const mosa_node *node = &graph->nodes[n];
        bool reads = false, writes = false;
        for (int i = 0; i < node->n_in; i++) reads |= node->in[i] == state;
        for (int i = 0; i < node->n_out; i++) writes |= graph->values[node->out[i]].kind == MOSA_VALUE_STATE;
        if (reads && writes) return true;
    }
    return false;
}

static bool check_operands(mosa_graph *graph, mosa_op op, const mosa_value *in, int n_in) {
    const mosa_op_info *info = mosa_op_get(op);
    if (n_in < info->n_in_min || n_in > info->n_in_max) {
        (void)mosa_fail(&graph->error, MOSA_EINVALID, "%s: takes %d to %d operands, not %d", info->name, info->n_in_min,
                        info->n_in_max, n_in);
        return false;
    }
    for (int i = 0; i < n_in; i++) {
        if (in[i] < 0 || in[i] >= graph->n_values) {
            (void)mosa_fail(&graph->error, MOSA_EINVALID, "%s: operand %d is not a value", info->name, i);
            return false;
        }
        if (graph->values[in[i]].kind == MOSA_VALUE_STATE && is_consumed(graph, in[i])) {
            (void)mosa_fail(&graph->error, MOSA_EINVALID, "%s: operand %d is a state that a later version replaced",
                            info->name, i);
            return false;
        }
    }
    return true;
}

mosa_value mosa_graph_apply2(mosa_graph *graph, mosa_op op, const mosa_value *in, int n_in, const mosa_attrs *attrs,
                             const mosa_attrs *attrs2) {
    if (has_failed(graph)) return MOSA_NO_VALUE;
    if ((int)op < 0 || op >= MOSA_OP_COUNT) {
        (void)mosa_fail(&graph->error, MOSA_EINVALID, "graph: no op number %d", (int)op);
        return MOSA_NO_VALUE;
    }
    if (!check_operands(graph, op, in, n_in)) return MOSA_NO_VALUE;
    const mosa_op_info *info = mosa_op_get(op);
    mosa_node node = {.op = op, .n_in = n_in, .n_out = info->n_out, .after = MOSA_NO_VALUE};
    for (int i = 0; i < MOSA_NODE_INPUTS_MAX; i++) node.in[i] = i < n_in ? in[i] : MOSA_NO_VALUE;
    for (int i = 0; i < MOSA_NODE_OUTPUTS_MAX; i++) node.out[i] = i < info->n_out ? graph->n_values + i : MOSA_NO_VALUE;
    if (attrs) node.attrs = *attrs;
    if (attrs2) node.attrs2 = *attrs2;
    mosa_value_info outs[MOSA_NODE_OUTPUTS_MAX];
    for (int i = 0; i < MOSA_NODE_OUTPUTS_MAX; i++)
        outs[i] = (mosa_value_info){.kind = MOSA_VALUE_COMPUTED, .producer = graph->n_nodes, .slot = i};
    if (info->infer(graph, &node, outs, &graph->error) != MOSA_OK) return MOSA_NO_VALUE;
    if (!reserve(graph, (void **)&graph->nodes, &graph->cap_nodes, graph->n_nodes, 1, sizeof *graph->nodes) ||
        !reserve_values(graph, info->n_out))
        return MOSA_NO_VALUE;
    graph->nodes[graph->n_nodes++] = node;
    memcpy(graph->values + graph->n_values, outs, (size_t)info->n_out * sizeof *outs);
    graph->n_values += info->n_out;
    return node.out[0];
}

mosa_value mosa_graph_apply(mosa_graph *graph, mosa_op op, const mosa_value *in, int n_in, const mosa_attrs *attrs) {
    return mosa_graph_apply2(graph, op, in, n_in, attrs, NULL);
}

mosa_value mosa_graph_node_output(const mosa_graph *graph, mosa_value first_output, int number) {
    if (first_output < 0 || first_output >= graph->n_values) return MOSA_NO_VALUE;
    int32_t producer = graph->values[first_output].producer;
    if (producer < 0 || number < 0 || number >= graph->nodes[producer].n_out) return MOSA_NO_VALUE;
    return graph->nodes[producer].out[number];
}

int64_t mosa_shape_row_elements(const mosa_shape *shape) {
    int64_t elements = 1;
    for (int i = 0; i < shape->ndim; i++)
        if (i > 0 || shape->dim[0] != MOSA_ROWS) elements *= shape->dim[i];
    return elements;
}
