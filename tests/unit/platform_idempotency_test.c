// Idempotency keys: what a second request is told, what is forgotten, and one winner among threads.
#include "base/thread.h"
#include "platform/ledger/idempotency.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static mosa_idempotency *create(mosa_idempotency_options options) {
    mosa_idempotency *table;
    mosa_error err;
    assert_int_equal(mosa_idempotency_create(&options, &table, &err), MOSA_OK);
    return table;
}

static mosa_idempotency_ticket *ticket;
static const mosa_idempotency_answer *answer;
static mosa_idempotency_verdict begin(mosa_idempotency *table, const char *scope, const char *key, uint64_t print,
                                      int64_t now_ms) {
    return mosa_idempotency_begin(table, scope, key, print, now_ms, &ticket, &answer);
}

static void a_finished_answer_is_replayed_and_a_running_one_is_not(void **state) {
    (void)state;
    mosa_idempotency *table = create((mosa_idempotency_options){0});
    assert_int_equal(begin(table, "p", "k", 1, 0), MOSA_IDEMPOTENCY_NEW);
    mosa_idempotency_ticket *first = ticket;
    assert_int_equal(begin(table, "p", "k", 1, 5), MOSA_IDEMPOTENCY_RUNNING);
    assert_int_equal(begin(table, "p", "k", 2, 5), MOSA_IDEMPOTENCY_MISMATCH);
    char body[] = "{\"a\":1}";
    mosa_idempotency_finish(first, 200, false, mosa_slice_of(body), 10);
    memset(body, 'x', sizeof body - 1); // it was copied
    assert_int_equal(begin(table, "p", "k", 1, 20), MOSA_IDEMPOTENCY_REPLAY);
    assert_int_equal(answer->http, 200);
    assert_false(answer->stream);
    assert_true(mosa_slice_eq(answer->body, MOSA_SLICE("{\"a\":1}")));
    assert_int_equal(begin(table, "p", "k", 2, 20), MOSA_IDEMPOTENCY_MISMATCH);
    mosa_idempotency_destroy(table);
    assert_true(mosa_slice_eq(answer->body, MOSA_SLICE("{\"a\":1}"))); // whoever sends it still has it
    mosa_idempotency_release(answer);
}

static void scope_and_key_cannot_be_mixed_up(void **state) {
    (void)state;
    mosa_idempotency *table = create((mosa_idempotency_options){0});
    static const char *const names[][2] = {{"ab", "c"}, {"a", "bc"}, {"abc", ""}, {"", "abc"}};
    mosa_idempotency_ticket *tickets[4];
    for (int i = 0; i < 4; i++) {
        assert_int_equal(begin(table, names[i][0], names[i][1], 1, 0), MOSA_IDEMPOTENCY_NEW);
        tickets[i] = ticket;
    }
    for (int i = 0; i < 4; i++) mosa_idempotency_abandon(tickets[i]);
    mosa_idempotency_destroy(table);
}

static void an_abandoned_request_may_run_again(void **state) {
    (void)state;
    mosa_idempotency *table = create((mosa_idempotency_options){0});
    assert_int_equal(begin(table, "p", "k", 1, 0), MOSA_IDEMPOTENCY_NEW);
    mosa_idempotency_abandon(ticket);
    assert_int_equal(begin(table, "p", "k", 2, 0), MOSA_IDEMPOTENCY_NEW);
    mosa_idempotency_abandon(ticket);
    mosa_idempotency_stats stats;
    mosa_idempotency_get_stats(table, &stats);
    assert_int_equal(stats.entries, 0);
    assert_int_equal(stats.running, 0);
    assert_int_equal(stats.bytes, 0);
    mosa_idempotency_destroy(table);
}

static void a_long_answer_is_not_kept_but_does_not_run_twice(void **state) {
    (void)state;
    mosa_idempotency *table = create((mosa_idempotency_options){.max_answer_bytes = 4});
    assert_int_equal(begin(table, "p", "k", 1, 0), MOSA_IDEMPOTENCY_NEW);
    mosa_idempotency_finish(ticket, 200, true, MOSA_SLICE("12345"), 0);
    assert_int_equal(begin(table, "p", "k", 1, 1), MOSA_IDEMPOTENCY_TOO_LONG);
    assert_int_equal(begin(table, "p", "fits", 1, 1), MOSA_IDEMPOTENCY_NEW);
    mosa_idempotency_finish(ticket, 200, true, MOSA_SLICE("1234"), 1);
    assert_int_equal(begin(table, "p", "fits", 1, 1), MOSA_IDEMPOTENCY_REPLAY);
    assert_true(answer->stream);
    mosa_idempotency_release(answer);
    mosa_idempotency_destroy(table);
}

static void what_is_old_is_forgotten(void **state) {
    (void)state;
    mosa_idempotency *table = create((mosa_idempotency_options){.keep_ms = 100});
    assert_int_equal(begin(table, "p", "k", 1, 0), MOSA_IDEMPOTENCY_NEW);
    mosa_idempotency_finish(ticket, 200, false, MOSA_SLICE("x"), 50);
    assert_int_equal(begin(table, "p", "k", 1, 149), MOSA_IDEMPOTENCY_REPLAY);
    mosa_idempotency_release(answer);
    assert_int_equal(begin(table, "p", "k", 1, 150), MOSA_IDEMPOTENCY_NEW);
    mosa_idempotency_abandon(ticket);
    mosa_idempotency_destroy(table);
}

