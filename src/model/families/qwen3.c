// qwen3: the llama block with an RMS norm on every query and key head before rotation, and head width set apart from
// the model width. Sliding window as in qwen2. Source: arXiv 2505.09388.
#include "model/family.h"

static mosa_status configure(const mosa_model_source *source, mosa_model_config *config, mosa_error *err) {
    config->qk_norm = true;
    return mosa_model_config_optional_window(source, config, err);
}

const mosa_family mosa_family_qwen3 = {
    .name = "qwen3",
    .gguf_archs = {"qwen3"},
    .hf_types = {"qwen3"},
    .configure = configure,
    .block = mosa_decoder_prenorm_block,
};
