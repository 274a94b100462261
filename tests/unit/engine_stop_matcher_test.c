// Stop strings: found across pieces, held back while undecided, never shown.
#include "engine/stop_matcher.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

typedef struct fixture {
    mosa_slice stops[4];
    mosa_stop_matcher matcher;
    mosa_buf shown;
} fixture;

static void begin(fixture *f, const char *const *stops, int n) {
    *f = (fixture){0};
    for (int i = 0; i < n; i++) f->stops[i] = mosa_slice_of(stops[i]);
    assert_int_equal(mosa_stop_matcher_init(&f->matcher, f->stops, n, NULL), MOSA_OK);
}

static int push(fixture *f, const char *piece) {
    return mosa_stop_matcher_push(&f->matcher, mosa_slice_of(piece), &f->shown);
}

static void end(fixture *f) {
    mosa_stop_matcher_finish(&f->matcher);
    mosa_buf_finish(&f->shown);
}

static void without_stops_everything_is_shown_at_once(void **state) {
    (void)state;
    fixture f;
    begin(&f, NULL, 0);
    assert_int_equal(push(&f, "hello"), -1);
    assert_string_equal(mosa_buf_str(&f.shown), "hello");
    end(&f);
}

static void a_stop_inside_one_piece_ends_the_text_before_it(void **state) {
    (void)state;
    fixture f;
    begin(&f, (const char *[]){"END"}, 1);
    assert_int_equal(push(&f, "one END two"), 0);
    assert_string_equal(mosa_buf_str(&f.shown), "one ");
    end(&f);
}

static void a_stop_split_over_pieces_is_held_back_and_found(void **state) {
    (void)state;
    fixture f;
    begin(&f, (const char *[]){"\n\nUser:"}, 1);
    assert_int_equal(push(&f, "answer\n"), -1);
    assert_string_equal(mosa_buf_str(&f.shown), "answer");
    assert_int_equal(push(&f, "\nUs"), -1);
    assert_string_equal(mosa_buf_str(&f.shown), "answer");
    assert_int_equal(push(&f, "er: more"), 0);
    assert_string_equal(mosa_buf_str(&f.shown), "answer");
    end(&f);
}

static void held_text_is_shown_when_it_turns_out_harmless(void **state) {
    (void)state;
    fixture f;
    begin(&f, (const char *[]){"\n\nUser:"}, 1);
    push(&f, "a\n\nUs");
    assert_string_equal(mosa_buf_str(&f.shown), "a");
    push(&f, "ually");
    assert_string_equal(mosa_buf_str(&f.shown), "a\n\nUsually");
    end(&f);
}

static void overlapping_beginnings_keep_the_longest_undecided_end(void **state) {
    (void)state;
    fixture f;
    begin(&f, (const char *[]){"aab"}, 1);
    push(&f, "aaa");
    assert_string_equal(mosa_buf_str(&f.shown), "a");
    assert_int_equal(push(&f, "b"), 0);
    assert_string_equal(mosa_buf_str(&f.shown), "a");
    end(&f);
}

static void the_earliest_of_several_stops_wins(void **state) {
    (void)state;
    fixture f;
    begin(&f, (const char *[]){"zzz", "two", "tw"}, 3);
    assert_int_equal(push(&f, "one two zzz"), 1);
    assert_string_equal(mosa_buf_str(&f.shown), "one ");
    end(&f);
}

static void flushing_shows_what_was_undecided(void **state) {
    (void)state;
    fixture f;
    begin(&f, (const char *[]){"</s>"}, 1);
    push(&f, "x</");
    mosa_stop_matcher_flush(&f.matcher, &f.shown);
    assert_string_equal(mosa_buf_str(&f.shown), "x</");
    end(&f);
}

// One text cut in every way gives the same result as the text in one piece.
static void the_cut_into_pieces_never_matters(void **state) {
    (void)state;
    static const char text[] = "ab abc abcabd abcab";
    size_t len = sizeof text - 1;
    for (unsigned cuts = 0; cuts < 1u << 12; cuts++) {
        fixture f;
        begin(&f, (const char *[]){"abcabc", "bd a", "cab!"}, 3);
        int found = -1;
        size_t from = 0;
        for (size_t i = 1; i <= len && found < 0; i++) {
            if (i < len && !(cuts >> (i % 12) & 1)) continue;
            found = mosa_stop_matcher_push(&f.matcher, (mosa_slice){text + from, i - from}, &f.shown);
            from = i;
        }
        assert_int_equal(found, 1);
        assert_string_equal(mosa_buf_str(&f.shown), "ab abc abca");
        end(&f);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_stops_everything_is_shown_at_once),
        cmocka_unit_test(a_stop_inside_one_piece_ends_the_text_before_it),
        cmocka_unit_test(a_stop_split_over_pieces_is_held_back_and_found),
        cmocka_unit_test(held_text_is_shown_when_it_turns_out_harmless),
        cmocka_unit_test(overlapping_beginnings_keep_the_longest_undecided_end),
        cmocka_unit_test(the_earliest_of_several_stops_wins),
        cmocka_unit_test(flushing_shows_what_was_undecided),
        cmocka_unit_test(the_cut_into_pieces_never_matters),
    };
    return cmocka_run_group_tests_name("engine: stop strings", tests, NULL, NULL);
}
