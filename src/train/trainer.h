// The loop of a training run: batches to gradients to optimiser steps, with metrics, evaluations and checkpoints.
//
//   for each step: grads = 0; for each batch: forward, backward, sums; norm; guard; settle the checkpoint that is being
//   written; optimiser; refresh; then log, evaluate, save as the settings say
//
// The loss of a step is a sum over all its batches divided by a count over all its batches, so the gradient does not
// depend on how they were cut. A run that is stopped at any instant and begun again continues with the same bits: what
// is not in the checkpoint is a function of the seed, the step and the files.
// Ownership: borrows step, loaders, stores and settings, which must outlive it. Thread: one.
#ifndef MOSA_TRAIN_TRAINER_H
#define MOSA_TRAIN_TRAINER_H

#include "train/config.h"
#include "train/data/loader.h"
#include "train/run_log.h"
#include "train/step.h"

typedef struct mosa_trainer mosa_trainer;

typedef struct mosa_train_progress {
    int64_t step, total_steps;
    double epoch;
    double loss;           // of the last step; NaN before the first
    double learning_rate;  // of the last step
    double grad_norm;      // of the last step, before clipping
    double tokens_per_s;   // rows over the time since the last log, evaluations and waits for checkpoints left out
    double share_of_peak;  // of the device's f32 rate; 0 = not known
    double seconds_left;   // NaN = not known yet
    int64_t tokens;        // rows so far
    const char *doing;     // "train", "evaluate", "reference"
    int64_t part, n_parts; // of an evaluation
} mosa_train_progress;

// Callbacks, in the trainer's thread. All may be NULL.
typedef struct mosa_train_watch {
    void *user;
    void (*progress)(void *user, const mosa_train_progress *progress); // after each batch
    void (*logged)(void *user, int64_t step, double epoch, const mosa_scalar *scalars, size_t count); // each row
    void (*note)(void *user, const char *text); // skipped steps, checkpoints that failed
    bool (*stop)(void *user);                   // asked after each step
} mosa_train_watch;

typedef struct mosa_trainer_options {
    const mosa_train_config *config; // output_dir exists
    const mosa_train_plan *plan;
    mosa_step *step;
    mosa_loader *loader, *eval_loader; // eval_loader may be NULL
    const mosa_store *const *stores;   // (n_stores) of loader
    size_t n_stores;
    const mosa_store *const *eval_stores; // (n_eval_stores) of eval_loader
    size_t n_eval_stores;
    int32_t max_rows;         // of a batch, as given to step and loaders
    int threads;              // of the optimiser; 0 = every CPU
    double peak_f32;          // operations per second; 0 = not known
    const char *const *files; // (n_files) paths of files that checkpoints carry along: tokenizer.json, config.json, ...
    size_t n_files;
    mosa_train_watch watch;
} mosa_trainer_options;

typedef struct mosa_train_result {
    int64_t first_step, steps; // where this run began; optimiser steps in all
    double epoch;
    bool stopped;      // before its end, by `stop`; a checkpoint was saved
    double train_loss; // mean over all steps
    double seconds;
    int64_t tokens; // rows of this run
    double flops;
    int64_t skipped;      // steps that the guard left out
    double best_metric;   // NaN = none
    int64_t best_step;    // -1 = none
    mosa_scalar eval[16]; // of the last evaluation
    size_t n_eval;
} mosa_train_result;

// What a run will take, known before it begins.
typedef struct mosa_train_cost {
    mosa_step_memory memory;
    size_t optimizer_bytes;
    uint64_t checkpoint_bytes; // of one
    int64_t checkpoints;       // kept at the same time, the one being written included
    uint64_t disk_free, disk_needed;
    int64_t total_steps, first_step; // first_step > 0: it goes on from a checkpoint
    double epochs;
    uint64_t batches_per_epoch; // of the first
} mosa_train_cost;

// Counts the steps, allocates, finds and opens the checkpoint to go on from, and checks the disk. MOSA_EINVALID when
// the checkpoint is of other data or other parameters, MOSA_EIO with a hint when the disk is too small, MOSA_ENOMEM.
MOSA_MUST_USE mosa_status mosa_trainer_create(const mosa_trainer_options *options, mosa_trainer **out, mosa_error *err);
void mosa_trainer_destroy(mosa_trainer *trainer); // NULL-safe

const mosa_train_cost *mosa_trainer_cost(const mosa_trainer *trainer);

// Runs to the end or until `stop`. Afterwards the step's weights are the result (the best checkpoint's when the
// settings say so). MOSA_ELIMIT when the guard gave up, MOSA_EIO when the last checkpoint could not be saved.
MOSA_MUST_USE mosa_status mosa_trainer_run(mosa_trainer *trainer, mosa_train_result *result, mosa_error *err);

#endif
