// Splitting data sets: every record goes to the part that a hash of its content and the seed names, so that copies
// never come to lie on both sides and a record stays where it is when others are added.
#ifndef MOSA_TRAIN_DATA_SPLIT_H
#define MOSA_TRAIN_DATA_SPLIT_H

#include "base/pool.h"
#include "train/data/format.h"

enum { MOSA_SPLIT_MAX = 256 };

typedef struct mosa_split_options {
    const char *const *paths; // (n_paths)
    size_t n_paths;
    mosa_data_layout layout;      // text_unit is read
    const char *const *out_paths; // (n_parts)
    const double *shares;         // (n_parts) of the records, about; summing to 1
    size_t n_parts;               // 2 to MOSA_SPLIT_MAX
    uint64_t seed;
    void (*on_progress)(void *user, uint64_t done, uint64_t total); // bytes
    void *user;
} mosa_split_options;

// counts: (n_parts) records of each part. All files appear, or none. Errors as mosa_data_dedup.
MOSA_MUST_USE mosa_status mosa_data_split(const mosa_split_options *options, mosa_pool *pool, uint64_t *counts,
                                          mosa_error *err);

#endif
