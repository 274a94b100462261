// obj.name, obj[key] and obj[a:b:c] by the sandbox's rules: attributes first for a dot, items first for brackets, the
// other one as the fallback, and an undefined value, not an error, when there is neither.
#include "text/jinja_runtime.h"

#include <string.h>

bool jinja_undefined_value(jinja_rt *rt, const char *hint, jinja_value owner, const jinja_str *name, jinja_value *out) {
    jinja_undefined *why = JINJA_NEW(rt, jinja_undefined);
    if (!why) return false;
    const char *type = owner.type == JINJA_MISSING ? NULL : owner.type == JINJA_NONE ? "None" : jinja_type_name(owner);
    *why = (jinja_undefined){.hint = hint, .owner = type, .name = name};
    *out = (jinja_value){.type = JINJA_UNDEFINED, .as.undefined = why};
    return true;
}

bool jinja_fail_undefined(jinja_rt *rt, jinja_value v) {
    const jinja_undefined *why = v.as.undefined;
    if (why->hint) return jinja_fail(rt, MOSA_EINVALID, "%s", why->hint);
    int len = why->name ? (int)(why->name->len < 120 ? why->name->len : 120) : 0;
    const char *name = why->name ? why->name->data : "";
    if (!why->owner) return jinja_fail(rt, MOSA_EINVALID, "'%.*s' is undefined", len, name);
    bool none = strcmp(why->owner, "None") == 0;
    return jinja_fail(rt, MOSA_EINVALID, "'%s%s' has no attribute '%.*s'", why->owner, none ? "" : " object", len,
                      name);
}

static bool missing_attribute(jinja_rt *rt, jinja_value object, jinja_value key, jinja_value *out) {
    const jinja_str *name;
    return jinja_to_str(rt, key, &name) && jinja_undefined_value(rt, NULL, object, name, out);
}

static bool bind_method(jinja_rt *rt, jinja_value self, const jinja_builtin *builtin, jinja_value *out) {
    jinja_method *method = JINJA_NEW(rt, jinja_method);
    if (!method) return false;
    *method = (jinja_method){self, builtin};
    *out = (jinja_value){.type = JINJA_METHOD, .as.method = method};
    return true;
}

static bool names_tuple(jinja_rt *rt, const jinja_signature *signature, jinja_value *out) {
    jinja_vec names = {0};
    for (size_t i = 0; i < signature->n_parameters; i++)
        if (!jinja_vec_push(rt, &names, jinja_of_str(signature->parameters[i]->as.name.text))) return false;
    return jinja_vec_list(rt, &names, JINJA_TUPLE, out);
}

static bool macro_attribute(jinja_rt *rt, const jinja_signature *signature, const jinja_str *name, jinja_value *out) {
    if (jinja_str_is(name, "name"))
        *out = signature->name ? jinja_of_str(signature->name) : jinja_none();
    else if (jinja_str_is(name, "arguments"))
        return names_tuple(rt, signature, out);
    else if (jinja_str_is(name, "catch_kwargs"))
        *out = jinja_bool(signature->uses_kwargs);
    else if (jinja_str_is(name, "catch_varargs"))
        *out = jinja_bool(signature->uses_varargs);
    else if (jinja_str_is(name, "caller"))
        *out = jinja_bool(signature->uses_caller);
    else if (jinja_str_is(name, "explicit_caller"))
        *out = jinja_bool(signature->explicit_caller);
    return true;
}

static void number_attribute(jinja_value v, const jinja_str *name, jinja_value *out) {
    bool real = jinja_str_is(name, "real"), integer = jinja_is_int(v);
    if (real || (integer && jinja_str_is(name, "numerator")))
        *out = integer ? jinja_tainted(jinja_int(jinja_as_int(v)), v.tainted) : v;
    else if (jinja_str_is(name, "imag"))
        *out = integer ? jinja_int(0) : jinja_float(0);
    else if (integer && jinja_str_is(name, "denominator"))
        *out = jinja_int(1);
}

