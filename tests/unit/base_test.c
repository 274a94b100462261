// Arena, strings, status, clock, random numbers and hashes.
#include "base/arena.h"
#include "base/clock.h"
#include "base/rng.h"
#include "base/status.h"
#include "base/str.h"
#include "base/utf8.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

// --- arena --------------------------------------------------------------------------------------------------------

static void arena_memory_is_zeroed_aligned_and_apart(void **state) {
    (void)state;
    mosa_arena arena;
    mosa_arena_init(&arena, 256, 0);
    unsigned char *before = NULL;
    for (int i = 0; i < 200; i++) {
        size_t bytes = (size_t)(i * 7 % 400);
        unsigned char *p = mosa_arena_alloc(&arena, bytes);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 16, 0);
        for (size_t k = 0; k < bytes; k++) assert_int_equal(p[k], 0);
        memset(p, 0xab, bytes);
        assert_ptr_not_equal(p, before);
        before = p;
    }
    mosa_arena_reset(&arena);
    assert_int_equal(arena.used_bytes, 0);
    unsigned char *again = mosa_arena_alloc(&arena, 64);
    for (int k = 0; k < 64; k++) assert_int_equal(again[k], 0);
    mosa_arena_finish(&arena);
}

static void an_arena_stops_at_its_limit_and_at_overflow(void **state) {
    (void)state;
    mosa_arena arena;
    mosa_arena_init(&arena, 64, 128);
    assert_non_null(mosa_arena_alloc(&arena, 100));
    assert_null(mosa_arena_alloc(&arena, 100));
    assert_null(mosa_arena_alloc_array(&arena, SIZE_MAX / 2, 4));
    assert_null(mosa_arena_alloc(&arena, SIZE_MAX));
    mosa_arena_finish(&arena);
    mosa_arena_init(&arena, 0, 0);
    assert_string_equal(mosa_arena_printf(&arena, "%s-%d", "x", 7), "x-7");
    assert_string_equal(mosa_arena_strndup(&arena, "abcdef", 3), "abc");
    mosa_arena_finish(&arena);
}

// --- strings ------------------------------------------------------------------------------------------------------

static void a_buffer_grows_and_hands_over_its_bytes(void **state) {
    (void)state;
    mosa_buf buf = {0};
    for (int i = 0; i < 1000; i++) mosa_buf_printf(&buf, "%d,", i);
    assert_int_equal(buf.len, 10 * 2 + 90 * 3 + 900 * 4);
    char *text = mosa_buf_take(&buf);
    assert_int_equal(strlen(text), 10 * 2 + 90 * 3 + 900 * 4);
    assert_int_equal(buf.len, 0);
    free(text);
    mosa_buf_finish(&buf);
}

static void a_buffer_remembers_that_it_hit_its_limit(void **state) {
    (void)state;
    mosa_buf buf;
    mosa_buf_init(&buf, 4);
    mosa_buf_append_str(&buf, "abcd");
    assert_false(mosa_buf_failed(&buf));
    mosa_buf_append_char(&buf, 'e');
    mosa_buf_append_str(&buf, "");
    assert_true(mosa_buf_failed(&buf));
    assert_string_equal(mosa_buf_str(&buf), "abcd");
    assert_null(mosa_buf_take(&buf));
    mosa_buf_clear(&buf);
    assert_false(mosa_buf_failed(&buf));
    mosa_buf_finish(&buf);
}

static void check_f64(double value, const char *text) {
    mosa_buf buf = {0};
    mosa_buf_append_f64(&buf, value);
    assert_string_equal(mosa_buf_str(&buf), text);
    mosa_buf_finish(&buf);
}

static void doubles_print_short_and_read_back(void **state) {
    (void)state;
    check_f64(0.1, "0.1");
    check_f64(3, "3");
    check_f64(-0.0, "-0");
    check_f64(1e300, "1e+300");
    check_f64(0.1 + 0.2, "0.30000000000000004");
    check_f64(INFINITY, "+Inf");
    check_f64(NAN, "NaN");
    for (uint64_t i = 0; i < 2000; i++) {
        uint64_t bits = mosa_rng_u64(1, i);
        double value, back;
        memcpy(&value, &bits, sizeof value);
        if (!isfinite(value)) continue;
        mosa_buf buf = {0};
        mosa_buf_append_f64(&buf, value);
        assert_true(mosa_parse_f64(mosa_buf_str(&buf), &back));
        assert_true(back == value);
        mosa_buf_finish(&buf);
    }
}

static void numbers_with_junk_are_refused(void **state) {
    (void)state;
    int64_t i64 = 5;
    double f64 = 5;
    uint64_t bytes = 5;
    static const char *const bad[] = {"", " 1", "1 ", "0x", "1e", "--1", "9223372036854775808", "nan", "inf", "1.5.2"};
    for (size_t i = 0; i < MOSA_COUNT(bad); i++) {
        assert_false(mosa_parse_i64(bad[i], &i64));
        assert_false(mosa_parse_bytes(bad[i], &bytes) && i != 6); // 2^63 is a fine number of bytes
        if (i != 6) assert_false(mosa_parse_f64(bad[i], &f64));
    }
    assert_int_equal(i64, 5);
    assert_true(mosa_parse_bytes("8MiB", &bytes) && bytes == 8 << 20);
    assert_true(mosa_parse_bytes("2G", &bytes) && bytes == 2ull << 30);
    assert_false(mosa_parse_bytes("99999999999999T", &bytes));
    assert_false(mosa_parse_bytes("1X", &bytes));
}

