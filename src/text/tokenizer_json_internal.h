// What the files of the tokenizer.json loader share.
#ifndef MOSA_TEXT_TOKENIZER_JSON_INTERNAL_H
#define MOSA_TEXT_TOKENIZER_JSON_INTERNAL_H

#include <jansson.h>

#include "text/tokenizer_spec.h"

typedef struct mosa_json_tokenizer { // one load
    const char *source;
    mosa_arena *arena; // of the spec's arrays; strings borrow from the trees
    mosa_tokenizer_spec spec;
    mosa_error *err;
    // Growing parts of the spec.
    mosa_token_spec *tokens;
    mosa_added_token_spec *added;
    mosa_normalizer_spec normalizers[MOSA_STEPS_MAX];
    mosa_pretokenizer_spec pretokenizers[MOSA_STEPS_MAX];
    mosa_decoder_spec decoders[MOSA_STEPS_MAX];
} mosa_json_tokenizer;

// A member that is a string, or the fallback when it is absent or null.
static inline mosa_slice mosa_json_text(const json_t *object, const char *key, mosa_slice fallback) {
    const json_t *value = json_object_get(object, key);
    return json_is_string(value) ? (mosa_slice){json_string_value(value), json_string_length(value)} : fallback;
}
static inline bool mosa_json_bool(const json_t *object, const char *key, bool fallback) {
    const json_t *value = json_object_get(object, key);
    return json_is_boolean(value) ? json_boolean_value(value) : fallback;
}

// Fill load->spec. `value` is the member of tokenizer.json; NULL or null adds no step.
mosa_status mosa_json_read_normalizer(mosa_json_tokenizer *load, const json_t *value) MOSA_MUST_USE;
mosa_status mosa_json_read_pretokenizer(mosa_json_tokenizer *load, const json_t *value) MOSA_MUST_USE;
mosa_status mosa_json_read_decoder(mosa_json_tokenizer *load, const json_t *value) MOSA_MUST_USE;
mosa_status mosa_json_read_model(mosa_json_tokenizer *load, const json_t *model, const json_t *added) MOSA_MUST_USE;

#endif