// Data attributes, i.e. those that are no methods; MISSING when there is none.
static bool data_attribute(jinja_rt *rt, jinja_value object, const jinja_str *name, jinja_value *out) {
    *out = (jinja_value){.type = JINJA_MISSING};
    switch ((jinja_type)object.type) {
    case JINJA_NAMESPACE:
        return jinja_dict_get_str(rt, object.as.dict, name, out);
    case JINJA_LOOP:
        return jinja_loop_attribute(rt, object.as.loop, name, out);
    case JINJA_MACRO:
        return macro_attribute(rt, object.as.macro->signature, name, out);
    case JINJA_BOOL:
    case JINJA_INT:
    case JINJA_FLOAT:
        number_attribute(object, name, out);
        return true;
    case JINJA_TUPLE:
        if (!object.as.list->group) return true;
        if (jinja_str_is(name, "grouper")) *out = object.as.list->items[0];
        if (jinja_str_is(name, "list")) *out = object.as.list->items[1];
        return true;
    case JINJA_RANGE:
        if (jinja_str_is(name, "start")) *out = jinja_int(object.as.range->start);
        if (jinja_str_is(name, "stop")) *out = jinja_int(object.as.range->stop);
        if (jinja_str_is(name, "step")) *out = jinja_int(object.as.range->step);
        return true;
    case JINJA_CYCLER:
        if (jinja_str_is(name, "current")) *out = object.as.cycler->items[object.as.cycler->position];
        if (jinja_str_is(name, "pos")) *out = jinja_int((int64_t)object.as.cycler->position);
        return true;
    case JINJA_JOINER:
        if (jinja_str_is(name, "sep")) *out = object.as.joiner->separator;
        if (jinja_str_is(name, "used")) *out = jinja_bool(object.as.joiner->used);
        return true;
    default:
        return true;
    }
}

// getattr(object, name); MISSING when Python would raise AttributeError.
static bool attribute(jinja_rt *rt, jinja_value object, const jinja_str *name, jinja_value *out) {
    if (!data_attribute(rt, object, name, out)) return false;
    if (out->type != JINJA_MISSING) return true;
    bool forbidden = false;
    const jinja_builtin *method = jinja_find_method(object, jinja_slice_of(name), &forbidden);
    if (forbidden) {
        const char *hint = mosa_arena_printf(&rt->arena, "access to attribute '%.*s' of '%s' object is unsafe.",
                                             (int)name->len, name->data, jinja_type_name(object));
        return hint ? jinja_undefined_value(rt, hint, object, name, out) : jinja_fail(rt, MOSA_ELIMIT, "out of memory");
    }
    return method ? bind_method(rt, object, method, out) : true;
}

bool jinja_getattr(jinja_rt *rt, jinja_value object, const jinja_str *name, jinja_value *out) {
    if (object.type == JINJA_UNDEFINED) return jinja_fail_undefined(rt, object);
    if (!attribute(rt, object, name, out)) return false;
    if (out->type == JINJA_MISSING && object.type == JINJA_DICT && !jinja_dict_get_str(rt, object.as.dict, name, out))
        return false;
    return out->type != JINJA_MISSING || jinja_undefined_value(rt, NULL, object, name, out);
}

// Index into a sequence of n items; false when out of range.
static bool sequence_index(jinja_value key, size_t n, size_t *out) {
    int64_t i = jinja_as_int(key);
    if (i < 0) i += (int64_t)n;
    *out = (size_t)i;
    return i >= 0 && (size_t)i < n;
}

// object[key] for the types that have items by number; MISSING when out of range.
static bool item_by_number(jinja_rt *rt, jinja_value object, jinja_value key, jinja_value *out) {
    size_t n, i;
    *out = (jinja_value){.type = JINJA_MISSING};
    if (!jinja_length(rt, object, &n)) return false;
    if (!sequence_index(key, n, &i)) return true;
    if (object.type == JINJA_STR && !jinja_charge(rt, object.as.str->len / 64)) return false;
    if (jinja_is_sequence(object)) {
        *out = object.as.list->items[i];
    } else if (object.type == JINJA_RANGE) {
        *out = jinja_int(object.as.range->start + (int64_t)i * object.as.range->step);
    } else {
        size_t from = jinja_str_offset(object.as.str, i), to = from;
        jinja_utf8_next(object.as.str->data, object.as.str->len, &to);
        if (!jinja_substr_value(rt, object.as.str, from, to, out)) return false;
        out->markup = object.markup;
    }
    return true;
}

bool jinja_getitem(jinja_rt *rt, jinja_value object, jinja_value key, jinja_value *out) {
    if (object.type == JINJA_UNDEFINED) return jinja_fail_undefined(rt, object);
    *out = (jinja_value){.type = JINJA_MISSING};
    if (object.type == JINJA_DICT) {
        if (!jinja_dict_find(rt, object.as.dict, key, out)) return false;
    } else if (jinja_is_int(key) &&
               (jinja_is_sequence(object) || object.type == JINJA_STR || object.type == JINJA_RANGE)) {
        if (!item_by_number(rt, object, key, out)) return false;
    }
    if (out->type != JINJA_MISSING) return true;
    if (key.type == JINJA_STR && !attribute(rt, object, key.as.str, out)) return false;
    return out->type != JINJA_MISSING || missing_attribute(rt, object, key, out);
}

bool jinja_index(jinja_rt *rt, jinja_value v, const char *what, int64_t *out) {
    if (v.type == JINJA_UNDEFINED) return jinja_fail_undefined(rt, v);
    if (!jinja_is_int(v))
        return jinja_fail(rt, MOSA_EINVALID, "%s must be an integer, not '%s'", what, jinja_type_name(v));
    *out = jinja_as_int(v);
    return true;
}

