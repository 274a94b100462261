// The grammar of an answer: reasoning, then content or tool calls, in a dialect's own marks.
//
// Writes text in the Lark-like language of text/grammar/grammar.h. What the parser (dialect/answer_parser.h) finds in
// an output that follows it are calls of the given tools with arguments that follow their schemas.
#ifndef MOSA_TEXT_DIALECT_ANSWER_GRAMMAR_H
#define MOSA_TEXT_DIALECT_ANSWER_GRAMMAR_H

#include "text/dialect/dialect.h"
#include "text/tokenizer.h"

#include <jansson.h>

typedef enum mosa_reasoning_state {
    MOSA_REASONING_NONE,  // the answer has none
    MOSA_REASONING_MAYBE, // it may begin with some
    MOSA_REASONING_OPEN,  // the prompt has opened it
} mosa_reasoning_state;

typedef struct mosa_answer_grammar {
    const mosa_tokenizer *tokenizer;       // says which marks are control tokens
    const mosa_dialect *dialect;           // not NULL
    const mosa_reasoning_style *reasoning; // NULL: none, but for harmony
    mosa_reasoning_state state;
    const json_t *tools; // OpenAI's `tools` that may be called; NULL = none
    bool forced;         // the answer is at least one call
    bool parallel;       // there may be several
    mosa_slice content;  // what content must be, as an expression of the grammar; empty = any text
} mosa_answer_grammar;

// Appends the grammar; failure shows in the buffer.
void mosa_answer_grammar_write(const mosa_answer_grammar *what, mosa_buf *out);

// An expression for one of several texts, and one for a text that a pattern matches.
void mosa_answer_grammar_choice(const json_t *texts, mosa_buf *out);
void mosa_answer_grammar_pattern(mosa_slice pattern, mosa_buf *out);

#endif
