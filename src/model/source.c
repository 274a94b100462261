// One face over GGUF files and Hugging Face folders.
#include "model/source.h"

#include "base/file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct mosa_model_source {
    char *path; // the GGUF file or the folder
    char *name; // for people
    char *arch;
    mosa_gguf *gguf;
    mosa_hf_config *config;
    mosa_safetensors *tensors;
    mosa_naming naming;
};

typedef struct hparam_row {
    const char *gguf; // suffix behind the architecture's name
    const char *hf;
    const char *hf_also[2]; // other spellings of the field
} hparam_row;

static const hparam_row hparam_table[MOSA_H_COUNT] = {
    [MOSA_H_LAYERS] = {"block_count", "num_hidden_layers", {"n_layer"}},
    [MOSA_H_WIDTH] = {"embedding_length", "hidden_size", {"n_embd"}},
    [MOSA_H_FFN] = {"feed_forward_length", "intermediate_size", {"n_inner"}},
    [MOSA_H_HEADS] = {"attention.head_count", "num_attention_heads", {"n_head"}},
    [MOSA_H_KV_HEADS] = {"attention.head_count_kv", "num_key_value_heads"},
    [MOSA_H_HEAD_WIDTH] = {"attention.key_length", "head_dim"},
    [MOSA_H_CONTEXT] = {"context_length", "max_position_embeddings", {"n_positions"}},
    [MOSA_H_WINDOW] = {"attention.sliding_window", "sliding_window"},
    [MOSA_H_NORM_EPS] = {"attention.layer_norm_rms_epsilon", "rms_norm_eps"},
    [MOSA_H_ROPE_BASE] = {"rope.freq_base", "rope_theta", {"rotary_emb_base"}},
    [MOSA_H_EXPERTS] = {"expert_count", "num_local_experts", {"num_experts", "n_routed_experts"}},
    [MOSA_H_EXPERTS_USED] = {"expert_used_count", "num_experts_per_tok"},
    [MOSA_H_EXPERT_FFN] = {"expert_feed_forward_length", "moe_intermediate_size"},
    [MOSA_H_EXPERT_GROUPS] = {"expert_group_count", "n_group"},
    [MOSA_H_EXPERT_TOP_GROUPS] = {"expert_group_used_count", "topk_group"},
    [MOSA_H_EXPERT_SCALE] = {"expert_weights_scale", "routed_scaling_factor"},
    [MOSA_H_SHARED_FFN] = {"expert_shared_feed_forward_length", "shared_expert_intermediate_size"},
    [MOSA_H_SHARED_EXPERTS] = {"expert_shared_count", "n_shared_experts"},
    [MOSA_H_DENSE_LAYERS] = {"leading_dense_block_count", "first_k_dense_replace"},
    [MOSA_H_VALUE_WIDTH] = {"attention.value_length", "v_head_dim"},
    [MOSA_H_LATENT_QUERY] = {"attention.q_lora_rank", "q_lora_rank"},
    [MOSA_H_LATENT] = {"attention.kv_lora_rank", "kv_lora_rank"},
    [MOSA_H_LATENT_ROTATED] = {"rope.dimension_count", "qk_rope_head_dim"},
    [MOSA_H_LATENT_KEY] = {"attention.key_length_mla", "qk_nope_head_dim"},
    [MOSA_H_LATENT_VALUE] = {"attention.value_length_mla", "v_head_dim"},
};

void mosa_model_source_close(mosa_model_source *source) {
    if (!source) return;
    mosa_gguf_close(source->gguf);
    mosa_hf_config_close(source->config);
    mosa_safetensors_close(source->tensors);
    free(source->path);
    free(source->name);
    free(source->arch);
    free(source);
}

static mosa_status open_gguf(mosa_model_source *source, mosa_error *err) {
    mosa_slice text;
    MOSA_TRY(mosa_gguf_open(source->path, &source->gguf, err));
    MOSA_TRY(mosa_gguf_get_str(source->gguf, "general.architecture", &text, err));
    source->arch = strndup(text.data, text.len);
    MOSA_TRY(mosa_gguf_get_str_or(source->gguf, "general.name", (mosa_slice){0}, &text, err));
    source->name = text.len ? strndup(text.data, text.len) : mosa_path_stem(source->path, ".gguf");
    source->naming = MOSA_NAMING_GGUF;
    if (!source->arch || !source->name) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", source->path);
    return MOSA_OK;
}

