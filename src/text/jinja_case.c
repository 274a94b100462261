// Case: upper, lower, title, capitalize, swapcase, casefold and the is... questions, by Python's rules.
#include "text/jinja_case.h"

// Whether the Sigma at [at, next) ends a word: a cased letter before it and none after, case-ignorable ones skipped.
static bool final_sigma(const jinja_str *s, size_t at, size_t next) {
    bool before = false, after = false;
    for (size_t p = at; p > 0 && !before;) {
        p = jinja_utf8_prev(s->data, p);
        size_t q = p;
        uint32_t c = jinja_utf8_next(s->data, s->len, &q);
        if (jinja_is_case_ignorable(c)) continue;
        before = jinja_is_cased(c);
        break;
    }
    while (before && next < s->len) {
        uint32_t c = jinja_utf8_next(s->data, s->len, &next);
        if (jinja_is_case_ignorable(c)) continue;
        after = jinja_is_cased(c);
        break;
    }
    return before && !after;
}

static void put_mapped(jinja_builder *b, const jinja_str *s, size_t at, size_t next, uint32_t c, jinja_case to) {
    uint32_t mapped[3];
    size_t n = jinja_map_case(c, to, mapped);
    if (to == JINJA_LOWER && c == 0x3A3) mapped[0] = final_sigma(s, at, next) ? 0x3C2 : 0x3C3;
    if (n == 1 && mapped[0] == c) {
        jinja_put_part(b, s, at, next);
        return;
    }
    uint8_t flags = jinja_str_flags_at(s, at);
    for (size_t i = 0; i < n; i++) jinja_put_char(b, mapped[i], flags);
}

void jinja_put_cased(jinja_builder *b, const jinja_str *s, size_t from, size_t to, jinja_case how) {
    while (from < to && !b->failed) {
        size_t next = from;
        uint32_t c = jinja_utf8_next(s->data, s->len, &next);
        put_mapped(b, s, from, next, c, how);
        from = next;
    }
}

static bool finish(jinja_builder *b, jinja_value self, jinja_value *out) {
    if (!jinja_build(b, out)) return false;
    out->markup = self.markup;
    return true;
}

bool jinja_change_case(jinja_rt *rt, jinja_value self, jinja_case how, jinja_value *out) {
    jinja_builder b;
    jinja_builder_init(&b, rt);
    jinja_put_cased(&b, self.as.str, 0, self.as.str->len, how);
    return finish(&b, self, out);
}

bool jinja_capitalize(jinja_rt *rt, jinja_value self, jinja_value *out) {
    jinja_builder b;
    const jinja_str *s = self.as.str;
    size_t first = 0;
    jinja_builder_init(&b, rt);
    if (s->len) jinja_utf8_next(s->data, s->len, &first);
    jinja_put_cased(&b, s, 0, first, JINJA_TITLE);
    jinja_put_cased(&b, s, first, s->len, JINJA_LOWER);
    return finish(&b, self, out);
}

bool jinja_swapcase(jinja_rt *rt, jinja_value self, jinja_value *out) {
    jinja_builder b;
    const jinja_str *s = self.as.str;
    jinja_builder_init(&b, rt);
    for (size_t at = 0; at < s->len && !b.failed;) {
        size_t next = at;
        uint32_t c = jinja_utf8_next(s->data, s->len, &next);
        if (jinja_is_upper(c))
            put_mapped(&b, s, at, next, c, JINJA_LOWER);
        else if (jinja_is_lower(c))
            put_mapped(&b, s, at, next, c, JINJA_UPPER);
        else
            jinja_put_part(&b, s, at, next);
        at = next;
    }
    return finish(&b, self, out);
}

bool jinja_title(jinja_rt *rt, jinja_value self, jinja_value *out) {
    jinja_builder b;
    const jinja_str *s = self.as.str;
    bool inside = false;
    jinja_builder_init(&b, rt);
    for (size_t at = 0; at < s->len && !b.failed;) {
        size_t next = at;
        uint32_t c = jinja_utf8_next(s->data, s->len, &next);
        put_mapped(&b, s, at, next, c, inside ? JINJA_LOWER : JINJA_TITLE);
        inside = jinja_is_cased(c);
        at = next;
    }
    return finish(&b, self, out);
}

bool jinja_has_case(const jinja_str *s, bool upper) {
    bool cased = false;
    for (size_t at = 0; at < s->len;) {
        uint32_t c = jinja_utf8_next(s->data, s->len, &at);
        if ((upper ? jinja_is_lower(c) : jinja_is_upper(c)) || jinja_is_title(c)) return false;
        cased |= upper ? jinja_is_upper(c) : jinja_is_lower(c);
    }
    return cased;
}

bool jinja_is_titled(const jinja_str *s) {
    bool cased = false, inside = false;
    for (size_t at = 0; at < s->len;) {
        uint32_t c = jinja_utf8_next(s->data, s->len, &at);
        bool head = jinja_is_upper(c) || jinja_is_title(c), tail = jinja_is_lower(c);
        if ((head && inside) || (tail && !inside)) return false;
        inside = head || tail;
        cased |= inside;
    }
    return cased;
}

bool jinja_str_lower(jinja_rt *rt, const jinja_str *s, jinja_value *out) {
    return jinja_change_case(rt, jinja_of_str(s), JINJA_LOWER, out);
}

bool jinja_fold_case(jinja_rt *rt, jinja_value v, jinja_value *out) {
    if (v.type == JINJA_STR) return jinja_change_case(rt, v, JINJA_LOWER, out);
    *out = v;
    return true;
}
