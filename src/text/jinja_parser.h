// What the two halves of the parser, statements and expressions, share.
#ifndef MOSA_TEXT_JINJA_PARSER_H
#define MOSA_TEXT_JINJA_PARSER_H

#include "text/jinja_ast.h"

enum {
    PARSE_DEPTH_MAX = 120, // nested brackets, operators and blocks
    PARSE_NAMES_MAX = 4096 // different names in one template
};

// Names that a macro's body mentions; a stack of these follows the nesting of macros.
typedef struct parser_macro {
    struct parser_macro *outer;
    bool caller, kwargs, varargs;
} parser_macro;

// The first filter or test that does not exist, outside of if and inline if, where it is no error until reached.
typedef struct parser_unknown {
    const jinja_str *name; // NULL = none
    unsigned line;
    const char *what;
} parser_unknown;

typedef struct parser {
    mosa_jinja_template *tmpl;
    const jinja_token *token; // current; the array ends with TOKEN_END
    unsigned depth;
    bool soft;        // inside an if: unknown filters are found out late
    unsigned in_for;  // enclosing for statements, through macros too
    unsigned in_loop; // enclosing loops that break and continue can reach
    parser_macro *macro;
    parser_unknown unknown;
    mosa_error *err;
} parser;

bool parser_fail(parser *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool parser_no_memory(parser *p);
bool parser_enter(parser *p); // pair with p->depth--
bool parser_is_name(const parser *p, const char *word);
bool parser_skip_name(parser *p, const char *word);
bool parser_expect(parser *p, jinja_token_type type);
bool parser_expect_name(parser *p, const jinja_str **out);
jinja_node *parser_node(parser *p, jinja_kind kind, unsigned line);
unsigned parser_slot(parser *p, const jinja_str *name, bool *ok);

// A list under construction.
typedef struct node_vec {
    const jinja_node **items;
    size_t n, capacity;
} node_vec;
bool node_vec_push(parser *p, node_vec *vec, const jinja_node *node);
jinja_nodes node_vec_done(const node_vec *vec);

bool parse_expression(parser *p, bool with_condition, const jinja_node **out);
bool parse_tuple(parser *p, bool with_condition, const char *end_word, bool parenthesised, const jinja_node **out);
bool parse_target(parser *p, const char *end_word, bool with_namespace, const jinja_node **out);
bool parse_filter(parser *p, const jinja_node *operand, bool inline_start, const jinja_node **out);
bool parser_find_hidden(parser *p); // fills the scopes of the finished tree

bool parse_name_node(parser *p, bool load, const jinja_node **out);

#endif
