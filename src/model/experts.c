// One tensor per expert becomes one view of a stack; what gpt-oss folders interleave or transpose becomes a derivation.
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

static void set_dims(mosa_tensor_view *view, uint32_t n_dims, int64_t a, int64_t b, int64_t c) {
    for (int i = 0; i < MOSA_TENSOR_DIMS_MAX; i++) view->dims[i] = 1;
    view->n_dims = n_dims;
    view->dims[0] = a;
    view->dims[1] = b;
    view->dims[2] = c;
    view->n_elements = a * b * c;
}

static mosa_status gather(const mosa_model_source *source, mosa_arena *arena, mosa_weight_slot slot, int layer,
                          int experts, const mosa_tensor_view *first, mosa_tensor_view *out, mosa_error *err) {
    const void **parts = MOSA_ARENA_ARRAY(arena, const void *, (size_t)experts);
    if (!parts) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", mosa_model_source_path(source));
    for (int e = 0; e < experts; e++) {
        const mosa_tensor_view *view = mosa_model_source_expert(source, slot, layer, e);
        MOSA_TRY(check_expert(source, slot, layer, e, first, view, err));
        parts[e] = view->data;
    }
    *out = (mosa_tensor_view){.name = first->name, .dtype = first->dtype, .data = first->data, .parts = parts};
    set_dims(out, 3, experts, first->dims[0], first->dims[1]);
    out->bytes = (size_t)experts * first->bytes;
    return MOSA_OK;
}

// Where gpt-oss folders have a stack or its bias: which of the fused tensors, and which of its rows.
typedef struct fused_place {
    mosa_weight_slot slot, plain, blocks, scales; // plain: transposed matrices, or the fused bias
    int64_t first, step;
} fused_place;

static const fused_place fused_places[] = {
    {MOSA_W_EXPERT_GATE, MOSA_W_EXPERT_GATE_UP, MOSA_W_EXPERT_GATE_UP_BLOCKS, MOSA_W_EXPERT_GATE_UP_SCALES, 0, 2},
    {MOSA_W_EXPERT_UP, MOSA_W_EXPERT_GATE_UP, MOSA_W_EXPERT_GATE_UP_BLOCKS, MOSA_W_EXPERT_GATE_UP_SCALES, 1, 2},
    {MOSA_W_EXPERT_DOWN, MOSA_W_EXPERT_DOWN_TRANSPOSED, MOSA_W_EXPERT_DOWN_BLOCKS, MOSA_W_EXPERT_DOWN_SCALES, 0, 1},
    {MOSA_W_EXPERT_GATE_BIAS, MOSA_W_EXPERT_GATE_UP_BIAS, MOSA_W_COUNT, MOSA_W_COUNT, 0, 2},
    {MOSA_W_EXPERT_UP_BIAS, MOSA_W_EXPERT_GATE_UP_BIAS, MOSA_W_COUNT, MOSA_W_COUNT, 1, 2},
};

static mosa_status describe(const mosa_model_source *source, mosa_expert_stack *out, mosa_error *err) {
    out->view.name = out->how.from.name;
    out->found = true;
    bool whole = mosa_dtype_bytes(out->view.dtype, out->view.n_elements, &out->view.bytes);
    return whole ? MOSA_OK
                 : mosa_fail(err, MOSA_ECORRUPT, "%s: tensor %s has an impossible size", mosa_model_source_path(source),
                             out->view.name);
}

static mosa_status find_blocks(const mosa_model_source *source, const fused_place *place, int layer,
                               mosa_expert_stack *out, mosa_error *err) {
    const mosa_tensor_view *blocks = mosa_model_source_weight(source, place->blocks, layer);
    const mosa_tensor_view *scales = mosa_model_source_weight(source, place->scales, layer);
    if (!blocks) return MOSA_OK;
    bool fit = scales && blocks->n_dims == 4 && blocks->dims[3] == 16 && scales->n_dims == 3 &&
               blocks->dtype == MOSA_U8 && scales->dtype == MOSA_U8 && blocks->dims[1] % place->step == 0;
    for (int i = 0; fit && i < 3; i++) fit = blocks->dims[i] == scales->dims[i];
    if (!fit)
        return mosa_fail(err, MOSA_ECORRUPT, "%s: tensor %s and its scales are no MXFP4 experts",
                         mosa_model_source_path(source), blocks->name);
    out->how = (mosa_derivation){mosa_derive_mxfp4, *blocks, *scales, place->first, place->step};
    out->view = (mosa_tensor_view){.dtype = MOSA_MXFP4};
    set_dims(&out->view, 3, blocks->dims[0], blocks->dims[1] / place->step, 32 * blocks->dims[2]);
    return describe(source, out, err);
}

