// bert: BERT, RoBERTa and XLM-RoBERTa encoders, as embedding models and, with one label, as cross-encoders that score a
// pair of texts. RoBERTa's table of positions begins with rows for padding; GGUF converters leave them out.
// Sources: arXiv 1810.04805, 1907.11692, 1911.02116.
#include "model/encoder.h"
#include "model/family.h"

#include <string.h>

// Relatives of BERT keep its name and bend its attention by distance instead.
static mosa_status refuse_positions(const mosa_hf_config *hf, mosa_error *err) {
    const char *kind = "absolute";
    if (hf) MOSA_TRY(mosa_hf_config_str_or(hf, "position_embedding_type", "absolute", &kind, err));
    if (strcmp(kind, "absolute") == 0) return MOSA_OK;
    return mosa_fail(err, MOSA_EUNSUPPORTED, "%s: position_embedding_type \"%s\" is not supported",
                     mosa_hf_config_path(hf), kind);
}

static mosa_status configure(const mosa_model_source *source, mosa_model_config *config, mosa_error *err) {
    const mosa_hf_config *hf = mosa_model_source_hf_config(source);
    int64_t pad = -1;
    MOSA_TRY(mosa_model_config_refuse(source, "is_decoder", err));
    MOSA_TRY(refuse_positions(hf, err));
    if (!hf) config->act = MOSA_ACT_GELU;
    if (hf && strcmp(mosa_model_source_arch(source), "bert") != 0)
        MOSA_TRY(mosa_hf_config_i64_or(hf, "pad_token_id", 0, 65536, 1, &pad, err));
    config->position_offset = (int)pad + 1;
    MOSA_TRY(mosa_encoder_config_read(source, config, err));
    if (!config->learned_positions)
        return mosa_fail(err, MOSA_ECORRUPT, "%s: the table of positions is missing", mosa_model_source_path(source));
    return MOSA_OK;
}

const mosa_family mosa_family_bert = {
    .name = "bert",
    .gguf_archs = {"bert"},
    .hf_types = {"bert", "roberta", "xlm-roberta"},
    .encoder = true,
    .configure = configure,
    .block = mosa_encoder_block,
};
