// Keeps one engine process running.
#include "platform/supervisor.h"
#include "base/log.h"

#include <stdlib.h>
#include <string.h>

typedef enum supervisor_state { STOPPED, STARTING, READY, WAITING, STOPPING } supervisor_state;

struct mosa_supervisor {
    mosa_loop *loop;
    mosa_supervisor_options options;
    mosa_supervisor_handler handler;
    void *user;
    supervisor_state state;
    mosa_process *process;
    mosa_timer restart_timer, stable_timer, start_timer;
    int failures; // deaths in a row without readiness, or soon after it
};

static void start_process(void *user);

mosa_status mosa_supervisor_create(mosa_loop *loop, const mosa_supervisor_options *options,
                                   const mosa_supervisor_handler *handler, void *user, mosa_supervisor **out,
                                   mosa_error *err) {
    mosa_supervisor *supervisor = calloc(1, sizeof *supervisor);
    if (!supervisor) return mosa_fail(err, MOSA_ENOMEM, "supervisor: out of memory");
    *supervisor = (mosa_supervisor){.loop = loop, .options = *options, .handler = *handler, .user = user};
    mosa_supervisor_options *o = &supervisor->options;
    if (!o->backoff_min_ms) o->backoff_min_ms = 250;
    if (!o->backoff_max_ms) o->backoff_max_ms = 30000;
    if (!o->stable_ms) o->stable_ms = 10000;
    if (!o->crash_limit) o->crash_limit = 5;
    *out = supervisor;
    return MOSA_OK;
}

void mosa_supervisor_destroy(mosa_supervisor *supervisor) {
    if (!supervisor) return;
    mosa_loop_timer_cancel(supervisor->loop, &supervisor->restart_timer);
    mosa_loop_timer_cancel(supervisor->loop, &supervisor->stable_timer);
    mosa_loop_timer_cancel(supervisor->loop, &supervisor->start_timer);
    mosa_process_destroy(supervisor->process);
    free(supervisor);
}

// The first restart after readiness is immediate; a process that dies on its way up is given more and more time.
static int64_t backoff_ms(const mosa_supervisor *supervisor) {
    if (supervisor->failures <= 1) return 0;
    int64_t wait = supervisor->options.backoff_min_ms;
    for (int i = 2; i < supervisor->failures && wait < supervisor->options.backoff_max_ms; i++) wait *= 2;
    return wait < supervisor->options.backoff_max_ms ? wait : supervisor->options.backoff_max_ms;
}

static void on_line(void *user, const char *line) {
    const mosa_supervisor *supervisor = user;
    mosa_log_info("engine says", MOSA_KV("engine", supervisor->options.name), MOSA_KV("line", line));
}

static void schedule_restart(mosa_supervisor *supervisor, const mosa_process_exit *result) {
    supervisor->failures++;
    int64_t wait = backoff_ms(supervisor);
    supervisor->state = WAITING;
    mosa_loop_timer(supervisor->loop, &supervisor->restart_timer, wait, start_process, supervisor);
    mosa_log_warn("engine died", MOSA_KV("engine", supervisor->options.name),
                  MOSA_KV("reason", (const char *)result->text), MOSA_KV("deaths_in_a_row", supervisor->failures),
                  MOSA_KV("restart_in_ms", wait));
    supervisor->handler.on_exited(supervisor->user, result, wait);
    if (supervisor->failures == supervisor->options.crash_limit)
        supervisor->handler.on_crash_loop(supervisor->user, result);
}

static void handle_exit(void *user, const mosa_process_exit *result) {
    mosa_supervisor *supervisor = user;
    mosa_loop_timer_cancel(supervisor->loop, &supervisor->stable_timer);
    mosa_loop_timer_cancel(supervisor->loop, &supervisor->start_timer);
    mosa_process *process = supervisor->process;
    supervisor->process = NULL;
    mosa_process_exit copy = *result;
    mosa_process_destroy(process);
    if (supervisor->state != STOPPING) {
        schedule_restart(supervisor, &copy);
        return;
    }
    supervisor->state = STOPPED;
    mosa_log_info("engine stopped", MOSA_KV("engine", supervisor->options.name),
                  MOSA_KV("reason", (const char *)copy.text));
    supervisor->handler.on_exited(supervisor->user, &copy, -1);
}

static void start_took_too_long(void *user) {
    mosa_supervisor *supervisor = user;
    mosa_log_error("engine does not become ready", MOSA_KV("engine", supervisor->options.name),
                   MOSA_KV("limit_ms", supervisor->options.start_timeout_ms));
    mosa_supervisor_replace(supervisor);
}

static void start_process(void *user) {
    mosa_supervisor *supervisor = user;
    static const mosa_process_handler handler = {.on_line = on_line, .on_exit = handle_exit};
    mosa_error err;
    int socket_fd;
    supervisor->state = STARTING;
    if (mosa_process_start(supervisor->loop, supervisor->options.argv, &handler, supervisor, &supervisor->process,
                           &socket_fd, &err) != MOSA_OK) {
        mosa_log_failure(MOSA_LOG_ERROR, "engine cannot be started", &err, MOSA_KV("engine", supervisor->options.name));
        mosa_process_exit result = {.code = -1};
        memcpy(result.text, "cannot be started", sizeof "cannot be started");
        memcpy(result.last_line, err.message, sizeof err.message);
        schedule_restart(supervisor, &result);
        return;
    }
    mosa_log_info("engine started", MOSA_KV("engine", supervisor->options.name),
                  MOSA_KV("pid", (int)mosa_process_pid(supervisor->process)));
    if (supervisor->options.start_timeout_ms)
        mosa_loop_timer(supervisor->loop, &supervisor->start_timer, supervisor->options.start_timeout_ms,
                        start_took_too_long, supervisor);
    supervisor->handler.on_started(supervisor->user, socket_fd);
}

void mosa_supervisor_start(mosa_supervisor *supervisor) {
    if (supervisor->state == STOPPED) start_process(supervisor);
}

static void forget_failures(void *user) {
    ((mosa_supervisor *)user)->failures = 0;
}

void mosa_supervisor_ready(mosa_supervisor *supervisor) {
    if (supervisor->state != STARTING) return;
    supervisor->state = READY;
    mosa_loop_timer_cancel(supervisor->loop, &supervisor->start_timer);
    mosa_loop_timer(supervisor->loop, &supervisor->stable_timer, supervisor->options.stable_ms, forget_failures,
                    supervisor);
}

void mosa_supervisor_replace(mosa_supervisor *supervisor) {
    if (supervisor->process && supervisor->state != STOPPING) mosa_process_kill(supervisor->process);
}

void mosa_supervisor_stop(mosa_supervisor *supervisor, int64_t kill_after_ms) {
    mosa_loop_timer_cancel(supervisor->loop, &supervisor->restart_timer);
    supervisor->state = supervisor->process ? STOPPING : STOPPED;
    if (supervisor->process) mosa_process_terminate(supervisor->process, kill_after_ms);
}

pid_t mosa_supervisor_pid(const mosa_supervisor *supervisor) {
    return supervisor->process ? mosa_process_pid(supervisor->process) : 0;
}
