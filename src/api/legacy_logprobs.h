// The log-probabilities of /v1/completions: four parallel arrays over the tokens.
//
// Tokens are collected as records in a buffer, and written as arrays when a chunk or the answer is complete.
#ifndef MOSA_API_LEGACY_LOGPROBS_H
#define MOSA_API_LEGACY_LOGPROBS_H

#include "base/str.h"
#include "mosa/mosa.h"

struct mosa_api_model;

// Adds a token. n_top 0 and no_logprob for the first token of a prompt, which nothing predicts. *offset counts
// characters.
void mosa_legacy_logprobs_add(const struct mosa_api_model *model, mosa_buf *records, const mosa_event *event,
                              bool no_logprob, int64_t *offset);
// Appends {"text_offset":[...],"token_logprobs":[...],"tokens":[...],"top_logprobs":[...]}.
void mosa_legacy_logprobs_write(const struct mosa_api_model *model, mosa_slice records, mosa_buf *out);

#endif
