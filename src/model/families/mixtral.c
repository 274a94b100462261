// mixtral: the llama block with experts instead of one feed-forward part. In GGUF it is a llama that has experts, so
// families/llama.c takes those files. Source: arXiv 2401.04088.
#include "model/family.h"
#include "model/moe.h"

static mosa_status configure(const mosa_model_source *source, mosa_model_config *config, mosa_error *err) {
    return mosa_moe_config_read(source, config, err);
}

const mosa_family mosa_family_mixtral = {
    .name = "mixtral",
    .hf_types = {"mixtral"},
    .configure = configure,
    .block = mosa_moe_prenorm_block,
};
