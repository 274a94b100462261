// qwen2_moe: Qwen1.5-MoE and Qwen2-MoE. The qwen2 block with experts whose weights are those of a softmax over all, not
// normalised unless the file says so, and a shared expert behind a sigmoid gate. Source: arXiv 2407.10671.
#include "model/family.h"
#include "model/moe.h"

static mosa_status configure(const mosa_model_source *source, mosa_model_config *config, mosa_error *err) {
    const mosa_hf_config *hf = mosa_model_source_hf_config(source);
    MOSA_TRY(mosa_moe_config_read(source, config, err));
    MOSA_TRY(mosa_model_source_i64_or(source, MOSA_H_SHARED_FFN, 1, 8 * MOSA_MODEL_WIDTH_MAX, config->ffn,
                                      &config->experts.shared_ffn, err));
    config->experts.normalise = false; // GGUF has no key for it
    if (hf) MOSA_TRY(mosa_hf_config_bool_or(hf, "norm_topk_prob", false, &config->experts.normalise, err));
    return mosa_model_config_optional_window(source, config, err);
}

const mosa_family mosa_family_qwen2_moe = {
    .name = "qwen2_moe",
    .gguf_archs = {"qwen2moe"},
    .hf_types = {"qwen2_moe"},
    .configure = configure,
    .block = mosa_moe_prenorm_block,
};
