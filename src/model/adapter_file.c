// Opening adapters, and the GGUF form.
#include "model/adapter_file.h"

#include "base/file.h"
#include "codec/json.h"
#include "model/adapter_file_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CONFIG_BYTES_MAX = 4 << 20, CONFIG_DEPTH_MAX = 32 };

static const mosa_json_limits config_limits = {CONFIG_BYTES_MAX, CONFIG_DEPTH_MAX};

static mosa_status out_of_memory(const char *path, mosa_error *err) {
    return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", path);
}

// --- pairs ----------------------------------------------------------------------------------------------------------

static mosa_status check_matrix(const mosa_adapter_file *file, const mosa_tensor_view *view, mosa_error *err) {
    if (view->n_dims != 2 || view->dims[0] <= 0 || view->dims[1] <= 0)
        return mosa_fail(err, MOSA_ECORRUPT, "%s: tensor %.200s is not a matrix", file->path, view->name);
    if (!mosa_dtype_traits_of(view->dtype)->to_f32)
        return mosa_fail(err, MOSA_EUNSUPPORTED, "%s: tensor %.200s has type %s, which is not supported", file->path,
                         view->name, mosa_dtype_name(view->dtype));
    return MOSA_OK;
}

mosa_status mosa_adapter_file_add(mosa_adapter_file *file, const mosa_adapter_pair *pair, mosa_error *err) {
    MOSA_TRY(check_matrix(file, pair->a, err));
    MOSA_TRY(check_matrix(file, pair->b, err));
    int64_t rank = pair->a->dims[0];
    if (pair->b->dims[1] != rank)
        return mosa_fail(err, MOSA_ECORRUPT, "%s: tensor %.120s has rank %lld, its other half %lld", file->path,
                         pair->b->name, (long long)pair->b->dims[1], (long long)rank);
    if (rank > MOSA_ADAPTER_RANK_MAX)
        return mosa_fail(err, MOSA_ELIMIT, "%s: tensor %.200s has rank %lld, must be at most %d", file->path,
                         pair->a->name, (long long)rank, MOSA_ADAPTER_RANK_MAX);
    if (!isfinite(pair->scale))
        return mosa_fail(err, MOSA_ECORRUPT, "%s: the scale of tensor %.200s is not finite", file->path, pair->a->name);
    for (size_t i = 0; i < file->n_pairs; i++)
        if (file->pairs[i].slot == pair->slot && file->pairs[i].layer == pair->layer)
            return mosa_fail(err, MOSA_ECORRUPT, "%s: tensors %.120s and %.120s change the same weight", file->path,
                             file->pairs[i].a->name, pair->a->name);
    file->pairs[file->n_pairs++] = *pair;
    return MOSA_OK;
}

static mosa_status reserve(mosa_adapter_file *file, size_t tensors, mosa_error *err) {
    if (tensors == 0) return mosa_fail(err, MOSA_ECORRUPT, "%s: there are no tensors", file->path);
    if (tensors > MOSA_ADAPTER_TENSORS_MAX)
        return mosa_fail(err, MOSA_ELIMIT, "%s: %zu tensors are more than an adapter has", file->path, tensors);
    file->pairs = calloc(tensors, sizeof *file->pairs);
    return file->pairs ? MOSA_OK : out_of_memory(file->path, err);
}

// --- GGUF -----------------------------------------------------------------------------------------------------------

static mosa_status want_string(const mosa_adapter_file *file, const char *key, mosa_slice wanted, const char *hint,
                               mosa_error *err) {
    mosa_slice value;
    MOSA_TRY(mosa_gguf_get_str_or(file->gguf, key, MOSA_SLICE(""), &value, err));
    if (mosa_slice_eq(value, wanted)) return MOSA_OK;
    (void)mosa_fail(err, MOSA_EUNSUPPORTED, "%s: %s is '%.*s', must be '%s'", file->path, key,
                    (int)(value.len < 64 ? value.len : 64), value.len ? value.data : "", wanted.data);
    return mosa_hint(err, "%s", hint);
}

