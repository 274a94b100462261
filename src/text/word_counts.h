// How often each word of a text occurs: a map from byte strings to counts.
//
// Bytes are copied into the map. Memory grows with the number of different words, not with the text. Not thread-safe:
// threads count into maps of their own, which are then added up.
#ifndef MOSA_TEXT_WORD_COUNTS_H
#define MOSA_TEXT_WORD_COUNTS_H

#include "base/arena.h"
#include "base/str.h"
#include "text/scan.h"

typedef struct mosa_word_count {
    mosa_slice word; // in the map's arena
    uint64_t hash;
    uint64_t count;
} mosa_word_count;

typedef struct mosa_word_counts {
    mosa_word_count *words; // (n_words) in order of first appearance
    uint32_t *slots;        // (n_slots) index + 1, 0 = free; n_slots is a power of two, at most half are used
    size_t n_words, cap_words, n_slots;
    mosa_arena arena;
    bool failed; // out of memory: counts are not to be used
} mosa_word_counts;

void mosa_word_counts_init(mosa_word_counts *counts);
void mosa_word_counts_finish(mosa_word_counts *counts); // safe on a zeroed struct
void mosa_word_counts_add(mosa_word_counts *counts, mosa_slice word, uint64_t times);
void mosa_word_counts_add_all(mosa_word_counts *counts, const mosa_word_counts *other);

// Cuts well-formed UTF-8 into words by a pre-tokenizer's scanner and counts them; what no match covers is a word too.
void mosa_word_counts_add_text(mosa_word_counts *counts, mosa_scan_fn scan, mosa_slice text);

#endif
