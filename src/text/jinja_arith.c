// Operators on values: Python's numbers (with 64-bit integers), and what + * % mean for strings and lists.
#include "text/jinja_runtime.h"

#include <math.h>

static const char *operator_text(jinja_operator op) {
    static const char *const text[] = {"+", "-", "*", "/", "//", "%", "** or pow()"};
    return op <= OP_POW ? text[op] : "?";
}

static bool overflow(jinja_rt *rt) {
    return jinja_fail(rt, MOSA_EUNSUPPORTED, "integer does not fit in 64 bits");
}

static bool int_pow(jinja_rt *rt, int64_t base, int64_t exponent, jinja_value *out) {
    if (exponent < 0) {
        if (base == 0) return jinja_fail(rt, MOSA_EINVALID, "0.0 cannot be raised to a negative power");
        *out = jinja_float(pow((double)base, (double)exponent));
        return true;
    }
    int64_t result = 1;
    while (exponent > 0) {
        if ((exponent & 1) && __builtin_mul_overflow(result, base, &result)) return overflow(rt);
        exponent >>= 1;
        if (exponent && __builtin_mul_overflow(base, base, &base)) return overflow(rt);
    }
    *out = jinja_int(result);
    return true;
}

static bool int_divide(jinja_rt *rt, jinja_operator op, int64_t a, int64_t b, jinja_value *out) {
    if (b == 0)
        return jinja_fail(rt, MOSA_EINVALID, op == OP_DIV ? "division by zero" : "integer division or modulo by zero");
    if (op == OP_DIV) {
        *out = jinja_float((double)((long double)a / (long double)b));
        return true;
    }
    if (b == -1) {
        int64_t negated = 0;
        if (op == OP_FLOORDIV && __builtin_sub_overflow((int64_t)0, a, &negated)) return overflow(rt);
        *out = jinja_int(negated);
        return true;
    }
    int64_t quotient = a / b, rest = a % b;
    if (rest != 0 && (rest < 0) != (b < 0)) {
        quotient--;
        rest += b;
    }
    *out = jinja_int(op == OP_FLOORDIV ? quotient : rest);
    return true;
}

static bool int_binary(jinja_rt *rt, jinja_operator op, int64_t a, int64_t b, jinja_value *out) {
    int64_t result = 0;
    switch (op) {
    case OP_ADD:
        if (__builtin_add_overflow(a, b, &result)) return overflow(rt);
        break;
    case OP_SUB:
        if (__builtin_sub_overflow(a, b, &result)) return overflow(rt);
        break;
    case OP_MUL:
        if (__builtin_mul_overflow(a, b, &result)) return overflow(rt);
        break;
    case OP_POW:
        return int_pow(rt, a, b, out);
    default:
        return int_divide(rt, op, a, b, out);
    }
    *out = jinja_int(result);
    return true;
}

// Python's float remainder: the sign of the divisor.
static double float_mod(double a, double b) {
    double rest = fmod(a, b);
    if (rest == 0) return copysign(0.0, b);
    return (rest < 0) != (b < 0) ? rest + b : rest;
}

static double float_floordiv(double a, double b) {
    double rest = fmod(a, b), quotient = (a - rest) / b;
    if (rest != 0 && (rest < 0) != (b < 0)) quotient -= 1;
    if (quotient == 0) return copysign(0.0, a / b);
    double whole = floor(quotient);
    return quotient - whole > 0.5 ? whole + 1 : whole;
}

static bool float_pow(jinja_rt *rt, double a, double b, jinja_value *out) {
    if (a == 0 && b < 0) return jinja_fail(rt, MOSA_EINVALID, "0.0 cannot be raised to a negative power");
    if (a < 0 && isfinite(a) && isfinite(b) && b != floor(b))
        return jinja_fail(rt, MOSA_EUNSUPPORTED, "complex numbers are not available");
    double result = pow(a, b);
    if (isinf(result) && isfinite(a) && isfinite(b))
        return jinja_fail(rt, MOSA_EINVALID, "(34, 'Numerical result out of range')");
    *out = jinja_float(result);
    return true;
}

static bool float_binary(jinja_rt *rt, jinja_operator op, double a, double b, jinja_value *out) {
    if (b == 0 && (op == OP_DIV || op == OP_FLOORDIV || op == OP_MOD))
        return jinja_fail(rt, MOSA_EINVALID,
                          op == OP_DIV   ? "float division by zero"
                          : op == OP_MOD ? "float modulo"
                                         : "float floor division by zero");
    switch (op) {
    case OP_ADD:
        *out = jinja_float(a + b);
        return true;
    case OP_SUB:
        *out = jinja_float(a - b);
        return true;
    case OP_MUL:
        *out = jinja_float(a * b);
        return true;
    case OP_DIV:
        *out = jinja_float(a / b);
        return true;
    case OP_MOD:
        *out = jinja_float(float_mod(a, b));
        return true;
    case OP_FLOORDIV:
        *out = jinja_float(float_floordiv(a, b));
        return true;
    default:
        return float_pow(rt, a, b, out);
    }
}

