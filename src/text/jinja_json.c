// JSON both ways: a request's value tree into values, and values into text exactly as Python's json.dumps.
#include "text/jinja_runtime.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static bool from_object(jinja_rt *rt, json_t *json, bool trusted, jinja_value *out) {
    const char *key;
    size_t key_len;
    json_t *member;
    if (!jinja_new_dict(rt, out)) return false;
    json_object_keylen_foreach(json, key, key_len, member) {
        const jinja_str *name = jinja_new_str(rt, key, key_len, trusted ? JINJA_TRUSTED : 0);
        mosa_slice text = {json_string_value(member), json_string_length(member)};
        bool trusts = rt->inputs->trusts_member;
        bool trusted_member = trusted || (json_is_string(member) && trusts && rt->inputs->trusts_member(key, text));
        jinja_value value;
        if (!name || !jinja_from_json(rt, member, trusted_member, &value)) return false;
        if (!jinja_dict_set(rt, out->as.dict, jinja_of_str(name), value)) return false;
    }
    return true;
}

static bool from_array(jinja_rt *rt, json_t *json, bool trusted, jinja_value *out) {
    jinja_list *list = JINJA_NEW(rt, jinja_list);
    if (!list) return false;
    list->n = json_array_size(json);
    list->items = JINJA_ARRAY(rt, jinja_value, list->n);
    if (!list->items) return false;
    for (size_t i = 0; i < list->n; i++)
        if (!jinja_from_json(rt, json_array_get(json, i), trusted, &list->items[i])) return false;
    *out = (jinja_value){.type = JINJA_LIST, .as.list = list};
    return true;
}

bool jinja_from_json(jinja_rt *rt, json_t *json, bool trusted, jinja_value *out) {
    if (!jinja_enter(rt) || !jinja_charge(rt, 1)) return false;
    bool ok = true;
    switch (json_typeof(json)) {
    case JSON_OBJECT:
        ok = from_object(rt, json, trusted, out);
        break;
    case JSON_ARRAY:
        ok = from_array(rt, json, trusted, out);
        break;
    case JSON_STRING: {
        const jinja_str *s =
            jinja_new_str(rt, json_string_value(json), json_string_length(json), trusted ? JINJA_TRUSTED : 0);
        ok = s != NULL;
        if (ok) *out = jinja_of_str(s);
        break;
    }
    case JSON_INTEGER:
        *out = jinja_tainted(jinja_int(json_integer_value(json)), !trusted);
        break;
    case JSON_REAL:
        *out = jinja_tainted(jinja_float(json_real_value(json)), !trusted);
        break;
    case JSON_TRUE:
        *out = jinja_bool(true);
        break;
    case JSON_FALSE:
        *out = jinja_bool(false);
        break;
    case JSON_NULL:
        *out = jinja_none();
        break;
    }
    rt->depth--;
    return ok;
}

static void escape_code(jinja_builder *b, uint32_t c, uint8_t flags) {
    char text[16];
    int len = 0;
    static const char from[] = "\"\\\n\r\t\f\b", to[] = "\"\\nrtfb";
    const char *simple = c && c < 0x80 ? strchr(from, (int)c) : NULL;
    if (simple)
        len = snprintf(text, sizeof text, "\\%c", to[simple - from]);
    else if (c < 0x10000)
        len = snprintf(text, sizeof text, "\\u%04x", c);
    else
        len = snprintf(text, sizeof text, "\\u%04x\\u%04x", 0xD800 + ((c - 0x10000) >> 10), 0xDC00 + (c & 0x3FF));
    jinja_put(b, text, (size_t)len, flags);
}

static void write_string(jinja_builder *b, const jinja_str *s, const jinja_json_style *style) {
    jinja_put_text(b, "\"");
    size_t done = 0;
    for (size_t i = 0; i < s->len;) {
        size_t next = i;
        uint32_t c = jinja_utf8_next(s->data, s->len, &next);
        if (c < 0x20 || c == '"' || c == '\\' || (style->ensure_ascii && c > 0x7E)) {
            jinja_put_part(b, s, done, i);
            escape_code(b, c, jinja_str_flags_at(s, i));
            done = next;
        }
        i = next;
    }
    jinja_put_part(b, s, done, s->len);
    jinja_put_text(b, "\"");
}

static bool write_float(jinja_builder *b, jinja_value v) {
    if (isfinite(v.as.real)) return jinja_write_repr(b, v);
    jinja_put_text(b, isnan(v.as.real) ? "NaN" : v.as.real < 0 ? "-Infinity" : "Infinity");
    return !b->failed;
}