// One bound of a slice over n items, clamped as Python does.
static bool slice_bound(jinja_rt *rt, jinja_value v, int64_t n, bool backward, bool is_stop, int64_t *out) {
    int64_t low = backward ? -1 : 0, high = backward ? n - 1 : n;
    if (v.type == JINJA_MISSING || v.type == JINJA_NONE) {
        *out = is_stop == backward ? low : high;
        return true;
    }
    if (!jinja_is_int(v)) return jinja_fail(rt, MOSA_EINVALID, "slice indices must be integers or None");
    int64_t i = jinja_as_int(v);
    if (i < 0) i += n;
    *out = i < low ? low : i > high ? high : i;
    return true;
}

static bool slice_str(jinja_rt *rt, jinja_value object, int64_t start, int64_t step, size_t count, jinja_value *out) {
    const jinja_str *s = object.as.str;
    if (step == 1) {
        size_t from = jinja_str_offset(s, (size_t)start), to = from;
        if (jinja_str_chars(s) == s->len)
            to = from + count;
        else
            for (size_t i = 0; i < count; i++) jinja_utf8_next(s->data, s->len, &to);
        if (!jinja_charge(rt, s->len / 64) || !jinja_substr_value(rt, s, from, count ? to : from, out)) return false;
        out->markup = object.markup;
        return true;
    }
    jinja_builder b;
    jinja_builder_init(&b, rt);
    size_t at = count ? jinja_str_offset(s, (size_t)start) : 0;
    for (size_t i = 0; i < count && !b.failed; i++) {
        size_t next = at;
        jinja_utf8_next(s->data, s->len, &next);
        jinja_put_part(&b, s, at, next);
        for (int64_t k = 0; k < step && at < s->len; k++) jinja_utf8_next(s->data, s->len, &at);
        for (int64_t k = 0; k > step && at > 0; k--) at = jinja_utf8_prev(s->data, at);
    }
    if (!jinja_charge(rt, s->len / 16) || !jinja_build(&b, out)) return false;
    out->markup = object.markup;
    return true;
}

static bool slice_range(jinja_rt *rt, const jinja_range *range, int64_t start, int64_t stop, int64_t step, size_t count,
                        jinja_value *out) {
    jinja_range *part = JINJA_NEW(rt, jinja_range);
    if (!part) return false;
    // Unsigned: the end of a range may lie beyond 64 bits when nothing in it does.
    uint64_t base = (uint64_t)range->start, stride = (uint64_t)range->step;
    *part = (jinja_range){(int64_t)(base + (uint64_t)start * stride), (int64_t)(base + (uint64_t)stop * stride),
                          (int64_t)(stride * (uint64_t)step), count};
    *out = (jinja_value){.type = JINJA_RANGE, .as.range = part};
    return true;
}

bool jinja_slice(jinja_rt *rt, jinja_value object, jinja_value start_value, jinja_value stop_value,
                 jinja_value step_value, jinja_value *out) {
    if (object.type == JINJA_UNDEFINED) return jinja_fail_undefined(rt, object);
    bool text = object.type == JINJA_STR;
    if (!text && !jinja_is_sequence(object) && object.type != JINJA_RANGE)
        return jinja_fail(rt, MOSA_EINVALID, "'%s' object cannot be sliced", jinja_type_name(object));
    int64_t start, stop, step = 1;
    bool default_step = step_value.type == JINJA_MISSING || step_value.type == JINJA_NONE;
    if (!default_step && !jinja_index(rt, step_value, "a slice step", &step)) return false;
    if (step == 0) return jinja_fail(rt, MOSA_EINVALID, "slice step cannot be zero");
    size_t n;
    if (!jinja_length(rt, object, &n)) return false;
    if (step > (int64_t)n) step = (int64_t)n + 1;
    if (step < -(int64_t)n) step = -(int64_t)n - 1;
    bool backward = step < 0;
    if (!slice_bound(rt, start_value, (int64_t)n, backward, false, &start) ||
        !slice_bound(rt, stop_value, (int64_t)n, backward, true, &stop))
        return false;
    int64_t span = backward ? start - stop : stop - start, stride = backward ? -step : step;
    size_t count = span > 0 ? (size_t)((span + stride - 1) / stride) : 0;
    if (text) return slice_str(rt, object, start, step, count, out);
    if (object.type == JINJA_RANGE) return slice_range(rt, object.as.range, start, stop, step, count, out);
    jinja_vec items = {0};
    for (size_t i = 0; i < count; i++)
        if (!jinja_vec_push(rt, &items, object.as.list->items[start + (int64_t)i * step])) return false;
    return jinja_vec_list(rt, &items, (jinja_type)object.type, out);
}
