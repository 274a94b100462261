// What the two grammar dialects share: rule names, strings, classes, repetition, errors with their line.
#ifndef MOSA_TEXT_GRAMMAR_FRONT_RULES_H
#define MOSA_TEXT_GRAMMAR_FRONT_RULES_H

#include "text/grammar/front.h"

typedef struct front_name {
    mosa_slice name; // in the text
    uint32_t rule;
    bool defined;
    size_t first_use;
} front_name;

typedef struct front_rules {
    mosa_front *front;
    mosa_cfg *cfg;
    mosa_slice text;
    size_t at;
    int depth;
    mosa_error *err;
    front_name *names;
    size_t name_count, name_capacity;
    uint32_t *slots; // hash of names, numbers plus 1
    size_t slot_count;
} front_rules;

typedef struct front_symbols {
    mosa_symbol *items;
    size_t count, capacity;
} front_symbols;

void front_rules_init(front_rules *p, mosa_front *front, mosa_slice text, mosa_error *err);
void front_rules_finish(front_rules *p);

static inline bool front_more(const front_rules *p) {
    return p->at < p->text.len;
}
static inline char front_peek(const front_rules *p) {
    return p->text.data[p->at];
}
bool front_take(front_rules *p, const char *token);
mosa_status front_invalid(front_rules *p, const char *what); // MOSA_EINVALID with the line
mosa_status front_unsupported(front_rules *p, const char *what);
mosa_status front_memory(front_rules *p);
mosa_status front_enter(front_rules *p); // one level deeper; the caller decrements depth

mosa_status front_use(front_rules *p, mosa_slice name, mosa_symbol *out); // defined or not yet
mosa_status front_define(front_rules *p, mosa_slice name, uint32_t *rule);
mosa_status front_start(front_rules *p, mosa_slice name, mosa_symbol *out); // at the end: every name must be defined

// "text" with JSON's and C's escapes, at the opening quote; a trailing i makes ASCII letters match both cases.
mosa_status front_string_bytes(front_rules *p, mosa_buf *out, bool *ignore_case) MOSA_MUST_USE;
mosa_status front_string(front_rules *p, mosa_symbol *out);
mosa_status front_class(front_rules *p, mosa_symbol *out); // [a-z] or .
// Wraps the symbol in what * + ? {m,n} behind it say.
mosa_status front_quantified(front_rules *p, mosa_symbol *symbol);
mosa_symbol front_lexeme(front_rules *p, mosa_rx rx);

mosa_status front_push(front_rules *p, front_symbols *list, mosa_symbol symbol);
void front_symbols_finish(front_symbols *list);

#endif
