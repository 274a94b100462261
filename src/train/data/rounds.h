// One ordered pass over the records of many files, with the work in parallel.
//
// In rounds: the caller's thread cuts records, all threads work on them, the caller's thread takes them in order.
// Memory is bounded by a round (records and bytes), and what is taken does not depend on the number of threads.
#ifndef MOSA_TRAIN_DATA_ROUNDS_H
#define MOSA_TRAIN_DATA_ROUNDS_H

#include "base/pool.h"
#include "train/data/reader.h"

typedef struct mosa_round_item {
    const mosa_reader *reader;
    uint32_t file;       // index among the files found
    mosa_raw_record raw; // borrows from the reader
    mosa_status status;  // set by work
    mosa_error error;    // likewise
    void *state;         // state_bytes, zeroed before the first use, kept from round to round
} mosa_round_item;

typedef struct mosa_rounds {
    const char *const *paths; // (n_paths) as mosa_data_files_find takes them
    size_t n_paths;
    const mosa_data_layout *layout;
    mosa_pool *pool;
    size_t state_bytes;
    // In the caller's thread, before the work of the first round that has a record. NULL = nothing to do.
    mosa_status (*begin)(void *user, const mosa_round_item *first, mosa_error *err);
    void (*work)(void *user, mosa_round_item *item);                            // in any thread
    mosa_status (*take)(void *user, mosa_round_item *item, mosa_error *err);    // in the caller's, in order
    mosa_status (*fault)(void *user, const mosa_error *fault, mosa_error *err); // a file that cannot be cut further
    mosa_status (*progress)(void *user, uint64_t done, uint64_t total, mosa_error *err); // bytes; NULL = none
    void (*finish)(void *state);                                                         // of each state; NULL = none
    void *user;
} mosa_rounds;

// Stops at the first status other than MOSA_OK that begin, take, fault or progress returns, and returns it.
MOSA_MUST_USE mosa_status mosa_rounds_run(const mosa_rounds *rounds, mosa_error *err);

// Puts "path:line: " of the item before the message of an error.
void mosa_round_place(const mosa_round_item *item, mosa_error *err);

#endif
