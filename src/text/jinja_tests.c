// Tests: what stands behind `is`.
#include "text/jinja_case.h"

#include <string.h>

#define TEST(name) static bool name(jinja_rt *rt, jinja_value self, const jinja_args *args, jinja_value *out)

static bool answer(jinja_value *out, bool yes) {
    *out = jinja_bool(yes);
    return true;
}

#define TYPE_TEST(name, expression)                                                                                    \
    TEST(name) {                                                                                                       \
        (void)rt;                                                                                                      \
        (void)args;                                                                                                    \
        return answer(out, (expression));                                                                              \
    }

TYPE_TEST(t_defined, self.type != JINJA_UNDEFINED)
TYPE_TEST(t_undefined, self.type == JINJA_UNDEFINED)
TYPE_TEST(t_none, self.type == JINJA_NONE)
TYPE_TEST(t_boolean, self.type == JINJA_BOOL)
TYPE_TEST(t_true, self.type == JINJA_BOOL && self.as.boolean)
TYPE_TEST(t_false, self.type == JINJA_BOOL && !self.as.boolean)
TYPE_TEST(t_integer, self.type == JINJA_INT)
TYPE_TEST(t_float, self.type == JINJA_FLOAT)
TYPE_TEST(t_number, jinja_is_number(self))
TYPE_TEST(t_string, self.type == JINJA_STR)
TYPE_TEST(t_mapping, self.type == JINJA_DICT)
TYPE_TEST(t_iterable, jinja_iterable(self))
TYPE_TEST(t_escaped, self.type == JINJA_STR && self.markup)
TYPE_TEST(t_callable, self.type == JINJA_UNDEFINED || self.type == JINJA_FUNCTION || self.type == JINJA_METHOD ||
                          self.type == JINJA_MACRO || self.type == JINJA_LOOP || self.type == JINJA_JOINER)
TYPE_TEST(t_sequence, self.type == JINJA_STR || jinja_is_sequence(self) || self.type == JINJA_DICT ||
                          self.type == JINJA_RANGE || self.type == JINJA_UNDEFINED)

static bool remainder_is(jinja_rt *rt, jinja_value self, jinja_value divisor, int64_t wanted, jinja_value *out) {
    jinja_value rest;
    bool equal;
    if (!jinja_binary(rt, OP_MOD, self, divisor, &rest) || !jinja_equal(rt, rest, jinja_int(wanted), &equal))
        return false;
    return answer(out, equal);
}

TEST(t_odd) {
    (void)args;
    return remainder_is(rt, self, jinja_int(2), 1, out);
}
TEST(t_even) {
    (void)args;
    return remainder_is(rt, self, jinja_int(2), 0, out);
}
TEST(t_divisibleby) {
    return remainder_is(rt, self, args->pos[0], 0, out);
}

static bool has_case(jinja_rt *rt, jinja_value self, bool upper, jinja_value *out) {
    const jinja_str *text;
    return jinja_to_str(rt, self, &text) && jinja_charge(rt, text->len / 64) &&
           answer(out, jinja_has_case(text, upper));
}

TEST(t_lower) {
    (void)args;
    return has_case(rt, self, false, out);
}
TEST(t_upper) {
    (void)args;
    return has_case(rt, self, true, out);
}

TEST(t_sameas) {
    (void)rt;
    return answer(out, jinja_same(self, args->pos[0]));
}

TEST(t_filter) {
    (void)args;
    uint64_t hash;
    if (!jinja_hash(rt, self, &hash)) return false;
    return answer(out, self.type == JINJA_STR && jinja_find_filter(jinja_slice_of(self.as.str)));
}

TEST(t_test) {
    (void)args;
    uint64_t hash;
    if (!jinja_hash(rt, self, &hash)) return false;
    return answer(out, self.type == JINJA_STR && jinja_find_test(jinja_slice_of(self.as.str)));
}

static bool compare(jinja_rt *rt, jinja_operator op, jinja_value a, jinja_value b, jinja_value *out) {
    bool result;
    return jinja_compare(rt, op, a, b, &result) && answer(out, result);
}

TEST(t_eq) {
    return compare(rt, OP_EQ, self, args->pos[0], out);
}
TEST(t_ne) {
    return compare(rt, OP_NE, self, args->pos[0], out);
}
TEST(t_lt) {
    return compare(rt, OP_LT, self, args->pos[0], out);
}
TEST(t_le) {
    return compare(rt, OP_LTEQ, self, args->pos[0], out);
}
TEST(t_gt) {
    return compare(rt, OP_GT, self, args->pos[0], out);
}
TEST(t_ge) {
    return compare(rt, OP_GTEQ, self, args->pos[0], out);
}
TEST(t_in) {
    return compare(rt, OP_IN, self, args->pos[0], out);
}

static const jinja_builtin tests[] = {
    {"!=", "/other!", t_ne},
    {"<", "/other!", t_lt},
    {"<=", "/other!", t_le},
    {"==", "/other!", t_eq},
    {">", "/other!", t_gt},
    {">=", "/other!", t_ge},
    {"boolean", "", t_boolean},
    {"callable", "", t_callable},
    {"defined", "", t_defined},
    {"divisibleby", "num!", t_divisibleby},
    {"eq", "/other!", t_eq},
    {"equalto", "/other!", t_eq},
    {"escaped", "", t_escaped},
    {"even", "", t_even},
    {"false", "", t_false},
    {"filter", "", t_filter},
    {"float", "", t_float},
    {"ge", "/other!", t_ge},
    {"greaterthan", "/other!", t_gt},
    {"gt", "/other!", t_gt},
    {"in", "seq!", t_in},
    {"integer", "", t_integer},
    {"iterable", "", t_iterable},
    {"le", "/other!", t_le},
    {"lessthan", "/other!", t_lt},
    {"lower", "", t_lower},
    {"lt", "/other!", t_lt},
    {"mapping", "", t_mapping},
    {"ne", "/other!", t_ne},
    {"none", "", t_none},
    {"number", "", t_number},
    {"odd", "", t_odd},
    {"sameas", "other!", t_sameas},
    {"sequence", "", t_sequence},
    {"string", "", t_string},
    {"test", "", t_test},
    {"true", "", t_true},
    {"undefined", "", t_undefined},
    {"upper", "", t_upper},
};

const jinja_builtin *jinja_find_test(mosa_slice name) {
    return jinja_find_in(tests, MOSA_COUNT(tests), name);
}
