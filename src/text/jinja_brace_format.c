// text.format(...): replacement fields with the format mini-language of strings and numbers.
#include "text/jinja_case.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { SPEC_NUMBER_MAX = 1 << 20, SPEC_PRECISION_MAX = 300, NESTING_MAX = 2 };

typedef struct brace_formatter {
    jinja_rt *rt;
    const jinja_args *args;
    size_t next;
    bool automatic, manual; // {} or {0}: not both
} brace_formatter;

typedef struct spec {
    const jinja_str *fill; // NULL = blank
    char align, sign, grouping, type;
    bool alternate, zero;
    int64_t width, precision; // -1 = not given
} spec;

static bool fail(jinja_rt *rt, const char *message) {
    return jinja_fail(rt, MOSA_EINVALID, "%s", message);
}

static bool is_align(char c) {
    return c == '<' || c == '>' || c == '=' || c == '^';
}

static bool read_digits(jinja_rt *rt, const jinja_str *s, size_t *at, int64_t *out) {
    size_t begin = *at;
    int64_t value = 0;
    for (; *at < s->len && s->data[*at] >= '0' && s->data[*at] <= '9'; ++*at) {
        value = value * 10 + (s->data[*at] - '0');
        if (value > SPEC_NUMBER_MAX) return fail(rt, "too many decimal digits in format string");
    }
    if (*at > begin) *out = value;
    return true;
}

static bool parse_spec(jinja_rt *rt, const jinja_str *s, spec *out) {
    *out = (spec){.width = -1, .precision = -1};
    size_t at = 0, first = 0;
    if (s->len) jinja_utf8_next(s->data, s->len, &first);
    if (first < s->len && is_align(s->data[first])) {
        out->fill = jinja_substr(rt, s, 0, first);
        if (!out->fill) return false;
        out->align = s->data[first];
        at = first + 1;
    } else if (s->len && is_align(s->data[0])) {
        out->align = s->data[at++];
    }
    if (at < s->len && strchr("+- ", s->data[at])) out->sign = s->data[at++];
    if (at < s->len && s->data[at] == '#') out->alternate = true, at++;
    if (at < s->len && s->data[at] == '0') out->zero = true, at++;
    if (!read_digits(rt, s, &at, &out->width)) return false;
    if (at < s->len && (s->data[at] == ',' || s->data[at] == '_')) out->grouping = s->data[at++];
    if (at < s->len && s->data[at] == '.') {
        at++;
        if (!read_digits(rt, s, &at, &out->precision)) return false;
        if (out->precision < 0) return fail(rt, "format specifier missing precision");
    }
    if (at < s->len) out->type = s->data[at++];
    return at == s->len || fail(rt, "invalid format specifier");
}

static bool put_padded(jinja_builder *b, const spec *sp, char align, const jinja_str *body, size_t sign_len) {
    int64_t pad = sp->width - (int64_t)jinja_str_chars(body);
    int64_t before = pad <= 0 || align == '<' ? 0 : align == '^' ? pad / 2 : pad;
    size_t head = align == '=' ? sign_len : 0;
    jinja_put_part(b, body, 0, head);
    for (int64_t i = 0; i < pad && !b->failed; i++) {
        if (i == before) jinja_put_part(b, body, head, body->len);
        if (sp->fill)
            jinja_put_str(b, sp->fill);
        else
            jinja_put_text(b, sp->zero ? "0" : " ");
    }
    if (pad <= before) jinja_put_part(b, body, head, body->len);
    return !b->failed;
}

static bool format_str(jinja_builder *b, const spec *sp, const jinja_str *s) {
    if (sp->type && sp->type != 's') return fail(b->rt, "unknown format code for object of type 'str'");
    if (sp->sign || sp->alternate || sp->grouping || sp->align == '=')
        return fail(b->rt, "sign, '#', ',' or '=' not allowed in string format specifier");
    size_t chars = jinja_str_chars(s);
    if (sp->precision >= 0 && (size_t)sp->precision < chars)
        s = jinja_substr(b->rt, s, 0, jinja_str_offset(s, (size_t)sp->precision));
    return s && put_padded(b, sp, sp->align ? sp->align : '<', s, 0);
}

