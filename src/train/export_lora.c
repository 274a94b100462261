// Adapters: names and row orders of the two formats.
//
// Llama-family GGUF files keep the rows of Q and K in another order than Hugging Face; B's rows are outputs of Q or K,
// so they are reordered when an adapter is written in the other format than its base's.
#include "train/export.h"

#include "base/file.h"
#include "base/out_file.h"
#include "codec/gguf_writer.h"
#include "codec/json.h"
#include "codec/safetensors_writer.h"
#include "model/adapter_file.h"
#include "model/family.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { PEFT_NAME_MAX = MOSA_WEIGHT_NAME_MAX + 64 };

typedef struct writing {
    const mosa_export *how;
    const mosa_params *params;
    const mosa_model_source *source;
    const mosa_family *family;
    float *weights;
    float *reordered; // (largest B)
    bool to_gguf;
} writing;

// The base tensor's slot and layer.
static mosa_status parse(const writing *w, const char *tensor, mosa_weight_slot *slot, int *layer, mosa_error *err) {
    static const mosa_naming folder[] = {MOSA_NAMING_HF, MOSA_NAMING_HF_BASE}, gguf[] = {MOSA_NAMING_GGUF};
    bool is_gguf = mosa_model_source_is_gguf(w->source);
    const mosa_naming *namings = is_gguf ? gguf : folder;
    int expert;
    for (size_t i = 0; i < (is_gguf ? MOSA_COUNT(gguf) : MOSA_COUNT(folder)); i++)
        if (mosa_weight_parse(namings[i], mosa_model_source_arch(w->source), tensor, slot, layer, &expert) &&
            expert < 0)
            return MOSA_OK;
    return mosa_fail(err, MOSA_EUNSUPPORTED, "%s: an adapter of it has no name in the wanted format", tensor);
}

static mosa_status base_name(const writing *w, const char *tensor, mosa_weight_slot *slot,
                             char name[MOSA_WEIGHT_NAME_MAX], mosa_error *err) {
    int layer;
    bool is_gguf = mosa_model_source_is_gguf(w->source);
    MOSA_TRY(parse(w, tensor, slot, &layer, err));
    const char *arch = is_gguf == w->to_gguf ? mosa_model_source_arch(w->source)
                       : w->to_gguf          ? w->family->gguf_archs[0]
                                             : w->family->hf_types[0];
    if (mosa_weight_name(w->to_gguf ? MOSA_NAMING_GGUF : MOSA_NAMING_HF, arch, *slot, layer, name)) return MOSA_OK;
    return mosa_fail(err, MOSA_EUNSUPPORTED, "%s: an adapter of it has no name in the wanted format", tensor);
}

// B's rows in the order of the wanted format; else the parameter as it is.
static const float *rows_of(writing *w, const mosa_param *param, int lora, mosa_weight_slot slot) {
    const float *data = w->weights + param->offset;
    bool turn = lora == 2 && w->family->gguf_rotary_pairs && mosa_weight_info_of(slot)->rotary_rows &&
                mosa_model_source_is_gguf(w->source) != w->to_gguf;
    if (!turn) return data;
    for (int64_t row = 0; row < param->dims[0]; row++) {
        int64_t from = mosa_weight_rotary_row(row, mosa_step_config(w->how->step)->head_width, w->to_gguf);
        memcpy(w->reordered + row * param->dims[1], data + from * param->dims[1],
               (size_t)param->dims[1] * sizeof(float));
    }
    return w->reordered;
}

static mosa_status begin(writing *w, const mosa_export *how, bool to_gguf, mosa_error *err) {
    size_t largest = 1;
    *w = (writing){.how = how,
                   .params = mosa_step_params(how->step),
                   .source = mosa_step_source(how->step),
                   .weights = mosa_step_weights(how->step),
                   .to_gguf = to_gguf};
    MOSA_TRY(mosa_family_find(w->source, &w->family, err));
    for (size_t p = 0; p < w->params->count; p++)
        if ((size_t)w->params->items[p].n > largest) largest = (size_t)w->params->items[p].n;
    w->reordered = malloc(largest * sizeof(float));
    return w->reordered ? MOSA_OK : mosa_fail(err, MOSA_ENOMEM, "out of memory for an adapter");
}

