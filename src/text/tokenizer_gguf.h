// Loader of the tokenizer in a GGUF file's metadata (tokenizer.ggml.*).
#ifndef MOSA_TEXT_TOKENIZER_GGUF_H
#define MOSA_TEXT_TOKENIZER_GGUF_H

#include "codec/gguf.h"
#include "text/tokenizer.h"

// tokenizer.ggml.model gpt2, llama, t5 or bert. Everything is copied; the file may be closed afterwards.
// Errors: MOSA_ENOTFOUND (no tokenizer), MOSA_ECORRUPT (key named), MOSA_EUNSUPPORTED (model or pre-tokenizer named).
mosa_status mosa_tokenizer_from_gguf(const mosa_gguf *gguf, mosa_tokenizer **out, mosa_error *err) MOSA_MUST_USE;

#endif
