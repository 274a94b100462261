// Keeps one engine process running: starts it, watches it, starts it again when it dies.
//
//   STOPPED -> STARTING        mosa_supervisor_start
//   STARTING -> READY          mosa_supervisor_ready (the owner heard its HELLO)
//   STARTING, READY -> WAITING it died; the next start comes after the backoff
//   WAITING -> STARTING        the backoff is over
//   any -> STOPPING -> STOPPED mosa_supervisor_stop
//
// Backoff: a process that had been ready starts again at once; each further death without readiness doubles the wait
// from backoff_min_ms to backoff_max_ms. After crash_limit deaths in a row without readiness the owner is told once
// (on_crash_loop), and the waits stay at the maximum. Readiness that lasts for stable_ms forgets the past.
// All functions and callbacks are for the loop's thread.
#ifndef MOSA_PLATFORM_SUPERVISOR_H
#define MOSA_PLATFORM_SUPERVISOR_H

#include "platform/process.h"

typedef struct mosa_supervisor mosa_supervisor;

typedef struct mosa_supervisor_options {
    const char *const *argv;  // NULL-terminated; borrowed until destroy
    const char *name;         // for the log; borrowed
    int64_t backoff_min_ms;   // 0 = 250
    int64_t backoff_max_ms;   // 0 = 30000
    int64_t stable_ms;        // 0 = 10000
    int64_t start_timeout_ms; // to become ready, or it is killed and started again; 0 = no limit
    int crash_limit;          // 0 = 5
} mosa_supervisor_options;

typedef struct mosa_supervisor_handler {
    void (*on_started)(void *user, int socket_fd); // the socket is the owner's now
    void (*on_exited)(void *user, const mosa_process_exit *result, int64_t restart_in_ms); // -1: it will not restart
    void (*on_crash_loop)(void *user, const mosa_process_exit *result);
} mosa_supervisor_handler;

mosa_status mosa_supervisor_create(mosa_loop *loop, const mosa_supervisor_options *options,
                                   const mosa_supervisor_handler *handler, void *user, mosa_supervisor **out,
                                   mosa_error *err) MOSA_MUST_USE;
void mosa_supervisor_destroy(mosa_supervisor *supervisor); // kills the process; NULL-safe

void mosa_supervisor_start(mosa_supervisor *supervisor);
void mosa_supervisor_ready(mosa_supervisor *supervisor);
// The owner found the process unusable (its socket broke): it is killed and started again.
void mosa_supervisor_replace(mosa_supervisor *supervisor);
void mosa_supervisor_stop(mosa_supervisor *supervisor, int64_t kill_after_ms); // on_exited follows if one was running
pid_t mosa_supervisor_pid(const mosa_supervisor *supervisor);                  // 0 when none runs

#endif
