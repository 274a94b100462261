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

// What a template puts before the assistant's words, found out by rendering small conversations.
typedef struct data_header {
    char *prompt; // the generation prompt, NUL-terminated; NULL = none
    char *header; // what all assistant turns begin with, a prefix of prompt; NULL = none: turns are found by prefixes
} data_header;
void data_header_find(const mosa_chat_template *tmpl, json_t *kwargs, data_header *out);
void data_header_finish(data_header *header);

// A message of the assistant in a rendered conversation.
typedef struct data_turn {
    size_t begin, end; // bytes
    size_t message;    // index
} data_turn;

// The turns of all assistant messages, in order; *turns is malloc'ed. end = SIZE_MAX: up to the next end token.
// MOSA_EINVALID when the rendering does not show where they are.
mosa_status data_turns_find(const mosa_chat_template *tmpl, const data_header *header, json_t *messages,
                            const mosa_chat_options *options, const mosa_jinja_output *whole, data_turn **turns,
                            size_t *n_turns, mosa_error *err);

bool data_is_assistant(const json_t *messages, size_t i);

#endif
