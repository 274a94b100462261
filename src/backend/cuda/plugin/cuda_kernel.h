// CUDA kernels: what the executor hands to a kernel launcher, and what resident objects look like on a device.
//
// A launcher puts the work of one node on a stream and returns; it allocates nothing and waits for nothing. The
// executor (cuda_exec.c) has checked every index, position and page before. The table in cuda_table.c says which
// launcher runs an op; generic.cu has a plain one for every op, faster ones override it.
//
// Determinism contract: a row's result depends on that row's inputs (and, for attention, its sequence) alone, never on
// rows, neighbours, or how a prompt was chunked: one order of sums and one kind of instruction for every T; attention
// in splits of MOSA_ATTENTION_SPLIT absolute positions, merged in order. No floating-point atomics.
//
// Included by C and by CUDA C++ alike.
#ifndef MOSA_BACKEND_CUDA_PLUGIN_CUDA_KERNEL_H
#define MOSA_BACKEND_CUDA_PLUGIN_CUDA_KERNEL_H

#ifdef __cplusplus
extern "C" {
#endif
#include "backend/backend.h"
#ifdef __cplusplus
}
#endif

#include <cuda_runtime_api.h>

// A segment as kernels see it. Its pages are batch->pages[page_begin...], one for each page_tokens positions.
typedef struct mosa_cuda_segment {
    int32_t row_begin, row_count, pos_begin, page_begin;
    int32_t adapter; // 1-based number in the batch's adapters, 0 = none
} mosa_cuda_segment;

// One target of one adapter: A as the file has it [rank,k], B [n,rank], both f32 on the device; rank 0 = untouched.
typedef struct mosa_cuda_lora {
    const float *a, *b;
    int32_t rank;
    float scale;
} mosa_cuda_lora;

typedef struct mosa_cuda_batch {
    int32_t rows, n_segments;
    int32_t max_rows_of_segment;
    int32_t max_position; // at least the largest pos_begin + row_count - 1; -1 without segments. A captured step keeps
                          // it rounded up: what lies beyond a sequence's own end is the kernel's to skip
    const mosa_cuda_segment *segments; // device (n_segments)
    const int32_t *pages;              // device
    const int32_t *row_segment;        // device (rows) segment of a row
    int32_t n_adapters;
    const mosa_cuda_lora *const *adapters; // device (n_adapters) device arrays of targets
} mosa_cuda_batch;

typedef struct mosa_cuda_args {
    const mosa_graph *graph;
    const mosa_node *node;
    int32_t rows; // rows of the node: of its first output, or of its first input when that is a state
    const void *in[MOSA_NODE_INPUTS_MAX]; // activations: device pointer to row 0; weights: mosa_weight* (host struct);
                                          // states: mosa_kv* (host struct), or of gradients a device float*: the
                                          // part of attrs2.grad.slot, NULL without one
    void *out[MOSA_NODE_OUTPUTS_MAX];     // device; states: the same mosa_kv*
    int64_t in_stride[MOSA_NODE_INPUTS_MAX]; // bytes between rows of activations
    int64_t out_stride[MOSA_NODE_OUTPUTS_MAX];
    const mosa_cuda_batch *batch; // host struct of device arrays
    void *scratch;                // device, 256-byte aligned, shared by all nodes of a stream
    size_t scratch_bytes;
} mosa_cuda_args;

typedef cudaError_t (*mosa_cuda_launch_fn)(const mosa_cuda_args *args, cudaStream_t stream);

// Device scratch that a node wants for up to max_rows rows; max_position is the largest position that can come.
typedef size_t (*mosa_cuda_scratch_fn)(const mosa_graph *graph, const mosa_node *node, int64_t max_rows,
                                       int64_t max_position);

typedef struct mosa_cuda_kernel {
    mosa_cuda_launch_fn launch;   // NULL: not provided, the lowering decomposes the op
    mosa_cuda_scratch_fn scratch; // NULL: none
} mosa_cuda_kernel;

