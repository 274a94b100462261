// Filters on sequences and mappings. Those that Python writes as generators are lazy here too.
#include "text/jinja_case.h"

#include <string.h>

#define FILTER(name) static bool name(jinja_rt *rt, jinja_value self, const jinja_args *args, jinja_value *out)

struct jinja_path {
    jinja_value *parts; // strings and integers
    size_t n;
    struct jinja_path *next; // the next path of a comma list
};

static bool is_absent(jinja_value v) {
    return v.type == JINJA_MISSING || v.type == JINJA_NONE;
}

// Digits become an integer, as Python's int(x) if x.isdigit().
static bool path_part(jinja_rt *rt, const jinja_str *s, jinja_value *out) {
    int64_t value = 0;
    bool digits = s->len > 0 && s->len < 19;
    for (size_t i = 0; i < s->len && digits; i++) {
        digits = s->data[i] >= '0' && s->data[i] <= '9';
        if (digits) value = value * 10 + (s->data[i] - '0');
    }
    *out = digits ? jinja_int(value) : jinja_of_str(s);
    return jinja_charge(rt, 1);
}

static bool parse_one_path(jinja_rt *rt, const jinja_str *s, jinja_path *out) {
    jinja_vec parts = {0};
    size_t from = 0;
    for (size_t i = 0; i <= s->len; i++) {
        if (i < s->len && s->data[i] != '.') continue;
        const jinja_str *text = jinja_substr(rt, s, from, i);
        jinja_value part;
        if (!text || !path_part(rt, text, &part) || !jinja_vec_push(rt, &parts, part)) return false;
        from = i + 1;
    }
    out->parts = parts.items;
    out->n = parts.n;
    return true;
}

bool jinja_path_parse(jinja_rt *rt, jinja_value attribute, bool commas, jinja_path **out) {
    jinja_path *first = JINJA_NEW(rt, jinja_path), *path = first;
    if (!first) return false;
    *out = first;
    if (is_absent(attribute)) return true;
    if (attribute.type != JINJA_STR) {
        jinja_vec parts = {0};
        if (!jinja_vec_push(rt, &parts, attribute)) return false;
        first->parts = parts.items;
        first->n = 1;
        return true;
    }
    const jinja_str *s = attribute.as.str;
    size_t from = 0;
    for (size_t i = 0; i <= s->len; i++) {
        if (i < s->len && (!commas || s->data[i] != ',')) continue;
        const jinja_str *text = jinja_substr(rt, s, from, i);
        if (!text || !parse_one_path(rt, text, path)) return false;
        from = i + 1;
        if (i == s->len) break;
        path->next = JINJA_NEW(rt, jinja_path);
        path = path->next;
        if (!path) return false;
    }
    return true;
}

bool jinja_path_get(jinja_rt *rt, const jinja_path *path, jinja_value item, jinja_value fallback, jinja_value *out) {
    *out = item;
    for (size_t i = 0; i < path->n; i++) {
        if (!jinja_getitem(rt, *out, path->parts[i], out)) return false;
        if (out->type == JINJA_UNDEFINED && !is_absent(fallback)) *out = fallback;
    }
    return true;
}

static const jinja_value missing = {.type = JINJA_MISSING};

// --- sorting: a stable merge sort of items by keys ---

typedef struct sorter {
    jinja_rt *rt;
    jinja_value *items, *keys, *items_scratch, *keys_scratch;
    bool reverse;
} sorter;

static bool merge(sorter *s, size_t from, size_t middle, size_t to) {
    size_t left = from, right = middle;
    for (size_t at = from; at < to; at++) {
        bool take_right = left == middle;
        if (!take_right && right < to) {
            // Reversed, equal items keep their order as well.
            jinja_value a = s->reverse ? s->keys[left] : s->keys[right],
                        b = s->reverse ? s->keys[right] : s->keys[left];
            if (!jinja_charge(s->rt, 1) || !jinja_less(s->rt, a, b, "<", &take_right)) return false;
        }
        size_t source = take_right ? right++ : left++;
        s->items_scratch[at] = s->items[source];
        s->keys_scratch[at] = s->keys[source];
    }
    memcpy(s->items + from, s->items_scratch + from, (to - from) * sizeof *s->items);
    memcpy(s->keys + from, s->keys_scratch + from, (to - from) * sizeof *s->keys);
    return true;
}

