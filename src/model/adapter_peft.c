// The PEFT form: adapter_config.json says rank and scale, the tensors say what is changed.
//
// A module's rank and alpha are r and lora_alpha unless a key of rank_pattern or alpha_pattern names it: a module path
// or its end behind a dot, as PEFT matches them. Keys that are real regular expressions are refused by name.
#include "model/adapter_file_internal.h"

#include "codec/json.h"

#include <math.h>
#include <string.h>

static const char prefix[] = "base_model.model.";

// Fields that change the mathematics of an adapter. Absent, null, false and empty mean that it is plain LoRA.
static const char *const refused_fields[] = {
    "use_dora",          "fan_in_fan_out", "modules_to_save",         "layer_replication",
    "lora_bias",         "use_qalora",     "trainable_token_indices", "target_parameters",
    "megatron_config",   "arrow_config",   "alora_invocation_tokens", "use_bdlora",
    "monteclora_config", "kasa_config",    "velora_config",           NULL,
};

typedef struct peft_config {
    const mosa_adapter_file *file;
    const char *base_type;
    int64_t rank;
    double alpha;
    bool root_scale; // rsLoRA
    const json_t *rank_pattern, *alpha_pattern;
} peft_config;

static bool is_off(const json_t *value) {
    return !value || json_is_null(value) || json_is_false(value) ||
           (json_is_array(value) && json_array_size(value) == 0) ||
           (json_is_object(value) && json_object_size(value) == 0);
}

static mosa_status refuse(const mosa_adapter_file *file, const char *field, mosa_error *err) {
    return mosa_fail(err, MOSA_EUNSUPPORTED, "%s: adapter_config.json: %s is set, only plain LoRA can be served",
                     file->path, field);
}

static mosa_status bad_field(const mosa_adapter_file *file, const char *field, const char *wanted, mosa_error *err) {
    return mosa_fail(err, MOSA_EINVALID, "%s: adapter_config.json: %s must be %s", file->path, field, wanted);
}

static mosa_status check_kind(const mosa_adapter_file *file, const json_t *config, mosa_error *err) {
    const char *type = json_string_value(json_object_get(config, "peft_type"));
    if (!type || strcmp(type, "LORA") != 0)
        return mosa_fail(err, MOSA_EUNSUPPORTED, "%s: adapter_config.json: peft_type is '%.40s', must be 'LORA'",
                         file->path, type ? type : "");
    for (int i = 0; refused_fields[i]; i++)
        if (!is_off(json_object_get(config, refused_fields[i]))) return refuse(file, refused_fields[i], err);
    const json_t *bias = json_object_get(config, "bias");
    if (!is_off(bias) && (!json_is_string(bias) || strcmp(json_string_value(bias), "none") != 0))
        return refuse(file, "bias", err);
    // These start from a base whose weights were changed, which the adapter does not carry.
    static const char *const changed_bases[] = {"pissa", "olora", "corda", "loftq", "lora_ga"};
    const char *init = json_string_value(json_object_get(config, "init_lora_weights"));
    for (size_t i = 0; init && i < MOSA_COUNT(changed_bases); i++)
        if (strncmp(init, changed_bases[i], strlen(changed_bases[i])) == 0)
            return mosa_fail(err, MOSA_EUNSUPPORTED,
                             "%s: adapter_config.json: init_lora_weights '%.40s' has a base of its own", file->path,
                             init);
    return MOSA_OK;
}

static mosa_status read_pattern(const mosa_adapter_file *file, const json_t *config, const char *field,
                                const json_t **out, mosa_error *err) {
    const json_t *pattern = json_object_get(config, field);
    *out = NULL;
    if (is_off(pattern)) return MOSA_OK;
    if (!json_is_object(pattern)) return bad_field(file, field, "an object", err);
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)pattern, key, value) {
        double number = json_number_value(value);
        if (!json_is_number(value) || !(number > 0) || number > 1e6) return bad_field(file, field, "of numbers", err);
        if (strpbrk(key, "*+?()[]{}|"))
            return mosa_fail(err, MOSA_EUNSUPPORTED,
                             "%s: adapter_config.json: key '%.80s' of %s is a regular expression, give module names",
                             file->path, key, field);
    }
    *out = pattern;
    return MOSA_OK;
}

static mosa_status read_config(const mosa_adapter_file *file, const json_t *config, peft_config *out, mosa_error *err) {
    if (!json_is_object(config))
        return mosa_fail(err, MOSA_EINVALID, "%s: adapter_config.json is no object", file->path);
    MOSA_TRY(check_kind(file, config, err));
    const json_t *rank = json_object_get(config, "r"), *alpha = json_object_get(config, "lora_alpha");
    *out = (peft_config){.file = file, .rank = json_integer_value(rank), .alpha = 8};
    if (!json_is_integer(rank) || out->rank < 1 || out->rank > MOSA_ADAPTER_RANK_MAX)
        return bad_field(file, "r", "an integer from 1 to 4096", err);
    if (alpha) out->alpha = json_number_value(alpha);
    if (alpha && (!json_is_number(alpha) || !isfinite(out->alpha)))
        return bad_field(file, "lora_alpha", "a number", err);
    const json_t *root = json_object_get(config, "use_rslora");
    if (!is_off(root) && !json_is_true(root)) return bad_field(file, "use_rslora", "true or false", err);
    out->root_scale = json_is_true(root);
    MOSA_TRY(read_pattern(file, config, "rank_pattern", &out->rank_pattern, err));
    return read_pattern(file, config, "alpha_pattern", &out->alpha_pattern, err);
}