// --- PEFT ---------------------------------------------------------------------------------------------------------

static mosa_status peft_name(const writing *w, size_t p, char name[PEFT_NAME_MAX], mosa_weight_slot *slot,
                             mosa_error *err) {
    char base[MOSA_WEIGHT_NAME_MAX];
    mosa_step_origin origin = mosa_step_origin_of(w->how->step, p);
    MOSA_TRY(base_name(w, origin.tensor, slot, base, err));
    size_t len = strlen(base);
    if (mosa_str_ends_with(base, ".weight")) len -= 7;
    snprintf(name, PEFT_NAME_MAX, "base_model.model.%.*s.lora_%c.weight", (int)len, base, origin.lora == 1 ? 'A' : 'B');
    return MOSA_OK;
}

static mosa_status write_peft_tensors(writing *w, mosa_safetensors_writer *writer, mosa_error *err) {
    char name[PEFT_NAME_MAX];
    mosa_weight_slot slot;
    MOSA_TRY(mosa_safetensors_writer_set_stem(writer, "adapter_model", err));
    for (size_t p = 0; p < w->params->count; p++) {
        const mosa_param *param = &w->params->items[p];
        MOSA_TRY(peft_name(w, p, name, &slot, err));
        MOSA_TRY(mosa_safetensors_writer_add_tensor(writer, name, MOSA_F32, param->n_dims, param->dims, err));
    }
    MOSA_TRY(mosa_safetensors_writer_begin(writer, err));
    for (size_t p = 0; p < w->params->count; p++) {
        const mosa_param *param = &w->params->items[p];
        MOSA_TRY(peft_name(w, p, name, &slot, err));
        const float *data = rows_of(w, param, mosa_step_origin_of(w->how->step, p).lora, slot);
        MOSA_TRY(mosa_safetensors_writer_write(writer, data, (size_t)param->n * sizeof(float), err));
    }
    return mosa_safetensors_writer_commit(writer, err);
}

static bool has_word(const json_t *array, const char *word) {
    const json_t *item;
    size_t i;
    json_array_foreach(array, i, item) if (strcmp(json_string_value(item), word) == 0) return true;
    return false;
}

// The last parts of the modules' names where these say exactly what is adapted, else whole names.
static mosa_status list_modules(const writing *w, json_t **out, mosa_error *err) {
    MOSA_AUTO_JSON json_t *ends = json_array(), *whole = json_array();
    for (size_t p = 0; p < w->params->count; p++) {
        char name[PEFT_NAME_MAX];
        mosa_weight_slot slot;
        if (mosa_step_origin_of(w->how->step, p).lora != 1) continue;
        MOSA_TRY(peft_name(w, p, name, &slot, err));
        char *module = name + strlen("base_model.model.");
        module[strlen(module) - strlen(".lora_A.weight")] = '\0';
        const char *end = strrchr(module, '.') ? strrchr(module, '.') + 1 : module;
        json_array_append_new(whole, json_string(module));
        if (!has_word(ends, end)) json_array_append_new(ends, json_string(end));
    }
    bool all = json_array_size(whole) == json_array_size(ends) * (size_t)mosa_step_config(w->how->step)->layers;
    *out = json_incref(all ? ends : whole);
    return MOSA_OK;
}

