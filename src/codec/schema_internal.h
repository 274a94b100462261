// A compiled schema, and a check in progress.
//
// Each subschema that is reached becomes a node; a node's keywords become its rules, in the order of the keyword table.
// References are plain pointers between nodes, so cycles cost nothing until a check follows them.
#ifndef MOSA_CODEC_SCHEMA_INTERNAL_H
#define MOSA_CODEC_SCHEMA_INTERNAL_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include "base/arena.h"
#include "base/str.h"
#include "codec/schema.h"

#include <pcre2.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct schema_node schema_node;
typedef struct schema_rule schema_rule;
typedef struct schema_check schema_check;

// What a keyword's operand must be, and how it is compiled.
typedef enum schema_operand {
    OPERAND_ANY,
    OPERAND_LATER, // read by another keyword's rule ("then" by "if")
    OPERAND_BOOL,
    OPERAND_NUMBER,      // rule->number
    OPERAND_COUNT,       // rule->number, a non-negative integer
    OPERAND_STRINGS,     // array of strings
    OPERAND_STRINGS_MAP, // object of arrays of strings
    OPERAND_TYPES,       // one type name or an array of them; rule->types
    OPERAND_VALUES,      // array of anything
    OPERAND_PATTERN,     // rule->patterns[0]
    OPERAND_REF,         // rule->nodes[0]
    OPERAND_SCHEMA,      // rule->nodes[0]
    OPERAND_SCHEMAS,     // rule->nodes[i] for each item
    OPERAND_SCHEMA_MAP,  // rule->nodes[i] and rule->names[i] for each member
    OPERAND_PATTERN_MAP, // as above, and rule->patterns[i]
    OPERAND_CONDITION,   // rule->nodes: if, then, else; NULL where absent
} schema_operand;

enum {
    TYPE_OBJECT = 1 << JSON_OBJECT,
    TYPE_ARRAY = 1 << JSON_ARRAY,
    TYPE_STRING = 1 << JSON_STRING,
    TYPE_INTEGER = 1 << JSON_INTEGER,
    TYPE_REAL = 1 << JSON_REAL,
    TYPE_NUMBER = TYPE_INTEGER | TYPE_REAL,
    TYPE_BOOL = 1 << JSON_TRUE | 1 << JSON_FALSE,
    TYPE_NULL = 1 << JSON_NULL,
    TYPE_ANY = TYPE_OBJECT | TYPE_ARRAY | TYPE_STRING | TYPE_NUMBER | TYPE_BOOL | TYPE_NULL,
};

typedef struct schema_keyword {
    const char *name;
    schema_operand operand;
    unsigned applies; // types of values that it says something about
    bool (*check)(schema_check *c, const schema_rule *rule, const json_t *value); // NULL: nothing to check by itself
} schema_keyword;

extern const schema_keyword mosa_schema_keywords[]; // ends with name NULL; the order of checking

struct schema_rule {
    const schema_keyword *keyword;
    const json_t *operand;
    const schema_node *owner;
    double number;
    unsigned types;
    schema_node **nodes;   // (count)
    const char **names;    // (count)
    pcre2_code **patterns; // (count)
    size_t count;
};

struct schema_node {
    const json_t *source; // an object or a boolean
    schema_rule *rules;   // (n_rules)
    int n_rules;
    schema_node *next; // of the same bucket
};

enum { SCHEMA_BUCKETS = 256 };

struct mosa_schema {
    mosa_arena arena;
    json_t *document; // owned reference
    schema_node *root;
    schema_node *buckets[SCHEMA_BUCKETS]; // nodes by the address of their source
    int n_nodes;
    pcre2_code **patterns; // (n_patterns) owned; malloc'ed
    size_t n_patterns, patterns_capacity;
    pcre2_match_context *match; // limits
};

// Where in the checked value: a list from the innermost step outwards.
typedef struct schema_step {
    const struct schema_step *outer;
    const char *key; // member, or NULL
    size_t index;    // item, when key is NULL
} schema_step;

struct schema_check {
    const mosa_schema *schema;
    const schema_step *at; // NULL = the root
    int level;             // of `at`
    int depth;             // nested nodes
    long steps;
    bool quiet;     // in a branch that may fail: the fault is ranked, not written
    bool exhausted; // a limit was hit: everything fails from then on
    int fault_rank; // of the last fault in quiet mode, see mosa_schema_fault
    char *path;     // (MOSA_SCHEMA_PATH_MAX) of the fault
    mosa_error *err;
};

// Checks a value against a node; `step` says how it was reached from the value at hand, NULL = it is that value.
bool mosa_schema_visit(schema_check *c, const schema_node *node, const json_t *value, const schema_step *step);

// Records a fault at the place of the check, or at its member `key`; returns false. In quiet mode only its rank counts:
// a branch that fails deep inside was meant more than one that fails early, and one that fails on a constant ("type":
// "image") was not meant at all.
bool mosa_schema_fault(schema_check *c, const char *key, bool constant, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

bool mosa_schema_spend(schema_check *c, long steps); // false when the budget is used up
// 1 match, 0 no match, -1 over the limits (the check is exhausted).
int mosa_schema_match(schema_check *c, const pcre2_code *pattern, const char *text, size_t len);
unsigned mosa_schema_types_of(const schema_node *node);    // types that a node's own "type" (or its $ref's) allows
void mosa_schema_type_text(unsigned types, mosa_buf *out); // "a string or an array"

// schema_combine.c: the keywords that try several subschemas.
bool mosa_schema_check_any_of(schema_check *c, const schema_rule *rule, const json_t *value);
bool mosa_schema_check_one_of(schema_check *c, const schema_rule *rule, const json_t *value);
bool mosa_schema_check_not(schema_check *c, const schema_rule *rule, const json_t *value);
bool mosa_schema_check_if(schema_check *c, const schema_rule *rule, const json_t *value);
bool mosa_schema_holds(schema_check *c, const schema_node *node, const json_t *value); // quietly

// The rule of a keyword on the same node, or NULL.
const schema_rule *mosa_schema_sibling(const schema_rule *rule, const char *name);

#endif
