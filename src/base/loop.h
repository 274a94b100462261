// An event loop for one thread: file descriptors, timers and a wake-up from other threads.
//
// Watches and timers are the caller's storage (usually a field of the object that they serve); the loop allocates
// nothing after creation. All functions are for the loop's own thread except mosa_loop_wake and mosa_loop_stop, which
// any thread may call. A callback may add and remove any watch or timer, its own included, and free what it removed.
#ifndef MOSA_BASE_LOOP_H
#define MOSA_BASE_LOOP_H

#include "base/status.h"

#include <stdint.h>
#include <sys/epoll.h>

typedef struct mosa_loop mosa_loop;

// events: EPOLLIN, EPOLLOUT, EPOLLRDHUP, ... as epoll reports them (level-triggered unless EPOLLET is asked for).
typedef void (*mosa_watch_fn)(void *user, uint32_t events);
typedef struct mosa_watch {
    int fd;          // -1 when not watched
    uint32_t events; // asked for
    mosa_watch_fn fn;
    void *user;
} mosa_watch;
#define MOSA_WATCH_INIT ((mosa_watch){.fd = -1})

typedef void (*mosa_timer_fn)(void *user);
typedef struct mosa_timer {
    struct mosa_timer *next;
    int64_t deadline_ms; // monotonic
    bool armed;
    mosa_timer_fn fn;
    void *user;
} mosa_timer;

// `on_wake` runs in the loop's thread after one or several calls of mosa_loop_wake; may be NULL.
mosa_status mosa_loop_create(void (*on_wake)(void *user), void *user, mosa_loop **out, mosa_error *err) MOSA_MUST_USE;
void mosa_loop_destroy(mosa_loop *loop); // NULL-safe; watches and timers that remain are forgotten

// Runs until mosa_loop_stop. A stop before the run ends it at once.
mosa_status mosa_loop_run(mosa_loop *loop, mosa_error *err) MOSA_MUST_USE;
void mosa_loop_stop(mosa_loop *loop); // any thread; async-signal-safe
void mosa_loop_wake(mosa_loop *loop); // any thread; async-signal-safe

int64_t mosa_loop_now_ms(const mosa_loop *loop); // monotonic time of the current round, read once per round

// Fills the watch and adds it; it must not be watched already.
mosa_status mosa_loop_watch(mosa_loop *loop, mosa_watch *watch, int fd, uint32_t events, mosa_watch_fn fn, void *user,
                            mosa_error *err) MOSA_MUST_USE;
void mosa_loop_watch_change(mosa_loop *loop, mosa_watch *watch, uint32_t events); // no system call when unchanged
void mosa_loop_unwatch(mosa_loop *loop, mosa_watch *watch);                       // before the fd is closed; idempotent

// Calls timer->fn once, delay_ms from now; arming an armed timer moves it. Timers are few: arming is linear in them.
void mosa_loop_timer(mosa_loop *loop, mosa_timer *timer, int64_t delay_ms, mosa_timer_fn fn, void *user);
void mosa_loop_timer_cancel(mosa_loop *loop, mosa_timer *timer); // idempotent

#endif