bool jinja_sort_values(jinja_rt *rt, jinja_value *items, const jinja_value *keys, size_t n, bool reverse) {
    sorter s = {.rt = rt, .items = items, .reverse = reverse};
    s.keys = JINJA_ARRAY(rt, jinja_value, n);
    s.items_scratch = JINJA_ARRAY(rt, jinja_value, n);
    s.keys_scratch = JINJA_ARRAY(rt, jinja_value, n);
    if (!s.keys || !s.items_scratch || !s.keys_scratch) return false;
    if (n) memcpy(s.keys, keys, n * sizeof *keys);
    for (size_t width = 1; width < n; width *= 2)
        for (size_t from = 0; from + width < n; from += 2 * width)
            if (!merge(&s, from, from + width, from + 2 * width < n ? from + 2 * width : n)) return false;
    return true;
}

// A copy of the items of an iterable, which the caller may reorder.
static bool copy_items(jinja_rt *rt, jinja_value v, jinja_vec *out) {
    jinja_vec items;
    if (!jinja_collect(rt, v, &items)) return false;
    *out = (jinja_vec){JINJA_ARRAY(rt, jinja_value, items.n), items.n, items.n};
    if (!out->items) return false;
    if (items.n) memcpy(out->items, items.items, items.n * sizeof *items.items);
    return jinja_charge(rt, items.n / 8);
}

static bool sort_key(jinja_rt *rt, const jinja_path *path, jinja_value item, jinja_value fallback, bool fold,
                     jinja_value *out) {
    if (!jinja_path_get(rt, path, item, fallback, out)) return false;
    return !fold || jinja_fold_case(rt, *out, out);
}

// One path: its value. Several: the tuple of theirs.
static bool multi_key(jinja_rt *rt, const jinja_path *path, jinja_value item, bool fold, jinja_value *out) {
    jinja_vec keys = {0};
    for (; path; path = path->next) {
        jinja_value key;
        if (!sort_key(rt, path, item, missing, fold, &key) || !jinja_vec_push(rt, &keys, key)) return false;
    }
    return jinja_vec_list(rt, &keys, JINJA_LIST, out);
}

FILTER(x_sort) {
    bool reverse, sensitive;
    jinja_path *path;
    jinja_vec items;
    if (!jinja_arg_bool(rt, args->pos[0], false, &reverse) || !jinja_arg_bool(rt, args->pos[1], false, &sensitive) ||
        !jinja_path_parse(rt, args->pos[2], true, &path) || !copy_items(rt, self, &items))
        return false;
    jinja_value *keys = JINJA_ARRAY(rt, jinja_value, items.n);
    if (!keys) return false;
    for (size_t i = 0; i < items.n; i++)
        if (!multi_key(rt, path, items.items[i], !sensitive, &keys[i])) return false;
    return jinja_sort_values(rt, items.items, keys, items.n, reverse) && jinja_vec_list(rt, &items, JINJA_LIST, out);
}

FILTER(x_dictsort) {
    bool sensitive, reverse;
    size_t position = 0;
    jinja_vec items = {0}, keys = {0};
    if (args->pos[1].type != JINJA_MISSING) {
        const jinja_str *by = args->pos[1].type == JINJA_STR ? args->pos[1].as.str : NULL;
        position = by && jinja_str_is(by, "value");
        if (!by || (!position && !jinja_str_is(by, "key")))
            return jinja_fail(rt, MOSA_EINVALID, "you can only sort by either \"key\" or \"value\"");
    }
    if (!jinja_arg_bool(rt, args->pos[0], false, &sensitive) || !jinja_arg_bool(rt, args->pos[2], false, &reverse))
        return false;
    if (self.type == JINJA_UNDEFINED) return jinja_fail_undefined(rt, self);
    if (self.type != JINJA_DICT)
        return jinja_fail(rt, MOSA_EINVALID, "'%s' object has no attribute 'items'", jinja_type_name(self));
    for (size_t i = 0; i < self.as.dict->n; i++) {
        const jinja_pair *pair = &self.as.dict->items[i];
        jinja_value item, key = position ? pair->value : pair->key;
        if ((!sensitive && !jinja_fold_case(rt, key, &key)) || !jinja_pair_tuple(rt, pair->key, pair->value, &item) ||
            !jinja_vec_push(rt, &items, item) || !jinja_vec_push(rt, &keys, key))
            return false;
    }
    return jinja_sort_values(rt, items.items, keys.items, items.n, reverse) &&
           jinja_vec_list(rt, &items, JINJA_LIST, out);
}

