// Numbers: bounds, multiples and literals as terms over decimal digits.
//
// A bounded number is written without exponent, at most 100 digits on either side of the point; an unbounded one may
// have an exponent of up to two digits, so that every number that can be written fits a double.
#include "text/grammar/schema_compiler.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { DIGITS_MAX = 100, DECIMAL_MAX = 400 };

// |value| as digits: whole.part, no zeros in front of the whole (but one) or behind the part.
typedef struct decimal {
    char whole[DECIMAL_MAX], part[DECIMAL_MAX];
    bool negative;
} decimal;

typedef struct range {
    bool has_min, has_max, open_min, open_max;
    double min, max;
} range;

static mosa_rx digits(schema_compiler *c, uint32_t min, uint32_t max) {
    return mosa_rx_repeat(c->pool, mosa_rx_range(c->pool, '0', '9'), min, max);
}

static mosa_rx text(schema_compiler *c, const char *data, size_t len) {
    return mosa_rx_literal(c->pool, (mosa_slice){data, len});
}

static mosa_rx cat3(schema_compiler *c, mosa_rx a, mosa_rx b, mosa_rx d) {
    return mosa_rx_cat(c->pool, a, mosa_rx_cat(c->pool, b, d));
}

// The shortest decimal that reads as the double, laid out without exponent. False when it is too long.
static bool to_decimal(double value, decimal *out) {
    mosa_buf shortest = {0};
    mosa_buf_append_f64(&shortest, fabs(value));
    const char *s = mosa_buf_str(&shortest);
    const char *exponent = strchr(s, 'e');
    long shift = exponent ? strtol(exponent + 1, NULL, 10) : 0;
    char all[64];
    size_t n = 0, point = 0, len = exponent ? (size_t)(exponent - s) : strlen(s);
    bool seen = false;
    for (size_t i = 0; i < len && n < sizeof all; i++) {
        if (s[i] == '.') {
            seen = true;
            continue;
        }
        all[n++] = s[i];
        point += !seen;
    }
    mosa_buf_finish(&shortest);
    long at = (long)point + shift; // digits in front of the point
    if (at > DECIMAL_MAX - 2 || (long)n - at > DECIMAL_MAX - 2) return false;
    size_t w = 0, p = 0;
    for (long i = 0; i < at; i++) out->whole[w++] = i < (long)n ? all[i] : '0';
    for (long i = at < 0 ? at : at; i < (long)n; i++)
        if (i >= 0 || at < 0) out->part[p++] = i < 0 ? '0' : all[i];
    size_t zeros = 0;
    while (zeros < w && out->whole[zeros] == '0') zeros++;
    memmove(out->whole, out->whole + zeros, w - zeros);
    w -= zeros;
    if (w == 0) out->whole[w++] = '0';
    while (p > 0 && out->part[p - 1] == '0') p--;
    out->whole[w] = out->part[p] = '\0';
    out->negative = value < 0;
    return true;
}

// --- comparisons: decimals (no sign) below or above a bound

// Digit strings as long as `bound` that are smaller (greater) from some digit on, then `rest_digits` more of any.
static mosa_rx differing(schema_compiler *c, const char *bound, bool below,
                         mosa_rx (*rest)(schema_compiler *, size_t)) {
    size_t len = strlen(bound);
    mosa_rx all = MOSA_RX_NONE;
    for (size_t i = 0; i < len; i++) {
        if (bound[i] == (below ? '0' : '9')) continue;
        mosa_rx digit = below ? mosa_rx_range(c->pool, '0', (unsigned char)(bound[i] - 1))
                              : mosa_rx_range(c->pool, (unsigned char)(bound[i] + 1), '9');
        all = mosa_rx_or(c->pool, all, cat3(c, text(c, bound, i), digit, rest(c, len - i - 1)));
    }
    return all;
}

static mosa_rx same_length(schema_compiler *c, size_t left) {
    return digits(c, (uint32_t)left, (uint32_t)left);
}
static mosa_rx any_length(schema_compiler *c, size_t left) {
    (void)left;
    return digits(c, 0, MOSA_RX_FOREVER);
}

static mosa_rx fraction(schema_compiler *c, mosa_rx behind_point) {
    return mosa_rx_cat(c->pool, mosa_rx_byte(c->pool, '.'), behind_point);
}

