// Truth, equality, order, hashing and membership as Python has them; growing vectors.
#include "text/jinja_runtime.h"

#include <math.h>
#include <string.h>

const char *jinja_type_name(jinja_value v) {
    switch ((jinja_type)v.type) {
    case JINJA_MISSING:
    case JINJA_UNDEFINED:
        return "Undefined";
    case JINJA_NONE:
        return "NoneType";
    case JINJA_BOOL:
        return "bool";
    case JINJA_INT:
        return "int";
    case JINJA_FLOAT:
        return "float";
    case JINJA_STR:
        return v.markup ? "Markup" : "str";
    case JINJA_LIST:
        return "list";
    case JINJA_TUPLE:
        return "tuple";
    case JINJA_DICT:
        return "dict";
    case JINJA_RANGE:
        return "range";
    case JINJA_VIEW:
        return v.as.view->kind == JINJA_KEYS     ? "dict_keys"
               : v.as.view->kind == JINJA_VALUES ? "dict_values"
                                                 : "dict_items";
    case JINJA_ITER:
        return v.as.gen->name;
    case JINJA_NAMESPACE:
        return "Namespace";
    case JINJA_MACRO:
        return "Macro";
    case JINJA_LOOP:
        return "LoopContext";
    case JINJA_METHOD:
    case JINJA_FUNCTION:
        return "function";
    case JINJA_CYCLER:
        return "Cycler";
    case JINJA_JOINER:
        return "Joiner";
    }
    return "object";
}

bool jinja_vec_push(jinja_rt *rt, jinja_vec *vec, jinja_value v) {
    if (vec->n == vec->capacity) {
        size_t capacity = vec->capacity ? vec->capacity * 2 : 8;
        jinja_value *items = JINJA_ARRAY(rt, jinja_value, capacity);
        if (!items || !jinja_charge(rt, capacity / 64)) return false;
        if (vec->n) memcpy(items, vec->items, vec->n * sizeof *items);
        vec->items = items;
        vec->capacity = capacity;
    }
    vec->items[vec->n++] = v;
    return true;
}

bool jinja_vec_list(jinja_rt *rt, const jinja_vec *vec, jinja_type type, jinja_value *out) {
    jinja_list *list = JINJA_NEW(rt, jinja_list);
    if (!list) return false;
    *list = (jinja_list){vec->items, vec->n, false};
    *out = (jinja_value){.type = (uint8_t)type, .as.list = list};
    return true;
}

bool jinja_pair_tuple(jinja_rt *rt, jinja_value a, jinja_value b, jinja_value *out) {
    jinja_vec pair = {0};
    return jinja_vec_push(rt, &pair, a) && jinja_vec_push(rt, &pair, b) && jinja_vec_list(rt, &pair, JINJA_TUPLE, out);
}

bool jinja_truth(jinja_rt *rt, jinja_value v, bool *out) {
    switch ((jinja_type)v.type) {
    case JINJA_MISSING:
    case JINJA_UNDEFINED:
    case JINJA_NONE:
        *out = false;
        break;
    case JINJA_BOOL:
        *out = v.as.boolean;
        break;
    case JINJA_INT:
        *out = v.as.integer != 0;
        break;
    case JINJA_FLOAT:
        *out = v.as.real != 0;
        break;
    case JINJA_STR:
        *out = v.as.str->len > 0;
        break;
    case JINJA_LIST:
    case JINJA_TUPLE:
        *out = v.as.list->n > 0;
        break;
    case JINJA_DICT:
        *out = v.as.dict->n > 0;
        break;
    case JINJA_RANGE:
        *out = v.as.range->n > 0;
        break;
    case JINJA_VIEW:
        *out = v.as.view->dict->n > 0;
        break;
    case JINJA_LOOP: {
        size_t length;
        if (!jinja_loop_length(rt, v.as.loop, &length)) return false;
        *out = length > 0;
        break;
    }
    default:
        *out = true;
        break;
    }
    return true;
}

