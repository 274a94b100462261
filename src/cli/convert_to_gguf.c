// To GGUF, from a Hugging Face folder (keys and tensors renamed, Q/K rows reordered for the llama family) or from
// another GGUF file (metadata kept, tensors requantised).
#include "cli/convert.h"

#include <stdio.h>
#include <stdlib.h>

enum { QUANTIZATION_VERSION = 2 };

typedef struct arch_row {
    const char *hf_type, *gguf_arch;
} arch_row;

// clang-format off: one to a line
static const arch_row arch_table[] = {
    {"llama", "llama"},           {"mistral", "llama"},   {"mixtral", "llama"},      {"qwen2", "qwen2"},
    {"qwen2_moe", "qwen2moe"},    {"qwen3", "qwen3"},     {"qwen3_moe", "qwen3moe"}, {"deepseek_v2", "deepseek2"},
    {"deepseek_v3", "deepseek2"}, {"gpt_oss", "gpt-oss"},
};
// clang-format on

static mosa_status find_arch(const mosa_model_source *source, const char **out, mosa_error *err) {
    const char *type = mosa_model_source_arch(source);
    for (size_t i = 0; i < MOSA_COUNT(arch_table); i++) {
        if (strcmp(arch_table[i].hf_type, type) != 0) continue;
        *out = arch_table[i].gguf_arch;
        return MOSA_OK;
    }
    mosa_fail(err, MOSA_EUNSUPPORTED, "%s: model type '%s' cannot be converted", mosa_model_source_path(source), type);
    mosa_hint(err, "llama, mistral, mixtral, qwen2, qwen2_moe, qwen3, qwen3_moe, deepseek and gpt_oss can");
    return MOSA_EUNSUPPORTED;
}

void convert_put_u32(convert_job *job, const char *arch, const char *suffix, int64_t value) {
    char key[MOSA_GGUF_NAME_MAX + 1];
    snprintf(key, sizeof key, "%s.%s", arch, suffix);
    mosa_gguf_writer_put_u32(job->gguf, key, (uint32_t)value);
}

static mosa_status put_heads(convert_job *job, const mosa_model_source *source, const char *arch, int64_t heads,
                             int64_t head_width, mosa_error *err) {
    int64_t kv_heads;
    if (mosa_model_source_has(source, MOSA_H_LATENT)) return convert_put_latent(job, source, arch, err);
    MOSA_TRY(mosa_model_source_i64_or(source, MOSA_H_KV_HEADS, 1, heads, heads, &kv_heads, err));
    convert_put_u32(job, arch, "attention.head_count_kv", kv_heads);
    convert_put_u32(job, arch, "attention.key_length", head_width);
    convert_put_u32(job, arch, "attention.value_length", head_width);
    convert_put_u32(job, arch, "rope.dimension_count", head_width);
    return MOSA_OK;
}

static mosa_status put_hparams(convert_job *job, const mosa_model_source *source, const char *arch, int64_t rows,
                               int64_t *head_width, mosa_error *err) {
    static const struct {
        mosa_hparam which;
        const char *suffix;
    } required[] = {{MOSA_H_LAYERS, "block_count"},
                    {MOSA_H_CONTEXT, "context_length"},
                    {MOSA_H_WIDTH, "embedding_length"},
                    {MOSA_H_FFN, "feed_forward_length"},
                    {MOSA_H_HEADS, "attention.head_count"}};
    int64_t value, width, heads, window;
    double eps;
    char key[MOSA_GGUF_NAME_MAX + 1];
    for (size_t i = 0; i < MOSA_COUNT(required); i++) {
        MOSA_TRY(mosa_model_source_i64(source, required[i].which, 1, INT32_MAX, &value, err));
        convert_put_u32(job, arch, required[i].suffix, value);
    }
    MOSA_TRY(mosa_model_source_i64(source, MOSA_H_WIDTH, 1, INT32_MAX, &width, err));
    MOSA_TRY(mosa_model_source_i64(source, MOSA_H_HEADS, 1, INT32_MAX, &heads, err));
    MOSA_TRY(mosa_model_source_i64_or(source, MOSA_H_HEAD_WIDTH, 2, 1 << 16, width / heads, head_width, err));
    MOSA_TRY(put_heads(job, source, arch, heads, *head_width, err));
    convert_put_u32(job, arch, "vocab_size", rows);
    MOSA_TRY(mosa_model_source_f64_or(source, MOSA_H_NORM_EPS, 0, 1, 1e-6, &eps, err));
    snprintf(key, sizeof key, "%s.attention.layer_norm_rms_epsilon", arch);
    mosa_gguf_writer_put_f32(job->gguf, key, (float)eps);
    // Qwen configs name a window that is not in use.
    bool windowed = strcmp(arch, "llama") == 0 || strcmp(arch, "gpt-oss") == 0;
    const mosa_hf_config *config = mosa_model_source_hf_config(source);
    MOSA_TRY(mosa_hf_config_bool_or(config, "use_sliding_window", windowed, &windowed, err));
    MOSA_TRY(mosa_model_source_i64_or(source, MOSA_H_WINDOW, 0, INT32_MAX, 0, &window, err));
    if (windowed && window) convert_put_u32(job, arch, "attention.sliding_window", window);
    return MOSA_OK;
}

// Layers behind the last that the configuration counts predict further tokens: they are no part of the model proper.
static bool beyond_last_layer(const char *name, int64_t layers) {
    static const char prefix[] = "model.layers.";
    if (strncmp(name, prefix, sizeof prefix - 1) != 0) return false;
    char *end;
    long layer = strtol(name + sizeof prefix - 1, &end, 10);
    return *end == '.' && layer >= layers;
}

