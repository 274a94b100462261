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

// parse_special: spelled-out control tokens in texts become their ids. False with request->error. The caller calls
// mosa_prompts_finish in any case.
bool mosa_prompts_read(mosa_http_request *request, const char *key, bool parse_special, mosa_prompts *out);
void mosa_prompts_finish(mosa_prompts *prompts);

#endif
