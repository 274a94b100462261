// Loader: stores mixed, shuffled and packed into batches, from any position and always the same.
//
// The order of an epoch is a permutation computed from (seed, epoch, index) by a Feistel network, so that nothing is
// stored. Units are taken in this order, `window` at a time, and packed into batches best-fit by length; the batches of
// a window leave in an order of their own, so that long examples do not come first. A position (epoch, window, batch)
// says exactly what comes next, and is all that a checkpoint needs; it is valid for the same stores, options and ranks.
//
// Mixing: without shares an epoch is every unit of every set once. With shares, sets are drawn in these proportions,
// and the epoch ends when the first (or the last) set has been seen whole; a set that is drawn beyond its end starts
// again in a new order, which the position covers too.
//
// Ownership: the loader borrows the stores and owns the batch that it hands out. Thread: one at a time.
#ifndef MOSA_TRAIN_DATA_LOADER_H
#define MOSA_TRAIN_DATA_LOADER_H

#include "train/data/store.h"

typedef struct mosa_loader mosa_loader;

typedef enum mosa_mix_stop {
    MOSA_MIX_FIRST, // the epoch ends with the set that is exhausted first: nothing is repeated
    MOSA_MIX_LAST,  // with the one that is exhausted last: nothing is left out
} mosa_mix_stop;

enum { MOSA_MIX_SETS_MAX = 256, MOSA_LOADER_WINDOW = 4096 };

typedef struct mosa_loader_options {
    int32_t max_rows;      // rows of a batch at most; the longest unit must fit
    int32_t max_units;     // units of a batch at most; 0 = as many as fit. 1 = no packing
    bool shuffle;          // else in the order of the files, set by set
    uint64_t seed;         //
    int32_t window;        // units packed together; 0 = MOSA_LOADER_WINDOW
    bool last_row;         // keep a row for the last token (reward models read it)
    const double *shares;  // (n_sets) > 0, or NULL
    mosa_mix_stop stop;    // with shares
    int32_t rank, n_ranks; // this loader hands out batches rank, rank + n_ranks, ...; n_ranks 0 = 1
} mosa_loader_options;

typedef struct mosa_loader_position {
    uint64_t epoch;  // from 0
    uint64_t window; // within the epoch
    uint64_t batch;  // within the window, of all ranks
} mosa_loader_position;

// Stores must be of one kind (texts and chats may be mixed) and one vocabulary. MOSA_EINVALID names the store, or the
// example that is longer than max_rows.
MOSA_MUST_USE mosa_status mosa_loader_create(const mosa_store *const *stores, size_t n_stores,
                                             const mosa_loader_options *options, mosa_loader **out, mosa_error *err);
void mosa_loader_destroy(mosa_loader *loader); // NULL-safe

// Where the next batch begins. Set: MOSA_EINVALID when the position is beyond its epoch's or window's end.
mosa_loader_position mosa_loader_get_position(const mosa_loader *loader);
MOSA_MUST_USE mosa_status mosa_loader_set_position(mosa_loader *loader, mosa_loader_position position, mosa_error *err);

// The next batch, across the ends of epochs; *batch is valid until the next call. All ranks get the same number of
// batches of an epoch: what does not fill a round of ranks at an epoch's end is left out.
MOSA_MUST_USE mosa_status mosa_loader_next(mosa_loader *loader, mosa_data_batch *batch, mosa_error *err);

// Batches of an epoch for one rank, exactly: packs the whole epoch by lengths alone.
MOSA_MUST_USE mosa_status mosa_loader_epoch_batches(mosa_loader *loader, uint64_t epoch, uint64_t *batches,
                                                    mosa_error *err);
uint64_t mosa_loader_epoch_units(const mosa_loader *loader);

// A permutation of [0, n) without a table: 6 rounds of a balanced Feistel network keyed by (seed, stream) over the next
// power of four, walked until the value is below n. For n = 1 it is 0. index < n.
uint64_t mosa_data_permute(uint64_t n, uint64_t seed, uint64_t stream, uint64_t index);

#endif
