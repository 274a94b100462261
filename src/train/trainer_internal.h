// What the files of the trainer share: sums over batches, and the trainer itself.
#ifndef MOSA_TRAIN_TRAINER_INTERNAL_H
#define MOSA_TRAIN_TRAINER_INTERNAL_H

#include "train/checkpoint_saver.h"
#include "train/guard.h"
#include "train/preference.h"
#include "train/trainer.h"

// Sums over batches: divided by `weight` they are means.
typedef struct mosa_train_sums {
    double loss;                                       // sum of coef * -logp, or of the losses of pairs
    double weight;                                     // sum of coef, or the number of pairs
    double rows;                                       // tokens that went through the model
    double labels;                                     // rows that count
    double correct;                                    // of them, right
    double entropy;                                    // sum over them
    double nll;                                        // sum of -logp over them
    double flops;                                      //
    double reward_chosen, reward_rejected, chosen_won; // pairs; KTO: sums over good and bad examples
    double n_good, n_bad;                              // KTO
} mosa_train_sums;

enum { MOSA_TRAIN_SUMS = sizeof(mosa_train_sums) / sizeof(double) };

void mosa_train_sums_add(mosa_train_sums *to, const mosa_train_sums *from);

struct mosa_trainer {
    mosa_trainer_options options;
    const mosa_train_config *config;
    const mosa_train_plan *plan;
    mosa_step *step;
    const mosa_params *params;
    float *weights, *grads;
    mosa_pool *pool;
    mosa_optimizer *optimizer;
    mosa_grad_norm norm;
    mosa_guard guard;
    mosa_checkpoint_saver *saver; // NULL when nothing is saved
    mosa_run_log *log;
    mosa_train_cost cost;
    mosa_preference preference;
    bool pairs, labelled; // the stage's units
    float **reference;    // (n_stores) of each store's examples; NULL when none is needed
    float **eval_reference;
    mosa_checkpoint *resume; // until it has been restored

    // position
    int64_t number;         // optimiser steps taken
    int64_t *epoch_batches; // (n_epochs)
    int64_t *epoch_steps;   // (n_epochs) its batches by gradient_accumulation_steps, rounded up: an epoch ends a step
    int64_t n_epochs;
    double tokens;          // rows in all, since the run's first step
    mosa_train_sums window; // since the last log
    double window_loss;     // sum of steps' losses since the last log
    int64_t window_steps;
    double all_loss, all_steps; // since the run's first step
    double best_metric;
    int64_t best_step;
    double metric;      // of an evaluation at this very step; NaN = none
    int64_t saved_step; // of the last checkpoint that was begun; -1 = none
    double flops;

    // of this process
    uint64_t began_ns, window_ns, idle_ns; // idle: spent in evaluations and waits within the window
    mosa_train_progress progress;
    float *coef;                    // (max_rows)
    mosa_step_segment *segments;    // (max_rows)
    mosa_answer_logp *answers;      // (max_rows)
    float *slopes;                  // (max_rows) dL/dlogp of a segment
    int32_t *kl_tokens, *kl_labels; // (max_rows) KTO: prompts with the answers of others
    mosa_train_tensor *tensors;     // weights' descriptions
    int32_t max_rows;
    mosa_scalar last_eval[16];
    size_t n_last_eval;
};

// --- batches (trainer_batch.c) ------------------------------------------------------------------------------------

// Forward and, unless `evaluate`, backward of one batch. `reference`: of its stores, or NULL.
mosa_status mosa_trainer_batch(mosa_trainer *t, const mosa_data_batch *batch, float *const *reference, bool evaluate,
                               mosa_train_sums *sums, mosa_error *err);
// Fills t->reference: log-probabilities of every example under the model as it stands, or under its base without
// adapter; kept in the run's folder, so that they are computed once.
mosa_status mosa_trainer_references(mosa_trainer *t, mosa_error *err);

// --- evaluation (trainer_eval.c) ----------------------------------------------------------------------------------

mosa_status mosa_trainer_evaluate(mosa_trainer *t, double epoch, mosa_error *err);
// The metrics of a window as scalars named with `prefix`; returns their number (at most 12).
size_t mosa_trainer_scalars(const mosa_trainer *t, const mosa_train_sums *sums, bool evaluate, mosa_scalar *out);

// --- checkpoints (trainer_state.c) --------------------------------------------------------------------------------

mosa_status mosa_trainer_save(mosa_trainer *t, double epoch, mosa_error *err);
mosa_status mosa_trainer_find_resume(mosa_trainer *t, mosa_error *err);
mosa_status mosa_trainer_restore(mosa_trainer *t, mosa_error *err); // from t->resume
mosa_status mosa_trainer_restore_best(mosa_trainer *t, mosa_error *err);
uint64_t mosa_trainer_fingerprint(const mosa_trainer *t); // of the data: a checkpoint is for it alone
void mosa_trainer_state_text(const mosa_trainer *t, double epoch, mosa_buf *out); // trainer_state.json

#endif
