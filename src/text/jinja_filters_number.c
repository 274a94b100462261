// Filters that make or treat numbers.
#include "text/jinja_runtime.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILTER(name) static bool name(jinja_rt *rt, jinja_value self, const jinja_args *args, jinja_value *out)

// The number text as ASCII without surrounding blanks and single underscores between digits; false when it has others.
static bool clean_number(const jinja_str *s, char *out, size_t size) {
    size_t n = 0, from = 0, to = s->len;
    while (from < to) {
        size_t next = from;
        if (!jinja_is_space(jinja_utf8_next(s->data, s->len, &next))) break;
        from = next;
    }
    while (to > from) {
        size_t previous = jinja_utf8_prev(s->data, to), next = previous;
        if (!jinja_is_space(jinja_utf8_next(s->data, s->len, &next))) break;
        to = previous;
    }
    for (size_t i = from; i < to; i++) {
        char c = s->data[i];
        if ((unsigned char)c >= 0x80 || c == 0 || n + 2 > size) return false;
        if (c != '_')
            out[n++] = c;
        else if (i == from || i + 1 == to || s->data[i - 1] == '_' || s->data[i + 1] == '_')
            return false;
    }
    out[n] = '\0';
    return n > 0;
}

// float(text); false when Python raises ValueError.
static bool parse_float(const jinja_str *s, double *out) {
    char text[512], *end;
    if (!clean_number(s, text, sizeof text)) return false;
    const char *digits = text + (text[0] == '-' || text[0] == '+');
    bool number = (*digits >= '0' && *digits <= '9') || *digits == '.';
    if (strpbrk(digits, "xXpP(")) return false;
    if (!number && strcasecmp(digits, "inf") && strcasecmp(digits, "infinity") && strcasecmp(digits, "nan"))
        return false;
    *out = strtod(text, &end);
    return *end == '\0';
}

static int digit_value(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c |= 32;
    return c >= 'a' && c <= 'z' ? c - 'a' + 10 : 99;
}

typedef enum int_result { INT_OK, INT_INVALID, INT_OVERFLOW } int_result;

// int(text, base)
static int_result parse_int(const jinja_str *s, int64_t base, int64_t *out) {
    char text[512];
    if (!clean_number(s, text, sizeof text)) return INT_INVALID;
    const char *p = text;
    bool negative = *p == '-';
    if (*p == '-' || *p == '+') p++;
    char prefix = p[0] == '0' ? (char)(p[1] | 32) : '\0';
    int64_t implied = prefix == 'x' ? 16 : prefix == 'o' ? 8 : prefix == 'b' ? 2 : 0;
    if (implied && (base == implied || base == 0)) {
        p += 2;
        base = implied;
    } else if (base == 0) {
        if (p[0] == '0' && strspn(p, "0") != strlen(p)) return INT_INVALID;
        base = 10;
    }
    int64_t value = 0;
    bool overflow = false;
    if (!*p) return INT_INVALID;
    for (; *p; p++) {
        int digit = digit_value(*p);
        if (digit >= base) return INT_INVALID;
        overflow |=
            __builtin_mul_overflow(value, base, &value) || __builtin_sub_overflow(value, (int64_t)digit, &value);
    }
    if (!negative) overflow |= __builtin_sub_overflow((int64_t)0, value, &value);
    *out = value;
    return overflow ? INT_OVERFLOW : INT_OK;
}

static bool overflow(jinja_rt *rt) {
    return jinja_fail(rt, MOSA_EUNSUPPORTED, "integer does not fit in 64 bits");
}

static bool float_to_int(jinja_rt *rt, double f, jinja_value *out) {
    if (!(f > -9223372036854775809.0 && f < 9223372036854775808.0)) return overflow(rt);
    *out = jinja_int((int64_t)f);
    return true;
}

static jinja_value fallback_of(jinja_value argument, jinja_value otherwise) {
    return argument.type == JINJA_MISSING ? otherwise : argument;
}

