// Weights made resident: matrices packed into panels by all threads, vectors as f32, tables left where they are.
#include "backend/cpu/cpu_backend.h"

#include "backend/check.h"
#include "backend/cpu/pack.h"

#include <stdlib.h>

static mosa_status make_vector(mosa_cpu_backend *cpu, mosa_weight *weight, mosa_error *err) {
    const mosa_tensor_view *view = &weight->view;
    if (view->dtype == MOSA_F32 && (uintptr_t)view->data % sizeof(float) == 0) {
        weight->vector = view->data;
        return MOSA_OK;
    }
    size_t bytes = (size_t)view->n_elements * sizeof(float);
    float *vector = mosa_cpu_arena_alloc(&cpu->weight_memory, bytes);
    if (!vector) return mosa_fail(err, MOSA_ENOMEM, "%.200s: out of memory", view->name ? view->name : "weight");
    mosa_dtype_traits_of(view->dtype)->to_f32(view->data, vector, view->n_elements);
    weight->vector = vector;
    weight->vector_bytes = bytes;
    return MOSA_OK;
}

static void pack_share(void *context, int thread, int n_threads) {
    mosa_weight *weight = context;
    int64_t begin, end;
    mosa_cpu_share(weight->view.dims[0], 16, thread, n_threads, &begin, &end);
    if (begin < end) mosa_cpu_pack_rows(&weight->view, weight->packed, begin, end);
}

// Of a stack, a thread takes its share of every matrix.
static void pack_stack_share(void *context, int thread, int n_threads) {
    mosa_weight *weight = context;
    int64_t begin, end;
    mosa_cpu_share(weight->view.dims[1], 16, thread, n_threads, &begin, &end);
    for (int64_t e = 0; begin < end && e < weight->view.dims[0]; e++) {
        mosa_tensor_view slice = mosa_cpu_slice(&weight->view, e);
        mosa_cpu_pack_rows(&slice, (unsigned char *)weight->packed + (size_t)e * weight->slice_bytes, begin, end);
    }
}

// Bytes of a matrix [N,K] or a stack of them [E,N,K] when packed, and of one matrix; 0 when that cannot be.
static size_t packed_bytes(const mosa_tensor_view *view, size_t *slice_bytes) {
    size_t bytes = 0;
    *slice_bytes = 0;
    if (view->n_dims == 2) return mosa_cpu_packed_bytes(view->dtype, view->dims[0], view->dims[1]);
    if (view->n_dims == 3) *slice_bytes = mosa_cpu_packed_bytes(view->dtype, view->dims[1], view->dims[2]);
    *slice_bytes = (*slice_bytes + 63) / 64 * 64;
    return __builtin_mul_overflow(*slice_bytes, (size_t)view->dims[0], &bytes) ? 0 : bytes;
}

static mosa_status make_matrix(mosa_cpu_backend *cpu, mosa_weight *weight, mosa_error *err) {
    const mosa_tensor_view *view = &weight->view;
    const char *name = view->name ? view->name : "weight";
    size_t bytes = packed_bytes(view, &weight->slice_bytes);
    if (bytes == 0) {
        (void)mosa_fail(err, MOSA_EUNSUPPORTED, "%.200s: no matrix kernel for %s of this shape", name,
                        mosa_dtype_name(view->dtype));
        return err ? mosa_hint(err, "convert the model to q8_0, q4_k or f16") : MOSA_EUNSUPPORTED;
    }
    // Packing after every step costs more than unpacked matrices do when many rows are multiplied.
    bool live = weight->uses & MOSA_WEIGHT_LIVE && view->n_dims == 2 && !mosa_dtype_traits_of(view->dtype)->quantised;
    if (!cpu->packs || live) return MOSA_OK;
    weight->packed = mosa_cpu_arena_alloc(&cpu->weight_memory, bytes);
    if (!weight->packed)
        return mosa_fail(err, MOSA_ENOMEM, "%.200s: %.1f MB are not to be had", name, (double)bytes / 1e6);
    weight->packed_bytes = bytes;
    mosa_pool_run(cpu->pool, view->n_dims == 3 ? pack_stack_share : pack_share, weight);
    return MOSA_OK;
}

mosa_status mosa_cpu_weight_create(mosa_backend *backend, const mosa_tensor_view *view, unsigned uses,
                                   mosa_weight **out, mosa_error *err) {
    MOSA_TRY(mosa_check_view(view, uses, err));
    mosa_weight *weight = calloc(1, sizeof *weight);
    if (!weight) return mosa_fail(err, MOSA_ENOMEM, "%.200s: out of memory", view->name ? view->name : "weight");
    weight->view = *view;
    weight->uses = uses;
    mosa_status status = MOSA_OK;
    if (uses & MOSA_WEIGHT_MATRIX) status = make_matrix((mosa_cpu_backend *)backend, weight, err);
    if (status == MOSA_OK && (uses & MOSA_WEIGHT_VECTOR))
        status = make_vector((mosa_cpu_backend *)backend, weight, err);
    if (status == MOSA_OK)
        *out = weight;
    else
        mosa_cpu_weight_destroy(backend, weight);
    return status;
}

void mosa_cpu_weight_destroy(mosa_backend *backend, mosa_weight *weight) {
    if (!weight) return;
    mosa_cpu_block **memory = &((mosa_cpu_backend *)backend)->weight_memory;
    mosa_cpu_arena_free(memory, weight->packed);
    if (weight->vector_bytes) mosa_cpu_arena_free(memory, weight->vector);
    free(weight);
}

size_t mosa_cpu_weight_bytes(const mosa_weight *weight) {
    return weight->packed_bytes + weight->vector_bytes;
}

void mosa_cpu_weight_refresh(mosa_backend *backend, mosa_weight *weight) {
    const mosa_tensor_view *view = &weight->view;
    mosa_cpu_backend *cpu = (mosa_cpu_backend *)backend;
    if (weight->packed) mosa_pool_run(cpu->pool, view->n_dims == 3 ? pack_stack_share : pack_share, weight);
    if (weight->vector_bytes)
        mosa_dtype_traits_of(view->dtype)->to_f32(view->data, (float *)weight->vector, view->n_elements);
}
