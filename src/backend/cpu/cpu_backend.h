// The CPU backend as the table of backends sees it, and what its own files share.
//
// Objects: cpu_backend.c opens the backend (kernel table, thread pool); cpu_weight.c, cpu_kv.c and cpu_exec.c make the
// objects that it hands out; cpu_memory.c maps their memory.
#ifndef MOSA_BACKEND_CPU_CPU_BACKEND_H
#define MOSA_BACKEND_CPU_CPU_BACKEND_H

#include "backend/backend.h"
#include "backend/cpu/kernel.h"
#include "base/pool.h"

// Opens "cpu" (the fastest kernels that the processor has), "cpu:avx2" (none faster than those) or "cpu:ref";
// `variant` is what follows the colon, or "".
mosa_status mosa_cpu_open(const mosa_backend_options *options, const char *variant, mosa_backend **out,
                          mosa_error *err);

typedef struct mosa_cpu_block mosa_cpu_block; // cpu_arena.c

typedef struct mosa_cpu_backend {
    mosa_backend base; // first: a mosa_backend* is a mosa_cpu_backend*
    mosa_cpu_kernels kernels;
    mosa_pool *pool;
    int n_threads;
    bool packs; // LINEAR reads packed matrices
    mosa_cpu_block *weight_memory;
    char description[96];
} mosa_cpu_backend;

// Zeroed memory, 64-byte aligned, in huge pages when it is large and the system has them. NULL on out-of-memory.
void *mosa_cpu_alloc(size_t bytes);
void mosa_cpu_free(void *memory, size_t bytes); // NULL-safe; the bytes of the allocation

// The same out of large blocks that many allocations share; *blocks is NULL at first, and again when all is freed.
void *mosa_cpu_arena_alloc(mosa_cpu_block **blocks, size_t bytes);
void mosa_cpu_arena_free(mosa_cpu_block **blocks, const void *memory); // NULL-safe

mosa_status mosa_cpu_weight_create(mosa_backend *backend, const mosa_tensor_view *view, unsigned uses,
                                   mosa_weight **out, mosa_error *err);
void mosa_cpu_weight_destroy(mosa_backend *backend, mosa_weight *weight);
size_t mosa_cpu_weight_bytes(const mosa_weight *weight);
void mosa_cpu_weight_refresh(mosa_backend *backend, mosa_weight *weight);

mosa_status mosa_cpu_kv_create(mosa_backend *backend, const mosa_kv_spec *spec, mosa_kv **out, mosa_error *err);
void mosa_cpu_kv_destroy(mosa_backend *backend, mosa_kv *kv);
size_t mosa_cpu_kv_page_bytes(const mosa_kv_spec *spec);
double mosa_cpu_kv_element_bytes(const mosa_kv *kv);

mosa_status mosa_cpu_adapter_create(mosa_backend *backend, const mosa_lora_pair *pairs, int n_pairs, int n_targets,
                                    mosa_adapter **out, mosa_error *err);
void mosa_cpu_adapter_destroy(mosa_backend *backend, mosa_adapter *adapter);
size_t mosa_cpu_adapter_bytes(const mosa_adapter *adapter);

// Sorts the rows of a checked batch by adapter. init: for batches of up to max_rows rows; allocates.
mosa_status mosa_cpu_lora_rows_init(mosa_cpu_lora_rows *lora, int64_t max_rows, mosa_error *err);
void mosa_cpu_lora_rows_finish(mosa_cpu_lora_rows *lora); // safe on a zeroed struct
void mosa_cpu_lora_rows_set(mosa_cpu_lora_rows *lora, const mosa_batch *batch);

mosa_status mosa_cpu_exec_create(mosa_backend *backend, const mosa_plan *plan, mosa_weight *const *weights,
                                 mosa_exec **out, mosa_error *err);
void mosa_cpu_exec_destroy(mosa_backend *backend, mosa_exec *exec);
mosa_status mosa_cpu_exec_read(mosa_exec *exec, int output, const int32_t *index, int32_t n, float *out,
                               mosa_error *err);
mosa_status mosa_cpu_exec_run(mosa_exec *exec, const mosa_batch *batch, const mosa_bindings *bindings, mosa_error *err);
void mosa_cpu_exec_profile(mosa_exec *exec, bool on);
const int64_t *mosa_cpu_exec_times(const mosa_exec *exec);

mosa_status mosa_cpu_measure(mosa_backend *backend, mosa_device_limits *limits, mosa_error *err); // cpu_limits.c

#endif
