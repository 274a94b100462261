// Fork-join over pinned-size teams with a spin-then-sleep barrier.
//
// Both the start of a run and a barrier are a generation counter that waiters watch. The counter is a futex word: the
// thread that moves it on wakes sleepers only if there are any. Arrivals count on a cache line of their own, so that
// spinning readers do not slow the writers down. Ordering: arrivals are acq_rel on `arrived`, the generation moves with
// release and is read with acquire, hence everything before a barrier happens before everything after it.
#include "base/pool.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { CACHE_LINE = 64, SPINS = 4000 }; // about 20 to 40 microseconds of pause instructions

typedef struct gate {
    alignas(CACHE_LINE) _Atomic uint32_t generation; // futex word
    _Atomic uint32_t sleepers;
    alignas(CACHE_LINE) _Atomic uint32_t arrived;
} gate;

typedef struct worker {
    mosa_pool *pool;
    pthread_t thread;
    int index;
} worker;

struct mosa_pool {
    gate start;   // moved by the caller: a run begins (or the pool ends)
    gate barrier; // moved by the last arrival
    mosa_pool_fn fn;
    void *arg;
    bool quit;
    int n_threads;
    int n_started; // workers whose thread exists
    worker *workers; // (n_threads - 1)
};

int mosa_cpu_count(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    int count = CPU_COUNT(&set);
    return count < 1 ? 1 : count > MOSA_POOL_THREADS_MAX ? MOSA_POOL_THREADS_MAX : count;
}

static inline void pause_cpu(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#else
    atomic_thread_fence(memory_order_acquire);
#endif
}

static void futex_wait(_Atomic uint32_t *word, uint32_t value) {
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void futex_wake_all(_Atomic uint32_t *word) {
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

static void gate_await(gate *g, uint32_t seen) {
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(&g->generation, memory_order_acquire) != seen) return;
        pause_cpu();
    }
    atomic_fetch_add(&g->sleepers, 1);
    while (atomic_load(&g->generation) == seen) futex_wait(&g->generation, seen);
    atomic_fetch_sub(&g->sleepers, 1);
}

// Sequentially consistent on purpose: the store to generation and the load of sleepers must not be reordered, or a
// waiter that has just gone to sleep is missed.
static void gate_open(gate *g) {
    atomic_fetch_add(&g->generation, 1);
    if (atomic_load(&g->sleepers) != 0) futex_wake_all(&g->generation);
}

void mosa_pool_barrier(mosa_pool *pool) {
    if (pool->n_threads == 1) return;
    gate *g = &pool->barrier;
    uint32_t seen = atomic_load_explicit(&g->generation, memory_order_relaxed);
    uint32_t arrived = atomic_fetch_add_explicit(&g->arrived, 1, memory_order_acq_rel) + 1;
    if (arrived == (uint32_t)pool->n_threads) {
        atomic_store_explicit(&g->arrived, 0, memory_order_relaxed);
        gate_open(g);
    } else {
        gate_await(g, seen);
    }
}

static void *worker_main(void *arg) {
    worker *self = arg;
    mosa_pool *pool = self->pool;
    for (uint32_t seen = 0;; seen++) {
        gate_await(&pool->start, seen);
        if (pool->quit) return NULL;
        pool->fn(pool->arg, self->index, pool->n_threads);
        mosa_pool_barrier(pool);
    }
}

mosa_status mosa_pool_create(int threads, mosa_pool **out, mosa_error *err) {
    if (threads == 0) threads = mosa_cpu_count();
    if (threads < 1 || threads > MOSA_POOL_THREADS_MAX)
        return mosa_fail(err, MOSA_EINVALID, "threads is %d, must be 1 to %d", threads, MOSA_POOL_THREADS_MAX);
    mosa_pool *pool = aligned_alloc(CACHE_LINE, sizeof *pool);
    if (!pool) return mosa_fail(err, MOSA_ENOMEM, "out of memory for a pool of %d threads", threads);
    memset(pool, 0, sizeof *pool);
    pool->n_threads = threads;
    pool->workers = calloc((size_t)threads, sizeof *pool->workers);
    if (!pool->workers) {
        free(pool);
        return mosa_fail(err, MOSA_ENOMEM, "out of memory for a pool of %d threads", threads);
    }
    for (int i = 1; i < threads; i++) {
        worker *w = &pool->workers[i - 1];
        *w = (worker){.pool = pool, .index = i};
        int failure = pthread_create(&w->thread, NULL, worker_main, w);
        if (failure) {
            mosa_pool_destroy(pool);
            return mosa_fail_errno(err, failure, "cannot start thread %d of %d", i + 1, threads);
        }
        char name[16];
        snprintf(name, sizeof name, "mosa-kernel-%d", i);
        pthread_setname_np(w->thread, name);
        pool->n_started++;
    }
    *out = pool;
    return MOSA_OK;
}

void mosa_pool_destroy(mosa_pool *pool) {
    if (!pool) return;
    pool->quit = true;
    gate_open(&pool->start);
    for (int i = 0; i < pool->n_started; i++) pthread_join(pool->workers[i].thread, NULL);
    free(pool->workers);
    free(pool);
}

int mosa_pool_threads(const mosa_pool *pool) { return pool->n_threads; }

void mosa_pool_run(mosa_pool *pool, mosa_pool_fn fn, void *arg) {
    if (pool->n_threads > 1) {
        pool->fn = fn;
        pool->arg = arg;
        gate_open(&pool->start);
    }
    fn(arg, 0, pool->n_threads);
    mosa_pool_barrier(pool);
}
