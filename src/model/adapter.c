// Making an adapter resident for a model: which LINEAR each pair belongs to, whether it fits, and the order of its
// rows.
//
// Llama-family GGUF files keep the rows of Q and K in another order than Hugging Face. The rows of B are outputs of Q
// or K, so they follow the base: an adapter of the other format has them reordered here.
#include "model/model_internal.h"

#include "model/adapter_file.h"

#include <stdlib.h>
#include <string.h>

// Under construction: pairs as the backend takes them, with the views and copies that they point at.
typedef struct binding {
    const mosa_model *model;
    const mosa_adapter_file *file;
    mosa_lora_pair *pairs;   // (n_pairs), at most one per weight slot of the body
    mosa_tensor_view *parts; // (n_pairs) rows of B for each pair
    void **owned;            // (n_owned) copies of B with reordered rows
    int n_pairs, n_owned;
} binding;

static mosa_status check_arch(const mosa_model *model, const mosa_adapter_file *file, mosa_error *err) {
    const char *arch = mosa_adapter_file_arch(file);
    if (!arch) return MOSA_OK; // PEFT names no architecture; shapes tell
    for (size_t i = 0; i < MOSA_COUNT(model->family->gguf_archs) && model->family->gguf_archs[i]; i++)
        if (strcmp(model->family->gguf_archs[i], arch) == 0) return MOSA_OK;
    return mosa_fail(err, MOSA_EINVALID, "%s: the adapter is for architecture '%.40s', the model is '%.40s'",
                     mosa_adapter_file_path(file), arch, mosa_model_source_arch(model->source));
}

static mosa_status check_shapes(const binding *own, const mosa_adapter_pair *pair, const mosa_tensor_view *w,
                                mosa_error *err) {
    const char *path = mosa_adapter_file_path(own->file);
    if (w->n_dims != 2 || pair->a->dims[1] != w->dims[1])
        return mosa_fail(err, MOSA_EINVALID, "%s: tensor %.160s has %lld columns, the model's %.80s has %lld", path,
                         pair->a->name, (long long)pair->a->dims[1], w->name, (long long)w->dims[w->n_dims - 1]);
    if (pair->b->dims[0] != w->dims[0])
        return mosa_fail(err, MOSA_EINVALID, "%s: tensor %.160s has %lld rows, the model's %.80s has %lld", path,
                         pair->b->name, (long long)pair->b->dims[0], w->name, (long long)w->dims[0]);
    if (pair->a->dims[0] <= own->model->max_adapter_rank) return MOSA_OK;
    (void)mosa_fail(err, MOSA_ELIMIT,
                    "%s: tensor %.160s has rank %lld, this engine takes at most %d (max_adapter_rank)", path,
                    pair->a->name, (long long)pair->a->dims[0], own->model->max_adapter_rank);
    return mosa_hint(err, "raise --max-adapter-rank");
}

static bool must_reorder(const mosa_model *model, const mosa_adapter_file *file, mosa_weight_slot slot) {
    return model->family->gguf_rotary_pairs && mosa_weight_info_of(slot)->rotary_rows &&
           mosa_model_source_is_gguf(model->source) != mosa_adapter_file_is_gguf(file);
}

// A copy of B whose rows are in the base's order.
static mosa_status reorder(binding *own, const mosa_tensor_view *b, mosa_tensor_view *out, mosa_error *err) {
    size_t row_bytes;
    bool fits = mosa_dtype_bytes(b->dtype, b->dims[1], &row_bytes);
    unsigned char *copy = fits ? malloc((size_t)b->dims[0] * row_bytes) : NULL;
    if (!copy) return mosa_fail(err, MOSA_ENOMEM, "out of memory for tensor %.200s", b->name);
    own->owned[own->n_owned++] = copy;
    bool to_gguf = mosa_model_source_is_gguf(own->model->source);
    for (int64_t row = 0; row < b->dims[0]; row++) {
        int64_t from = mosa_weight_rotary_row(row, own->model->config.head_width, to_gguf);
        memcpy(copy + (size_t)row * row_bytes, (const char *)b->data + (size_t)from * row_bytes, row_bytes);
    }
    *out = *b;
    out->data = copy;
    return MOSA_OK;
}

// The rows of B that belong to a LINEAR whose matrix is `part` of the tensor `whole`. False when it is no part of it.
static bool cut_rows(const mosa_tensor_view *whole, const mosa_tensor_view *part, const mosa_tensor_view *b,
                     mosa_tensor_view *out) {
    size_t row_bytes, b_bytes;
    uintptr_t begin = (uintptr_t)whole->data, at = (uintptr_t)part->data;
    if (at < begin || at >= begin + whole->bytes || part->n_dims != 2 || part->dims[1] != whole->dims[1] ||
        !mosa_dtype_bytes(whole->dtype, whole->dims[1], &row_bytes) ||
        !mosa_dtype_bytes(b->dtype, b->dims[1], &b_bytes))
        return false;
    *out = *b;
    out->data = (const char *)b->data + (size_t)(at - begin) / row_bytes * b_bytes;
    out->dims[0] = part->dims[0];
    return true;
}