// "blk.0.attn_q.weight.lora_a" -> slot and layer.
static mosa_status parse_base_name(const mosa_adapter_file *file, const mosa_tensor_view *a, mosa_adapter_pair *pair,
                                   mosa_error *err) {
    char name[MOSA_WEIGHT_NAME_MAX];
    size_t len = strlen(a->name) - strlen(".lora_a");
    if (len < sizeof name) {
        memcpy(name, a->name, len);
        name[len] = '\0';
        int expert;
        if (mosa_weight_parse(MOSA_NAMING_GGUF, file->arch, name, &pair->slot, &pair->layer, &expert) && expert < 0)
            return MOSA_OK;
    }
    return mosa_fail(err, MOSA_EUNSUPPORTED, "%s: tensor %.200s changes a weight that we do not know", file->path,
                     a->name);
}

static mosa_status read_gguf_pair(mosa_adapter_file *file, const mosa_tensor_view *a, float alpha, mosa_error *err) {
    mosa_adapter_pair pair = {.a = a};
    char name[MOSA_GGUF_NAME_MAX + 1];
    MOSA_TRY(parse_base_name(file, a, &pair, err));
    size_t len = strlen(a->name);
    memcpy(name, a->name, len + 1);
    name[len - 1] = 'b';
    pair.b = mosa_gguf_tensor_find(file->gguf, name);
    if (!pair.b) return mosa_fail(err, MOSA_ECORRUPT, "%s: tensor %.200s is missing", file->path, name);
    // Without alpha the product is taken as it is.
    pair.scale = alpha != 0 && a->n_dims == 2 ? alpha / (float)a->dims[0] : 1;
    return mosa_adapter_file_add(file, &pair, err);
}

mosa_status mosa_adapter_gguf_read(mosa_adapter_file *file, mosa_error *err) {
    mosa_slice arch;
    float alpha;
    MOSA_TRY(want_string(file, "general.type", MOSA_SLICE("adapter"), "give a LoRA file, not a model", err));
    MOSA_TRY(want_string(file, "adapter.type", MOSA_SLICE("lora"), "only LoRA adapters can be served", err));
    MOSA_TRY(mosa_gguf_get_str(file->gguf, "general.architecture", &arch, err));
    MOSA_TRY(mosa_gguf_get_f32_or(file->gguf, "adapter.lora.alpha", 0, &alpha, err));
    size_t count = mosa_gguf_tensor_count(file->gguf);
    file->arch = strndup(arch.data, arch.len);
    if (!file->arch) return out_of_memory(file->path, err);
    MOSA_TRY(reserve(file, count, err));
    for (size_t i = 0; i < count; i++) {
        const mosa_tensor_view *view = mosa_gguf_tensor_at(file->gguf, i);
        if (mosa_str_ends_with(view->name, ".lora_a"))
            MOSA_TRY(read_gguf_pair(file, view, alpha, err));
        else if (!mosa_str_ends_with(view->name, ".lora_b"))
            return mosa_fail(err, MOSA_EUNSUPPORTED, "%s: tensor %.200s is neither lora_a nor lora_b", file->path,
                             view->name);
    }
    if (file->n_pairs * 2 == count) return MOSA_OK;
    return mosa_fail(err, MOSA_ECORRUPT, "%s: %zu tensors for %zu lora_a", file->path, count, file->n_pairs);
}

// --- opening --------------------------------------------------------------------------------------------------------

static mosa_status create(const char *path, mosa_adapter_file **out, mosa_error *err) {
    mosa_adapter_file *file = calloc(1, sizeof *file);
    if (file) file->path = strdup(path);
    if (!file || !file->path) {
        free(file);
        return out_of_memory(path, err);
    }
    *out = file;
    return MOSA_OK;
}

// Hands over a filled object, or frees it with its fault.
static mosa_status finish(mosa_adapter_file *file, mosa_status status, mosa_adapter_file **out) {
    if (status == MOSA_OK)
        *out = file;
    else
        mosa_adapter_file_close(file);
    return status;
}

