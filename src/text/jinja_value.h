// Values of the template language, and strings that remember who wrote each byte.
//
// Values are immutable once built (the environment is the immutable sandbox), except namespaces, loops, cyclers,
// joiners and iterators, which belong to one render. Everything lives in the render's arena and is never freed singly;
// constants live in the template's arena and are shared by all renders, so nothing may write to them.
// A jinja_value is 16 bytes and is passed by value.
#ifndef MOSA_TEXT_JINJA_VALUE_H
#define MOSA_TEXT_JINJA_VALUE_H

#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct jinja_rt jinja_rt;
typedef struct jinja_node jinja_node;
typedef struct jinja_frame jinja_frame;
typedef struct jinja_builtin jinja_builtin;
typedef struct jinja_value jinja_value;

typedef enum jinja_type {
    JINJA_MISSING, // no argument, no binding; never seen by a template
    JINJA_UNDEFINED,
    JINJA_NONE,
    JINJA_BOOL,
    JINJA_INT,
    JINJA_FLOAT,
    JINJA_STR,
    JINJA_LIST,
    JINJA_TUPLE,
    JINJA_DICT,
    JINJA_RANGE,
    JINJA_VIEW, // dict.keys(), dict.values(), dict.items()
    JINJA_ITER, // a Python generator or iterator: lazy, consumed once
    JINJA_NAMESPACE,
    JINJA_MACRO,
    JINJA_LOOP,
    JINJA_METHOD, // bound to its object
    JINJA_FUNCTION,
    JINJA_CYCLER,
    JINJA_JOINER,
} jinja_type;

// Marks of a byte. None of them set = text of a request.
enum { JINJA_TRUSTED = 1, JINJA_GENERATED = 2 };

typedef struct jinja_run {
    size_t end; // the run's bytes end here (exclusive) and begin where the run before it ends
    uint8_t flags;
} jinja_run;

#define JINJA_CHARS_UNKNOWN SIZE_MAX

typedef struct jinja_str {
    const char *data; // valid UTF-8, not NUL-terminated; may be shared with other strings
    size_t len;
    size_t chars;          // code points, or JINJA_CHARS_UNKNOWN (never in a template's constants)
    const jinja_run *runs; // NULL: every byte has `flags`
    size_t n_runs;
    uint8_t flags;
} jinja_str;

typedef struct jinja_list jinja_list;
typedef struct jinja_dict jinja_dict;
typedef struct jinja_range jinja_range;
typedef struct jinja_view jinja_view;
typedef struct jinja_gen jinja_gen;
typedef struct jinja_macro jinja_macro;
typedef struct jinja_loop jinja_loop;
typedef struct jinja_method jinja_method;
typedef struct jinja_cycler jinja_cycler;
typedef struct jinja_joiner jinja_joiner;
typedef struct jinja_undefined jinja_undefined;

struct jinja_value {
    uint8_t type; // jinja_type
    bool tainted; // numbers: came from, or was computed from, a request
    bool markup;  // strings: a markupsafe.Markup, which escapes what is added to it
    union {
        bool boolean;
        int64_t integer;
        double real;
        const jinja_str *str;
        const jinja_list *list; // list and tuple
        jinja_dict *dict;       // dict and namespace
        const jinja_range *range;
        const jinja_view *view;
        jinja_gen *gen;
        const jinja_macro *macro;
        jinja_loop *loop;
        const jinja_method *method;
        const jinja_builtin *function;
        jinja_cycler *cycler;
        jinja_joiner *joiner;
        const jinja_undefined *undefined;
    } as;
};

struct jinja_list {
    jinja_value *items;
    size_t n;
    bool group; // a groupby tuple: (grouper, list), reachable by these names
};

typedef struct jinja_pair {
    jinja_value key, value;
    uint64_t hash;
} jinja_pair;

// Insertion-ordered. The index (open addressing over items, 0 = empty, else position + 1) exists beyond a few items.
struct jinja_dict {
    jinja_pair *items;
    size_t n, capacity;
    uint32_t *index;
    size_t index_size; // power of two, 0 = no index
};

struct jinja_range {
    int64_t start, stop, step;
    size_t n;
};

typedef enum jinja_view_kind { JINJA_KEYS, JINJA_VALUES, JINJA_ITEMS } jinja_view_kind;
struct jinja_view {
    const jinja_dict *dict;
    jinja_view_kind kind;
};

// Why a value is undefined; the message is written only when somebody uses it.
struct jinja_undefined {
    const char *hint;      // the whole message, or NULL
    const char *owner;     // type of the object that lacks `name`, NULL for a plain name
    const jinja_str *name; // may be NULL with a hint
};

