// nomic-bert: the BERT encoder with rotary positions, gated SiLU feed-forward, Q, K, V in one matrix and no biases but
// the norms'. Source: arXiv 2402.01613.
#include "model/encoder.h"
#include "model/family.h"

static mosa_status configure(const mosa_model_source *source, mosa_model_config *config, mosa_error *err) {
    static const char *const refused[] = {"prenorm", "rotary_emb_interleaved", "is_decoder"};
    for (size_t i = 0; i < MOSA_COUNT(refused); i++) MOSA_TRY(mosa_model_config_refuse(source, refused[i], err));
    config->act = MOSA_ACT_SILU;
    return mosa_encoder_config_read(source, config, err);
}

const mosa_family mosa_family_nomic_bert = {
    .name = "nomic-bert",
    .gguf_archs = {"nomic-bert"},
    .hf_types = {"nomic_bert"},
    .encoder = true,
    .configure = configure,
    .block = mosa_encoder_block,
};
