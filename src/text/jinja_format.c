// format % args: Python's printf-style formatting.
#include "text/jinja_runtime.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct directive {
    bool minus, plus, space, alternate, zero;
    int64_t width, precision; // -1 = not given
    char type;
} directive;

typedef struct formatter {
    jinja_rt *rt;
    jinja_builder out;
    const jinja_str *format;
    size_t at;
    jinja_value args;
    size_t next; // of a tuple's items; 1 after a single argument
    bool markup;
} formatter;

enum { FORMAT_WIDTH_MAX = 1 << 20, FORMAT_PRECISION_MAX = 300 };

static bool fail(formatter *f, const char *message) {
    return jinja_fail(f->rt, MOSA_EINVALID, "%s", message);
}

static char peek(const formatter *f) {
    return f->at < f->format->len ? f->format->data[f->at] : '\0';
}

static bool next_arg(formatter *f, jinja_value *out) {
    size_t n = f->args.type == JINJA_TUPLE ? f->args.as.list->n : 1;
    if (f->next >= n) return fail(f, "not enough arguments for format string");
    *out = f->args.type == JINJA_TUPLE ? f->args.as.list->items[f->next] : f->args;
    f->next++;
    return true;
}

// %(key): the value, and whether there was a key.
static bool keyed_arg(formatter *f, jinja_value *out) {
    size_t begin = ++f->at;
    for (int depth = 1; f->at < f->format->len; f->at++) {
        char c = f->format->data[f->at];
        depth += (c == '(') - (c == ')');
        if (depth == 0) break;
    }
    if (f->at >= f->format->len) return fail(f, "incomplete format key");
    if (f->args.type != JINJA_DICT) return fail(f, "format requires a mapping");
    const jinja_str *key = jinja_substr(f->rt, f->format, begin, f->at++);
    if (!key || !jinja_dict_get_str(f->rt, f->args.as.dict, key, out)) return false;
    return out->type != JINJA_MISSING || fail(f, "the format's key is not in the mapping");
}

static bool read_number(formatter *f, int64_t *out) {
    jinja_value arg;
    if (peek(f) == '*') {
        f->at++;
        if (!next_arg(f, &arg)) return false;
        if (!jinja_is_int(arg)) return fail(f, "* wants int");
        *out = jinja_as_int(arg);
    } else {
        for (*out = 0; peek(f) >= '0' && peek(f) <= '9' && *out <= FORMAT_WIDTH_MAX; f->at++)
            *out = *out * 10 + (peek(f) - '0');
    }
    if (*out > FORMAT_WIDTH_MAX || *out < -FORMAT_WIDTH_MAX) return fail(f, "width or precision is too big");
    return true;
}

static bool read_directive(formatter *f, directive *d) {
    *d = (directive){.width = -1, .precision = -1};
    for (;; f->at++) {
        char c = peek(f);
        if (c == '-')
            d->minus = true;
        else if (c == '+')
            d->plus = true;
        else if (c == ' ')
            d->space = true;
        else if (c == '#')
            d->alternate = true;
        else if (c == '0')
            d->zero = true;
        else
            break;
    }
    if ((peek(f) == '*' || (peek(f) >= '1' && peek(f) <= '9')) && !read_number(f, &d->width)) return false;
    if (d->width < -1) {
        d->minus = true;
        d->width = -d->width;
    }
    if (peek(f) == '.') {
        f->at++;
        if (!read_number(f, &d->precision)) return false;
        if (d->precision < 0) d->precision = 0;
    }
    while (peek(f) == 'h' || peek(f) == 'l' || peek(f) == 'L') f->at++;
    if (f->at >= f->format->len) return fail(f, "incomplete format");
    d->type = f->format->data[f->at++];
    return true;
}

static void put_fill(formatter *f, char c, int64_t n) {
    for (; n > 0 && !f->out.failed; n--) jinja_put(&f->out, &c, 1, JINJA_TRUSTED);
}

