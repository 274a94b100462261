// Making an adapter resident for a model: which LINEAR each pair belongs to, whether it fits, and the order of its
// rows.
//
// Llama-family GGUF files keep the rows of Q and K in another order than Hugging Face. The rows of B are outputs of Q
// or K, so they follow the base: an adapter of the other format has them reordered here.
#include "model/model_internal.h"

#include "model/adapter_file.h"

#include <stdlib.h>
#include <string.h>

typedef struct binding {
    mosa_tensor_view reordered; // of B, when its rows had to move
    void *owned;
} binding;

static mosa_status check_arch(const mosa_model *model, const mosa_adapter_file *file, mosa_error *err) {
    const char *arch = mosa_adapter_file_arch(file);
    if (!arch) return MOSA_OK; // PEFT names no architecture; shapes tell
    for (size_t i = 0; i < MOSA_COUNT(model->family->gguf_archs) && model->family->gguf_archs[i]; i++)
        if (strcmp(model->family->gguf_archs[i], arch) == 0) return MOSA_OK;
    return mosa_fail(err, MOSA_EINVALID, "%s: the adapter is for architecture '%.40s', the model is '%.40s'",
                     mosa_adapter_file_path(file), arch, mosa_model_source_arch(model->source));
}

// The weight of the LORA node that a pair belongs to, NULL when no LINEAR of the body has that weight.
static const mosa_value_info *find_target(const mosa_model *model, const char *name) {
    const mosa_graph *graph = model->parts[MOSA_PART_BODY].graph;
    for (int n = 0; n < graph->n_nodes; n++) {
        const mosa_node *node = &graph->nodes[n];
        const mosa_value_info *w = &graph->values[node->in[node->op == MOSA_OP_LINEAR ? 1 : 0]];
        if (node->op == MOSA_OP_LINEAR && w->name && strcmp(w->name, name) == 0) return w;
    }
    return NULL;
}

static mosa_status check_shapes(const mosa_model *model, const mosa_adapter_file *file, const mosa_adapter_pair *pair,
                                const mosa_value_info *w, mosa_error *err) {
    const char *path = mosa_adapter_file_path(file);
    if (pair->a->dims[1] != w->shape.dim[1])
        return mosa_fail(err, MOSA_EINVALID, "%s: tensor %.160s has %lld columns, the model's %.80s has %lld", path,
                         pair->a->name, (long long)pair->a->dims[1], w->name, (long long)w->shape.dim[1]);
    if (pair->b->dims[0] != w->shape.dim[0])
        return mosa_fail(err, MOSA_EINVALID, "%s: tensor %.160s has %lld rows, the model's %.80s has %lld", path,
                         pair->b->name, (long long)pair->b->dims[0], w->name, (long long)w->shape.dim[0]);
    if (pair->a->dims[0] <= model->max_adapter_rank) return MOSA_OK;
    (void)mosa_fail(err, MOSA_ELIMIT,
                    "%s: tensor %.160s has rank %lld, this engine takes at most %d (max_adapter_rank)", path,
                    pair->a->name, (long long)pair->a->dims[0], model->max_adapter_rank);
    return mosa_hint(err, "raise --max-adapter-rank");
}

static bool must_reorder(const mosa_model *model, const mosa_adapter_file *file, mosa_weight_slot slot) {
    return model->family->gguf_rotary_pairs && mosa_weight_info_of(slot)->rotary_rows &&
           mosa_model_source_is_gguf(model->source) != mosa_adapter_file_is_gguf(file);
}

static mosa_status reorder(const mosa_model *model, const mosa_tensor_view *b, binding *to, mosa_error *err) {
    size_t row_bytes;
    bool fits = mosa_dtype_bytes(b->dtype, b->dims[1], &row_bytes);
    to->owned = fits ? malloc((size_t)b->dims[0] * row_bytes) : NULL;
    if (!to->owned) return mosa_fail(err, MOSA_ENOMEM, "out of memory for tensor %.200s", b->name);
    bool to_gguf = mosa_model_source_is_gguf(model->source);
    for (int64_t row = 0; row < b->dims[0]; row++) {
        int64_t from = mosa_weight_rotary_row(row, model->config.head_width, to_gguf);
        memcpy((char *)to->owned + (size_t)row * row_bytes, (const char *)b->data + (size_t)from * row_bytes,
               row_bytes);
    }
    to->reordered = *b;
    to->reordered.data = to->owned;
    return MOSA_OK;
}

static mosa_status bind_pair(const mosa_model *model, const mosa_adapter_file *file, const mosa_adapter_pair *pair,
                             binding *own, mosa_lora_pair *out, mosa_error *err) {
    char name[MOSA_WEIGHT_NAME_MAX];
    mosa_model_source_weight_name(model->source, pair->slot, pair->layer, name);
    const mosa_value_info *w = find_target(model, name);
    if (!w)
        return mosa_fail(err, MOSA_EUNSUPPORTED,
                         "%s: tensor %.160s changes %.80s, which takes no adapter in this model",
                         mosa_adapter_file_path(file), pair->a->name, name);
    MOSA_TRY(check_shapes(model, file, pair, w, err));
    *out = (mosa_lora_pair){.target = w->slot, .scale = pair->scale, .a = pair->a, .b = pair->b};
    if (!must_reorder(model, file, pair->slot)) return MOSA_OK;
    MOSA_TRY(reorder(model, pair->b, own, err));
    out->b = &own->reordered;
    return MOSA_OK;
}

static mosa_status create(const mosa_model *model, const mosa_adapter_file *file, mosa_adapter **out, mosa_error *err) {
    size_t count = mosa_adapter_file_count(file);
    MOSA_TRY(check_arch(model, file, err));
    mosa_lora_pair *pairs = calloc(count, sizeof *pairs);
    binding *bindings = calloc(count, sizeof *bindings);
    mosa_status status = MOSA_OK;
    if (!pairs || !bindings) status = mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", mosa_adapter_file_path(file));
    for (size_t i = 0; status == MOSA_OK && i < count; i++)
        status = bind_pair(model, file, mosa_adapter_file_at(file, i), &bindings[i], &pairs[i], err);
    if (status == MOSA_OK)
        status = model->backend->ops->adapter_create(model->backend, pairs, (int)count,
                                                     model->parts[MOSA_PART_BODY].graph->n_weights, out, err);
    for (size_t i = 0; bindings && i < count; i++) free(bindings[i].owned);
    free(bindings);
    free(pairs);
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
