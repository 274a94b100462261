// Unigram language model: the segmentation with the highest sum of log-probabilities (Viterbi).
#ifndef MOSA_TEXT_UNIGRAM_H
#define MOSA_TEXT_UNIGRAM_H

#include "base/arena.h"
#include "text/tokenizer_spec.h"
#include "text/trie.h"

typedef struct mosa_unigram {
    mosa_trie trie;        // token text -> id
    double *scores;        // by id
    uint8_t *user_defined; // by id; sentencepiece only
    double unk_score, score_max;
    size_t token_bytes_max; // of the longest token, at least one character
    int32_t unk;
    int32_t bytes[256]; // byte_fallback: tokens of bytes, -1 = none
    bool byte_fallback, fuse_unk;
    bool single; // path scores are rounded to float at every step, as in sentencepiece
} mosa_unigram;

// `text` by id; data NULL = the model cannot make it. `by_spelling` finds byte tokens.
mosa_status mosa_unigram_build(mosa_unigram *unigram, mosa_arena *arena, const mosa_tokenizer_spec *spec,
                               const mosa_slice *text, const int32_t bytes[256], mosa_error *err) MOSA_MUST_USE;
void mosa_unigram_finish(mosa_unigram *unigram);

// Appends the ids of `text` (well-formed UTF-8). *lattice and *capacity are scratch, grown as needed, freed by the
// caller. Errors: MOSA_ENOMEM; MOSA_EINVALID when a character has no token and there is no unknown token.
mosa_status mosa_unigram_encode(const mosa_unigram *unigram, void **lattice, size_t *capacity, mosa_slice text,
                                mosa_token_list *out, mosa_error *err) MOSA_MUST_USE;

#endif
