// Passes: functions from one graph to a new one. None mutates its input; each result is destroyed by the caller.
//
// Order used by a backend's lowering: clean, fuse, quantize, clean.
#ifndef MOSA_GRAPH_PASS_H
#define MOSA_GRAPH_PASS_H

#include "graph/graph.h"

// Merges equal pure nodes (so that one rope table or one quantised input serves all its users) and drops nodes whose
// outputs nobody needs. Inputs, weights and states keep their slots even when unused.
mosa_status mosa_pass_clean(const mosa_graph *graph, mosa_graph **out, mosa_error *err);

// Replaces known patterns by fused ops where `supports(op, context)` says that a kernel exists:
//   add + rms_norm -> ADD_RMS_NORM;  act(gate) * up -> GATED_ACT;  rope(q), kv_write(rope(k), v) -> ROPE_KV_WRITE
typedef bool (*mosa_pass_supports_fn)(mosa_op op, const void *context);
mosa_status mosa_pass_fuse(const mosa_graph *graph, mosa_pass_supports_fn supports, const void *context,
                           mosa_graph **out, mosa_error *err);

// Expands every fused op by its decomposition: the reference form.
mosa_status mosa_pass_decompose(const mosa_graph *graph, mosa_graph **out, mosa_error *err);

// Puts a LORA node behind every LINEAR over the batch's rows, for adapters of up to `rank`; its target is the slot of
// the linear's weight. The new state "adapters" comes behind the states of the graph. For the graph as its family built
// it.
mosa_status mosa_pass_adapters(const mosa_graph *graph, int rank, mosa_graph **out, mosa_error *err);

// Puts QUANTIZE_ROWS before every LINEAR and EXPERT_LINEAR whose weight dtype wants quantised activations; rows that
// hold one input per slot are packed slot after slot. `layout_of` returns the
// backend's layout number for (weight dtype, K) or -1 for "takes f32 rows", and `row_bytes` the bytes of one packed
// row. Linears over one input and one layout share one QUANTIZE_ROWS.
typedef int (*mosa_pass_layout_fn)(mosa_dtype weight_dtype, int64_t k, const void *context);
typedef int64_t (*mosa_pass_row_bytes_fn)(int layout, int64_t k, const void *context);
mosa_status mosa_pass_quantize(const mosa_graph *graph, mosa_pass_layout_fn layout_of, mosa_pass_row_bytes_fn row_bytes,
                               const void *context, mosa_graph **out, mosa_error *err);

#endif
