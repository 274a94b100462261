// Evaluation: how well a model does, as numbers that other tools would give too.
//
// A task turns a data file into requests for an engine, and their outcomes into metrics. Each is one file with one
// descriptor and one line in the table of eval.c. All requests of a task run together as one batch; answers are greedy
// or seeded, and the engine promises that neither order nor company changes them.
//
// Ownership: the engine is borrowed. Thread: the caller's, which must be the one that steps the engine.
#ifndef MOSA_EVAL_EVAL_H
#define MOSA_EVAL_EVAL_H

#include "base/arena.h"
#include "base/status.h"
#include "mosa/mosa.h"

#include <jansson.h>

typedef struct mosa_eval_options {
    const char *data;     // file of the task's format
    const char *examples; // file of worked examples to put before each question, or NULL
    int shots;            // how many of them; 0 = none
    int64_t limit;        // records (or windows) at most; 0 = all
    int64_t context;      // loss: tokens per window
    int64_t max_tokens;   // longest answer
    bool chat;            // questions go through the model's chat template
    const char *adapter;  // name of one that the engine has loaded, or NULL
    const char *outcomes; // JSON lines of every record's outcome, or NULL
    // Called now and then with the finished requests of all; may be NULL.
    void (*progress)(void *user, size_t done, size_t all);
    void *user;
} mosa_eval_options;

enum { MOSA_EVAL_METRICS_MAX = 12 };

typedef struct mosa_eval_metric {
    const char *name; // "accuracy"
    double value;
    double error; // standard error, 0 = not given
} mosa_eval_metric;

typedef struct mosa_eval_result {
    mosa_eval_metric metrics[MOSA_EVAL_METRICS_MAX]; // (n_metrics)
    int n_metrics;
    int64_t records; // that were judged
} mosa_eval_result;

typedef struct mosa_eval_task {
    const char *name;
    const char *summary; // one line
    const char *format;  // what the data file holds
    mosa_status (*run)(mosa_engine *engine, const mosa_eval_options *options, mosa_eval_result *result,
                       mosa_error *err);
} mosa_eval_task;

const mosa_eval_task *const *mosa_eval_tasks(void); // NULL-terminated
const mosa_eval_task *mosa_eval_find(const char *name);

// Adds a metric; a share of `n` records gets its binomial standard error.
void mosa_eval_add(mosa_eval_result *result, const char *name, double value);
void mosa_eval_add_share(mosa_eval_result *result, const char *name, int64_t hits, int64_t n);

#endif
