// String operations that methods and filters share: strip, replace, lines, padding.
#include "text/jinja_case.h"

static bool in_set(const jinja_str *set, uint32_t c) {
    for (size_t at = 0; at < set->len;)
        if (jinja_utf8_next(set->data, set->len, &at) == c) return true;
    return false;
}

bool jinja_strip(jinja_rt *rt, jinja_value self, jinja_value chars, bool left, bool right, jinja_value *out) {
    const jinja_str *s = self.as.str;
    bool spaces = chars.type == JINJA_MISSING || chars.type == JINJA_NONE;
    if (!spaces && chars.type != JINJA_STR)
        return jinja_fail(rt, MOSA_EINVALID, "strip arg must be None or str, not %s", jinja_type_name(chars));
    size_t from = 0, to = s->len;
    if (!jinja_charge(rt, (s->len / 64 + 1) * (spaces ? 1 : chars.as.str->len / 4 + 1))) return false;
    while (left && from < to) {
        size_t next = from;
        uint32_t c = jinja_utf8_next(s->data, s->len, &next);
        if (spaces ? !jinja_is_space(c) : !in_set(chars.as.str, c)) break;
        from = next;
    }
    while (right && to > from) {
        size_t previous = jinja_utf8_prev(s->data, to), next = previous;
        uint32_t c = jinja_utf8_next(s->data, s->len, &next);
        if (spaces ? !jinja_is_space(c) : !in_set(chars.as.str, c)) break;
        to = previous;
    }
    if (!jinja_substr_value(rt, s, from, to, out)) return false;
    out->markup = self.markup;
    return true;
}

// Python puts the new text before every character and at the end.
static void replace_empty(jinja_builder *b, const jinja_str *s, const jinja_str *new_text, int64_t count) {
    size_t at = 0;
    for (; count != 0 && !b->failed; count--) {
        jinja_put_str(b, new_text);
        if (at >= s->len) return;
        size_t next = at;
        jinja_utf8_next(s->data, s->len, &next);
        jinja_put_part(b, s, at, next);
        at = next;
    }
    jinja_put_part(b, s, at, s->len);
}

bool jinja_replace(jinja_rt *rt, jinja_value self, const jinja_str *old, const jinja_str *new_text, int64_t count,
                   jinja_value *out) {
    const jinja_str *s = self.as.str;
    jinja_builder b;
    jinja_builder_init(&b, rt);
    if (old->len == 0) {
        replace_empty(&b, s, new_text, count);
    } else {
        size_t at = 0;
        for (; count != 0 && !b.failed; count--) {
            size_t found = jinja_str_find(s, at, old);
            if (found == SIZE_MAX || !jinja_charge(rt, 1)) break;
            jinja_put_part(&b, s, at, found);
            jinja_put_str(&b, new_text);
            at = found + old->len;
        }
        jinja_put_part(&b, s, at, s->len);
    }
    if (!jinja_charge(rt, s->len / 64) || !jinja_build(&b, out)) return false;
    out->markup = self.markup;
    return true;
}

bool jinja_split_lines(jinja_rt *rt, const jinja_str *s, bool keep_ends, jinja_vec *out) {
    size_t start = 0;
    *out = (jinja_vec){0};
    for (size_t at = 0; at < s->len;) {
        size_t end = at;
        uint32_t c = jinja_utf8_next(s->data, s->len, &at);
        if (!jinja_is_line_break(c)) continue;
        if (c == '\r' && at < s->len && s->data[at] == '\n') at++;
        jinja_value line;
        if (!jinja_substr_value(rt, s, start, keep_ends ? at : end, &line) || !jinja_vec_push(rt, out, line) ||
            !jinja_charge(rt, 1))
            return false;
        start = at;
    }
    jinja_value line;
    if (start >= s->len) return true;
    return jinja_substr_value(rt, s, start, s->len, &line) && jinja_vec_push(rt, out, line);
}

bool jinja_pad(jinja_rt *rt, jinja_value self, size_t left, size_t right, const jinja_str *fill, jinja_value *out) {
    jinja_builder b;
    jinja_builder_init(&b, rt);
    if (fill && jinja_str_chars(fill) != 1)
        return jinja_fail(rt, MOSA_EINVALID, "the fill character must be exactly one character long");
    for (int side = 0; side < 2; side++) {
        if (side == 1) jinja_put_str(&b, self.as.str);
        for (size_t i = 0; i < (side ? right : left) && !b.failed; i++) {
            if (!jinja_charge(rt, 1)) return false;
            if (fill)
                jinja_put_str(&b, fill);
            else
                jinja_put_text(&b, " ");
        }
    }
    if (!jinja_build(&b, out)) return false;
    out->markup = self.markup;
    return true;
}

bool jinja_center(jinja_rt *rt, jinja_value self, int64_t width, const jinja_str *fill, jinja_value *out) {
    int64_t pad = width - (int64_t)jinja_str_chars(self.as.str);
    if (pad < 0) pad = 0;
    int64_t left = pad / 2 + (pad & width & 1);
    return jinja_pad(rt, self, (size_t)left, (size_t)(pad - left), fill, out);
}
