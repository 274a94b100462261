// Token store: examples as ids and loss weights in one file, ready to be read in any order.
//
// `mosa data pack` and the first moments of a training run write it; training maps it and copies from it. The file is
// written front to back with bounded memory and appears whole or not at all. Weights are kept as runs.
// Ownership: a store owns its map. Thread: a writer belongs to one thread; an open store may be read by many.
#ifndef MOSA_TRAIN_DATA_STORE_H
#define MOSA_TRAIN_DATA_STORE_H

#include "base/status.h"
#include "train/data/example.h"

#include <stdbool.h>
#include <stddef.h>

// What a store's units are.
typedef enum mosa_data_kind {
    MOSA_DATA_TEXT,     // documents or pieces of them: every token counts
    MOSA_DATA_CHAT,     // conversations, or prompts with completions
    MOSA_DATA_PAIRS,    // two examples a unit: chosen, rejected
    MOSA_DATA_LABELLED, // one example a unit, good or bad
} mosa_data_kind;
const char *mosa_data_kind_name(mosa_data_kind kind); // "text", "chat", "pairs", "labelled"

typedef struct mosa_store_info {
    mosa_data_kind kind;
    int32_t vocab_size;    // ids are below it
    uint64_t vocab_hash;   // of the tokenizer that made them: mosa_data_vocab_hash
    uint64_t key;          // of the files and options that it was made from: mosa_data_key
    uint64_t n_examples;   // units * mosa_store_unit_examples
    uint64_t n_tokens;     // of all examples
    uint64_t n_supervised; // tokens with a weight other than 0
    double weight_sum;
    int32_t longest; // tokens of the longest example
} mosa_store_info;

static inline int mosa_store_unit_examples(mosa_data_kind kind) {
    return kind == MOSA_DATA_PAIRS ? 2 : 1;
}

// --- writing --------------------------------------------------------------------------------------------------------

typedef struct mosa_store_writer mosa_store_writer;

// `info`: kind, vocab_size, vocab_hash and key are taken; the rest is counted.
MOSA_MUST_USE mosa_status mosa_store_writer_create(const char *path, const mosa_store_info *info,
                                                   mosa_store_writer **out, mosa_error *err);
// Copies the example. Of pairs the chosen one comes first, then its rejected one.
MOSA_MUST_USE mosa_status mosa_store_writer_add(mosa_store_writer *writer, const mosa_train_example *example,
                                                mosa_error *err);
// Makes the file visible. *info gets the totals; may be NULL. MOSA_EINVALID when there is no example.
MOSA_MUST_USE mosa_status mosa_store_writer_commit(mosa_store_writer *writer, mosa_store_info *info, mosa_error *err);
void mosa_store_writer_destroy(mosa_store_writer *writer); // NULL-safe; removes what was not committed

// --- reading --------------------------------------------------------------------------------------------------------

typedef struct mosa_store mosa_store;

// MOSA_ENOTFOUND, MOSA_EIO, MOSA_ECORRUPT (also for a file that was cut short), MOSA_EUNSUPPORTED (version).
MOSA_MUST_USE mosa_status mosa_store_open(const char *path, mosa_store **out, mosa_error *err);
void mosa_store_close(mosa_store *store); // NULL-safe
const mosa_store_info *mosa_store_get_info(const mosa_store *store);
uint64_t mosa_store_units(const mosa_store *store);

int32_t mosa_store_length(const mosa_store *store, uint64_t example); // tokens
// Copies an example: ids (n) and weight (n) have room for mosa_store_length values. The rest of *out is filled and its
// pointers are set to ids and weight. MOSA_ECORRUPT for a file whose bytes do not hold.
MOSA_MUST_USE mosa_status mosa_store_read(const mosa_store *store, uint64_t example, int32_t *ids, float *weight,
                                          mosa_train_example *out, mosa_error *err);

#endif
