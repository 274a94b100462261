// Supervision: shells stand for engines, and die in all the ways that engines do.
#include "platform/supervisor.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

typedef struct fixture {
    mosa_loop *loop;
    mosa_supervisor *supervisor;
    int starts, exits, crash_loops, stop_after_exits;
    bool ready_at_once, kill_when_started;
    int64_t waits[16];
    mosa_process_exit last;
    int socket_fd;
} fixture;

static void on_started(void *user, int socket_fd) {
    fixture *f = user;
    f->starts++;
    if (f->socket_fd >= 0) close(f->socket_fd);
    f->socket_fd = socket_fd;
    if (f->ready_at_once) mosa_supervisor_ready(f->supervisor);
    if (f->kill_when_started) kill(mosa_supervisor_pid(f->supervisor), SIGKILL);
}

static void on_exited(void *user, const mosa_process_exit *result, int64_t restart_in_ms) {
    fixture *f = user;
    f->last = *result;
    if (f->exits < 16) f->waits[f->exits] = restart_in_ms;
    if (++f->exits == f->stop_after_exits || restart_in_ms < 0) mosa_loop_stop(f->loop);
}

static void on_crash_loop(void *user, const mosa_process_exit *result) {
    (void)result;
    ((fixture *)user)->crash_loops++;
}

static fixture run(const char *script, int exits, bool ready, bool kill_it) {
    static const mosa_supervisor_handler handler = {on_started, on_exited, on_crash_loop};
    const char *argv[] = {"/bin/sh", "-c", script, NULL};
    fixture f = {.stop_after_exits = exits, .ready_at_once = ready, .kill_when_started = kill_it, .socket_fd = -1};
    mosa_supervisor_options options = {
        .argv = argv, .name = "test", .backoff_min_ms = 2, .backoff_max_ms = 8, .crash_limit = 3};
    assert_int_equal(mosa_loop_create(NULL, NULL, &f.loop, NULL), MOSA_OK);
    assert_int_equal(mosa_supervisor_create(f.loop, &options, &handler, &f, &f.supervisor, NULL), MOSA_OK);
    mosa_supervisor_start(f.supervisor);
    assert_int_equal(mosa_loop_run(f.loop, NULL), MOSA_OK);
    mosa_supervisor_destroy(f.supervisor);
    mosa_loop_destroy(f.loop);
    if (f.socket_fd >= 0) close(f.socket_fd);
    return f;
}

static void the_first_restart_is_immediate_and_the_next_ones_wait_longer(void **state) {
    (void)state;
    fixture f = run("exit 3", 6, false, false);
    assert_int_equal(f.starts, 6);
    assert_int_equal(f.last.code, 3);
    assert_string_equal(f.last.text, "exit code 3");
    const int64_t expected[] = {0, 2, 4, 8, 8, 8};
    assert_memory_equal(f.waits, expected, sizeof expected);
    assert_int_equal(f.crash_loops, 1);
}

static void the_last_line_of_standard_error_is_kept(void **state) {
    (void)state;
    fixture f = run("echo first >&2; printf 'last words' >&2; exit 1", 1, false, false);
    assert_string_equal(f.last.last_line, "last words");
    f = run("echo 'mosa: it is broken' >&2; echo '      mend it' >&2; exit 1", 1, false, false);
    assert_string_equal(f.last.last_line, "mosa: it is broken; mend it");
}

static void an_endless_line_is_cut(void **state) {
    (void)state;
    fixture f = run("head -c 100000 /dev/zero | tr '\\0' x >&2; exit 1", 1, false, false);
    assert_true(strlen(f.last.last_line) < MOSA_PROCESS_LINE_MAX);
    assert_int_equal(f.last.last_line[0], 'x');
}

static void a_signal_is_named(void **state) {
    (void)state;
    fixture f = run("kill -SEGV $$", 1, false, false);
    assert_int_equal(f.last.signal, SIGSEGV);
    assert_string_equal(f.last.text, "killed by SIGSEGV");
    f = run("sleep 10", 1, true, true);
    assert_string_equal(f.last.text, "killed by SIGKILL (out of memory?)");
}

static void the_child_has_a_socket_and_no_signal_is_blocked(void **state) {
    (void)state;
    fixture f =
        run("[ -S /dev/fd/3 ] || exit 9; grep -q 'SigBlk:.0000000000000000' /proc/self/status || exit 8; exit 7", 1,
            false, false);
    assert_int_equal(f.last.code, 7);
}

