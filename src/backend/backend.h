// The device interface: what a backend (CPU, CUDA plugin) provides to run graphs.
//
// Pipeline at load: family builds a graph -> backend->lower -> mosa_plan_create -> weight_create for each weight ->
// exec_create. At a step: exec_run with a batch and bindings. Nothing is allocated in exec_run.
//
// Objects are opaque to callers and belong to the backend that made them. Thread: creation from one thread; one exec is
// run by one thread at a time (it uses the backend's own workers inside).
#ifndef MOSA_BACKEND_BACKEND_H
#define MOSA_BACKEND_BACKEND_H

#include "base/status.h"
#include "graph/graph.h"
#include "graph/plan.h"
#include "tensor/view.h"

#include <stddef.h>
#include <stdint.h>

typedef struct mosa_backend mosa_backend;
typedef struct mosa_weight mosa_weight;   // resident, possibly repacked weight
typedef struct mosa_kv mosa_kv;           // KV pages of all layers
typedef struct mosa_exec mosa_exec;       // a plan bound to weights and memory
typedef struct mosa_adapter mosa_adapter; // resident low-rank matrices of one LoRA adapter

typedef struct mosa_kv_spec {
    int layers, kv_heads, head_width;
    int page_tokens;   // positions per page; a multiple of 16 that divides MOSA_ATTENTION_SPLIT
    int64_t pages;     // pages in the pool; a page id names the same slot in every layer
    mosa_dtype dtype;  // MOSA_F32, MOSA_F16; on a CPU also MOSA_Q8_0, on a GPU also MOSA_BF16
    int value_width;   // columns of a head's values; 0 = head_width
    bool value_in_key; // values are the first columns of the keys: no room is kept for them
} mosa_kv_spec;

static inline int mosa_kv_value_width(const mosa_kv_spec *spec) { // columns that are stored
    return spec->value_in_key ? 0 : spec->value_width ? spec->value_width : spec->head_width;
}

// Attention is computed in splits of this many absolute positions, each with its own running maximum, merged in order
// of position: so a row's result does not depend on how its prompt was chunked or who else is in the batch.
enum { MOSA_ATTENTION_SPLIT = 256 };

// Rows [row_begin, row_begin + row_count) are consecutive positions pos_begin... of one sequence.
typedef struct mosa_segment {
    int32_t row_begin, row_count;
    int32_t pos_begin;
    int32_t n_pages;
    const int32_t *pages; // (n_pages) page of positions [i*page_tokens, (i+1)*page_tokens); NULL without KV state
    int32_t adapter;      // 1-based number in mosa_batch.adapters, 0 = none; only LORA nodes look at it
} mosa_segment;

typedef struct mosa_batch {
    int32_t rows;
    int32_t n_segments;
    const mosa_segment *segments; // (n_segments), row_begin ascending, covering all rows; NULL for row-wise plans
    int32_t n_adapters;
    const mosa_adapter *const *adapters; // (n_adapters) those that segments of this batch name
} mosa_batch;

// The two matrices that an adapter adds to one LINEAR, and how much of their product: y += scale * (x A^T) B^T.
typedef struct mosa_lora_pair {
    int32_t target;                // attrs.lora.target of its LORA node, below the n_targets of adapter_create
    float scale;                   // finite
    const mosa_tensor_view *a, *b; // A [rank, K], B [N, rank], of any dtype that has to_f32
} mosa_lora_pair;

// Where weight gradients add up: a flat arena of f32 in the caller's memory, laid out by weight slot of the graph.
// Slots of one tensor may share an offset.
typedef struct mosa_grads {
    float *data;
    int64_t count; // elements of data
    int32_t n_slots;
    const int64_t *offset; // (n_slots) first element of a slot's gradient, -1 = none is kept
} mosa_grads;

// Rows of an output of another exec's last run, where that left them, as the input of this run. Row r of the input is
// row index[r] of the output.
typedef struct mosa_rows {
    mosa_exec *exec; // of the same backend; NULL: the input is bound by bindings.inputs
    int output;
    const int32_t *index; // (batch->rows)
} mosa_rows;

typedef struct mosa_bindings {
    const void *const *inputs; // (graph->n_inputs) host pointers, by slot
    mosa_kv *const *states;    // (graph->n_states) by slot; not read for those of LORA nodes (see mosa_batch) and of
                               // gradients
    const void **outputs;      // (graph->n_outputs) set by exec_run: host-readable f32 rows, valid until the next run;
                               // NULL: they stay on the device until the next run, for exec_read, exec_draw and rows
    const mosa_rows *rows;     // (graph->n_inputs) or NULL; for inputs that are f32 rows
    mosa_grads *grads;         // of the state that gradients are added to; not read for other graphs
} mosa_bindings;

enum { MOSA_DRAW_TOP_MAX = 20 };

// One token drawn from one row of logits of the last run, as engine/sampler.h says: temperature, top-k, top-p over what
// top-k left, min-p. What has a penalty, a bias or a mask is drawn on the host from a row that was read.
typedef struct mosa_draw {
    int32_t row;
    int32_t given; // >= 0: nothing is drawn, this token is scored
    float temperature, top_p, min_p;
    int32_t top_k;  // 0 = all
    double uniform; // in [0, 1)
    int32_t n_top;  // best tokens to report, at most MOSA_DRAW_TOP_MAX; -1 = no log-probabilities are wanted
} mosa_draw;

typedef struct mosa_drawn {
    int32_t token;                        // -1 when no logit is finite
    float logprob;                        // natural log of softmax(logits) at token; with n_top >= 0
    int32_t top_token[MOSA_DRAW_TOP_MAX]; // (n_top) best first, ties to the smaller token
    float top_logprob[MOSA_DRAW_TOP_MAX];
} mosa_drawn;