static void only_well_formed_utf8_has_a_length(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t left, len;
    } cases[] = {
        {"a", 1, 1},
        {"\xc3\xa9", 2, 2},
        {"\xc3", 1, 0},
        {"\xc0\x80", 2, 0},
        {"\xe2\x82\xac", 3, 3},
        {"\xe0\x80\x80", 3, 0},
        {"\xed\xa0\x80", 3, 0},
        {"\xf0\x9f\x98\x80", 4, 4},
        {"\xf4\x90\x80\x80", 4, 0},
        {"\x80", 1, 0},
        {"\xff", 1, 0},
        {"\xe2\x82", 2, 0},
    };
    for (size_t i = 0; i < MOSA_COUNT(cases); i++)
        assert_int_equal(mosa_utf8_len((const unsigned char *)cases[i].bytes, cases[i].left), cases[i].len);
}

// --- status -------------------------------------------------------------------------------------------------------

static void every_status_has_a_name_and_an_http_code(void **state) {
    (void)state;
    for (int i = 0; i < MOSA_STATUS_COUNT; i++) {
        assert_non_null(mosa_status_name((mosa_status)i));
        assert_in_range(mosa_status_http((mosa_status)i), 200, 599);
    }
    assert_string_equal(mosa_status_name((mosa_status)999), mosa_status_name(MOSA_EINTERNAL));
}

static void a_prefix_keeps_the_cause_readable(void **state) {
    (void)state;
    mosa_error err;
    char path[2000];
    memset(path, 'p', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    assert_int_equal(mosa_fail(&err, MOSA_ECORRUPT, "tensor 3: bad offset"), MOSA_ECORRUPT);
    assert_int_equal(mosa_fail_prefix(&err, path), MOSA_ECORRUPT);
    assert_non_null(strstr(err.message, "tensor 3: bad offset"));
    assert_int_equal(mosa_fail(NULL, MOSA_EIO, "nobody listens"), MOSA_EIO);
}

// --- clock --------------------------------------------------------------------------------------------------------

static void deadlines_round_up_and_saturate(void **state) {
    (void)state;
    assert_int_equal(mosa_deadline_in_ms(-1), MOSA_DEADLINE_NEVER);
    assert_int_equal(mosa_deadline_in_ms(INT64_MAX), MOSA_DEADLINE_NEVER);
    assert_int_equal(mosa_deadline_left_ms(MOSA_DEADLINE_NEVER), -1);
    assert_int_equal(mosa_deadline_left_ms(mosa_deadline_in_ms(0)), 0);
    assert_true(mosa_deadline_passed(mosa_deadline_in_ms(0)));
    assert_false(mosa_deadline_passed(mosa_deadline_in_ms(60000)));
    assert_in_range(mosa_deadline_left_ms(mosa_deadline_in_ms(60000)), 50000, 60000);
    assert_int_equal(mosa_deadline_left_ms(mosa_clock_ns() + 3000000000000000ull), INT32_MAX);
}

static void times_read_as_rfc_3339(void **state) {
    (void)state;
    char text[MOSA_CLOCK_TEXT];
    mosa_clock_format(951782400123999999, text); // a leap day
    assert_string_equal(text, "2000-02-29T00:00:00.123Z");
}

// --- random numbers and hashes ------------------------------------------------------------------------------------

// Known answers of the Random123 distribution.
static void philox_gives_the_published_blocks(void **state) {
    (void)state;
    static const uint32_t cases[3][10] = {
        {0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
        {~0u, ~0u, ~0u, ~0u, ~0u, ~0u, 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
        {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0, 0xd16cfe09, 0x94fdcceb, 0x5001e420,
         0x24126ea1},
    };
    for (size_t i = 0; i < 3; i++) {
        uint32_t out[4];
        mosa_rng_philox(cases[i], cases[i] + 4, out);
        assert_memory_equal(out, cases[i] + 6, sizeof out);
    }
}

static void uniform_numbers_fill_the_unit_interval(void **state) {
    (void)state;
    enum { N = 100000, BINS = 20 };
    double sum = 0;
    int bins[BINS] = {0};
    for (uint64_t i = 0; i < N; i++) {
        double u = mosa_rng_uniform(42, i);
        assert_true(u >= 0 && u < 1);
        sum += u;
        bins[(int)(u * BINS)]++;
        assert_true(mosa_rng_below(42, i, 7) < 7);
    }
    assert_true(fabs(sum / N - 0.5) < 0.005);
    for (int i = 0; i < BINS; i++) assert_in_range(bins[i], N / BINS * 9 / 10, N / BINS * 11 / 10);
    assert_true(mosa_rng_u64(1, 2) != mosa_rng_u64(2, 1));
    assert_true(mosa_rng_mix(0) == 0xe220a8397b1dcdafu); // first output of splitmix64 with seed 0
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arena_memory_is_zeroed_aligned_and_apart),
        cmocka_unit_test(an_arena_stops_at_its_limit_and_at_overflow),
        cmocka_unit_test(a_buffer_grows_and_hands_over_its_bytes),
        cmocka_unit_test(a_buffer_remembers_that_it_hit_its_limit),
        cmocka_unit_test(doubles_print_short_and_read_back),
        cmocka_unit_test(numbers_with_junk_are_refused),
        cmocka_unit_test(only_well_formed_utf8_has_a_length),
        cmocka_unit_test(every_status_has_a_name_and_an_http_code),
        cmocka_unit_test(a_prefix_keeps_the_cause_readable),
        cmocka_unit_test(deadlines_round_up_and_saturate),
        cmocka_unit_test(times_read_as_rfc_3339),
        cmocka_unit_test(philox_gives_the_published_blocks),
        cmocka_unit_test(uniform_numbers_fill_the_unit_interval),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
