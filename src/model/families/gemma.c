// What the Gemma families share.
#include "model/families/gemma.h"

#include <math.h>

mosa_status mosa_gemma_configure(const mosa_model_source *source, int layers_27b, mosa_model_config *config,
                                 mosa_error *err) {
    bool gguf = mosa_model_source_is_gguf(source);
    MOSA_TRY(mosa_model_config_refuse(source, "use_bidirectional_attention", err));
    double usual = gguf && config->layers == layers_27b ? (double)config->width / config->heads : config->head_width;
    float scalar, given;
    MOSA_TRY(mosa_model_config_number(source, NULL, "query_pre_attn_scalar", usual, &scalar, err));
    MOSA_TRY(mosa_model_config_number(source, "attention.scale", NULL, 0, &given, err));
    if (!(scalar > 0))
        return mosa_fail(err, MOSA_EINVALID, "%s: query_pre_attn_scalar is %g", mosa_model_source_path(source),
                         (double)scalar);
    config->attention_scale = given > 0 ? given : 1 / sqrtf(scalar);
    config->act = MOSA_ACT_GELU_TANH;
    config->embedding_scale = sqrtf((float)config->width);
    config->norm_plus_one = !gguf;
    return MOSA_OK;
}
