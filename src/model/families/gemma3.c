// gemma3, text: as gemma2 with norms on query and key heads instead of soft caps, five windowed layers to each that
// sees everything, and a rotary base of their own for the windowed ones; only the others are stretched by rope scaling.
// Source: arXiv 2503.19786.
#include "model/families/gemma.h"

static mosa_status configure(const mosa_model_source *source, mosa_model_config *config, mosa_error *err) {
    enum { LAYERS_27B = 62, WINDOW_PERIOD = 6 };
    config->qk_norm = true;
    config->rope_local_base = 10000;
    MOSA_TRY(mosa_model_config_number(source, "final_logit_softcapping", "final_logit_softcapping", 0,
                                      &config->logit_softcap, err));
    MOSA_TRY(mosa_gemma_configure(source, LAYERS_27B, config, err));
    return mosa_model_config_window_pattern(source, WINDOW_PERIOD, config, err);
}

const mosa_family mosa_family_gemma3 = {
    .name = "gemma3",
    .gguf_archs = {"gemma3"},
    .hf_types = {"gemma3_text"},
    .configure = configure,
    .block = mosa_decoder_sandwich_block,
};
