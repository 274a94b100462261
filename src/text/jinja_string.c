// Strings with marks, and the builder through which every operation makes new ones: whatever is appended from a string
// keeps its marks, so no operation has to think about them.
#include "text/jinja_runtime.h"

#include <string.h>

bool jinja_str_trusted(const jinja_str *s) {
    if (!s->runs) return s->len == 0 || (s->flags & JINJA_TRUSTED);
    for (size_t i = 0; i < s->n_runs; i++)
        if (!(s->runs[i].flags & JINJA_TRUSTED)) return false;
    return true;
}

// Index of the run that holds the byte at offset.
static size_t run_at(const jinja_str *s, size_t offset) {
    size_t low = 0, high = s->n_runs - 1;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (offset >= s->runs[mid].end)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

uint8_t jinja_str_flags_at(const jinja_str *s, size_t offset) {
    return s->runs ? s->runs[run_at(s, offset)].flags : s->flags;
}

void jinja_builder_init(jinja_builder *b, jinja_rt *rt) {
    *b = (jinja_builder){.rt = rt};
}

static bool grow(jinja_builder *b, size_t extra) {
    if (b->failed) return false;
    size_t need;
    bool ok = !__builtin_add_overflow(b->len, extra, &need) && jinja_charge(b->rt, extra / 64);
    if (ok && b->limit && need > b->limit)
        ok = jinja_fail(b->rt, MOSA_ELIMIT, "the output is longer than %zu bytes (max_output_bytes)", b->limit);
    if (ok && need > b->capacity) {
        size_t capacity = b->capacity ? b->capacity * 2 : 64;
        if (capacity < need) capacity = need;
        char *data = jinja_alloc(b->rt, capacity, 1);
        if (data && b->len) memcpy(data, b->data, b->len);
        ok = data != NULL;
        if (ok) {
            b->data = data;
            b->capacity = capacity;
        }
    }
    if (!ok) b->failed = true;
    return ok;
}

static bool mark_run(jinja_builder *b, size_t end, uint8_t flags) {
    if (b->n_runs && b->runs[b->n_runs - 1].flags == flags) {
        b->runs[b->n_runs - 1].end = end;
        return true;
    }
    if (b->n_runs == b->runs_capacity) {
        size_t capacity = b->runs_capacity ? b->runs_capacity * 2 : 4;
        jinja_run *runs = JINJA_ARRAY(b->rt, jinja_run, capacity);
        if (!runs) return false;
        if (b->n_runs) memcpy(runs, b->runs, b->n_runs * sizeof *runs);
        b->runs = runs;
        b->runs_capacity = capacity;
    }
    b->runs[b->n_runs++] = (jinja_run){end, flags};
    return true;
}

void jinja_put(jinja_builder *b, const char *data, size_t len, uint8_t flags) {
    if (len == 0 || !grow(b, len)) return;
    memcpy(b->data + b->len, data, len);
    b->len += len;
    if (!mark_run(b, b->len, flags)) b->failed = true;
}

void jinja_put_text(jinja_builder *b, const char *text) {
    jinja_put(b, text, strlen(text), JINJA_TRUSTED);
}

void jinja_put_char(jinja_builder *b, uint32_t code_point, uint8_t flags) {
    char bytes[4];
    jinja_put(b, bytes, jinja_utf8_put(bytes, code_point), flags);
}

void jinja_put_part(jinja_builder *b, const jinja_str *s, size_t from, size_t to) {
    if (from >= to) return;
    if (!s->runs) {
        jinja_put(b, s->data + from, to - from, s->flags);
        return;
    }
    for (size_t i = run_at(s, from); from < to; i++) {
        size_t end = s->runs[i].end < to ? s->runs[i].end : to;
        jinja_put(b, s->data + from, end - from, s->runs[i].flags);
        from = end;
    }
}

void jinja_put_str(jinja_builder *b, const jinja_str *s) {
    jinja_put_part(b, s, 0, s->len);
}

void jinja_put_escaped(jinja_builder *b, const jinja_str *s) {
    size_t done = 0;
    for (size_t i = 0; i < s->len; i++) {
        const char *entity = NULL;
        switch (s->data[i]) {
        case '&':
            entity = "&amp;";
            break;
        case '<':
            entity = "&lt;";
            break;
        case '>':
            entity = "&gt;";
            break;
        case '"':
            entity = "&#34;";
            break;
        case '\'':
            entity = "&#39;";
            break;
        default:
            continue;
        }
        jinja_put_part(b, s, done, i);
        jinja_put(b, entity, strlen(entity), jinja_str_flags_at(s, i));
        done = i + 1;
    }
    jinja_put_part(b, s, done, s->len);
}

bool jinja_build(jinja_builder *b, jinja_value *out) {
    if (b->failed) return false;
    jinja_str *s = JINJA_NEW(b->rt, jinja_str);
    if (!s) return false;
    *s = (jinja_str){.data = b->data ? b->data : "",
                     .len = b->len,
                     .chars = JINJA_CHARS_UNKNOWN,
                     .flags = b->n_runs ? b->runs[0].flags : JINJA_TRUSTED};
    if (b->n_runs > 1) {
        s->runs = b->runs;
        s->n_runs = b->n_runs;
    }
    *out = jinja_of_str(s);
    return true;
}

const jinja_str *jinja_new_str(jinja_rt *rt, const char *data, size_t len, uint8_t flags) {
    jinja_str *s = JINJA_NEW(rt, jinja_str);
    if (s) *s = (jinja_str){.data = data, .len = len, .chars = JINJA_CHARS_UNKNOWN, .flags = flags};
    return s;
}

const jinja_str *jinja_substr(jinja_rt *rt, const jinja_str *s, size_t from, size_t to) {
    if (from >= to) return jinja_new_str(rt, "", 0, JINJA_TRUSTED);
    if (from == 0 && to == s->len) return s;
    jinja_str *part = JINJA_NEW(rt, jinja_str);
    if (!part) return NULL;
    *part = (jinja_str){.data = s->data + from, .len = to - from, .chars = JINJA_CHARS_UNKNOWN};
    if (s->chars == s->len) part->chars = part->len; // ASCII
    part->flags = jinja_str_flags_at(s, from);
    if (!s->runs) return part;
    size_t first = run_at(s, from), last = run_at(s, to - 1);
    if (first == last) return part;
    jinja_run *runs = JINJA_ARRAY(rt, jinja_run, last - first + 1);
    if (!runs) return NULL;
    for (size_t i = first; i <= last; i++)
        runs[i - first] = (jinja_run){(s->runs[i].end < to ? s->runs[i].end : to) - from, s->runs[i].flags};
    part->runs = runs;
    part->n_runs = last - first + 1;
    return part;
}

bool jinja_substr_value(jinja_rt *rt, const jinja_str *s, size_t from, size_t to, jinja_value *out) {
    const jinja_str *part = jinja_substr(rt, s, from, to);
    if (part) *out = jinja_of_str(part);
    return part != NULL;
}

bool jinja_text_value(jinja_rt *rt, const char *text, jinja_value *out) {
    jinja_builder b;
    jinja_builder_init(&b, rt);
    jinja_put_text(&b, text);
    return jinja_build(&b, out);
}

size_t jinja_str_chars(const jinja_str *s) {
    // A template's constants know their count; only strings of this render are written to.
    if (s->chars == JINJA_CHARS_UNKNOWN) ((jinja_str *)s)->chars = jinja_utf8_count(s->data, s->len);
    return s->chars;
}

size_t jinja_str_offset(const jinja_str *s, size_t chars) {
    if (jinja_str_chars(s) == s->len) return chars < s->len ? chars : s->len;
    size_t offset = 0;
    while (chars > 0 && offset < s->len) {
        jinja_utf8_next(s->data, s->len, &offset);
        chars--;
    }
    return offset;
}

int jinja_str_compare(const jinja_str *a, const jinja_str *b) {
    size_t n = a->len < b->len ? a->len : b->len;
    int order = n ? memcmp(a->data, b->data, n) : 0; // UTF-8 keeps the order of code points
    return order ? order : (a->len > b->len) - (a->len < b->len);
}

size_t jinja_str_find(const jinja_str *s, size_t from, const jinja_str *needle) {
    if (from > s->len) return SIZE_MAX;
    if (needle->len == 0) return from;
    const char *found = memmem(s->data + from, s->len - from, needle->data, needle->len);
    return found ? (size_t)(found - s->data) : SIZE_MAX;
}

bool jinja_str_mark(jinja_rt *rt, const jinja_str *s, uint8_t flag, jinja_value *out) {
    jinja_str *marked = JINJA_NEW(rt, jinja_str);
    if (!marked) return false;
    *marked = *s;
    marked->flags |= flag;
    *out = jinja_of_str(marked);
    if (!s->runs) return true;
    jinja_run *runs = JINJA_ARRAY(rt, jinja_run, s->n_runs);
    if (!runs) return false;
    for (size_t i = 0; i < s->n_runs; i++) runs[i] = (jinja_run){s->runs[i].end, s->runs[i].flags | flag};
    marked->runs = runs;
    return true;
}

bool jinja_str_markup(jinja_rt *rt, jinja_value v, jinja_value *out) {
    if (v.type == JINJA_STR && v.markup) {
        *out = v;
        return true;
    }
    const jinja_str *text;
    if (!jinja_to_str(rt, v, &text)) return false;
    jinja_builder b;
    jinja_builder_init(&b, rt);
    jinja_put_escaped(&b, text);
    if (!jinja_build(&b, out)) return false;
    out->markup = true;
    return true;
}
