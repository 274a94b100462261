// The parsed template: tokens, nodes, and the two steps that make them.
//
// Nodes live in the template's arena and are read-only once parsed. Names are interned: equal names have one slot.
#ifndef MOSA_TEXT_JINJA_AST_H
#define MOSA_TEXT_JINJA_AST_H

#include "base/arena.h"
#include "base/status.h"
#include "text/jinja.h"
#include "text/jinja_value.h"

typedef enum jinja_token_type {
    TOKEN_END,
    TOKEN_DATA,
    TOKEN_VARIABLE_BEGIN,
    TOKEN_VARIABLE_END,
    TOKEN_BLOCK_BEGIN,
    TOKEN_BLOCK_END,
    TOKEN_NAME,
    TOKEN_STRING,
    TOKEN_INTEGER,
    TOKEN_FLOAT,
    TOKEN_ADD,
    TOKEN_SUB,
    TOKEN_DIV,
    TOKEN_FLOORDIV,
    TOKEN_MUL,
    TOKEN_MOD,
    TOKEN_POW,
    TOKEN_TILDE,
    TOKEN_LBRACKET,
    TOKEN_RBRACKET,
    TOKEN_LPAREN,
    TOKEN_RPAREN,
    TOKEN_LBRACE,
    TOKEN_RBRACE,
    TOKEN_EQ,
    TOKEN_NE,
    TOKEN_GT,
    TOKEN_GTEQ,
    TOKEN_LT,
    TOKEN_LTEQ,
    TOKEN_ASSIGN,
    TOKEN_DOT,
    TOKEN_COLON,
    TOKEN_PIPE,
    TOKEN_COMMA,
    TOKEN_SEMICOLON,
} jinja_token_type;

typedef struct jinja_token {
    jinja_token_type type;
    unsigned line;
    jinja_value value; // data, names and strings: a string; numbers: the number
} jinja_token;

typedef enum jinja_kind {
    // expressions
    NODE_CONST,
    NODE_NAME,
    NODE_LIST,
    NODE_TUPLE,
    NODE_DICT,
    NODE_BINARY,
    NODE_AND,
    NODE_OR,
    NODE_NOT,
    NODE_NEGATE,
    NODE_PLUS,
    NODE_COMPARE,
    NODE_CONCAT,
    NODE_GETATTR,
    NODE_GETITEM,
    NODE_SLICE,
    NODE_CALL,
    NODE_FILTER,
    NODE_TEST,
    NODE_CONDITIONAL,
    NODE_NAMESPACE_REF, // assignment target only
    // statements
    NODE_OUTPUT,
    NODE_IF,
    NODE_FOR,
    NODE_SET,
    NODE_SET_BLOCK,
    NODE_MACRO,
    NODE_CALL_BLOCK,
    NODE_FILTER_BLOCK,
    NODE_WITH,
    NODE_BLOCK,
    NODE_GENERATION,
    NODE_BREAK,
    NODE_CONTINUE,
} jinja_kind;

typedef enum jinja_operator {
    OP_ADD,
    OP_SUB,
    OP_MUL,
    OP_DIV,
    OP_FLOORDIV,
    OP_MOD,
    OP_POW,
    OP_EQ,
    OP_NE,
    OP_LT,
    OP_LTEQ,
    OP_GT,
    OP_GTEQ,
    OP_IN,
    OP_NOTIN,
} jinja_operator;

// Names that a body sets, and that it and what is inside of it cannot see before (jinja_scope.c).
typedef struct jinja_scope {
    const unsigned *hidden;
    size_t n;
} jinja_scope;

typedef struct jinja_nodes {
    const jinja_node **items;
    size_t n;
    jinja_scope scope; // bodies that are a scope only
} jinja_nodes;

typedef struct jinja_keyword {
    const jinja_str *name;
    const jinja_node *value;
} jinja_keyword;

typedef struct jinja_arguments {
    jinja_nodes positional;
    const jinja_keyword *keywords;
    size_t n_keywords;
    const jinja_node *star, *star_star; // *args and **kwargs, or NULL
} jinja_arguments;

typedef struct jinja_operand {
    jinja_operator op;
    const jinja_node *right;
} jinja_operand;

typedef struct jinja_branch {
    const jinja_node *test; // NULL for else
    jinja_nodes body;
} jinja_branch;

// A macro, or the body of a call block.
typedef struct jinja_signature {
    const jinja_str *name;         // NULL for a call block's body
    const jinja_node **parameters; // NODE_NAME
    const jinja_node **defaults;   // [n_parameters], NULL where there is none
    size_t n_parameters;
    bool uses_caller, uses_kwargs, uses_varargs;
    bool explicit_caller; // `caller` is a declared parameter
    jinja_nodes body;
} jinja_signature;

struct jinja_node {
    jinja_kind kind;
    unsigned line;
    union {
        jinja_value constant;
        struct {
            const jinja_str *text;
            unsigned slot;
        } name;
        jinja_nodes list; // list, tuple, concat, output; dict: key, value, ...
        struct {
            jinja_operator op;
            const jinja_node *left, *right;
        } binary;                  // and, or too
        const jinja_node *operand; // not, negate, plus
        struct {
            const jinja_node *left;
            const jinja_operand *rest;
            size_t n;
        } compare;
        struct {
            const jinja_node *object;
            const jinja_str *name;
            unsigned slot;
        } attribute; // namespace ref: slot, name
        struct {
            const jinja_node *object, *key;
        } item;
        struct {
            const jinja_node *object, *start, *stop, *step;
        } slice;
        struct {
            const jinja_node *callee;
            jinja_arguments args;
        } call;
        struct {
            const jinja_node *operand;    // NULL: the text of the enclosing filter or set block
            const jinja_builtin *builtin; // NULL: no such filter, an error only if it is reached
            const jinja_str *name;
            jinja_arguments args;
        } filter; // and test
        struct {
            const jinja_node *test, *then, *otherwise;
        } conditional;
        struct {
            const jinja_branch *branches;
            size_t n;
        } branch;
        struct {
            const jinja_node *target, *iterable, *test;
            bool recursive;
            jinja_nodes body, otherwise;
        } loop;
        struct {
            const jinja_node *target, *value;
            jinja_nodes body;
        } set; // value: expression, or a set block's filter
        struct {
            const jinja_signature *signature;
            unsigned slot;
            const jinja_node *call;
        } macro; // call: call block only
        struct {
            const jinja_node *filter;
            jinja_nodes body;
        } block_filter;
        struct {
            jinja_nodes targets, values, body;
        } with;
        struct {
            jinja_nodes body;
            bool scoped;
        } block; // generation too
    } as;
};

typedef struct jinja_names {
    const jinja_str **items;
    size_t n, capacity;
    uint32_t *index; // open addressing, position + 1
    size_t index_size;
} jinja_names;

struct mosa_jinja_template {
    mosa_arena arena;
    jinja_names names; // slot -> name
    jinja_nodes body;
    unsigned slot_loop, slot_caller, slot_kwargs, slot_varargs;
    bool has_generation;
};

// Splits the source into tokens; the array ends with TOKEN_END.
mosa_status jinja_lex(mosa_arena *arena, mosa_slice source, jinja_token **out, size_t *n, mosa_error *err);

// What tokens look like in messages.
const char *jinja_token_text(jinja_token_type type);

// A string constant in the template's arena, trusted. NULL on out-of-memory.
const jinja_str *jinja_constant_str(mosa_arena *arena, const char *data, size_t len);

#endif
