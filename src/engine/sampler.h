// The sampler: one token from one row of logits.
//
// Order: logit bias and masked end tokens, repetition penalty (prompt and output), frequency and presence penalties
// (output), temperature, top-k, top-p over what top-k left, min-p, then a draw. The draw is a pure function of (seed,
// how many tokens were generated before), so that a sequence samples the same whatever happens around it. Reported
// log-probabilities are those of the model: before bias, penalties and temperature.
// Ties go to the smaller token id. Scratch is sized at start; sampling allocates nothing. Thread: one at a time.
#ifndef MOSA_ENGINE_SAMPLER_H
#define MOSA_ENGINE_SAMPLER_H

#include "base/status.h"
#include "mosa/mosa.h"

#include <stdint.h>

typedef struct mosa_candidate {
    float weight; // exp((logit - max) / temperature)
    int32_t token;
} mosa_candidate;

typedef struct mosa_sampler {
    int vocab;
    float *logits;              // (V) working copy
    float *weights;             // (V)
    mosa_candidate *candidates; // (V)
    int32_t *counts;            // (V) zero between calls
} mosa_sampler;

// What a sequence brings to a draw.
typedef struct mosa_sample_input {
    const float *logits; // (V) as the model gave them
    const mosa_sampling *sampling;
    const int32_t *tokens; // prompt, then output
    int32_t n_prompt, n_tokens;
    const int32_t *masked; // (n_masked) ids that may not be drawn now (end tokens before min_tokens)
    size_t n_masked;
    const uint64_t *allowed; // (ceil(V / 64)) bits of the only ids that may be drawn; NULL = all
} mosa_sample_input;

mosa_status mosa_sampler_init(mosa_sampler *sampler, int vocab, mosa_error *err);
void mosa_sampler_finish(mosa_sampler *sampler);

// -1 when no logit is finite.
int32_t mosa_sampler_draw(mosa_sampler *sampler, const mosa_sample_input *input);

// log softmax of `logits` at `token`, and the n best in top[] (best first; n <= MOSA_TOP_LOGPROBS_MAX).
float mosa_sampler_logprobs(const mosa_sampler *sampler, const float *logits, int32_t token, int n, mosa_logprob *top);

#endif
