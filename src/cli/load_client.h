// Runs a plan against an OpenAI-compatible server: one thread, libcurl's multi interface, streamed completions.
//
// A request is sent when its time has come and a slot is free; its clock starts when it is sent. Times are of the
// chunks that carry text, as they arrive.
#ifndef MOSA_CLI_LOAD_CLIENT_H
#define MOSA_CLI_LOAD_CLIENT_H

#include "cli/load_plan.h"

typedef struct mosa_load_target {
    const char *base_url; // "http://127.0.0.1:8000"
    const char *endpoint; // "/v1/completions"
    const char *model;
    const char *api_key;     // NULL = none
    int64_t max_concurrency; // at the same time; 0 = 4096, which is the most
    int64_t timeout_ms;      // of one request
    bool progress;           // a line on standard error while it runs
} mosa_load_target;

typedef struct mosa_load_result {
    bool ok;
    double sent_s, first_s, last_s;      // from the start of the run; first_s and last_s of its chunks
    int64_t input_tokens, output_tokens; // as the server counts, else as planned and as chunks came
    float *gaps_ms;                      // (n_gaps) between its chunks
    size_t n_gaps, cap_gaps;
    char fault[160]; // why it failed
} mosa_load_result;

typedef struct mosa_load_run {
    mosa_load_result *results; // (count) in the order of the plan
    size_t count;
    double duration_s;
    int64_t peak; // requests at the same time
} mosa_load_run;

// Blocks until every request has ended. A request that fails is a result; only a client that cannot go on is an error.
mosa_status mosa_load_run_plan(const mosa_load_target *target, const mosa_load_options *options,
                               const mosa_load_plan *plan, mosa_load_run *out, mosa_error *err) MOSA_MUST_USE;
void mosa_load_run_finish(mosa_load_run *run); // safe on a zeroed struct

#endif
