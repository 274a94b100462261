// Threads with names, waiting with a deadline, and the number of CPUs that this process may use.
//
// Mutexes are plain pthread_mutex_t. Signals: a started thread blocks all of them but those that a fault raises, so
// that the main thread alone handles SIGTERM and its like.
#ifndef MOSA_BASE_THREAD_H
#define MOSA_BASE_THREAD_H

#include "base/clock.h"
#include "base/status.h"

#include <pthread.h>
#include <stdbool.h>

typedef void (*mosa_thread_fn)(void *arg);

typedef struct mosa_thread {
    pthread_t handle;
    bool started;
} mosa_thread;

// Starts fn(arg) in a new thread. `name` shows in debuggers and `top` (15 bytes are kept). *thread is the caller's
// storage and must be zeroed or joined before. MOSA_ENOMEM or MOSA_EIO when the system refuses.
MOSA_MUST_USE mosa_status mosa_thread_start(mosa_thread *thread, const char *name, mosa_thread_fn fn, void *arg,
                                            mosa_error *err);
void mosa_thread_join(mosa_thread *thread); // nothing on a zeroed or joined one

// A condition variable that waits on the monotonic clock.
void mosa_cond_init(pthread_cond_t *cond);
// As pthread_cond_wait, until `deadline`. False when it passed. Spurious returns happen: test your condition in a loop.
bool mosa_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex, mosa_deadline deadline);

int mosa_cpu_count(void); // CPUs that affinity and the cgroup quota leave to this process; at least 1

#endif
