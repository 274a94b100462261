// A chat body's tools: which the model is shown, which it may call, and whether it must.
#ifndef MOSA_API_CHAT_TOOLS_H
#define MOSA_API_CHAT_TOOLS_H

#include "api/http.h"

enum { MOSA_TOOLS_MAX = 128, MOSA_TOOL_NAME_MAX = 64 };

typedef struct mosa_chat_tools {
    json_t *shown;    // for the template; NULL = none. Borrowed from the body
    json_t *callable; // the tools that may be called; NULL = none. The caller's reference
    bool forced;      // at least one call must be made
    bool parallel;    // more than one may be made
    bool strict;      // some function's arguments must follow its schema also when it is not forced
} mosa_chat_tools;

// Reads tools, tool_choice and parallel_tool_calls. False with request->error, param naming the field that is wrong or
// contradicts another. The caller calls mosa_chat_tools_finish in any case.
bool mosa_chat_tools_read(mosa_http_request *request, mosa_chat_tools *out);
void mosa_chat_tools_finish(mosa_chat_tools *tools);

#endif
