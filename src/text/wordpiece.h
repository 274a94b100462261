// WordPiece: the longest token at the start of a word, then the longest continuation, until the word is used up.
#ifndef MOSA_TEXT_WORDPIECE_H
#define MOSA_TEXT_WORDPIECE_H

#include "text/tokenizer_spec.h"
#include "text/trie.h"

typedef struct mosa_wordpiece {
    mosa_trie start; // tokens as spelled
    mosa_trie inner; // tokens that begin with the prefix, without it
    int32_t unk;
    size_t word_chars_max;
} mosa_wordpiece;

mosa_status mosa_wordpiece_build(mosa_wordpiece *wordpiece, const mosa_tokenizer_spec *spec, const mosa_slice *text,
                                 mosa_error *err) MOSA_MUST_USE;
void mosa_wordpiece_finish(mosa_wordpiece *wordpiece);
// Appends the ids of one word; the unknown token when some part of it has no token or it is too long.
void mosa_wordpiece_encode(const mosa_wordpiece *wordpiece, mosa_slice word, mosa_token_list *out);

#endif
