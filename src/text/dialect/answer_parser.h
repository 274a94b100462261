// From a model's text, as it streams, to content, reasoning and tool calls.
//
// A pure state machine: text in, deltas out through a callback. However the text is cut into pieces, the deltas joined
// by kind and call are the same. What may become a mark, or a call whose name is not known yet, is held back, at most
// MOSA_ANSWER_HELD_MAX bytes; what turns out to be neither becomes content with every byte. Blanks around reasoning and
// calls are dropped, as the templates put them there.
//
// A call is announced when its name is known and its arguments begin; from then on it cannot be taken back, and its
// arguments are passed on as the model writes them (an answer that is cut off leaves them incomplete).
//
// Pieces end between characters, and so do deltas then. Memory is bounded: see the constants. Thread: one at a time.
#ifndef MOSA_TEXT_DIALECT_ANSWER_PARSER_H
#define MOSA_TEXT_DIALECT_ANSWER_PARSER_H

#include "base/status.h"
#include "text/dialect/dialect.h"

#include <jansson.h>

enum {
    MOSA_ANSWER_HELD_MAX = 16 << 10,  // bytes of a call that is not announced yet
    MOSA_ANSWER_VALUE_MAX = 64 << 10, // bytes of one parameter's value that is not a string (PARAMS)
    MOSA_ANSWER_CALLS_MAX = 128,      // further ones are content
    MOSA_ANSWER_NAME_MAX = 128,       // bytes of a function's name
};

typedef enum mosa_answer_kind {
    MOSA_ANSWER_CONTENT,
    MOSA_ANSWER_REASONING,
    MOSA_ANSWER_CALL,      // a call begins: `text` is its name
    MOSA_ANSWER_ARGUMENTS, // `text` continues the JSON text of the call's arguments
} mosa_answer_kind;

typedef struct mosa_answer_delta {
    mosa_answer_kind kind;
    int call;        // index of the call, from 0, for the last two
    mosa_slice text; // not empty; valid during the callback
} mosa_answer_delta;

typedef void (*mosa_answer_fn)(void *user, const mosa_answer_delta *delta);

typedef struct mosa_answer_options {
    const mosa_dialect *dialect;           // NULL: calls are not looked for
    const mosa_reasoning_style *reasoning; // NULL: nor reasoning; harmony needs a dialect, and `tools` for calls
    bool reasoning_open;                   // the prompt has begun it already
    json_t *tools;                         // OpenAI's `tools`, or NULL: calls are not looked for; a reference is kept
} mosa_answer_options;

typedef struct mosa_answer_parser mosa_answer_parser;

mosa_status mosa_answer_parser_create(const mosa_answer_options *options, mosa_answer_parser **out,
                                      mosa_error *err) MOSA_MUST_USE;
void mosa_answer_parser_destroy(mosa_answer_parser *parser); // NULL-safe

void mosa_answer_parser_feed(mosa_answer_parser *parser, mosa_slice text, mosa_answer_fn fn, void *user);
// The answer has ended: what is still held goes out. Nothing may be fed afterwards.
void mosa_answer_parser_finish(mosa_answer_parser *parser, mosa_answer_fn fn, void *user);

bool mosa_answer_parser_failed(const mosa_answer_parser *parser);       // out of memory: deltas are missing
bool mosa_answer_parser_in_reasoning(const mosa_answer_parser *parser); // after what has been fed
bool mosa_answer_parser_in_content(const mosa_answer_parser *parser);
bool mosa_answer_parser_holds(const mosa_answer_parser *parser); // text whose kind is not decided
int mosa_answer_parser_calls(const mosa_answer_parser *parser);  // announced so far

#endif
