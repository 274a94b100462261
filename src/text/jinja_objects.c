// Methods of everything that is no string, and the global functions. A row without a function is a method that would
// modify its object: the sandbox makes it undefined.
#include "text/jinja_runtime.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define METHOD(name) static bool name(jinja_rt *rt, jinja_value self, const jinja_args *args, jinja_value *out)

enum { RANGE_MAX = 100000, STRFTIME_MAX = 4096 };

// --- lists, tuples, ranges ---

METHOD(seq_count) {
    jinja_iter it;
    jinja_value item;
    int64_t n = 0;
    int more;
    bool equal;
    if (!jinja_iterate(rt, self, &it)) return false;
    while ((more = jinja_next(rt, &it, &item)) > 0) {
        if (!jinja_equal(rt, item, args->pos[0], &equal)) return false;
        n += equal;
    }
    *out = jinja_int(n);
    return more == 0;
}

METHOD(seq_index) {
    jinja_vec items;
    if (!jinja_collect(rt, self, &items)) return false;
    int64_t n = (int64_t)items.n, start = 0, end = n;
    if (args->n > 1 && args->pos[1].type != JINJA_MISSING && !jinja_index(rt, args->pos[1], "a slice index", &start))
        return false;
    if (args->n > 2 && args->pos[2].type != JINJA_MISSING && !jinja_index(rt, args->pos[2], "a slice index", &end))
        return false;
    if (start < 0) start = start + n < 0 ? 0 : start + n;
    if (end < 0) end += n;
    for (int64_t i = start; i < end && i < n; i++) {
        bool equal;
        if (!jinja_charge(rt, 1) || !jinja_equal(rt, items.items[i], args->pos[0], &equal)) return false;
        if (!equal) continue;
        *out = jinja_int(i);
        return true;
    }
    return jinja_fail(rt, MOSA_EINVALID, "value is not in %s", jinja_type_name(self));
}

METHOD(list_copy) {
    (void)rt;
    (void)args;
    *out = self;
    return true;
}

static const jinja_builtin list_methods[] = {
    {"append", "", NULL},    {"clear", "", NULL},
    {"copy", "", list_copy}, {"count", "/value!", seq_count},
    {"extend", "", NULL},    {"index", "/value! start end", seq_index},
    {"insert", "", NULL},    {"pop", "", NULL},
    {"remove", "", NULL},    {"reverse", "", NULL},
    {"sort", "", NULL},
};

static const jinja_builtin tuple_methods[] = {
    {"count", "/value!", seq_count},
    {"index", "/value! start end", seq_index},
};

static const jinja_builtin range_methods[] = {
    {"count", "/value!", seq_count},
    {"index", "/value!", seq_index},
};

// --- dicts ---

static bool new_view(jinja_rt *rt, jinja_value self, jinja_view_kind kind, jinja_value *out) {
    jinja_view *view = JINJA_NEW(rt, jinja_view);
    if (!view) return false;
    *view = (jinja_view){self.as.dict, kind};
    *out = (jinja_value){.type = JINJA_VIEW, .as.view = view};
    return true;
}

METHOD(dict_keys) {
    (void)args;
    return new_view(rt, self, JINJA_KEYS, out);
}
METHOD(dict_values) {
    (void)args;
    return new_view(rt, self, JINJA_VALUES, out);
}
METHOD(dict_items) {
    (void)args;
    return new_view(rt, self, JINJA_ITEMS, out);
}

METHOD(dict_get) {
    if (!jinja_dict_get(rt, self.as.dict, args->pos[0], out)) return false;
    if (out->type != JINJA_MISSING) return true;
    *out = args->pos[1].type == JINJA_MISSING ? jinja_none() : args->pos[1];
    return true;
}

METHOD(dict_copy) {
    (void)args;
    return jinja_new_dict(rt, out) && jinja_dict_from(rt, out->as.dict, self);
}

