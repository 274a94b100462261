// A run's data: names and files to token stores, held-out parts cut off, loaders over both.
#ifndef MOSA_CLI_TRAIN_DATA_H
#define MOSA_CLI_TRAIN_DATA_H

#include "base/pool.h"
#include "text/model_text.h"
#include "train/config.h"
#include "train/data/loader.h"

typedef struct train_set {
    mosa_store **stores; // (n_stores) open
    const char **names;  // (n_stores) as the user gave them
    size_t n_stores;
    mosa_loader *loader; // NULL until train_set_load
    uint64_t examples, tokens, supervised;
    double weight_sum;
    int32_t longest; // tokens
} train_set;

// Reads, checks and tokenizes everything; prints faults with file and line to standard error. Stores are kept in the
// run's folder and made anew only when files or settings have changed. *eval has no store when nothing is held out.
mosa_status train_data_prepare(const mosa_train_config *config, const mosa_train_plan *plan,
                               const mosa_model_text *text, mosa_pool *pool, mosa_arena *arena, train_set *train,
                               train_set *eval, mosa_error *err);

// Rows of a batch.
int32_t train_data_rows(const mosa_train_config *config, const mosa_train_plan *plan, const train_set *train,
                        const train_set *eval);
mosa_status train_set_load(train_set *set, const mosa_train_config *config, const mosa_train_plan *plan, int32_t rows,
                           bool evaluate, mosa_error *err);
void train_set_finish(train_set *set); // safe on a zeroed struct

#endif
