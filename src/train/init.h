// A model to train from scratch: a Hugging Face folder with fresh weights.
//
// Matrices and embeddings are normal with the config's initializer_range (0.02 without), norms 1, biases 0, as
// transformers does; each element is a function of (seed, tensor, index).
#ifndef MOSA_TRAIN_INIT_H
#define MOSA_TRAIN_INIT_H

#include "base/status.h"

#include <stdint.h>

// `config` is a config.json of type llama, mistral, qwen2 or qwen3; `tokenizer` a folder. `folder` is made.
// MOSA_EINVALID names the field, MOSA_EUNSUPPORTED another type.
MOSA_MUST_USE mosa_status mosa_train_init(const char *config, const char *tokenizer, uint64_t seed, const char *folder,
                                          mosa_error *err);

#endif
