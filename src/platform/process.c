// A child process on an event loop: posix_spawn, a pidfd for its end, a pipe for its lines.
#include "platform/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

struct mosa_process {
    mosa_loop *loop;
    mosa_process_handler handler;
    void *user;
    pid_t pid; // 0 once reaped
    int pid_fd, stderr_fd;
    mosa_watch pid_watch, stderr_watch;
    mosa_timer kill_timer;
    bool stopped_by_us;
    char line[MOSA_PROCESS_LINE_MAX]; // being read
    size_t line_len;
    char last_line[MOSA_PROCESS_LINE_MAX];
};

static void close_fd(int *fd) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

// An indented line goes on with the one before it: an error's message, and what to do about it.
static void keep_last_line(mosa_process *process) {
    size_t indent = strspn(process->line, " "), len = strlen(process->last_line);
    if (indent == 0 || len == 0) len = indent = 0;
    snprintf(process->last_line + len, sizeof process->last_line - len, "%s%s", len ? "; " : "",
             process->line + indent);
}

static void end_line(mosa_process *process) {
    process->line[process->line_len] = '\0';
    process->line_len = 0;
    if (!process->line[0]) return;
    keep_last_line(process);
    process->handler.on_line(process->user, process->line);
}

// A line that is longer than the buffer is handed out in pieces.
static void take_output(mosa_process *process, const char *data, size_t len) {
    for (size_t i = 0; i < len; i++) {
        if (data[i] == '\n') {
            end_line(process);
            continue;
        }
        process->line[process->line_len++] = data[i] == '\0' ? ' ' : data[i];
        if (process->line_len == sizeof process->line - 1) end_line(process);
    }
}

static void handle_stderr(void *user, uint32_t events) {
    (void)events;
    mosa_process *process = user;
    char data[4096];
    ssize_t n = read(process->stderr_fd, data, sizeof data);
    if (n > 0) {
        take_output(process, data, (size_t)n);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        mosa_loop_unwatch(process->loop, &process->stderr_watch);
        close_fd(&process->stderr_fd);
    }
}

static void describe(mosa_process_exit *out, int wait_status) {
    if (WIFSIGNALED(wait_status)) {
        out->code = -1;
        out->signal = WTERMSIG(wait_status);
        const char *name = sigabbrev_np(out->signal);
        // The kernel's OOM killer leaves no other trace that an unprivileged parent could read.
        const char *guess = out->signal == SIGKILL && !out->stopped_by_us ? " (out of memory?)" : "";
        snprintf(out->text, sizeof out->text, "killed by SIG%s%s", name ? name : "?", guess);
    } else {
        out->code = WEXITSTATUS(wait_status);
        snprintf(out->text, sizeof out->text, "exit code %d", out->code);
    }
}

static void handle_exit(void *user, uint32_t events) {
    (void)events;
    mosa_process *process = user;
    int wait_status;
    if (waitpid(process->pid, &wait_status, WNOHANG) != process->pid) return;
    process->pid = 0;
    mosa_loop_unwatch(process->loop, &process->pid_watch);
    mosa_loop_timer_cancel(process->loop, &process->kill_timer);
    while (process->stderr_fd >= 0 && process->stderr_watch.fd >= 0) { // its last words are in the pipe already
        char data[4096];
        ssize_t n = read(process->stderr_fd, data, sizeof data);
        if (n <= 0) break;
        take_output(process, data, (size_t)n);
    }
    if (process->line_len) end_line(process);
    mosa_process_exit result = {.stopped_by_us = process->stopped_by_us};
    memcpy(result.last_line, process->last_line, sizeof result.last_line);
    describe(&result, wait_status);
    process->handler.on_exit(process->user, &result);
}

