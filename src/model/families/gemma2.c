// gemma2: a norm before and after each sublayer, windows on every other layer, soft caps on scores and logits, token
// embeddings times sqrt(D), GELU gates. Hugging Face stores norm weights less 1, GGUF converters add it.
// Source: arXiv 2408.00118.
#include "model/families/gemma.h"

static mosa_status configure(const mosa_model_source *source, mosa_model_config *config, mosa_error *err) {
    bool gguf = mosa_model_source_is_gguf(source);
    // GGUF files may leave out what the release had; a Hugging Face folder that names no cap has none.
    MOSA_TRY(mosa_model_config_number(source, "attn_logit_softcapping", "attn_logit_softcapping", gguf ? 50 : 0,
                                      &config->attention_softcap, err));
    MOSA_TRY(mosa_model_config_number(source, "final_logit_softcapping", "final_logit_softcapping", gguf ? 30 : 0,
                                      &config->logit_softcap, err));
    enum { LAYERS_27B = 46 };
    MOSA_TRY(mosa_gemma_configure(source, LAYERS_27B, config, err));
    return mosa_model_config_window_pattern(source, 2, config, err);
}

const mosa_family mosa_family_gemma2 = {
    .name = "gemma2",
    .gguf_archs = {"gemma2"},
    .hf_types = {"gemma2"},
    .configure = configure,
    .block = mosa_decoder_sandwich_block,
};
