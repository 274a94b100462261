// What a run says of itself: metrics.jsonl, TensorBoard event files, and trainer_state.json in transformers' shape.
//
// metrics.jsonl is the truth: one object per row, in order, written by one write(2) each. A row is {"step", "epoch",
// ...}: training rows have "loss", evaluation rows "eval_loss". When a run goes on from a checkpoint, rows of later
// steps are removed first, so that no step occurs twice. trainer_state.json's log_history is these rows.
// Thread: one at a time.
#ifndef MOSA_TRAIN_RUN_LOG_H
#define MOSA_TRAIN_RUN_LOG_H

#include "base/str.h"
#include "train/tensorboard.h"

#include <jansson.h>

typedef struct mosa_run_log mosa_run_log;

enum { MOSA_RUN_LOG_SCALARS_MAX = 32 };

// `run` must exist. Rows after `resume_step` go; -1 = all go. MOSA_EIO, MOSA_ENOMEM; MOSA_ECORRUPT for a metrics.jsonl
// that is none.
MOSA_MUST_USE mosa_status mosa_run_log_open(const char *run, int64_t resume_step, mosa_run_log **out, mosa_error *err);
void mosa_run_log_close(mosa_run_log *log); // NULL-safe

// One row. Values that are not finite are written as null. Tags of TensorBoard are "train/<tag>", or "eval/<rest>" for
// tags that begin with "eval_". At most MOSA_RUN_LOG_SCALARS_MAX.
MOSA_MUST_USE mosa_status mosa_run_log_add(mosa_run_log *log, int64_t step, double epoch, const mosa_scalar *scalars,
                                           size_t count, mosa_error *err);
const json_t *mosa_run_log_rows(const mosa_run_log *log); // array of objects

// What trainer_state.json says besides its log_history.
typedef struct mosa_trainer_state {
    int64_t global_step, max_steps;
    double epoch, num_train_epochs;
    int64_t train_batch_size, logging_steps, save_steps, eval_steps;
    int64_t num_input_tokens_seen;
    double total_flos;
    double best_metric;                // NaN = none yet
    const char *best_model_checkpoint; // NULL = none
    int64_t best_global_step;
} mosa_trainer_state;

void mosa_run_log_state(const mosa_run_log *log, const mosa_trainer_state *state, mosa_buf *out); // pretty JSON

// Rows of a run for those who read it: an array. MOSA_ENOTFOUND, MOSA_ECORRUPT naming the line. A last line that was
// cut short by a crash is left out.
MOSA_MUST_USE mosa_status mosa_run_log_read(const char *run, json_t **rows, mosa_error *err);

#endif
