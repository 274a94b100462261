// What a chat answer must look like: tools, output rule and reasoning brought together.
#ifndef MOSA_API_CHAT_RULE_H
#define MOSA_API_CHAT_RULE_H

#include "api/chat_tools.h"
#include "api/output_rule.h"
#include "text/dialect/answer_grammar.h"
#include "text/dialect/answer_parser.h"

typedef struct mosa_chat_rule {
    mosa_answer_options options; // of the parsers of the answer's choices; borrows from the model and the tools
    bool needs_parser;           // false: everything is content
    mosa_constraint constraint;  // of the engine's requests; borrows from the output rule and from `text`
    const char *param;           // the field to blame when the engine refuses the constraint; NULL = none
    mosa_buf text;               // of a grammar
} mosa_chat_rule;

// tokens: the prompt, whose end says whether reasoning has begun. False with request->error when the wishes contradict
// each other. The caller calls mosa_chat_rule_finish in any case.
bool mosa_chat_rule_make(mosa_http_request *request, const mosa_chat_tools *tools, const mosa_output_rule *rule,
                         const int32_t *tokens, size_t n_tokens, mosa_chat_rule *out);
void mosa_chat_rule_finish(mosa_chat_rule *rule);

#endif
