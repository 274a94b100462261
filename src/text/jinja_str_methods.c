// The methods of strings.
#include "text/jinja_case.h"

#include <stdio.h>
#include <string.h>

#define METHOD(name) static bool name(jinja_rt *rt, jinja_value self, const jinja_args *args, jinja_value *out)

static bool is_absent(jinja_value v) {
    return v.type == JINJA_MISSING || v.type == JINJA_NONE;
}

static bool need_str(jinja_rt *rt, jinja_value v, const char *what, const jinja_str **out) {
    if (v.type == JINJA_UNDEFINED) return jinja_fail_undefined(rt, v);
    if (v.type != JINJA_STR) return jinja_fail(rt, MOSA_EINVALID, "%s must be str, not %s", what, jinja_type_name(v));
    *out = v.as.str;
    return true;
}

METHOD(m_upper) {
    (void)args;
    return jinja_change_case(rt, self, JINJA_UPPER, out);
}
METHOD(m_lower) {
    (void)args;
    return jinja_change_case(rt, self, JINJA_LOWER, out);
}
METHOD(m_casefold) {
    (void)args;
    return jinja_change_case(rt, self, JINJA_FOLD, out);
}
METHOD(m_capitalize) {
    (void)args;
    return jinja_capitalize(rt, self, out);
}
METHOD(m_swapcase) {
    (void)args;
    return jinja_swapcase(rt, self, out);
}
METHOD(m_title) {
    (void)args;
    return jinja_title(rt, self, out);
}
METHOD(m_strip) {
    return jinja_strip(rt, self, args->pos[0], true, true, out);
}
METHOD(m_lstrip) {
    return jinja_strip(rt, self, args->pos[0], true, false, out);
}
METHOD(m_rstrip) {
    return jinja_strip(rt, self, args->pos[0], false, true, out);
}

METHOD(m_replace) {
    const jinja_str *old, *new_text;
    int64_t count;
    if (!need_str(rt, args->pos[0], "replace() argument 1", &old) ||
        !need_str(rt, args->pos[1], "replace() argument 2", &new_text) || !jinja_arg_int(rt, args->pos[2], -1, &count))
        return false;
    return jinja_replace(rt, self, old, new_text, count, out);
}

// The bytes [*from, *to) that optional character bounds args[1] and args[2] select; false in *valid when they cross.
static bool bounds(jinja_rt *rt, const jinja_str *s, const jinja_args *args, size_t *from, size_t *to, bool *valid) {
    *from = 0;
    *to = s->len;
    *valid = true;
    if (is_absent(args->pos[1]) && is_absent(args->pos[2])) return true;
    int64_t n = (int64_t)jinja_str_chars(s), start = 0, end = n;
    if (!is_absent(args->pos[1]) && !jinja_index(rt, args->pos[1], "a slice index", &start)) return false;
    if (!is_absent(args->pos[2]) && !jinja_index(rt, args->pos[2], "a slice index", &end)) return false;
    if (end > n) end = n;
    if (end < 0) end = end + n < 0 ? 0 : end + n;
    if (start < 0) start = start + n < 0 ? 0 : start + n;
    *valid = start <= end && start <= n;
    if (!*valid) return true;
    *from = jinja_str_offset(s, (size_t)start);
    *to = jinja_str_offset(s, (size_t)end);
    return jinja_charge(rt, s->len / 64);
}

// Byte offset of the last occurrence, SIZE_MAX = absent. False when the comparisons cost more than the render may.
static bool find_last(jinja_rt *rt, const jinja_str *s, size_t from, size_t to, const jinja_str *needle, size_t *out) {
    *out = SIZE_MAX;
    if (needle->len > to - from) return true;
    size_t at = to - needle->len + 1, tried = 0;
    while (*out == SIZE_MAX && at-- > from) {
        if (memcmp(s->data + at, needle->data, needle->len) == 0) *out = at;
        if (++tried % 64 == 0 && !jinja_charge(rt, 1 + needle->len)) return false;
    }
    return true;
}

