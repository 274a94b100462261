// Writing a trained vocabulary as the files that Hugging Face's libraries read.
#ifndef MOSA_CLI_TOKENIZER_FILES_H
#define MOSA_CLI_TOKENIZER_FILES_H

#include "base/status.h"
#include "text/bpe_train.h"
#include "text/tokenizer_pre.h"

// Writes tokenizer.json and tokenizer_config.json into the folder, which is created. The rules' one pattern becomes the
// pre-tokenizer; the first special token is the end of text. Each file appears whole or not at all.
MOSA_MUST_USE mosa_status mosa_tokenizer_files_write(const char *folder, const mosa_bpe_vocab *vocab,
                                                     const mosa_pre_rules *rules, mosa_error *err);

#endif
