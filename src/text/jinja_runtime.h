// One render: its limits, its scopes, and what the parts of the evaluator call of each other.
//
// Functions that can fail return false (or -1, or FLOW_ERROR) after filling rt->err, and the render then unwinds; an
// error inside a template is never caught. One thread owns a jinja_rt.
#ifndef MOSA_TEXT_JINJA_RUNTIME_H
#define MOSA_TEXT_JINJA_RUNTIME_H

#include "base/arena.h"
#include "text/jinja.h"
#include "text/jinja_ast.h"
#include "text/jinja_value.h"

typedef struct jinja_builder jinja_builder;

struct jinja_rt {
    const mosa_jinja_template *tmpl;
    const mosa_jinja_inputs *inputs;
    mosa_jinja_limits limits; // defaults filled in
    mosa_arena arena;
    uint64_t steps; // left
    unsigned depth;
    unsigned line;              // of the node being evaluated
    const jinja_value *globals; // [names.n] what a name means outside of all scopes; MISSING = nothing
    jinja_frame *frame, *root_frame;
    jinja_builder *out; // where statements write
    mosa_error *err;
};

bool jinja_fail(jinja_rt *rt, mosa_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));
bool jinja_charge(jinja_rt *rt, uint64_t steps); // false when the step limit is hit
bool jinja_enter(jinja_rt *rt);                  // one level deeper; pair with rt->depth--
void *jinja_alloc(jinja_rt *rt, size_t count, size_t size);
#define JINJA_NEW(rt, type)          ((type *)jinja_alloc((rt), 1, sizeof(type)))
#define JINJA_ARRAY(rt, type, count) ((type *)jinja_alloc((rt), (count), sizeof(type)))

// --- strings (jinja_string.c) ---

// A growing string. After a failure appends do nothing and jinja_build returns false.
struct jinja_builder {
    jinja_rt *rt;
    char *data;
    size_t len, capacity;
    size_t limit; // 0 = the render's memory only
    jinja_run *runs;
    size_t n_runs, runs_capacity;
    bool failed;
};

void jinja_builder_init(jinja_builder *b, jinja_rt *rt);
void jinja_put(jinja_builder *b, const char *data, size_t len, uint8_t flags);
void jinja_put_text(jinja_builder *b, const char *text); // trusted
void jinja_put_char(jinja_builder *b, uint32_t code_point, uint8_t flags);
void jinja_put_part(jinja_builder *b, const jinja_str *s, size_t from, size_t to); // bytes, keeping their marks
void jinja_put_str(jinja_builder *b, const jinja_str *s);
void jinja_put_escaped(jinja_builder *b, const jinja_str *s); // HTML
bool jinja_build(jinja_builder *b, jinja_value *out);

const jinja_str *jinja_new_str(jinja_rt *rt, const char *data, size_t len, uint8_t flags); // borrows data
const jinja_str *jinja_substr(jinja_rt *rt, const jinja_str *s, size_t from, size_t to);   // bytes
bool jinja_substr_value(jinja_rt *rt, const jinja_str *s, size_t from, size_t to, jinja_value *out);
bool jinja_text_value(jinja_rt *rt, const char *text, jinja_value *out); // trusted copy
size_t jinja_str_chars(const jinja_str *s);
size_t jinja_str_offset(const jinja_str *s, size_t chars);                             // byte offset of a code point
int jinja_str_compare(const jinja_str *a, const jinja_str *b);                         // by code points
size_t jinja_str_find(const jinja_str *s, size_t from, const jinja_str *needle);       // byte offset, SIZE_MAX = absent
bool jinja_str_mark(jinja_rt *rt, const jinja_str *s, uint8_t flag, jinja_value *out); // adds a mark to every byte
bool jinja_str_markup(jinja_rt *rt, jinja_value v, jinja_value *out);                  // markupsafe.escape(v)

// --- writing values (jinja_repr.c, jinja_json.c) ---

bool jinja_write_str(jinja_builder *b, jinja_value v);  // str(v)
bool jinja_write_repr(jinja_builder *b, jinja_value v); // repr(v)
bool jinja_to_str(jinja_rt *rt, jinja_value v, const jinja_str **out);
bool jinja_soft_str(jinja_rt *rt, jinja_value v, jinja_value *out); // str(v), but a Markup stays one

typedef struct jinja_json_style {
    bool ensure_ascii, sort_keys, pretty;
    const jinja_str *indent, *item_separator, *key_separator;
} jinja_json_style;
bool jinja_write_json(jinja_builder *b, jinja_value v, const jinja_json_style *style);
bool jinja_from_json(jinja_rt *rt, json_t *json, bool trusted, jinja_value *out);

// --- containers (jinja_value.c) ---

