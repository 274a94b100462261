// To a Hugging Face folder, from GGUF (config.json and tokenizer files made from keys) or from another folder (its JSON
// files copied, tensors in another dtype).
#include "cli/convert.h"

#include "base/file.h"
#include "base/out_file.h"
#include "codec/json.h"

#include <stdio.h>
#include <stdlib.h>

enum { SMALL_FILE_MAX = 256 << 20 };

typedef struct arch_row {
    const char *arch, *model_type, *class_name;
} arch_row;

static const arch_row arch_table[] = {
    {"llama", "llama", "LlamaForCausalLM"},           {"qwen2", "qwen2", "Qwen2ForCausalLM"},
    {"qwen2moe", "qwen2_moe", "Qwen2MoeForCausalLM"}, {"qwen3", "qwen3", "Qwen3ForCausalLM"},
    {"qwen3moe", "qwen3_moe", "Qwen3MoeForCausalLM"},
};

static mosa_status find_arch(const mosa_model_source *source, const arch_row **out, mosa_error *err) {
    const char *arch = mosa_model_source_arch(source);
    for (size_t i = 0; i < MOSA_COUNT(arch_table); i++) {
        if (strcmp(arch_table[i].arch, arch) != 0) continue;
        *out = &arch_table[i];
        return MOSA_OK;
    }
    mosa_fail(err, MOSA_EUNSUPPORTED, "%s: architecture '%s' cannot be converted", mosa_model_source_path(source),
              arch);
    mosa_hint(err, "llama, qwen2, qwen2moe, qwen3 and qwen3moe can");
    return MOSA_EUNSUPPORTED;
}

mosa_status convert_save_json(const convert_job *job, const char *name, const json_t *value, mosa_error *err) {
    mosa_buf text;
    mosa_buf_init(&text, 0);
    mosa_json_append_pretty(&text, value);
    mosa_buf_append_char(&text, '\n');
    MOSA_AUTO_FREE char *path = mosa_path_join(job->out, name);
    mosa_status status = mosa_buf_failed(&text) || !path ? mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", name)
                                                         : mosa_out_file_save(path, text.data, text.len, err);
    mosa_buf_finish(&text);
    return status;
}

static const char *torch_dtype(const convert_job *job) {
    mosa_dtype dtype = convert_main_dtype(job);
    return dtype == MOSA_F16 ? "float16" : dtype == MOSA_BF16 ? "bfloat16" : "float32";
}

static mosa_status add_i64(json_t *config, const char *field, const mosa_model_source *source, mosa_hparam which,
                           int64_t fallback, int64_t *out, mosa_error *err) {
    MOSA_TRY(fallback < 0 ? mosa_model_source_i64(source, which, 1, INT32_MAX, out, err)
                          : mosa_model_source_i64_or(source, which, 0, INT32_MAX, fallback, out, err));
    json_object_set_new(config, field, json_integer(*out));
    return MOSA_OK;
}

// GGUF holds f32: written as the shortest decimal that reads back as the same f32, 1e-06 and not 9.99999997e-07.
static json_t *json_f32(double value) {
    char text[32];
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtof(text, NULL) == (float)value) break;
    }
    return json_real(strtod(text, NULL));
}

static mosa_status add_hparams(json_t *config, const mosa_model_source *source, int64_t *head_width, mosa_error *err) {
    int64_t width, heads, value;
    double eps, base;
    MOSA_TRY(add_i64(config, "hidden_size", source, MOSA_H_WIDTH, -1, &width, err));
    MOSA_TRY(add_i64(config, "intermediate_size", source, MOSA_H_FFN, -1, &value, err));
    MOSA_TRY(add_i64(config, "num_hidden_layers", source, MOSA_H_LAYERS, -1, &value, err));
    MOSA_TRY(add_i64(config, "num_attention_heads", source, MOSA_H_HEADS, -1, &heads, err));
    MOSA_TRY(add_i64(config, "num_key_value_heads", source, MOSA_H_KV_HEADS, heads, &value, err));
    MOSA_TRY(add_i64(config, "head_dim", source, MOSA_H_HEAD_WIDTH, width / heads, head_width, err));
    MOSA_TRY(add_i64(config, "max_position_embeddings", source, MOSA_H_CONTEXT, -1, &value, err));
    MOSA_TRY(mosa_model_source_f64_or(source, MOSA_H_NORM_EPS, 0, 1, 1e-5, &eps, err));
    MOSA_TRY(mosa_model_source_f64_or(source, MOSA_H_ROPE_BASE, 1, 1e12, 10000, &base, err));
    json_object_set_new(config, "rms_norm_eps", json_f32(eps));
    json_object_set_new(config, "rope_theta", json_f32(base));
    return MOSA_OK;
}