// find, rfind, index, rindex.
static bool search(jinja_rt *rt, jinja_value self, const jinja_args *args, bool last, bool must, jinja_value *out) {
    const jinja_str *s = self.as.str, *needle;
    size_t from, to, found = SIZE_MAX;
    bool valid;
    if (!need_str(rt, args->pos[0], "the argument", &needle) || !bounds(rt, s, args, &from, &to, &valid)) return false;
    if (!jinja_charge(rt, s->len / 64)) return false;
    if (valid && last && !find_last(rt, s, from, to, needle, &found)) return false;
    if (valid && !last) found = jinja_str_find(s, from, needle);
    if (found != SIZE_MAX && found + needle->len > to) found = SIZE_MAX;
    if (found == SIZE_MAX && must) return jinja_fail(rt, MOSA_EINVALID, "substring not found");
    *out = jinja_int(found == SIZE_MAX ? -1 : (int64_t)jinja_utf8_count(s->data, found));
    return true;
}

METHOD(m_find) {
    return search(rt, self, args, false, false, out);
}
METHOD(m_rfind) {
    return search(rt, self, args, true, false, out);
}
METHOD(m_index) {
    return search(rt, self, args, false, true, out);
}
METHOD(m_rindex) {
    return search(rt, self, args, true, true, out);
}

METHOD(m_count) {
    const jinja_str *s = self.as.str, *needle;
    size_t from, to;
    bool valid;
    if (!need_str(rt, args->pos[0], "the argument", &needle) || !bounds(rt, s, args, &from, &to, &valid)) return false;
    int64_t n = 0;
    if (valid && needle->len == 0) {
        n = (int64_t)jinja_utf8_count(s->data + from, to - from) + 1;
    } else if (valid) {
        size_t at;
        while ((at = jinja_str_find(s, from, needle)) != SIZE_MAX && at + needle->len <= to) {
            from = at + needle->len;
            n++;
        }
    }
    *out = jinja_int(n);
    return jinja_charge(rt, s->len / 64);
}

static bool matches_end(const jinja_str *s, size_t from, size_t to, const jinja_str *affix, bool at_start) {
    if (affix->len > to - from) return false;
    return memcmp(s->data + (at_start ? from : to - affix->len), affix->data, affix->len) == 0;
}

// startswith and endswith: a string or a tuple of them.
static bool affix(jinja_rt *rt, jinja_value self, const jinja_args *args, bool at_start, jinja_value *out) {
    const jinja_str *s = self.as.str, *text;
    size_t from, to;
    bool valid, result = false;
    jinja_value wanted = args->pos[0];
    if (wanted.type == JINJA_UNDEFINED || (wanted.type != JINJA_STR && wanted.type != JINJA_TUPLE))
        return jinja_fail(rt, MOSA_EINVALID, "%s first arg must be str or a tuple of str, not %s",
                          at_start ? "startswith" : "endswith", jinja_type_name(wanted));
    if (!bounds(rt, s, args, &from, &to, &valid)) return false;
    size_t n = wanted.type == JINJA_STR ? 1 : wanted.as.list->n;
    for (size_t i = 0; i < n && !result; i++) {
        jinja_value one = wanted.type == JINJA_STR ? wanted : wanted.as.list->items[i];
        if (!need_str(rt, one, "tuple items", &text)) return false;
        result = valid && matches_end(s, from, to, text, at_start);
    }
    *out = jinja_bool(result);
    return true;
}

METHOD(m_startswith) {
    return affix(rt, self, args, true, out);
}
METHOD(m_endswith) {
    return affix(rt, self, args, false, out);
}

static bool remove_affix(jinja_rt *rt, jinja_value self, jinja_value wanted, bool at_start, jinja_value *out) {
    const jinja_str *s = self.as.str, *text;
    if (!need_str(rt, wanted, "the argument", &text)) return false;
    size_t from = 0, to = s->len;
    if (matches_end(s, 0, s->len, text, at_start)) {
        if (at_start)
            from = text->len;
        else
            to -= text->len;
    }
    if (!jinja_substr_value(rt, s, from, to, out)) return false;
    out->markup = self.markup;
    return true;
}

METHOD(m_removeprefix) {
    return remove_affix(rt, self, args->pos[0], true, out);
}
METHOD(m_removesuffix) {
    return remove_affix(rt, self, args->pos[0], false, out);
}

static bool push_part(jinja_rt *rt, jinja_vec *parts, const jinja_str *s, size_t from, size_t to) {
    jinja_value part;
    return jinja_charge(rt, 1) && jinja_substr_value(rt, s, from, to, &part) && jinja_vec_push(rt, parts, part);
}

static size_t space_end(const jinja_str *s, size_t at, bool space) {
    while (at < s->len) {
        size_t next = at;
        if (jinja_is_space(jinja_utf8_next(s->data, s->len, &next)) != space) break;
        at = next;
    }
    return at;
}