// Inserts the grouping mark every `every` digits of the whole part.
static void put_grouped(jinja_builder *b, const char *digits, char mark, size_t every, uint8_t flags) {
    size_t whole = strspn(digits, "0123456789abcdefABCDEF");
    if (strchr("eE", digits[whole ? whole - 1 : 0]) && strpbrk(digits, ".+")) whole = strspn(digits, "0123456789");
    for (size_t i = 0; i < whole; i++) {
        if (i && mark && (whole - i) % every == 0) jinja_put(b, &mark, 1, flags);
        jinja_put(b, digits + i, 1, flags);
    }
    jinja_put(b, digits + whole, strlen(digits + whole), flags);
}

static bool put_number(jinja_builder *b, const spec *sp, bool negative, const char *prefix, const char *digits,
                       size_t every, bool tainted) {
    jinja_builder body;
    jinja_value text;
    uint8_t flags = tainted ? 0 : JINJA_TRUSTED;
    jinja_builder_init(&body, b->rt);
    const char *sign = negative ? "-" : sp->sign == '+' ? "+" : sp->sign == ' ' ? " " : "";
    jinja_put(&body, sign, strlen(sign), flags);
    jinja_put(&body, prefix, strlen(prefix), flags);
    size_t head = body.len;
    put_grouped(&body, digits, sp->grouping, every, flags);
    if (!jinja_build(&body, &text)) return false;
    if (sp->grouping && sp->zero && !sp->fill && sp->width > (int64_t)text.as.str->len)
        return jinja_fail(b->rt, MOSA_EUNSUPPORTED, "zero padding with a grouping mark is not available");
    return put_padded(b, sp, sp->align ? sp->align : sp->zero ? '=' : '>', text.as.str, head);
}

static void binary_digits(uint64_t value, char out[65]) {
    size_t n = 1;
    while (n < 64 && value >> n) n++;
    for (size_t i = 0; i < n; i++) out[i] = (char)('0' + (value >> (n - 1 - i) & 1));
    out[n] = '\0';
}

static bool format_int(jinja_builder *b, const spec *sp, jinja_value v) {
    int64_t i = jinja_as_int(v);
    uint64_t magnitude = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
    char digits[72];
    const char *prefix = "";
    if (sp->precision >= 0) return fail(b->rt, "precision not allowed in integer format specifier");
    switch (sp->type) {
    case '\0':
    case 'd':
    case 'n':
        snprintf(digits, sizeof digits, "%" PRIu64, magnitude);
        break;
    case 'x':
        snprintf(digits, sizeof digits, "%" PRIx64, magnitude), prefix = "0x";
        break;
    case 'X':
        snprintf(digits, sizeof digits, "%" PRIX64, magnitude), prefix = "0X";
        break;
    case 'o':
        snprintf(digits, sizeof digits, "%" PRIo64, magnitude), prefix = "0o";
        break;
    case 'b':
        binary_digits(magnitude, digits), prefix = "0b";
        break;
    default:
        return fail(b->rt, "unknown format code for object of type 'int'");
    }
    bool decimal = *prefix == '\0';
    if (!decimal && sp->grouping == ',') return fail(b->rt, "cannot specify ',' with this type");
    return put_number(b, sp, i < 0, sp->alternate ? prefix : "", digits, decimal ? 3 : 4, v.tainted);
}

