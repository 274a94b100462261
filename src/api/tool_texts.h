// Tools for models whose chat template does not know them: written into the conversation as text.
#ifndef MOSA_API_TOOL_TEXTS_H
#define MOSA_API_TOOL_TEXTS_H

#include "text/chat_template.h"

// Changes `messages` in place: tools go into the system message, calls into the content of their messages, results
// become user messages; each only where the template cannot show it itself. tools: array or NULL. False when out of
// memory.
bool mosa_tool_texts_apply(const mosa_chat_capabilities *can, json_t *messages, json_t *tools);

#endif
