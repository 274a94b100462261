// Loader of Hugging Face tokenizers: tokenizer.json, tokenizer_config.json, vocab.json with merges.txt.
#ifndef MOSA_TEXT_TOKENIZER_JSON_H
#define MOSA_TEXT_TOKENIZER_JSON_H

#include <jansson.h>

#include "text/tokenizer_spec.h"

// From parsed files. `config` is tokenizer_config.json or NULL. `source` is the name for messages. Both trees are only
// read. truncation and padding of tokenizer.json are ignored: callers decide about lengths. Errors: MOSA_ECORRUPT
// (field named), MOSA_EUNSUPPORTED (component named), MOSA_ELIMIT, MOSA_ENOMEM.
mosa_status mosa_tokenizer_from_json(const json_t *tokenizer, const json_t *config, const char *source,
                                     mosa_tokenizer **out, mosa_error *err) MOSA_MUST_USE;

// The older form of byte-level BPE tokenizers: a vocabulary object and the text of merges.txt. The pre-tokenizer
// follows config's tokenizer_class (GPT-2's pattern unless it is known to be another).
mosa_status mosa_tokenizer_from_vocab(const json_t *vocab, mosa_slice merges, const json_t *config, const char *source,
                                      mosa_tokenizer **out, mosa_error *err) MOSA_MUST_USE;

#endif