static bool str_to_int(jinja_rt *rt, jinja_value self, jinja_value fallback, int64_t base, jinja_value *out) {
    int64_t integer;
    double real;
    if ((base < 2 && base != 0) || base > 36) return (*out = fallback, true);
    int_result result = parse_int(self.as.str, base, &integer);
    if (result == INT_OVERFLOW) return overflow(rt);
    if (result == INT_OK)
        *out = jinja_int(integer);
    else if (!parse_float(self.as.str, &real) || !isfinite(real))
        return (*out = fallback, true);
    else if (!float_to_int(rt, real, out))
        return false;
    out->tainted = !jinja_str_trusted(self.as.str);
    return true;
}

FILTER(x_int) {
    jinja_value fallback = fallback_of(args->pos[0], jinja_int(0));
    int64_t base;
    if (self.type == JINJA_UNDEFINED) return jinja_fail_undefined(rt, self);
    if (self.type == JINJA_STR)
        return jinja_arg_int(rt, args->pos[1], 10, &base) && str_to_int(rt, self, fallback, base, out);
    if (jinja_is_int(self)) {
        *out = jinja_tainted(jinja_int(jinja_as_int(self)), self.tainted);
        return true;
    }
    *out = fallback;
    if (self.type != JINJA_FLOAT || isnan(self.as.real)) return true;
    if (isinf(self.as.real)) return jinja_fail(rt, MOSA_EINVALID, "cannot convert float infinity to integer");
    if (!float_to_int(rt, self.as.real, out)) return false;
    out->tainted = self.tainted;
    return true;
}

FILTER(x_float) {
    jinja_value fallback = fallback_of(args->pos[0], jinja_float(0));
    double real;
    if (self.type == JINJA_UNDEFINED) return jinja_fail_undefined(rt, self);
    *out = fallback;
    if (jinja_is_number(self)) {
        *out = jinja_tainted(jinja_float(jinja_as_double(self)), self.tainted);
    } else if (self.type == JINJA_STR && parse_float(self.as.str, &real)) {
        *out = jinja_tainted(jinja_float(real), !jinja_str_trusted(self.as.str));
    }
    return true;
}

FILTER(x_abs) {
    (void)args;
    if (self.type == JINJA_UNDEFINED) return jinja_fail_undefined(rt, self);
    if (!jinja_is_number(self))
        return jinja_fail(rt, MOSA_EINVALID, "bad operand type for abs(): '%s'", jinja_type_name(self));
    if (self.type == JINJA_FLOAT)
        *out = jinja_float(fabs(self.as.real));
    else if (jinja_as_int(self) < 0)
        return jinja_negate(rt, self, true, out);
    else
        *out = jinja_int(jinja_as_int(self));
    out->tainted = self.tainted;
    return true;
}

// round(integer, -n): to tens, half to even.
static bool round_int(jinja_rt *rt, int64_t value, int64_t precision, jinja_value *out) {
    *out = jinja_int(value);
    if (precision >= 0) return true;
    int64_t unit = 1;
    for (int64_t i = 0; i > precision; i--)
        if (__builtin_mul_overflow(unit, (int64_t)10, &unit)) {
            *out = jinja_int(0);
            return true;
        }
    int64_t rest = value % unit, base = value - rest, half = unit / 2;
    if (rest < 0) {
        rest += unit;
        base -= unit;
    }
    bool up = rest > half || (rest == half && (base / unit) % 2 != 0);
    if (up && __builtin_add_overflow(base, unit, &base)) return overflow(rt);
    *out = jinja_int(base);
    return true;
}

static double round_float(double value, int64_t precision) {
    if (!isfinite(value) || precision > 400) return value;
    if (precision < -400) return copysign(0.0, value);
    if (precision < 0) {
        double unit = pow(10.0, (double)-precision), scaled = value / unit, rounded = nearbyint(scaled);
        return rounded * unit;
    }
    // printf rounds the exact binary value, half to even, which is what Python's round does.
    char text[800];
    snprintf(text, sizeof text, "%.*f", (int)precision, value);
    return strtod(text, NULL);
}