// One pair of the file becomes one for each LINEAR over rows of its tensor: families that keep Q, K and V below each
// other in one tensor multiply by each alone.
static mosa_status bind_pair(binding *own, const mosa_adapter_pair *pair, mosa_error *err) {
    const mosa_model *model = own->model;
    const mosa_model_part *body = &model->parts[MOSA_PART_BODY];
    const mosa_tensor_view *whole = mosa_model_source_weight(model->source, pair->slot, pair->layer);
    mosa_tensor_view b = *pair->b;
    int64_t rows = 0;
    if (whole) MOSA_TRY(check_shapes(own, pair, whole, err));
    if (whole && must_reorder(model, own->file, pair->slot)) MOSA_TRY(reorder(own, pair->b, &b, err));
    for (int n = 0; whole && n < body->graph->n_nodes; n++) {
        const mosa_node *node = &body->graph->nodes[n];
        if (node->op != MOSA_OP_LINEAR) continue;
        int32_t slot = body->graph->values[node->in[1]].slot;
        mosa_tensor_view *part = &own->parts[own->n_pairs];
        if (!cut_rows(whole, &model->listed[body->slot_weight[slot]].view, &b, part)) continue;
        own->pairs[own->n_pairs++] = (mosa_lora_pair){.target = slot, .scale = pair->scale, .a = pair->a, .b = part};
        rows += part->dims[0];
    }
    if (whole && rows == whole->dims[0]) return MOSA_OK;
    char name[MOSA_WEIGHT_NAME_MAX];
    mosa_model_source_weight_name(model->source, pair->slot, pair->layer, name);
    return mosa_fail(err, MOSA_EUNSUPPORTED, "%s: tensor %.160s changes %.80s, which takes no adapter in this model",
                     mosa_adapter_file_path(own->file), pair->a->name, name);
}

static mosa_status create(const mosa_model *model, const mosa_adapter_file *file, mosa_adapter **out, mosa_error *err) {
    size_t count = mosa_adapter_file_count(file);
    size_t slots = (size_t)model->parts[MOSA_PART_BODY].graph->n_weights;
    MOSA_TRY(check_arch(model, file, err));
    binding own = {.model = model, .file = file};
    own.pairs = calloc(slots + 1, sizeof *own.pairs);
    own.parts = calloc(slots + 1, sizeof *own.parts);
    own.owned = calloc(count, sizeof(void *));
    mosa_status status = MOSA_OK;
    if (!own.pairs || !own.parts || !own.owned)
        status = mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", mosa_adapter_file_path(file));
    for (size_t i = 0; status == MOSA_OK && i < count; i++)
        status = bind_pair(&own, mosa_adapter_file_at(file, i), err);
    if (status == MOSA_OK)
        status = model->backend->ops->adapter_create(model->backend, own.pairs, own.n_pairs, (int)slots, out, err);
    for (int i = 0; i < own.n_owned; i++) free(own.owned[i]);
    free(own.owned);
    free(own.parts);
    free(own.pairs);
    return status;
}

mosa_status mosa_model_adapter_create(const mosa_model *model, const char *path, mosa_adapter **out, int *rank,
                                      mosa_error *err) {
    if (model->max_adapter_rank == 0) {
        (void)mosa_fail(err, MOSA_EUNSUPPORTED, "this engine was opened without adapters (max_adapters)");
        return mosa_hint(err, "start it with --max-adapters 1 or more");
    }
    bool gguf = mosa_model_source_is_gguf(model->source);
    const char *base_type = gguf ? model->family->hf_types[0] : mosa_model_source_arch(model->source);
    mosa_adapter_file *file;
    MOSA_TRY(mosa_adapter_file_open(path, base_type, &file, err));
    mosa_status status = create(model, file, out, err);
    int widest = 0;
    for (size_t i = 0; i < mosa_adapter_file_count(file); i++) {
        int own = (int)mosa_adapter_file_at(file, i)->a->dims[0];
        if (own > widest) widest = own;
    }
    if (status == MOSA_OK) *rank = widest;
    mosa_adapter_file_close(file);
    return status;
}

void mosa_model_adapter_destroy(const mosa_model *model, mosa_adapter *adapter) {
    model->backend->ops->adapter_destroy(model->backend, adapter);
}

size_t mosa_model_adapter_bytes(const mosa_model *model, const mosa_adapter *adapter) {
    return model->backend->ops->adapter_bytes(adapter);
}