static void running_ones_are_never_pushed_out(void **state) {
    (void)state;
    mosa_idempotency *table = create((mosa_idempotency_options){.max_entries = 3});
    assert_int_equal(begin(table, "p", "a", 1, 0), MOSA_IDEMPOTENCY_NEW);
    mosa_idempotency_ticket *a = ticket;
    for (int i = 0; i < 10; i++) { // the newest two stay
        char key[8];
        snprintf(key, sizeof key, "%d", i);
        assert_int_equal(begin(table, "p", key, 1, i), MOSA_IDEMPOTENCY_NEW);
        mosa_idempotency_finish(ticket, 200, false, MOSA_SLICE("x"), i);
    }
    assert_int_equal(begin(table, "p", "a", 1, 10), MOSA_IDEMPOTENCY_RUNNING);
    assert_int_equal(begin(table, "p", "9", 1, 10), MOSA_IDEMPOTENCY_REPLAY);
    mosa_idempotency_release(answer);
    assert_int_equal(begin(table, "p", "b", 1, 10), MOSA_IDEMPOTENCY_NEW);
    mosa_idempotency_ticket *b = ticket;
    assert_int_equal(begin(table, "p", "c", 1, 10), MOSA_IDEMPOTENCY_NEW);
    mosa_idempotency_ticket *c = ticket;
    assert_int_equal(begin(table, "p", "d", 1, 10), MOSA_IDEMPOTENCY_FULL);
    mosa_idempotency_abandon(a);
    assert_int_equal(begin(table, "p", "d", 1, 10), MOSA_IDEMPOTENCY_NEW);
    mosa_idempotency_abandon(ticket);
    mosa_idempotency_abandon(b);
    mosa_idempotency_abandon(c);
    mosa_idempotency_destroy(table);
}

static void kept_bytes_are_bounded(void **state) {
    (void)state;
    size_t most = 20000;
    mosa_idempotency *table = create((mosa_idempotency_options){.max_bytes = most});
    char body[1000];
    memset(body, 'b', sizeof body);
    for (int i = 0; i < 200; i++) {
        char key[8];
        snprintf(key, sizeof key, "%d", i);
        assert_int_equal(begin(table, "p", key, 1, i), MOSA_IDEMPOTENCY_NEW);
        mosa_idempotency_finish(ticket, 200, false, (mosa_slice){body, sizeof body}, i);
        mosa_idempotency_stats stats;
        mosa_idempotency_get_stats(table, &stats);
        assert_true(stats.bytes <= most);
        assert_true(i < 10 || stats.entries > 10);
    }
    mosa_idempotency_destroy(table);
}

// --- under threads --------------------------------------------------------------------------------------------------

enum { THREADS = 4, NAMES = 500, TRIES = 4 };

typedef struct race {
    mosa_idempotency *table;
    atomic_int ran[NAMES], broken;
} race;

static void run_race(void *arg) {
    race *r = arg;
    for (int i = 0; i < NAMES * TRIES; i++) {
        char key[16];
        int name = i % NAMES;
        snprintf(key, sizeof key, "%d", name);
        mosa_idempotency_ticket *mine;
        const mosa_idempotency_answer *found;
        switch (mosa_idempotency_begin(r->table, "p", key, 1, 0, &mine, &found)) {
        case MOSA_IDEMPOTENCY_NEW:
            if (atomic_fetch_add(&r->ran[name], 1) > 0) atomic_fetch_add(&r->broken, 1);
            mosa_idempotency_finish(mine, 200, false, mosa_slice_of(key), 0);
            break;
        case MOSA_IDEMPOTENCY_REPLAY:
            if (!mosa_slice_eq(found->body, mosa_slice_of(key))) atomic_fetch_add(&r->broken, 1);
            mosa_idempotency_release(found);
            break;
        case MOSA_IDEMPOTENCY_RUNNING:
            break;
        default:
            atomic_fetch_add(&r->broken, 1);
        }
    }
}

static void each_request_runs_once_among_threads(void **state) {
    (void)state;
    race r = {.table = create((mosa_idempotency_options){0})};
    mosa_thread threads[THREADS] = {0};
    mosa_error err;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(mosa_thread_start(&threads[i], "race", run_race, &r, &err), MOSA_OK);
    for (int i = 0; i < THREADS; i++) mosa_thread_join(&threads[i]);
    assert_int_equal(r.broken, 0);
    for (int i = 0; i < NAMES; i++) assert_int_equal(r.ran[i], 1);
    mosa_idempotency_destroy(r.table);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_finished_answer_is_replayed_and_a_running_one_is_not),
        cmocka_unit_test(scope_and_key_cannot_be_mixed_up),
        cmocka_unit_test(an_abandoned_request_may_run_again),
        cmocka_unit_test(a_long_answer_is_not_kept_but_does_not_run_twice),
        cmocka_unit_test(what_is_old_is_forgotten),
        cmocka_unit_test(running_ones_are_never_pushed_out),
        cmocka_unit_test(kept_bytes_are_bounded),
        cmocka_unit_test(each_request_runs_once_among_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
