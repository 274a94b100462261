// Schedule and memory plan.
//
// Stage of a node: one past the latest stage it waits for, or the same stage when a rowwise node follows a rowwise one.
// A node that replaces a state version also waits for every reader of the old one; the order in which gradients are
// added is looser (after_gradient). Live range of a value: from the
// stage of its producer to that of its last reader, both included, so that nothing written in a stage shares memory
// with anything read in it. Offsets: largest value first, into the smallest hole that fits among the values already
// placed whose live ranges overlap its own; ties by value number, so a plan is a function of its graph.
#include "graph/plan.h"

#include "graph/op.h"
#include "graph/ops/ops.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct interval {
    mosa_value value;
    int32_t first, last; // stages
    int64_t bytes, offset;
} interval;

typedef struct planner {
    mosa_plan *plan;
    const mosa_graph *graph;
    int32_t *level;         // (n_nodes)
    int32_t *read_at;       // (n_values) latest stage that reads a state version, -1
    const char **slot_name; // (n_weights)
    interval *intervals;
    int n_intervals;
} planner;

static bool is_state(const mosa_graph *graph, mosa_value value) {
    return graph->values[value].kind == MOSA_VALUE_STATE;
}

static bool writes_state(const mosa_graph *graph, const mosa_node *node) {
    for (int i = 0; i < node->n_out; i++)
        if (is_state(graph, node->out[i])) return true;
    return false;
}

// Whether `node` may run in the stage of the producer of `value`.
static bool may_chain(const mosa_graph *graph, const mosa_node *node, mosa_value value) {
    const mosa_value_info *info = &graph->values[value];
    const mosa_node *producer = &graph->nodes[info->producer];
    bool rows = info->kind == MOSA_VALUE_STATE || info->shape.ndim >= 2;
    return rows && mosa_op_get(node->op)->rowwise && mosa_op_get(producer->op)->rowwise;
}

// Gradients of different weights lie apart, so a node that adds one waits for earlier ones of its own weight alone (of
// the same name: a tied table is the weight of two slots); else each would lag behind its derivatives, which keeps them
// alive. Returns the level after the latest such node.
static int32_t after_gradient(const planner *p, const mosa_node *node, mosa_value state) {
    const mosa_graph *graph = p->graph;
    const char *name = p->slot_name[node->attrs2.grad.slot < 0 ? 0 : node->attrs2.grad.slot];
    for (int32_t n = graph->values[state].producer; node->attrs2.grad.slot >= 0 && n >= 0;) {
        const mosa_node *other = &graph->nodes[n];
        int32_t slot = other->attrs2.grad.slot;
        bool same = slot == node->attrs2.grad.slot;
        if (slot >= 0 && !same) same = name && p->slot_name[slot] && strcmp(p->slot_name[slot], name) == 0;
        if (slot >= 0 && same) return p->level[n] + 1;
        mosa_value before = MOSA_NO_VALUE;
        for (int i = 0; i < other->n_in; i++)
            if (is_state(graph, other->in[i])) before = other->in[i];
        n = graph->values[before].producer;
    }
    return 0;
}

static int32_t level_of(const planner *p, const mosa_node *node) {
    const mosa_graph *graph = p->graph;
    bool adds = mosa_op_adds_gradients(node->op), writer = writes_state(graph, node) && !adds;
    int32_t level = 0;
    if (node->after != MOSA_NO_VALUE && graph->values[node->after].producer >= 0)
        level = p->level[graph->values[node->after].producer] + 1;
    for (int i = 0; i < node->n_in; i++) {
        mosa_value value = node->in[i];
        int32_t producer = graph->values[value].producer;
        if (adds && is_state(graph, value)) {
            int32_t after = after_gradient(p, node, value);
            if (after > level) level = after;
        } else if (producer >= 0) {
            int32_t after = p->level[producer] + (may_chain(graph, node, value) ? 0 : 1);
            if (after > level) level = after;
        }
        if (writer && is_state(graph, value) && p->read_at[value] + 1 > level) level = p->read_at[value] + 1;
    }
    return level;
}

