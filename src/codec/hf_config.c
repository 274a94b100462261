// Model configuration files: a JSON value tree behind getters that check type and range and name the field.
#include "codec/hf_config.h"

#include "base/file.h"
#include "codec/json.h"

#include <math.h>
#include <stdlib.h>

enum { FIELD_PART_MAX = 127 };

struct mosa_hf_config {
    json_t *root;
    char *path;
};

mosa_status mosa_hf_config_parse(const char *data, size_t len, const char *name, mosa_hf_config **out,
                                 mosa_error *err) {
    static const mosa_json_limits limits = {MOSA_HF_CONFIG_BYTES_MAX, MOSA_JSON_DEPTH_MAX};
    mosa_hf_config *config = calloc(1, sizeof *config);
    if (config) config->path = strdup(name);
    if (!config || !config->path) {
        mosa_hf_config_close(config);
        return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", name);
    }
    mosa_status status = mosa_json_parse((mosa_slice){data, len}, &limits, &config->root, err);
    if (status != MOSA_OK)
        mosa_fail_prefix(err, name);
    else if (!json_is_object(config->root))
        status = mosa_fail(err, MOSA_EINVALID, "%s: the root is not an object", name);
    if (status != MOSA_OK) {
        mosa_hf_config_close(config);
        return status;
    }
    *out = config;
    return MOSA_OK;
}

mosa_status mosa_hf_config_open(const char *path, mosa_hf_config **out, mosa_error *err) {
    char *text;
    size_t len;
    MOSA_TRY(mosa_file_read(path, MOSA_HF_CONFIG_BYTES_MAX, &text, &len, err));
    mosa_status status = mosa_hf_config_parse(text, len, path, out, err);
    free(text);
    return status;
}

void mosa_hf_config_close(mosa_hf_config *config) {
    if (!config) return;
    json_decref(config->root);
    free(config->path);
    free(config);
}

const char *mosa_hf_config_path(const mosa_hf_config *config) {
    return config->path;
}

// The value at a dotted path; NULL when any part is absent, null, or lies in something that is no object.
static json_t *find(const mosa_hf_config *config, const char *field) {
    json_t *value = config->root;
    while (value && *field) {
        size_t len = strcspn(field, ".");
        char part[FIELD_PART_MAX + 1];
        if (len > FIELD_PART_MAX) return NULL;
        memcpy(part, field, len);
        part[len] = '\0';
        value = json_object_get(value, part);
        field += len + (field[len] == '.');
    }
    return json_is_null(value) ? NULL : value;
}

bool mosa_hf_config_has(const mosa_hf_config *config, const char *field) {
    return find(config, field) != NULL;
}

static mosa_status missing(const mosa_hf_config *config, const char *field, mosa_error *err) {
    return mosa_fail(err, MOSA_ENOTFOUND, "%s: field '%s' is missing", config->path, field);
}

static mosa_status wrong_type(const mosa_hf_config *config, const char *field, const char *wanted, mosa_error *err) {
    return mosa_fail(err, MOSA_EINVALID, "%s: field '%s' is not %s", config->path, field, wanted);
}

static mosa_status to_i64(const mosa_hf_config *config, const char *field, const json_t *value, int64_t min,
                          int64_t max, int64_t *out, mosa_error *err) {
    int64_t number;
    double real = json_real_value(value);
    if (json_is_integer(value))
        number = json_integer_value(value);
    else if (json_is_real(value) && real == floor(real) && fabs(real) < 9e15) // some tools write 4096.0
        number = (int64_t)real;
    else
        return wrong_type(config, field, "an integer", err);
    if (number < min || number > max)
        return mosa_fail(err, MOSA_EINVALID, "%s: field '%s' is %lld, not in %lld to %lld", config->path, field,
                         (long long)number, (long long)min, (long long)max);
    *out = number;
    return MOSA_OK;
}

mosa_status mosa_hf_config_i64(const mosa_hf_config *config, const char *field, int64_t min, int64_t max, int64_t *out,
                               mosa_error *err) {
    const json_t *value = find(config, field);
    return value ? to_i64(config, field, value, min, max, out, err) : missing(config, field, err);
}

mosa_status mosa_hf_config_f64(const mosa_hf_config *config, const char *field, double min, double max, double *out,
                               mosa_error *err) {
    const json_t *value = find(config, field);
    if (!value) return missing(config, field, err);
    if (!json_is_number(value)) return wrong_type(config, field, "a number", err);
    double number = json_number_value(value);
    if (!(number >= min && number <= max))
        return mosa_fail(err, MOSA_EINVALID, "%s: field '%s' is %g, not in %g to %g", config->path, field, number, min,
                         max);
    *out = number;
    return MOSA_OK;
}