METHOD(dict_fromkeys) {
    (void)self;
    jinja_iter it;
    jinja_value key;
    int more;
    jinja_value value = args->pos[1].type == JINJA_MISSING ? jinja_none() : args->pos[1];
    if (!jinja_iterate(rt, args->pos[0], &it) || !jinja_new_dict(rt, out)) return false;
    while ((more = jinja_next(rt, &it, &key)) > 0)
        if (!jinja_dict_set(rt, out->as.dict, key, value)) return false;
    return more == 0;
}

static const jinja_builtin dict_methods[] = {
    {"clear", "", NULL},
    {"copy", "", dict_copy},
    {"fromkeys", "/iterable! value", dict_fromkeys},
    {"get", "/key! default", dict_get},
    {"items", "", dict_items},
    {"keys", "", dict_keys},
    {"pop", "", NULL},
    {"popitem", "", NULL},
    {"setdefault", "", NULL},
    {"update", "", NULL},
    {"values", "", dict_values},
};

// --- numbers ---

METHOD(int_bit_length) {
    (void)rt;
    (void)args;
    int64_t i = jinja_as_int(self), n = 0;
    for (uint64_t bits = i < 0 ? 0 - (uint64_t)i : (uint64_t)i; bits; bits >>= 1) n++;
    *out = jinja_int(n);
    return true;
}

METHOD(int_conjugate) {
    (void)rt;
    (void)args;
    *out = jinja_is_int(self) ? jinja_tainted(jinja_int(jinja_as_int(self)), self.tainted) : self;
    return true;
}

METHOD(float_is_integer) {
    (void)rt;
    (void)args;
    *out = jinja_bool(isfinite(self.as.real) && self.as.real == floor(self.as.real));
    return true;
}

METHOD(number_absent) {
    (void)self;
    (void)args;
    (void)out;
    return jinja_fail(rt, MOSA_EUNSUPPORTED, "this number method is not available");
}

static const jinja_builtin int_methods[] = {
    {"as_integer_ratio", "*", number_absent}, {"bit_count", "*", number_absent},  {"bit_length", "", int_bit_length},
    {"conjugate", "", int_conjugate},         {"from_bytes", "*", number_absent}, {"to_bytes", "*", number_absent},
};

static const jinja_builtin float_methods[] = {
    {"as_integer_ratio", "*", number_absent}, {"conjugate", "", int_conjugate},
    {"fromhex", "*", number_absent},          {"hex", "*", number_absent},
    {"is_integer", "", float_is_integer},
};

// --- loops, cyclers ---

METHOD(loop_cycle) {
    if (args->n == 0) return jinja_fail(rt, MOSA_EINVALID, "no items for cycling given");
    *out = args->pos[self.as.loop->index0 % args->n];
    return true;
}

METHOD(loop_changed) {
    jinja_vec values = {0};
    jinja_value now;
    bool same = false;
    for (size_t i = 0; i < args->n; i++)
        if (!jinja_vec_push(rt, &values, args->pos[i])) return false;
    if (!jinja_vec_list(rt, &values, JINJA_TUPLE, &now) || !jinja_equal(rt, self.as.loop->last_changed, now, &same))
        return false;
    self.as.loop->last_changed = now;
    *out = jinja_bool(!same);
    return true;
}

static const jinja_builtin loop_methods[] = {{"changed", "*", loop_changed}, {"cycle", "*", loop_cycle}};

METHOD(cycler_next) {
    (void)rt;
    (void)args;
    jinja_cycler *cycler = self.as.cycler;
    *out = cycler->items[cycler->position];
    cycler->position = (cycler->position + 1) % cycler->n;
    return true;
}

METHOD(cycler_reset) {
    (void)rt;
    (void)args;
    self.as.cycler->position = 0;
    *out = jinja_none();
    return true;
}

static const jinja_builtin cycler_methods[] = {{"next", "", cycler_next}, {"reset", "", cycler_reset}};

// --- global functions ---