FILTER(x_groupby) {
    bool sensitive;
    jinja_path *path;
    jinja_vec items, groups = {0};
    if (!jinja_arg_bool(rt, args->pos[2], false, &sensitive) || !jinja_path_parse(rt, args->pos[0], false, &path) ||
        !copy_items(rt, self, &items))
        return false;
    jinja_value *keys = JINJA_ARRAY(rt, jinja_value, items.n);
    if (!keys) return false;
    for (int pass = 0; pass < 2; pass++) { // unsorted for sorting, then in the sorted order
        for (size_t i = 0; i < items.n; i++)
            if (!sort_key(rt, path, items.items[i], args->pos[1], !sensitive, &keys[i])) return false;
        if (pass == 0 && !jinja_sort_values(rt, items.items, keys, items.n, false)) return false;
    }
    for (size_t from = 0, to; from < items.n; from = to) {
        bool equal = true;
        for (to = from + 1; to < items.n; to++) {
            if (!jinja_equal(rt, keys[from], keys[to], &equal)) return false;
            if (!equal) break;
        }
        jinja_vec members = {items.items + from, to - from, to - from};
        jinja_value key, list, group;
        if (!sort_key(rt, path, items.items[from], args->pos[1], false, &key) ||
            !jinja_vec_list(rt, &members, JINJA_LIST, &list) || !jinja_pair_tuple(rt, key, list, &group))
            return false;
        ((jinja_list *)group.as.list)->group = true;
        if (!jinja_vec_push(rt, &groups, group)) return false;
    }
    return jinja_vec_list(rt, &groups, JINJA_LIST, out);
}

// --- one value of many ---

static bool extreme(jinja_rt *rt, jinja_value self, const jinja_args *args, bool max, jinja_value *out) {
    bool sensitive, better;
    jinja_path *path;
    jinja_iter it;
    jinja_value item, key, best_key = missing;
    int more;
    if (!jinja_arg_bool(rt, args->pos[0], false, &sensitive) || !jinja_path_parse(rt, args->pos[1], false, &path) ||
        !jinja_iterate(rt, self, &it))
        return false;
    while ((more = jinja_next(rt, &it, &item)) > 0) {
        if (!sort_key(rt, path, item, missing, !sensitive, &key)) return false;
        better = best_key.type == JINJA_MISSING;
        if (!better && !jinja_less(rt, max ? best_key : key, max ? key : best_key, max ? ">" : "<", &better))
            return false;
        if (!better) continue;
        best_key = key;
        *out = item;
    }
    if (more < 0) return false;
    return best_key.type != JINJA_MISSING ||
           jinja_undefined_value(rt, "No aggregated item, sequence was empty.", jinja_none(), NULL, out);
}

FILTER(x_min) {
    return extreme(rt, self, args, false, out);
}
FILTER(x_max) {
    return extreme(rt, self, args, true, out);
}

FILTER(x_sum) {
    jinja_path *path;
    jinja_iter it;
    jinja_value item;
    int more;
    *out = args->pos[1].type == JINJA_MISSING ? jinja_int(0) : args->pos[1];
    if (out->type == JINJA_STR)
        return jinja_fail(rt, MOSA_EINVALID, "sum() can't sum strings [use ''.join(seq) instead]");
    if (!jinja_path_parse(rt, args->pos[0], false, &path) || !jinja_iterate(rt, self, &it)) return false;
    while ((more = jinja_next(rt, &it, &item)) > 0)
        if (!jinja_path_get(rt, path, item, missing, &item) || !jinja_binary(rt, OP_ADD, *out, item, out)) return false;
    return more == 0;
}

