// Chunks of a streamed chat answer, and the format of chat answers (call.h).
#ifndef MOSA_API_CHAT_CHUNK_H
#define MOSA_API_CHAT_CHUNK_H

#include "api/call.h"

// Begin writes up to {"index":I,"delta":{ ; the caller the delta's members, its brace, and what stands behind it; end
// the finish reason (NULL = null).
void mosa_chat_chunk_begin(mosa_call *call, const mosa_choice *choice);
void mosa_chat_chunk_end(mosa_call *call, const char *finish_reason);

extern const mosa_call_format mosa_chat_format;

#endif
