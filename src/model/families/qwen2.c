// qwen2: Qwen 2 and 2.5. The llama block with biases on Q, K and V; a sliding window only where the file turns it on,
// from layer max_window_layers upwards. Source: arXiv 2407.10671.
#include "model/family.h"

static mosa_status configure(const mosa_model_source *source, mosa_model_config *config, mosa_error *err) {
    return mosa_model_config_optional_window(source, config, err);
}

const mosa_family mosa_family_qwen2 = {
    .name = "qwen2",
    .gguf_archs = {"qwen2"},
    .hf_types = {"qwen2"},
    .configure = configure,
    .block = mosa_decoder_prenorm_block,
};