static bool round_directed(jinja_rt *rt, jinja_value self, int64_t precision, bool up, jinja_value *out) {
    jinja_value unit, scaled;
    if (!jinja_binary(rt, OP_POW, jinja_int(10), jinja_int(precision), &unit) ||
        !jinja_binary(rt, OP_MUL, self, unit, &scaled))
        return false;
    if (scaled.type == JINJA_FLOAT) {
        double whole = up ? ceil(scaled.as.real) : floor(scaled.as.real);
        if (!isfinite(whole)) return jinja_fail(rt, MOSA_EINVALID, "cannot convert float to integer");
        if (!float_to_int(rt, whole, &scaled)) return false;
    }
    return jinja_binary(rt, OP_DIV, scaled, unit, out);
}

FILTER(x_round) {
    int64_t precision;
    jinja_value method = args->pos[1];
    bool common = method.type == JINJA_MISSING, up = false;
    if (!common) {
        const jinja_str *text = method.type == JINJA_STR ? method.as.str : NULL;
        common = text && jinja_str_is(text, "common");
        up = text && jinja_str_is(text, "ceil");
        if (!text || (!common && !up && !jinja_str_is(text, "floor")))
            return jinja_fail(rt, MOSA_EINVALID, "method must be common, ceil or floor");
    }
    if (self.type == JINJA_UNDEFINED) return jinja_fail_undefined(rt, self);
    if (!jinja_arg_int(rt, args->pos[0], 0, &precision)) return false;
    if (!jinja_is_number(self))
        return jinja_fail(rt, MOSA_EINVALID, "type %s doesn't define __round__ method", jinja_type_name(self));
    bool ok = true;
    if (!common)
        ok = round_directed(rt, self, precision, up, out);
    else if (self.type == JINJA_FLOAT)
        *out = jinja_float(round_float(self.as.real, precision));
    else
        ok = round_int(rt, jinja_as_int(self), precision, out);
    if (ok) out->tainted = self.tainted;
    return ok;
}

FILTER(x_filesizeformat) {
    static const char *const decimal[] = {"kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"};
    static const char *const binary[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"};
    bool is_binary;
    double bytes = NAN;
    char text[400];
    if (!jinja_arg_bool(rt, args->pos[0], false, &is_binary)) return false;
    if (self.type == JINJA_UNDEFINED) return jinja_fail_undefined(rt, self);
    if (jinja_is_number(self)) bytes = jinja_as_double(self);
    if (self.type == JINJA_STR && !parse_float(self.as.str, &bytes)) bytes = NAN;
    double base = is_binary ? 1024 : 1000, unit = base * base;
    if (isnan(bytes) || bytes == -INFINITY) return jinja_fail(rt, MOSA_EINVALID, "filesizeformat needs a number");
    if (bytes == 1) return jinja_text_value(rt, "1 Byte", out);
    if (bytes < base) {
        snprintf(text, sizeof text, "%.0f Bytes", trunc(bytes));
        return jinja_text_value(rt, text, out);
    }
    size_t i = 0;
    for (; bytes >= unit && i + 1 < MOSA_COUNT(decimal); i++) unit *= base;
    snprintf(text, sizeof text, "%.1f %s", base * bytes / unit, is_binary ? binary[i] : decimal[i]);
    return jinja_text_value(rt, text, out);
}

static const jinja_builtin filters[] = {
    {"abs", "", x_abs},
    {"filesizeformat", "binary", x_filesizeformat},
    {"float", "default", x_float},
    {"int", "default base", x_int},
    {"round", "precision method", x_round},
};

const jinja_table jinja_number_filters = {filters, MOSA_COUNT(filters)};
