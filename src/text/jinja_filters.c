// Filters on text and numbers, the lookup of all filters, and what filters share: option defaults.
#include "text/jinja_case.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILTER(name) static bool name(jinja_rt *rt, jinja_value self, const jinja_args *args, jinja_value *out)

bool jinja_arg_bool(jinja_rt *rt, jinja_value v, bool fallback, bool *out) {
    *out = fallback;
    return v.type == JINJA_MISSING || jinja_truth(rt, v, out);
}

bool jinja_arg_int(jinja_rt *rt, jinja_value v, int64_t fallback, int64_t *out) {
    *out = fallback;
    return v.type == JINJA_MISSING || jinja_index(rt, v, "the argument", out);
}

static bool is_absent(jinja_value v) {
    return v.type == JINJA_MISSING || v.type == JINJA_NONE;
}

static bool need_str(jinja_rt *rt, jinja_value v, const jinja_str **out) {
    if (v.type == JINJA_UNDEFINED) return jinja_fail_undefined(rt, v);
    if (v.type != JINJA_STR) return jinja_fail(rt, MOSA_EINVALID, "expected str, got %s", jinja_type_name(v));
    *out = v.as.str;
    return true;
}

FILTER(x_upper) {
    (void)args;
    return jinja_soft_str(rt, self, &self) && jinja_change_case(rt, self, JINJA_UPPER, out);
}
FILTER(x_lower) {
    (void)args;
    return jinja_soft_str(rt, self, &self) && jinja_change_case(rt, self, JINJA_LOWER, out);
}
FILTER(x_capitalize) {
    (void)args;
    return jinja_soft_str(rt, self, &self) && jinja_capitalize(rt, self, out);
}
FILTER(x_string) {
    (void)args;
    return jinja_soft_str(rt, self, out);
}
FILTER(x_trim) {
    return jinja_soft_str(rt, self, &self) && jinja_strip(rt, self, args->pos[0], true, true, out);
}

FILTER(x_replace) {
    const jinja_str *text, *old, *new_text;
    int64_t count = -1;
    if (!jinja_to_str(rt, self, &text) || !jinja_to_str(rt, args->pos[0], &old) ||
        !jinja_to_str(rt, args->pos[1], &new_text))
        return false;
    if (!is_absent(args->pos[2]) && !jinja_index(rt, args->pos[2], "count", &count)) return false;
    return jinja_replace(rt, jinja_of_str(text), old, new_text, count, out);
}

