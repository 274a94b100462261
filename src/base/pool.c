// Fork and join over a fixed team of threads, with a barrier that spins and then sleeps.
//
// Two gates make all of it: `start` opens when a job begins (or the pool ends), `barrier` when the last thread has
// arrived. A gate is an epoch that only grows; waiting is for the epoch to differ from the one seen before, so nobody
// can miss an opening or run ahead by one: an epoch moves on only after everybody who waits for it has come.
//
// Invariants. (1) `arrived` is 0 whenever the barrier's epoch moves. (2) fn, arg and quit change only while all workers
// wait at `start`. (3) The epoch's store and the load of `sleepers` are sequentially consistent with the sleeper's
// increment and its futex call: either the opener sees the sleeper, or the kernel sees the new epoch.
#include "base/pool.h"

#include "base/clock.h"
#include "base/thread.h"

#include <limits.h>
#include <linux/futex.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

// How long a thread spins before it sleeps. At a barrier the others are at work, and their next piece is short: going
// to sleep would cost more than it (a wake-up takes 50 microseconds on a virtual machine). Between jobs the caller has
// things of its own to do.
enum { CACHE_LINE = 64, SPIN_BARRIER_NS = 300 * 1000, SPIN_START_NS = 200 * 1000, SPINS_PER_LOOK = 64 };

typedef struct gate {
    alignas(CACHE_LINE) _Atomic uint32_t epoch; // futex word
    _Atomic uint32_t sleepers;
} gate;

typedef struct worker {
    mosa_pool *pool;
    mosa_thread thread;
    int index; // 1 .. n_threads-1
} worker;

struct mosa_pool {
    gate start;
    gate barrier;
    alignas(CACHE_LINE) _Atomic uint32_t arrived; // apart from the epoch that the early ones spin on
    alignas(CACHE_LINE) mosa_pool_fn fn;
    void *arg;
    bool quit;
    int n_threads;
    bool spin;       // there is a CPU for each thread
    worker *workers; // (n_threads - 1)
};

static inline void pause_cpu(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

// True when the epoch moved on within spin_ns.
static bool gate_spin(gate *g, uint32_t seen, uint64_t spin_ns) {
    uint64_t end_ns = 0;
    for (unsigned i = 1;; i++) {
        if (atomic_load_explicit(&g->epoch, memory_order_acquire) != seen) return true;
        pause_cpu();
        if (i % SPINS_PER_LOOK) continue;
        uint64_t now_ns = mosa_clock_ns();
        if (end_ns == 0) end_ns = now_ns + spin_ns;
        if (now_ns >= end_ns) return false;
    }
}

// spin_ns 0: sleeps at once.
static void gate_wait(gate *g, uint32_t seen, uint64_t spin_ns) {
    if (spin_ns && gate_spin(g, seen, spin_ns)) return;
    atomic_fetch_add(&g->sleepers, 1);
    while (atomic_load(&g->epoch) == seen) syscall(SYS_futex, &g->epoch, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
    atomic_fetch_sub(&g->sleepers, 1);
}

static void gate_open(gate *g) {
    atomic_fetch_add(&g->epoch, 1);
    if (atomic_load(&g->sleepers)) syscall(SYS_futex, &g->epoch, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

void mosa_pool_barrier(mosa_pool *pool) {
    if (pool->n_threads == 1) return;
    gate *g = &pool->barrier;
    uint32_t seen = atomic_load_explicit(&g->epoch, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&pool->arrived, 1, memory_order_acq_rel) + 1 == (uint32_t)pool->n_threads) {
        atomic_store_explicit(&pool->arrived, 0, memory_order_relaxed);
        gate_open(g);
    } else {
        gate_wait(g, seen, pool->spin ? SPIN_BARRIER_NS : 0);
    }
}

static void worker_main(void *arg) {
    worker *self = arg;
    mosa_pool *pool = self->pool;
    for (uint32_t seen = 0;; seen++) {
        gate_wait(&pool->start, seen, pool->spin ? SPIN_START_NS : 0);
        if (pool->quit) return;
        pool->fn(pool->arg, self->index, pool->n_threads);
        mosa_pool_barrier(pool);
    }
}

static mosa_status start_workers(mosa_pool *pool, mosa_error *err) {
    for (int i = 1; i < pool->n_threads; i++) {
        worker *w = &pool->workers[i - 1];
        w->pool = pool;
        w->index = i;
        char name[16];
        snprintf(name, sizeof name, "kernel-%d", i);
        MOSA_TRY(mosa_thread_start(&w->thread, name, worker_main, w, err));
    }
    return MOSA_OK;
}

mosa_status mosa_pool_create(int n_threads, mosa_pool **out, mosa_error *err) {
    int n_cpus = mosa_cpu_count();
    if (n_threads == 0) n_threads = n_cpus < MOSA_POOL_THREADS_MAX ? n_cpus : MOSA_POOL_THREADS_MAX;
    if (n_threads < 1 || n_threads > MOSA_POOL_THREADS_MAX)
        return mosa_fail(err, MOSA_EINVALID, "threads is %d, must be 1 to %d", n_threads, MOSA_POOL_THREADS_MAX);
    mosa_pool *pool = aligned_alloc(CACHE_LINE, sizeof *pool);
    worker *workers = calloc((size_t)n_threads, sizeof *workers);
    if (!pool || !workers) {
        free(workers);
        free(pool);
        return mosa_fail(err, MOSA_ENOMEM, "out of memory for a pool of %d threads", n_threads);
    }
    memset(pool, 0, sizeof *pool);
    pool->n_threads = n_threads;
    pool->spin = n_threads <= n_cpus;
    pool->workers = workers;
    mosa_status status = start_workers(pool, err);
    if (status != MOSA_OK) {
        mosa_pool_destroy(pool);
        return status;
    }
    *out = pool;
    return MOSA_OK;
}

void mosa_pool_destroy(mosa_pool *pool) {
    if (!pool) return;
    pool->quit = true;
    gate_open(&pool->start);
    for (int i = 0; i < pool->n_threads - 1; i++) mosa_thread_join(&pool->workers[i].thread);
    free(pool->workers);
    free(pool);
}

int mosa_pool_threads(const mosa_pool *pool) {
    return pool->n_threads;
}

void mosa_pool_run(mosa_pool *pool, mosa_pool_fn fn, void *arg) {
    if (pool->n_threads > 1) {
        pool->fn = fn;
        pool->arg = arg;
        gate_open(&pool->start);
    }
    fn(arg, 0, pool->n_threads);
    mosa_pool_barrier(pool);
}
