// Rotary frequencies: inv_freq[i] = base^(-2i/rot), changed by the scaling that a model names.
//
// Sources: RoPE (arXiv 2104.09864); linear interpolation (2306.15595); Llama 3 frequency bands (the model's release);
// YaRN (2309.00071) with the ramp and attention factor as transformers computes them. Frequencies are computed in
// double and rounded once.
#include "model/config.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct rope_params {
    double base;
    char type[32];
    double factor;
    double low_freq_factor, high_freq_factor; // llama3
    double beta_fast, beta_slow;              // yarn
    double attention_factor;                  // yarn; 0 = by formula
    double mscale, mscale_all_dim;            // yarn; 0 = not given
    double original_context;
    bool truncate; // yarn: round the ramp's borders to whole pairs
} rope_params;

static mosa_status unsupported(const mosa_model_source *source, const char *type, mosa_error *err) {
    return mosa_fail(err, MOSA_EUNSUPPORTED, "%s: rope scaling \"%s\" is not supported (linear, llama3, yarn are)",
                     mosa_model_source_path(source), type);
}

static mosa_status copy_type(rope_params *p, mosa_slice type) {
    size_t len = type.len < sizeof p->type - 1 ? type.len : sizeof p->type - 1;
    if (len) memcpy(p->type, type.data, len);
    p->type[len] = '\0';
    return MOSA_OK;
}

static mosa_status read_gguf(const mosa_model_source *source, rope_params *p, mosa_error *err) {
    const mosa_gguf *gguf = mosa_model_source_gguf(source);
    char key[MOSA_GGUF_NAME_MAX + 1];
    mosa_slice type;
    float value;
    MOSA_TRY(mosa_gguf_get_str_or(gguf, mosa_model_source_key(source, "rope.scaling.type", key), MOSA_SLICE("none"),
                                  &type, err));
    copy_type(p, type);
    const struct {
        const char *suffix;
        double *field;
    } fields[] = {{"rope.scaling.factor", &p->factor},
                  {"rope.scaling.original_context_length", &p->original_context},
                  {"rope.scaling.yarn_beta_fast", &p->beta_fast},
                  {"rope.scaling.yarn_beta_slow", &p->beta_slow},
                  {"rope.scaling.attn_factor", &p->attention_factor}};
    for (size_t i = 0; i < MOSA_COUNT(fields); i++) {
        mosa_model_source_key(source, fields[i].suffix, key);
        const mosa_gguf_kv *kv = mosa_gguf_kv_find(gguf, key);
        double number;
        if (!kv) continue;
        if (!mosa_gguf_kv_f64(kv, 0, &number))
            return mosa_fail(err, MOSA_EINVALID, "%s: %s is not a number", mosa_model_source_path(source), key);
        *fields[i].field = number;
    }
    // Very old files name a linear scale by itself.
    MOSA_TRY(mosa_gguf_get_f32_or(gguf, mosa_model_source_key(source, "rope.scale_linear", key), 0, &value, err));
    if (value > 0 && strcmp(p->type, "none") == 0) {
        copy_type(p, MOSA_SLICE("linear"));
        p->factor = value;
    }
    return MOSA_OK;
}

static mosa_status hf_number(const mosa_hf_config *config, const char *object, const char *field, double *out,
                             mosa_error *err) {
    char path[96];
    snprintf(path, sizeof path, "%s.%s", object, field);
    return mosa_hf_config_f64_or(config, path, -1e12, 1e12, *out, out, err);
}

