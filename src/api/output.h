// Pieces of answers, appended to buffers without building a tree: chunks, log-probabilities, usage.
#ifndef MOSA_API_OUTPUT_H
#define MOSA_API_OUTPUT_H

#include "api/call.h"

struct mosa_api_model;

// {"id":...,"object":...,"created":...,"model":...,"system_fingerprint":...,"choices":[
void mosa_output_prefix(const struct mosa_api_model *model, const mosa_call *call, const char *object, mosa_buf *out);

// One SSE event: begin writes "data: " and the prefix, the caller one choice (or none), end the rest.
void mosa_output_begin_chunk(mosa_call *call);
void mosa_output_end_chunk(mosa_call *call);
void mosa_output_usage_chunk(mosa_call *call); // the extra last chunk that include_usage asks for
void mosa_output_done(mosa_call *call);        // data: [DONE]

void mosa_output_usage(const mosa_call *call, mosa_buf *out); // {"prompt_tokens":...}
void mosa_output_int(mosa_buf *out, int64_t value);
void mosa_output_logprob(mosa_buf *out, float value); // -inf, which JSON lacks, is -9999
const char *mosa_output_finish_reason(mosa_finish finish);

// An entry of chat's logprobs.content: {"token":...,"logprob":...,"bytes":[...],"top_logprobs":[...]}.
void mosa_output_chat_logprob(const struct mosa_api_model *model, const mosa_event *event, mosa_buf *out);

// Whether the event's token is an end token that is not part of the answer.
bool mosa_output_is_end(const struct mosa_api_model *model, const mosa_event *event);

#endif
