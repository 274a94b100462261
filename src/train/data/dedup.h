// Removing copies from data sets larger than memory: exact ones, and near ones by MinHash and locality-sensitive
// hashing.
//
// One pass computes a hash (and a signature) of every record into temporary files; copies are found in them, in as many
// passes as the memory asks for; a last pass writes what is kept. Of copies the first stays. Near copies are those
// whose signatures agree in `threshold` of their places; they are joined transitively. What is kept does not depend on
// threads or memory. Memory: memory_bytes, or 1/8 byte a record (9 with near) where that is more.
#ifndef MOSA_TRAIN_DATA_DEDUP_H
#define MOSA_TRAIN_DATA_DEDUP_H

#include "base/pool.h"
#include "train/data/format.h"

typedef struct mosa_dedup_options {
    const char *const *paths; // (n_paths)
    size_t n_paths;
    mosa_data_layout layout; // text_unit is read
    bool near;
    double threshold; // 0 to 1
    int permutations; // places of a signature: a multiple of 16, at most MOSA_MINHASH_MAX
    int words;        // of a shingle
    uint64_t seed;    // of the signatures
    size_t memory_bytes;
    void (*on_progress)(void *user, const char *what, uint64_t done, uint64_t total); // bytes or records
    void *user;
} mosa_dedup_options;

typedef struct mosa_dedup_report {
    uint64_t records, exact, near, kept; // exact and near: removed
    int bands, rows, passes;             // of the search for near copies
} mosa_dedup_report;

// Writes the kept records to `out_path`, whole or not at all. MOSA_EINVALID with file and line for a record that cannot
// be read.
MOSA_MUST_USE mosa_status mosa_data_dedup(const mosa_dedup_options *options, mosa_pool *pool, const char *out_path,
                                          mosa_dedup_report *report, mosa_error *err);

#endif
