// The JSON Schema front end: what its parts share.
//
// A goal is a set of elements, all of which a value must satisfy; each goal becomes one rule. schema.c spreads goals
// out (references, allOf) and branches on the first choice (anyOf and what is rewritten as one: oneOf, not, if,
// dependent*); a goal without choices is a conjunction of plain keywords ("bases") and is written type by type by
// schema_string.c, schema_number.c, schema_array.c and schema_object.c. Goals are worked off a queue, so that recursive
// schemas become recursive rules and nothing recurses in C.
//
// Rewriting (schema_rewrite.c) makes JSON Schema of JSON Schema. Own keywords of made schemas begin with "%", which the
// sources' keys of that name cannot reach: they are read from made schemas only.
#ifndef MOSA_TEXT_GRAMMAR_SCHEMA_COMPILER_H
#define MOSA_TEXT_GRAMMAR_SCHEMA_COMPILER_H

#include "text/grammar/front.h"

#include "base/arena.h"

enum {
    TYPE_NULL = 1,
    TYPE_BOOL = 2,
    TYPE_INT = 4,
    TYPE_FRACTION = 8, // numbers that are no integers
    TYPE_STRING = 16,
    TYPE_ARRAY = 32,
    TYPE_OBJECT = 64,
    TYPE_NUMBER = TYPE_INT | TYPE_FRACTION,
    TYPE_ALL = 127,
    GOAL_ELEMENTS_MAX = 256,
    GOALS_MAX = 20000,
    SCHEMA_STEPS_MAX = 8 << 20,
    SCHEMA_STEPS_FLATTEN = 8, // of one element, beside one name compared
};

typedef enum element_kind {
    ELEMENT_FULL, // a schema with everything in it
    ELEMENT_BASE, // its own plain keywords alone
    ELEMENT_ANY,  // an array of schemas, one of which must hold
} element_kind;

enum { SLOT_ONE_OF, SLOT_IF, SLOT_DEPENDENT, SLOT_LITERAL, SLOTS };

typedef struct schema_node { // one JSON value that serves as schema or as array of alternatives
    json_t *value;
    bool made;
    bool checked;
    json_t *negation;         // made, or NULL
    json_t *rewritten[SLOTS]; // made replacements of single keywords
} schema_node;

typedef struct element {
    uint32_t node; // in nodes; numbers rise in order of first sight, so that goals and outputs are deterministic
    element_kind kind;
} element;

typedef struct goal {
    element *elements; // sorted, unique; in the arena
    size_t count;
    uint32_t rule;
    uint32_t next; // hash chain, plus 1
} goal;

typedef struct element_list {
    element items[GOAL_ELEMENTS_MAX];
    size_t count;
    bool never; // contradicts itself
} element_list;

enum { GOAL_HEADS = 4096, NODE_HEADS = 4096 };

typedef struct schema_compiler {
    mosa_front *front;
    mosa_cfg *cfg;
    mosa_rx_pool *pool;
    json_t *root;
    const char *root_id;
    json_t *made; // keeps made schemas alive
    mosa_arena arena;
    mosa_error *err;
    schema_node *nodes;
    size_t node_count, node_capacity;
    uint32_t node_heads[NODE_HEADS];
    uint32_t *node_next; // (node_capacity)
    goal *goals;
    size_t goal_count, goal_capacity, goal_done;
    uint32_t goal_heads[GOAL_HEADS];
    mosa_rx json_char;
    int64_t steps; // of flattening and comparing so far, so that combinations are bounded
} schema_compiler;

// --- schema.c

mosa_status schema_step(schema_compiler *c, int64_t steps) MOSA_MUST_USE; // MOSA_ELIMIT beyond SCHEMA_STEPS_MAX
mosa_status schema_add(schema_compiler *c, element_list *list, element_kind kind, json_t *value) MOSA_MUST_USE;
// The symbol of the goal of all elements.
mosa_status schema_goal(schema_compiler *c, const element_list *list, mosa_symbol *out) MOSA_MUST_USE;
// References and allOf resolved: only bases and choices are left.
mosa_status schema_flatten(schema_compiler *c, const element_list *list, element_list *out) MOSA_MUST_USE;
json_t *schema_keep(schema_compiler *c, json_t *made); // takes the reference, marks it as made; NULL: out of memory
mosa_status schema_node_of(schema_compiler *c, json_t *value, uint32_t *out) MOSA_MUST_USE;
static inline json_t *schema_base(const schema_compiler *c, const element_list *bases, size_t i) {
    return c->nodes[bases->items[i].node].value;
}
// A keyword's value in base i; NULL when absent. Keywords that begin with "%" are found in made schemas alone.
json_t *schema_get(const schema_compiler *c, const element_list *bases, size_t i, const char *keyword);
mosa_status schema_unsupported(schema_compiler *c, const char *keyword, const char *why);
mosa_status schema_memory(schema_compiler *c);
unsigned schema_types(const schema_compiler *c, const element_list *bases); // TYPE_ bits that all bases allow
// The largest of a lower bound, or the smallest of an upper one, that a non-negative integer keyword gives.
mosa_status schema_bound(schema_compiler *c, const element_list *bases, const char *keyword, bool lower, uint32_t *out);

// --- schema_refs.c

mosa_status schema_check(schema_compiler *c, uint32_t node) MOSA_MUST_USE; // refuses what is not supported, by name
mosa_status schema_resolve(schema_compiler *c, const char *ref, json_t **out) MOSA_MUST_USE;

// --- schema_rewrite.c

// Adds what a keyword of the node's schema means as further elements.
mosa_status schema_rewrite(schema_compiler *c, uint32_t node, element_list *work) MOSA_MUST_USE;

// --- one file per type: add alternatives to `rule`

mosa_status schema_literals(schema_compiler *c, const element_list *bases, unsigned types, uint32_t rule);
mosa_status schema_string(schema_compiler *c, const element_list *bases, uint32_t rule);
// The term for the inside of a string that satisfies all elements, choices included.
mosa_status schema_string_rx(schema_compiler *c, const element_list *list, int depth, mosa_rx *out) MOSA_MUST_USE;
mosa_status schema_number(schema_compiler *c, const element_list *bases, unsigned types, uint32_t rule);
mosa_status schema_array(schema_compiler *c, const element_list *bases, uint32_t rule);
mosa_status schema_object(schema_compiler *c, const element_list *bases, uint32_t rule);
const char *schema_format_pattern(const char *format); // NULL: an annotation only

// A lexeme of literal text.
mosa_symbol schema_text(schema_compiler *c, const char *text);
// Punctuation with the white space that the front end's spacing puts around it: "{", ", ", ": " and so on.
mosa_rx schema_space(schema_compiler *c, const char *before, char mark, const char *after);

#endif
