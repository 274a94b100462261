// Numbers in answers: what counts as one, and which are equal.
#include "eval/eval_number.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const char *last(const char *text) {
    static char out[MOSA_EVAL_NUMBER_MAX];
    return mosa_eval_last_number(text, out) ? out : "none";
}

static const char *marked(const char *text) {
    static char out[MOSA_EVAL_NUMBER_MAX];
    return mosa_eval_marked_number(text, out) ? out : "none";
}

static void test_last_number(void **state) {
    (void)state;
    assert_string_equal(last("3 apples and 4 pears"), "4");
    assert_string_equal(last("It costs $1,234.50."), "1234.5");
    assert_string_equal(last("the answer is 18."), "18");
    assert_string_equal(last("-5"), "-5");
    assert_string_equal(last("from 3-5"), "-5");
    assert_string_equal(last("007"), "7");
    assert_string_equal(last("7.00"), "7");
    assert_string_equal(last("0.50"), "0.5");
    assert_string_equal(last("1, 2, 3"), "3");
    assert_string_equal(last("a - b"), "none");
    assert_string_equal(last(""), "none");
}

static void test_marked_number(void **state) {
    (void)state;
    assert_string_equal(marked("7 + 11 = 18\n#### 18"), "18");
    assert_string_equal(marked("####$1,000 or 5"), "1000");
    assert_string_equal(marked("18"), "none");
    assert_string_equal(marked("#### many"), "none");
}

// More digits than fit are no number, and nothing is written beyond the buffer.
static void test_long_numbers(void **state) {
    (void)state;
    char text[300];
    memset(text, '9', sizeof text);
    text[sizeof text - 1] = '\0';
    assert_string_equal(marked(text), "none");
    (void)last(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_last_number),
        cmocka_unit_test(test_marked_number),
        cmocka_unit_test(test_long_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