static mosa_status find_plain(const mosa_model_source *source, const fused_place *place, int layer,
                              mosa_expert_stack *out, mosa_error *err) {
    const mosa_tensor_view *view = mosa_model_source_weight(source, place->plain, layer);
    if (!view) return MOSA_OK;
    bool bias = place->blocks == MOSA_W_COUNT;
    uint32_t n_dims = bias ? 2 : 3;
    const mosa_dtype_traits *traits = mosa_dtype_traits_of(view->dtype);
    if (view->n_dims != n_dims || view->dims[n_dims - 1] % place->step || traits->quantised || !traits->to_f32)
        return mosa_fail(err, MOSA_ECORRUPT, "%s: tensor %s does not hold experts", mosa_model_source_path(source),
                         view->name);
    int64_t rows = view->dims[n_dims - 1] / place->step;
    out->how = (mosa_derivation){
        .make = bias ? mosa_derive_columns : mosa_derive_transposed,
        .from = *view,
        .first = place->first,
        .step = place->step,
    };
    out->view = (mosa_tensor_view){.dtype = view->dtype};
    set_dims(&out->view, n_dims, view->dims[0], rows, bias ? 1 : view->dims[1]);
    return describe(source, out, err);
}

mosa_status mosa_experts_find(const mosa_model_source *source, mosa_arena *arena, mosa_weight_slot slot, int layer,
                              int experts, mosa_expert_stack *out, mosa_error *err) {
    *out = (mosa_expert_stack){.found = false};
    const mosa_tensor_view *whole = mosa_model_source_weight(source, slot, layer);
    const mosa_tensor_view *first = mosa_model_source_expert(source, slot, layer, 0);
    if (whole) out->view = *whole;
    if (first && !whole) MOSA_TRY(gather(source, arena, slot, layer, experts, first, &out->view, err));
    out->found = whole || first;
    for (size_t i = 0; !out->found && i < sizeof fused_places / sizeof *fused_places; i++) {
        if (fused_places[i].slot != slot) continue;
        MOSA_TRY(find_plain(source, &fused_places[i], layer, out, err));
        if (!out->found && fused_places[i].blocks != MOSA_W_COUNT)
            MOSA_TRY(find_blocks(source, &fused_places[i], layer, out, err));
    }
    return MOSA_OK;
}

mosa_status mosa_head_matrices_find(const mosa_model_source *source, mosa_arena *arena, int layer, int64_t heads,
                                    int64_t plain, int64_t value, mosa_expert_stack *keys, mosa_expert_stack *values,
                                    mosa_error *err) {
    const mosa_tensor_view *both = mosa_model_source_weight(source, MOSA_W_ATTN_KV_B, layer);
    *keys = *values = (mosa_expert_stack){.found = false};
    if (!both) return MOSA_OK;
    int64_t step = plain + value, latent = both->dims[1];
    const mosa_dtype_traits *traits = mosa_dtype_traits_of(both->dtype);
    if (both->n_dims != 2 || both->dims[0] != heads * step || !traits->to_f32)
        return mosa_fail(err, MOSA_ECORRUPT, "%s: tensor %s is no matrix of %lld rows", mosa_model_source_path(source),
                         both->name, (long long)(heads * step));
    keys->how = (mosa_derivation){.make = mosa_derive_head_keys, .from = *both, .step = step};
    keys->view = (mosa_tensor_view){.dtype = traits->quantised ? MOSA_F16 : both->dtype};
    set_dims(&keys->view, 3, heads, latent, plain);
    MOSA_TRY(describe(source, keys, err));
    const void **parts = MOSA_ARENA_ARRAY(arena, const void *, (size_t)heads);
    if (!parts) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", mosa_model_source_path(source));
    size_t row_bytes = both->bytes / (size_t)both->dims[0];
    for (int64_t h = 0; h < heads; h++) parts[h] = (const char *)both->data + (size_t)(h * step + plain) * row_bytes;
    values->view = *both;
    values->view.parts = parts;
    values->view.data = parts[0];
    set_dims(&values->view, 3, heads, value, latent);
    values->view.bytes = (size_t)(heads * value) * row_bytes;
    values->found = true;
    return MOSA_OK;
}
