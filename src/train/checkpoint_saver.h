// Checkpoints of a run, written: a thread of its own, atomic, keeping the last and the best.
//
// save() hands the thread borrowed tensors. Weights and moments change only in an optimiser step, so that no copy is
// needed: the next forward and backward run beside the thread, and settle() before the next step waits until it has
// read them all. fsync and rename go on after that.
//
// State of a save: idle -> reading (tensors are borrowed) -> syncing (they are free again) -> idle.
// A failure (a full disk) removes what was begun, leaves every earlier checkpoint, and is told by wait(). Old ones go
// only once the new one is durable. Thread: one at a time; the object's own thread works inside.
#ifndef MOSA_TRAIN_CHECKPOINT_SAVER_H
#define MOSA_TRAIN_CHECKPOINT_SAVER_H

#include "base/str.h"
#include "train/checkpoint.h"

typedef struct mosa_checkpoint_file {
    const char *name; // plain: no folder
    mosa_slice bytes;
} mosa_checkpoint_file;

typedef struct mosa_checkpoint_content {
    int64_t step;
    double metric;                    // for keep_best; NaN = none
    const mosa_train_tensor *weights; // (n_weights); the array and its data are borrowed until settle() returns
    size_t n_weights;
    const mosa_train_tensor *moments; // (n_moments), likewise
    size_t n_moments;
    const json_t *state;               // copied by save
    const mosa_checkpoint_file *files; // (n_files) copied by save
    size_t n_files;
} mosa_checkpoint_content;

typedef struct mosa_checkpoint_saver_options {
    const char *run;        // folder, must exist; copied
    int64_t keep_last;      // 0 = all
    int64_t keep_best;      // further ones by metric; 0 = none
    bool greater_is_better; // of the metric
} mosa_checkpoint_saver_options;

typedef struct mosa_checkpoint_saver mosa_checkpoint_saver;

// Removes what a crashed run had begun. MOSA_EIO, MOSA_ENOMEM.
MOSA_MUST_USE mosa_status mosa_checkpoint_saver_create(const mosa_checkpoint_saver_options *options,
                                                       mosa_checkpoint_saver **out, mosa_error *err);
void mosa_checkpoint_saver_destroy(mosa_checkpoint_saver *saver); // NULL-safe; ends the save that is under way

// Begins a save, waiting for an earlier one first (its failure is logged and forgotten). A checkpoint of the same step
// is replaced. MOSA_ENOMEM.
MOSA_MUST_USE mosa_status mosa_checkpoint_saver_save(mosa_checkpoint_saver *saver,
                                                     const mosa_checkpoint_content *content, mosa_error *err);
void mosa_checkpoint_saver_settle(mosa_checkpoint_saver *saver); // returns once the tensors may change
// Returns once the last save has ended, with its outcome; MOSA_OK when it was told before or there was none.
MOSA_MUST_USE mosa_status mosa_checkpoint_saver_wait(mosa_checkpoint_saver *saver, mosa_error *err);

#endif
