// The memory plan and the schedule: what a backend executes.
//
// Nodes are grouped into stages, so that a backend's threads meet once per stage, not once per node. Nodes of one stage
// do not depend on each other (data, state or reused memory), with one exception: a rowwise node may follow the rowwise
// node that feeds it, because a thread that owns a row finishes it in both. Every computed value gets an offset in one
// activation arena of `arena_bytes` by liveness over stages and best fit; two values that are live in the same stage
// never overlap. Sizes are for max_rows rows; a run uses at most that many. Outputs of the graph stay live to the end.
//
// A plan borrows its graph (which must outlive it) and is read-only once built.
#ifndef MOSA_GRAPH_PLAN_H
#define MOSA_GRAPH_PLAN_H

#include "graph/graph.h"

enum { MOSA_PLAN_ALIGN = 64 };

typedef struct mosa_stage {
    int32_t node_begin, node_count; // into mosa_plan.order
} mosa_stage;

typedef struct mosa_plan {
    const mosa_graph *graph;
    int64_t max_rows;
    int32_t *order;     // (graph->n_nodes) node indices, stage by stage, in topological order within a stage
    mosa_stage *stages; // (n_stages)
    int n_stages;
    int64_t *offset;     // (graph->n_values) bytes into the arena; -1 for values that are not computed
    int64_t *row_stride; // (graph->n_values) bytes per row of activations; a vector is one row
    int64_t arena_bytes;
    int64_t unshared_bytes; // what the values would take without reuse, for the report
} mosa_plan;

mosa_status mosa_plan_create(const mosa_graph *graph, int64_t max_rows, mosa_plan **out, mosa_error *err);
void mosa_plan_destroy(mosa_plan *plan); // NULL-safe

#endif