static mosa_status write_peft_config(const writing *w, const char *folder, mosa_error *err) {
    const mosa_export *how = w->how;
    json_t *modules;
    MOSA_TRY(list_modules(w, &modules, err));
    MOSA_AUTO_JSON json_t *config =
        json_pack("{s:s, s:s, s:s, s:i, s:f, s:f, s:o, s:s, s:b, s:b, s:b, s:b, s:b, s:n, s:n, s:{}, s:{}}",
                  "peft_type", "LORA", "task_type", "CAUSAL_LM", "base_model_name_or_path", how->base, "r", how->rank,
                  "lora_alpha", (double)how->alpha, "lora_dropout", 0.0, "target_modules", modules, "bias", "none",
                  "use_rslora", how->rslora, "use_dora", 0, "fan_in_fan_out", 0, "inference_mode", 1,
                  "init_lora_weights", 1, "modules_to_save", "revision", "rank_pattern", "alpha_pattern");
    MOSA_AUTO_FREE char *path = mosa_path_join(folder, "adapter_config.json");
    mosa_buf text = {0};
    if (config) mosa_json_append_pretty(&text, config);
    mosa_buf_append_char(&text, '\n');
    mosa_status status = !config || !path || mosa_buf_failed(&text)
                             ? mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", folder)
                             : mosa_out_file_save(path, text.data, text.len, err);
    mosa_buf_finish(&text);
    return status;
}

mosa_status mosa_export_peft(const mosa_export *how, const char *folder, mosa_error *err) {
    writing w;
    mosa_safetensors_writer *writer = NULL;
    mosa_status status = begin(&w, how, false, err);
    if (status == MOSA_OK) status = mosa_safetensors_writer_create(folder, UINT64_MAX, &writer, err);
    if (status == MOSA_OK) status = write_peft_tensors(&w, writer, err);
    if (status == MOSA_OK) status = write_peft_config(&w, folder, err);
    mosa_safetensors_writer_destroy(writer);
    free(w.reordered);
    return status;
}

// --- GGUF ---------------------------------------------------------------------------------------------------------

static mosa_status gguf_name(const writing *w, size_t p, char name[PEFT_NAME_MAX], mosa_weight_slot *slot,
                             mosa_error *err) {
    char base[MOSA_WEIGHT_NAME_MAX];
    mosa_step_origin origin = mosa_step_origin_of(w->how->step, p);
    MOSA_TRY(base_name(w, origin.tensor, slot, base, err));
    snprintf(name, PEFT_NAME_MAX, "%s.lora_%c", base, origin.lora == 1 ? 'a' : 'b');
    return MOSA_OK;
}

static mosa_status write_gguf(writing *w, mosa_gguf_writer *writer, mosa_error *err) {
    const mosa_export *how = w->how;
    char name[PEFT_NAME_MAX];
    mosa_weight_slot slot;
    // A reader's scale is alpha / rank.
    float alpha = how->rslora ? how->alpha * sqrtf((float)how->rank) : how->alpha;
    const char *arch =
        mosa_model_source_is_gguf(w->source) ? mosa_model_source_arch(w->source) : w->family->gguf_archs[0];
    mosa_gguf_writer_put_str(writer, "general.type", MOSA_SLICE("adapter"));
    mosa_gguf_writer_put_str(writer, "general.architecture", mosa_slice_of(arch));
    mosa_gguf_writer_put_str(writer, "adapter.type", MOSA_SLICE("lora"));
    mosa_gguf_writer_put_f32(writer, "adapter.lora.alpha", alpha);
    for (size_t p = 0; p < w->params->count; p++) {
        const mosa_param *param = &w->params->items[p];
        MOSA_TRY(gguf_name(w, p, name, &slot, err));
        MOSA_TRY(mosa_gguf_writer_add_tensor(writer, name, MOSA_F32, param->n_dims, param->dims, err));
    }
    MOSA_TRY(mosa_gguf_writer_begin(writer, err));
    for (size_t p = 0; p < w->params->count; p++) {
        const mosa_param *param = &w->params->items[p];
        MOSA_TRY(gguf_name(w, p, name, &slot, err));
        const float *data = rows_of(w, param, mosa_step_origin_of(how->step, p).lora, slot);
        MOSA_TRY(mosa_gguf_writer_write(writer, data, (size_t)param->n * sizeof(float), err));
    }
    return mosa_gguf_writer_commit(writer, err);
}

mosa_status mosa_export_gguf_lora(const mosa_export *how, const char *path, mosa_error *err) {
    writing w;
    mosa_gguf_writer *writer = NULL;
    mosa_status status = begin(&w, how, true, err);
    if (status == MOSA_OK) status = mosa_gguf_writer_create(path, &writer, err);
    if (status == MOSA_OK) status = write_gguf(&w, writer, err);
    mosa_gguf_writer_destroy(writer);
    free(w.reordered);
    return status;
}

