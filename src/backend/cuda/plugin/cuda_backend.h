// What the files of the plugin share: the backend object, errors, uploads, and the objects that it hands out.
//
// One stream runs all steps of a backend; weights are uploaded on a second one and are complete when weight_create
// returns. Every entry point makes the backend's device current for its thread.
#ifndef MOSA_BACKEND_CUDA_PLUGIN_CUDA_BACKEND_H
#define MOSA_BACKEND_CUDA_PLUGIN_CUDA_BACKEND_H

#include "backend/cuda/cuda_plugin.h"
#include "backend/cuda/plugin/cuda_kernel.h"
#include "backend/cuda/plugin/cuda_upload.h"

typedef struct mosa_cuda_backend {
    mosa_backend base; // first: a mosa_backend* is a mosa_cuda_backend*
    int device;
    cudaStream_t stream;        // of steps
    cudaStream_t upload_stream; // of weights and adapters
    mosa_cuda_kernel kernels[MOSA_OP_COUNT];
    uint64_t generation; // counts weight_refresh: pointers in captured steps may be stale
    char description[256];
} mosa_cuda_backend;

// Fills err for a CUDA call that failed and returns the status: MOSA_ENOMEM for memory, else MOSA_EINTERNAL.
mosa_status mosa_cuda_fail(mosa_error *err, cudaError_t error, const char *what);

#define MOSA_CUDA_TRY(call, what, err)                                                                                 \
    do {                                                                                                               \
        cudaError_t mosa_cuda_error_ = (call);                                                                         \
        if (mosa_cuda_error_ != cudaSuccess) return mosa_cuda_fail(err, mosa_cuda_error_, what);                       \
    } while (0)

// Device memory, 256-byte aligned. MOSA_ENOMEM names `what` and says how much was free.
mosa_status mosa_cuda_alloc(void **out, size_t bytes, const char *what, mosa_error *err);
mosa_status mosa_cuda_use(const mosa_backend *backend, mosa_error *err); // makes the device current

void mosa_cuda_kernels(mosa_cuda_kernel table[MOSA_OP_COUNT]); // cuda_table.c: the fastest of every op

mosa_status mosa_cuda_lower(mosa_backend *backend, const mosa_graph *graph, mosa_graph **out, mosa_error *err);

mosa_status mosa_cuda_weight_create(mosa_backend *backend, const mosa_tensor_view *view, unsigned uses,
                                    mosa_weight **out, mosa_error *err);
void mosa_cuda_weight_destroy(mosa_backend *backend, mosa_weight *weight);
void mosa_cuda_weight_refresh(mosa_backend *backend, mosa_weight *weight);
size_t mosa_cuda_weight_bytes(const mosa_weight *weight);

mosa_status mosa_cuda_kv_create(mosa_backend *backend, const mosa_kv_spec *spec, mosa_kv **out, mosa_error *err);
void mosa_cuda_kv_destroy(mosa_backend *backend, mosa_kv *kv);
size_t mosa_cuda_kv_page_bytes(const mosa_kv_spec *spec);
double mosa_cuda_kv_element_bytes(const mosa_kv *kv);

// A resident adapter: for each target of the graph a mosa_cuda_lora on the device, and its shape on the host.
typedef struct mosa_cuda_lora_shape {
    int32_t rank; // 0: the adapter leaves this target alone
    int64_t n, k;
} mosa_cuda_lora_shape;

struct mosa_adapter {
    int n_targets;
    mosa_cuda_lora_shape *shapes; // (n_targets)
    void *memory;                 // device: mosa_cuda_lora (n_targets), then the matrices
    size_t bytes;
};

mosa_status mosa_cuda_adapter_create(mosa_backend *backend, const mosa_lora_pair *pairs, int n_pairs, int n_targets,
                                     mosa_adapter **out, mosa_error *err);
void mosa_cuda_adapter_destroy(mosa_backend *backend, mosa_adapter *adapter);
size_t mosa_cuda_adapter_bytes(const mosa_adapter *adapter);

mosa_status mosa_cuda_exec_create(mosa_backend *backend, const mosa_plan *plan, mosa_weight *const *weights,
                                  mosa_exec **out, mosa_error *err);
void mosa_cuda_exec_destroy(mosa_backend *backend, mosa_exec *exec);
mosa_status mosa_cuda_exec_run(mosa_exec *exec, const mosa_batch *batch, const mosa_bindings *bindings,
                               mosa_error *err);
mosa_status mosa_cuda_exec_read(mosa_exec *exec, int output, const int32_t *index, int32_t n, float *out,
                                mosa_error *err);
mosa_status mosa_cuda_exec_draw(mosa_exec *exec, int output, const mosa_draw *draws, int32_t n, mosa_drawn *drawn,
                                mosa_error *err);
void mosa_cuda_exec_profile(mosa_exec *exec, bool on);
const int64_t *mosa_cuda_exec_times(const mosa_exec *exec);

mosa_status mosa_cuda_measure(mosa_backend *backend, mosa_device_limits *limits, mosa_error *err);

#endif