static void assign_levels(planner *p) {
    const mosa_graph *graph = p->graph;
    for (mosa_value v = 0; v < graph->n_values; v++) p->read_at[v] = -1;
    for (int32_t n = 0; n < graph->n_nodes; n++) {
        const mosa_node *node = &graph->nodes[n];
        p->level[n] = level_of(p, node);
        for (int i = 0; i < node->n_in; i++)
            if (is_state(graph, node->in[i]) && p->read_at[node->in[i]] < p->level[n])
                p->read_at[node->in[i]] = p->level[n];
        if (p->level[n] + 1 > p->plan->n_stages) p->plan->n_stages = p->level[n] + 1;
    }
}

// Counting sort by level; stable, so a stage keeps topological order.
static mosa_status order_nodes(planner *p, mosa_error *err) {
    mosa_plan *plan = p->plan;
    plan->stages = calloc((size_t)plan->n_stages + 1, sizeof *plan->stages);
    if (!plan->stages) return mosa_fail(err, MOSA_ENOMEM, "plan: out of memory");
    for (int32_t n = 0; n < p->graph->n_nodes; n++) plan->stages[p->level[n]].node_count++;
    for (int s = 1; s < plan->n_stages; s++)
        plan->stages[s].node_begin = plan->stages[s - 1].node_begin + plan->stages[s - 1].node_count;
    for (int s = 0; s < plan->n_stages; s++) plan->stages[s].node_count = 0;
    for (int32_t n = 0; n < p->graph->n_nodes; n++) {
        mosa_stage *stage = &plan->stages[p->level[n]];
        plan->order[stage->node_begin + stage->node_count++] = n;
    }
    return MOSA_OK;
}

// Bytes per row, and the bytes to set aside. Dimension 0 counts rows, of the batch or not, unless it is the only one
// and not MOSA_ROWS: a vector is one row.
static mosa_status size_value(planner *p, mosa_value v, int64_t *bytes, mosa_error *err) {
    const mosa_value_info *value = &p->graph->values[v];
    bool of_batch = value->shape.ndim > 0 && value->shape.dim[0] == MOSA_ROWS;
    bool has_rows = of_batch || value->shape.ndim > 1;
    int64_t rows = of_batch ? p->plan->max_rows : has_rows ? value->shape.dim[0] : 1;
    int64_t elements = 1, total;
    size_t row_bytes = 0;
    bool fits = true;
    for (int i = has_rows; i < value->shape.ndim; i++)
        fits = fits && !__builtin_mul_overflow(elements, value->shape.dim[i], &elements);
    fits = fits && mosa_dtype_bytes(value->dtype, elements, &row_bytes) && row_bytes < INT64_MAX / 2 &&
           !__builtin_mul_overflow((int64_t)row_bytes, rows, &total) && total < INT64_MAX / 4;
    if (!fits) return mosa_fail(err, MOSA_ELIMIT, "plan: value %d does not fit in memory", (int)v);
    p->plan->row_stride[v] = (int64_t)row_bytes;
    *bytes = (total + MOSA_PLAN_ALIGN - 1) / MOSA_PLAN_ALIGN * MOSA_PLAN_ALIGN;
    return MOSA_OK;
}

static mosa_status find_intervals(planner *p, mosa_error *err) {
    const mosa_graph *graph = p->graph;
    mosa_plan *plan = p->plan;
    MOSA_AUTO_FREE int32_t *last = calloc((size_t)graph->n_values + 1, sizeof *last);
    if (!last) return mosa_fail(err, MOSA_ENOMEM, "plan: out of memory");
    for (int32_t n = 0; n < graph->n_nodes; n++)
        for (int i = 0; i < graph->nodes[n].n_in; i++)
            if (last[graph->nodes[n].in[i]] < p->level[n]) last[graph->nodes[n].in[i]] = p->level[n];
    for (int i = 0; i < graph->n_outputs; i++) last[graph->outputs[i]] = plan->n_stages;
    for (mosa_value v = 0; v < graph->n_values; v++) {
        const mosa_value_info *value = &graph->values[v];
        plan->offset[v] = -1;
        if (value->kind == MOSA_VALUE_STATE || value->kind == MOSA_VALUE_WEIGHT) continue;
        int64_t bytes = 0;
        MOSA_TRY(size_value(p, v, &bytes, err));
        if (value->kind != MOSA_VALUE_COMPUTED) continue;
        int32_t first = p->level[value->producer];
        p->intervals[p->n_intervals++] = (interval){v, first, last[v] < first ? first : last[v], bytes, 0};
        if (__builtin_add_overflow(plan->unshared_bytes, bytes, &plan->unshared_bytes))
            return mosa_fail(err, MOSA_ELIMIT, "plan: activations do not fit in memory");
    }
    return MOSA_OK;
}