// --- reading one --------------------------------------------------------------------------------------------------

static int64_t find_param(const writing *w, const mosa_adapter_pair *pair, int lora) {
    for (size_t p = 0; p < w->params->count; p++) {
        mosa_weight_slot slot;
        int layer;
        mosa_step_origin origin = mosa_step_origin_of(w->how->step, p);
        if (origin.lora == lora && parse(w, origin.tensor, &slot, &layer, NULL) == MOSA_OK && slot == pair->slot &&
            layer == pair->layer)
            return (int64_t)p;
    }
    return -1;
}

// One half of a pair; `factor` brings B to the run's scale.
static mosa_status take(writing *w, const mosa_adapter_pair *pair, int lora, bool turn, float factor, mosa_error *err) {
    const mosa_tensor_view *view = lora == 1 ? pair->a : pair->b;
    int64_t index = find_param(w, pair, lora);
    if (index < 0) return mosa_fail(err, MOSA_EINVALID, "%s: this run adapts no such matrix", view->name);
    const mosa_param *param = &w->params->items[index];
    if (view->dims[0] != param->dims[0] || view->dims[1] != param->dims[1])
        return mosa_fail(err, MOSA_EINVALID, "%s: is %lld x %lld, this run's is %lld x %lld (lora_rank)", view->name,
                         (long long)view->dims[0], (long long)view->dims[1], (long long)param->dims[0],
                         (long long)param->dims[1]);
    const int64_t columns = view->dims[1];
    const int64_t head = mosa_step_config(w->how->step)->head_width;
    size_t row_bytes = view->bytes / (size_t)view->dims[0];
    for (int64_t row = 0; row < view->dims[0]; row++) {
        int64_t from = turn && lora == 2 ? mosa_weight_rotary_row(row, head, w->to_gguf) : row;
        float *to = w->weights + param->offset + row * columns;
        mosa_dtype_traits_of(view->dtype)->to_f32((const char *)view->data + (size_t)from * row_bytes, to, columns);
        for (int64_t i = 0; lora == 2 && factor != 1 && i < columns; i++) to[i] *= factor;
    }
    return MOSA_OK;
}

static mosa_status take_all(writing *w, const mosa_adapter_file *file, mosa_error *err) {
    const mosa_export *how = w->how;
    float scale = how->rslora ? how->alpha / sqrtf((float)how->rank) : how->alpha / (float)how->rank;
    if (mosa_adapter_file_count(file) * 2 != w->params->count)
        return mosa_fail(err, MOSA_EINVALID, "%s: adapts %zu matrices, this run %zu (lora_target)",
                         mosa_adapter_file_path(file), mosa_adapter_file_count(file), w->params->count / 2);
    for (size_t i = 0; i < mosa_adapter_file_count(file); i++) {
        const mosa_adapter_pair *pair = mosa_adapter_file_at(file, i);
        bool turn = w->family->gguf_rotary_pairs && mosa_weight_info_of(pair->slot)->rotary_rows &&
                    mosa_adapter_file_is_gguf(file) != w->to_gguf;
        MOSA_TRY(take(w, pair, 1, turn, 1, err));
        MOSA_TRY(take(w, pair, 2, turn, pair->scale / scale, err));
    }
    return MOSA_OK;
}

mosa_status mosa_import_adapter(const mosa_export *how, const char *path, mosa_error *err) {
    writing w;
    mosa_adapter_file *file = NULL;
    bool gguf = mosa_model_source_is_gguf(mosa_step_source(how->step));
    mosa_status status = begin(&w, how, gguf, err); // what is read becomes the base's order
    const char *type = status == MOSA_OK && gguf ? w.family->hf_types[0] : mosa_model_source_arch(w.source);
    if (status == MOSA_OK) status = mosa_adapter_file_open(path, type, &file, err);
    if (status == MOSA_OK) status = take_all(&w, file, err);
    mosa_adapter_file_close(file);
    free(w.reordered);
    return status;
}
