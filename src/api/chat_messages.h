// From a body's messages and tools to the token ids that the model's chat template makes of them.
#ifndef MOSA_API_CHAT_MESSAGES_H
#define MOSA_API_CHAT_MESSAGES_H

#include "api/http.h"

// tools: those that the model is shown, or NULL. False with request->error. *tokens is malloc'ed, the caller's. Changes
// request->json's messages in place: parts of text are joined, "developer" becomes "system", arguments of tool calls
// become objects.
bool mosa_chat_tokenize(mosa_http_request *request, json_t *tools, int32_t **tokens, size_t *n_tokens);

#endif