static mosa_rx zeros(schema_compiler *c, uint32_t min) {
    return mosa_rx_repeat(c->pool, mosa_rx_byte(c->pool, '0'), min, MOSA_RX_FOREVER);
}

// What may follow a whole part that equals the bound's.
static mosa_rx below_part(schema_compiler *c, const char *part, bool open) {
    mosa_rx r = fraction(c, differing(c, part, true, any_length));
    for (size_t i = 1; i < strlen(part); i++) r = mosa_rx_or(c->pool, r, fraction(c, text(c, part, i)));
    if (*part || !open) r = mosa_rx_or(c->pool, r, MOSA_RX_EPS);
    if (!open)
        r = mosa_rx_or(c->pool, r, fraction(c, mosa_rx_cat(c->pool, text(c, part, strlen(part)), zeros(c, !*part))));
    return r;
}

static mosa_rx above_part(schema_compiler *c, const char *part, bool open) {
    mosa_rx r = fraction(c, differing(c, part, false, any_length)), more;
    mosa_rx positive = cat3(c, zeros(c, 0), mosa_rx_range(c->pool, '1', '9'), digits(c, 0, MOSA_RX_FOREVER));
    more = open ? positive : digits(c, !*part, MOSA_RX_FOREVER);
    r = mosa_rx_or(c->pool, r, fraction(c, mosa_rx_cat(c->pool, text(c, part, strlen(part)), more)));
    return !*part && !open ? mosa_rx_or(c->pool, r, MOSA_RX_EPS) : r;
}

static mosa_rx compare(schema_compiler *c, const decimal *bound, bool below, bool open) {
    uint32_t len = (uint32_t)strlen(bound->whole);
    mosa_rx any_part = mosa_rx_maybe(c->pool, fraction(c, digits(c, 1, MOSA_RX_FOREVER)));
    mosa_rx wholes = differing(c, bound->whole, below, same_length);
    if (below && len > 1) wholes = mosa_rx_or(c->pool, wholes, digits(c, 1, len - 1));
    if (!below)
        wholes = mosa_rx_or(c->pool, wholes,
                            mosa_rx_cat(c->pool, mosa_rx_range(c->pool, '1', '9'), digits(c, len, MOSA_RX_FOREVER)));
    mosa_rx equal = below ? below_part(c, bound->part, open) : above_part(c, bound->part, open);
    return mosa_rx_or(c->pool, mosa_rx_cat(c->pool, wholes, any_part),
                      mosa_rx_cat(c->pool, text(c, bound->whole, len), equal));
}

// --- what the bases say

static void raise_min(range *r, double value, bool open) {
    if (r->has_min && (value < r->min || (value == r->min && !open))) return;
    r->min = value;
    r->open_min = open;
    r->has_min = true;
}
static void lower_max(range *r, double value, bool open) {
    if (r->has_max && (value > r->max || (value == r->max && !open))) return;
    r->max = value;
    r->open_max = open;
    r->has_max = true;
}

static range range_of(const schema_compiler *c, const element_list *bases) {
    range r = {0};
    for (size_t i = 0; i < bases->count; i++) {
        json_t *min = schema_get(c, bases, i, "minimum"), *max = schema_get(c, bases, i, "maximum"),
               *open_min = schema_get(c, bases, i, "exclusiveMinimum"),
               *open_max = schema_get(c, bases, i, "exclusiveMaximum");
        if (min) raise_min(&r, json_number_value(min), json_is_true(open_min)); // draft 4's boolean
        if (max) lower_max(&r, json_number_value(max), json_is_true(open_max));
        if (json_is_number(open_min)) raise_min(&r, json_number_value(open_min), true);
        if (json_is_number(open_max)) lower_max(&r, json_number_value(open_max), true);
    }
    return r;
}

// Multiples of the bases' steps, as a term over unsigned decimals.
static mosa_status multiples(schema_compiler *c, const element_list *bases, mosa_rx *all, bool *any) {
    *any = false;
    for (size_t i = 0; i < bases->count; i++) {
        json_t *value = schema_get(c, bases, i, "multipleOf");
        decimal d;
        if (!value) continue;
        char number[2 * DECIMAL_MAX];
        if (!to_decimal(json_number_value(value), &d)) return schema_unsupported(c, "multipleOf", "of this value");
        size_t scale = strlen(d.part), w = strlen(d.whole);
        memcpy(number, d.whole, w);
        memcpy(number + w, d.part, scale + 1);
        uint64_t step = w + scale < 19 ? strtoull(number, NULL, 10) : 0;
        if (step == 0 || step > INT32_MAX || scale > 15) return schema_unsupported(c, "multipleOf", "of this value");
        *all = mosa_rx_and(c->pool, *all, mosa_rx_multiple(c->pool, (uint32_t)step, (uint32_t)scale));
        *any = true;
    }
    return MOSA_OK;
}

