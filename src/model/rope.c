// Rotary frequencies: inv_freq[i] = base^(-2i/rot), changed by the scaling that a model names.
//
// Sources: RoPE (arXiv 2104.09864); linear interpolation (2306.15595); Llama 3 frequency bands (the model's release);
// YaRN (2309.00071) and LongRoPE (2402.13753) with the ramp and attention factors as transformers computes them.
// Frequencies are computed in double and rounded once.
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
    double attention_factor;                  // yarn, longrope; 0 = by formula
    double mscale, mscale_all_dim;            // yarn; 0 = not given
    double original_context;
    bool truncate; // yarn: round the ramp's borders to whole pairs
} rope_params;

static mosa_status unsupported(const mosa_model_source *source, const char *type, mosa_error *err) {
    return mosa_fail(err, MOSA_EUNSUPPORTED,
                     "%s: rope scaling \"%s\" is not supported (linear, llama3, yarn, longrope are)",
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
    // Converters do not always name longrope; its tensors do.
    if (mosa_model_source_weight(source, MOSA_W_ROPE_LONG, 0)) copy_type(p, MOSA_SLICE("longrope"));
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

// transformers wrote "rope_scaling" until version 4 and "rope_parameters", which also holds rope_theta, from 5 on; with
// one entry per kind of layer where these differ.
static const char *hf_object(const mosa_hf_config *config) {
    if (mosa_hf_config_has(config, "rope_parameters.full_attention")) return "rope_parameters.full_attention";
    return mosa_hf_config_has(config, "rope_parameters") ? "rope_parameters" : "rope_scaling";
}

static mosa_status read_hf(const mosa_model_source *source, rope_params *p, mosa_error *err) {
    const mosa_hf_config *config = mosa_model_source_hf_config(source);
    const char *object = hf_object(config);
    if (!mosa_hf_config_has(config, object)) return copy_type(p, MOSA_SLICE("none"));
    char path[96];
    const char *type, *old_type;
    snprintf(path, sizeof path, "%s.type", object);
    MOSA_TRY(mosa_hf_config_str_or(config, path, "none", &old_type, err));
    snprintf(path, sizeof path, "%s.rope_type", object);
    MOSA_TRY(mosa_hf_config_str_or(config, path, old_type, &type, err));
    copy_type(p, strcmp(type, "su") == 0 ? MOSA_SLICE("longrope") : mosa_slice_of(type)); // the old name
    // Beside the object where the family's own configuration class had it before.
    MOSA_TRY(mosa_hf_config_f64_or(config, "original_max_position_embeddings", 1, 1e12, p->original_context,
                                   &p->original_context, err));
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
    return mosa_hf_config_bool_or(config, path, p->truncate, &p->truncate, err);
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
    char key[MOSA_GGUF_NAME_MAX + 1];
    // DeepSeek's files have a factor for scores instead (families/deepseek.c).
    if (mosa_model_source_is_gguf(source) &&
        mosa_gguf_kv_find(mosa_model_source_gguf(source),
                          mosa_model_source_key(source, "rope.scaling.yarn_log_multiplier", key)))
        return 1;
    if (mosa_model_source_is_gguf(source)) return by_formula * (p->attention_factor > 0 ? p->attention_factor : 1);
    if (p->attention_factor > 0) return p->attention_factor;
    if (p->mscale > 0 && p->mscale_all_dim > 0)
        return yarn_mscale(p->factor, p->mscale) / yarn_mscale(p->factor, p->mscale_all_dim);
    return by_formula;
}

// How far beyond its original context the model was stretched sharpens attention by this factor. GGUF files hold it.
static double longrope_attention_factor(const mosa_model_source *source, const rope_params *p, double context) {
    if (p->attention_factor > 0) return p->attention_factor;
    double factor = p->factor > 0 ? p->factor : context / p->original_context;
    if (mosa_model_source_is_gguf(source) || factor <= 1 || p->original_context <= 1) return 1;
    return sqrt(1 + log(factor) / log(p->original_context));
}

static mosa_status check_params(const mosa_model_source *source, const rope_params *p, mosa_error *err) {
    bool plain = strcmp(p->type, "none") == 0 || strcmp(p->type, "default") == 0 || strcmp(p->type, "dynamic") == 0;
    bool llama3 = strcmp(p->type, "llama3") == 0, yarn = strcmp(p->type, "yarn") == 0;
    bool longrope = strcmp(p->type, "longrope") == 0;
    if (!plain && !llama3 && !yarn && !longrope && strcmp(p->type, "linear") != 0)
        return unsupported(source, p->type, err);
    if (!(p->base > 1))
        return mosa_fail(err, MOSA_EINVALID, "%s: rope base is %g", mosa_model_source_path(source), p->base);
    bool bad = !plain && !longrope && !(p->factor > 0);
    bad = bad || ((llama3 || yarn || longrope) && !(p->original_context >= 1));
    bad = bad || (llama3 && !(p->low_freq_factor > 0 && p->high_freq_factor > p->low_freq_factor));
    bad = bad || (yarn && !(p->beta_fast > 0 && p->beta_slow > 0));
    if (bad)
        return mosa_fail(err, MOSA_EINVALID, "%s: rope scaling \"%s\" has missing or impossible parameters",
                         mosa_model_source_path(source), p->type);
    return MOSA_OK;
}

// Divides the frequencies by the values of a GGUF tensor, where the file has it.
static mosa_status apply_divisors(const mosa_model_source *source, mosa_weight_slot slot, int pairs, float *inv_freq,
                                  mosa_error *err) {
    const mosa_tensor_view *divisors = mosa_model_source_weight(source, slot, 0);
    if (!divisors) return MOSA_OK;
    char name[MOSA_WEIGHT_NAME_MAX];
    mosa_model_source_weight_name(source, slot, 0, name);
    if (divisors->dtype != MOSA_F32 || divisors->n_elements != pairs)
        return mosa_fail(err, MOSA_ECORRUPT, "%s: tensor %s must hold %d f32 values", mosa_model_source_path(source),
                         name, pairs);
    for (int i = 0; i < pairs; i++) {
        float divisor;
        memcpy(&divisor, (const char *)divisors->data + (size_t)i * sizeof divisor, sizeof divisor);
        if (!(divisor > 0))
            return mosa_fail(err, MOSA_ECORRUPT, "%s: tensor %s has a value that is not positive",
                             mosa_model_source_path(source), name);
        inv_freq[i] /= divisor;
    }
    return MOSA_OK;
}

// The same by a list in config.json.
static mosa_status apply_hf_divisors(const mosa_hf_config *config, const char *field, int pairs, float *inv_freq,
                                     mosa_error *err) {
    double divisors[MOSA_MODEL_HEAD_WIDTH_MAX / 2];
    char path[96];
    size_t count;
    snprintf(path, sizeof path, "%s.%s", hf_object(config), field);
    MOSA_TRY(mosa_hf_config_f64s(config, path, divisors, MOSA_COUNT(divisors), &count, err));
    bool good = count == (size_t)pairs;
    for (int i = 0; good && i < pairs; i++) good = divisors[i] > 0;
    if (!good)
        return mosa_fail(err, MOSA_EINVALID, "%s: %s must hold %d positive numbers", mosa_hf_config_path(config), path,
                         pairs);
    for (int i = 0; i < pairs; i++) inv_freq[i] = (float)(inv_freq[i] / divisors[i]);
    return MOSA_OK;
}

static mosa_status apply_longrope(const mosa_model_source *source, const rope_params *p, int64_t served, int pairs,
                                  float *inv_freq, mosa_error *err) {
    bool beyond = (double)served > p->original_context;
    if (mosa_model_source_is_gguf(source))
        return apply_divisors(source, beyond ? MOSA_W_ROPE_LONG : MOSA_W_ROPE_SHORT, pairs, inv_freq, err);
    const char *field = beyond ? "long_factor" : "short_factor";
    return apply_hf_divisors(mosa_model_source_hf_config(source), field, pairs, inv_freq, err);
}

static mosa_status read_width(const mosa_model_source *source, const mosa_model_config *config, int *out,
                              mosa_error *err) {
    const mosa_hf_config *hf = mosa_model_source_hf_config(source);
    int64_t width = config->rope_width ? config->rope_width : config->head_width;
    if (!config->rope_width && !hf) {
        char key[MOSA_GGUF_NAME_MAX + 1];
        MOSA_TRY(mosa_gguf_get_i64_or(mosa_model_source_gguf(source),
                                      mosa_model_source_key(source, "rope.dimension_count", key), width, &width, err));
    } else if (!config->rope_width) {
        double part = 1;
        MOSA_TRY(mosa_hf_config_f64_or(hf, "partial_rotary_factor", 0, 1, 1, &part, err));
        MOSA_TRY(hf_number(hf, hf_object(hf), "partial_rotary_factor", &part, err));
        width = part >= 0 && part <= 1 ? (int64_t)(config->head_width * part) : 0;
    }
    if (width < 2 || width > config->head_width || width % 2 != 0)
        return mosa_fail(err, MOSA_EINVALID, "%s: %lld rotary columns do not fit a head of %d",
                         mosa_model_source_path(source), (long long)width, config->head_width);
    *out = (int)width;
    return MOSA_OK;
}

static double scaled_frequency(const rope_params *p, int rot, int pair) {
    double f = pow(p->base, -2.0 * pair / rot);
    if (strcmp(p->type, "linear") == 0) return f / p->factor;
    if (strcmp(p->type, "llama3") == 0) return llama3_scale(p, f);
    if (strcmp(p->type, "yarn") == 0) return yarn_scale(p, rot, pair, f);
    return f;
}

// The windowed layers' own frequencies: their base alone.
static mosa_status read_local(const mosa_model_source *source, int rot, mosa_arena *arena, mosa_model_config *config,
                              mosa_error *err) {
    if (!(config->rope_local_base > 0)) return MOSA_OK;
    const mosa_hf_config *hf = mosa_model_source_hf_config(source);
    const char *field = hf && mosa_hf_config_has(hf, "rope_parameters.sliding_attention.rope_theta")
                            ? "rope_parameters.sliding_attention.rope_theta"
                            : "rope_local_base_freq";
    MOSA_TRY(mosa_model_config_number(source, "rope.freq_base_swa", field, config->rope_local_base,
                                      &config->rope_local_base, err));
    if (!(config->rope_local_base > 1))
        return mosa_fail(err, MOSA_EINVALID, "%s: the rope base of windowed layers is %g",
                         mosa_model_source_path(source), (double)config->rope_local_base);
    float *inv_freq = MOSA_ARENA_ARRAY(arena, float, (size_t)rot / 2);
    if (!inv_freq) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", mosa_model_source_path(source));
    for (int i = 0; i < rot / 2; i++) inv_freq[i] = (float)pow(config->rope_local_base, -2.0 * i / rot);
    config->rope_local_inv_freq = inv_freq;
    return MOSA_OK;
}

mosa_status mosa_model_rope_read(const mosa_model_source *source, int64_t context, mosa_arena *arena,
                                 mosa_model_config *config, mosa_error *err) {
    rope_params p = {.base = 10000,
                     .factor = 0,
                     .low_freq_factor = 1,
                     .high_freq_factor = 4,
                     .beta_fast = 32,
                     .beta_slow = 1,
                     .original_context = (double)config->context,
                     .truncate = config->rope_whole_pairs};
    int rot;
    MOSA_TRY(read_width(source, config, &rot, err));
    MOSA_TRY(mosa_model_source_f64_or(source, MOSA_H_ROPE_BASE, 1e-3, 1e12, 10000, &p.base, err));
    MOSA_TRY(mosa_model_source_is_gguf(source) ? read_gguf(source, &p, err) : read_hf(source, &p, err));
    MOSA_TRY(check_params(source, &p, err));
    bool longrope = strcmp(p.type, "longrope") == 0;
    float *inv_freq = MOSA_ARENA_ARRAY(arena, float, (size_t)rot / 2);
    if (!inv_freq) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", mosa_model_source_path(source));
    for (int i = 0; i < rot / 2; i++) inv_freq[i] = (float)scaled_frequency(&p, rot, i);
    MOSA_TRY(apply_divisors(source, MOSA_W_ROPE_FREQS, rot / 2, inv_freq, err));
    if (longrope) MOSA_TRY(apply_longrope(source, &p, context ? context : config->context, rot / 2, inv_freq, err));
    config->rope_inv_freq = inv_freq;
    config->rope_width = rot;
    config->rope_mscale = strcmp(p.type, "yarn") == 0 ? (float)yarn_attention_factor(source, &p)
                          : longrope ? (float)longrope_attention_factor(source, &p, (double)config->context)
                                     : 1.0f;
    return read_local(source, rot, arena, config, err);
}
