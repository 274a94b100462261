// What a load test will ask for, and when: made before it starts, a pure function of options and seed.
//
// Prompts are random token ids, so that lengths are exact with any tokenizer; all of a plan (or of each of its groups)
// begin with the same prefix. Traces give arrival times and lengths of real traffic.
// Ownership: the plan owns its requests. Thread: any.
#ifndef MOSA_CLI_LOAD_PLAN_H
#define MOSA_CLI_LOAD_PLAN_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MOSA_LOAD_REQUESTS_MAX = 10000000, MOSA_LOAD_TOKENS_MAX = 1 << 24, MOSA_LOAD_FIRST_TOKEN = 3 };

typedef enum mosa_load_arrival {
    MOSA_LOAD_POISSON,  // exponential gaps
    MOSA_LOAD_CONSTANT, // equal gaps
    MOSA_LOAD_TRACE,    // as the trace says, divided by `speed`
} mosa_load_arrival;

typedef struct mosa_load_options {
    const char *trace; // .csv (TIMESTAMP,ContextTokens,GeneratedTokens) or .jsonl (timestamp in ms,
                       // input_length, output_length); NULL = random lengths
    int64_t requests;  // at most, of a trace
    mosa_load_arrival arrival;
    double rate;                                 // requests per second; INFINITY = all at once; not for MOSA_LOAD_TRACE
    double speed;                                // a trace's time runs this much faster
    double length_scale;                         // factor on a trace's lengths
    int64_t input_tokens, output_tokens;         // random lengths: means ...
    double range_ratio;                          // ... and each is uniform in mean * [1 - ratio, 1 + ratio]
    int64_t max_input_tokens, max_output_tokens; // cut a trace's; 0 = no limit
    int64_t prefix_tokens, prefix_groups;        // shared beginnings, before the prompt's own tokens
    int64_t vocab;                               // ids are below
    uint64_t seed;
} mosa_load_options;

typedef struct mosa_load_request {
    double at_s; // from the start, rising
    int64_t prefix_tokens, input_tokens, output_tokens;
    int64_t group; // whose prefix
    int64_t index; // seeds its own tokens
} mosa_load_request;

typedef struct mosa_load_plan {
    mosa_load_request *requests; // (count)
    size_t count;
} mosa_load_plan;

// MOSA_EINVALID, MOSA_ECORRUPT (a trace's line, which is named), MOSA_ENOTFOUND, MOSA_ENOMEM.
mosa_status mosa_load_plan_make(const mosa_load_options *options, mosa_load_plan *out, mosa_error *err) MOSA_MUST_USE;
void mosa_load_plan_finish(mosa_load_plan *plan); // safe on a zeroed struct

// Token `at` of a request's prompt, below prefix_tokens + input_tokens.
int32_t mosa_load_token(const mosa_load_options *options, const mosa_load_request *request, int64_t at);

#endif