typedef struct jinja_vec {
    jinja_value *items;
    size_t n, capacity;
} jinja_vec;
bool jinja_vec_push(jinja_rt *rt, jinja_vec *vec, jinja_value v);
bool jinja_vec_list(jinja_rt *rt, const jinja_vec *vec, jinja_type type, jinja_value *out); // borrows the items
bool jinja_pair_tuple(jinja_rt *rt, jinja_value a, jinja_value b, jinja_value *out);

bool jinja_truth(jinja_rt *rt, jinja_value v, bool *out);
bool jinja_hash(jinja_rt *rt, jinja_value v, uint64_t *out); // false with err when not hashable
bool jinja_try_hash(jinja_rt *rt, jinja_value v, bool *hashable, uint64_t *out);
bool jinja_equal(jinja_rt *rt, jinja_value a, jinja_value b, bool *out);
bool jinja_less(jinja_rt *rt, jinja_value a, jinja_value b, const char *op, bool *out); // a < b; op names it in errors
bool jinja_compare(jinja_rt *rt, jinja_operator op, jinja_value a, jinja_value b, bool *out);
bool jinja_contains(jinja_rt *rt, jinja_value container, jinja_value item, bool *out);
bool jinja_same(jinja_value a, jinja_value b); // Python's `is`

bool jinja_new_dict(jinja_rt *rt, jinja_value *out);
bool jinja_dict_set(jinja_rt *rt, jinja_dict *dict, jinja_value key, jinja_value value);
bool jinja_dict_get(jinja_rt *rt, const jinja_dict *dict, jinja_value key, jinja_value *out); // MISSING when absent
// As jinja_dict_get, and MISSING, not an error, for a key that is not hashable.
bool jinja_dict_find(jinja_rt *rt, const jinja_dict *dict, jinja_value key, jinja_value *out);
bool jinja_dict_get_str(jinja_rt *rt, const jinja_dict *dict, const jinja_str *key, jinja_value *out);
bool jinja_dict_from(jinja_rt *rt, jinja_dict *dict, jinja_value source); // as dict.update(source)

// --- iteration (jinja_iter.c) ---

bool jinja_iterable(jinja_value v);
bool jinja_iterate(jinja_rt *rt, jinja_value v, jinja_iter *out);
bool jinja_iterate_reversed(jinja_rt *rt, jinja_value v, jinja_iter *out);
int jinja_next(jinja_rt *rt, jinja_iter *it, jinja_value *out);
bool jinja_collect(jinja_rt *rt, jinja_value v, jinja_vec *out); // list(v); may borrow v's items
bool jinja_length(jinja_rt *rt, jinja_value v, size_t *out);
bool jinja_has_length(jinja_value v);
bool jinja_new_gen(jinja_rt *rt, const char *name, jinja_value source, void *state,
                   int (*next)(jinja_rt *, jinja_gen *, jinja_value *), jinja_value *out);

// --- access (jinja_access.c) ---

bool jinja_getattr(jinja_rt *rt, jinja_value object, const jinja_str *name, jinja_value *out);
bool jinja_getitem(jinja_rt *rt, jinja_value object, jinja_value key, jinja_value *out);
bool jinja_slice(jinja_rt *rt, jinja_value object, jinja_value start, jinja_value stop, jinja_value step,
                 jinja_value *out);
bool jinja_index(jinja_rt *rt, jinja_value v, const char *what, int64_t *out); // an int argument, else TypeError
bool jinja_undefined_value(jinja_rt *rt, const char *hint, jinja_value owner, const jinja_str *name, jinja_value *out);
bool jinja_fail_undefined(jinja_rt *rt, jinja_value v); // the error that using it raises

// --- arithmetic (jinja_arith.c) ---

bool jinja_binary(jinja_rt *rt, jinja_operator op, jinja_value a, jinja_value b, jinja_value *out);
bool jinja_negate(jinja_rt *rt, jinja_value v, bool minus, jinja_value *out);
bool jinja_percent_format(jinja_rt *rt, jinja_value format, jinja_value args, jinja_value *out); // format % args

// --- calls ---

typedef struct jinja_kwarg {
    const jinja_str *name;
    jinja_value value;
} jinja_kwarg;

typedef struct jinja_args {
    const jinja_value *pos;
    size_t n;
    const jinja_kwarg *kw;
    size_t n_kw;
} jinja_args;

// A filter, a test, a method or a global function. `params` names the parameters in order, "!" behind a required one,
// "/" first when they cannot be passed by name; then fn gets pos[] for all of them, MISSING where not given.
// "*": fn gets the arguments as they came.
struct jinja_builtin {
    const char *name;
    const char *params;
    bool (*fn)(jinja_rt *rt, jinja_value self, const jinja_args *args, jinja_value *out);
};

