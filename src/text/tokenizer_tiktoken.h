// Loader of .tiktoken files: one line "<base64 of the token's bytes> <rank>" per token.
#ifndef MOSA_TEXT_TOKENIZER_TIKTOKEN_H
#define MOSA_TEXT_TOKENIZER_TIKTOKEN_H

#include "text/tokenizer.h"

// The file has neither pattern nor special tokens; both follow from its name: NAME.tiktoken or NAME_base.tiktoken with
// NAME one of gpt2, r50k, p50k, cl100k, o200k. Errors: MOSA_ECORRUPT (line named), MOSA_EUNSUPPORTED (name),
// MOSA_ENOMEM.
mosa_status mosa_tokenizer_from_tiktoken(mosa_slice data, const char *source, mosa_tokenizer **out,
                                         mosa_error *err) MOSA_MUST_USE;

#endif
