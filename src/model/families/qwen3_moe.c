// qwen3_moe: the qwen3 block with experts; weights of the chosen are normalised in GGUF files, as in every published
// model, and as norm_topk_prob says in Hugging Face folders. Source: arXiv 2505.09388.
#include "model/family.h"
#include "model/moe.h"

static mosa_status configure(const mosa_model_source *source, mosa_model_config *config, mosa_error *err) {
    const mosa_hf_config *hf = mosa_model_source_hf_config(source);
    MOSA_TRY(mosa_moe_config_read(source, config, err));
    config->qk_norm = true;
    if (hf) MOSA_TRY(mosa_hf_config_bool_or(hf, "norm_topk_prob", false, &config->experts.normalise, err));
    return mosa_model_config_optional_window(source, config, err);
}

const mosa_family mosa_family_qwen3_moe = {
    .name = "qwen3_moe",
    .gguf_archs = {"qwen3moe"},
    .hf_types = {"qwen3_moe"},
    .configure = configure,
    .block = mosa_moe_prenorm_block,
};