// Text in a field: padded by blanks.
static void put_field(formatter *f, const directive *d, const jinja_str *s) {
    size_t chars = jinja_str_chars(s);
    if (d->precision >= 0 && (size_t)d->precision < chars) chars = (size_t)d->precision;
    int64_t pad = d->width - (int64_t)chars;
    if (!d->minus) put_fill(f, ' ', pad);
    jinja_put_part(&f->out, s, 0, jinja_str_offset(s, chars));
    if (d->minus) put_fill(f, ' ', pad);
}

// A number, given as sign, prefix ("0x") and digits, in a field.
static void put_number(formatter *f, const directive *d, const char *sign, const char *prefix, const char *digits,
                       bool zero, bool tainted) {
    uint8_t flags = tainted ? 0 : JINJA_TRUSTED;
    int64_t pad = d->width - (int64_t)(strlen(sign) + strlen(prefix) + strlen(digits));
    bool zeros = zero && !d->minus;
    if (!d->minus && !zeros) put_fill(f, ' ', pad);
    jinja_put(&f->out, sign, strlen(sign), flags);
    jinja_put(&f->out, prefix, strlen(prefix), flags);
    if (zeros) put_fill(f, '0', pad);
    jinja_put(&f->out, digits, strlen(digits), flags);
    if (d->minus) put_fill(f, ' ', pad);
}

static const char *sign_of(const directive *d, bool negative) {
    return negative ? "-" : d->plus ? "+" : d->space ? " " : "";
}

static bool format_integer(formatter *f, const directive *d, jinja_value v) {
    bool decimal = d->type == 'd' || d->type == 'i' || d->type == 'u';
    int64_t i = 0;
    if (v.type == JINJA_UNDEFINED) return jinja_fail_undefined(f->rt, v);
    if (jinja_is_int(v))
        i = jinja_as_int(v);
    else if (v.type != JINJA_FLOAT || !decimal)
        return jinja_fail(f->rt, MOSA_EINVALID, "%%%c format: a number is required, not %s", d->type,
                          jinja_type_name(v));
    else if (!(v.as.real > -9.2e18 && v.as.real < 9.2e18))
        return fail(f, "cannot convert float to integer");
    else
        i = (int64_t)v.as.real;
    uint64_t magnitude = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
    char digits[FORMAT_PRECISION_MAX + 32];
    int precision = d->precision > FORMAT_PRECISION_MAX ? FORMAT_PRECISION_MAX : (int)d->precision;
    if (precision < 1) precision = 1;
    if (decimal)
        snprintf(digits, sizeof digits, "%.*" PRIu64, precision, magnitude);
    else if (d->type == 'o')
        snprintf(digits, sizeof digits, "%.*" PRIo64, precision, magnitude);
    else if (d->type == 'x')
        snprintf(digits, sizeof digits, "%.*" PRIx64, precision, magnitude);
    else
        snprintf(digits, sizeof digits, "%.*" PRIX64, precision, magnitude);
    const char *prefix = !d->alternate || decimal ? "" : d->type == 'o' ? "0o" : d->type == 'x' ? "0x" : "0X";
    put_number(f, d, sign_of(d, i < 0), prefix, digits, d->zero, v.tainted);
    return true;
}

static bool format_real(formatter *f, const directive *d, jinja_value v) {
    if (v.type == JINJA_UNDEFINED) return jinja_fail_undefined(f->rt, v);
    if (!jinja_is_number(v)) return jinja_fail(f->rt, MOSA_EINVALID, "must be real number, not %s", jinja_type_name(v));
    double real = jinja_as_double(v);
    char digits[FORMAT_PRECISION_MAX + 340], pattern[8];
    int precision = d->precision < 0                      ? 6
                    : d->precision > FORMAT_PRECISION_MAX ? FORMAT_PRECISION_MAX
                                                          : (int)d->precision;
    snprintf(pattern, sizeof pattern, "%%%s.*%c", d->alternate ? "#" : "", d->type);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(digits, sizeof digits, pattern, precision, fabs(real));
#pragma GCC diagnostic pop
    put_number(f, d, sign_of(d, signbit(real) && !isnan(real)), "", digits, d->zero, v.tainted);
    return true;
}

