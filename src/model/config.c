// Hyperparameters common to decoder-only families.
#include "model/config.h"

#include <string.h>

static mosa_status read_act(const mosa_model_source *source, mosa_act *out, mosa_error *err) {
    static const struct {
        const char *name;
        mosa_act act;
    } acts[] = {{"silu", MOSA_ACT_SILU},          {"swish", MOSA_ACT_SILU},
                {"gelu", MOSA_ACT_GELU},          {"gelu_pytorch_tanh", MOSA_ACT_GELU_TANH},
                {"gelu_new", MOSA_ACT_GELU_TANH}, {"relu", MOSA_ACT_RELU}};
    const mosa_hf_config *config = mosa_model_source_hf_config(source);
    const char *name = "silu";
    if (config) MOSA_TRY(mosa_hf_config_str_or(config, "hidden_act", "silu", &name, err));
    for (size_t i = 0; i < MOSA_COUNT(acts); i++) {
        if (strcmp(acts[i].name, name) != 0) continue;
        *out = acts[i].act;
        return MOSA_OK;
    }
    return mosa_fail(err, MOSA_EUNSUPPORTED, "%s: hidden_act \"%s\" is not supported", mosa_hf_config_path(config),
                     name);
}

static mosa_status read_heads(const mosa_model_source *source, mosa_model_config *c, mosa_error *err) {
    int64_t heads, kv_heads, head_width;
    MOSA_TRY(mosa_model_source_i64(source, MOSA_H_HEADS, 1, MOSA_MODEL_HEADS_MAX, &heads, err));
    MOSA_TRY(mosa_model_source_i64_or(source, MOSA_H_KV_HEADS, 1, heads, heads, &kv_heads, err));
    if (heads % kv_heads != 0)
        return mosa_fail(err, MOSA_EINVALID, "%s: %lld attention heads cannot share %lld key/value heads evenly",
                         mosa_model_source_path(source), (long long)heads, (long long)kv_heads);
    MOSA_TRY(mosa_model_source_i64_or(source, MOSA_H_HEAD_WIDTH, 2, MOSA_MODEL_HEAD_WIDTH_MAX, c->width / heads,
                                      &head_width, err));
    if (head_width < 2 || head_width > MOSA_MODEL_HEAD_WIDTH_MAX || head_width % 2 != 0)
        return mosa_fail(err, MOSA_EINVALID, "%s: a head width of %lld is not supported (2 to %d, even)",
                         mosa_model_source_path(source), (long long)head_width, MOSA_MODEL_HEAD_WIDTH_MAX);
    c->heads = (int)heads;
    c->kv_heads = (int)kv_heads;
    c->head_width = (int)head_width;
    return MOSA_OK;
}

mosa_status mosa_model_config_read(const mosa_model_source *source, mosa_model_config *out, mosa_error *err) {
    mosa_model_config c = {.embedding_scale = 1, .residual_scale = 1, .logit_scale = 1};
    int64_t layers, window;
    double eps;
    MOSA_TRY(mosa_model_source_i64(source, MOSA_H_LAYERS, 1, MOSA_MODEL_LAYERS_MAX, &layers, err));
    MOSA_TRY(mosa_model_source_i64(source, MOSA_H_WIDTH, 1, MOSA_MODEL_WIDTH_MAX, &c.width, err));
    MOSA_TRY(mosa_model_source_i64(source, MOSA_H_FFN, 1, 8 * MOSA_MODEL_WIDTH_MAX, &c.ffn, err));
    MOSA_TRY(read_heads(source, &c, err));
    MOSA_TRY(mosa_model_source_i64_or(source, MOSA_H_CONTEXT, 1, MOSA_MODEL_CONTEXT_MAX, 2048, &c.context, err));
    MOSA_TRY(mosa_model_source_i64_or(source, MOSA_H_WINDOW, 0, MOSA_MODEL_CONTEXT_MAX, 0, &window, err));
    MOSA_TRY(mosa_model_source_f64_or(source, MOSA_H_NORM_EPS, 0, 1, 1e-5, &eps, err));
    MOSA_TRY(read_act(source, &c.act, err));
    c.layers = (int)layers;
    c.window = (int)window;
    c.norm_eps = (float)eps;
    const mosa_tensor_view *table = mosa_model_source_weight(source, MOSA_W_TOKEN_EMBD, 0);
    char name[MOSA_WEIGHT_NAME_MAX];
    if (!table)
        return mosa_fail(err, MOSA_ECORRUPT, "%s: tensor %s is missing", mosa_model_source_path(source),
                         mosa_model_source_weight_name(source, MOSA_W_TOKEN_EMBD, 0, name));
    c.vocab = table->dims[0];
    c.rope_style = MOSA_ROPE_HALF;
    c.rope_whole_pairs = true;
    *out = c;
    return MOSA_OK;
}