METHOD(f_range) {
    (void)self;
    int64_t bounds[3] = {0, 0, 1};
    if (args->n < 1 || args->n > 3 || args->n_kw)
        return jinja_fail(rt, MOSA_EINVALID, "range expected 1 to 3 arguments");
    for (size_t i = 0; i < args->n; i++)
        if (!jinja_index(rt, args->pos[i], "a range bound", &bounds[args->n == 1 ? 1 : i])) return false;
    int64_t start = bounds[0], stop = bounds[1], step = bounds[2];
    if (step == 0) return jinja_fail(rt, MOSA_EINVALID, "range() arg 3 must not be zero");
    __int128 span = step > 0 ? (__int128)stop - start : (__int128)start - stop;
    __int128 stride = step > 0 ? step : -(__int128)step;
    __int128 n = span > 0 ? (span + stride - 1) / stride : 0;
    if (n > RANGE_MAX)
        return jinja_fail(rt, MOSA_EINVALID, "range too big: the sandbox blocks ranges larger than %d", RANGE_MAX);
    jinja_range *range = JINJA_NEW(rt, jinja_range);
    if (!range) return false;
    *range = (jinja_range){start, stop, step, (size_t)n};
    *out = (jinja_value){.type = JINJA_RANGE, .as.range = range};
    return true;
}

METHOD(f_dict) {
    (void)self;
    if (args->n > 1) return jinja_fail(rt, MOSA_EINVALID, "dict expected at most 1 argument, got %zu", args->n);
    if (!jinja_new_dict(rt, out)) return false;
    if (args->n && !jinja_dict_from(rt, out->as.dict, args->pos[0])) return false;
    for (size_t i = 0; i < args->n_kw; i++)
        if (!jinja_dict_set(rt, out->as.dict, jinja_of_str(args->kw[i].name), args->kw[i].value)) return false;
    return true;
}

METHOD(f_namespace) {
    if (!f_dict(rt, self, args, out)) return false;
    for (size_t i = 0; i < out->as.dict->n; i++) {
        jinja_value key = out->as.dict->items[i].key;
        if (key.type == JINJA_STR && key.as.str->len && key.as.str->data[0] == '_')
            return jinja_fail(rt, MOSA_EINVALID,
                              "chat templates cannot store underscore-prefixed attributes on a namespace");
    }
    out->type = JINJA_NAMESPACE;
    return true;
}

METHOD(f_cycler) {
    (void)self;
    jinja_cycler *cycler = JINJA_NEW(rt, jinja_cycler);
    jinja_value *items = JINJA_ARRAY(rt, jinja_value, args->n);
    if (args->n == 0 || args->n_kw) return jinja_fail(rt, MOSA_EINVALID, "at least one item has to be provided");
    if (!cycler || !items) return false;
    memcpy(items, args->pos, args->n * sizeof *items);
    *cycler = (jinja_cycler){items, args->n, 0};
    *out = (jinja_value){.type = JINJA_CYCLER, .as.cycler = cycler};
    return true;
}

METHOD(f_joiner) {
    (void)self;
    jinja_joiner *joiner = JINJA_NEW(rt, jinja_joiner);
    if (!joiner) return false;
    joiner->separator = args->pos[0];
    if (args->pos[0].type == JINJA_MISSING && !jinja_text_value(rt, ", ", &joiner->separator)) return false;
    *out = (jinja_value){.type = JINJA_JOINER, .as.joiner = joiner};
    return true;
}

METHOD(f_lipsum) {
    (void)self;
    (void)args;
    (void)out;
    return jinja_fail(rt, MOSA_EUNSUPPORTED, "the function 'lipsum' is not available");
}

// The one error whose message is the template's own words, without a line number.
METHOD(f_raise_exception) {
    (void)self;
    (void)out;
    const jinja_str *message;
    if (!jinja_to_str(rt, args->pos[0], &message)) return false;
    mosa_fail(rt->err, MOSA_EINVALID, "%.*s",
              (int)(message->len < MOSA_ERROR_MESSAGE_MAX ? message->len : MOSA_ERROR_MESSAGE_MAX), message->data);
    return false;
}

