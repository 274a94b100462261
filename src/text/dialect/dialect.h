// Dialects: how a family of models writes tool calls, and how it sets its reasoning apart from its answer.
//
// A dialect is a descriptor in a table (dialect.c); one file per family beside it. The chat template tells which one a
// model speaks: it shows past calls to the model in the form in which the model is to write new ones. The streaming
// parser (dialect/answer_parser.h) and the grammar writer (dialect/call_grammar.h) read the descriptors; neither knows
// a family by name. Constant data; any thread.
#ifndef MOSA_TEXT_DIALECT_DIALECT_H
#define MOSA_TEXT_DIALECT_DIALECT_H

#include "base/str.h"

#include <stdbool.h>

typedef enum mosa_call_form {
    MOSA_CALL_OBJECT,  // call_open {"name": NAME, "arguments": {...}} call_close; with `list` [{...}, {...}]
    MOSA_CALL_HEADER,  // call_open ... NAME ... arguments_open {...} arguments_close call_close
    MOSA_CALL_PARAMS,  // call_open name_open NAME name_close (param_open KEY param_mid VALUE param_close)* params_close
    MOSA_CALL_HARMONY, // messages with channels and recipients, each with a header of its own (gpt-oss)
} mosa_call_form;

enum { MOSA_DIALECT_SIGNS_MAX = 3 };

// Texts that a dialect does not use are NULL. Blanks between the pieces are allowed everywhere.
typedef struct mosa_dialect {
    const char *name;
    const char *signs[MOSA_DIALECT_SIGNS_MAX]; // a template that contains all of them speaks it
    mosa_call_form form;
    const char *section_open, *section_close; // around all calls of an answer
    const char *call_open, *call_close;       // around one call, or around a list of them
    int id_len;                               // letters and digits of a call's id; 0 = OpenAI's shape, "call_..."

    // OBJECT
    const char *arguments_key; // as the model writes it; every usual key is read
    bool list;                 // the calls are one JSON array
    bool bare;                 // an answer that begins with a call's object is a call, also without call_open

    // HEADER
    const char *name_open; // the name begins behind it; NULL = behind call_open. Also of PARAMS
    const char *name_end;  // and ends before it (or before arguments_open)
    const char *arguments_open, *arguments_close;

    // PARAMS
    const char *name_close;                                        // behind the name
    const char *param_open, *param_mid, *param_mid2, *param_close; // mid: behind the key; mid2: before the value
    const char *params_close;                                      // behind the last parameter
    bool value_lines;                                              // a value stands on lines of its own
} mosa_dialect;

// How reasoning is set apart; harmony has its own way.
typedef struct mosa_reasoning_style {
    const char *open, *close;
} mosa_reasoning_style;

// The dialect that a chat template speaks; never NULL, the last resort is JSON objects.
const mosa_dialect *mosa_dialect_find(mosa_slice chat_template);
// The reasoning style that a chat template mentions, or NULL.
const mosa_reasoning_style *mosa_reasoning_style_find(mosa_slice chat_template);
const mosa_dialect *mosa_dialect_by_name(const char *name); // NULL when there is none

// All of them, for tests: (*count).
const mosa_dialect *const *mosa_dialects(size_t *count);

// --- the table's entries, each in the file of its family ------------------------------------------------------------

extern const mosa_dialect mosa_dialect_cohere;
extern const mosa_dialect mosa_dialect_deepseek_r1;
extern const mosa_dialect mosa_dialect_deepseek_v31;
extern const mosa_dialect mosa_dialect_firefunction;
extern const mosa_dialect mosa_dialect_generic;
extern const mosa_dialect mosa_dialect_glm;
extern const mosa_dialect mosa_dialect_granite;
extern const mosa_dialect mosa_dialect_harmony;
extern const mosa_dialect mosa_dialect_hermes;
extern const mosa_dialect mosa_dialect_kimi;
extern const mosa_dialect mosa_dialect_llama3;
extern const mosa_dialect mosa_dialect_mistral;
extern const mosa_dialect mosa_dialect_mistral_list;
extern const mosa_dialect mosa_dialect_qwen_coder;
extern const mosa_dialect mosa_dialect_seed;

#endif