static int spawn(const char *const *argv, int socket_fd, int stderr_fd, pid_t *pid) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    int fault = posix_spawn_file_actions_init(&actions);
    if (fault) return fault;
    fault = posix_spawnattr_init(&attributes);
    if (fault) {
        posix_spawn_file_actions_destroy(&actions);
        return fault;
    }
    short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP;
    fault = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (!fault) fault = posix_spawn_file_actions_adddup2(&actions, stderr_fd, STDERR_FILENO);
    if (!fault) fault = posix_spawn_file_actions_adddup2(&actions, socket_fd, MOSA_PROCESS_SOCKET_FD);
    if (!fault) fault = posix_spawnattr_setflags(&attributes, flags);
    if (!fault) fault = posix_spawnattr_setsigmask(&attributes, &none);
    if (!fault) fault = posix_spawnattr_setsigdefault(&attributes, &all);
    if (!fault) fault = posix_spawnattr_setpgroup(&attributes, 0);
    if (!fault) fault = posix_spawn(pid, argv[0], &actions, &attributes, (char *const *)argv, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return fault;
}

static mosa_status watch_child(mosa_process *process, mosa_error *err) {
    process->pid_fd = pidfd_open(process->pid, 0);
    if (process->pid_fd < 0) return mosa_fail_errno(err, errno, "watching process %d", (int)process->pid);
    (void)fcntl(process->stderr_fd, F_SETFL, O_NONBLOCK);
    MOSA_TRY(mosa_loop_watch(process->loop, &process->stderr_watch, process->stderr_fd, EPOLLIN, handle_stderr, process,
                             err));
    return mosa_loop_watch(process->loop, &process->pid_watch, process->pid_fd, EPOLLIN, handle_exit, process, err);
}

mosa_status mosa_process_start(mosa_loop *loop, const char *const *argv, const mosa_process_handler *handler,
                               void *user, mosa_process **out, int *socket_fd, mosa_error *err) {
    int sockets[2] = {-1, -1}, pipes[2] = {-1, -1};
    mosa_status status = MOSA_OK;
    mosa_process *process = calloc(1, sizeof *process);
    if (!process) return mosa_fail(err, MOSA_ENOMEM, "starting %s: out of memory", argv[0]);
    *process = (mosa_process){.loop = loop,
                              .handler = *handler,
                              .user = user,
                              .pid_fd = -1,
                              .stderr_fd = -1,
                              .pid_watch = MOSA_WATCH_INIT,
                              .stderr_watch = MOSA_WATCH_INIT};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0 || pipe2(pipes, O_CLOEXEC) != 0) {
        status = mosa_fail_errno(err, errno, "starting %s: socket pair or pipe", argv[0]);
    } else {
        int fault = spawn(argv, sockets[1], pipes[1], &process->pid);
        if (fault) status = mosa_fail_errno(err, fault, "starting %s", argv[0]);
    }
    close_fd(&sockets[1]);
    close_fd(&pipes[1]);
    process->stderr_fd = pipes[0];
    if (status == MOSA_OK) status = watch_child(process, err);
    if (status != MOSA_OK) {
        close_fd(&sockets[0]);
        mosa_process_destroy(process);
        return status;
    }
    *socket_fd = sockets[0];
    *out = process;
    return MOSA_OK;
}

void mosa_process_destroy(mosa_process *process) {
    if (!process) return;
    if (process->pid > 0) {
        kill(process->pid, SIGKILL);
        while (waitpid(process->pid, NULL, 0) < 0 && errno == EINTR) {
        }
    }
    mosa_loop_timer_cancel(process->loop, &process->kill_timer);
    mosa_loop_unwatch(process->loop, &process->pid_watch);
    mosa_loop_unwatch(process->loop, &process->stderr_watch);
    close_fd(&process->pid_fd);
    close_fd(&process->stderr_fd);
    free(process);
}

pid_t mosa_process_pid(const mosa_process *process) {
    return process->pid;
}

static void kill_now(void *user) {
    mosa_process_kill(user);
}

void mosa_process_terminate(mosa_process *process, int64_t kill_after_ms) {
    process->stopped_by_us = true;
    if (process->pid > 0) kill(process->pid, SIGTERM);
    mosa_loop_timer(process->loop, &process->kill_timer, kill_after_ms, kill_now, process);
}

void mosa_process_kill(mosa_process *process) {
    process->stopped_by_us = true;
    if (process->pid > 0) kill(process->pid, SIGKILL);
}