// --- literals

static bool within(const range *r, double v) {
    return !(r->has_min && (v < r->min || (r->open_min && v == r->min))) &&
           !(r->has_max && (v > r->max || (r->open_max && v == r->max)));
}

static bool listed_elsewhere(const schema_compiler *c, const element_list *bases, const json_t *literal) {
    double v = json_number_value(literal);
    for (size_t i = 0; i < bases->count; i++) {
        json_t *list = schema_get(c, bases, i, "enum"), *only = schema_get(c, bases, i, "const"),
               *other = schema_get(c, bases, i, "%not-const"), *step = schema_get(c, bases, i, "multipleOf"), *item;
        size_t k;
        bool found = !list;
        json_array_foreach(list, k, item) found |= json_is_number(item) && json_number_value(item) == v;
        if (!found || (only && !(json_is_number(only) && json_number_value(only) == v))) return false;
        if (json_is_number(other) && json_number_value(other) == v) return false;
        double quotient = step ? v / json_number_value(step) : 0;
        if (fabs(quotient - round(quotient)) > 1e-9 * fmax(1, fabs(quotient))) return false;
    }
    return true;
}

static void add_literal(schema_compiler *c, const element_list *bases, const range *r, unsigned types, json_t *value,
                        uint32_t rule) {
    double v = json_number_value(value);
    if (!json_is_number(value) || !within(r, v) || !listed_elsewhere(c, bases, value)) return;
    if (!(types & (floor(v) == v ? TYPE_INT : TYPE_FRACTION))) return;
    mosa_buf spelt = {0};
    if (json_is_integer(value))
        mosa_buf_printf(&spelt, "%lld", (long long)json_integer_value(value));
    else if (floor(v) == v && fabs(v) < 1e15)
        mosa_buf_printf(&spelt, "%.0f", v);
    else
        mosa_buf_append_f64(&spelt, v);
    mosa_symbol symbol = schema_text(c, mosa_buf_str(&spelt));
    mosa_buf_finish(&spelt);
    mosa_cfg_add(c->cfg, rule, &symbol, 1);
}

// True when some base lists its values: then only those are tried.
static bool add_literals(schema_compiler *c, const element_list *bases, const range *r, unsigned types, uint32_t rule) {
    for (size_t i = 0; i < bases->count; i++) {
        json_t *list = schema_get(c, bases, i, "enum"), *only = schema_get(c, bases, i, "const"), *item;
        size_t k;
        if (!list && !only) continue;
        json_array_foreach(list, k, item) add_literal(c, bases, r, types, item, rule);
        if (only && !list) add_literal(c, bases, r, types, only, rule);
        return true;
    }
    return false;
}

// --- the term

static mosa_rx whole(schema_compiler *c) {
    return mosa_rx_or(c->pool, mosa_rx_byte(c->pool, '0'),
                      mosa_rx_cat(c->pool, mosa_rx_range(c->pool, '1', '9'), digits(c, 0, DIGITS_MAX - 1)));
}

// Unsigned decimals of the types.
static mosa_rx magnitude(schema_compiler *c, unsigned types) {
    mosa_rx part = fraction(c, digits(c, 1, DIGITS_MAX));
    if (types == TYPE_INT) return whole(c);
    if (types == TYPE_NUMBER) return mosa_rx_cat(c->pool, whole(c), mosa_rx_maybe(c->pool, part));
    mosa_rx some = cat3(c, digits(c, 0, DIGITS_MAX), mosa_rx_range(c->pool, '1', '9'), digits(c, 0, DIGITS_MAX));
    return mosa_rx_cat(c->pool, whole(c), mosa_rx_and(c->pool, part, fraction(c, some)));
}