// transformers wrote "rope_scaling" until version 4 and "rope_parameters", which also holds rope_theta, from 5 on.
static mosa_status read_hf(const mosa_model_source *source, rope_params *p, mosa_error *err) {
    const mosa_hf_config *config = mosa_model_source_hf_config(source);
    const char *object = mosa_hf_config_has(config, "rope_parameters") ? "rope_parameters" : "rope_scaling";
    if (!mosa_hf_config_has(config, object)) return copy_type(p, MOSA_SLICE("none"));
    char path[96];
    const char *type, *old_type;
    snprintf(path, sizeof path, "%s.type", object);
    MOSA_TRY(mosa_hf_config_str_or(config, path, "none", &old_type, err));
    snprintf(path, sizeof path, "%s.rope_type", object);
    MOSA_TRY(mosa_hf_config_str_or(config, path, old_type, &type, err));
    copy_type(p, mosa_slice_of(type));
    MOSA_TRY(hf_number(config, object, "rope_theta", &p->base, err));
    MOSA_TRY(hf_number(config, object, "factor", &p->factor, err));
    MOSA_TRY(hf_number(config, object, "low_freq_factor", &p->low_freq_factor, err));
    MOSA_TRY(hf_number(config, object, "high_freq_factor", &p->high_freq_factor, err));
    MOSA_TRY(hf_number(config, object, "original_max_position_embeddings", &p->original_context, err));
    MOSA_TRY(hf_number(config, object, "beta_fast", &p->beta_fast, err));
    MOSA_TRY(hf_number(config, object, "beta_slow", &p->beta_slow, err));
    MOSA_TRY(hf_number(config, object, "attention_factor", &p->attention_factor, err));
    MOSA_TRY(hf_number(config, object, "mscale", &p->mscale, err));
    MOSA_TRY(hf_number(config, object, "mscale_all_dim", &p->mscale_all_dim, err));
    snprintf(path, sizeof path, "%s.truncate", object);
    return mosa_hf_config_bool_or(config, path, true, &p->truncate, err);
}

// Long waves are slowed down by `factor`, short ones kept, those between blended.
static double llama3_scale(const rope_params *p, double inv_freq) {
    double wavelength = 2 * M_PI / inv_freq;
    double low = p->original_context / p->low_freq_factor, high = p->original_context / p->high_freq_factor;
    if (wavelength < high) return inv_freq;
    if (wavelength > low) return inv_freq / p->factor;
    double smooth =
        (p->original_context / wavelength - p->low_freq_factor) / (p->high_freq_factor - p->low_freq_factor);
    return (1 - smooth) * inv_freq / p->factor + smooth * inv_freq;
}

// The pair that turns `rotations` times within the original context.
static double yarn_border(const rope_params *p, int rot, double rotations) {
    return rot * log(p->original_context / (rotations * 2 * M_PI)) / (2 * log(p->base));
}

static double yarn_scale(const rope_params *p, int rot, int pair, double inv_freq) {
    double low = yarn_border(p, rot, p->beta_fast), high = yarn_border(p, rot, p->beta_slow);
    if (p->truncate) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0);
    high = fmin(high, rot - 1);
    if (low == high) high += 0.001;
    double ramp = fmin(fmax((pair - low) / (high - low), 0), 1);
    return inv_freq / p->factor * ramp + inv_freq * (1 - ramp);
}

static double yarn_mscale(double factor, double mscale) {
    return factor <= 1 ? 1 : 0.1 * mscale * log(factor) + 1;
}

static double yarn_attention_factor(const mosa_model_source *source, const rope_params *p) {
    double by_formula = yarn_mscale(p->factor, 1);
    if (mosa_model_source_is_gguf(source)) return by_formula * (p->attention_factor > 0 ? p->attention_factor : 1);
    if (p->attention_factor > 0) return p->attention_factor;
    if (p->mscale > 0 && p->mscale_all_dim > 0)
        return yarn_mscale(p->factor, p->mscale) / yarn_mscale(p->factor, p->mscale_all_dim);
    return by_formula;
}

static mosa_status check_params(const mosa_model_source *source, const rope_params *p, mosa_error *err) {
    bool plain = strcmp(p->type, "none") == 0 || strcmp(p->type, "default") == 0 || strcmp(p->type, "dynamic") == 0;
    bool llama3 = strcmp(p->type, "llama3") == 0, yarn = strcmp(p->type, "yarn") == 0;
    if (!plain && !llama3 && !yarn && strcmp(p->type, "linear") != 0) return unsupported(source, p->type, err);
    if (!(p->base > 1))
        return mosa_fail(err, MOSA_EINVALID, "%s: rope base is %g", mosa_model_source_path(source), p->base);
    bool bad = !plain && !(p->factor > 0);
    bad = bad || ((llama3 || yarn) && !(p->original_context >= 1));
    bad = bad || (llama3 && !(p->low_freq_factor > 0 && p->high_freq_factor > p->low_freq_factor));
    bad = bad || (yarn && !(p->beta_fast > 0 && p->beta_slow > 0));
    if (bad)
        return mosa_fail(err, MOSA_EINVALID, "%s: rope scaling \"%s\" has missing or impossible parameters",
                         mosa_model_source_path(source), p->type);
    return MOSA_OK;
}