static mosa_status open_folder(mosa_model_source *source, mosa_error *err) {
    MOSA_AUTO_FREE char *config_path = mosa_path_join(source->path, "config.json");
    const char *arch;
    if (!config_path) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", source->path);
    MOSA_TRY(mosa_hf_config_open(config_path, &source->config, err));
    MOSA_TRY(mosa_hf_config_model_type(source->config, &arch, err));
    MOSA_TRY(mosa_safetensors_open(source->path, &source->tensors, err));
    source->arch = strdup(arch);
    source->name = mosa_path_stem(source->path, ".gguf");
    if (!source->arch || !source->name) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", source->path);
    char name[MOSA_WEIGHT_NAME_MAX];
    source->naming = MOSA_NAMING_HF;
    if (mosa_weight_name(MOSA_NAMING_HF, NULL, MOSA_W_TOKEN_EMBD, 0, name) &&
        !mosa_safetensors_tensor_find(source->tensors, name)) {
        source->naming = MOSA_NAMING_HF_BASE;
    }
    return MOSA_OK;
}

// A file inside a Hugging Face folder stands for the folder.
static char *folder_of(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? strndup(path, (size_t)(slash - path)) : strdup(".");
}

mosa_status mosa_model_source_open(const char *path, mosa_model_source **out, mosa_error *err) {
    struct stat info;
    if (stat(path, &info) != 0) {
        mosa_fail_errno(err, errno, "%s", path);
        return mosa_hint(err, "give a .gguf file or a Hugging Face folder; `mosa pull hf:org/name` fetches one");
    }
    mosa_model_source *source = calloc(1, sizeof *source);
    if (!source) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", path);
    bool inside =
        !S_ISDIR(info.st_mode) && (mosa_str_ends_with(path, ".json") || mosa_str_ends_with(path, ".safetensors"));
    bool folder = S_ISDIR(info.st_mode) || inside;
    source->path = inside ? folder_of(path) : strdup(path);
    mosa_status status = !source->path ? mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", path)
                         : folder      ? open_folder(source, err)
                                       : open_gguf(source, err);
    if (status != MOSA_OK) {
        mosa_model_source_close(source);
        return status;
    }
    *out = source;
    return MOSA_OK;
}

const char *mosa_model_source_path(const mosa_model_source *source) {
    return source->path;
}
const char *mosa_model_source_arch(const mosa_model_source *source) {
    return source->arch;
}
const char *mosa_model_source_name(const mosa_model_source *source) {
    return source->name;
}
bool mosa_model_source_is_gguf(const mosa_model_source *source) {
    return source->gguf != NULL;
}
const mosa_gguf *mosa_model_source_gguf(const mosa_model_source *source) {
    return source->gguf;
}
const mosa_hf_config *mosa_model_source_hf_config(const mosa_model_source *source) {
    return source->config;
}

const char *mosa_model_source_key(const mosa_model_source *source, const char *suffix, char *buffer) {
    snprintf(buffer, MOSA_GGUF_NAME_MAX + 1, "%s.%s", source->arch, suffix);
    return buffer;
}

// The field of config.json as this model spells it.
static const char *hf_field(const mosa_model_source *source, mosa_hparam which) {
    const hparam_row *row = &hparam_table[which];
    for (int i = 0; i < 2 && row->hf_also[i] && !mosa_hf_config_has(source->config, row->hf); i++)
        if (mosa_hf_config_has(source->config, row->hf_also[i])) return row->hf_also[i];
    return row->hf;
}

static mosa_status out_of_range(const mosa_model_source *source, const char *key, double value, double min, double max,
                                mosa_error *err) {
    return mosa_fail(err, MOSA_EINVALID, "%s: %s is %g, must be between %g and %g", source->path, key, value, min, max);
}

mosa_status mosa_model_source_i64(const mosa_model_source *source, mosa_hparam which, int64_t min, int64_t max,
                                  int64_t *out, mosa_error *err) {
    if (source->config) return mosa_hf_config_i64(source->config, hf_field(source, which), min, max, out, err);
    char buffer[MOSA_GGUF_NAME_MAX + 1];
    const char *key = mosa_model_source_key(source, hparam_table[which].gguf, buffer);
    int64_t value;
    MOSA_TRY(mosa_gguf_get_i64(source->gguf, key, &value, err));
    if (value < min || value > max) return out_of_range(source, key, (double)value, (double)min, (double)max, err);
    *out = value;
    return MOSA_OK;
}

bool mosa_model_source_has(const mosa_model_source *source, mosa_hparam which) {
    char buffer[MOSA_GGUF_NAME_MAX + 1];
    if (source->config) return mosa_hf_config_has(source->config, hf_field(source, which));
    return mosa_gguf_kv_find(source->gguf, mosa_model_source_key(source, hparam_table[which].gguf, buffer)) != NULL;
}

mosa_status mosa_model_source_i64_or(const mosa_model_source *source, mosa_hparam which, int64_t min, int64_t max,
                                     int64_t fallback, int64_t *out, mosa_error *err) {
    if (mosa_model_source_has(source, which)) return mosa_model_source_i64(source, which, min, max, out, err);
    *out = fallback;
    return MOSA_OK;
}