static mosa_rx without(schema_compiler *c, const element_list *bases, bool negative, mosa_rx r) {
    for (size_t i = 0; i < bases->count; i++) {
        json_t *other = schema_get(c, bases, i, "%not-const");
        decimal d;
        double v = json_number_value(other);
        if (!json_is_number(other) || (v != 0 && (v < 0) != negative) || !to_decimal(v, &d)) continue;
        mosa_rx tail = *d.part ? fraction(c, mosa_rx_cat(c->pool, text(c, d.part, strlen(d.part)), zeros(c, 0)))
                               : mosa_rx_maybe(c->pool, fraction(c, zeros(c, 1)));
        mosa_rx spelt = mosa_rx_cat(c->pool, text(c, d.whole, strlen(d.whole)), tail);
        r = mosa_rx_and(c->pool, r, mosa_rx_not(c->pool, spelt));
    }
    return r;
}

static mosa_rx bounded(schema_compiler *c, const element_list *bases, const range *r, bool negative, mosa_rx all) {
    const decimal zero = {.whole = "0", .part = ""};
    decimal d;
    // For a negative number the magnitude is bounded from above by -min and from below by -max.
    bool has_low = negative ? r->has_max : r->has_min, has_high = negative ? r->has_min : r->has_max;
    double low = negative ? -r->max : r->min, high = negative ? -r->min : r->max;
    bool open_low = negative ? r->open_max : r->open_min, open_high = negative ? r->open_min : r->open_max;
    if (negative) all = mosa_rx_and(c->pool, all, compare(c, &zero, false, true)); // no "-0"
    if (has_high && (high < 0 || (high == 0 && (open_high || negative)))) return MOSA_RX_NONE;
    if (has_low && (low > 0 || (low == 0 && open_low)) && to_decimal(low, &d))
        all = mosa_rx_and(c->pool, all, compare(c, &d, false, open_low));
    if (has_high && to_decimal(high, &d)) all = mosa_rx_and(c->pool, all, compare(c, &d, true, open_high));
    all = without(c, bases, negative, all);
    return negative ? mosa_rx_cat(c->pool, mosa_rx_byte(c->pool, '-'), mosa_rx_prune(c->pool, all)) : all;
}

static mosa_rx unbounded(schema_compiler *c, unsigned types) {
    mosa_rx minus = mosa_rx_byte(c->pool, '-');
    if (types == TYPE_INT) {
        mosa_rx positive = mosa_rx_cat(c->pool, mosa_rx_range(c->pool, '1', '9'), digits(c, 0, DIGITS_MAX - 1));
        return mosa_rx_or(c->pool, mosa_rx_byte(c->pool, '0'),
                          mosa_rx_cat(c->pool, mosa_rx_maybe(c->pool, minus), positive));
    }
    mosa_byte_set sign = {0}, e = {0};
    mosa_byte_set_add(&sign, '+', '+');
    mosa_byte_set_add(&sign, '-', '-');
    mosa_byte_set_add(&e, 'e', 'e');
    mosa_byte_set_add(&e, 'E', 'E');
    mosa_rx exponent =
        cat3(c, mosa_rx_set(c->pool, &e), mosa_rx_maybe(c->pool, mosa_rx_set(c->pool, &sign)), digits(c, 1, 2));
    return cat3(c, mosa_rx_maybe(c->pool, minus), magnitude(c, types), mosa_rx_maybe(c->pool, exponent));
}

mosa_status schema_number(schema_compiler *c, const element_list *bases, unsigned types, uint32_t rule) {
    range r = range_of(c, bases);
    if (add_literals(c, bases, &r, types, rule)) return MOSA_OK;
    mosa_rx steps = MOSA_RX_ALL, all;
    bool has_steps, excluded = false;
    MOSA_TRY(multiples(c, bases, &steps, &has_steps));
    for (size_t i = 0; i < bases->count; i++) excluded |= json_is_number(schema_get(c, bases, i, "%not-const"));
    if (!r.has_min && !r.has_max && !has_steps && !excluded && types != TYPE_FRACTION)
        all = unbounded(c, types);
    else {
        mosa_rx unsigned_ = mosa_rx_and(c->pool, magnitude(c, types), steps);
        all = mosa_rx_or(c->pool, mosa_rx_prune(c->pool, bounded(c, bases, &r, false, unsigned_)),
                         bounded(c, bases, &r, true, unsigned_));
    }
    mosa_symbol symbol = mosa_cfg_lexeme(c->cfg, all, true);
    mosa_cfg_add(c->cfg, rule, &symbol, 1);
    return MOSA_OK;
}