static size_t space_start(const jinja_str *s, size_t at, bool space) {
    while (at > 0) {
        size_t previous = jinja_utf8_prev(s->data, at), next = previous;
        if (jinja_is_space(jinja_utf8_next(s->data, s->len, &next)) != space) break;
        at = previous;
    }
    return at;
}

static bool split_words(jinja_rt *rt, const jinja_str *s, int64_t most, bool from_right, jinja_vec *parts) {
    size_t at = from_right ? s->len : 0;
    for (;; most--) {
        at = from_right ? space_start(s, at, true) : space_end(s, at, true);
        if (at == (from_right ? 0 : s->len)) return true;
        if (most == 0) return from_right ? push_part(rt, parts, s, 0, at) : push_part(rt, parts, s, at, s->len);
        size_t end = from_right ? space_start(s, at, false) : space_end(s, at, false);
        if (!push_part(rt, parts, s, from_right ? end : at, from_right ? at : end)) return false;
        at = end;
    }
}

static bool split_at(jinja_rt *rt, const jinja_str *s, const jinja_str *sep, int64_t most, bool from_right,
                     jinja_vec *parts) {
    size_t from = 0, to = s->len;
    for (; most != 0; most--) {
        size_t found = SIZE_MAX;
        if (!from_right) found = jinja_str_find(s, from, sep);
        if (from_right && !find_last(rt, s, 0, to, sep, &found)) return false;
        if (found == SIZE_MAX) break;
        if (!push_part(rt, parts, s, from_right ? found + sep->len : from, from_right ? to : found)) return false;
        if (from_right)
            to = found;
        else
            from = found + sep->len;
    }
    return push_part(rt, parts, s, from, to);
}

static bool split(jinja_rt *rt, jinja_value self, const jinja_args *args, bool from_right, jinja_value *out) {
    const jinja_str *s = self.as.str, *sep;
    jinja_vec parts = {0};
    int64_t most;
    if (!jinja_arg_int(rt, args->pos[1], -1, &most) || !jinja_charge(rt, s->len / 8)) return false;
    if (is_absent(args->pos[0])) {
        if (!split_words(rt, s, most, from_right, &parts)) return false;
    } else {
        if (!need_str(rt, args->pos[0], "the separator", &sep)) return false;
        if (sep->len == 0) return jinja_fail(rt, MOSA_EINVALID, "empty separator");
        if (!split_at(rt, s, sep, most, from_right, &parts)) return false;
    }
    for (size_t i = 0, k = parts.n; from_right && k && i < --k; i++) {
        jinja_value swap = parts.items[i];
        parts.items[i] = parts.items[k];
        parts.items[k] = swap;
    }
    for (size_t i = 0; i < parts.n; i++) parts.items[i].markup = self.markup;
    return jinja_vec_list(rt, &parts, JINJA_LIST, out);
}

METHOD(m_split) {
    return split(rt, self, args, false, out);
}
METHOD(m_rsplit) {
    return split(rt, self, args, true, out);
}

METHOD(m_splitlines) {
    jinja_vec lines;
    bool keep;
    if (!jinja_arg_bool(rt, args->pos[0], false, &keep) || !jinja_split_lines(rt, self.as.str, keep, &lines))
        return false;
    for (size_t i = 0; i < lines.n; i++) lines.items[i].markup = self.markup;
    return jinja_vec_list(rt, &lines, JINJA_LIST, out);
}

static bool partition(jinja_rt *rt, jinja_value self, jinja_value wanted, bool last, jinja_value *out) {
    const jinja_str *s = self.as.str, *sep;
    jinja_vec parts = {0};
    if (!need_str(rt, wanted, "the separator", &sep)) return false;
    if (sep->len == 0) return jinja_fail(rt, MOSA_EINVALID, "empty separator");
    size_t found = SIZE_MAX;
    if (!last) found = jinja_str_find(s, 0, sep);
    if (last && !find_last(rt, s, 0, s->len, sep, &found)) return false;
    bool none = found == SIZE_MAX;
    size_t cut = none ? (last ? 0 : s->len) : found, after = none ? cut : found + sep->len;
    return jinja_charge(rt, s->len / 8) && push_part(rt, &parts, s, 0, cut) && push_part(rt, &parts, s, cut, after) &&
           push_part(rt, &parts, s, after, s->len) && jinja_vec_list(rt, &parts, JINJA_TUPLE, out);
}

METHOD(m_partition) {
    return partition(rt, self, args->pos[0], false, out);
}
METHOD(m_rpartition) {
    return partition(rt, self, args->pos[0], true, out);
}

