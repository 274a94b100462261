// Pieces of tokenizing records: where each token's bytes are, which bytes the assistant wrote. Private to this folder.
#ifndef MOSA_TRAIN_DATA_TOKENIZE_INTERNAL_H
#define MOSA_TRAIN_DATA_TOKENIZE_INTERNAL_H

#include "train/data/tokenize.h"

#include <stdbool.h>

typedef struct token_span {
    size_t begin, end; // bytes of the text that a token stands for; several tokens may share them
} token_span;

// Finds each token's bytes in the text that it was made from. spans: (n). False when they cannot be found: the
// tokenizer has rewritten the text beyond recognition.
bool data_align(const mosa_tokenizer *tokenizer, mosa_slice text, const int32_t *ids, size_t n, token_span *spans);

// What a template puts around the assistant's words, found out by rendering small conversations.
typedef struct data_header {
    char *prompt; // the generation prompt, NUL-terminated; NULL = none
    char *header; // what all assistant turns begin with, a prefix of prompt; NULL = none: turns are found by prefixes
    char *footer; // what all end with; NULL = nothing
    bool footer_ends; // an end token is in it
} data_header;
void data_header_find(const mosa_model_text *text, const mosa_chat_template *tmpl, json_t *kwargs, data_header *out);
void data_header_finish(data_header *header);

// A message of the assistant in a rendered conversation.
typedef struct data_turn {
    size_t begin;   // byte
    size_t message; // index
} data_turn;

// A rendered conversation and what it was made of; everything is borrowed.
typedef struct data_rendering {
    const mosa_chat_template *tmpl;
    const data_header *header;
    const mosa_chat_options *options;
    json_t *messages;
    mosa_jinja_output whole;
} data_rendering;

// Where the turns of all assistant messages begin, in order; *turns is malloc'ed.
// MOSA_EINVALID when the rendering does not show where they are.
mosa_status data_turns_find(const data_rendering *rendering, data_turn **turns, size_t *n_turns, mosa_error *err);
// Where turn k ends when no end token says it. MOSA_EINVALID likewise.
mosa_status data_turn_end(const data_rendering *rendering, const data_turn *turns, size_t n_turns, size_t k,
                          size_t *end, mosa_error *err);
// Whether the template wrote all of the bytes [begin, end).
bool data_is_trusted(const mosa_jinja_output *whole, size_t begin, size_t end);

bool data_is_assistant(const json_t *messages, size_t i);

#endif
