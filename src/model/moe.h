// Feed-forward parts made of experts, as graph builders; beside decoder.h.
#ifndef MOSA_MODEL_MOE_H
#define MOSA_MODEL_MOE_H

#include "model/decoder.h"

// Reads the hyperparameters of experts that families share into config->experts: how many, how many of them a token
// uses, their width, groups, scale, the shared expert's width. Weights are normalised unless the file says otherwise.
mosa_status mosa_moe_config_read(const mosa_model_source *source, mosa_model_config *config, mosa_error *err);

// sum over the chosen experts of weight * down(act(gate x) * up x), and the shared expert's output where there is one,
// itself weighed by a sigmoid where the file has a gate for it.
mosa_value mosa_moe_ffn(mosa_decoder *decoder, mosa_value x, int layer);

// x + ffn(norm(x)), with experts, or a plain feed-forward part in a layer for which the file has no router.
mosa_value mosa_moe_add_ffn(mosa_decoder *decoder, mosa_value x, int layer);
// The block of the llama lineage with experts.
mosa_value mosa_moe_prenorm_block(mosa_decoder *decoder, mosa_value x, int layer);

#endif