// GGUF converters write the llama3 bands as one divisor per pair.
static mosa_status apply_divisors(const mosa_model_source *source, int pairs, float *inv_freq, mosa_error *err) {
    const mosa_tensor_view *divisors = mosa_model_source_weight(source, MOSA_W_ROPE_FREQS, 0);
    if (!divisors) return MOSA_OK;
    if (divisors->dtype != MOSA_F32 || divisors->n_elements != pairs)
        return mosa_fail(err, MOSA_ECORRUPT, "%s: tensor rope_freqs.weight must hold %d f32 values",
                         mosa_model_source_path(source), pairs);
    for (int i = 0; i < pairs; i++) {
        float divisor;
        memcpy(&divisor, (const char *)divisors->data + (size_t)i * sizeof divisor, sizeof divisor);
        if (!(divisor > 0))
            return mosa_fail(err, MOSA_ECORRUPT, "%s: tensor rope_freqs.weight has a value that is not positive",
                             mosa_model_source_path(source));
        inv_freq[i] /= divisor;
    }
    return MOSA_OK;
}

static mosa_status read_width(const mosa_model_source *source, const mosa_model_config *config, int *out,
                              mosa_error *err) {
    int64_t width = config->head_width;
    if (mosa_model_source_is_gguf(source)) {
        char key[MOSA_GGUF_NAME_MAX + 1];
        MOSA_TRY(mosa_gguf_get_i64_or(mosa_model_source_gguf(source),
                                      mosa_model_source_key(source, "rope.dimension_count", key), width, &width, err));
    } else {
        double part = 1;
        MOSA_TRY(
            mosa_hf_config_f64_or(mosa_model_source_hf_config(source), "partial_rotary_factor", 0, 1, 1, &part, err));
        width = (int64_t)(config->head_width * part);
    }
    if (width < 2 || width > config->head_width || width % 2 != 0)
        return mosa_fail(err, MOSA_EINVALID, "%s: %lld rotary columns do not fit a head of %d",
                         mosa_model_source_path(source), (long long)width, config->head_width);
    *out = (int)width;
    return MOSA_OK;
}

mosa_status mosa_model_rope_read(const mosa_model_source *source, mosa_arena *arena, mosa_model_config *config,
                                 mosa_error *err) {
    rope_params p = {.base = 10000,
                     .factor = 0,
                     .low_freq_factor = 1,
                     .high_freq_factor = 4,
                     .beta_fast = 32,
                     .beta_slow = 1,
                     .original_context = (double)config->context,
                     .truncate = true};
    int rot;
    MOSA_TRY(read_width(source, config, &rot, err));
    MOSA_TRY(mosa_model_source_f64_or(source, MOSA_H_ROPE_BASE, 1e-3, 1e12, 10000, &p.base, err));
    MOSA_TRY(mosa_model_source_is_gguf(source) ? read_gguf(source, &p, err) : read_hf(source, &p, err));
    MOSA_TRY(check_params(source, &p, err));
    float *inv_freq = MOSA_ARENA_ARRAY(arena, float, (size_t)rot / 2);
    if (!inv_freq) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", mosa_model_source_path(source));
    for (int i = 0; i < rot / 2; i++) {
        double f = pow(p.base, -2.0 * i / rot);
        if (strcmp(p.type, "linear") == 0) f /= p.factor;
        if (strcmp(p.type, "llama3") == 0) f = llama3_scale(&p, f);
        if (strcmp(p.type, "yarn") == 0) f = yarn_scale(&p, rot, i, f);
        inv_freq[i] = (float)f;
    }
    MOSA_TRY(apply_divisors(source, rot / 2, inv_freq, err));
    config->rope_inv_freq = inv_freq;
    config->rope_width = rot;
    config->rope_mscale = strcmp(p.type, "yarn") == 0 ? (float)yarn_attention_factor(source, &p) : 1.0f;
    return MOSA_OK;
}