static mosa_status add_hf_tensors(convert_job *job, const mosa_model_source *source, const convert_renaming *to,
                                  mosa_error *err) {
    const char *from = mosa_model_source_arch(source);
    int64_t layers;
    MOSA_TRY(mosa_model_source_i64(source, MOSA_H_LAYERS, 1, INT32_MAX, &layers, err));
    for (size_t i = 0; i < mosa_model_source_tensor_count(source); i++) {
        const mosa_tensor_view *view = mosa_model_source_tensor_at(source, i);
        mosa_weight_slot slot;
        int layer, expert;
        if (beyond_last_layer(view->name, layers)) continue;
        if (mosa_weight_parse(MOSA_NAMING_HF, from, view->name, &slot, &layer, &expert) ||
            mosa_weight_parse(MOSA_NAMING_HF_BASE, from, view->name, &slot, &layer, &expert))
            MOSA_TRY(convert_add_renamed(job, source, to, view, slot, layer, expert, err));
        else if (!mosa_weight_ignored(MOSA_NAMING_HF, view->name))
            return mosa_fail(err, MOSA_EUNSUPPORTED, "%s: tensor '%s' is not known", job->in, view->name);
    }
    return MOSA_OK;
}

static mosa_status add_rope_freqs(convert_job *job, const float *freqs, int64_t count, mosa_error *err) {
    mosa_tensor_view *view = MOSA_ARENA_NEW(job->arena, mosa_tensor_view);
    if (!view) return mosa_fail(err, MOSA_ENOMEM, "out of memory for the rope frequencies");
    *view = (mosa_tensor_view){.name = "rope_freqs",
                               .dtype = MOSA_F32,
                               .n_dims = 1,
                               .dims = {count},
                               .n_elements = count,
                               .data = freqs,
                               .bytes = (size_t)count * sizeof *freqs};
    return convert_add(job, "rope_freqs.weight", view, MOSA_W_ROPE_FREQS, false, 0, err);
}

static void put_file_type(convert_job *job) {
    mosa_dtype main_dtype = convert_main_dtype(job);
    mosa_gguf_writer_put_u32(job->gguf, "general.file_type", convert_file_type(main_dtype));
    if (mosa_dtype_traits_of(main_dtype)->quantised)
        mosa_gguf_writer_put_u32(job->gguf, "general.quantization_version", QUANTIZATION_VERSION);
}

mosa_status convert_hf_to_gguf(convert_job *job, const mosa_model_source *source, mosa_error *err) {
    const char *arch;
    const float *freqs;
    int64_t head_width;
    const mosa_tensor_view *embedding = mosa_model_source_weight(source, MOSA_W_TOKEN_EMBD, -1);
    MOSA_TRY(find_arch(source, &arch, err));
    if (!embedding) return mosa_fail(err, MOSA_ENOTFOUND, "%s: has no token embedding", job->in);
    MOSA_TRY(mosa_gguf_writer_create(job->out, &job->gguf, err));
    mosa_gguf_writer_put_str(job->gguf, "general.architecture", mosa_slice_of(arch));
    mosa_gguf_writer_put_str(job->gguf, "general.type", MOSA_SLICE("model"));
    mosa_gguf_writer_put_str(job->gguf, "general.name", mosa_slice_of(mosa_model_source_name(source)));
    MOSA_TRY(put_hparams(job, source, arch, embedding->dims[0], &head_width, err));
    MOSA_TRY(convert_rope_to_gguf(job, source, arch, head_width, &freqs, err));
    if (freqs) MOSA_TRY(add_rope_freqs(job, freqs, head_width / 2, err));
    convert_renaming to = {.arch = arch,
                           .tied = !mosa_model_source_weight(source, MOSA_W_OUTPUT, -1),
                           .rotary_width = strcmp(arch, "llama") == 0 ? head_width : 0};
    MOSA_TRY(convert_put_experts(job, source, &to, err));
    MOSA_TRY(add_hf_tensors(job, source, &to, err));
    put_file_type(job);
    MOSA_TRY(convert_vocab_to_gguf(job, source, embedding->dims[0], err));
    return convert_write(job, err);
}

// Keys that describe the old file rather than the model.
static bool is_file_key(const char *key) {
    static const char *const keys[] = {"general.file_type", "general.quantization_version",
                                       "general.alignment", "split.no",
                                       "split.count",       "split.tensors.count"};
    for (size_t i = 0; i < MOSA_COUNT(keys); i++)
        if (strcmp(keys[i], key) == 0) return true;
    return false;
}

mosa_status convert_gguf_to_gguf(convert_job *job, const mosa_model_source *source, mosa_error *err) {
    const mosa_gguf *gguf = mosa_model_source_gguf(source);
    bool tied = !mosa_model_source_weight(source, MOSA_W_OUTPUT, -1);
    MOSA_TRY(mosa_gguf_writer_create(job->out, &job->gguf, err));
    for (size_t i = 0; i < mosa_gguf_kv_count(gguf); i++) {
        const mosa_gguf_kv *kv = mosa_gguf_kv_at(gguf, i);
        if (!is_file_key(kv->key)) mosa_gguf_writer_put_kv(job->gguf, kv);
    }
    for (size_t i = 0; i < mosa_gguf_tensor_count(gguf); i++) {
        const mosa_tensor_view *view = mosa_gguf_tensor_at(gguf, i);
        mosa_weight_slot slot = MOSA_W_COUNT;
        int layer, expert;
        mosa_weight_parse(MOSA_NAMING_GGUF, mosa_model_source_arch(source), view->name, &slot, &layer, &expert);
        MOSA_TRY(convert_add(job, view->name, view, slot, tied, 0, err));
    }
    put_file_type(job);
    return convert_write(job, err);
}
