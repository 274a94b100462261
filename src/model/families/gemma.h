// What the Gemma families share.
#ifndef MOSA_MODEL_FAMILIES_GEMMA_H
#define MOSA_MODEL_FAMILIES_GEMMA_H

#include "model/family.h"

// Embedding scale, norms, activation and the scale of scores: 1/sqrt(query_pre_attn_scalar). GGUF files do not hold
// that number; it is the head width, but D / H in the 27B model, which is known by its layers.
mosa_status mosa_gemma_configure(const mosa_model_source *source, int layers_27b, mosa_model_config *config,
                                 mosa_error *err);

#endif
