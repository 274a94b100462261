// Weights made resident: matrices in the layout of linear*.cu or as the file has them, tables as the file has them,
// vectors as f32.
#include "backend/cuda/plugin/cuda_backend.h"

#include "backend/check.h"

#include <stdlib.h>

// Whether the plain kernels decode a type (dequant.cuh).
static bool decodes(mosa_dtype dtype) {
    switch (dtype) {
    case MOSA_F32:
    case MOSA_F16:
    case MOSA_BF16:
    case MOSA_Q4_0:
    case MOSA_Q4_1:
    case MOSA_Q5_0:
    case MOSA_Q5_1:
    case MOSA_Q8_0:
    case MOSA_Q2_K:
    case MOSA_Q3_K:
    case MOSA_Q4_K:
    case MOSA_Q5_K:
    case MOSA_Q6_K:
    case MOSA_IQ4_NL:
    case MOSA_IQ4_XS:
    case MOSA_MXFP4:
        return true;
    default:
        return false;
    }
}

static const char *name_of(const mosa_weight *weight) {
    return weight->view.name ? weight->view.name : "weight";
}

static mosa_status upload_bytes(mosa_cuda_backend *cuda, mosa_weight *weight, mosa_error *err) {
    const mosa_tensor_view *view = &weight->view;
    if (!decodes(view->dtype)) {
        (void)mosa_fail(err, MOSA_EUNSUPPORTED, "cuda: %.200s: no kernel for %s", name_of(weight),
                        mosa_dtype_name(view->dtype));
        return err ? mosa_hint(err, "convert the model to bf16, q8_0 or q4_k") : MOSA_EUNSUPPORTED;
    }
    // Kernels read whole 16-byte words, so the last one must exist.
    MOSA_TRY(mosa_cuda_alloc(&weight->table, (view->bytes + 15) / 16 * 16, name_of(weight), err));
    weight->device_bytes += view->bytes;
    if (!view->parts) return mosa_cuda_upload(weight->table, view->data, view->bytes, cuda->upload_stream, err);
    size_t slice = view->bytes / (size_t)view->dims[0];
    for (int64_t e = 0; e < view->dims[0]; e++)
        MOSA_TRY(mosa_cuda_upload((char *)weight->table + (size_t)e * slice, view->parts[e], slice, cuda->upload_stream,
                                  err));
    return MOSA_OK;
}

static mosa_status make_matrix(mosa_cuda_backend *cuda, mosa_weight *weight, mosa_error *err) {
    const mosa_tensor_view *view = &weight->view;
    if (view->n_dims != 2 && view->n_dims != 3)
        return mosa_fail(err, MOSA_EUNSUPPORTED, "cuda: %.200s: a matrix of %u dimensions", name_of(weight),
                         view->n_dims);
    weight->experts = view->n_dims == 3 ? view->dims[0] : 1;
    weight->n = view->dims[view->n_dims - 2];
    weight->k = view->dims[view->n_dims - 1];
#ifdef MOSA_CUDA_LINEAR
    MOSA_TRY(mosa_cuda_linear_pack(view, weight, cuda->upload_stream, err));
    if (weight->packed) {
        weight->device_bytes += weight->packed_bytes;
        return MOSA_OK;
    }
#endif
    return weight->table ? MOSA_OK : upload_bytes(cuda, weight, err);
}

static mosa_status make_vector(mosa_cuda_backend *cuda, mosa_weight *weight, mosa_error *err) {
    const mosa_tensor_view *view = &weight->view;
    size_t bytes = (size_t)view->n_elements * sizeof(float);
    MOSA_AUTO_FREE float *values = malloc(bytes);
    if (!values) return mosa_fail(err, MOSA_ENOMEM, "%.200s: out of memory", name_of(weight));
    mosa_dtype_traits_of(view->dtype)->to_f32(view->data, values, view->n_elements);
    MOSA_TRY(mosa_cuda_alloc((void **)&weight->vector, bytes, name_of(weight), err));
    weight->device_bytes += bytes;
    return mosa_cuda_upload(weight->vector, values, bytes, cuda->upload_stream, err);
}

static mosa_status make(mosa_cuda_backend *cuda, mosa_weight *weight, mosa_error *err) {
    if (weight->uses & MOSA_WEIGHT_TABLE) MOSA_TRY(upload_bytes(cuda, weight, err));
    if (weight->uses & MOSA_WEIGHT_MATRIX) MOSA_TRY(make_matrix(cuda, weight, err));
    if (weight->uses & MOSA_WEIGHT_VECTOR) MOSA_TRY(make_vector(cuda, weight, err));
    MOSA_CUDA_TRY(cudaStreamSynchronize(cuda->upload_stream), name_of(weight), err);
    return MOSA_OK;
}

mosa_status mosa_cuda_weight_create(mosa_backend *backend, const mosa_tensor_view *view, unsigned uses,
                                    mosa_weight **out, mosa_error *err) {
    MOSA_TRY(mosa_check_view(view, uses, err));
    MOSA_TRY(mosa_cuda_use(backend, err));
    mosa_weight *weight = calloc(1, sizeof *weight);
    if (!weight) return mosa_fail(err, MOSA_ENOMEM, "%.200s: out of memory", view->name ? view->name : "weight");
    weight->view = *view;
    weight->uses = uses;
    mosa_status status = make((mosa_cuda_backend *)backend, weight, err);
    if (status == MOSA_OK)
        *out = weight;
    else
        mosa_cuda_weight_destroy(backend, weight);
    return status;
}

static void release(mosa_weight *weight) {
    (void)cudaFree(weight->table);
    (void)cudaFree(weight->vector);
    (void)cudaFree(weight->packed);
    weight->table = weight->packed = NULL;
    weight->vector = NULL;
    weight->device_bytes = 0;
}

void mosa_cuda_weight_destroy(mosa_backend *backend, mosa_weight *weight) {
    if (!weight) return;
    (void)mosa_cuda_use(backend, NULL);
    release(weight);
    free(weight);
}

// Freed memory of the same sizes is there again, so this fails only with the device itself; a run then says so.
void mosa_cuda_weight_refresh(mosa_backend *backend, mosa_weight *weight) {
    mosa_cuda_backend *cuda = (mosa_cuda_backend *)backend;
    (void)mosa_cuda_use(backend, NULL);
    (void)cudaStreamSynchronize(cuda->stream);
    release(weight);
    cuda->generation++;
    (void)make(cuda, weight, NULL);
}

size_t mosa_cuda_weight_bytes(const mosa_weight *weight) {
    return weight->device_bytes;
}
