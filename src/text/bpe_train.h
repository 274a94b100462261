// Training a byte-level BPE vocabulary: the most frequent pair of neighbouring symbols becomes a token, again and
// again.
//
// The result is that of Hugging Face's BpeTrainer with a ByteLevel alphabet, token for token and merge for merge: ids
// are the special tokens, the 256 bytes in the order of their visible characters, then the merges; the pair with the
// higher count comes first, of equal ones that with the smaller ids. Where two merges make the same bytes they share
// the token. Source: arXiv 1508.07909; order of ties: the tokenizers library.
// Thread: reentrant; `progress` is called by the calling thread.
#ifndef MOSA_TEXT_BPE_TRAIN_H
#define MOSA_TEXT_BPE_TRAIN_H

#include "base/status.h"
#include "text/word_counts.h"

typedef struct mosa_bpe_train_options {
    size_t vocab_size;      // tokens in all, special ones and bytes included; at most MOSA_VOCAB_MAX
    uint64_t min_frequency; // a pair that occurs less often is not merged; 0 counts as 1
    const mosa_slice *special;
    size_t n_special;
    void (*progress)(void *user, size_t tokens); // now and then; may be NULL
    void *user;
} mosa_bpe_train_options;

typedef struct mosa_bpe_pair {
    uint32_t left, right; // token ids
} mosa_bpe_pair;

typedef struct mosa_bpe_vocab {
    mosa_slice *tokens; // (n_tokens) by id: bytes; of special tokens their text
    size_t n_tokens, n_special;
    mosa_bpe_pair *merges; // (n_merges) best first
    size_t n_merges;
    mosa_arena arena; // owns everything
} mosa_bpe_vocab;

// MOSA_EINVALID (vocab_size below specials + 256 or out of range, equal special tokens), MOSA_ENOMEM. *out is written
// on success and released by mosa_bpe_vocab_finish.
MOSA_MUST_USE mosa_status mosa_bpe_train(const mosa_word_counts *words, const mosa_bpe_train_options *options,
                                         mosa_bpe_vocab *out, mosa_error *err);
void mosa_bpe_vocab_finish(mosa_bpe_vocab *vocab); // safe on a zeroed struct

#endif