static bool has_weight(const mosa_model_source *source, mosa_weight_slot slot) {
    return mosa_model_source_weight(source, slot, 0) != NULL;
}

static void add_special_id(json_t *config, const mosa_gguf *gguf, const char *key, const char *field) {
    uint32_t id;
    if (mosa_gguf_get_u32(gguf, key, &id, NULL) == MOSA_OK) json_object_set_new(config, field, json_integer(id));
}

static void add_flags(json_t *config, const mosa_model_source *source, const arch_row *arch) {
    const mosa_gguf *gguf = mosa_model_source_gguf(source);
    json_object_set_new(config, "tie_word_embeddings",
                        json_boolean(!mosa_model_source_weight(source, MOSA_W_OUTPUT, -1)));
    json_object_set_new(config, "hidden_act", json_string("silu"));
    if (strncmp(arch->arch, "qwen2", 5) != 0)
        json_object_set_new(config, "attention_bias", json_boolean(has_weight(source, MOSA_W_ATTN_Q_BIAS)));
    if (strcmp(arch->arch, "llama") == 0)
        json_object_set_new(config, "mlp_bias", json_boolean(has_weight(source, MOSA_W_FFN_DOWN_BIAS)));
    add_special_id(config, gguf, "tokenizer.ggml.bos_token_id", "bos_token_id");
    add_special_id(config, gguf, "tokenizer.ggml.eos_token_id", "eos_token_id");
    add_special_id(config, gguf, "tokenizer.ggml.padding_token_id", "pad_token_id");
}

static mosa_status add_experts(json_t *config, const mosa_model_source *source, const char *type, mosa_error *err) {
    int64_t count, used, ffn, shared;
    MOSA_TRY(mosa_model_source_i64_or(source, MOSA_H_EXPERTS, 0, MOSA_WEIGHT_LAYERS_MAX, 0, &count, err));
    if (count == 0) return MOSA_OK;
    MOSA_TRY(mosa_model_source_i64(source, MOSA_H_EXPERTS_USED, 1, count, &used, err));
    MOSA_TRY(mosa_model_source_i64_or(source, MOSA_H_EXPERT_FFN, 0, INT32_MAX, 0, &ffn, err));
    MOSA_TRY(mosa_model_source_i64_or(source, MOSA_H_SHARED_FFN, 0, INT32_MAX, 0, &shared, err));
    bool mixtral = strcmp(type, "mixtral") == 0;
    json_object_set_new(config, mixtral ? "num_local_experts" : "num_experts", json_integer(count));
    json_object_set_new(config, "num_experts_per_tok", json_integer(used));
    if (ffn) json_object_set_new(config, "moe_intermediate_size", json_integer(ffn));
    if (shared) json_object_set_new(config, "shared_expert_intermediate_size", json_integer(shared));
    if (!mixtral) json_object_set_new(config, "norm_topk_prob", json_boolean(strcmp(type, "qwen3_moe") == 0));
    return MOSA_OK;
}

static mosa_status add_window(json_t *config, const mosa_model_source *source, mosa_error *err) {
    int64_t window;
    MOSA_TRY(mosa_model_source_i64_or(source, MOSA_H_WINDOW, 0, INT32_MAX, 0, &window, err));
    if (window > 0) json_object_set_new(config, "sliding_window", json_integer(window));
    return MOSA_OK;
}

static mosa_status save_config(convert_job *job, const mosa_model_source *source, const arch_row *arch, json_t *config,
                               int64_t rows, mosa_error *err) {
    json_t *scaling;
    int64_t head_width;
    MOSA_TRY(add_window(config, source, err));
    MOSA_TRY(add_hparams(config, source, &head_width, err));
    MOSA_TRY(convert_rope_to_hf(source, head_width, &scaling, err));
    json_object_set_new(config, "rope_scaling", scaling ? scaling : json_null());
    json_object_set_new(config, "vocab_size", json_integer(rows));
    json_object_set_new(config, "torch_dtype", json_string(torch_dtype(job)));
    add_flags(config, source, arch);
    return convert_save_json(job, "config.json", config, err);
}

