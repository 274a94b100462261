// A model family: how one architecture's files are read and its graph built.
//
// To add one: a file in model/families/ with a const mosa_family, and one line in families.c.
#ifndef MOSA_MODEL_FAMILY_H
#define MOSA_MODEL_FAMILY_H

#include "model/decoder.h"

typedef struct mosa_family {
    const char *name;          // "llama"
    const char *gguf_archs[4]; // general.architecture values, NULL-terminated
    const char *hf_types[6];   // config.json model_type values, NULL-terminated
    bool gguf_rotary_pairs;    // its GGUF files keep rotary pairs of Q and K as neighbours, unlike Hugging Face's
    // Adds to what mosa_model_config_read found: rope style, norms, windows, multipliers. Refuses what the family
    // cannot do.
    mosa_status (*configure)(const mosa_model_source *source, mosa_model_config *config, mosa_error *err);
    bool encoder; // see mosa_model_config; `configure` finds config->encoder set
    // One transformer block: x [T,D] -> [T,D].
    mosa_value (*block)(mosa_decoder *decoder, mosa_value x, int layer);
} mosa_family;

// The family of a source's architecture; MOSA_EUNSUPPORTED lists what is known.
mosa_status mosa_family_find(const mosa_model_source *source, const mosa_family **out, mosa_error *err);

#endif