// a + b of strings; a Markup escapes the other side.
static bool add_strings(jinja_rt *rt, jinja_value a, jinja_value b, jinja_value *out) {
    bool markup = a.markup || b.markup;
    if (markup && (!jinja_str_markup(rt, a, &a) || !jinja_str_markup(rt, b, &b))) return false;
    jinja_builder builder;
    jinja_builder_init(&builder, rt);
    jinja_put_str(&builder, a.as.str);
    jinja_put_str(&builder, b.as.str);
    if (!jinja_build(&builder, out)) return false;
    out->markup = markup;
    return true;
}

static bool add_lists(jinja_rt *rt, jinja_value a, jinja_value b, jinja_value *out) {
    jinja_vec items = {0};
    for (size_t i = 0; i < a.as.list->n; i++)
        if (!jinja_vec_push(rt, &items, a.as.list->items[i])) return false;
    for (size_t i = 0; i < b.as.list->n; i++)
        if (!jinja_vec_push(rt, &items, b.as.list->items[i])) return false;
    return jinja_vec_list(rt, &items, (jinja_type)a.type, out);
}

static bool repeat(jinja_rt *rt, jinja_value v, int64_t times, jinja_value *out) {
    if (v.type == JINJA_STR) {
        jinja_builder b;
        jinja_builder_init(&b, rt);
        for (int64_t i = 0; i < times && v.as.str->len && !b.failed; i++) {
            if (!jinja_charge(rt, 1)) return false;
            jinja_put_str(&b, v.as.str);
        }
        if (!jinja_build(&b, out)) return false;
        out->markup = v.markup;
        return true;
    }
    jinja_vec items = {0};
    for (int64_t i = 0; i < times && v.as.list->n; i++)
        for (size_t k = 0; k < v.as.list->n; k++)
            if (!jinja_charge(rt, 1) || !jinja_vec_push(rt, &items, v.as.list->items[k])) return false;
    return jinja_vec_list(rt, &items, (jinja_type)v.type, out);
}

static bool is_repeatable(jinja_value v) {
    return v.type == JINJA_STR || jinja_is_sequence(v);
}

static bool unsupported(jinja_rt *rt, jinja_operator op, jinja_value a, jinja_value b) {
    if (a.type == JINJA_UNDEFINED) return jinja_fail_undefined(rt, a);
    if (b.type == JINJA_UNDEFINED) return jinja_fail_undefined(rt, b);
    if (op == OP_ADD && a.type == JINJA_STR)
        return jinja_fail(rt, MOSA_EINVALID, "can only concatenate str (not \"%s\") to str", jinja_type_name(b));
    return jinja_fail(rt, MOSA_EINVALID, "unsupported operand type(s) for %s: '%s' and '%s'", operator_text(op),
                      jinja_type_name(a), jinja_type_name(b));
}

bool jinja_binary(jinja_rt *rt, jinja_operator op, jinja_value a, jinja_value b, jinja_value *out) {
    if (jinja_is_number(a) && jinja_is_number(b)) {
        bool integers = jinja_is_int(a) && jinja_is_int(b);
        bool ok = integers ? int_binary(rt, op, jinja_as_int(a), jinja_as_int(b), out)
                           : float_binary(rt, op, jinja_as_double(a), jinja_as_double(b), out);
        if (ok) out->tainted = a.tainted || b.tainted;
        return ok;
    }
    if (op == OP_ADD && a.type == JINJA_STR && b.type == JINJA_STR) return add_strings(rt, a, b, out);
    if (op == OP_ADD && jinja_is_sequence(a) && a.type == b.type) return add_lists(rt, a, b, out);
    if (op == OP_MUL && is_repeatable(a) && jinja_is_int(b)) return repeat(rt, a, jinja_as_int(b), out);
    if (op == OP_MUL && is_repeatable(b) && jinja_is_int(a)) return repeat(rt, b, jinja_as_int(a), out);
    if (op == OP_MOD && a.type == JINJA_STR) return jinja_percent_format(rt, a, b, out);
    return unsupported(rt, op, a, b);
}

bool jinja_negate(jinja_rt *rt, jinja_value v, bool minus, jinja_value *out) {
    if (v.type == JINJA_UNDEFINED) return jinja_fail_undefined(rt, v);
    if (!jinja_is_number(v))
        return jinja_fail(rt, MOSA_EINVALID, "bad operand type for unary %c: '%s'", minus ? '-' : '+',
                          jinja_type_name(v));
    if (v.type == JINJA_FLOAT) {
        *out = jinja_float(minus ? -v.as.real : v.as.real);
    } else {
        int64_t i = jinja_as_int(v);
        if (minus && __builtin_sub_overflow((int64_t)0, i, &i)) return overflow(rt);
        *out = jinja_int(i);
    }
    out->tainted = v.tainted;
    return true;
}
