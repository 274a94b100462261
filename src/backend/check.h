// What every backend checks before its kernels, which trust what they are given: batches, pages, indices, weights.
//
// Each returns MOSA_OK or fills err with one clear sentence. Nothing here allocates; all functions are reentrant.
#ifndef MOSA_BACKEND_CHECK_H
#define MOSA_BACKEND_CHECK_H

#include "backend/backend.h"

// Rows within the plan and, when the graph looks at them, segments that cover the rows in order. MOSA_EINVALID.
mosa_status mosa_check_batch(const mosa_batch *batch, int64_t max_rows, bool segments, mosa_error *err);

// Every position that the batch reaches lies in a page of the pool. MOSA_EINVALID.
mosa_status mosa_check_pages(const mosa_kv_spec *spec, const mosa_batch *batch, mosa_error *err);

// A state of number `slot` fits a node that reads or writes it. MOSA_EINVALID.
mosa_status mosa_check_state(const mosa_node *node, const mosa_kv_spec *spec, int slot, mosa_error *err);

// An index that a kernel follows without looking (ids, labels, rows), an input of the graph.
typedef struct mosa_index_check {
    mosa_op op;
    int32_t slot;         // of the input that holds the indices
    int32_t first;        // the least that is right
    int64_t count, bound; // MOSA_ROWS stands for the rows of the run
} mosa_index_check;

bool mosa_index_check_of(const mosa_graph *graph, const mosa_node *node, mosa_index_check *out); // false: none needed
mosa_status mosa_check_index(const mosa_index_check *check, int32_t rows, const int32_t *index, mosa_error *err);

// The batch has a plausible number of adapters and its segments name only those. MOSA_EINVALID.
mosa_status mosa_check_adapter_numbers(const mosa_batch *batch, int64_t max_rows, mosa_error *err);

// What a file claims of a tensor that is to be used as `uses` says. MOSA_ECORRUPT, MOSA_EUNSUPPORTED.
mosa_status mosa_check_view(const mosa_tensor_view *view, unsigned uses, mosa_error *err);

// Everything of a page pool but its type. MOSA_EINVALID.
mosa_status mosa_check_kv_spec(const mosa_kv_spec *spec, mosa_error *err);

// The weight of an operand: of the graph's type (a vector may have any) and shape. MOSA_EINVALID.
mosa_status mosa_check_weight_view(const mosa_graph *graph, const mosa_node *node, int operand,
                                   const mosa_tensor_view *view, mosa_error *err);

// Rows of a node in a run of `rows` rows: of its first output, or of its first input when that is a state.
int32_t mosa_node_rows(const mosa_graph *graph, const mosa_node *node, int32_t rows);

#endif
