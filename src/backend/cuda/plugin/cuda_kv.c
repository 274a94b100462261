// KV pages on the device: one allocation per pool, zeroed.
#include "backend/cuda/plugin/cuda_backend.h"

#include "backend/check.h"

#include <stdlib.h>

static size_t element_bytes(const mosa_kv_spec *spec) {
    return spec->dtype == MOSA_F32 ? 4 : 2;
}

size_t mosa_cuda_kv_page_bytes(const mosa_kv_spec *spec) {
    size_t columns = (size_t)spec->head_width + (size_t)mosa_kv_value_width(spec);
    return (size_t)spec->layers * (size_t)spec->kv_heads * (size_t)spec->page_tokens * columns * element_bytes(spec);
}

double mosa_cuda_kv_element_bytes(const mosa_kv *kv) {
    const mosa_kv_spec *spec = &kv->spec;
    double elements = 2.0 * spec->layers * spec->kv_heads * spec->page_tokens * spec->head_width;
    return (double)mosa_cuda_kv_page_bytes(spec) / elements;
}

static void lay_out(mosa_kv *kv) {
    const mosa_kv_spec *spec = &kv->spec;
    size_t element = element_bytes(spec), tokens = (size_t)spec->page_tokens;
    kv->v_offset = tokens * (size_t)spec->head_width * element;
    kv->head_stride = kv->v_offset + tokens * (size_t)mosa_kv_value_width(spec) * element;
    kv->page_stride = kv->head_stride * (size_t)spec->kv_heads;
    kv->layer_stride = kv->page_stride * (size_t)spec->pages;
    kv->bytes = kv->layer_stride * (size_t)spec->layers;
}

mosa_status mosa_cuda_kv_create(mosa_backend *backend, const mosa_kv_spec *spec, mosa_kv **out, mosa_error *err) {
    MOSA_TRY(mosa_check_kv_spec(spec, err));
    if (spec->dtype != MOSA_F32 && spec->dtype != MOSA_F16 && spec->dtype != MOSA_BF16)
        return mosa_fail(err, MOSA_EUNSUPPORTED, "kv: pages on a GPU are f16, bf16 or f32, not %s",
                         mosa_dtype_name(spec->dtype));
    size_t bytes;
    if (__builtin_mul_overflow(mosa_cuda_kv_page_bytes(spec), (size_t)spec->pages, &bytes))
        return mosa_fail(err, MOSA_ENOMEM, "kv: %lld pages do not fit in memory", (long long)spec->pages);
    MOSA_TRY(mosa_cuda_use(backend, err));
    mosa_kv *kv = calloc(1, sizeof *kv);
    if (!kv) return mosa_fail(err, MOSA_ENOMEM, "kv: out of memory");
    kv->spec = *spec;
    lay_out(kv);
    cudaStream_t stream = ((mosa_cuda_backend *)backend)->stream;
    mosa_status status = mosa_cuda_alloc((void **)&kv->data, bytes, "kv pages", err);
    cudaError_t error = status == MOSA_OK ? cudaMemsetAsync(kv->data, 0, bytes, stream) : cudaSuccess;
    if (status == MOSA_OK && error == cudaSuccess) error = cudaStreamSynchronize(stream);
    if (error != cudaSuccess) status = mosa_cuda_fail(err, error, "kv pages");
    if (status == MOSA_OK)
        *out = kv;
    else
        mosa_cuda_kv_destroy(backend, kv);
    return status;
}

void mosa_cuda_kv_destroy(mosa_backend *backend, mosa_kv *kv) {
    if (!kv) return;
    (void)mosa_cuda_use(backend, NULL);
    (void)cudaFree(kv->data);
    free(kv);
}
