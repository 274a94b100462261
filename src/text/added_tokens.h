// Added tokens: spellings that are cut out of the text before the model sees it.
//
// Two sets, as in Hugging Face: those matched on the text as given and those matched after normalisation. Matching is
// leftmost, longest, without overlap. Control tokens match only inside trusted bytes.
#ifndef MOSA_TEXT_ADDED_TOKENS_H
#define MOSA_TEXT_ADDED_TOKENS_H

#include "text/tokenizer_spec.h"
#include "text/trie.h"

typedef struct mosa_added_tokens {
    mosa_added_token_spec *specs; // texts copied
    size_t count;
    mosa_trie raw;        // index into specs, of those matched as given
    mosa_trie normalized; // of the others, by their normalised spelling
    mosa_trie mixed;      // raw and, by their plain spelling, the control tokens of `normalized`
    bool has_mixed;       // else raw serves for both
} mosa_added_tokens;

// Trusted bytes: [start, end) in ascending order without touching neighbours.
typedef struct mosa_trust {
    const struct mosa_trust_span { size_t start, end; } * spans;
    size_t count;
} mosa_trust;

typedef struct mosa_added_match {
    size_t start, end; // with the spaces that the token takes along
    mosa_token_id id;
} mosa_added_match;

// First match at or after `from`; `taken` is where the previous match ended (its spaces are not taken twice).
// `trust` NULL = everything is trusted. `resume` is where the next search starts.
bool mosa_added_tokens_next(const mosa_added_tokens *added, const mosa_trie *trie, mosa_slice text,
                            const mosa_trust *trust, size_t *resume, size_t taken, mosa_added_match *match);

void mosa_added_tokens_finish(mosa_added_tokens *added);

#endif