static bool float_is_integer(double f, int64_t *out) {
    if (!(f >= -9223372036854775808.0 && f < 9223372036854775808.0) || f != floor(f)) return false;
    *out = (int64_t)f;
    return true;
}

// 1 with the hash, 0 when the value has none, -1 on error.
static int hash_of(jinja_rt *rt, jinja_value v, uint64_t *out);

static int hash_items(jinja_rt *rt, const jinja_list *list, uint64_t *out) {
    uint64_t hash = 0x5bd1e995u + list->n, item;
    for (size_t i = 0; i < list->n; i++) {
        int got = hash_of(rt, list->items[i], &item);
        if (got <= 0) return got;
        hash = mosa_hash_bytes(&item, sizeof item, hash);
    }
    *out = hash;
    return 1;
}

static int hash_tuple(jinja_rt *rt, const jinja_list *list, uint64_t *out) {
    if (!jinja_enter(rt) || !jinja_charge(rt, list->n)) return -1;
    int got = hash_items(rt, list, out);
    rt->depth--;
    return got;
}

static int hash_of(jinja_rt *rt, jinja_value v, uint64_t *out) {
    int64_t integer = 0;
    switch ((jinja_type)v.type) {
    case JINJA_STR:
        *out = mosa_hash_bytes(v.as.str->data, v.as.str->len, 1);
        return jinja_charge(rt, v.as.str->len / 64) ? 1 : -1;
    case JINJA_BOOL:
    case JINJA_INT:
        integer = jinja_as_int(v);
        break;
    case JINJA_FLOAT:
        if (float_is_integer(v.as.real, &integer)) break;
        *out = mosa_hash_bytes(&v.as.real, sizeof v.as.real, 3);
        return 1;
    case JINJA_NONE:
        integer = -1;
        break;
    case JINJA_UNDEFINED:
        integer = -2;
        break;
    case JINJA_TUPLE:
        return hash_tuple(rt, v.as.list, out);
    case JINJA_LIST:
    case JINJA_DICT:
        return 0;
    case JINJA_VIEW:
        if (v.as.view->kind != JINJA_VALUES) return 0;
        // fall through
    default:
        *out = mosa_hash_bytes(&v.as.list, sizeof v.as.list, 4);
        return 1;
    }
    *out = mosa_hash_bytes(&integer, sizeof integer, 2);
    return 1;
}

bool jinja_hash(jinja_rt *rt, jinja_value v, uint64_t *out) {
    int got = hash_of(rt, v, out);
    if (got == 0) jinja_fail(rt, MOSA_EINVALID, "unhashable type: '%s'", jinja_type_name(v));
    return got > 0;
}

bool jinja_try_hash(jinja_rt *rt, jinja_value v, bool *hashable, uint64_t *out) {
    int got = hash_of(rt, v, out);
    *hashable = got > 0;
    return got >= 0;
}

// -1, 0, 1, or 2 when unordered (NaN). Exact for a 64-bit integer against a double.
static int compare_numbers(jinja_value a, jinja_value b) {
    if (jinja_is_int(a) && jinja_is_int(b)) {
        int64_t x = jinja_as_int(a), y = jinja_as_int(b);
        return (x > y) - (x < y);
    }
    long double x = a.type == JINJA_FLOAT ? (long double)a.as.real : (long double)jinja_as_int(a);
    long double y = b.type == JINJA_FLOAT ? (long double)b.as.real : (long double)jinja_as_int(b);
    if (isnan(x) || isnan(y)) return 2;
    return (x > y) - (x < y);
}

bool jinja_same(jinja_value a, jinja_value b) {
    if (a.type != b.type) return false;
    switch ((jinja_type)a.type) {
    case JINJA_NONE:
        return true;
    case JINJA_BOOL:
        return a.as.boolean == b.as.boolean;
    case JINJA_INT:
        return a.as.integer == b.as.integer && a.as.integer >= -5 && a.as.integer <= 256;
    case JINJA_FLOAT:
        return false;
    default:
        return a.as.list == b.as.list;
    }
}