bool jinja_call_builtin(jinja_rt *rt, const jinja_builtin *builtin, jinja_value self, const jinja_args *args,
                        jinja_value *out);
bool jinja_call(jinja_rt *rt, jinja_value callee, const jinja_args *args, jinja_value *out);

const jinja_builtin *jinja_find_filter(mosa_slice name);
const jinja_builtin *jinja_find_test(mosa_slice name);
const jinja_builtin *jinja_find_function(mosa_slice name);
// The method or NULL. *forbidden: it exists, but would modify its object, which the sandbox refuses.
const jinja_builtin *jinja_find_method(jinja_value object, mosa_slice name, bool *forbidden);
const jinja_builtin *jinja_find_in(const jinja_builtin *table, size_t n, mosa_slice name);

typedef struct jinja_table {
    const jinja_builtin *rows;
    size_t n;
} jinja_table;
extern const jinja_table jinja_text_filters, jinja_sequence_filters, jinja_number_filters;
extern const jinja_table jinja_str_methods;

// Options of builtins: a default where the argument is MISSING.
bool jinja_arg_bool(jinja_rt *rt, jinja_value v, bool fallback, bool *out);
bool jinja_arg_int(jinja_rt *rt, jinja_value v, int64_t fallback, int64_t *out);

// A value's attribute path as filters take it: "a.b.0", an integer, or none.
typedef struct jinja_path jinja_path;
bool jinja_path_parse(jinja_rt *rt, jinja_value attribute, bool commas, jinja_path **out);
bool jinja_path_get(jinja_rt *rt, const jinja_path *path, jinja_value item, jinja_value fallback, jinja_value *out);
bool jinja_sort_values(jinja_rt *rt, jinja_value *items, const jinja_value *keys, size_t n, bool reverse);
bool jinja_fold_case(jinja_rt *rt, jinja_value v, jinja_value *out); // strings to lower case, others as they are
bool jinja_str_lower(jinja_rt *rt, const jinja_str *s, jinja_value *out);

// --- evaluation (jinja_eval.c, jinja_exec.c, jinja_call.c) ---

typedef enum jinja_flow { FLOW_NEXT, FLOW_BREAK, FLOW_CONTINUE, FLOW_ERROR } jinja_flow;

typedef struct jinja_binding {
    unsigned slot;
    jinja_value value;
} jinja_binding;

struct jinja_frame {
    jinja_frame *parent;
    jinja_binding *bindings;
    size_t n, capacity;
    bool captured; // a macro or loop refers to it
};

struct jinja_macro {
    const jinja_signature *signature;
    jinja_frame *frame; // where it was defined
};

struct jinja_loop {
    const jinja_node *node;
    jinja_frame *outer; // where the loop stands
    jinja_value iterable;
    jinja_iter iter;
    const jinja_node *test; // pending filter of the items, NULL once they are all pulled
    size_t index0, depth0;
    bool has_length;
    size_t length;
    jinja_value after, current, before; // MISSING = not there
    jinja_value last_changed;
};

bool jinja_eval(jinja_rt *rt, const jinja_node *node, jinja_value *out);
bool jinja_eval_filter(jinja_rt *rt, const jinja_node *node, jinja_value captured, jinja_value *out);
bool jinja_eval_args(jinja_rt *rt, const jinja_arguments *args, const jinja_kwarg *extra, jinja_args *out);
bool jinja_bind(jinja_rt *rt, jinja_frame *frame, unsigned slot, jinja_value value);
bool jinja_assign(jinja_rt *rt, jinja_frame *frame, const jinja_node *target, jinja_value value);
// A new frame for a body: its hidden names are bound to nothing. scope may be NULL.
jinja_frame *jinja_push_frame(jinja_rt *rt, jinja_frame *parent, const jinja_scope *scope);
bool jinja_hide_names(jinja_rt *rt, jinja_frame *frame, const jinja_scope *scope);

jinja_flow jinja_exec(jinja_rt *rt, const jinja_nodes *body);
jinja_flow jinja_exec_for(jinja_rt *rt, const jinja_node *node);
// Runs the body with its output captured; FLOW_NEXT with *out filled, or what stopped it.
jinja_flow jinja_capture(jinja_rt *rt, const jinja_nodes *body, jinja_value *out);

bool jinja_call_macro(jinja_rt *rt, const jinja_macro *macro, const jinja_args *args, jinja_value *out);
bool jinja_call_loop(jinja_rt *rt, jinja_loop *loop, const jinja_args *args, jinja_value *out);
bool jinja_loop_attribute(jinja_rt *rt, jinja_loop *loop, const jinja_str *name, jinja_value *out); // MISSING = none
bool jinja_loop_length(jinja_rt *rt, jinja_loop *loop, size_t *out);

#endif
