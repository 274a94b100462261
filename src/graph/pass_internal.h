// Private to graph/: rebuilding one graph into another, which every pass does.
#ifndef MOSA_GRAPH_PASS_INTERNAL_H
#define MOSA_GRAPH_PASS_INTERNAL_H

#include "graph/graph.h"

typedef struct mosa_rebuild {
    const mosa_graph *from;
    mosa_graph *to;
    mosa_value *map; // (from->n_values) value of `to` that stands for a value of `from`, or MOSA_NO_VALUE
} mosa_rebuild;

// Starts with every source of `from` copied in slot order. On failure nothing is left to free.
mosa_status mosa_rebuild_begin(mosa_rebuild *rebuild, const mosa_graph *from, mosa_error *err);

// Copies a node over mapped inputs and maps its outputs.
void mosa_rebuild_copy(mosa_rebuild *rebuild, const mosa_node *node);

// Gives the node that makes `first` in the new graph what `node` has in `after`.
void mosa_rebuild_keep_order(mosa_rebuild *rebuild, const mosa_node *node, mosa_value first);

// Maps the outputs, frees the map, and hands over the graph, or the first fault of the builder.
mosa_status mosa_rebuild_finish(mosa_rebuild *rebuild, mosa_graph **out, mosa_error *err);

#endif
