// Rope scaling between the two formats. GGUF names linear and yarn scaling by keys; the llama3 scheme travels as a
// tensor of frequency divisors, from which its parameters are found again on the way back.
#include "cli/convert.h"

#include <math.h>
#include <stdio.h>

typedef struct llama3_scaling {
    double factor, low_freq_factor, high_freq_factor, original_context;
} llama3_scaling;

// What every published llama3-scaled model uses, except for the factor.
static const llama3_scaling llama3_default = {8, 1, 4, 8192};

// Divisors of the rotary frequencies: 1 for short waves, factor for long ones, blended between.
static void llama3_divisors(const llama3_scaling *s, double base, int64_t head_width, float *out) {
    double long_wave = s->original_context / s->low_freq_factor, short_wave = s->original_context / s->high_freq_factor;
    for (int64_t i = 0; i < head_width / 2; i++) {
        double wave = 2 * M_PI * pow(base, (double)(2 * i) / (double)head_width);
        double blend = (s->original_context / wave - s->low_freq_factor) / (s->high_freq_factor - s->low_freq_factor);
        out[i] = (float)(wave < short_wave ? 1 : wave > long_wave ? s->factor : 1 / ((1 - blend) / s->factor + blend));
    }
}

static const char *scaling_object(const mosa_hf_config *config) {
    return mosa_hf_config_has(config, "rope_parameters") ? "rope_parameters" : "rope_scaling";
}

static mosa_status scaling_f64(const mosa_hf_config *config, const char *name, double min, double fallback, double *out,
                               mosa_error *err) {
    char field[96];
    snprintf(field, sizeof field, "%s.%s", scaling_object(config), name);
    return mosa_hf_config_f64_or(config, field, min, 1e12, fallback, out, err);
}

static mosa_status scaling_type(const mosa_hf_config *config, const char **out, mosa_error *err) {
    char field[96];
    *out = "default";
    if (!mosa_hf_config_has(config, scaling_object(config))) return MOSA_OK;
    snprintf(field, sizeof field, "%s.type", scaling_object(config));
    MOSA_TRY(mosa_hf_config_str_or(config, field, "default", out, err));
    snprintf(field, sizeof field, "%s.rope_type", scaling_object(config));
    return mosa_hf_config_str_or(config, field, *out, out, err);
}

static mosa_status read_llama3(const mosa_hf_config *config, llama3_scaling *s, mosa_error *err) {
    const llama3_scaling *d = &llama3_default;
    MOSA_TRY(scaling_f64(config, "factor", 1e-3, d->factor, &s->factor, err));
    MOSA_TRY(scaling_f64(config, "low_freq_factor", 1e-3, d->low_freq_factor, &s->low_freq_factor, err));
    MOSA_TRY(scaling_f64(config, "high_freq_factor", 1e-3, d->high_freq_factor, &s->high_freq_factor, err));
    MOSA_TRY(
        scaling_f64(config, "original_max_position_embeddings", 1, d->original_context, &s->original_context, err));
    if (s->high_freq_factor > s->low_freq_factor) return MOSA_OK;
    return mosa_fail(err, MOSA_EINVALID, "%s: field '%s.high_freq_factor' is not above low_freq_factor",
                     mosa_hf_config_path(config), scaling_object(config));
}

static mosa_status put_factor(convert_job *job, const mosa_hf_config *config, const char *arch, const char *type,
                              mosa_error *err) {
    char key[MOSA_GGUF_NAME_MAX + 1];
    double factor, original;
    static const struct {
        const char *field, *suffix;
    } betas[] = {{"beta_fast", "yarn_beta_fast"}, {"beta_slow", "yarn_beta_slow"}};
    MOSA_TRY(scaling_f64(config, "factor", 1e-3, 1, &factor, err));
    MOSA_TRY(scaling_f64(config, "original_max_position_embeddings", 1, 0, &original, err));
    snprintf(key, sizeof key, "%s.rope.scaling.type", arch);
    mosa_gguf_writer_put_str(job->gguf, key, mosa_slice_of(type));
    snprintf(key, sizeof key, "%s.rope.scaling.factor", arch);
    mosa_gguf_writer_put_f32(job->gguf, key, (float)factor);
    for (size_t i = 0; strcmp(type, "yarn") == 0 && i < MOSA_COUNT(betas); i++) {
        double beta;
        MOSA_TRY(scaling_f64(config, betas[i].field, 1e-3, 0, &beta, err));
        snprintf(key, sizeof key, "%s.rope.scaling.%s", arch, betas[i].suffix);
        if (beta > 0) mosa_gguf_writer_put_f32(job->gguf, key, (float)beta);
    }
    if (original <= 0) return MOSA_OK;
    snprintf(key, sizeof key, "%s.rope.scaling.original_context_length", arch);
    mosa_gguf_writer_put_u32(job->gguf, key, (uint32_t)fmin(original, UINT32_MAX));
    return MOSA_OK;
}

