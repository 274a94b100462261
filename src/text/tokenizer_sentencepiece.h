// Loader of SentencePiece models (a protocol buffer, conventionally *.model).
#ifndef MOSA_TEXT_TOKENIZER_SENTENCEPIECE_H
#define MOSA_TEXT_TOKENIZER_SENTENCEPIECE_H

#include "text/tokenizer.h"

// Model types unigram and BPE, with their normaliser. `source` is the name for messages. Errors: MOSA_ECORRUPT,
// MOSA_EUNSUPPORTED (model type word or char), MOSA_ELIMIT, MOSA_ENOMEM.
mosa_status mosa_tokenizer_from_sentencepiece(mosa_slice data, const char *source, mosa_tokenizer **out,
                                              mosa_error *err) MOSA_MUST_USE;

#endif