METHOD(f_strftime_now) {
    (void)self;
    struct tm local;
    const struct tm *now = rt->inputs->now;
    if (args->pos[0].type != JINJA_STR)
        return jinja_fail(rt, MOSA_EINVALID, "strftime() argument 1 must be str, not %s",
                          jinja_type_name(args->pos[0]));
    if (!now) {
        time_t seconds = time(NULL);
        if (!localtime_r(&seconds, &local)) return jinja_fail(rt, MOSA_EINTERNAL, "no local time");
        now = &local;
    }
    const jinja_str *format = args->pos[0].as.str;
    // A trailing blank tells an empty result from one that does not fit.
    char *pattern = mosa_arena_printf(&rt->arena, "%.*s ", (int)format->len, format->data);
    char *text = jinja_alloc(rt, STRFTIME_MAX, 1);
    if (!pattern || !text) return jinja_fail(rt, MOSA_ELIMIT, "out of memory");
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    size_t len = strftime(text, STRFTIME_MAX, pattern, now);
#pragma GCC diagnostic pop
    if (len == 0)
        return jinja_fail(rt, MOSA_EINVALID, "strftime_now: the result is longer than %d bytes", STRFTIME_MAX);
    if (!jinja_utf8_valid(text, len - 1)) return jinja_fail(rt, MOSA_EINVALID, "strftime_now: the result is not UTF-8");
    const jinja_str *s = jinja_new_str(rt, text, len - 1, jinja_str_trusted(format) ? JINJA_TRUSTED : 0);
    if (s) *out = jinja_of_str(s);
    return s != NULL;
}

static const jinja_builtin functions[] = {
    {"cycler", "*", f_cycler},       {"dict", "*", f_dict},
    {"joiner", "sep", f_joiner},     {"lipsum", "*", f_lipsum},
    {"namespace", "*", f_namespace}, {"raise_exception", "message!", f_raise_exception},
    {"range", "*", f_range},         {"strftime_now", "format!", f_strftime_now},
};

static const jinja_builtin dict_function_methods[] = {{"fromkeys", "/iterable! value", dict_fromkeys}};

const jinja_builtin *jinja_find_in(const jinja_builtin *table, size_t n, mosa_slice name) {
    for (size_t i = 0; i < n; i++)
        if (mosa_slice_eq(mosa_slice_of(table[i].name), name)) return &table[i];
    return NULL;
}

const jinja_builtin *jinja_find_function(mosa_slice name) {
    return jinja_find_in(functions, MOSA_COUNT(functions), name);
}

static jinja_table methods_of(jinja_value object) {
    switch ((jinja_type)object.type) {
    case JINJA_STR:
        return jinja_str_methods;
    case JINJA_LIST:
        return (jinja_table){list_methods, MOSA_COUNT(list_methods)};
    case JINJA_TUPLE:
        return (jinja_table){tuple_methods, MOSA_COUNT(tuple_methods)};
    case JINJA_DICT:
        return (jinja_table){dict_methods, MOSA_COUNT(dict_methods)};
    case JINJA_RANGE:
        return (jinja_table){range_methods, MOSA_COUNT(range_methods)};
    case JINJA_BOOL:
    case JINJA_INT:
        return (jinja_table){int_methods, MOSA_COUNT(int_methods)};
    case JINJA_FLOAT:
        return (jinja_table){float_methods, MOSA_COUNT(float_methods)};
    case JINJA_LOOP:
        return (jinja_table){loop_methods, MOSA_COUNT(loop_methods)};
    case JINJA_CYCLER:
        return (jinja_table){cycler_methods, MOSA_COUNT(cycler_methods)};
    case JINJA_FUNCTION:
        if (strcmp(object.as.function->name, "dict") == 0)
            return (jinja_table){dict_function_methods, MOSA_COUNT(dict_function_methods)};
        return (jinja_table){NULL, 0};
    default:
        return (jinja_table){NULL, 0};
    }
}

const jinja_builtin *jinja_find_method(jinja_value object, mosa_slice name, bool *forbidden) {
    jinja_table table = methods_of(object);
    const jinja_builtin *row = jinja_find_in(table.rows, table.n, name);
    *forbidden = row && !row->fn;
    return row && row->fn ? row : NULL;
}
