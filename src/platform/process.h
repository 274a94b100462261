// A child process on an event loop: started with a socket and a pipe for its messages, watched until it ends.
//
// The child gets its own process group (so that Ctrl-C in a terminal reaches only us), an empty signal mask, standard
// input from /dev/null, one end of a socket pair as descriptor 3, and its standard error as a pipe whose lines are
// handed out. All functions and callbacks are for the loop's thread.
#ifndef MOSA_PLATFORM_PROCESS_H
#define MOSA_PLATFORM_PROCESS_H

#include "base/loop.h"

#include <sys/types.h>

enum { MOSA_PROCESS_SOCKET_FD = 3, MOSA_PROCESS_LINE_MAX = 1024 };

typedef struct mosa_process mosa_process;

typedef struct mosa_process_exit {
    int code;                              // exit code, or -1 when a signal ended it
    int signal;                            // or 0
    bool stopped_by_us;                    // after mosa_process_terminate or _kill
    char text[96];                         // "exit code 1", "killed by SIGKILL (out of memory?)"
    char last_line[MOSA_PROCESS_LINE_MAX]; // of its standard error, or ""
} mosa_process_exit;

typedef struct mosa_process_handler {
    void (*on_line)(void *user, const char *line);                // one line of its standard error, without newline
    void (*on_exit)(void *user, const mosa_process_exit *result); // once; the process may be destroyed inside
} mosa_process_handler;

// argv is NULL-terminated, argv[0] the file to execute. *socket_fd is our end of the pair, the caller's.
mosa_status mosa_process_start(mosa_loop *loop, const char *const *argv, const mosa_process_handler *handler,
                               void *user, mosa_process **out, int *socket_fd, mosa_error *err) MOSA_MUST_USE;
// A child that still runs is killed and reaped. NULL-safe; no callback follows.
void mosa_process_destroy(mosa_process *process);

pid_t mosa_process_pid(const mosa_process *process);
void mosa_process_terminate(mosa_process *process, int64_t kill_after_ms); // SIGTERM, then SIGKILL
void mosa_process_kill(mosa_process *process);                             // SIGKILL

#endif