// A weight on a device. `view` is the file's own bytes in host memory (borrowed).
struct mosa_weight {
    mosa_tensor_view view;
    unsigned uses; // set of MOSA_WEIGHT_*
    void *table;   // device: the file's own bytes, for EMBED and for the plain LINEAR; NULL when neither needs them
    float *vector; // device: f32 (n_elements), for norms, biases, frequencies and sinks
    void *packed;  // device: what linear*.cu reads; NULL when LINEAR reads `table`
    size_t packed_bytes; // and all of these fields are private to linear*.cu:
    int layout;
    int64_t n, k, experts; // rows and columns of a matrix; matrices of a stack, 1 for a single one
    size_t device_bytes;   // of all of the above
};

// KV pages on a device, dtype f32, f16 or bf16: for layer l, page p, kv head g: keys [page_tokens][C], then values
// [page_tokens][W], row-major.
struct mosa_kv {
    mosa_kv_spec spec;
    char *data;                                              // device, zeroed
    size_t layer_stride, page_stride, head_stride, v_offset; // bytes
    size_t bytes;
};

#ifdef __cplusplus
extern "C" {
#endif

// generic.cu, rows.cu: a launcher for every op but QUANTIZE_ROWS. The plain LINEAR and EXPERT_LINEAR read
// weight->table.
void mosa_cuda_kernels_generic(mosa_cuda_kernel table[MOSA_OP_COUNT]);
cudaError_t mosa_cuda_generic_linear_launch(const mosa_cuda_args *args, cudaStream_t stream);
cudaError_t mosa_cuda_generic_expert_linear_launch(const mosa_cuda_args *args, cudaStream_t stream);

// linear*.cu (MOSA_CUDA_LINEAR defined): LINEAR and EXPERT_LINEAR. pack uploads a matrix or stack of matrices (which
// may lie in parts) and sets packed, packed_bytes, layout, n, k, experts; a type that it has no layout for leaves
// packed NULL and returns MOSA_OK, and the plain kernels read the file's own bytes. MOSA_ENOMEM.
mosa_status mosa_cuda_linear_pack(const mosa_tensor_view *view, mosa_weight *weight, cudaStream_t stream,
                                  mosa_error *err);
cudaError_t mosa_cuda_linear_launch(const mosa_cuda_args *args, cudaStream_t stream);
// As n launches of LINEAR one after the other, none of which reads what another writes: neighbours that read the same
// few rows share a kernel.
cudaError_t mosa_cuda_linear_launch_together(const mosa_cuda_args *const *args, int n, cudaStream_t stream);
cudaError_t mosa_cuda_expert_linear_launch(const mosa_cuda_args *args, cudaStream_t stream);
size_t mosa_cuda_linear_scratch_bytes(const mosa_graph *graph, const mosa_node *node, int64_t max_rows,
                                      int64_t max_position);

// attention*.cu (MOSA_CUDA_ATTENTION defined).
cudaError_t mosa_cuda_kv_write_launch(const mosa_cuda_args *args, cudaStream_t stream);
cudaError_t mosa_cuda_rope_kv_write_launch(const mosa_cuda_args *args, cudaStream_t stream);
cudaError_t mosa_cuda_attention_launch(const mosa_cuda_args *args, cudaStream_t stream);
size_t mosa_cuda_attention_scratch_bytes(const mosa_graph *graph, const mosa_node *node, int64_t max_rows,
                                         int64_t max_position);
// ATTENTION_DX of packed segments. in: dy, q, k, (v), (sinks); out: dq, dk, dv.
cudaError_t mosa_cuda_attention_dx_launch(const mosa_cuda_args *args, cudaStream_t stream);
size_t mosa_cuda_attention_dx_scratch_bytes(const mosa_graph *graph, const mosa_node *node, int64_t max_rows,
                                            int64_t max_position);

#ifdef __cplusplus
}
#endif

#endif