// Whether `key` is the whole module path or its end behind a dot. "^" anchors at the beginning; "\." is a dot, and so
// is
// ".", which as a regular expression would match more.
static bool names_module(const char *key, mosa_slice module) {
    char plain[256];
    size_t n = 0;
    bool anchored = *key == '^';
    for (const char *p = key + anchored; *p; p++) {
        if (*p == '\\') continue;
        if (n == sizeof plain) return false;
        plain[n++] = *p;
    }
    if (n > 0 && plain[n - 1] == '$') n--;
    if (n > module.len || memcmp(module.data + module.len - n, plain, n) != 0) return false;
    return n == module.len || (!anchored && module.data[module.len - n - 1] == '.');
}

static double pattern_value(const json_t *pattern, mosa_slice module, double fallback) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)pattern, key, value) if (names_module(key, module)) return json_number_value(value);
    return fallback;
}

// "base_model.model.model.layers.0.self_attn.q_proj" -> slot and layer of its weight.
static mosa_status parse_module(const peft_config *config, const mosa_tensor_view *a, mosa_slice module,
                                mosa_adapter_pair *pair, mosa_error *err) {
    char name[MOSA_WEIGHT_NAME_MAX];
    if (module.len + sizeof ".weight" <= sizeof name) {
        memcpy(name, module.data, module.len);
        memcpy(name + module.len, ".weight", sizeof ".weight");
        static const mosa_naming namings[] = {MOSA_NAMING_HF, MOSA_NAMING_HF_BASE};
        int expert;
        for (size_t i = 0; i < MOSA_COUNT(namings); i++)
            if (mosa_weight_parse(namings[i], config->base_type, name, &pair->slot, &pair->layer, &expert) &&
                expert < 0)
                return MOSA_OK;
    }
    return mosa_fail(err, MOSA_EUNSUPPORTED, "%s: tensor %.200s changes a module that we do not know",
                     config->file->path, a->name);
}

static mosa_status read_pair(mosa_adapter_file *file, const peft_config *config, const mosa_tensor_view *a,
                             mosa_error *err) {
    static const char tail[] = ".lora_A.weight";
    size_t len = strlen(a->name), head = sizeof prefix - 1;
    char name[MOSA_SAFETENSORS_NAME_MAX + 1];
    mosa_adapter_pair pair = {.a = a};
    if (strncmp(a->name, prefix, head) != 0 || len < head + sizeof tail)
        return mosa_fail(err, MOSA_EUNSUPPORTED, "%s: tensor %.200s is not named as PEFT does", file->path, a->name);
    mosa_slice module = {a->name + head, len - head - (sizeof tail - 1)};
    MOSA_TRY(parse_module(config, a, module, &pair, err));
    memcpy(name, a->name, len + 1);
    name[len - sizeof "A.weight" + 1] = 'B';
    pair.b = mosa_safetensors_tensor_find(file->tensors, name);
    if (!pair.b) return mosa_fail(err, MOSA_ECORRUPT, "%s: tensor %.200s is missing", file->path, name);
    double rank = pattern_value(config->rank_pattern, module, (double)config->rank);
    double alpha = pattern_value(config->alpha_pattern, module, config->alpha);
    if (a->n_dims == 2 && (double)a->dims[0] != rank)
        return mosa_fail(err, MOSA_ECORRUPT, "%s: tensor %.200s has rank %lld, adapter_config.json says %g", file->path,
                         a->name, (long long)a->dims[0], rank);
    pair.scale = (float)(alpha / (config->root_scale ? sqrt(rank) : rank));
    return mosa_adapter_file_add(file, &pair, err);
}

mosa_status mosa_adapter_peft_read(mosa_adapter_file *file, const json_t *tree, const char *base_type,
                                   mosa_error *err) {
    peft_config config;
    MOSA_TRY(read_config(file, tree, &config, err));
    config.base_type = base_type;
    size_t count = mosa_safetensors_tensor_count(file->tensors);
    for (size_t i = 0; i < count; i++) {
        const mosa_tensor_view *view = mosa_safetensors_tensor_at(file->tensors, i);
        if (mosa_str_ends_with(view->name, ".lora_A.weight"))
            MOSA_TRY(read_pair(file, &config, view, err));
        else if (!mosa_str_ends_with(view->name, ".lora_B.weight"))
            return mosa_fail(err, MOSA_EUNSUPPORTED, "%s: tensor %.200s is neither lora_A nor lora_B of a linear layer",
                             file->path, view->name);
    }
    if (file->n_pairs * 2 == count) return MOSA_OK;
    return mosa_fail(err, MOSA_ECORRUPT, "%s: %zu tensors for %zu lora_A", file->path, count, file->n_pairs);
}
