// Pooling, read from a model's files.
#include "model/pooling.h"

#include "base/file.h"

#include <string.h>
#include <unistd.h>

static mosa_status read_gguf(const mosa_model_source *source, mosa_pooling *out, mosa_error *err) {
    // 0: none is meant; 4: a cross-encoder, whose score comes from the first token.
    static const mosa_pooling kinds[] = {MOSA_POOLING_MEAN, MOSA_POOLING_MEAN, MOSA_POOLING_CLS, MOSA_POOLING_LAST,
                                         MOSA_POOLING_CLS};
    char key[MOSA_GGUF_NAME_MAX + 1];
    int64_t type;
    mosa_model_source_key(source, "pooling_type", key);
    MOSA_TRY(mosa_gguf_get_i64_or(mosa_model_source_gguf(source), key, 0, &type, err));
    if (type < 0 || type >= (int64_t)MOSA_COUNT(kinds))
        return mosa_fail(err, MOSA_EUNSUPPORTED, "%s: %s %lld is not supported", mosa_model_source_path(source), key,
                         (long long)type);
    *out = kinds[type];
    return MOSA_OK;
}

static const struct {
    const char *name, *flag; // pooling_mode of newer files, and the flag of older ones
    mosa_pooling pooling;
    bool known;
} modes[] = {
    {"mean", "pooling_mode_mean_tokens", MOSA_POOLING_MEAN, true},
    {"cls", "pooling_mode_cls_token", MOSA_POOLING_CLS, true},
    {"lasttoken", "pooling_mode_lasttoken", MOSA_POOLING_LAST, true},
    {"max", "pooling_mode_max_tokens", MOSA_POOLING_MEAN, false},
    {"mean_sqrt_len_tokens", "pooling_mode_mean_sqrt_len_tokens", MOSA_POOLING_MEAN, true}, // the same direction
    {"weightedmean", "pooling_mode_weightedmean_tokens", MOSA_POOLING_MEAN, false},
};

static mosa_status read_mode(const mosa_hf_config *config, mosa_pooling *out, mosa_error *err) {
    const char *name;
    int found = 0;
    MOSA_TRY(mosa_hf_config_str_or(config, "pooling_mode", "", &name, err));
    for (size_t i = 0; i < MOSA_COUNT(modes); i++) {
        bool on;
        MOSA_TRY(mosa_hf_config_bool_or(config, modes[i].flag, false, &on, err));
        if (!on && strcmp(modes[i].name, name) != 0) continue;
        if (!modes[i].known || found++)
            return mosa_fail(err, MOSA_EUNSUPPORTED,
                             "%s: this way of pooling is not supported (mean, cls, lasttoken are)",
                             mosa_hf_config_path(config));
        *out = modes[i].pooling;
    }
    if (*name && !found)
        return mosa_fail(err, MOSA_EUNSUPPORTED, "%s: pooling_mode \"%s\" is not supported",
                         mosa_hf_config_path(config), name);
    return MOSA_OK;
}

mosa_status mosa_model_pooling_read(const mosa_model_source *source, mosa_pooling *out, mosa_error *err) {
    *out = MOSA_POOLING_MEAN;
    if (mosa_model_source_is_gguf(source)) return read_gguf(source, out, err);
    MOSA_AUTO_FREE char *path = mosa_path_join(mosa_model_source_path(source), "1_Pooling/config.json");
    MOSA_AUTO_FREE char *dense = mosa_path_join(mosa_model_source_path(source), "2_Dense/config.json");
    if (!path || !dense) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", mosa_model_source_path(source));
    if (access(path, F_OK) != 0) return MOSA_OK;
    if (access(dense, F_OK) == 0)
        return mosa_fail(err, MOSA_EUNSUPPORTED, "%s: a layer behind the pooling is not supported", dense);
    mosa_hf_config *config;
    MOSA_TRY(mosa_hf_config_open(path, &config, err));
    mosa_status status = read_mode(config, out, err);
    mosa_hf_config_close(config);
    return status;
}
