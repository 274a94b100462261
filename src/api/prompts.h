// A body's prompt or input: one text, several texts, token ids, or several lists of them.
#ifndef MOSA_API_PROMPTS_H
#define MOSA_API_PROMPTS_H

#include "api/http.h"

typedef struct mosa_prompt {
    int32_t *tokens; // (n_tokens)
    size_t n_tokens;
    mosa_slice text; // borrowed from the body; data NULL when ids were given
} mosa_prompt;

typedef struct mosa_prompts {
    mosa_prompt *items; // (count)
    size_t count;
} mosa_prompts;

// What a prompt is for. To be continued: spelled-out control tokens in a text become their ids, and room is left for
// one token of output. To be embedded: text is text.
typedef enum mosa_prompt_use { MOSA_PROMPT_CONTINUE, MOSA_PROMPT_EMBED } mosa_prompt_use;

// False with request->error. The caller calls
// mosa_prompts_finish in any case.
bool mosa_prompts_read(mosa_http_request *request, const char *key, mosa_prompt_use use, mosa_prompts *out);
void mosa_prompts_finish(mosa_prompts *prompts);

#endif
