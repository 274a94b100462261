// Normalisers: rewrite a text before it is cut into words.
#ifndef MOSA_TEXT_NORMALIZER_H
#define MOSA_TEXT_NORMALIZER_H

#include "text/charsmap.h"
#include "text/encoder.h"
#include "text/trie.h"

typedef struct mosa_normalizer {
    mosa_normalizer_spec spec; // strings copied
    mosa_regex *regex;
    mosa_charsmap map;
    const mosa_trie *verbatim; // SentencePiece: keys that pass unchanged (user-defined tokens), or NULL
} mosa_normalizer;

mosa_status mosa_normalizer_build(mosa_normalizer *step, mosa_arena *arena, const mosa_normalizer_spec *spec,
                                  const char *source, mosa_error *err) MOSA_MUST_USE;
void mosa_normalizer_finish(mosa_normalizer *step);

// Runs steps[0..count) over well-formed UTF-8. *result borrows from `text` or from encoder->normal, until the next
// call.
mosa_status mosa_normalize(mosa_encoder *encoder, const mosa_normalizer *steps, size_t count, mosa_slice text,
                           mosa_slice *result) MOSA_MUST_USE;

#endif