mosa_status mosa_model_source_f64_or(const mosa_model_source *source, mosa_hparam which, double min, double max,
                                     double fallback, double *out, mosa_error *err) {
    if (source->config)
        return mosa_hf_config_f64_or(source->config, hf_field(source, which), min, max, fallback, out, err);
    char buffer[MOSA_GGUF_NAME_MAX + 1];
    const char *key = mosa_model_source_key(source, hparam_table[which].gguf, buffer);
    if (!mosa_gguf_kv_find(source->gguf, key)) {
        *out = fallback;
        return MOSA_OK;
    }
    float value;
    MOSA_TRY(mosa_gguf_get_f32(source->gguf, key, &value, err));
    if (!(value >= min && value <= max)) return out_of_range(source, key, value, min, max, err);
    *out = value;
    return MOSA_OK;
}

const char *mosa_model_source_weight_name(const mosa_model_source *source, mosa_weight_slot slot, int layer,
                                          char buffer[MOSA_WEIGHT_NAME_MAX]) {
    if (!mosa_weight_name(source->naming, source->arch, slot, layer, buffer))
        snprintf(buffer, MOSA_WEIGHT_NAME_MAX, "%s (layer %d)", mosa_weight_info_of(slot)->label, layer);
    return buffer;
}

const mosa_tensor_view *mosa_model_source_expert(const mosa_model_source *source, mosa_weight_slot slot, int layer,
                                                 int expert) {
    char name[MOSA_WEIGHT_NAME_MAX];
    if (source->gguf || !mosa_weight_expert_name(source->naming, source->arch, slot, layer, expert, name)) return NULL;
    const mosa_tensor_view *view = mosa_safetensors_tensor_find(source->tensors, name);
    if (!view && source->naming == MOSA_NAMING_HF_BASE &&
        mosa_weight_expert_name(MOSA_NAMING_HF, source->arch, slot, layer, expert, name))
        view = mosa_safetensors_tensor_find(source->tensors, name);
    return view;
}

static const mosa_tensor_view *find_hf(const mosa_model_source *source, const char *prefix, const char *name) {
    char whole[MOSA_WEIGHT_NAME_MAX + 16];
    snprintf(whole, sizeof whole, "%s%s", prefix, name);
    return mosa_safetensors_tensor_find(source->tensors, whole);
}

const mosa_tensor_view *mosa_model_source_weight(const mosa_model_source *source, mosa_weight_slot slot, int layer) {
    char name[MOSA_WEIGHT_NAME_MAX];
    if (!mosa_weight_name(source->naming, source->arch, slot, layer, name)) return NULL;
    if (source->gguf) return mosa_gguf_tensor_find(source->gguf, name);
    const mosa_tensor_view *view = find_hf(source, "", name);
    if (source->naming != MOSA_NAMING_HF_BASE) return view;
    // A base model saved without its head may still carry one under the full name; an encoder with a head carries the
    // base under its own.
    static const char *const prefixes[] = {"bert.", "roberta."};
    if (!view && mosa_weight_name(MOSA_NAMING_HF, source->arch, slot, layer, name)) view = find_hf(source, "", name);
    for (size_t i = 0; !view && i < MOSA_COUNT(prefixes); i++) view = find_hf(source, prefixes[i], name);
    return view;
}

size_t mosa_model_source_tensor_count(const mosa_model_source *source) {
    return source->gguf ? mosa_gguf_tensor_count(source->gguf) : mosa_safetensors_tensor_count(source->tensors);
}

const mosa_tensor_view *mosa_model_source_tensor_at(const mosa_model_source *source, size_t index) {
    return source->gguf ? mosa_gguf_tensor_at(source->gguf, index) : mosa_safetensors_tensor_at(source->tensors, index);
}

int64_t mosa_model_source_parameters(const mosa_model_source *source) {
    int64_t sum = 0;
    for (size_t i = 0; i < mosa_model_source_tensor_count(source); i++)
        sum += mosa_model_source_tensor_at(source, i)->n_elements;
    return sum;
}

mosa_dtype mosa_model_source_main_dtype(const mosa_model_source *source) {
    int64_t elements[MOSA_DTYPE_COUNT] = {0};
    for (size_t i = 0; i < mosa_model_source_tensor_count(source); i++) {
        const mosa_tensor_view *view = mosa_model_source_tensor_at(source, i);
        elements[view->dtype] += view->n_elements;
    }
    mosa_dtype best = MOSA_F32;
    for (int t = 0; t < MOSA_DTYPE_COUNT; t++)
        if (elements[t] > elements[best]) best = (mosa_dtype)t;
    return best;
}