static mosa_status open_folder(mosa_adapter_file *file, const char *folder, const char *base_type, mosa_error *err) {
    MOSA_AUTO_FREE char *config_path = mosa_path_join(folder, "adapter_config.json");
    MOSA_AUTO_FREE char *tensors_path = mosa_path_join(folder, "adapter_model.safetensors");
    MOSA_AUTO_JSON json_t *config = NULL;
    if (!config_path || !tensors_path) return out_of_memory(file->path, err);
    if (mosa_json_load(config_path, &config_limits, &config, err) != MOSA_OK)
        return mosa_hint(err, "give a PEFT folder (adapter_config.json, adapter_model.safetensors) or a GGUF LoRA");
    MOSA_TRY(mosa_safetensors_open(tensors_path, &file->tensors, err));
    MOSA_TRY(reserve(file, mosa_safetensors_tensor_count(file->tensors), err));
    return mosa_adapter_peft_read(file, config, base_type, err);
}

static mosa_status open_into(mosa_adapter_file *file, const char *base_type, mosa_error *err) {
    if (mosa_file_is_dir(file->path)) return open_folder(file, file->path, base_type, err);
    if (!mosa_str_ends_with(file->path, ".json") && !mosa_str_ends_with(file->path, ".safetensors")) {
        MOSA_TRY(mosa_gguf_open(file->path, &file->gguf, err));
        return mosa_adapter_gguf_read(file, err);
    }
    const char *slash = strrchr(file->path, '/');
    MOSA_AUTO_FREE char *folder = slash ? strndup(file->path, (size_t)(slash - file->path)) : strdup(".");
    return folder ? open_folder(file, folder, base_type, err) : out_of_memory(file->path, err);
}

mosa_status mosa_adapter_file_open(const char *path, const char *base_type, mosa_adapter_file **out, mosa_error *err) {
    mosa_adapter_file *file;
    MOSA_TRY(create(path, &file, err));
    return finish(file, open_into(file, base_type, err), out);
}

mosa_status mosa_adapter_file_parse_gguf(const void *data, size_t len, const char *name, mosa_adapter_file **out,
                                         mosa_error *err) {
    mosa_adapter_file *file;
    MOSA_TRY(create(name, &file, err));
    mosa_status status = mosa_gguf_parse(data, len, name, &file->gguf, err);
    if (status == MOSA_OK) status = mosa_adapter_gguf_read(file, err);
    return finish(file, status, out);
}

mosa_status mosa_adapter_file_parse_peft(mosa_slice config, const void *tensors, size_t len, const char *name,
                                         mosa_adapter_file **out, mosa_error *err) {
    MOSA_AUTO_JSON json_t *tree = NULL;
    mosa_adapter_file *file;
    MOSA_TRY(mosa_json_parse(config, &config_limits, &tree, err));
    MOSA_TRY(create(name, &file, err));
    mosa_status status = mosa_safetensors_parse(tensors, len, name, &file->tensors, err);
    if (status == MOSA_OK) status = reserve(file, mosa_safetensors_tensor_count(file->tensors), err);
    if (status == MOSA_OK) status = mosa_adapter_peft_read(file, tree, NULL, err);
    return finish(file, status, out);
}

void mosa_adapter_file_close(mosa_adapter_file *file) {
    if (!file) return;
    mosa_gguf_close(file->gguf);
    mosa_safetensors_close(file->tensors);
    free(file->pairs);
    free(file->path);
    free(file->arch);
    free(file);
}

const char *mosa_adapter_file_path(const mosa_adapter_file *file) {
    return file->path;
}
bool mosa_adapter_file_is_gguf(const mosa_adapter_file *file) {
    return file->gguf != NULL;
}
const char *mosa_adapter_file_arch(const mosa_adapter_file *file) {
    return file->arch;
}
size_t mosa_adapter_file_count(const mosa_adapter_file *file) {
    return file->n_pairs;
}
const mosa_adapter_pair *mosa_adapter_file_at(const mosa_adapter_file *file, size_t index) {
    return &file->pairs[index];
}