FILTER(x_first) {
    (void)args;
    jinja_iter it;
    if (!jinja_iterate(rt, self, &it)) return false;
    int got = jinja_next(rt, &it, out);
    return got > 0 ||
           (got == 0 && jinja_undefined_value(rt, "No first item, sequence was empty.", jinja_none(), NULL, out));
}

FILTER(x_last) {
    (void)args;
    jinja_iter it;
    if (!jinja_iterate_reversed(rt, self, &it)) return false;
    int got = jinja_next(rt, &it, out);
    return got > 0 ||
           (got == 0 && jinja_undefined_value(rt, "No last item, sequence was empty.", jinja_none(), NULL, out));
}

FILTER(x_length) {
    (void)args;
    size_t n;
    if (!jinja_length(rt, self, &n)) return false;
    *out = jinja_int((int64_t)n);
    return true;
}

FILTER(x_default) {
    bool boolean, truth = true;
    if (!jinja_arg_bool(rt, args->pos[1], false, &boolean)) return false;
    *out = self;
    if (self.type != JINJA_UNDEFINED && boolean && !jinja_truth(rt, self, &truth)) return false;
    if (self.type != JINJA_UNDEFINED && truth) return true;
    *out = args->pos[0];
    return out->type != JINJA_MISSING || jinja_text_value(rt, "", out);
}

FILTER(x_join) {
    jinja_path *path;
    jinja_iter it;
    jinja_value item;
    const jinja_str *separator = NULL;
    jinja_builder b;
    int more;
    jinja_builder_init(&b, rt);
    if (args->pos[0].type != JINJA_MISSING && !jinja_to_str(rt, args->pos[0], &separator)) return false;
    if (!jinja_path_parse(rt, args->pos[1], false, &path) || !jinja_iterate(rt, self, &it)) return false;
    for (size_t i = 0; (more = jinja_next(rt, &it, &item)) > 0; i++) {
        if (i && separator) jinja_put_str(&b, separator);
        if (!jinja_path_get(rt, path, item, missing, &item) || !jinja_write_str(&b, item)) return false;
    }
    return more == 0 && jinja_build(&b, out);
}

FILTER(x_list) {
    (void)args;
    jinja_vec items;
    return jinja_collect(rt, self, &items) && jinja_vec_list(rt, &items, JINJA_LIST, out);
}

static int next_reversed(jinja_rt *rt, jinja_gen *gen, jinja_value *out) {
    return jinja_next(rt, &gen->source, out);
}

FILTER(x_reverse) {
    (void)args;
    jinja_vec items;
    if (self.type == JINJA_STR) return jinja_slice(rt, self, jinja_none(), jinja_none(), jinja_int(-1), out);
    bool direct =
        jinja_is_sequence(self) || self.type == JINJA_DICT || self.type == JINJA_VIEW || self.type == JINJA_RANGE;
    if (direct) {
        if (!jinja_new_gen(rt, "list_reverseiterator", self, NULL, next_reversed, out)) return false;
        return jinja_iterate_reversed(rt, self, &out->as.gen->source);
    }
    if (!jinja_iterable(self)) return jinja_fail(rt, MOSA_EINVALID, "argument must be iterable");
    if (!copy_items(rt, self, &items)) return false;
    for (size_t i = 0; i + 1 < items.n - i && items.n; i++) {
        jinja_value swap = items.items[i];
        items.items[i] = items.items[items.n - 1 - i];
        items.items[items.n - 1 - i] = swap;
    }
    return jinja_vec_list(rt, &items, JINJA_LIST, out);
}

FILTER(x_attr) {
    bool forbidden;
    if (args->pos[0].type != JINJA_STR) return jinja_fail(rt, MOSA_EINVALID, "attribute name must be string");
    const jinja_str *name = args->pos[0].as.str;
    if (self.type == JINJA_DICT && !jinja_find_method(self, jinja_slice_of(name), &forbidden) && !forbidden)
        return jinja_undefined_value(rt, NULL, self, name, out);
    return jinja_getattr(rt, self, name, out);
}