mosa_status mosa_hf_config_bool(const mosa_hf_config *config, const char *field, bool *out, mosa_error *err) {
    const json_t *value = find(config, field);
    if (!value) return missing(config, field, err);
    if (!json_is_boolean(value)) return wrong_type(config, field, "a bool", err);
    *out = json_is_true(value);
    return MOSA_OK;
}

mosa_status mosa_hf_config_str(const mosa_hf_config *config, const char *field, const char **out, mosa_error *err) {
    const json_t *value = find(config, field);
    if (!value) return missing(config, field, err);
    if (!json_is_string(value)) return wrong_type(config, field, "a string", err);
    *out = json_string_value(value);
    return MOSA_OK;
}

mosa_status mosa_hf_config_i64_or(const mosa_hf_config *config, const char *field, int64_t min, int64_t max,
                                  int64_t fallback, int64_t *out, mosa_error *err) {
    if (mosa_hf_config_has(config, field)) return mosa_hf_config_i64(config, field, min, max, out, err);
    *out = fallback;
    return MOSA_OK;
}

mosa_status mosa_hf_config_f64_or(const mosa_hf_config *config, const char *field, double min, double max,
                                  double fallback, double *out, mosa_error *err) {
    if (mosa_hf_config_has(config, field)) return mosa_hf_config_f64(config, field, min, max, out, err);
    *out = fallback;
    return MOSA_OK;
}

mosa_status mosa_hf_config_bool_or(const mosa_hf_config *config, const char *field, bool fallback, bool *out,
                                   mosa_error *err) {
    if (mosa_hf_config_has(config, field)) return mosa_hf_config_bool(config, field, out, err);
    *out = fallback;
    return MOSA_OK;
}

mosa_status mosa_hf_config_str_or(const mosa_hf_config *config, const char *field, const char *fallback,
                                  const char **out, mosa_error *err) {
    if (mosa_hf_config_has(config, field)) return mosa_hf_config_str(config, field, out, err);
    *out = fallback;
    return MOSA_OK;
}

// Items of a list, or a single value taken as a list of one. 0 when absent.
static mosa_status list_size(const mosa_hf_config *config, const char *field, const json_t *value, size_t capacity,
                             size_t *size, mosa_error *err) {
    *size = json_is_array(value) ? json_array_size(value) : value ? 1 : 0;
    if (*size > capacity)
        return mosa_fail(err, MOSA_ELIMIT, "%s: field '%s' has %zu items, at most %zu are allowed", config->path, field,
                         *size, capacity);
    return MOSA_OK;
}

static const json_t *list_item(const json_t *value, size_t index) {
    return json_is_array(value) ? json_array_get(value, index) : value;
}

mosa_status mosa_hf_config_i64s(const mosa_hf_config *config, const char *field, int64_t min, int64_t max, int64_t *out,
                                size_t capacity, size_t *count, mosa_error *err) {
    const json_t *value = find(config, field);
    size_t size;
    MOSA_TRY(list_size(config, field, value, capacity, &size, err));
    for (size_t i = 0; i < size; i++) MOSA_TRY(to_i64(config, field, list_item(value, i), min, max, &out[i], err));
    *count = size;
    return MOSA_OK;
}

mosa_status mosa_hf_config_f64s(const mosa_hf_config *config, const char *field, double *out, size_t capacity,
                                size_t *count, mosa_error *err) {
    const json_t *value = find(config, field);
    size_t size;
    MOSA_TRY(list_size(config, field, value, capacity, &size, err));
    for (size_t i = 0; i < size; i++) {
        if (!json_is_number(list_item(value, i))) return wrong_type(config, field, "a list of numbers", err);
        out[i] = json_number_value(list_item(value, i));
    }
    *count = size;
    return MOSA_OK;
}

const char *mosa_hf_config_str_at(const mosa_hf_config *config, const char *field, size_t index) {
    return json_string_value(json_array_get(find(config, field), index));
}

mosa_status mosa_hf_config_model_type(const mosa_hf_config *config, const char **out, mosa_error *err) {
    if (mosa_hf_config_has(config, "model_type")) return mosa_hf_config_str(config, "model_type", out, err);
    const char *name = mosa_hf_config_str_at(config, "architectures", 0);
    if (!name) return missing(config, "model_type", err);
    *out = name;
    return MOSA_OK;
}
