// str() and repr() of values, character for character as Python writes them.
#include "text/jinja_runtime.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Writes "d.ddde+XX" as Python does: no point in a one-digit mantissa, at least two digits of exponent.
static size_t scientific(const char *digits, size_t n, int exponent, char *out) {
    size_t len = 0;
    out[len++] = digits[0];
    if (n > 1) {
        out[len++] = '.';
        memcpy(out + len, digits + 1, n - 1);
        len += n - 1;
    }
    return len + (size_t)snprintf(out + len, 8, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
}

static size_t positional(const char *digits, size_t n, int exponent, char *out) {
    size_t len = 0;
    if (exponent < 0) {
        len += (size_t)snprintf(out, 8, "0.%.*s", -exponent - 1, "0000");
        memcpy(out + len, digits, n);
        return len + n;
    }
    for (int i = 0; i <= exponent || (size_t)i < n; i++) {
        if (i == exponent + 1) out[len++] = '.';
        out[len++] = (size_t)i < n ? digits[i] : '0';
    }
    if (n <= (size_t)exponent + 1) {
        out[len++] = '.';
        out[len++] = '0';
    }
    return len;
}

size_t jinja_format_float(double value, char out[32]) {
    if (isnan(value)) return (size_t)snprintf(out, 32, "nan");
    if (isinf(value)) return (size_t)snprintf(out, 32, "%s", value < 0 ? "-inf" : "inf");
    char text[40];
    for (int precision = 0; precision < 17; precision++) {
        snprintf(text, sizeof text, "%.*e", precision, fabs(value));
        if (strtod(text, NULL) == fabs(value)) break;
    }
    char digits[24];
    size_t n = 0;
    const char *p = text;
    for (; *p && *p != 'e'; p++)
        if (*p != '.') digits[n++] = *p;
    int exponent = (int)strtol(p + 1, NULL, 10);
    while (n > 1 && digits[n - 1] == '0') n--;
    size_t sign = signbit(value) ? 1 : 0;
    if (sign) out[0] = '-';
    bool plain = exponent >= -4 && exponent < 16;
    return sign + (plain ? positional(digits, n, exponent, out + sign) : scientific(digits, n, exponent, out + sign));
}

static void put_number(jinja_builder *b, jinja_value v) {
    char text[32];
    size_t len = v.type == JINJA_FLOAT ? jinja_format_float(v.as.real, text)
                                       : (size_t)snprintf(text, sizeof text, "%" PRId64, v.as.integer);
    jinja_put(b, text, len, v.tainted ? 0 : JINJA_TRUSTED);
}

static void repr_escape(jinja_builder *b, uint32_t c, uint8_t flags) {
    char text[16];
    const char *format = c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x";
    switch (c) {
    case '\n':
        format = "\\n";
        break;
    case '\r':
        format = "\\r";
        break;
    case '\t':
        format = "\\t";
        break;
    default:
        break;
    }
    jinja_put(b, text, (size_t)snprintf(text, sizeof text, format, c), flags);
}

static void repr_str(jinja_builder *b, const jinja_str *s) {
    bool single = memchr(s->data, '\'', s->len) != NULL, dbl = memchr(s->data, '"', s->len) != NULL;
    char quote[2] = {single && !dbl ? '"' : '\'', '\0'};
    jinja_put_text(b, quote);
    size_t done = 0;
    for (size_t i = 0; i < s->len;) {
        size_t next = i;
        uint32_t c = jinja_utf8_next(s->data, s->len, &next);
        bool backslash = c == '\\' || c == (uint32_t)quote[0];
        if (backslash || !jinja_is_printable(c)) {
            uint8_t flags = jinja_str_flags_at(s, i);
            jinja_put_part(b, s, done, i);
            if (backslash)
                jinja_put(b, "\\", 1, flags);
            else
                repr_escape(b, c, flags);
            done = backslash ? i : next;
        }
        i = next;
    }
    jinja_put_part(b, s, done, s->len);
    jinja_put_text(b, quote);
}

static bool repr_items(jinja_builder *b, const jinja_list *list) {
    for (size_t i = 0; i < list->n; i++) {
        if (i) jinja_put_text(b, ", ");
        if (!jinja_write_repr(b, list->items[i])) return false;
    }
    return true;
}

static bool repr_dict(jinja_builder *b, const jinja_dict *dict) {
    jinja_put_text(b, "{");
    for (size_t i = 0; i < dict->n; i++) {
        if (i) jinja_put_text(b, ", ");
        if (!jinja_write_repr(b, dict->items[i].key)) return false;
        jinja_put_text(b, ": ");
        if (!jinja_write_repr(b, dict->items[i].value)) return false;
    }
    jinja_put_text(b, "}");
    return true;
}

static bool repr_view(jinja_builder *b, jinja_value v) {
    jinja_iter it;
    jinja_value item;
    jinja_put_text(b, jinja_type_name(v));
    jinja_put_text(b, "([");
    if (!jinja_iterate(b->rt, v, &it)) return false;
    int more;
    for (size_t i = 0; (more = jinja_next(b->rt, &it, &item)) > 0; i++) {
        if (i) jinja_put_text(b, ", ");
        if (!jinja_write_repr(b, item)) return false;
    }
    jinja_put_text(b, "])");
    return more == 0;
}

static void repr_range(jinja_builder *b, const jinja_range *range) {
    char text[96];
    int len = snprintf(text, sizeof text, "range(%" PRId64 ", %" PRId64, range->start, range->stop);
    if (range->step != 1) len += snprintf(text + len, sizeof text - (size_t)len, ", %" PRId64, range->step);
    jinja_put(b, text, (size_t)len, JINJA_TRUSTED);
    jinja_put_text(b, ")");
}

static bool repr_macro(jinja_builder *b, const jinja_macro *macro) {
    jinja_put_text(b, "<Macro ");
    if (macro->signature->name)
        repr_str(b, macro->signature->name);
    else
        jinja_put_text(b, "anonymous");
    jinja_put_text(b, ">");
    return true;
}

static bool repr_loop(jinja_builder *b, jinja_loop *loop) {
    size_t length;
    char text[64];
    if (!jinja_loop_length(b->rt, loop, &length)) return false;
    snprintf(text, sizeof text, "<LoopContext %zu/%zu>", loop->index0 + 1, length);
    jinja_put_text(b, text);
    return true;
}

static bool repr_group(jinja_builder *b, jinja_value v) {
    jinja_put_text(b, v.type == JINJA_LIST ? "[" : "(");
    if (!repr_items(b, v.as.list)) return false;
    jinja_put_text(b, v.type == JINJA_LIST ? "]" : v.as.list->n == 1 ? ",)" : ")");
    return true;
}

static bool write_repr(jinja_builder *b, jinja_value v) {
    switch ((jinja_type)v.type) {
    case JINJA_UNDEFINED:
        jinja_put_text(b, "Undefined");
        break;
    case JINJA_NONE:
        jinja_put_text(b, "None");
        break;
    case JINJA_BOOL:
        jinja_put_text(b, v.as.boolean ? "True" : "False");
        break;
    case JINJA_INT:
    case JINJA_FLOAT:
        put_number(b, v);
        break;
    case JINJA_STR:
        if (v.markup) jinja_put_text(b, "Markup(");
        repr_str(b, v.as.str);
        if (v.markup) jinja_put_text(b, ")");
        break;
    case JINJA_LIST:
    case JINJA_TUPLE:
        return repr_group(b, v);
    case JINJA_DICT:
        return repr_dict(b, v.as.dict);
    case JINJA_RANGE:
        repr_range(b, v.as.range);
        break;
    case JINJA_VIEW:
        return repr_view(b, v);
    case JINJA_NAMESPACE:
        jinja_put_text(b, "<Namespace ");
        if (!repr_dict(b, v.as.dict)) return false;
        jinja_put_text(b, ">");
        break;
    case JINJA_MACRO:
        return repr_macro(b, v.as.macro);
    case JINJA_LOOP:
        return repr_loop(b, v.as.loop);
    default: // Python would print an address
        jinja_put_text(b, "<");
        jinja_put_text(b, jinja_type_name(v));
        jinja_put_text(b, " object>");
        break;
    }
    return true;
}

bool jinja_write_repr(jinja_builder *b, jinja_value v) {
    if (!jinja_enter(b->rt) || !jinja_charge(b->rt, 1)) return false;
    bool ok = write_repr(b, v) && !b->failed;
    b->rt->depth--;
    return ok;
}

bool jinja_write_str(jinja_builder *b, jinja_value v) {
    if (v.type == JINJA_STR)
        jinja_put_str(b, v.as.str);
    else if (v.type != JINJA_UNDEFINED)
        return jinja_write_repr(b, v);
    return !b->failed;
}

bool jinja_to_str(jinja_rt *rt, jinja_value v, const jinja_str **out) {
    if (v.type == JINJA_STR) {
        *out = v.as.str;
        return true;
    }
    jinja_builder b;
    jinja_value text;
    jinja_builder_init(&b, rt);
    if (!jinja_write_str(&b, v) || !jinja_build(&b, &text)) return false;
    *out = text.as.str;
    return true;
}

bool jinja_soft_str(jinja_rt *rt, jinja_value v, jinja_value *out) {
    if (v.type == JINJA_STR) {
        *out = v;
        return true;
    }
    const jinja_str *text;
    if (!jinja_to_str(rt, v, &text)) return false;
    *out = jinja_of_str(text);
    return true;
}
