// llama: Llama 2 to 3.x, Mistral (sliding window), SmolLM, TinyLlama and the many models of their shape.
//
// Pre-norm block with RMS norm, rotary positions, grouped-query attention, gated SiLU feed-forward; biases where the
// file has them. GGUF converters reorder the rows of Q and K so that rotary pairs are neighbours; Hugging Face keeps
// them half a head apart. GGUF also calls mixtral, which has experts, a llama. Sources: arXiv 2302.13971, 2307.09288,
// 2310.06825.
#include "model/family.h"
#include "model/moe.h"

static mosa_status configure(const mosa_model_source *source, mosa_model_config *config, mosa_error *err) {
    config->rope_style = mosa_model_source_is_gguf(source) ? MOSA_ROPE_INTERLEAVED : MOSA_ROPE_HALF;
    bool experts = mosa_model_source_weight(source, MOSA_W_ROUTER, 0) != NULL;
    return experts ? mosa_moe_config_read(source, config, err) : MOSA_OK;
}

const mosa_family mosa_family_llama = {
    .name = "llama",
    .gguf_archs = {"llama", "mistral"},
    .hf_types = {"llama", "mistral"},
    .gguf_rotary_pairs = true,
    .configure = configure,
    .block = mosa_moe_prenorm_block,
};
