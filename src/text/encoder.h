// What one encode call carries through the pipeline: private to the tokenizer's files.
#ifndef MOSA_TEXT_ENCODER_H
#define MOSA_TEXT_ENCODER_H

#include "text/bpe.h"
#include "text/regex.h"
#include "text/tokenizer_spec.h"

typedef struct mosa_encoder {
    const mosa_tokenizer *tokenizer;
    mosa_token_list *out;
    mosa_error *err;
    mosa_buf normal[2];                 // normaliser steps go back and forth between them
    mosa_buf stage[2 * MOSA_STEPS_MAX]; // text that a pre-tokenizer step rewrote; lives while the steps behind it run
    mosa_buf word;                      // byte-level text turned back to bytes
    mosa_bpe_scratch bpe;
    mosa_regex_scratch regex;
    void *lattice; // unigram's table
    size_t lattice_capacity;
} mosa_encoder;

void mosa_encoder_init(mosa_encoder *encoder, const mosa_tokenizer *tokenizer, mosa_token_list *out, mosa_error *err);
void mosa_encoder_finish(mosa_encoder *encoder);

// A pre-tokenized word goes to the model.
mosa_status mosa_encoder_word(mosa_encoder *encoder, mosa_slice word) MOSA_MUST_USE;

#endif
