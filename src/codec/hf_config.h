// config.json and generation_config.json of a Hugging Face model folder: a value tree with typed, checked getters.
//
// Fields are named by dotted paths ("rope_scaling.factor"). A JSON null counts as absent, as transformers writes it for
// unset fields. Every error names the file and the field. What the fields mean for a model family is not known here.
// Ownership: the object owns everything it hands out, until mosa_hf_config_close.
// Thread: immutable after open.
#ifndef MOSA_CODEC_HF_CONFIG_H
#define MOSA_CODEC_HF_CONFIG_H

#include "base/status.h"
#include "base/str.h"

enum { MOSA_HF_CONFIG_BYTES_MAX = 4 * 1024 * 1024, MOSA_HF_IDS_MAX = 64 };

typedef struct mosa_hf_config mosa_hf_config;

// Reads one JSON file, at most MOSA_HF_CONFIG_BYTES_MAX, whose root must be an object.
// MOSA_ENOTFOUND, MOSA_EIO, MOSA_EINVALID (no JSON object; line and column are named), MOSA_ELIMIT, MOSA_ENOMEM.
MOSA_MUST_USE mosa_status mosa_hf_config_open(const char *path, mosa_hf_config **out, mosa_error *err);
// As open over bytes in memory, copied; `name` is for messages.
MOSA_MUST_USE mosa_status mosa_hf_config_parse(const char *data, size_t len, const char *name, mosa_hf_config **out,
                                               mosa_error *err);
void mosa_hf_config_close(mosa_hf_config *config); // NULL-safe
const char *mosa_hf_config_path(const mosa_hf_config *config);

bool mosa_hf_config_has(const mosa_hf_config *config, const char *field); // present and not null

// Required fields: MOSA_ENOTFOUND when absent, MOSA_EINVALID for a wrong type or a value outside [min, max]. *out is
// written on success only. i64 takes an integer, or a real without fraction; f64 takes both.
MOSA_MUST_USE mosa_status mosa_hf_config_i64(const mosa_hf_config *config, const char *field, int64_t min, int64_t max,
                                             int64_t *out, mosa_error *err);
MOSA_MUST_USE mosa_status mosa_hf_config_f64(const mosa_hf_config *config, const char *field, double min, double max,
                                             double *out, mosa_error *err);
MOSA_MUST_USE mosa_status mosa_hf_config_bool(const mosa_hf_config *config, const char *field, bool *out,
                                              mosa_error *err);
MOSA_MUST_USE mosa_status mosa_hf_config_str(const mosa_hf_config *config, const char *field, const char **out,
                                             mosa_error *err);

// Optional fields: as above, with MOSA_OK and *out = fallback when absent. The fallback is not range-checked.
MOSA_MUST_USE mosa_status mosa_hf_config_i64_or(const mosa_hf_config *config, const char *field, int64_t min,
                                                int64_t max, int64_t fallback, int64_t *out, mosa_error *err);
MOSA_MUST_USE mosa_status mosa_hf_config_f64_or(const mosa_hf_config *config, const char *field, double min, double max,
                                                double fallback, double *out, mosa_error *err);
MOSA_MUST_USE mosa_status mosa_hf_config_bool_or(const mosa_hf_config *config, const char *field, bool fallback,
                                                 bool *out, mosa_error *err);
MOSA_MUST_USE mosa_status mosa_hf_config_str_or(const mosa_hf_config *config, const char *field, const char *fallback,
                                                const char **out, mosa_error *err);

// A list of numbers, or one number taken as a list of one ("eos_token_id"). Writes up to `capacity` items; more is
// MOSA_ELIMIT. *count = 0 when absent.
MOSA_MUST_USE mosa_status mosa_hf_config_i64s(const mosa_hf_config *config, const char *field, int64_t min, int64_t max,
                                              int64_t *out, size_t capacity, size_t *count, mosa_error *err);
MOSA_MUST_USE mosa_status mosa_hf_config_f64s(const mosa_hf_config *config, const char *field, double *out,
                                              size_t capacity, size_t *count, mosa_error *err);

// Item `index` of a list of strings ("architectures"); NULL when absent, shorter or not a string.
const char *mosa_hf_config_str_at(const mosa_hf_config *config, const char *field, size_t index);

// The family named by "model_type", or by the first of "architectures" when that is missing; MOSA_ENOTFOUND when both
// are.
MOSA_MUST_USE mosa_status mosa_hf_config_model_type(const mosa_hf_config *config, const char **out, mosa_error *err);

#endif
