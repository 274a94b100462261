// From data files to a token store: read, validate, render, mask and tokenize, in parallel and in order.
//
// Every record is checked before a store appears: one fault anywhere refuses the whole, with file, line and remedy, and
// the faults that follow are reported too. Memory is bounded by a batch of records, not by the files. The store's bytes
// do not depend on the number of threads.
// Thread: called from one thread; callbacks run in it.
#ifndef MOSA_TRAIN_DATA_PREPARE_H
#define MOSA_TRAIN_DATA_PREPARE_H

#include "base/pool.h"
#include "text/model_text.h"
#include "train/data/format.h"
#include "train/data/reader.h"
#include "train/data/store.h"
#include "train/data/tokenize.h"

// One fault of one record; everything is borrowed for the call.
typedef struct mosa_data_issue {
    const char *path;
    uint64_t line;
    const mosa_error *error;
} mosa_data_issue;

typedef struct mosa_data_progress {
    uint64_t bytes_done, bytes_total; // of the files; total 0 = unknown
    uint64_t records, tokens;
} mosa_data_progress;

typedef struct mosa_prepare_options {
    const char *const *paths; // (n_paths) files, or folders whose files are read in order of name
    size_t n_paths;
    mosa_data_layout layout; // format and names of columns; zeroed = found out from the first record
    mosa_tokenize_options tokenize;
    bool allow_duplicate_ids;
    size_t issues_max; // reported at most; 0 = 20
    void (*on_issue)(void *user, const mosa_data_issue *issue);
    void (*on_progress)(void *user, const mosa_data_progress *progress);
    void *user;
} mosa_prepare_options;

typedef struct mosa_prepare_report {
    mosa_data_format format;
    uint64_t records, dropped, truncated, split; // `split`: records that became several examples
    uint64_t issues;                             // all of them, reported or not
    mosa_store_info store;
} mosa_prepare_report;

// Writes the store at `store_path`. MOSA_EINVALID with the first fault's words when a record is refused. *report may be
// NULL; it is filled on success.
MOSA_MUST_USE mosa_status mosa_data_prepare(const mosa_prepare_options *options, const mosa_model_text *text,
                                            mosa_pool *pool, const char *store_path, mosa_prepare_report *report,
                                            mosa_error *err);
// As above, unless the store is there already and was made from the same files (path, size, time of change), options
// and tokenizer.
MOSA_MUST_USE mosa_status mosa_data_prepare_cached(const mosa_prepare_options *options, const mosa_model_text *text,
                                                   mosa_pool *pool, const char *store_path, mosa_prepare_report *report,
                                                   mosa_error *err);

// The same path without a store: `each` gets every record's examples in order, from the calling thread; none of a
// record that was refused (its fault went to on_issue) or dropped. Borrowed for the call.
typedef struct mosa_data_result {
    const char *path;
    mosa_raw_record raw;
    mosa_data_kind kind;
    const mosa_train_example *examples; // (n_examples)
    size_t n_examples;
} mosa_data_result;
typedef mosa_status (*mosa_data_each_fn)(void *user, const mosa_data_result *result, mosa_error *err);
MOSA_MUST_USE mosa_status mosa_data_each(const mosa_prepare_options *options, const mosa_model_text *text,
                                         mosa_pool *pool, mosa_data_each_fn each, void *user,
                                         mosa_prepare_report *report, mosa_error *err);

uint64_t mosa_data_vocab_hash(const mosa_tokenizer *tokenizer);
// Of everything that a store's content depends on.
MOSA_MUST_USE mosa_status mosa_data_key(const mosa_prepare_options *options, const mosa_model_text *text, uint64_t *key,
                                        mosa_error *err);

#endif