static void what_cannot_be_started_counts_as_a_death(void **state) {
    (void)state;
    static const mosa_supervisor_handler handler = {on_started, on_exited, on_crash_loop};
    const char *argv[] = {"/no/such/program", NULL};
    fixture f = {.stop_after_exits = 2, .socket_fd = -1};
    mosa_supervisor_options options = {.argv = argv, .name = "test", .backoff_min_ms = 1};
    assert_int_equal(mosa_loop_create(NULL, NULL, &f.loop, NULL), MOSA_OK);
    assert_int_equal(mosa_supervisor_create(f.loop, &options, &handler, &f, &f.supervisor, NULL), MOSA_OK);
    mosa_supervisor_start(f.supervisor);
    assert_int_equal(mosa_loop_run(f.loop, NULL), MOSA_OK);
    assert_non_null(strstr(f.last.last_line, "No such file"));
    mosa_supervisor_destroy(f.supervisor);
    mosa_loop_destroy(f.loop);
}

static void stop_it(void *user) {
    mosa_supervisor_stop(((fixture *)user)->supervisor, 100);
}

static void stopped_it_is_asked_first_and_killed_if_it_does_not_listen(void **state) {
    (void)state;
    static const mosa_supervisor_handler handler = {on_started, on_exited, on_crash_loop};
    const char *const scripts[] = {"trap 'exit 5' TERM; while :; do sleep 0.01; done",
                                   "trap '' TERM; while :; do sleep 0.01; done"};
    for (int i = 0; i < 2; i++) {
        const char *argv[] = {"/bin/sh", "-c", scripts[i], NULL};
        fixture f = {.stop_after_exits = 1, .socket_fd = -1};
        mosa_timer timer = {0};
        mosa_supervisor_options options = {.argv = argv, .name = "test"};
        assert_int_equal(mosa_loop_create(NULL, NULL, &f.loop, NULL), MOSA_OK);
        assert_int_equal(mosa_supervisor_create(f.loop, &options, &handler, &f, &f.supervisor, NULL), MOSA_OK);
        mosa_supervisor_start(f.supervisor);
        mosa_loop_timer(f.loop, &timer, 200, stop_it, &f);
        assert_int_equal(mosa_loop_run(f.loop, NULL), MOSA_OK);
        assert_int_equal(f.waits[0], -1);
        assert_int_equal(i == 0 ? f.last.code : f.last.signal, i == 0 ? 5 : SIGKILL);
        mosa_supervisor_destroy(f.supervisor);
        mosa_loop_destroy(f.loop);
        close(f.socket_fd);
    }
}

static void one_that_never_becomes_ready_is_replaced(void **state) {
    (void)state;
    static const mosa_supervisor_handler handler = {on_started, on_exited, on_crash_loop};
    const char *argv[] = {"/bin/sh", "-c", "exec sleep 10", NULL};
    fixture f = {.stop_after_exits = 2, .socket_fd = -1};
    mosa_supervisor_options options = {.argv = argv, .name = "test", .start_timeout_ms = 50, .backoff_min_ms = 1};
    assert_int_equal(mosa_loop_create(NULL, NULL, &f.loop, NULL), MOSA_OK);
    assert_int_equal(mosa_supervisor_create(f.loop, &options, &handler, &f, &f.supervisor, NULL), MOSA_OK);
    mosa_supervisor_start(f.supervisor);
    assert_int_equal(mosa_loop_run(f.loop, NULL), MOSA_OK);
    assert_int_equal(f.starts, 2);
    mosa_supervisor_destroy(f.supervisor);
    mosa_loop_destroy(f.loop);
    close(f.socket_fd);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_restart_is_immediate_and_the_next_ones_wait_longer),
        cmocka_unit_test(the_last_line_of_standard_error_is_kept),
        cmocka_unit_test(an_endless_line_is_cut),
        cmocka_unit_test(a_signal_is_named),
        cmocka_unit_test(the_child_has_a_socket_and_no_signal_is_blocked),
        cmocka_unit_test(what_cannot_be_started_counts_as_a_death),
        cmocka_unit_test(stopped_it_is_asked_first_and_killed_if_it_does_not_listen),
        cmocka_unit_test(one_that_never_becomes_ready_is_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
