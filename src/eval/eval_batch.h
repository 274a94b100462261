// Many requests at once: what a task hands to the engine, and what comes back.
#ifndef MOSA_EVAL_EVAL_BATCH_H
#define MOSA_EVAL_EVAL_BATCH_H

#include "base/str.h"
#include "eval/eval.h"

enum { MOSA_EVAL_IN_FLIGHT = 64 };

typedef struct mosa_eval_job {
    int32_t *tokens; // (n_tokens) malloc'ed, owned
    size_t n_tokens;
    size_t score_from;  // prompt tokens from this index on are scored (at least 1); n_tokens = none
    int64_t max_tokens; // generated, greedily; 0 = the prompt is only scored
    const char *stop;   // ends the answer, or NULL; borrowed
    // Outcome.
    double logprob; // sum over the scored tokens, nats
    mosa_buf text;  // the answer
    bool refused;   // the engine would not run it: error says why
    mosa_error error;
} mosa_eval_job;

typedef struct mosa_eval_batch {
    mosa_eval_job *jobs; // (n_jobs)
    size_t n_jobs, capacity;
} mosa_eval_batch;

// A zeroed job, owned by the batch and valid until the next call; NULL when out of memory.
mosa_eval_job *mosa_eval_batch_add(mosa_eval_batch *batch);
void mosa_eval_batch_finish(mosa_eval_batch *batch); // safe on a zeroed struct

// Runs all jobs to their end. A job that the engine refuses is marked; any other fault ends the run.
MOSA_MUST_USE mosa_status mosa_eval_batch_run(mosa_eval_batch *batch, mosa_engine *engine,
                                              const mosa_eval_options *options, mosa_error *err);

// Tokens of a text, or of one user message through the chat template; malloc'ed.
MOSA_MUST_USE mosa_status mosa_eval_tokenize(const mosa_engine *engine, mosa_slice text, unsigned flags,
                                             int32_t **tokens, size_t *n, mosa_error *err);
MOSA_MUST_USE mosa_status mosa_eval_tokenize_user(const mosa_engine *engine, const char *message, int32_t **tokens,
                                                  size_t *n, mosa_error *err);

#endif