static bool format_char(formatter *f, const directive *d, jinja_value v) {
    jinja_builder b;
    jinja_value text = v;
    if (v.type == JINJA_STR) {
        if (jinja_str_chars(v.as.str) != 1) return fail(f, "%c requires int or char");
    } else {
        if (!jinja_is_int(v)) return fail(f, "%c requires int or char");
        int64_t c = jinja_as_int(v);
        if (c < 0 || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF)) return fail(f, "%c arg not in range(0x110000)");
        jinja_builder_init(&b, f->rt);
        jinja_put_char(&b, (uint32_t)c, v.tainted ? 0 : JINJA_TRUSTED);
        if (!jinja_build(&b, &text)) return false;
    }
    directive whole = *d;
    whole.precision = -1;
    put_field(f, &whole, text.as.str);
    return true;
}

static bool format_text(formatter *f, const directive *d, jinja_value v) {
    jinja_builder b;
    jinja_value text;
    jinja_builder_init(&b, f->rt);
    bool ok = d->type == 's' ? jinja_write_str(&b, v) : jinja_write_repr(&b, v);
    if (!ok || !jinja_build(&b, &text)) return false;
    text.markup = v.markup && d->type == 's';
    if (f->markup && !jinja_str_markup(f->rt, text, &text)) return false;
    put_field(f, d, text.as.str);
    return true;
}

static bool format_one(formatter *f) {
    directive d;
    jinja_value v = {.type = JINJA_MISSING};
    if (peek(f) == '(' && !keyed_arg(f, &v)) return false;
    if (!read_directive(f, &d)) return false;
    if (d.type == '%') {
        jinja_put_text(&f->out, "%");
        return true;
    }
    if (v.type == JINJA_MISSING && !next_arg(f, &v)) return false;
    switch (d.type) {
    case 'd':
    case 'i':
    case 'u':
    case 'o':
    case 'x':
    case 'X':
        return format_integer(f, &d, v);
    case 'e':
    case 'E':
    case 'f':
    case 'F':
    case 'g':
    case 'G':
        return format_real(f, &d, v);
    case 'c':
        return format_char(f, &d, v);
    case 's':
    case 'r':
        return format_text(f, &d, v);
    case 'a':
        return jinja_fail(f->rt, MOSA_EUNSUPPORTED, "the format %%a is not available");
    default:
        return fail(f, "unsupported format character");
    }
}

bool jinja_percent_format(jinja_rt *rt, jinja_value format, jinja_value args, jinja_value *out) {
    formatter f = {.rt = rt, .format = format.as.str, .args = args, .markup = format.markup};
    jinja_builder_init(&f.out, rt);
    while (f.at < f.format->len) {
        const char *percent = memchr(f.format->data + f.at, '%', f.format->len - f.at);
        size_t end = percent ? (size_t)(percent - f.format->data) : f.format->len;
        jinja_put_part(&f.out, f.format, f.at, end);
        f.at = end;
        if (!percent) break;
        f.at++;
        if (!jinja_charge(rt, 1) || !format_one(&f)) return false;
    }
    bool mapping =
        args.type == JINJA_DICT || args.type == JINJA_LIST || args.type == JINJA_UNDEFINED || args.type == JINJA_RANGE;
    size_t given = args.type == JINJA_TUPLE ? args.as.list->n : 1;
    if (!mapping && f.next < given) return fail(&f, "not all arguments converted during string formatting");
    if (!jinja_build(&f.out, out)) return false;
    out->markup = format.markup;
    return true;
}
