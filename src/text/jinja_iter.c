// Iteration over anything iterable, and lazy iterators that Python's generators correspond to.
#include "text/jinja_runtime.h"

bool jinja_iterable(jinja_value v) {
    switch ((jinja_type)v.type) {
    case JINJA_UNDEFINED:
    case JINJA_STR:
    case JINJA_LIST:
    case JINJA_TUPLE:
    case JINJA_DICT:
    case JINJA_RANGE:
    case JINJA_VIEW:
    case JINJA_ITER:
    case JINJA_LOOP:
        return true;
    default:
        return false;
    }
}

bool jinja_iterate(jinja_rt *rt, jinja_value v, jinja_iter *out) {
    if (!jinja_iterable(v)) return jinja_fail(rt, MOSA_EINVALID, "'%s' object is not iterable", jinja_type_name(v));
    if (v.type == JINJA_LOOP) return jinja_fail(rt, MOSA_EUNSUPPORTED, "iterating over 'loop' is not available");
    *out = (jinja_iter){.source = v};
    return true;
}

bool jinja_iterate_reversed(jinja_rt *rt, jinja_value v, jinja_iter *out) {
    *out = (jinja_iter){.source = v, .reversed = true};
    switch ((jinja_type)v.type) {
    case JINJA_LIST:
    case JINJA_TUPLE:
    case JINJA_DICT:
    case JINJA_RANGE:
    case JINJA_VIEW:
        return jinja_length(rt, v, &out->position);
    case JINJA_STR:
        out->position = v.as.str->len;
        return true;
    case JINJA_UNDEFINED:
        return true;
    default:
        return jinja_fail(rt, MOSA_EINVALID, "'%s' object is not reversible", jinja_type_name(v));
    }
}

static int next_in_view(jinja_rt *rt, const jinja_dict *dict, jinja_view_kind kind, size_t i, jinja_value *out) {
    const jinja_pair *pair = &dict->items[i];
    if (kind != JINJA_ITEMS)
        *out = kind == JINJA_KEYS ? pair->key : pair->value;
    else if (!jinja_pair_tuple(rt, pair->key, pair->value, out))
        return -1;
    return 1;
}

// The item at a position of something with a length.
static int item_at(jinja_rt *rt, jinja_value source, size_t i, jinja_value *out) {
    switch ((jinja_type)source.type) {
    case JINJA_LIST:
    case JINJA_TUPLE:
        *out = source.as.list->items[i];
        return 1;
    case JINJA_DICT:
        *out = source.as.dict->items[i].key;
        return 1;
    case JINJA_RANGE:
        *out = jinja_int(source.as.range->start + (int64_t)i * source.as.range->step);
        return 1;
    default:
        return next_in_view(rt, source.as.view->dict, source.as.view->kind, i, out);
    }
}

static int next_char(jinja_rt *rt, jinja_iter *it, jinja_value *out) {
    const jinja_str *s = it->source.as.str;
    size_t from = it->position, to = from;
    if (it->reversed) {
        if (from == 0) return 0;
        it->position = from = jinja_utf8_prev(s->data, from);
    } else {
        if (from >= s->len) return 0;
        jinja_utf8_next(s->data, s->len, &to);
        it->position = to;
    }
    return jinja_substr_value(rt, s, from, to, out) ? 1 : -1;
}

int jinja_next(jinja_rt *rt, jinja_iter *it, jinja_value *out) {
    if (!jinja_charge(rt, 1)) return -1;
    if (it->source.type == JINJA_UNDEFINED) return 0;
    if (it->source.type == JINJA_STR) return next_char(rt, it, out);
    if (it->source.type == JINJA_ITER) {
        jinja_gen *gen = it->source.as.gen;
        if (gen->finished) return 0;
        if (!jinja_enter(rt)) return -1;
        int got = gen->next(rt, gen, out);
        rt->depth--;
        gen->finished = got <= 0;
        return got;
    }
    if (it->reversed) return it->position == 0 ? 0 : item_at(rt, it->source, --it->position, out);
    size_t n;
    if (!jinja_length(rt, it->source, &n)) return -1;
    return it->position >= n ? 0 : item_at(rt, it->source, it->position++, out);
}

bool jinja_collect(jinja_rt *rt, jinja_value v, jinja_vec *out) {
    if (jinja_is_sequence(v)) {
        *out = (jinja_vec){v.as.list->items, v.as.list->n, v.as.list->n};
        return true;
    }
    jinja_iter it;
    if (!jinja_iterate(rt, v, &it)) return false;
    jinja_value item;
    int more;
    *out = (jinja_vec){0};
    while ((more = jinja_next(rt, &it, &item)) > 0)
        if (!jinja_vec_push(rt, out, item)) return false;
    return more == 0;
}

bool jinja_has_length(jinja_value v) {
    return jinja_iterable(v) && v.type != JINJA_ITER;
}

bool jinja_length(jinja_rt *rt, jinja_value v, size_t *out) {
    switch ((jinja_type)v.type) {
    case JINJA_UNDEFINED:
        *out = 0;
        return true;
    case JINJA_STR:
        if (v.as.str->chars == JINJA_CHARS_UNKNOWN && !jinja_charge(rt, v.as.str->len / 64)) return false;
        *out = jinja_str_chars(v.as.str);
        return true;
    case JINJA_LIST:
    case JINJA_TUPLE:
        *out = v.as.list->n;
        return true;
    case JINJA_DICT:
        *out = v.as.dict->n;
        return true;
    case JINJA_RANGE:
        *out = v.as.range->n;
        return true;
    case JINJA_VIEW:
        *out = v.as.view->dict->n;
        return true;
    case JINJA_LOOP:
        return jinja_loop_length(rt, v.as.loop, out);
    default:
        return jinja_fail(rt, MOSA_EINVALID, "object of type '%s' has no len()", jinja_type_name(v));
    }
}

bool jinja_new_gen(jinja_rt *rt, const char *name, jinja_value source, void *state,
                   int (*next)(jinja_rt *, jinja_gen *, jinja_value *), jinja_value *out) {
    jinja_gen *gen = JINJA_NEW(rt, jinja_gen);
    if (!gen) return false;
    *gen = (jinja_gen){.next = next, .name = name, .source = {.source = source}, .state = state};
    *out = (jinja_value){.type = JINJA_ITER, .as.gen = gen};
    return true;
}
