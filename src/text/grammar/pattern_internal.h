// Between the two halves of the pattern compiler: pattern_parse.c makes the tree, pattern.c the term.
#ifndef MOSA_TEXT_GRAMMAR_PATTERN_INTERNAL_H
#define MOSA_TEXT_GRAMMAR_PATTERN_INTERNAL_H

#include "base/arena.h"
#include "text/grammar/pattern.h"

typedef enum pattern_kind {
    PATTERN_TERM,   // rx
    PATTERN_GROUP,  // alternatives
    PATTERN_REPEAT, // inner, min, max
    PATTERN_START,  // ^
    PATTERN_END,    // $
    PATTERN_AHEAD,  // (?=inner) or, negative, (?!inner)
} pattern_kind;

typedef struct pattern_node pattern_node;
typedef struct pattern_sequence pattern_sequence;

struct pattern_node {
    pattern_node *next; // in its sequence
    pattern_kind kind;
    mosa_rx rx;
    pattern_sequence *alternatives; // PATTERN_GROUP and what PATTERN_REPEAT and PATTERN_AHEAD hold
    uint32_t min, max;
    bool negative;
};

struct pattern_sequence {
    pattern_sequence *next; // alternative
    pattern_node *first, *last;
};

typedef struct pattern_parser {
    mosa_rx_pool *pool;
    mosa_arena arena;
    mosa_slice text;
    size_t at;
    int depth;
    unsigned flags;
    bool ignore_case, dot_all;
    mosa_error *err;
} pattern_parser;

mosa_status pattern_parse(pattern_parser *parser, pattern_sequence **out); // the whole text

#endif
