// The event loop: epoll, an eventfd for wake-ups, a sorted list of timers.
#include "base/loop.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 256 };

struct mosa_loop {
    int epoll_fd, wake_fd;
    atomic_bool stopping;
    void (*on_wake)(void *user);
    void *wake_user;
    mosa_watch wake_watch;
    mosa_timer *timers; // earliest first
    int64_t now_ms;
    struct epoll_event batch[BATCH];
    int batch_len, batch_at; // events of this round; a removed watch is wiped from the rest
};

static int64_t monotonic_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void handle_wake(void *user, uint32_t events) {
    (void)events;
    mosa_loop *loop = user;
    uint64_t count;
    ssize_t n = read(loop->wake_fd, &count, sizeof count);
    (void)n; // a spurious wake-up is harmless
    if (loop->on_wake) loop->on_wake(loop->wake_user);
}

mosa_status mosa_loop_create(void (*on_wake)(void *user), void *user, mosa_loop **out, mosa_error *err) {
    mosa_loop *loop = calloc(1, sizeof *loop);
    if (!loop) return mosa_fail(err, MOSA_ENOMEM, "event loop: out of memory");
    loop->on_wake = on_wake;
    loop->wake_user = user;
    loop->wake_watch = MOSA_WATCH_INIT;
    loop->now_ms = monotonic_ms();
    loop->wake_fd = -1;
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll_fd >= 0) loop->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    mosa_status status = MOSA_OK;
    if (loop->wake_fd < 0)
        status = mosa_fail_errno(err, errno, "event loop: epoll or eventfd");
    else
        status = mosa_loop_watch(loop, &loop->wake_watch, loop->wake_fd, EPOLLIN, handle_wake, loop, err);
    if (status != MOSA_OK) {
        mosa_loop_destroy(loop);
        return status;
    }
    *out = loop;
    return MOSA_OK;
}

void mosa_loop_destroy(mosa_loop *loop) {
    if (!loop) return;
    if (loop->wake_fd >= 0) close(loop->wake_fd);
    if (loop->epoll_fd >= 0) close(loop->epoll_fd);
    free(loop);
}

void mosa_loop_wake(mosa_loop *loop) {
    uint64_t one = 1;
    ssize_t n = write(loop->wake_fd, &one, sizeof one);
    (void)n; // EAGAIN: the counter is full, so a wake-up is pending anyway
}

void mosa_loop_stop(mosa_loop *loop) {
    atomic_store(&loop->stopping, true);
    mosa_loop_wake(loop);
}

int64_t mosa_loop_now_ms(const mosa_loop *loop) {
    return loop->now_ms;
}

static int next_timeout(const mosa_loop *loop) {
    if (!loop->timers) return -1;
    int64_t wait = loop->timers->deadline_ms - monotonic_ms();
    return wait < 0 ? 0 : wait > 60000 ? 60000 : (int)wait;
}

static void run_timers(mosa_loop *loop) {
    while (loop->timers && loop->timers->deadline_ms <= loop->now_ms) {
        mosa_timer *timer = loop->timers;
        loop->timers = timer->next;
        timer->armed = false;
        timer->fn(timer->user);
    }
}

mosa_status mosa_loop_run(mosa_loop *loop, mosa_error *err) {
    while (!atomic_load(&loop->stopping)) {
        int n = epoll_wait(loop->epoll_fd, loop->batch, BATCH, next_timeout(loop));
        if (n < 0 && errno != EINTR) return mosa_fail_errno(err, errno, "event loop: epoll_wait");
        loop->now_ms = monotonic_ms();
        loop->batch_len = n > 0 ? n : 0;
        for (loop->batch_at = 0; loop->batch_at < loop->batch_len; loop->batch_at++) {
            mosa_watch *watch = loop->batch[loop->batch_at].data.ptr;
            if (watch) watch->fn(watch->user, loop->batch[loop->batch_at].events);
        }
        loop->batch_len = 0;
        run_timers(loop);
    }
    return MOSA_OK;
}

mosa_status mosa_loop_watch(mosa_loop *loop, mosa_watch *watch, int fd, uint32_t events, mosa_watch_fn fn, void *user,
                            mosa_error *err) {
    *watch = (mosa_watch){fd, events, fn, user};
    struct epoll_event event = {.events = events, .data.ptr = watch};
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0) return MOSA_OK;
    watch->fd = -1;
    return mosa_fail_errno(err, errno, "event loop: watching descriptor %d", fd);
}

void mosa_loop_watch_change(mosa_loop *loop, mosa_watch *watch, uint32_t events) {
    if (watch->fd < 0 || watch->events == events) return;
    watch->events = events;
    struct epoll_event event = {.events = events, .data.ptr = watch};
    // Cannot fail for a descriptor that is in the set (kernel memory was taken when it was added).
    (void)epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, watch->fd, &event);
}

void mosa_loop_unwatch(mosa_loop *loop, mosa_watch *watch) {
    if (watch->fd < 0) return;
    (void)epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
    watch->fd = -1;
    for (int i = loop->batch_at + 1; i < loop->batch_len; i++)
        if (loop->batch[i].data.ptr == watch) loop->batch[i].data.ptr = NULL;
}

void mosa_loop_timer(mosa_loop *loop, mosa_timer *timer, int64_t delay_ms, mosa_timer_fn fn, void *user) {
    mosa_loop_timer_cancel(loop, timer);
    timer->fn = fn;
    timer->user = user;
    timer->deadline_ms = monotonic_ms() + (delay_ms < 0 ? 0 : delay_ms);
    timer->armed = true;
    mosa_timer **at = &loop->timers;
    while (*at && (*at)->deadline_ms <= timer->deadline_ms) at = &(*at)->next;
    timer->next = *at;
    *at = timer;
}

void mosa_loop_timer_cancel(mosa_loop *loop, mosa_timer *timer) {
    if (!timer->armed) return;
    mosa_timer **at = &loop->timers;
    while (*at && *at != timer) at = &(*at)->next;
    if (*at) *at = timer->next;
    timer->armed = false;
}