static bool format_float(jinja_builder *b, const spec *sp, jinja_value v) {
    double real = jinja_as_double(v);
    char digits[SPEC_PRECISION_MAX + 360], pattern[8];
    char type = sp->type == 'n' ? 'g' : sp->type;
    if (type && !strchr("eEfFgG%", type)) return fail(b->rt, "unknown format code for object of type 'float'");
    if (sp->precision > SPEC_PRECISION_MAX) return fail(b->rt, "precision too big");
    int precision = sp->precision < 0 ? 6 : (int)sp->precision;
    if (!type && sp->precision < 0) {
        digits[jinja_format_float(fabs(real), digits)] = '\0';
    } else {
        double shown = type == '%' ? fabs(real) * 100 : fabs(real);
        snprintf(pattern, sizeof pattern, "%%%s.*%c", sp->alternate ? "#" : "", !type ? 'g' : type == '%' ? 'f' : type);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(digits, sizeof digits - 4, pattern, precision, shown);
#pragma GCC diagnostic pop
        // Without a type a float keeps a point, as its repr does.
        if (!type && !strpbrk(digits, ".en")) strncat(digits, ".0", 3);
        if (type == '%') strncat(digits, "%", 2);
    }
    return put_number(b, sp, signbit(real) && !isnan(real), "", digits, 3, v.tainted);
}

static bool format_value(jinja_builder *b, jinja_value v, const jinja_str *spec_text) {
    spec sp;
    if (spec_text->len == 0) return jinja_write_str(b, v);
    if (!parse_spec(b->rt, spec_text, &sp)) return false;
    if (v.type == JINJA_STR) return format_str(b, &sp, v.as.str);
    if (v.type == JINJA_FLOAT || (jinja_is_int(v) && sp.type && strchr("eEfFgG%", sp.type)))
        return format_float(b, &sp, v);
    if (v.type == JINJA_INT || (v.type == JINJA_BOOL && sp.type)) return format_int(b, &sp, v);
    if (v.type == JINJA_BOOL) {
        v = jinja_tainted(jinja_int(v.as.boolean), v.tainted);
        return format_int(b, &sp, v);
    }
    return jinja_fail(b->rt, MOSA_EINVALID, "unsupported format string passed to %s.__format__", jinja_type_name(v));
}

// The first part of a field name: empty, a number, or a keyword.
static bool field_base(brace_formatter *f, const jinja_str *name, jinja_value *out) {
    size_t at = 0;
    int64_t index = -1;
    if (!read_digits(f->rt, name, &at, &index)) return false;
    bool number = name->len > 0 && at == name->len;
    if (name->len == 0 || number) {
        f->automatic |= !number;
        f->manual |= number;
        if (f->automatic && f->manual)
            return fail(f->rt, "cannot switch between manual field specification and automatic field numbering");
        size_t i = number ? (size_t)index : f->next++;
        if (i >= f->args->n) return fail(f->rt, "replacement index out of range for positional args tuple");
        *out = f->args->pos[i];
        return true;
    }
    for (size_t i = 0; i < f->args->n_kw; i++) {
        if (!mosa_slice_eq(jinja_slice_of(f->args->kw[i].name), jinja_slice_of(name))) continue;
        *out = f->args->kw[i].value;
        return true;
    }
    return jinja_fail(f->rt, MOSA_EINVALID, "format: no argument named '%.*s'", (int)(name->len < 80 ? name->len : 80),
                      name->data);
}

// name.attr[item]...
static bool field_value(brace_formatter *f, const jinja_str *name, jinja_value *out) {
    size_t end = 0;
    while (end < name->len && name->data[end] != '.' && name->data[end] != '[') end++;
    const jinja_str *part = jinja_substr(f->rt, name, 0, end);
    if (!part || !field_base(f, part, out)) return false;
    while (end < name->len) {
        bool attribute = name->data[end] == '.';
        size_t begin = ++end;
        while (end < name->len &&
               (attribute ? name->data[end] != '.' && name->data[end] != '[' : name->data[end] != ']'))
            end++;
        if (begin == end) return fail(f->rt, "empty attribute in format string");
        if (!attribute && end >= name->len) return fail(f->rt, "missing ']' in format string");
        part = jinja_substr(f->rt, name, begin, end);
        if (!part) return false;
        size_t at = 0;
        int64_t index = -1;
        if (!attribute && !read_digits(f->rt, part, &at, &index)) return false;
        jinja_value key = !attribute && at == part->len ? jinja_int(index) : jinja_of_str(part);
        if (attribute ? !jinja_getattr(f->rt, *out, part, out) : !jinja_getitem(f->rt, *out, key, out)) return false;
        if (attribute) continue;
        end++;
        if (end < name->len && name->data[end] != '.' && name->data[end] != '[')
            return fail(f->rt, "only '.' or '[' may follow ']' in format field specifier");
    }
    return true;
}

