// The executor's state, shared by the files that bind it (cuda_exec.c), fill a step (cuda_step.c) and run it
// (cuda_run.c).
//
// Memory of an exec, all made in exec_create: one device block [activations of the plan | step block], scratch, a
// pinned twin of the step block, and pinned outputs. The step block holds what changes from step to step, packed for
// the rows and segments of the step: segments, row_segment, adapters, inputs, and last the page lists. It goes up in
// one copy. The addresses inside are a function of (rows, segments, adapters), so a captured step finds them again.
#ifndef MOSA_BACKEND_CUDA_PLUGIN_CUDA_EXEC_H
#define MOSA_BACKEND_CUDA_PLUGIN_CUDA_EXEC_H

#include "backend/check.h"
#include "backend/cuda/plugin/cuda_backend.h"
#include "backend/cuda/plugin/rows.h"

enum { MOSA_CUDA_GRAPHS_MAX = 64 };      // captured steps that are kept
enum { MOSA_CUDA_SOURCES_MAX = 2 };      // inputs of a captured step that may be rows of another exec
enum { MOSA_CUDA_GRAPH_ROWS_MAX = 256 }; // larger steps are long enough to be launched kernel by kernel

typedef struct mosa_cuda_patch {
    int32_t node, operand, slot;
    mosa_value_kind kind; // INPUT or STATE
} mosa_cuda_patch;

// What a captured step depends on beside its exec; everything else is read from the step block.
typedef struct mosa_cuda_graph_key {
    int32_t rows, n_segments, n_adapters, max_rows_of_segment;
    int32_t max_position;                       // rounded up
    bool fetches;                               // outputs are copied to the host
    const mosa_kv *state;                       // of the first state
    uint64_t generation;                        // of the weights
    const void *sources[MOSA_CUDA_SOURCES_MAX]; // of inputs that are rows of another exec, by slot
} mosa_cuda_graph_key;

typedef struct mosa_cuda_graph {
    mosa_cuda_graph_key key;
    cudaGraphExec_t exec; // NULL: seen once, not yet captured
    uint64_t used;        // number of the run that used it last
} mosa_cuda_graph;

// An input of f32 rows that another exec's output can be gathered into.
typedef struct mosa_cuda_gather {
    float *to; // device (max_rows, width); NULL for other inputs
    int64_t width;
    const float *from; // of this run; NULL: the input is bound by the host
} mosa_cuda_gather;

struct mosa_exec {
    mosa_cuda_backend *cuda;
    const mosa_plan *plan;
    char *memory, *step; // device; step points into memory
    char *host_step;     // pinned
    size_t step_bytes, arena_bytes;
    char *host_out; // pinned; made when a run first wants outputs on the host
    size_t *out_at; // (n_outputs) offsets into host_out
    size_t out_bytes;
    cudaEvent_t sent;              // the step block has been read
    mosa_cuda_gather *gathers;     // (n_inputs) where rows of another exec go
    struct mosa_cuda_draws *draws; // cuda_draw.c; NULL until something is drawn
    int32_t last_rows;             // of the last run
    char *scratch;                 // device
    size_t scratch_bytes;
    mosa_cuda_packed *packed; // (n_nodes) rows set: the node also makes the row of a QUANTIZE_ROWS node
    bool *skipped;            // (n_nodes) made by another node
    mosa_cuda_args *args;     // (n_nodes)
    mosa_cuda_patch *patches; // (n_patches)
    mosa_index_check *checks; // (n_checks)
    int n_patches, n_checks;
    size_t *input_at;      // (n_inputs) offsets into the step block, of this run
    mosa_cuda_batch batch; // of this run
    bool uses_segments;
    int32_t adapter_slot; // of the state that LORA nodes read, -1 when there are none
    int32_t grads_slot;   // of the state that gradients are added to, likewise
    float *grads;         // device: gradients of a run, laid out as the caller's; made when a run first has some
    int64_t grads_count;
    const mosa_grads *bound_grads; // of this run
    mosa_cuda_graph graphs[MOSA_CUDA_GRAPHS_MAX];
    int n_graphs;
    uint64_t runs;
    bool graphs_off; // after a capture that failed, or by MOSA_CUDA_GRAPHS=0
    bool profile;
    cudaEvent_t *events; // (n_nodes + 1) when profiling
    int64_t *times;      // (n_nodes) nanoseconds of the last run
};

// Packs batch and inputs into the pinned step block and sets exec->batch and the pointers of exec->args. *bytes: to
// send. max_position: what kernels are told, at least that of the batch.
mosa_status mosa_cuda_step_fill(mosa_exec *exec, const mosa_batch *batch, const mosa_bindings *bindings, size_t *bytes,
                                mosa_error *err);
// The largest step block without page lists.
size_t mosa_cuda_step_bytes_max(const mosa_graph *graph, int64_t max_rows);
// Makes room for page lists; forgets captured steps when addresses change.
mosa_status mosa_cuda_exec_reserve_step(mosa_exec *exec, size_t bytes, mosa_error *err);
// Scratch for a run of `rows` rows that reaches max_position.
mosa_status mosa_cuda_exec_reserve_scratch(mosa_exec *exec, int64_t rows, int64_t max_position, mosa_error *err);
void mosa_cuda_exec_forget_graphs(mosa_exec *exec);
// The device's rows of an output, and their width, when it is made of f32 rows; NULL otherwise.
const float *mosa_cuda_exec_rows(const mosa_exec *exec, int output, int64_t *width);
// The part of the gradients of a node's weight, on the device; NULL when none is kept.
float *mosa_cuda_exec_grad(const mosa_exec *exec, const mosa_node *node);
void mosa_cuda_draws_destroy(struct mosa_cuda_draws *draws); // NULL-safe

#endif
