// One tensor per expert becomes one view of a stack.
#include "model/experts.h"

#include <string.h>

static bool alike(const mosa_tensor_view *a, const mosa_tensor_view *b) {
    return a->dtype == b->dtype && a->n_dims == b->n_dims && a->bytes == b->bytes &&
           memcmp(a->dims, b->dims, sizeof a->dims) == 0;
}

static mosa_status check_expert(const mosa_model_source *source, mosa_weight_slot slot, int layer, int expert,
                                const mosa_tensor_view *first, const mosa_tensor_view *view, mosa_error *err) {
    if (view && alike(view, first) && view->n_dims == 2) return MOSA_OK;
    return mosa_fail(err, MOSA_ECORRUPT, "%s: layer %d: %s of expert %d %s", mosa_model_source_path(source), layer,
                     mosa_weight_info_of(slot)->label, expert,
                     view ? "is not a matrix like that of expert 0" : "is missing");
}

mosa_status mosa_experts_find(const mosa_model_source *source, mosa_arena *arena, mosa_weight_slot slot, int layer,
                              int experts, mosa_tensor_view *out, bool *found, mosa_error *err) {
    const mosa_tensor_view *whole = mosa_model_source_weight(source, slot, layer);
    const mosa_tensor_view *first = mosa_model_source_expert(source, slot, layer, 0);
    *found = whole || first;
    if (whole) *out = *whole;
    if (whole || !first) return MOSA_OK;
    const void **parts = MOSA_ARENA_ARRAY(arena, const void *, (size_t)experts);
    if (!parts) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", mosa_model_source_path(source));
    for (int e = 0; e < experts; e++) {
        const mosa_tensor_view *view = mosa_model_source_expert(source, slot, layer, e);
        MOSA_TRY(check_expert(source, slot, layer, e, first, view, err));
        parts[e] = view->data;
    }
    mosa_tensor_view stack = {.name = first->name, .dtype = first->dtype, .n_dims = 3, .parts = parts};
    stack.dims[0] = experts;
    stack.dims[1] = first->dims[0];
    stack.dims[2] = first->dims[1];
    for (int i = 3; i < MOSA_TENSOR_DIMS_MAX; i++) stack.dims[i] = 1;
    stack.n_elements = experts * first->n_elements;
    stack.bytes = (size_t)experts * first->bytes;
    stack.data = first->data;
    *out = stack;
    return MOSA_OK;
}
