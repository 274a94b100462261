// Which hidden rows become an embedding, as a model's files say.
#ifndef MOSA_MODEL_POOLING_H
#define MOSA_MODEL_POOLING_H

#include "model/config.h"

// GGUF: the key pooling_type. Hugging Face: 1_Pooling/config.json, as sentence-transformers writes it.
// MOSA_POOLING_MEAN when nothing is said; MOSA_EUNSUPPORTED for other ways of pooling.
mosa_status mosa_model_pooling_read(const mosa_model_source *source, mosa_pooling *out, mosa_error *err);

#endif
