// Thread pool for kernels: a fixed number of threads that run one function together.
//
// The caller is thread 0; the pool owns n_threads - 1 workers. Between jobs and at barriers threads spin for a short
// time and then sleep in the kernel, so that a decode step of many short stages pays no system calls and an idle engine
// costs nothing. A pool of one thread is a plain function call.
// Thread: mosa_pool_run and mosa_pool_destroy belong to one thread at a time.
#ifndef MOSA_BASE_POOL_H
#define MOSA_BASE_POOL_H

#include "base/status.h"

typedef struct mosa_pool mosa_pool;
typedef void (*mosa_pool_fn)(void *arg, int thread, int n_threads);

enum { MOSA_POOL_THREADS_MAX = 1024 };

// n_threads 0 = mosa_cpu_count(). The caller owns *out. MOSA_EINVALID out of range, MOSA_ENOMEM, MOSA_EIO.
MOSA_MUST_USE mosa_status mosa_pool_create(int n_threads, mosa_pool **out, mosa_error *err);
void mosa_pool_destroy(mosa_pool *pool); // NULL-safe; ends and joins the workers
int mosa_pool_threads(const mosa_pool *pool);

// Runs fn(arg, thread, n_threads) once on each thread and returns when all have returned. What the caller wrote before
// is visible to all, and what they wrote is visible to the caller afterwards. Not from inside fn.
void mosa_pool_run(mosa_pool *pool, mosa_pool_fn fn, void *arg);

// Inside fn: waits until all threads of the pool have called it the same number of times. Writes before it are visible
// to all threads after it.
void mosa_pool_barrier(mosa_pool *pool);

#endif
