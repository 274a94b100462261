// KV pages: one pool per model, zeroed by the system when first touched.
#include "backend/check.h"
#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/kv_page.h"

#include <stdlib.h>

static mosa_status check_spec(const mosa_kv_spec *spec, mosa_error *err) {
    MOSA_TRY(mosa_check_kv_spec(spec, err));
    if (spec->dtype != MOSA_F32 && spec->dtype != MOSA_F16 && spec->dtype != MOSA_Q8_0)
        return mosa_fail(err, MOSA_EUNSUPPORTED, "kv: pages are f32, f16 or q8_0, not %s",
                         mosa_dtype_name(spec->dtype));
    return MOSA_OK;
}

size_t mosa_cpu_kv_page_bytes(const mosa_kv_spec *spec) {
    size_t groups = (size_t)spec->layers * (size_t)spec->kv_heads * (size_t)spec->page_tokens / MOSA_KV_GROUP;
    return groups * (mosa_kv_key_group_bytes(spec) + mosa_kv_value_group_bytes(spec));
}

double mosa_cpu_kv_element_bytes(const mosa_kv *kv) {
    const mosa_kv_spec *spec = &kv->spec;
    double elements = 2.0 * spec->layers * spec->kv_heads * spec->page_tokens * spec->head_width;
    return (double)mosa_cpu_kv_page_bytes(spec) / elements;
}

mosa_status mosa_cpu_kv_create(mosa_backend *backend, const mosa_kv_spec *spec, mosa_kv **out, mosa_error *err) {
    (void)backend;
    MOSA_TRY(check_spec(spec, err));
    size_t bytes;
    if (__builtin_mul_overflow(mosa_cpu_kv_page_bytes(spec), (size_t)spec->pages, &bytes))
        return mosa_fail(err, MOSA_ENOMEM, "kv: %lld pages do not fit in memory", (long long)spec->pages);
    mosa_kv *kv = calloc(1, sizeof *kv);
    if (!kv) return mosa_fail(err, MOSA_ENOMEM, "kv: out of memory");
    kv->spec = *spec;
    mosa_kv_lay_out(kv);
    kv->data = mosa_cpu_alloc(bytes);
    if (!kv->data) {
        free(kv);
        return mosa_fail(err, MOSA_ENOMEM, "kv: %.1f MB for %lld pages are not to be had", (double)bytes / 1e6,
                         (long long)spec->pages);
    }
    *out = kv;
    return MOSA_OK;
}

void mosa_cpu_kv_destroy(mosa_backend *backend, mosa_kv *kv) {
    (void)backend;
    if (!kv) return;
    mosa_cpu_free(kv->data, kv->layer_stride * (size_t)kv->spec.layers);
    free(kv);
}
