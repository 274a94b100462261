// phi3: Phi-3, Phi-3.5 and Phi-4. The llama block with Q, K, V in one matrix and gate, up in another; longrope, and in
// Phi-4-mini rotation of a part of each head. Source: arXiv 2404.14219.
#include "model/family.h"

static mosa_status configure(const mosa_model_source *source, mosa_model_config *config, mosa_error *err) {
    (void)source;
    (void)config;
    (void)err;
    return MOSA_OK;
}

const mosa_family mosa_family_phi3 = {
    .name = "phi3",
    .gguf_archs = {"phi3"},
    .hf_types = {"phi3"},
    .configure = configure,
    .block = mosa_decoder_prenorm_block,
};