METHOD(m_join) {
    jinja_iter it;
    jinja_value item;
    jinja_builder b;
    int more;
    jinja_builder_init(&b, rt);
    if (!jinja_iterate(rt, args->pos[0], &it)) return false;
    for (size_t i = 0; (more = jinja_next(rt, &it, &item)) > 0; i++) {
        if (i) jinja_put_str(&b, self.as.str);
        if (self.markup && !jinja_str_markup(rt, item, &item)) return false;
        if (item.type != JINJA_STR)
            return jinja_fail(rt, MOSA_EINVALID, "sequence item %zu: expected str instance, %s found", i,
                              jinja_type_name(item));
        jinja_put_str(&b, item.as.str);
    }
    if (more < 0 || !jinja_build(&b, out)) return false;
    out->markup = self.markup;
    return true;
}

static bool justify(jinja_rt *rt, jinja_value self, const jinja_args *args, int where, jinja_value *out) {
    int64_t width;
    const jinja_str *fill = NULL;
    if (!jinja_index(rt, args->pos[0], "width", &width)) return false;
    if (args->pos[1].type != JINJA_MISSING && !need_str(rt, args->pos[1], "the fill character", &fill)) return false;
    if (where == 0) return jinja_center(rt, self, width, fill, out);
    int64_t pad = width - (int64_t)jinja_str_chars(self.as.str);
    size_t n = pad > 0 ? (size_t)pad : 0;
    return jinja_pad(rt, self, where < 0 ? 0 : n, where < 0 ? n : 0, fill, out);
}

METHOD(m_center) {
    return justify(rt, self, args, 0, out);
}
METHOD(m_ljust) {
    return justify(rt, self, args, -1, out);
}
METHOD(m_rjust) {
    return justify(rt, self, args, 1, out);
}

METHOD(m_zfill) {
    const jinja_str *s = self.as.str;
    int64_t width;
    jinja_builder b;
    if (!jinja_index(rt, args->pos[0], "width", &width)) return false;
    jinja_builder_init(&b, rt);
    size_t sign = s->len && (s->data[0] == '-' || s->data[0] == '+');
    jinja_put_part(&b, s, 0, sign);
    for (int64_t n = (int64_t)jinja_str_chars(s); n < width && !b.failed; n++) jinja_put_text(&b, "0");
    jinja_put_part(&b, s, sign, s->len);
    return jinja_build(&b, out);
}

METHOD(m_expandtabs) {
    const jinja_str *s = self.as.str;
    int64_t size, column = 0;
    jinja_builder b;
    if (!jinja_arg_int(rt, args->pos[0], 8, &size)) return false;
    jinja_builder_init(&b, rt);
    for (size_t at = 0; at < s->len && !b.failed;) {
        size_t from = at;
        uint32_t c = jinja_utf8_next(s->data, s->len, &at);
        if (c != '\t') {
            jinja_put_part(&b, s, from, at);
            column = c == '\n' || c == '\r' ? 0 : column + 1;
            continue;
        }
        int64_t n = size > 0 ? size - column % size : 0;
        column += n;
        for (int64_t i = 0; i < n && !b.failed; i++) jinja_put(&b, " ", 1, jinja_str_flags_at(s, from));
    }
    return jinja_build(&b, out);
}

METHOD(m_format) {
    return jinja_brace_format(rt, self, args, out);
}

METHOD(m_format_map) {
    if (args->pos[0].type != JINJA_DICT)
        return jinja_fail(rt, MOSA_EINVALID, "format_map() argument must be a mapping");
    const jinja_dict *dict = args->pos[0].as.dict;
    jinja_kwarg *kw = JINJA_ARRAY(rt, jinja_kwarg, dict->n);
    size_t n = 0;
    if (!kw) return false;
    for (size_t i = 0; i < dict->n; i++)
        if (dict->items[i].key.type == JINJA_STR)
            kw[n++] = (jinja_kwarg){dict->items[i].key.as.str, dict->items[i].value};
    jinja_args named = {.kw = kw, .n_kw = n};
    return jinja_brace_format(rt, self, &named, out);
}

static bool all_chars(jinja_value self, bool (*accepts)(uint32_t), jinja_value *out) {
    const jinja_str *s = self.as.str;
    bool all = s->len > 0;
    for (size_t at = 0; at < s->len && all;) all = accepts(jinja_utf8_next(s->data, s->len, &at));
    *out = jinja_bool(all);
    return true;
}