// --- lazy filters ---

// Starts reading the source on the first call.
static bool start(jinja_rt *rt, jinja_gen *gen) {
    return gen->source.source.type != JINJA_MISSING && jinja_iterate(rt, gen->source.source, &gen->source);
}

typedef struct mapping {
    bool started, empty;
    jinja_args args;
    jinja_path *path; // map(attribute=...) or the attribute of selectattr, or NULL
    jinja_value fallback;
    const jinja_builtin *builtin; // filter or test, NULL = truth or none
    bool negate;
    jinja_args rest;
} mapping;

static jinja_args arguments_from(const jinja_args *args, size_t skip) {
    jinja_args rest = {
        .pos = args->pos ? args->pos + skip : NULL, .n = args->n - skip, .kw = args->kw, .n_kw = args->n_kw};
    return rest;
}

static bool resolve_filter(jinja_rt *rt, jinja_value name, bool test, const jinja_builtin **out) {
    *out = NULL;
    if (name.type == JINJA_STR)
        *out = test ? jinja_find_test(jinja_slice_of(name.as.str)) : jinja_find_filter(jinja_slice_of(name.as.str));
    return *out || jinja_fail(rt, MOSA_EINVALID, "no %s with the given name", test ? "test" : "filter");
}

// The work that Python does when the generator is first asked. An empty source asks for nothing.
static bool begin(jinja_rt *rt, jinja_gen *gen, mapping *m) {
    bool truth;
    if (m->started) return true;
    m->started = true;
    if (!jinja_truth(rt, gen->source.source, &truth)) return false;
    m->empty = !truth;
    return m->empty || start(rt, gen);
}

static bool prepare_map(jinja_rt *rt, mapping *m) {
    if (m->args.n > 0) {
        m->rest = arguments_from(&m->args, 1);
        return resolve_filter(rt, m->args.pos[0], false, &m->builtin);
    }
    jinja_value attribute = missing;
    for (size_t i = 0; i < m->args.n_kw; i++) {
        if (jinja_str_is(m->args.kw[i].name, "attribute"))
            attribute = m->args.kw[i].value;
        else if (jinja_str_is(m->args.kw[i].name, "default"))
            m->fallback = m->args.kw[i].value;
        else
            return jinja_fail(rt, MOSA_EINVALID, "map: unexpected keyword argument");
    }
    if (attribute.type == JINJA_MISSING) return jinja_fail(rt, MOSA_EINVALID, "map requires a filter argument");
    return jinja_path_parse(rt, attribute, false, &m->path);
}

static int next_mapped(jinja_rt *rt, jinja_gen *gen, jinja_value *out) {
    mapping *m = gen->state;
    bool first = !m->started;
    if (!begin(rt, gen, m)) return -1;
    if (m->empty) return 0;
    if (first && !prepare_map(rt, m)) return -1;
    jinja_value item;
    int got = jinja_next(rt, &gen->source, &item);
    if (got <= 0) return got;
    bool ok = m->builtin ? jinja_call_builtin(rt, m->builtin, item, &m->rest, out)
                         : jinja_path_get(rt, m->path, item, m->fallback, out);
    return ok ? 1 : -1;
}

static bool prepare_select(jinja_rt *rt, mapping *m) {
    size_t skip = 0;
    if (m->path) { // set as a mark that there must be an attribute
        if (m->args.n == 0) return jinja_fail(rt, MOSA_EINVALID, "missing parameter for attribute name");
        if (!jinja_path_parse(rt, m->args.pos[0], false, &m->path)) return false;
        skip = 1;
    }
    if (m->args.n <= skip) return true;
    m->rest = arguments_from(&m->args, skip + 1);
    return resolve_filter(rt, m->args.pos[skip], true, &m->builtin);
}

