// The event loop: descriptors, timers, wake-ups, and callbacks that remove what they like.
#include "base/loop.h"
#include "base/thread.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

typedef struct fixture {
    mosa_loop *loop;
    mosa_watch watches[2];
    mosa_timer timers[3];
    int pipes[2][2];
    int order[8], n_order, woken;
} fixture;

static void setup(fixture *f, void (*on_wake)(void *)) {
    *f = (fixture){.watches = {MOSA_WATCH_INIT, MOSA_WATCH_INIT}};
    assert_int_equal(mosa_loop_create(on_wake, f, &f->loop, NULL), MOSA_OK);
    for (int i = 0; i < 2; i++) assert_int_equal(pipe(f->pipes[i]), 0);
}

static void teardown(fixture *f) {
    for (int i = 0; i < 4; i++) close(f->pipes[i / 2][i % 2]);
    mosa_loop_destroy(f->loop);
}

static void note(fixture *f, int what) {
    f->order[f->n_order++] = what;
}

static void first_timer(void *user) {
    note(user, 1);
}
static void second_timer(void *user) {
    note(user, 2);
}
static void stop_timer(void *user) {
    note(user, 3);
    mosa_loop_stop(((fixture *)user)->loop);
}

static void timers_fire_once_in_order_of_time(void **state) {
    (void)state;
    fixture f;
    setup(&f, NULL);
    mosa_loop_timer(f.loop, &f.timers[2], 30, stop_timer, &f);
    mosa_loop_timer(f.loop, &f.timers[0], 20, first_timer, &f);
    mosa_loop_timer(f.loop, &f.timers[1], 10, second_timer, &f);
    mosa_loop_timer(f.loop, &f.timers[0], 1, first_timer, &f); // moves it before the other
    assert_int_equal(mosa_loop_run(f.loop, NULL), MOSA_OK);
    assert_int_equal(f.n_order, 3);
    assert_true(f.order[0] == 1 && f.order[1] == 2 && f.order[2] == 3);
    teardown(&f);
}

static void a_cancelled_timer_is_silent(void **state) {
    (void)state;
    fixture f;
    setup(&f, NULL);
    mosa_loop_timer(f.loop, &f.timers[0], 1, first_timer, &f);
    mosa_loop_timer(f.loop, &f.timers[2], 10, stop_timer, &f);
    mosa_loop_timer_cancel(f.loop, &f.timers[0]);
    mosa_loop_timer_cancel(f.loop, &f.timers[0]);
    assert_int_equal(mosa_loop_run(f.loop, NULL), MOSA_OK);
    assert_int_equal(f.n_order, 1);
    teardown(&f);
}

// Both pipes are readable in one round; whichever comes first removes the other and invalidates its memory.
static void remove_both(void *user, uint32_t events) {
    (void)events;
    fixture *f = user;
    note(f, 9);
    for (int i = 0; i < 2; i++) {
        mosa_loop_unwatch(f->loop, &f->watches[i]);
        f->watches[i].fn = NULL;
    }
    mosa_loop_stop(f->loop);
}

static void a_watch_that_is_removed_in_a_round_is_not_called_in_it(void **state) {
    (void)state;
    fixture f;
    setup(&f, NULL);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(mosa_loop_watch(f.loop, &f.watches[i], f.pipes[i][0], EPOLLIN, remove_both, &f, NULL),
                         MOSA_OK);
        assert_int_equal(write(f.pipes[i][1], "x", 1), 1);
    }
    assert_int_equal(mosa_loop_run(f.loop, NULL), MOSA_OK);
    assert_int_equal(f.n_order, 1);
    teardown(&f);
}

static void on_wake(void *user) {
    fixture *f = user;
    f->woken++;
    mosa_loop_stop(f->loop);
}

static void wake_it(void *user) {
    mosa_loop_wake(((fixture *)user)->loop);
}

static void another_thread_wakes_it(void **state) {
    (void)state;
    fixture f;
    mosa_thread thread = {0};
    setup(&f, on_wake);
    assert_int_equal(mosa_thread_start(&thread, "waker", wake_it, &f, NULL), MOSA_OK);
    assert_int_equal(mosa_loop_run(f.loop, NULL), MOSA_OK);
    assert_true(f.woken >= 1);
    mosa_thread_join(&thread);
    teardown(&f);
}

static void a_bad_descriptor_is_an_error(void **state) {
    (void)state;
    fixture f;
    setup(&f, NULL);
    mosa_error err;
    assert_int_equal(mosa_loop_watch(f.loop, &f.watches[0], 9999, EPOLLIN, remove_both, &f, &err), MOSA_EIO);
    assert_int_equal(f.watches[0].fd, -1);
    mosa_loop_unwatch(f.loop, &f.watches[0]);
    teardown(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timers_fire_once_in_order_of_time),
        cmocka_unit_test(a_cancelled_timer_is_silent),
        cmocka_unit_test(a_watch_that_is_removed_in_a_round_is_not_called_in_it),
        cmocka_unit_test(another_thread_wakes_it),
        cmocka_unit_test(a_bad_descriptor_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