mosa_status convert_rope_to_gguf(convert_job *job, const mosa_model_source *source, const char *arch,
                                 int64_t head_width, const float **freqs, mosa_error *err) {
    const mosa_hf_config *config = mosa_model_source_hf_config(source);
    const char *type;
    char key[MOSA_GGUF_NAME_MAX + 1];
    double base;
    *freqs = NULL;
    MOSA_TRY(mosa_model_source_f64_or(source, MOSA_H_ROPE_BASE, 1, 1e12, 10000, &base, err));
    MOSA_TRY(scaling_f64(config, "rope_theta", 1, base, &base, err)); // where transformers 5 puts it
    snprintf(key, sizeof key, "%s.rope.freq_base", arch);
    mosa_gguf_writer_put_f32(job->gguf, key, (float)base);
    MOSA_TRY(scaling_type(config, &type, err));
    if (strcmp(type, "default") == 0 || strcmp(type, "none") == 0 || strcmp(type, "dynamic") == 0) return MOSA_OK;
    if (strcmp(type, "linear") == 0 || strcmp(type, "yarn") == 0) return put_factor(job, config, arch, type, err);
    if (strcmp(type, "llama3") != 0)
        return mosa_fail(err, MOSA_EUNSUPPORTED, "%s: rope scaling '%s' has no GGUF form here",
                         mosa_hf_config_path(config), type);
    llama3_scaling scaling;
    MOSA_TRY(read_llama3(config, &scaling, err));
    snprintf(key, sizeof key, "%s.rope.scaling.original_context_length", arch); // not read with llama3, but kept
    mosa_gguf_writer_put_u32(job->gguf, key, (uint32_t)fmin(scaling.original_context, UINT32_MAX));
    float *out = MOSA_ARENA_ARRAY(job->arena, float, (size_t)head_width / 2);
    if (!out) return mosa_fail(err, MOSA_ENOMEM, "out of memory for the rope frequencies");
    llama3_divisors(&scaling, base, head_width, out);
    *freqs = out;
    return MOSA_OK;
}

// The divisors are those of the llama3 scheme with the usual parameters and some factor, or they cannot be expressed.
static mosa_status freqs_to_hf(const mosa_model_source *source, const mosa_tensor_view *view, int64_t head_width,
                               json_t **out, mosa_error *err) {
    enum { HALF_MAX = 1024 };
    float found[HALF_MAX], expected[HALF_MAX];
    llama3_scaling scaling = llama3_default;
    char key[MOSA_GGUF_NAME_MAX + 1];
    uint32_t original;
    double base;
    if (view->n_elements != head_width / 2 || view->n_elements > HALF_MAX || view->dtype != MOSA_F32)
        return mosa_fail(err, MOSA_EINVALID, "%s: tensor '%s' is not %lld f32 values", mosa_model_source_path(source),
                         view->name, (long long)head_width / 2);
    memcpy(found, view->data, view->bytes);
    MOSA_TRY(mosa_model_source_f64_or(source, MOSA_H_ROPE_BASE, 1, 1e12, 10000, &base, err));
    MOSA_TRY(mosa_gguf_get_u32_or(mosa_model_source_gguf(source),
                                  mosa_model_source_key(source, "rope.scaling.original_context_length", key),
                                  (uint32_t)scaling.original_context, &original, err));
    scaling.original_context = original;
    scaling.factor = 1;
    for (int64_t i = 0; i < view->n_elements; i++) scaling.factor = fmax(scaling.factor, (double)found[i]);
    llama3_divisors(&scaling, base, head_width, expected);
    for (int64_t i = 0; i < view->n_elements; i++)
        if (!(fabsf(found[i] - expected[i]) <= 1e-3f * expected[i]))
            return mosa_fail(err, MOSA_EUNSUPPORTED,
                             "%s: tensor '%s' is no llama3 rope scaling that config.json can name",
                             mosa_model_source_path(source), view->name);
    *out = json_pack("{s:s,s:f,s:f,s:f,s:i}", "rope_type", "llama3", "factor", scaling.factor, "low_freq_factor",
                     scaling.low_freq_factor, "high_freq_factor", scaling.high_freq_factor,
                     "original_max_position_embeddings", (int)scaling.original_context);
    return *out ? MOSA_OK : mosa_fail(err, MOSA_ENOMEM, "out of memory for rope_scaling");
}

mosa_status convert_rope_to_hf(const mosa_model_source *source, int64_t head_width, json_t **out, mosa_error *err) {
    char key[MOSA_GGUF_NAME_MAX + 1];
    const mosa_gguf *gguf = mosa_model_source_gguf(source);
    const mosa_tensor_view *freqs = mosa_model_source_weight(source, MOSA_W_ROPE_FREQS, -1);
    mosa_slice type;
    float factor;
    uint32_t original;
    *out = NULL;
    if (freqs) return freqs_to_hf(source, freqs, head_width, out, err);
    MOSA_TRY(mosa_gguf_get_str_or(gguf, mosa_model_source_key(source, "rope.scaling.type", key), MOSA_SLICE("none"),
                                  &type, err));
    if (mosa_slice_eq(type, MOSA_SLICE("none"))) return MOSA_OK;
    MOSA_TRY(mosa_gguf_get_f32_or(gguf, mosa_model_source_key(source, "rope.scaling.factor", key), 1, &factor, err));
    MOSA_TRY(mosa_gguf_get_u32_or(gguf, mosa_model_source_key(source, "rope.scaling.original_context_length", key), 0,
                                  &original, err));
    *out = json_pack("{s:s%,s:f}", "rope_type", type.data, type.len, "factor", (double)factor);
    if (*out && original) json_object_set_new(*out, "original_max_position_embeddings", json_integer(original));
    return *out ? MOSA_OK : mosa_fail(err, MOSA_ENOMEM, "out of memory for rope_scaling");
}