static int next_selected(jinja_rt *rt, jinja_gen *gen, jinja_value *out) {
    mapping *m = gen->state;
    bool first = !m->started;
    if (!begin(rt, gen, m)) return -1;
    if (m->empty) return 0;
    if (first && !prepare_select(rt, m)) return -1;
    int got;
    while ((got = jinja_next(rt, &gen->source, out)) > 0) {
        jinja_value subject = *out, verdict;
        bool truth;
        if (m->path && !jinja_path_get(rt, m->path, subject, missing, &subject)) return -1;
        verdict = subject;
        if (m->builtin && !jinja_call_builtin(rt, m->builtin, subject, &m->rest, &verdict)) return -1;
        if (!jinja_truth(rt, verdict, &truth)) return -1;
        if (truth != m->negate) return 1;
    }
    return got;
}

static bool copy_args(jinja_rt *rt, const jinja_args *args, jinja_args *out) {
    jinja_value *pos = JINJA_ARRAY(rt, jinja_value, args->n);
    jinja_kwarg *kw = JINJA_ARRAY(rt, jinja_kwarg, args->n_kw);
    if (!pos || !kw) return false;
    if (args->n) memcpy(pos, args->pos, args->n * sizeof *pos);
    if (args->n_kw) memcpy(kw, args->kw, args->n_kw * sizeof *kw);
    *out = (jinja_args){pos, args->n, kw, args->n_kw};
    return true;
}

FILTER(x_map) {
    mapping *m = JINJA_NEW(rt, mapping);
    return m && copy_args(rt, args, &m->args) && jinja_new_gen(rt, "generator", self, m, next_mapped, out);
}

static bool select_items(jinja_rt *rt, jinja_value self, const jinja_args *args, bool negate, bool attribute,
                         jinja_value *out) {
    mapping *m = JINJA_NEW(rt, mapping);
    if (!m || !copy_args(rt, args, &m->args)) return false;
    m->negate = negate;
    if (attribute) m->path = JINJA_NEW(rt, jinja_path);
    return (!attribute || m->path) && jinja_new_gen(rt, "generator", self, m, next_selected, out);
}

FILTER(x_select) {
    return select_items(rt, self, args, false, false, out);
}
FILTER(x_reject) {
    return select_items(rt, self, args, true, false, out);
}
FILTER(x_selectattr) {
    return select_items(rt, self, args, false, true, out);
}
FILTER(x_rejectattr) {
    return select_items(rt, self, args, true, true, out);
}

typedef struct uniqueness {
    bool started, sensitive;
    jinja_value attribute;
    jinja_path *path;
    jinja_value seen; // dict
} uniqueness;

static int next_unique(jinja_rt *rt, jinja_gen *gen, jinja_value *out) {
    uniqueness *u = gen->state;
    if (!u->started &&
        (!start(rt, gen) || !jinja_new_dict(rt, &u->seen) || !jinja_path_parse(rt, u->attribute, false, &u->path)))
        return -1;
    u->started = true;
    int got;
    while ((got = jinja_next(rt, &gen->source, out)) > 0) {
        jinja_value key, known;
        if (!sort_key(rt, u->path, *out, missing, !u->sensitive, &key) ||
            !jinja_dict_get(rt, u->seen.as.dict, key, &known))
            return -1;
        if (known.type != JINJA_MISSING) continue;
        return jinja_dict_set(rt, u->seen.as.dict, key, jinja_bool(true)) ? 1 : -1;
    }
    return got;
}

FILTER(x_unique) {
    uniqueness *u = JINJA_NEW(rt, uniqueness);
    if (!u || !jinja_arg_bool(rt, args->pos[0], false, &u->sensitive)) return false;
    u->attribute = args->pos[1];
    return jinja_new_gen(rt, "generator", self, u, next_unique, out);
}

static int next_pair(jinja_rt *rt, jinja_gen *gen, jinja_value *out) {
    jinja_value self = gen->source.source;
    if (self.type == JINJA_UNDEFINED) return 0;
    if (self.type != JINJA_DICT)
        return jinja_fail(rt, MOSA_EINVALID, "can only get item pairs from a mapping") ? 1 : -1;
    if (gen->source.position >= self.as.dict->n) return 0;
    const jinja_pair *pair = &self.as.dict->items[gen->source.position++];
    return jinja_pair_tuple(rt, pair->key, pair->value, out) ? 1 : -1;
}

FILTER(x_items) {
    (void)args;
    return jinja_new_gen(rt, "generator", self, NULL, next_pair, out);
}

