// Anthropic's Messages API on top of the chat machinery: its bodies become chat bodies, its answers are written here.
#ifndef MOSA_API_MESSAGES_H
#define MOSA_API_MESSAGES_H

#include "api/http.h"

// Replaces request->json, which its schema has checked, by the chat body that means the same. False with
// request->error, param naming the field that cannot be done.
bool mosa_messages_read(mosa_http_request *request);

// The choice's `extra` holds the stop sequences, each ended by a NUL.
extern const mosa_call_format mosa_messages_format;

// {"type":"error","error":{"type","message"},"request_id"}
void mosa_messages_error_append(mosa_buf *out, const mosa_api_error *error, const char *request_id);

#endif
