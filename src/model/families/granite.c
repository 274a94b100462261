// granite: IBM Granite 3. The llama block with multipliers on embeddings, scores, residual branches and logits; rotary
// rows are ordered as in llama files. Source: the model card of ibm-granite/granite-3.0 and its configuration.
#include "model/family.h"

static mosa_status configure(const mosa_model_source *source, mosa_model_config *config, mosa_error *err) {
    float divisor;
    config->rope_style = mosa_model_source_is_gguf(source) ? MOSA_ROPE_INTERLEAVED : MOSA_ROPE_HALF;
    MOSA_TRY(
        mosa_model_config_number(source, "embedding_scale", "embedding_multiplier", 1, &config->embedding_scale, err));
    MOSA_TRY(
        mosa_model_config_number(source, "residual_scale", "residual_multiplier", 1, &config->residual_scale, err));
    MOSA_TRY(
        mosa_model_config_number(source, "attention.scale", "attention_multiplier", 0, &config->attention_scale, err));
    MOSA_TRY(mosa_model_config_number(source, "logit_scale", "logits_scaling", 1, &divisor, err));
    if (!(divisor > 0))
        return mosa_fail(err, MOSA_EINVALID, "%s: logits are divided by %g", mosa_model_source_path(source),
                         (double)divisor);
    config->logit_scale = 1 / divisor;
    return MOSA_OK;
}

const mosa_family mosa_family_granite = {
    .name = "granite",
    .gguf_archs = {"granite"},
    .hf_types = {"granite"},
    .gguf_rotary_pairs = true,
    .configure = configure,
    .block = mosa_decoder_prenorm_block,
};