// One matrix of a stack as a tensor of its own.
static mosa_status add_expert(convert_job *job, const mosa_tensor_view *stack, const char *name, mosa_weight_slot slot,
                              int expert, mosa_error *err) {
    mosa_tensor_view *view = MOSA_ARENA_NEW(job->arena, mosa_tensor_view);
    if (!view) return mosa_fail(err, MOSA_ENOMEM, "out of memory for the tensor list");
    *view = *stack;
    view->n_dims = 2;
    view->dims[0] = stack->dims[1];
    view->dims[1] = stack->dims[2];
    view->dims[2] = 1;
    view->n_elements = stack->n_elements / stack->dims[0];
    view->bytes = stack->bytes / (size_t)stack->dims[0];
    view->data = (const char *)stack->data + (size_t)expert * view->bytes;
    return convert_add(job, name, view, slot, false, 0, err);
}

// A gate of the shared expert is [D] in GGUF and [1,D] in Hugging Face files.
static mosa_status add_row(convert_job *job, const mosa_tensor_view *vector, const char *name, mosa_error *err) {
    mosa_tensor_view *view = MOSA_ARENA_NEW(job->arena, mosa_tensor_view);
    if (!view) return mosa_fail(err, MOSA_ENOMEM, "out of memory for the tensor list");
    *view = *vector;
    view->n_dims = 2;
    view->dims[0] = 1;
    view->dims[1] = vector->n_elements;
    return convert_add(job, name, view, MOSA_W_SHARED_ROUTER, false, 0, err);
}

static mosa_status add_gguf_tensor(convert_job *job, const mosa_tensor_view *view, const char *arch, const char *type,
                                   int64_t rotary_width, mosa_error *err) {
    char name[MOSA_WEIGHT_NAME_MAX];
    mosa_weight_slot slot;
    int layer, expert;
    if (!mosa_weight_parse(MOSA_NAMING_GGUF, arch, view->name, &slot, &layer, &expert))
        return mosa_fail(err, MOSA_EUNSUPPORTED, "%s: tensor '%s' is not known", job->in, view->name);
    if (slot == MOSA_W_ROPE_FREQS) return MOSA_OK; // becomes rope_scaling
    if (view->n_dims == 3 && mosa_weight_expert_name(MOSA_NAMING_HF, type, slot, layer, 0, name)) {
        for (int e = 0; e < view->dims[0]; e++) {
            if (!mosa_weight_expert_name(MOSA_NAMING_HF, type, slot, layer, e, name))
                return mosa_fail(err, MOSA_ELIMIT, "%s: tensor '%s' has too many experts", job->in, view->name);
            MOSA_TRY(add_expert(job, view, name, slot, e, err));
        }
        return MOSA_OK;
    }
    if (!mosa_weight_name(MOSA_NAMING_HF, type, slot, layer, name))
        return mosa_fail(err, MOSA_EUNSUPPORTED, "%s: tensor '%s' has no Hugging Face name", job->in, view->name);
    if (slot == MOSA_W_SHARED_ROUTER && view->n_dims == 1) return add_row(job, view, name, err);
    int64_t head_width = mosa_weight_info_of(slot)->rotary_rows ? rotary_width : 0;
    return convert_add(job, name, view, slot, false, head_width, err);
}

static mosa_status add_gguf_tensors(convert_job *job, const mosa_model_source *source, const char *type,
                                    int64_t rotary_width, mosa_error *err) {
    const mosa_gguf *gguf = mosa_model_source_gguf(source);
    for (size_t i = 0; i < mosa_gguf_tensor_count(gguf); i++)
        MOSA_TRY(add_gguf_tensor(job, mosa_gguf_tensor_at(gguf, i), mosa_model_source_arch(source), type, rotary_width,
                                 err));
    return MOSA_OK;
}