typedef struct chunking {
    bool started;
    int64_t size; // of a batch, or the number of slices
    jinja_value fill;
    jinja_vec items; // slice: all of them
    int64_t number, offset;
} chunking;

static int next_batch(jinja_rt *rt, jinja_gen *gen, jinja_value *out) {
    chunking *c = gen->state;
    jinja_vec batch = {0};
    jinja_value item;
    if (!c->started && !start(rt, gen)) return -1;
    c->started = true;
    int got = 1;
    // A size below 1 is never reached: Python then gathers everything.
    while ((c->size < 1 || (int64_t)batch.n < c->size) && (got = jinja_next(rt, &gen->source, &item)) > 0)
        if (!jinja_vec_push(rt, &batch, item)) return -1;
    if (got < 0) return -1;
    if (batch.n == 0) return 0;
    while (!is_absent(c->fill) && (int64_t)batch.n < c->size)
        if (!jinja_charge(rt, 1) || !jinja_vec_push(rt, &batch, c->fill)) return -1;
    return jinja_vec_list(rt, &batch, JINJA_LIST, out) ? 1 : -1;
}

static int next_slice(jinja_rt *rt, jinja_gen *gen, jinja_value *out) {
    chunking *c = gen->state;
    if (!c->started && !jinja_collect(rt, gen->source.source, &c->items)) return -1;
    c->started = true;
    if (c->size == 0) return jinja_fail(rt, MOSA_EINVALID, "integer division or modulo by zero") ? 1 : -1;
    if (c->number >= c->size) return 0;
    int64_t n = (int64_t)c->items.n, each = n / c->size, extra = n % c->size;
    int64_t from = c->offset + c->number * each;
    if (c->number < extra) c->offset++;
    int64_t to = c->offset + (c->number + 1) * each;
    jinja_vec slice = {0};
    for (int64_t i = from; i < to; i++)
        if (!jinja_vec_push(rt, &slice, c->items.items[i])) return -1;
    if (!is_absent(c->fill) && c->number >= extra && !jinja_vec_push(rt, &slice, c->fill)) return -1;
    c->number++;
    return jinja_vec_list(rt, &slice, JINJA_LIST, out) ? 1 : -1;
}

static bool chunk(jinja_rt *rt, jinja_value self, const jinja_args *args,
                  int (*next)(jinja_rt *, jinja_gen *, jinja_value *), jinja_value *out) {
    chunking *c = JINJA_NEW(rt, chunking);
    if (!c || !jinja_index(rt, args->pos[0], "the size", &c->size)) return false;
    c->fill = args->pos[1];
    return jinja_new_gen(rt, "generator", self, c, next, out);
}

FILTER(x_batch) {
    return chunk(rt, self, args, next_batch, out);
}
FILTER(x_slice) {
    return chunk(rt, self, args, next_slice, out);
}

static const jinja_builtin filters[] = {
    {"attr", "name!", x_attr},
    {"batch", "linecount! fill_with", x_batch},
    {"count", "", x_length},
    {"d", "default_value boolean", x_default},
    {"default", "default_value boolean", x_default},
    {"dictsort", "case_sensitive by reverse", x_dictsort},
    {"first", "", x_first},
    {"groupby", "attribute! default case_sensitive", x_groupby},
    {"items", "", x_items},
    {"join", "d attribute", x_join},
    {"last", "", x_last},
    {"length", "", x_length},
    {"list", "", x_list},
    {"map", "*", x_map},
    {"max", "case_sensitive attribute", x_max},
    {"min", "case_sensitive attribute", x_min},
    {"reject", "*", x_reject},
    {"rejectattr", "*", x_rejectattr},
    {"reverse", "", x_reverse},
    {"select", "*", x_select},
    {"selectattr", "*", x_selectattr},
    {"slice", "slices! fill_with", x_slice},
    {"sort", "reverse case_sensitive attribute", x_sort},
    {"sum", "attribute start", x_sum},
    {"unique", "case_sensitive attribute", x_unique},
};

const jinja_table jinja_sequence_filters = {filters, MOSA_COUNT(filters)};