struct jinja_method {
    jinja_value self;
    const jinja_builtin *builtin;
};

struct jinja_cycler {
    const jinja_value *items;
    size_t n, position;
};

struct jinja_joiner {
    jinja_value separator;
    bool used;
};

// Position in anything iterable.
typedef struct jinja_iter {
    jinja_value source;
    size_t position; // item index, or byte offset in a string
    bool reversed;   // lists, tuples, ranges, views and dicts only
} jinja_iter;

// A lazy iterator: `next` pulls from `source`. Returns 1 with an item, 0 at the end, -1 on error.
struct jinja_gen {
    int (*next)(jinja_rt *rt, jinja_gen *gen, jinja_value *out);
    const char *name; // Python's type name
    jinja_iter source;
    bool finished;
    void *state;
};

static inline jinja_value jinja_none(void) {
    return (jinja_value){.type = JINJA_NONE};
}
static inline jinja_value jinja_bool(bool b) {
    return (jinja_value){.type = JINJA_BOOL, .as.boolean = b};
}
static inline jinja_value jinja_int(int64_t i) {
    return (jinja_value){.type = JINJA_INT, .as.integer = i};
}
static inline jinja_value jinja_float(double f) {
    return (jinja_value){.type = JINJA_FLOAT, .as.real = f};
}
static inline jinja_value jinja_of_str(const jinja_str *s) {
    return (jinja_value){.type = JINJA_STR, .as.str = s};
}
static inline jinja_value jinja_tainted(jinja_value v, bool tainted) {
    v.tainted = tainted;
    return v;
}
static inline bool jinja_is_int(jinja_value v) {
    return v.type == JINJA_INT || v.type == JINJA_BOOL;
}
static inline bool jinja_is_number(jinja_value v) {
    return jinja_is_int(v) || v.type == JINJA_FLOAT;
}
static inline bool jinja_is_sequence(jinja_value v) {
    return v.type == JINJA_LIST || v.type == JINJA_TUPLE;
}
static inline int64_t jinja_as_int(jinja_value v) {
    return v.type == JINJA_BOOL ? v.as.boolean : v.as.integer;
}
static inline double jinja_as_double(jinja_value v) {
    return v.type == JINJA_FLOAT ? v.as.real : (double)jinja_as_int(v);
}
static inline mosa_slice jinja_slice_of(const jinja_str *s) {
    return (mosa_slice){s->data, s->len};
}
static inline bool jinja_str_is(const jinja_str *s, const char *text) {
    return mosa_slice_eq(jinja_slice_of(s), mosa_slice_of(text));
}

// Whether every byte of the string is trusted.
bool jinja_str_trusted(const jinja_str *s);
uint8_t jinja_str_flags_at(const jinja_str *s, size_t offset);

const char *jinja_type_name(jinja_value v); // as Python's type(v).__name__

// Code points. Input is valid UTF-8.
uint32_t jinja_utf8_next(const char *data, size_t len, size_t *position);
size_t jinja_utf8_prev(const char *data, size_t position); // start of the code point that ends at position
size_t jinja_utf8_put(char out[4], uint32_t code_point);
size_t jinja_utf8_count(const char *data, size_t len);
bool jinja_utf8_valid(const char *data, size_t len);

// Unicode properties as Python's str methods see them.
bool jinja_is_space(uint32_t c);
bool jinja_is_line_break(uint32_t c);
bool jinja_is_alpha(uint32_t c);
bool jinja_is_decimal(uint32_t c);
bool jinja_is_digit(uint32_t c);
bool jinja_is_numeric(uint32_t c);
bool jinja_is_printable(uint32_t c);
bool jinja_is_upper(uint32_t c);
bool jinja_is_lower(uint32_t c);
bool jinja_is_title(uint32_t c);
bool jinja_is_cased(uint32_t c);
bool jinja_is_case_ignorable(uint32_t c);
bool jinja_is_word(uint32_t c);     // \w
bool jinja_is_id_start(uint32_t c); // may begin an identifier
bool jinja_is_id_continue(uint32_t c);

typedef enum jinja_case { JINJA_UPPER, JINJA_LOWER, JINJA_TITLE, JINJA_FOLD } jinja_case;
size_t jinja_map_case(uint32_t c, jinja_case to, uint32_t out[3]); // full mapping, without context; returns 1 to 3

// repr(float), with ".0" where Python writes it. Returns the length.
size_t jinja_format_float(double value, char out[32]);

#endif
