// What `mosa train` prints: the plan before it begins, a bar while it runs, rows of metrics, the card of the result.
#ifndef MOSA_CLI_TRAIN_SHOW_H
#define MOSA_CLI_TRAIN_SHOW_H

#include "cli/train_data.h"
#include "train/trainer.h"

typedef struct train_show {
    const mosa_train_config *config;
    const mosa_train_plan *plan;
    bool bar; // standard error is a terminal
    uint64_t drawn_ns;
} train_show;

void train_show_plan(const train_show *show, const char *model, const mosa_step *step, const train_set *train,
                     const train_set *eval, const mosa_train_cost *cost, const char *device, int32_t rows);
// Callbacks of mosa_train_watch; `user` is a train_show.
void train_show_progress(void *user, const mosa_train_progress *progress);
void train_show_row(void *user, int64_t step, double epoch, const mosa_scalar *scalars, size_t count);
void train_show_note(void *user, const char *text);
void train_show_clear(const train_show *show);

// README.md of the result: what it was made from, how, and what came out.
void train_card(const train_show *show, const char *model, const train_set *train, const mosa_train_cost *cost,
                const mosa_train_result *result, const char *verified, mosa_buf *out);

#endif
