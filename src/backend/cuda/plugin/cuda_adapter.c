// Resident LoRA adapters: one device allocation each, all matrices as f32, in the file's order.
//
// May run beside a step: it has the upload ring's lock and a stream of its own to itself while it runs.
#include "backend/cuda/plugin/cuda_backend.h"

#include <stdlib.h>
#include <string.h>

static size_t align_up(size_t bytes) {
    return (bytes + 255) / 256 * 256;
}

// Shape of one target and the offsets of its matrices, from *total on.
static mosa_status measure(const mosa_lora_pair *pair, mosa_cuda_lora_shape *shape, size_t at[2], size_t *total,
                           mosa_error *err) {
    const mosa_tensor_view *a = pair->a, *b = pair->b;
    const char *name = a->name ? a->name : "(unnamed)";
    if (a->n_dims != 2 || b->n_dims != 2 || a->dims[0] != b->dims[1] || a->dims[0] <= 0 || a->dims[0] > INT32_MAX / 2)
        return mosa_fail(err, MOSA_EINVALID, "adapter: %.200s is no low-rank pair", name);
    const mosa_tensor_view *both[2] = {a, b};
    for (int i = 0; i < 2; i++) {
        size_t bytes;
        if (!mosa_dtype_traits_of(both[i]->dtype)->to_f32 ||
            !mosa_dtype_bytes(both[i]->dtype, both[i]->dims[1], &bytes))
            return mosa_fail(err, MOSA_EUNSUPPORTED, "adapter: %.200s has type %s, which is not supported", name,
                             mosa_dtype_name(both[i]->dtype));
        at[i] = *total;
        *total = align_up(at[i] + (size_t)both[i]->dims[0] * (size_t)both[i]->dims[1] * sizeof(float));
    }
    *shape = (mosa_cuda_lora_shape){(int32_t)a->dims[0], b->dims[0], a->dims[1]};
    return MOSA_OK;
}

static void decode(const mosa_tensor_view *view, float *to) {
    const mosa_dtype_traits *traits = mosa_dtype_traits_of(view->dtype);
    size_t row_bytes = 0;
    (void)mosa_dtype_bytes(view->dtype, view->dims[1], &row_bytes);
    for (int64_t r = 0; r < view->dims[0]; r++)
        traits->to_f32((const char *)view->data + (size_t)r * row_bytes, to + r * view->dims[1], view->dims[1]);
}

// The whole image on the host, then one copy.
static mosa_status fill(mosa_adapter *adapter, const mosa_lora_pair *pairs, int n_pairs, mosa_error *err) {
    MOSA_AUTO_FREE size_t *at = calloc(2 * (size_t)n_pairs + 1, sizeof *at);
    if (!at || !adapter->shapes) return mosa_fail(err, MOSA_ENOMEM, "adapter: out of memory");
    adapter->bytes = align_up((size_t)adapter->n_targets * sizeof(mosa_cuda_lora));
    for (int i = 0; i < n_pairs; i++) {
        int32_t target = pairs[i].target;
        if (target < 0 || target >= adapter->n_targets || adapter->shapes[target].rank)
            return mosa_fail(err, MOSA_EINVALID, "adapter: target %d is unknown or given twice", target);
        MOSA_TRY(measure(&pairs[i], &adapter->shapes[target], &at[2 * i], &adapter->bytes, err));
    }
    MOSA_TRY(mosa_cuda_alloc(&adapter->memory, adapter->bytes, "adapter", err));
    MOSA_AUTO_FREE char *image = calloc(1, adapter->bytes);
    if (!image) return mosa_fail(err, MOSA_ENOMEM, "adapter: out of memory");
    mosa_cuda_lora *targets = (mosa_cuda_lora *)(void *)image;
    const char *device = adapter->memory;
    for (int i = 0; i < n_pairs; i++) {
        decode(pairs[i].a, (float *)(void *)(image + at[2 * i]));
        decode(pairs[i].b, (float *)(void *)(image + at[2 * i + 1]));
        targets[pairs[i].target] = (mosa_cuda_lora){(const float *)(const void *)(device + at[2 * i]),
                                                    (const float *)(const void *)(device + at[2 * i + 1]),
                                                    adapter->shapes[pairs[i].target].rank, pairs[i].scale};
    }
    cudaStream_t stream;
    MOSA_CUDA_TRY(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "adapter", err);
    mosa_status status = mosa_cuda_upload(adapter->memory, image, adapter->bytes, stream, err);
    cudaError_t error = cudaStreamSynchronize(stream);
    (void)cudaStreamDestroy(stream);
    return status == MOSA_OK && error != cudaSuccess ? mosa_cuda_fail(err, error, "adapter") : status;
}

mosa_status mosa_cuda_adapter_create(mosa_backend *backend, const mosa_lora_pair *pairs, int n_pairs, int n_targets,
                                     mosa_adapter **out, mosa_error *err) {
    MOSA_TRY(mosa_cuda_use(backend, err));
    mosa_adapter *adapter = calloc(1, sizeof *adapter);
    if (!adapter) return mosa_fail(err, MOSA_ENOMEM, "adapter: out of memory");
    adapter->n_targets = n_targets;
    adapter->shapes = calloc((size_t)n_targets + 1, sizeof *adapter->shapes);
    mosa_status status = fill(adapter, pairs, n_pairs, err);
    if (status == MOSA_OK)
        *out = adapter;
    else
        mosa_cuda_adapter_destroy(backend, adapter);
    return status;
}

void mosa_cuda_adapter_destroy(mosa_backend *backend, mosa_adapter *adapter) {
    if (!adapter) return;
    (void)mosa_cuda_use(backend, NULL);
    (void)cudaFree(adapter->memory);
    free(adapter->shapes);
    free(adapter);
}

size_t mosa_cuda_adapter_bytes(const mosa_adapter *adapter) {
    return adapter->bytes;
}
