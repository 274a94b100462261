// Pre-tokenizers by the names of GGUF's tokenizer.ggml.pre.
#ifndef MOSA_TEXT_TOKENIZER_PRE_H
#define MOSA_TEXT_TOKENIZER_PRE_H

#include "base/status.h"
#include "base/str.h"

enum { MOSA_PRE_PATTERNS_MAX = 6 };

typedef struct mosa_pre_rules {
    const char *patterns[MOSA_PRE_PATTERNS_MAX]; // split in turn, matches and gaps both kept; then NULL
    bool ignore_merges;
    bool add_bos; // default where the file does not say
    bool nfc;     // the model's tokenizer.json normalises; the GGUF file does not record it
} mosa_pre_rules;

const mosa_pre_rules *mosa_pre_find(mosa_slice name); // NULL for an unknown name

#endif