static bool format_into(brace_formatter *f, jinja_builder *b, const jinja_str *s, int level);

// The end of the field that begins at `at`, behind its "{"; nested braces belong to it.
static size_t field_end(const jinja_str *s, size_t at) {
    for (int depth = 1; at < s->len; at++) {
        depth += (s->data[at] == '{') - (s->data[at] == '}');
        if (depth == 0) return at;
    }
    return SIZE_MAX;
}

static bool format_field(brace_formatter *f, jinja_builder *b, const jinja_str *field, int level) {
    size_t name_end = 0;
    bool bracket = false;
    for (; name_end < field->len; name_end++) {
        char c = field->data[name_end];
        bracket = c == '[' ? true : c == ']' ? false : bracket;
        if (!bracket && (c == ':' || c == '!')) break;
    }
    size_t at = name_end;
    char conversion = '\0';
    if (at < field->len && field->data[at] == '!') {
        if (at + 1 >= field->len || (at + 2 < field->len && field->data[at + 2] != ':'))
            return fail(f->rt, "expected ':' after conversion specifier");
        conversion = field->data[at + 1];
        at += 2;
    }
    const jinja_str *name = jinja_substr(f->rt, field, 0, name_end);
    const jinja_str *raw = jinja_substr(f->rt, field, at < field->len ? at + 1 : at, field->len);
    jinja_value value, spec_text;
    jinja_builder inner;
    if (!name || !raw || !field_value(f, name, &value)) return false;
    if (conversion && conversion != 's' && conversion != 'r') return fail(f->rt, "unknown conversion specifier");
    jinja_builder_init(&inner, f->rt);
    if (conversion) {
        bool ok = conversion == 's' ? jinja_write_str(&inner, value) : jinja_write_repr(&inner, value);
        if (!ok || !jinja_build(&inner, &value)) return false;
        jinja_builder_init(&inner, f->rt);
    }
    if (!format_into(f, &inner, raw, level + 1) || !jinja_build(&inner, &spec_text)) return false;
    return format_value(b, value, spec_text.as.str);
}

static bool format_into(brace_formatter *f, jinja_builder *b, const jinja_str *s, int level) {
    if (level >= NESTING_MAX && memchr(s->data, '{', s->len)) return fail(f->rt, "max string recursion exceeded");
    for (size_t at = 0; at < s->len && !b->failed;) {
        char c = s->data[at];
        if (c != '{' && c != '}') {
            size_t from = at;
            while (at < s->len && s->data[at] != '{' && s->data[at] != '}') at++;
            jinja_put_part(b, s, from, at);
            continue;
        }
        if (at + 1 < s->len && s->data[at + 1] == c) {
            jinja_put_part(b, s, at, at + 1);
            at += 2;
            continue;
        }
        if (c == '}') return fail(f->rt, "single '}' encountered in format string");
        size_t end = field_end(s, at + 1);
        if (end == SIZE_MAX) return fail(f->rt, "expected '}' before end of string");
        const jinja_str *field = jinja_substr(f->rt, s, at + 1, end);
        if (!field || !jinja_charge(f->rt, 1) || !format_field(f, b, field, level)) return false;
        at = end + 1;
    }
    return !b->failed;
}

bool jinja_brace_format(jinja_rt *rt, jinja_value self, const jinja_args *args, jinja_value *out) {
    brace_formatter f = {.rt = rt, .args = args};
    jinja_builder b;
    jinja_builder_init(&b, rt);
    if (!format_into(&f, &b, self.as.str, 0) || !jinja_build(&b, out)) return false;
    out->markup = self.markup;
    return true;
}
