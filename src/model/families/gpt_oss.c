// gpt-oss: experts with biases behind a clamped swiglu, chosen and weighed by the softmax of the chosen logits;
// attention with a sink per head, every other layer windowed; MXFP4 experts. Source: the model card, arXiv 2508.10925.
#include "model/family.h"
#include "model/moe.h"

static mosa_status configure(const mosa_model_source *source, mosa_model_config *config, mosa_error *err) {
    enum { WINDOW_PERIOD = 2 };
    MOSA_TRY(mosa_moe_config_read(source, config, err));
    config->experts.scoring = MOSA_SCORE_SOFTMAX_CHOSEN;
    config->experts.normalise = false;
    MOSA_TRY(mosa_model_config_number(source, NULL, "swiglu_limit", 7, &config->experts.swiglu_limit, err));
    if (!(config->experts.swiglu_limit > 0))
        return mosa_fail(err, MOSA_EINVALID, "%s: swiglu_limit is %g", mosa_model_source_path(source),
                         (double)config->experts.swiglu_limit);
    config->rope_whole_pairs = false;
    return mosa_model_config_window_pattern(source, WINDOW_PERIOD, config, err);
}

const mosa_family mosa_family_gpt_oss = {
    .name = "gpt_oss",
    .gguf_archs = {"gpt-oss"},
    .hf_types = {"gpt_oss"},
    .configure = configure,
    .block = mosa_moe_prenorm_block,
};
