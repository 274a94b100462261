// Pre-tokenizers: cut a normalised text into the words that the model sees one by one.
//
// Steps run nested, not one after the other: each piece of a step goes through all the following steps before the next
// piece is cut, so no list of pieces is kept. Steps see only their piece, as Hugging Face's do.
#ifndef MOSA_TEXT_PRETOKENIZER_H
#define MOSA_TEXT_PRETOKENIZER_H

#include "text/encoder.h"
#include "text/scan.h"

typedef struct mosa_pretokenizer {
    mosa_pretokenizer_spec spec; // strings copied
    mosa_scan_fn scan;           // the pattern's scanner, or NULL
    mosa_regex *regex;           // else the pattern compiled, or NULL when it is a plain string
} mosa_pretokenizer;

// Builds one step. Errors name the source.
mosa_status mosa_pretokenizer_build(mosa_pretokenizer *step, mosa_arena *arena, const mosa_pretokenizer_spec *spec,
                                    const char *source, mosa_error *err) MOSA_MUST_USE;
void mosa_pretokenizer_finish(mosa_pretokenizer *step);

// Runs steps[0..count) over `text`; words go to mosa_encoder_word. `at_start`: the text starts where the input does.
mosa_status mosa_pretokenize(mosa_encoder *encoder, const mosa_pretokenizer *steps, size_t count, mosa_slice text,
                             bool at_start) MOSA_MUST_USE;

#endif