// A llama with experts is what Hugging Face calls mixtral, one with a sliding window mistral.
static mosa_status find_type(const mosa_model_source *source, const arch_row *arch, const char **type,
                             const char **class_name, mosa_error *err) {
    int64_t window, experts;
    MOSA_TRY(mosa_model_source_i64_or(source, MOSA_H_WINDOW, 0, INT32_MAX, 0, &window, err));
    MOSA_TRY(mosa_model_source_i64_or(source, MOSA_H_EXPERTS, 0, INT32_MAX, 0, &experts, err));
    bool llama = strcmp(arch->arch, "llama") == 0;
    *type = llama && experts ? "mixtral" : llama && window ? "mistral" : arch->model_type;
    *class_name = llama && experts ? "MixtralForCausalLM" : llama && window ? "MistralForCausalLM" : arch->class_name;
    return MOSA_OK;
}

mosa_status convert_gguf_to_hf(convert_job *job, const mosa_model_source *source, mosa_error *err) {
    const arch_row *arch;
    const char *type, *class_name;
    int64_t width, heads, head_width;
    const mosa_tensor_view *embedding = mosa_model_source_weight(source, MOSA_W_TOKEN_EMBD, -1);
    MOSA_TRY(find_arch(source, &arch, err));
    if (!embedding) return mosa_fail(err, MOSA_ENOTFOUND, "%s: has no token embedding", job->in);
    MOSA_TRY(mosa_model_source_i64(source, MOSA_H_WIDTH, 1, INT32_MAX, &width, err));
    MOSA_TRY(mosa_model_source_i64(source, MOSA_H_HEADS, 1, INT32_MAX, &heads, err));
    MOSA_TRY(mosa_model_source_i64_or(source, MOSA_H_HEAD_WIDTH, 2, 1 << 16, width / heads, &head_width, err));
    MOSA_TRY(find_type(source, arch, &type, &class_name, err));
    MOSA_TRY(add_gguf_tensors(job, source, type, strcmp(arch->arch, "llama") == 0 ? head_width : 0, err));
    MOSA_AUTO_JSON json_t *config = json_object();
    json_object_set_new(config, "architectures", json_pack("[s]", class_name));
    json_object_set_new(config, "model_type", json_string(type));
    MOSA_TRY(add_experts(config, source, type, err));
    MOSA_TRY(save_config(job, source, arch, config, embedding->dims[0], err));
    MOSA_TRY(convert_vocab_to_hf(job, mosa_model_source_gguf(source), err));
    MOSA_TRY(mosa_safetensors_writer_create(job->out, job->shard_bytes, &job->safetensors, err));
    return convert_write(job, err);
}

// Copies a file of the input folder when it is there.
static mosa_status copy_file(const convert_job *job, const char *name, mosa_error *err) {
    MOSA_AUTO_FREE char *from = mosa_path_join(job->in, name);
    MOSA_AUTO_FREE char *to = mosa_path_join(job->out, name);
    MOSA_AUTO_FREE char *bytes = NULL;
    size_t len;
    if (!from || !to) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", name);
    if (!mosa_file_exists(from)) return MOSA_OK;
    MOSA_TRY(mosa_file_read(from, SMALL_FILE_MAX, &bytes, &len, err));
    return mosa_out_file_save(to, bytes, len, err);
}

mosa_status convert_hf_to_hf(convert_job *job, const mosa_model_source *source, mosa_error *err) {
    static const char *const files[] = {"generation_config.json",
                                        "tokenizer.json",
                                        "tokenizer_config.json",
                                        "special_tokens_map.json",
                                        "chat_template.jinja",
                                        "tokenizer.model",
                                        "vocab.json",
                                        "merges.txt",
                                        "added_tokens.json"};
    for (size_t i = 0; i < mosa_model_source_tensor_count(source); i++) {
        const mosa_tensor_view *view = mosa_model_source_tensor_at(source, i);
        MOSA_TRY(convert_add(job, view->name, view, MOSA_W_COUNT, false, 0, err));
    }
    MOSA_AUTO_JSON json_t *config = NULL;
    MOSA_TRY(mosa_json_load(mosa_hf_config_path(mosa_model_source_hf_config(source)), NULL, &config, err));
    json_object_set_new(config, "torch_dtype", json_string(torch_dtype(job)));
    json_object_del(config, "dtype");
    MOSA_TRY(convert_save_json(job, "config.json", config, err));
    for (size_t i = 0; i < MOSA_COUNT(files); i++) MOSA_TRY(copy_file(job, files[i], err));
    MOSA_TRY(mosa_safetensors_writer_create(job->out, job->shard_bytes, &job->safetensors, err));
    return convert_write(job, err);
}