typedef struct mosa_device_limits {
    double read_bytes_per_s; // streaming reads of memory beyond the caches
    double f32_ops_per_s;    // fused multiply-adds of f32, two operations each
    double int8_ops_per_s;   // multiply-adds of int8 into wider sums, two operations each; 0 = not measured
    double matrix_ops_per_s; // dense matrix products on matrix units (bf16, f32 sums); 0 = it has none
} mosa_device_limits;

typedef struct mosa_backend_ops {
    const char *name;
    void (*destroy)(mosa_backend *backend);
    // One line for people: "cpu: 2 threads, avx2+fma".
    const char *(*describe)(const mosa_backend *backend);
    // Rewrites a graph into the form this backend runs best (fusion, activation quantisation).
    mosa_status (*lower)(mosa_backend *backend, const mosa_graph *graph, mosa_graph **out, mosa_error *err);
    // Makes a weight resident in the layout that LINEAR (matrix), EXPERT_LINEAR (a stack of matrices, which may lie in
    // parts) or EMBED (table) wants. `uses` is a set of
    // MOSA_WEIGHT_*; a table that is also the output matrix has both. The view's memory must outlive the weight: a
    // backend may keep using it in place.
    mosa_status (*weight_create)(mosa_backend *backend, const mosa_tensor_view *view, unsigned uses, mosa_weight **out,
                                 mosa_error *err);
    void (*weight_destroy)(mosa_backend *backend, mosa_weight *weight);
    size_t (*weight_bytes)(const mosa_weight *weight); // memory it takes beyond the mapped file
    // The data behind the weight's view has changed: makes the new values resident. NULL: this backend cannot. No exec
    // runs meanwhile.
    void (*weight_refresh)(mosa_backend *backend, mosa_weight *weight);
    mosa_status (*kv_create)(mosa_backend *backend, const mosa_kv_spec *spec, mosa_kv **out, mosa_error *err);
    void (*kv_destroy)(mosa_backend *backend, mosa_kv *kv);
    size_t (*kv_page_bytes)(const mosa_kv_spec *spec);
    double (*kv_element_bytes)(const mosa_kv *kv); // of one cached column, scales included
    // Copies an adapter's matrices into the layout that LORA wants; the views may go afterwards. At most one pair per
    // target. May run in any thread, beside an exec that runs. MOSA_ENOMEM.
    mosa_status (*adapter_create)(mosa_backend *backend, const mosa_lora_pair *pairs, int n_pairs, int n_targets,
                                  mosa_adapter **out, mosa_error *err);
    void (*adapter_destroy)(mosa_backend *backend, mosa_adapter *adapter); // NULL-safe; no batch may name it
    size_t (*adapter_bytes)(const mosa_adapter *adapter);
    // weights[slot] for every weight slot of plan->graph. The exec borrows plan and weights.
    mosa_status (*exec_create)(mosa_backend *backend, const mosa_plan *plan, mosa_weight *const *weights,
                               mosa_exec **out, mosa_error *err);
    void (*exec_destroy)(mosa_backend *backend, mosa_exec *exec);
    mosa_status (*exec_run)(mosa_exec *exec, const mosa_batch *batch, const mosa_bindings *bindings, mosa_error *err);
    // Copies rows of an output of the last run to the host: out[i] = row index[i], or row i without an index.
    mosa_status (*exec_read)(mosa_exec *exec, int output, const int32_t *index, int32_t n, float *out, mosa_error *err);
    // Draws n tokens from an output of the last run, [rows, V] logits; n <= the plan's max_rows. The same input gives
    // the same token whatever is drawn beside. NULL: the backend's logits are as good to the host as to it.
    mosa_status (*exec_draw)(mosa_exec *exec, int output, const mosa_draw *draws, int32_t n, mosa_drawn *drawn,
                             mosa_error *err);
    // Per-node time of the last run when profiling is on (nanoseconds, by node index); NULL when off.
    void (*exec_profile)(mosa_exec *exec, bool on);
    const int64_t *(*exec_times)(const mosa_exec *exec);
    // Memory of the device's own, what it has and what of that is free now; NULL: it shares the host's.
    mosa_status (*memory)(mosa_backend *backend, int64_t *total, int64_t *free, mosa_error *err);
    // What the device can do at most, measured now on its own threads.
    mosa_status (*measure)(mosa_backend *backend, mosa_device_limits *limits, mosa_error *err);
} mosa_backend_ops;

// LIVE, beside others: the view's bytes change between runs (training). A backend that can reads them where they are,
// so that weight_refresh has nothing to do.
enum { MOSA_WEIGHT_MATRIX = 1, MOSA_WEIGHT_TABLE = 2, MOSA_WEIGHT_VECTOR = 4, MOSA_WEIGHT_LIVE = 8 };

// The set of MOSA_WEIGHT_* that the nodes of a graph make of one weight slot; 0 when unused. A weight shared by
// several graphs is created with the union.
unsigned mosa_graph_weight_uses(const mosa_graph *graph, int32_t slot);

struct mosa_backend {
    const mosa_backend_ops *ops;
};

typedef struct mosa_backend_options {
    const char *device; // "cpu", "cpu:avx2" (no faster kernels), "cpu:ref" (plain C kernels only), "cuda", "cuda:N"
    int threads;        // 0 = all allowed CPUs
} mosa_backend_options;

// Opens the backend that `device` names, from the table in backend.c. Destroy with backend->ops->destroy.
mosa_status mosa_backend_open(const mosa_backend_options *options, mosa_backend **out, mosa_error *err);

#endif