static bool is_alnum(uint32_t c) {
    return jinja_is_alpha(c) || jinja_is_numeric(c);
}

#define IS_METHOD(name, accepts)                                                                                       \
    METHOD(name) {                                                                                                     \
        (void)args;                                                                                                    \
        return jinja_charge(rt, self.as.str->len / 64) && all_chars(self, accepts, out);                               \
    }
IS_METHOD(m_isalnum, is_alnum)
IS_METHOD(m_isalpha, jinja_is_alpha)
IS_METHOD(m_isdecimal, jinja_is_decimal)
IS_METHOD(m_isdigit, jinja_is_digit)
IS_METHOD(m_isnumeric, jinja_is_numeric)
IS_METHOD(m_isspace, jinja_is_space)

#define SAY_METHOD(name, expression)                                                                                   \
    METHOD(name) {                                                                                                     \
        const jinja_str *s = self.as.str;                                                                              \
        (void)args;                                                                                                    \
        *out = jinja_bool(expression);                                                                                 \
        return jinja_charge(rt, s->len / 64);                                                                          \
    }
SAY_METHOD(m_islower, jinja_has_case(s, false))
SAY_METHOD(m_isupper, jinja_has_case(s, true))
SAY_METHOD(m_istitle, jinja_is_titled(s))
SAY_METHOD(m_isascii, jinja_str_chars(s) == s->len)

METHOD(m_isprintable) {
    (void)args;
    all_chars(self, jinja_is_printable, out);
    if (self.as.str->len == 0) *out = jinja_bool(true);
    return jinja_charge(rt, self.as.str->len / 64);
}

METHOD(m_isidentifier) {
    (void)args;
    size_t first = 0;
    all_chars(self, jinja_is_id_continue, out);
    if (out->as.boolean)
        *out = jinja_bool(jinja_is_id_start(jinja_utf8_next(self.as.str->data, self.as.str->len, &first)));
    return jinja_charge(rt, self.as.str->len / 64);
}

METHOD(m_absent) {
    (void)self;
    (void)args;
    (void)out;
    return jinja_fail(rt, MOSA_EUNSUPPORTED, "this string method is not available");
}

static const jinja_builtin methods[] = {
    {"capitalize", "", m_capitalize},
    {"casefold", "", m_casefold},
    {"center", "/width! fill", m_center},
    {"count", "/sub! start end", m_count},
    {"encode", "encoding errors", m_absent},
    {"endswith", "/suffix! start end", m_endswith},
    {"expandtabs", "tabsize", m_expandtabs},
    {"find", "/sub! start end", m_find},
    {"format", "*", m_format},
    {"format_map", "/mapping!", m_format_map},
    {"index", "/sub! start end", m_index},
    {"isalnum", "", m_isalnum},
    {"isalpha", "", m_isalpha},
    {"isascii", "", m_isascii},
    {"isdecimal", "", m_isdecimal},
    {"isdigit", "", m_isdigit},
    {"isidentifier", "", m_isidentifier},
    {"islower", "", m_islower},
    {"isnumeric", "", m_isnumeric},
    {"isprintable", "", m_isprintable},
    {"isspace", "", m_isspace},
    {"istitle", "", m_istitle},
    {"isupper", "", m_isupper},
    {"join", "/iterable!", m_join},
    {"ljust", "/width! fill", m_ljust},
    {"lower", "", m_lower},
    {"lstrip", "/chars", m_lstrip},
    {"maketrans", "*", m_absent},
    {"partition", "/sep!", m_partition},
    {"removeprefix", "/prefix!", m_removeprefix},
    {"removesuffix", "/suffix!", m_removesuffix},
    {"replace", "/old! new! count", m_replace},
    {"rfind", "/sub! start end", m_rfind},
    {"rindex", "/sub! start end", m_rindex},
    {"rjust", "/width! fill", m_rjust},
    {"rpartition", "/sep!", m_rpartition},
    {"rsplit", "sep maxsplit", m_rsplit},
    {"rstrip", "/chars", m_rstrip},
    {"split", "sep maxsplit", m_split},
    {"splitlines", "keepends", m_splitlines},
    {"startswith", "/prefix! start end", m_startswith},
    {"strip", "/chars", m_strip},
    {"swapcase", "", m_swapcase},
    {"title", "", m_title},
    {"translate", "*", m_absent},
    {"upper", "", m_upper},
    {"zfill", "/width!", m_zfill},
};

const jinja_table jinja_str_methods = {methods, MOSA_COUNT(methods)};