static bool equal_items(jinja_rt *rt, const jinja_list *a, const jinja_list *b, bool *out) {
    *out = a->n == b->n;
    for (size_t i = 0; *out && i < a->n; i++)
        if (!jinja_charge(rt, 1) || !jinja_equal(rt, a->items[i], b->items[i], out)) return false;
    return true;
}

static bool equal_dicts(jinja_rt *rt, const jinja_dict *a, const jinja_dict *b, bool *out) {
    *out = a->n == b->n;
    for (size_t i = 0; *out && i < a->n; i++) {
        jinja_value other;
        if (!jinja_dict_get(rt, b, a->items[i].key, &other)) return false;
        if (other.type == JINJA_MISSING)
            *out = false;
        else if (!jinja_equal(rt, a->items[i].value, other, out))
            return false;
    }
    return true;
}

static bool equal_ranges(const jinja_range *a, const jinja_range *b) {
    if (a->n != b->n) return false;
    return a->n == 0 || (a->start == b->start && (a->n == 1 || a->step == b->step));
}

static bool equal_views(jinja_rt *rt, const jinja_view *a, const jinja_view *b, bool *out) {
    *out = a->kind == b->kind && a->kind != JINJA_VALUES && a->dict->n == b->dict->n;
    for (size_t i = 0; *out && i < a->dict->n; i++) {
        jinja_value other;
        if (!jinja_dict_get(rt, b->dict, a->dict->items[i].key, &other)) return false;
        *out = other.type != JINJA_MISSING;
        if (*out && a->kind == JINJA_ITEMS && !jinja_equal(rt, a->dict->items[i].value, other, out)) return false;
    }
    return true;
}

static bool equal_same_type(jinja_rt *rt, jinja_value a, jinja_value b, bool *out) {
    switch ((jinja_type)a.type) {
    case JINJA_UNDEFINED:
    case JINJA_NONE:
        *out = true;
        return true;
    case JINJA_STR:
        *out = mosa_slice_eq(jinja_slice_of(a.as.str), jinja_slice_of(b.as.str));
        return jinja_charge(rt, a.as.str->len / 64);
    case JINJA_LIST:
    case JINJA_TUPLE:
        return equal_items(rt, a.as.list, b.as.list, out);
    case JINJA_DICT:
        return equal_dicts(rt, a.as.dict, b.as.dict, out);
    case JINJA_RANGE:
        *out = equal_ranges(a.as.range, b.as.range);
        return true;
    case JINJA_VIEW:
        return equal_views(rt, a.as.view, b.as.view, out);
    case JINJA_METHOD:
        *out = a.as.method->builtin == b.as.method->builtin && jinja_same(a.as.method->self, b.as.method->self);
        return true;
    default:
        *out = a.as.list == b.as.list;
        return true;
    }
}

bool jinja_equal(jinja_rt *rt, jinja_value a, jinja_value b, bool *out) {
    if (jinja_is_number(a) && jinja_is_number(b)) {
        *out = compare_numbers(a, b) == 0;
        return true;
    }
    *out = false;
    if (a.type != b.type) return true;
    if (!jinja_enter(rt)) return false;
    bool ok = equal_same_type(rt, a, b, out);
    rt->depth--;
    return ok;
}

static bool less_items(jinja_rt *rt, const jinja_list *a, const jinja_list *b, const char *op, bool *out) {
    size_t n = a->n < b->n ? a->n : b->n;
    for (size_t i = 0; i < n; i++) {
        bool equal;
        if (!jinja_charge(rt, 1) || !jinja_equal(rt, a->items[i], b->items[i], &equal)) return false;
        if (!equal) return jinja_less(rt, a->items[i], b->items[i], op, out);
    }
    *out = a->n < b->n;
    return true;
}