static int larger_first(const void *a, const void *b) {
    const interval *x = a, *y = b;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
    return x->value < y->value ? -1 : x->value > y->value;
}

// Offset of the smallest hole that holds `item` among placed[0..n), which is sorted by offset.
static int64_t best_fit(const interval *placed, int n, const interval *item) {
    int64_t best = -1, best_hole = INT64_MAX, end = 0;
    for (int i = 0; i < n; i++) {
        const interval *other = &placed[i];
        if (other->last < item->first || other->first > item->last) continue;
        int64_t hole = other->offset - end;
        if (hole >= item->bytes && hole < best_hole) {
            best = end;
            best_hole = hole;
        }
        if (other->offset + other->bytes > end) end = other->offset + other->bytes;
    }
    return best >= 0 ? best : end;
}

static mosa_status place_values(planner *p, mosa_error *err) {
    mosa_plan *plan = p->plan;
    MOSA_AUTO_FREE interval *placed = calloc((size_t)p->n_intervals + 1, sizeof *placed);
    if (!placed) return mosa_fail(err, MOSA_ENOMEM, "plan: out of memory");
    qsort(p->intervals, (size_t)p->n_intervals, sizeof *p->intervals, larger_first);
    for (int i = 0; i < p->n_intervals; i++) {
        interval item = p->intervals[i];
        item.offset = best_fit(placed, i, &item);
        int at = i;
        for (; at > 0 && placed[at - 1].offset > item.offset; at--) placed[at] = placed[at - 1];
        placed[at] = item;
        plan->offset[item.value] = item.offset;
        if (item.offset + item.bytes > plan->arena_bytes) plan->arena_bytes = item.offset + item.bytes;
    }
    return MOSA_OK;
}

static mosa_status build(planner *p, mosa_error *err) {
    mosa_plan *plan = p->plan;
    size_t nodes = (size_t)p->graph->n_nodes + 1, values = (size_t)p->graph->n_values + 1;
    plan->order = calloc(nodes, sizeof *plan->order);
    plan->offset = calloc(values, sizeof *plan->offset);
    plan->row_stride = calloc(values, sizeof *plan->row_stride);
    p->level = calloc(nodes, sizeof *p->level);
    p->read_at = calloc(values, sizeof *p->read_at);
    p->intervals = calloc(values, sizeof *p->intervals);
    p->slot_name = calloc((size_t)p->graph->n_weights + 1, sizeof *p->slot_name);
    if (!p->slot_name || !plan->order || !plan->offset || !plan->row_stride || !p->level || !p->read_at ||
        !p->intervals)
        return mosa_fail(err, MOSA_ENOMEM, "plan: out of memory");
    for (mosa_value v = 0; v < p->graph->n_values; v++)
        if (p->graph->values[v].kind == MOSA_VALUE_WEIGHT)
            p->slot_name[p->graph->values[v].slot] = p->graph->values[v].name;
    assign_levels(p);
    MOSA_TRY(order_nodes(p, err));
    MOSA_TRY(find_intervals(p, err));
    return place_values(p, err);
}

mosa_status mosa_plan_create(const mosa_graph *graph, int64_t max_rows, mosa_plan **out, mosa_error *err) {
    MOSA_TRY(mosa_graph_status(graph, err));
    if (max_rows <= 0 || max_rows > INT32_MAX)
        return mosa_fail(err, MOSA_EINVALID, "plan: max_rows %lld is out of range", (long long)max_rows);
    mosa_plan *plan = calloc(1, sizeof *plan);
    if (!plan) return mosa_fail(err, MOSA_ENOMEM, "plan: out of memory");
    plan->graph = graph;
    plan->max_rows = max_rows;
    planner p = {.plan = plan, .graph = graph};
    mosa_status status = build(&p, err);
    free(p.level);
    free(p.read_at);
    free(p.intervals);
    free(p.slot_name);
    if (status == MOSA_OK)
        *out = plan;
    else
        mosa_plan_destroy(plan);
    return status;
}

void mosa_plan_destroy(mosa_plan *plan) {
    if (!plan) return;
    free(plan->order);
    free(plan->stages);
    free(plan->offset);
    free(plan->row_stride);
    free(plan);
}
