// The thread pool of kernels: a fixed set of threads that run one function together and meet at barriers.
//
// The caller is thread 0. Between runs and at barriers, threads spin for a short while, because the next piece of work
// usually comes within microseconds, and then sleep on a futex. With one thread nothing of this costs anything.
// Thread: one caller at a time. mosa_pool_barrier is called by every thread of a run, or by none.
#ifndef MOSA_BASE_POOL_H
#define MOSA_BASE_POOL_H

#include "base/status.h"

typedef struct mosa_pool mosa_pool;
typedef void (*mosa_pool_fn)(void *arg, int thread, int n_threads);

enum { MOSA_POOL_THREADS_MAX = 256 };

int mosa_cpu_count(void); // CPUs that this process may run on (its affinity mask), at least 1

// threads 0 = mosa_cpu_count(). Destroyed by mosa_pool_destroy, from the thread that runs it.
mosa_status mosa_pool_create(int threads, mosa_pool **out, mosa_error *err);
void mosa_pool_destroy(mosa_pool *pool); // NULL-safe

int mosa_pool_threads(const mosa_pool *pool);

// Runs fn(arg, thread, n_threads) on every thread and returns when all are done. What the caller wrote before is
// visible to all; what they wrote is visible to the caller afterwards.
void mosa_pool_run(mosa_pool *pool, mosa_pool_fn fn, void *arg);

// Inside a run: returns when every thread has arrived. What was written before it is visible after it, to all.
void mosa_pool_barrier(mosa_pool *pool);

#endif