static bool begins_word(uint32_t c) {
    return jinja_is_space(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<';
}

// The first letter behind a separator goes up, all others down; unlike str.title().
FILTER(x_title) {
    (void)args;
    jinja_builder b;
    if (!jinja_soft_str(rt, self, &self)) return false;
    const jinja_str *s = self.as.str;
    jinja_builder_init(&b, rt);
    for (size_t at = 0; at < s->len && !b.failed;) {
        size_t first = at, end;
        bool separator = begins_word(jinja_utf8_next(s->data, s->len, &first));
        end = first;
        while (end < s->len) {
            size_t next = end;
            if (begins_word(jinja_utf8_next(s->data, s->len, &next)) != separator) break;
            end = next;
        }
        const jinja_str *rest = jinja_substr(rt, s, first, end);
        if (!rest) return false;
        jinja_put_cased(&b, s, at, first, JINJA_UPPER);
        jinja_put_cased(&b, rest, 0, rest->len, JINJA_LOWER);
        at = end;
    }
    return jinja_build(&b, out);
}

FILTER(x_center) {
    int64_t width;
    return jinja_arg_int(rt, args->pos[0], 80, &width) && jinja_soft_str(rt, self, &self) &&
           jinja_center(rt, self, width, NULL, out);
}

static bool indent_width(jinja_rt *rt, jinja_value width, const jinja_str **out) {
    int64_t n;
    jinja_builder b;
    jinja_value spaces;
    if (width.type == JINJA_STR) {
        *out = width.as.str;
        return true;
    }
    if (!jinja_arg_int(rt, width, 4, &n)) return false;
    jinja_builder_init(&b, rt);
    for (int64_t i = 0; i < n && !b.failed; i++) jinja_put_text(&b, " ");
    if (!jinja_build(&b, &spaces)) return false;
    *out = spaces.as.str;
    return true;
}

FILTER(x_indent) {
    const jinja_str *s, *indent;
    bool first, blank;
    jinja_vec lines;
    if (!indent_width(rt, args->pos[0], &indent) || !jinja_arg_bool(rt, args->pos[1], false, &first) ||
        !jinja_arg_bool(rt, args->pos[2], false, &blank) || !need_str(rt, self, &s))
        return false;
    jinja_builder b;
    jinja_value whole;
    jinja_builder_init(&b, rt);
    jinja_put_str(&b, s);
    jinja_put_text(&b, "\n");
    if (!jinja_build(&b, &whole) || !jinja_split_lines(rt, whole.as.str, false, &lines)) return false;
    jinja_builder_init(&b, rt);
    if (first) jinja_put_str(&b, indent);
    for (size_t i = 0; i < lines.n; i++) {
        if (i) jinja_put_text(&b, "\n");
        if (i && (blank || lines.items[i].as.str->len)) jinja_put_str(&b, indent);
        jinja_put_str(&b, lines.items[i].as.str);
    }
    if (!jinja_build(&b, out)) return false;
    out->markup = self.markup;
    return true;
}

FILTER(x_truncate) {
    const jinja_str *s, *end = NULL;
    int64_t length, leeway = 5;
    bool kill;
    size_t chars;
    jinja_value dots;
    if (!jinja_arg_int(rt, args->pos[0], 255, &length) || !jinja_arg_bool(rt, args->pos[1], false, &kill) ||
        !jinja_text_value(rt, "...", &dots) ||
        !need_str(rt, args->pos[2].type == JINJA_MISSING ? dots : args->pos[2], &end) ||
        !jinja_length(rt, self, &chars))
        return false;
    if (!is_absent(args->pos[3]) && !jinja_index(rt, args->pos[3], "leeway", &leeway)) return false;
    int64_t keep = length - (int64_t)jinja_str_chars(end);
    if (keep < 0 || leeway < 0) return jinja_fail(rt, MOSA_EINVALID, "truncate: length or leeway is too small");
    if ((int64_t)chars - leeway <= length) {
        *out = self;
        return true;
    }
    if (!need_str(rt, self, &s)) return false;
    size_t to = jinja_str_offset(s, (size_t)keep);
    for (size_t i = to; !kill && i > 0; i--) {
        if (s->data[i - 1] != ' ') continue;
        to = i - 1;
        break;
    }
    jinja_builder b;
    jinja_builder_init(&b, rt);
    jinja_put_part(&b, s, 0, to);
    jinja_put_str(&b, end);
    return jinja_build(&b, out);
}

FILTER(x_wordcount) {
    (void)args;
    int64_t n = 0;
    bool inside = false;
    const jinja_str *s;
    if (!jinja_to_str(rt, self, &s) || !jinja_charge(rt, s->len / 64)) return false;
    for (size_t at = 0; at < s->len;) {
        bool word = jinja_is_word(jinja_utf8_next(s->data, s->len, &at));
        n += word && !inside;
        inside = word;
    }
    *out = jinja_int(n);
    return true;
}

FILTER(x_safe) {
    (void)args;
    if (!jinja_soft_str(rt, self, out)) return false;
    out->markup = true;
    return true;
}

FILTER(x_escape) {
    (void)args;
    return jinja_str_markup(rt, self, out);
}

FILTER(x_forceescape) {
    (void)args;
    self.markup = false;
    return jinja_str_markup(rt, self, out);
}

// The end of a tag or comment at `at`, or 0 when there is none. Unclosed ones are paid for, each scans to the end.
static size_t tag_end(jinja_rt *rt, const jinja_str *s, size_t at) {
    const char *p = s->data + at;
    size_t left = s->len - at;
    if (*p != '<' || !jinja_charge(rt, left / 64)) return 0;
    bool comment = left >= 4 && memcmp(p, "<!--", 4) == 0;
    const char *close = comment ? memmem(p, left, "-->", 3) : memchr(p, '>', left);
    return close ? (size_t)(close - s->data) + (comment ? 3 : 1) : 0;
}

// An entity that escape writes at `at`: its character and end, or 0.
static size_t entity_end(const jinja_str *s, size_t at, char *out) {
    static const struct {
        const char *entity;
        char text;
    } entities[] = {{"&amp;", '&'}, {"&lt;", '<'}, {"&gt;", '>'}, {"&#34;", '"'}, {"&#39;", '\''}, {"&quot;", '"'}};
    for (size_t i = 0; i < MOSA_COUNT(entities); i++) {
        size_t len = strlen(entities[i].entity);
        if (s->len - at < len || memcmp(s->data + at, entities[i].entity, len) != 0) continue;
        *out = entities[i].text;
        return at + len;
    }
    return 0;
}

// Tags and comments go, blanks collapse, the entities that escape writes are read back.
FILTER(x_striptags) {
    (void)args;
    const jinja_str *s;
    jinja_builder b;
    bool space = false;
    if (!jinja_to_str(rt, self, &s) || !jinja_charge(rt, s->len / 8)) return false;
    jinja_builder_init(&b, rt);
    for (size_t at = 0, next; at < s->len && !b.failed; at = next) {
        char c;
        next = tag_end(rt, s, at);
        if (rt->steps == 0) return false;
        if (next) continue;
        next = at;
        if (jinja_is_space(jinja_utf8_next(s->data, s->len, &next))) {
            space = true;
            continue;
        }
        if (space && b.len) jinja_put_text(&b, " ");
        space = false;
        size_t after = entity_end(s, at, &c);
        if (after)
            jinja_put(&b, &c, 1, jinja_str_flags_at(s, at));
        else
            jinja_put_part(&b, s, at, next);
        if (after) next = after;
    }
    return jinja_build(&b, out);
}

static void quote_url(jinja_builder *b, const jinja_str *s, bool query) {
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < s->len && !b->failed; i++) {
        unsigned char c = (unsigned char)s->data[i];
        uint8_t flags = jinja_str_flags_at(s, i);
        bool plain = (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || (c && strchr("_.-~", c)) ||
                     (c == '/' && !query);
        char escaped[3] = {'%', hex[c >> 4], hex[c & 15]};
        if (plain)
            jinja_put_part(b, s, i, i + 1);
        else if (c == ' ' && query)
            jinja_put(b, "+", 1, flags);
        else
            jinja_put(b, escaped, 3, flags);
    }
}

static bool quote_pair(jinja_rt *rt, jinja_builder *b, jinja_value item) {
    jinja_vec pair;
    const jinja_str *key, *value;
    if (!jinja_collect(rt, item, &pair)) return false;
    if (pair.n != 2) return jinja_fail(rt, MOSA_EINVALID, "urlencode needs (key, value) pairs");
    if (!jinja_to_str(rt, pair.items[0], &key) || !jinja_to_str(rt, pair.items[1], &value)) return false;
    quote_url(b, key, true);
    jinja_put_text(b, "=");
    quote_url(b, value, true);
    return true;
}

FILTER(x_urlencode) {
    (void)args;
    jinja_builder b;
    jinja_builder_init(&b, rt);
    if (self.type == JINJA_STR || !jinja_iterable(self)) {
        const jinja_str *s;
        if (!jinja_to_str(rt, self, &s)) return false;
        quote_url(&b, s, false);
        return jinja_build(&b, out);
    }
    jinja_view view = {self.as.dict, JINJA_ITEMS};
    jinja_iter it;
    jinja_value item;
    if (self.type == JINJA_DICT) self = (jinja_value){.type = JINJA_VIEW, .as.view = &view};
    if (!jinja_iterate(rt, self, &it)) return false;
    int more;
    for (size_t i = 0; (more = jinja_next(rt, &it, &item)) > 0; i++) {
        if (i) jinja_put_text(&b, "&");
        if (!quote_pair(rt, &b, item)) return false;
    }
    return more == 0 && jinja_build(&b, out);
}

static bool xml_key_valid(const jinja_str *key) {
    for (size_t i = 0; i < key->len; i++)
        if (strchr(" \t\n\r\f\v/>=", key->data[i]) && key->data[i]) return false;
    return true;
}

FILTER(x_xmlattr) {
    bool space;
    if (!jinja_arg_bool(rt, args->pos[0], true, &space)) return false;
    if (self.type != JINJA_DICT) return jinja_fail(rt, MOSA_EINVALID, "xmlattr needs a dict");
    jinja_builder b;
    jinja_builder_init(&b, rt);
    for (size_t i = 0; i < self.as.dict->n; i++) {
        const jinja_pair *pair = &self.as.dict->items[i];
        const jinja_str *key;
        jinja_value escaped;
        if (pair->value.type == JINJA_NONE || pair->value.type == JINJA_UNDEFINED) continue;
        if (!need_str(rt, pair->key, &key)) return false;
        if (!xml_key_valid(key)) return jinja_fail(rt, MOSA_EINVALID, "invalid character in attribute name");
        if (b.len || space) jinja_put_text(&b, " ");
        jinja_put_escaped(&b, key);
        jinja_put_text(&b, "=\"");
        if (!jinja_str_markup(rt, pair->value, &escaped)) return false;
        jinja_put_str(&b, escaped.as.str);
        jinja_put_text(&b, "\"");
    }
    return jinja_build(&b, out);
}

FILTER(x_format) {
    jinja_value operand;
    jinja_vec items = {0};
    if (args->n && args->n_kw)
        return jinja_fail(rt, MOSA_EINVALID, "can't handle positional and keyword arguments at the same time");
    if (args->n_kw) {
        if (!jinja_new_dict(rt, &operand)) return false;
        for (size_t i = 0; i < args->n_kw; i++)
            if (!jinja_dict_set(rt, operand.as.dict, jinja_of_str(args->kw[i].name), args->kw[i].value)) return false;
    } else {
        for (size_t i = 0; i < args->n; i++)
            if (!jinja_vec_push(rt, &items, args->pos[i])) return false;
        if (!jinja_vec_list(rt, &items, JINJA_TUPLE, &operand)) return false;
    }
    return jinja_soft_str(rt, self, &self) && jinja_percent_format(rt, self, operand, out);
}

static bool json_indent(jinja_rt *rt, jinja_value indent, const jinja_str **out) {
    if (indent.type == JINJA_STR) {
        *out = indent.as.str;
        return true;
    }
    if (!jinja_is_int(indent)) return jinja_fail(rt, MOSA_EINVALID, "indent must be an integer or a string");
    return indent_width(rt, indent, out);
}

FILTER(x_tojson) {
    jinja_json_style style = {0};
    jinja_value comma, colon;
    jinja_vec separators;
    style.pretty = !is_absent(args->pos[1]);
    if (!jinja_arg_bool(rt, args->pos[0], false, &style.ensure_ascii) ||
        !jinja_arg_bool(rt, args->pos[3], false, &style.sort_keys) ||
        !jinja_text_value(rt, style.pretty ? "," : ", ", &comma) || !jinja_text_value(rt, ": ", &colon))
        return false;
    if (style.pretty && !json_indent(rt, args->pos[1], &style.indent)) return false;
    if (!is_absent(args->pos[2])) {
        if (!jinja_collect(rt, args->pos[2], &separators)) return false;
        if (separators.n != 2) return jinja_fail(rt, MOSA_EINVALID, "separators must be a pair");
        comma = separators.items[0];
        colon = separators.items[1];
    }
    if (!need_str(rt, comma, &style.item_separator) || !need_str(rt, colon, &style.key_separator)) return false;
    jinja_builder b;
    jinja_builder_init(&b, rt);
    return jinja_write_json(&b, self, &style) && jinja_build(&b, out);
}

FILTER(x_absent) {
    (void)self;
    (void)args;
    (void)out;
    return jinja_fail(rt, MOSA_EUNSUPPORTED, "the filters pprint, random, urlize and wordwrap are not available");
}

static const jinja_builtin filters[] = {
    {"capitalize", "", x_capitalize},
    {"center", "width", x_center},
    {"e", "", x_escape},
    {"escape", "", x_escape},
    {"forceescape", "", x_forceescape},
    {"format", "*", x_format},
    {"indent", "width first blank", x_indent},
    {"lower", "", x_lower},
    {"pprint", "*", x_absent},
    {"random", "*", x_absent},
    {"replace", "old! new! count", x_replace},
    {"safe", "", x_safe},
    {"string", "", x_string},
    {"striptags", "", x_striptags},
    {"title", "", x_title},
    {"tojson", "ensure_ascii indent separators sort_keys", x_tojson},
    {"trim", "chars", x_trim},
    {"truncate", "length killwords end leeway", x_truncate},
    {"upper", "", x_upper},
    {"urlencode", "", x_urlencode},
    {"urlize", "*", x_absent},
    {"wordcount", "", x_wordcount},
    {"wordwrap", "*", x_absent},
    {"xmlattr", "autospace", x_xmlattr},
};

const jinja_table jinja_text_filters = {filters, MOSA_COUNT(filters)};

const jinja_builtin *jinja_find_filter(mosa_slice name) {
    const jinja_table *tables[] = {&jinja_text_filters, &jinja_sequence_filters, &jinja_number_filters};
    for (size_t i = 0; i < MOSA_COUNT(tables); i++) {
        const jinja_builtin *found = jinja_find_in(tables[i]->rows, tables[i]->n, name);
        if (found) return found;
    }
    return NULL;
}