static void new_line(jinja_builder *b, const jinja_json_style *style, size_t level) {
    if (!style->pretty) return;
    jinja_put_text(b, "\n");
    for (size_t i = 0; i < level && !b->failed; i++) jinja_put_str(b, style->indent);
}

static bool write_value(jinja_builder *b, jinja_value v, const jinja_json_style *style, size_t level);

static bool write_array(jinja_builder *b, const jinja_list *list, const jinja_json_style *style, size_t level) {
    if (list->n == 0) {
        jinja_put_text(b, "[]");
        return !b->failed;
    }
    jinja_put_text(b, "[");
    for (size_t i = 0; i < list->n; i++) {
        if (i) jinja_put_str(b, style->item_separator);
        new_line(b, style, level + 1);
        if (!write_value(b, list->items[i], style, level + 1)) return false;
    }
    new_line(b, style, level);
    jinja_put_text(b, "]");
    return !b->failed;
}

static bool write_key(jinja_builder *b, jinja_value key, const jinja_json_style *style) {
    if (key.type == JINJA_STR) {
        write_string(b, key.as.str, style);
        return true;
    }
    if (!jinja_is_number(key) && key.type != JINJA_NONE)
        return jinja_fail(b->rt, MOSA_EINVALID, "keys must be str, int, float, bool or None, not %s",
                          jinja_type_name(key));
    jinja_put_text(b, "\"");
    if (!write_value(b, key, style, 0)) return false;
    jinja_put_text(b, "\"");
    return true;
}

static bool sorted_pairs(jinja_rt *rt, const jinja_dict *dict, const jinja_pair **out) {
    jinja_value *keys = JINJA_ARRAY(rt, jinja_value, dict->n), *order = JINJA_ARRAY(rt, jinja_value, dict->n);
    jinja_pair *pairs = JINJA_ARRAY(rt, jinja_pair, dict->n);
    if (!keys || !order || !pairs) return false;
    for (size_t i = 0; i < dict->n; i++) {
        keys[i] = dict->items[i].key;
        order[i] = jinja_int((int64_t)i);
    }
    if (!jinja_sort_values(rt, order, keys, dict->n, false)) return false;
    for (size_t i = 0; i < dict->n; i++) pairs[i] = dict->items[order[i].as.integer];
    *out = pairs;
    return true;
}

static bool write_object(jinja_builder *b, const jinja_dict *dict, const jinja_json_style *style, size_t level) {
    if (dict->n == 0) {
        jinja_put_text(b, "{}");
        return !b->failed;
    }
    const jinja_pair *pairs = dict->items;
    if (style->sort_keys && !sorted_pairs(b->rt, dict, &pairs)) return false;
    jinja_put_text(b, "{");
    for (size_t i = 0; i < dict->n; i++) {
        if (i) jinja_put_str(b, style->item_separator);
        new_line(b, style, level + 1);
        if (!write_key(b, pairs[i].key, style)) return false;
        jinja_put_str(b, style->key_separator);
        if (!write_value(b, pairs[i].value, style, level + 1)) return false;
    }
    new_line(b, style, level);
    jinja_put_text(b, "}");
    return !b->failed;
}

static bool write_any(jinja_builder *b, jinja_value v, const jinja_json_style *style, size_t level) {
    switch ((jinja_type)v.type) {
    case JINJA_NONE:
        jinja_put_text(b, "null");
        break;
    case JINJA_BOOL:
        jinja_put_text(b, v.as.boolean ? "true" : "false");
        break;
    case JINJA_INT:
        return jinja_write_repr(b, v);
    case JINJA_FLOAT:
        return write_float(b, v);
    case JINJA_STR:
        write_string(b, v.as.str, style);
        break;
    case JINJA_LIST:
    case JINJA_TUPLE:
        return write_array(b, v.as.list, style, level);
    case JINJA_DICT:
        return write_object(b, v.as.dict, style, level);
    default:
        return jinja_fail(b->rt, MOSA_EINVALID, "Object of type %s is not JSON serializable", jinja_type_name(v));
    }
    return !b->failed;
}

static bool write_value(jinja_builder *b, jinja_value v, const jinja_json_style *style, size_t level) {
    if (!jinja_enter(b->rt) || !jinja_charge(b->rt, 1)) return false;
    bool ok = write_any(b, v, style, level);
    b->rt->depth--;
    return ok;
}

bool jinja_write_json(jinja_builder *b, jinja_value v, const jinja_json_style *style) {
    return write_value(b, v, style, 0);
}
