// UTF-8 scanning and normalisation.
#include "base/status.h"
#include "text/unicode.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>
#include <utf8proc.h>

static void repair_follows_pythons_rule(void **state) {
    (void)state;
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"plain", "plain"},
        {"\xC3\xA9", "é"},
        {"\xC0\x80", "\uFFFD\uFFFD"},                     // overlong
        {"\xE0\x80\x80", "\uFFFD\uFFFD\uFFFD"},           // overlong
        {"\xED\xA0\x80", "\uFFFD\uFFFD\uFFFD"},           // surrogate
        {"\xF4\x90\x80\x80", "\uFFFD\uFFFD\uFFFD\uFFFD"}, // beyond U+10FFFF
        {"\xF0\x9F\x98", "\uFFFD"},                       // cut off
        {"\xF0\x9F\x98x", "\uFFFDx"},
        {"\xE6\x97\xE6\x97\xA5", "\uFFFD日"},
        {"\x80\xBF\xFE\xFF", "\uFFFD\uFFFD\uFFFD\uFFFD"},
    };
    for (size_t i = 0; i < MOSA_COUNT(cases); i++) {
        mosa_buf out;
        mosa_buf_init(&out, 0);
        mosa_utf8_append_lossy(&out, mosa_slice_of(cases[i].in));
        assert_string_equal(mosa_buf_str(&out), cases[i].out);
        mosa_buf_finish(&out);
    }
}

static void every_code_point_survives_encoding(void **state) {
    (void)state;
    for (uint32_t c = 0; c < 0x110000; c++) {
        if (c >= 0xD800 && c <= 0xDFFF) continue;
        char text[MOSA_UTF8_MAX];
        unsigned len = mosa_utf8_encode(c, text), used;
        assert_int_equal(mosa_utf8_scan(text, len, &used), MOSA_UTF8_CHAR);
        assert_int_equal(used, len);
        assert_int_equal(mosa_utf8_decode(text, &used), c);
        if (len > 1) assert_int_equal(mosa_utf8_scan(text, len - 1, &used), MOSA_UTF8_PARTIAL);
    }
}

static void categories_are_those_of_the_standard(void **state) {
    (void)state;
    assert_int_equal(mosa_unicode_gc('a'), MOSA_UC_LL);
    assert_int_equal(mosa_unicode_gc(0x1C5), MOSA_UC_LT);
    assert_int_equal(mosa_unicode_gc(0x4E00), MOSA_UC_LO);
    assert_int_equal(mosa_unicode_gc(0x301), MOSA_UC_MN);
    assert_int_equal(mosa_unicode_gc(0x1F600), MOSA_UC_SO);
    assert_int_equal(mosa_unicode_gc(0x10FFFF), MOSA_UC_CN);
    assert_int_equal(mosa_unicode_gc(0x110000), MOSA_UC_CN);
    assert_true(mosa_unicode_is_space(0x85) && mosa_unicode_is_space(0x3000) && !mosa_unicode_is_space(0x200B));
    // Where both know a code point, our newer table agrees with utf8proc's, except where Unicode 16 changed its mind.
    unsigned differ = 0;
    for (uint32_t c = 0; c < 0x110000; c++) {
        int theirs = utf8proc_get_property((utf8proc_int32_t)c)->category;
        differ += theirs != UTF8PROC_CATEGORY_CN && (unsigned)theirs != (unsigned)mosa_unicode_gc(c);
    }
    assert_true(differ < 40);
}

// Long runs take another way than short ones: compare with normalising in an order that is canonical already.
static void long_runs_of_marks_are_put_in_canonical_order(void **state) {
    (void)state;
    mosa_buf mixed, ordered, got, want;
    mosa_buf_init(&mixed, 0);
    mosa_buf_init(&ordered, 0);
    mosa_buf_init(&got, 0);
    mosa_buf_init(&want, 0);
    mosa_buf_append_char(&mixed, 'a');
    mosa_buf_append_str(&ordered, "a");
    for (int i = 0; i < 50; i++) mosa_buf_append_str(&mixed, "\u0301\u0323\u0308");
    for (int i = 0; i < 50; i++) mosa_buf_append_str(&ordered, "\u0323");
    for (int i = 0; i < 50; i++) mosa_buf_append_str(&ordered, "\u0301\u0308");
    for (int form = MOSA_NFC; form <= MOSA_NFKD; form++) {
        mosa_buf_clear(&got);
        mosa_buf_clear(&want);
        assert_true(mosa_unicode_normalize((mosa_unicode_form)form, mosa_buf_slice(&mixed), &got));
        assert_true(mosa_unicode_normalize((mosa_unicode_form)form, mosa_buf_slice(&ordered), &want));
        assert_string_equal(mosa_buf_str(&got), mosa_buf_str(&want));
        assert_int_not_equal(got.len, 0);
    }
    mosa_buf_finish(&mixed);
    mosa_buf_finish(&ordered);
    mosa_buf_finish(&got);
    mosa_buf_finish(&want);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(repair_follows_pythons_rule),
        cmocka_unit_test(every_code_point_survives_encoding),
        cmocka_unit_test(categories_are_those_of_the_standard),
        cmocka_unit_test(long_runs_of_marks_are_put_in_canonical_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
