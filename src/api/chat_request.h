// A chat request as the engine gets it: sampling, tools, the form of the output and the prompt, read from a body in the
// shape of /v1/chat/completions. APIs of other shapes rewrite their body into that one first.
//
// Thread: the handler's.
#ifndef MOSA_API_CHAT_REQUEST_H
#define MOSA_API_CHAT_REQUEST_H

#include "api/chat_rule.h"
#include "api/chat_tools.h"
#include "api/output_rule.h"
#include "api/params.h"

typedef struct mosa_chat_request {
    mosa_request_params params;
    mosa_chat_tools tools;
    mosa_output_rule output;
    mosa_chat_rule rule;
    int32_t *tokens; // (n_tokens)
    size_t n_tokens;
} mosa_chat_request;

// Reads request->json, of the model that has been chosen. `out` is zeroed by the caller, who calls
// mosa_chat_request_finish in any case. False with request->error.
bool mosa_chat_request_read(mosa_http_request *request, mosa_chat_request *out);
void mosa_chat_request_finish(mosa_chat_request *chat);

// Begins the call, with everything but what belongs to the format. False with request->error.
bool mosa_chat_request_begin(mosa_http_request *request, const mosa_chat_request *chat, const mosa_call_format *format,
                             const char *id_prefix, bool hide_reasoning);

#endif
