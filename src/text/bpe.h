// Byte pair encoding of one word: merge the pair of best rank, leftmost first, until no pair merges.
//
// One algorithm serves byte-level BPE (units are bytes), character BPE (Hugging Face) and SentencePiece BPE (pairs are
// derived from the vocabulary). Short words are merged in arrays on the stack, long ones with a linked list and a heap
// in O(n log n). Immutable after building, but for a memo of which tokens their own text merges to, kept in relaxed
// atomic bytes: every thread that fills an entry writes the same value.
#ifndef MOSA_TEXT_BPE_H
#define MOSA_TEXT_BPE_H

#include "base/arena.h"
#include "text/string_table.h"
#include "text/tokenizer_spec.h"
#include "text/trie.h"

typedef struct mosa_bpe_merge {
    int32_t left, right; // symbols; left -1 when free
    uint32_t rank;
    int32_t result;
} mosa_bpe_merge;

typedef struct mosa_bpe {
    mosa_string_table words; // text that the model may produce -> token; byte-level: raw bytes
    mosa_slice *word_text;   // keys of words, by symbol: tokens, then extra characters
    int32_t token_count;     // symbols from here on are characters that are no token but start one
    mosa_bpe_merge *merges;  // hash table
    uint32_t merge_mask;
    uint8_t *memo;      // per token: MEMO_* in bpe.c
    int32_t bytes[256]; // byte-level: symbol of a byte; with byte_fallback: its token; -1 = none
    int32_t unk;        // -1 = characters without a token are dropped
    bool byte_level, byte_fallback, fuse_unk, ignore_merges;
    bool fuse_across_words; // SentencePiece: the text is one word, wherever we cut it
    bool cut_at_marker;     // no token has "▁" behind another character: words may be cut before one
    mosa_slice subword_prefix, word_suffix;
    const mosa_trie *verbatim; // user-defined pieces: one symbol that never merges; NULL = none
} mosa_bpe;

typedef struct mosa_bpe_scratch { // per call; zero-initialise, release with mosa_bpe_scratch_finish
    void *symbols, *heap;
    size_t symbol_capacity, heap_capacity;
    bool last_was_unk;
} mosa_bpe_scratch;
void mosa_bpe_scratch_finish(mosa_bpe_scratch *scratch);

// `text`: what a token looks like to the model (for byte-level: raw bytes), by id; data NULL = the model cannot make
// it. `by_spelling` finds the tokens that listed merges name.
mosa_status mosa_bpe_build(mosa_bpe *bpe, mosa_arena *arena, const mosa_tokenizer_spec *spec, const mosa_slice *text,
                           const mosa_string_table *by_spelling, bool byte_level, mosa_error *err);

// Appends the ids of one word (byte-level: raw bytes; else well-formed UTF-8). False when out of memory.
bool mosa_bpe_encode(const mosa_bpe *bpe, mosa_bpe_scratch *scratch, mosa_slice word, mosa_token_list *out);

#endif
