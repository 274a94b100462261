// config.json: every getter copes with every type of value.
#include "codec/hf_config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile int64_t sink; // keeps the reads

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const fields[] = {"model_type",          "hidden_size",  "rms_norm_eps",        "eos_token_id",
                                         "rope_scaling.factor", "rope_scaling", "tie_word_embeddings", "architectures"};
    mosa_hf_config *config;
    mosa_error err;
    if (mosa_hf_config_parse((const char *)data, size, "config.json", &config, &err) != MOSA_OK) return 0;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        int64_t integer = 0, integers[4];
        double real = 0, reals[4];
        bool flag;
        size_t count = 0;
        const char *text;
        if (mosa_hf_config_i64(config, fields[i], 0, 1 << 20, &integer, &err) == MOSA_OK) sink += integer;
        if (mosa_hf_config_f64(config, fields[i], 0, 1e9, &real, &err) == MOSA_OK) sink += (int64_t)real;
        if (mosa_hf_config_bool(config, fields[i], &flag, &err) == MOSA_OK) sink += flag;
        if (mosa_hf_config_str(config, fields[i], &text, &err) == MOSA_OK) sink += *text;
        if (mosa_hf_config_i64s(config, fields[i], 0, 99, integers, 4, &count, &err) == MOSA_OK) sink += (int64_t)count;
        if (mosa_hf_config_f64s(config, fields[i], reals, 4, &count, &err) == MOSA_OK) sink += (int64_t)count;
        sink += mosa_hf_config_str_at(config, fields[i], 0) != NULL;
    }
    const char *type;
    if (mosa_hf_config_model_type(config, &type, &err) == MOSA_OK) sink += *type;
    mosa_hf_config_close(config);
    return 0;
}