mosa_status mosa_model_config_optional_window(const mosa_model_source *source, mosa_model_config *config,
                                              mosa_error *err) {
    const mosa_hf_config *hf = mosa_model_source_hf_config(source);
    if (!hf) return MOSA_OK;
    bool windowed;
    int64_t from;
    MOSA_TRY(mosa_hf_config_bool_or(hf, "use_sliding_window", false, &windowed, err));
    MOSA_TRY(mosa_hf_config_i64_or(hf, "max_window_layers", 0, MOSA_MODEL_LAYERS_MAX, 0, &from, err));
    if (!windowed) config->window = 0;
    for (int i = 0; i < config->layers; i++) config->sees_all[i] = i < from;
    return MOSA_OK;
}

static mosa_status window_period(const mosa_model_source *source, int64_t *period, mosa_error *err) {
    const mosa_hf_config *hf = mosa_model_source_hf_config(source);
    if (hf) return mosa_hf_config_i64_or(hf, "sliding_window_pattern", 1, MOSA_MODEL_LAYERS_MAX, *period, period, err);
    char key[MOSA_GGUF_NAME_MAX + 1];
    const mosa_gguf *gguf = mosa_model_source_gguf(source);
    mosa_model_source_key(source, "attention.sliding_window_pattern", key);
    MOSA_TRY(mosa_gguf_get_i64_or(gguf, key, *period, period, err));
    if (*period >= 1 && *period <= MOSA_MODEL_LAYERS_MAX) return MOSA_OK;
    return mosa_fail(err, MOSA_EINVALID, "%s: %s is %lld", mosa_model_source_path(source), key, (long long)*period);
}

mosa_status mosa_model_config_window_pattern(const mosa_model_source *source, int64_t period, mosa_model_config *config,
                                             mosa_error *err) {
    const mosa_hf_config *hf = mosa_model_source_hf_config(source);
    bool listed = hf && mosa_hf_config_has(hf, "layer_types");
    if (!listed) MOSA_TRY(window_period(source, &period, err));
    for (int i = 0; i < config->layers; i++) {
        const char *type = listed ? mosa_hf_config_str_at(hf, "layer_types", (size_t)i) : NULL;
        if (listed && !type)
            return mosa_fail(err, MOSA_EINVALID, "%s: layer_types does not name layer %d", mosa_hf_config_path(hf), i);
        config->sees_all[i] = listed ? strcmp(type, "sliding_attention") != 0 : (i + 1) % period == 0;
    }
    return MOSA_OK;
}

mosa_status mosa_model_config_refuse(const mosa_model_source *source, const char *field, mosa_error *err) {
    const mosa_hf_config *hf = mosa_model_source_hf_config(source);
    bool on = false;
    if (hf) MOSA_TRY(mosa_hf_config_bool_or(hf, field, false, &on, err));
    if (!on) return MOSA_OK;
    return mosa_fail(err, MOSA_EUNSUPPORTED, "%s: a model with %s is not supported", mosa_hf_config_path(hf), field);
}

mosa_status mosa_model_config_number(const mosa_model_source *source, const char *gguf, const char *hf, double fallback,
                                     float *out, mosa_error *err) {
    const mosa_hf_config *config = mosa_model_source_hf_config(source);
    double value = fallback;
    char key[MOSA_GGUF_NAME_MAX + 1];
    if (config && hf) MOSA_TRY(mosa_hf_config_f64_or(config, hf, -1e6, 1e6, fallback, &value, err));
    if (!config && gguf) {
        const mosa_gguf_kv *kv =
            mosa_gguf_kv_find(mosa_model_source_gguf(source), mosa_model_source_key(source, gguf, key));
        if (kv && (!mosa_gguf_kv_f64(kv, 0, &value) || !(value >= -1e6 && value <= 1e6)))
            return mosa_fail(err, MOSA_EINVALID, "%s: %s is no usable number", mosa_model_source_path(source), key);
    }
    *out = (float)value;
    return MOSA_OK;
}