bool jinja_less(jinja_rt *rt, jinja_value a, jinja_value b, const char *op, bool *out) {
    if (jinja_is_number(a) && jinja_is_number(b)) {
        *out = compare_numbers(a, b) == -1;
        return true;
    }
    if (a.type == JINJA_STR && b.type == JINJA_STR) {
        *out = jinja_str_compare(a.as.str, b.as.str) < 0;
        return jinja_charge(rt, a.as.str->len / 64);
    }
    if (jinja_is_sequence(a) && a.type == b.type) {
        if (!jinja_enter(rt)) return false;
        bool ok = less_items(rt, a.as.list, b.as.list, op, out);
        rt->depth--;
        return ok;
    }
    if (a.type == JINJA_UNDEFINED) return jinja_fail_undefined(rt, a);
    if (b.type == JINJA_UNDEFINED) return jinja_fail_undefined(rt, b);
    return jinja_fail(rt, MOSA_EINVALID, "'%s' not supported between instances of '%s' and '%s'", op,
                      jinja_type_name(a), jinja_type_name(b));
}

bool jinja_compare(jinja_rt *rt, jinja_operator op, jinja_value a, jinja_value b, bool *out) {
    bool numbers = jinja_is_number(a) && jinja_is_number(b), equal;
    if (numbers && op != OP_EQ && op != OP_NE && op != OP_IN && op != OP_NOTIN) {
        int order = compare_numbers(a, b);
        *out = op == OP_LT     ? order == -1
               : op == OP_GT   ? order == 1
               : op == OP_LTEQ ? order <= 0
                               : order == 0 || order == 1;
        return true;
    }
    switch (op) {
    case OP_EQ:
        return jinja_equal(rt, a, b, out);
    case OP_NE:
        if (!jinja_equal(rt, a, b, out)) return false;
        *out = !*out;
        return true;
    case OP_LT:
        return jinja_less(rt, a, b, "<", out);
    case OP_GT:
        return jinja_less(rt, b, a, ">", out);
    case OP_LTEQ:
    case OP_GTEQ:
        if (!jinja_less(rt, op == OP_LTEQ ? a : b, op == OP_LTEQ ? b : a, op == OP_LTEQ ? "<=" : ">=", out))
            return false;
        if (*out) return true;
        if (!jinja_equal(rt, a, b, &equal)) return false;
        *out = equal;
        return true;
    case OP_IN:
        return jinja_contains(rt, b, a, out);
    case OP_NOTIN:
        if (!jinja_contains(rt, b, a, out)) return false;
        *out = !*out;
        return true;
    default:
        return jinja_fail(rt, MOSA_EINTERNAL, "not a comparison");
    }
}

static bool contains_scan(jinja_rt *rt, jinja_value container, jinja_value item, bool *out) {
    jinja_iter it;
    if (!jinja_iterate(rt, container, &it)) return false;
    jinja_value v;
    int more;
    while ((more = jinja_next(rt, &it, &v)) > 0) {
        if (!jinja_charge(rt, 1)) return false;
        *out = jinja_same(v, item);
        if (!*out && !jinja_equal(rt, v, item, out)) return false;
        if (*out) return true;
    }
    *out = false;
    return more == 0;
}

bool jinja_contains(jinja_rt *rt, jinja_value container, jinja_value item, bool *out) {
    jinja_value found;
    const jinja_dict *dict = container.type == JINJA_DICT ? container.as.dict : NULL;
    if (container.type == JINJA_VIEW && container.as.view->kind == JINJA_KEYS) dict = container.as.view->dict;
    if (dict) {
        if (!jinja_dict_get(rt, dict, item, &found)) return false;
        *out = found.type != JINJA_MISSING;
        return true;
    }
    if (container.type == JINJA_STR) {
        if (item.type != JINJA_STR)
            return jinja_fail(rt, MOSA_EINVALID, "'in <string>' requires string as left operand, not %s",
                              jinja_type_name(item));
        *out = jinja_str_find(container.as.str, 0, item.as.str) != SIZE_MAX;
        return jinja_charge(rt, container.as.str->len / 64);
    }
    if (!jinja_iterable(container))
        return jinja_fail(rt, MOSA_EINVALID, "argument of type '%s' is not iterable", jinja_type_name(container));
    return contains_scan(rt, container, item, out);
}
