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

// Puts a trainable pair beside every LINEAR whose weight slot is a target: y + (scale * x A^T) B^T, to the bit what a
// LORA node gives with that adapter. targets: (n_weights) NULL, or the name under which a slot's pair is trained; slots
// that share a pair's memory have one name. The weights A f32 [rank,K] and B f32 [N,rank] of pair p get slots n_weights
// + 2 p and + 1 behind those of the graph; pair_target[p] (room for n_weights) is the slot beside which it stands.
mosa_status mosa_pass_lora(const mosa_graph *graph, const char *const *targets, int rank, float scale,
                           int32_t *pair_target, int *n_pairs, mosa_graph **out, mosa_error *err);

// Puts QUANTIZE_ROWS before every LINEAR and EXPERT_LINEAR whose weight dtype wants quantised activations; rows that
// hold one input per slot are packed slot after slot. `layout_of` returns the
// backend's layout number for (weight dtype, K) or -1 for "takes f32 rows", and `row_bytes` the bytes of one packed
// row. Linears over one input and one layout share one QUANTIZE_ROWS.
typedef int (*mosa_pass_layout_fn)(mosa_dtype weight_dtype, int64_t k, const void *context);
typedef int64_t (*mosa_pass_row_bytes_fn)(int layout, int64_t k, const void *context);
mosa_status mosa_pass_quantize(const mosa_graph *graph, mosa_pass_layout_fn layout_of, mosa_pass_row_bytes_fn row_bytes,
                               const void *context, mosa_graph **out, mosa_error *err);

// Backwards: a graph that computes what `forward` does and then gradients, by the derivative of each op. Only what
// leads from a wanted weight or input to a seed is differentiated.
//   LINEAR_CE   its dh is the seed of its h; when its matrix is wanted, its attrs2.grad.slot is set
//   seeds       outputs of a graph whose gradients the caller supplies: one more input each, of the value's shape,
//   named
//               "d." and its name, behind the forward's inputs in the order given
// Weight gradients are added to a state "grads", the one of the forward's LINEAR_CE or, where there are any, a
// new one behind its states.
// Outputs: those of `forward`, then the gradient of each wanted input, in order of slots.
// MOSA_EUNSUPPORTED: an op on the way has no derivative (KV pages, quantised rows, LORA); MOSA_EINVALID: a wanted input
// that no seed depends on.
typedef struct mosa_autodiff {
    const bool *weights;     // (forward->n_weights) whose gradients are wanted
    const bool *inputs;      // (forward->n_inputs) or NULL
    const mosa_value *seeds; // (n_seeds) values of `forward`
    int n_seeds;
} mosa_autodiff;
mosa_status mosa_pass_autodiff(const mosa_graph *forward, const mosa_autodiff *wanted, mosa_graph **out,
                               mosa_error *err);

// Trades time for memory in what mosa_pass_autodiff made of a forward of `n_forward` nodes: of its first `layers`
// layers only what the next layer reads is kept, and what the way back needs is computed again from that, no earlier
// than the gradient that asks for it. A layer begins before each ATTENTION where only the residual stream passes.
// *n_layers: how many there are; layers beyond are ignored. No number changes.
mosa_status mosa_pass_recompute(const mosa_graph *graph, int n_forward, int layers, int *n_layers, mosa_graph **out,
                                mosa_error *err);

#endif
