// Threads, the kernel pool and the queue. Also run under ThreadSanitizer.
#include "base/pool.h"
#include "base/queue.h"
#include "base/thread.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

// --- pool ---------------------------------------------------------------------------------------------------------

typedef struct shared_sum {
    mosa_pool *pool;
    int64_t partial[64]; // plain memory on purpose: only the barrier orders it
    int64_t total[64];
    int n_rounds;
} shared_sum;

// In each round every thread writes its cell, all meet, and every thread reads all cells.
static void sum_rounds(void *arg, int thread, int n_threads) {
    shared_sum *s = arg;
    for (int round = 0; round < s->n_rounds; round++) {
        s->partial[thread] = thread + round;
        mosa_pool_barrier(s->pool);
        int64_t total = 0;
        for (int i = 0; i < n_threads; i++) total += s->partial[i];
        s->total[thread] += total;
        mosa_pool_barrier(s->pool);
    }
}

static void check_pool(int n_threads, int n_jobs, int n_rounds) {
    shared_sum s = {.n_rounds = n_rounds};
    assert_int_equal(mosa_pool_create(n_threads, &s.pool, NULL), MOSA_OK);
    assert_int_equal(mosa_pool_threads(s.pool), n_threads);
    for (int job = 0; job < n_jobs; job++) mosa_pool_run(s.pool, sum_rounds, &s);
    int64_t per_job = 0;
    for (int round = 0; round < n_rounds; round++)
        per_job += (int64_t)n_threads * round + n_threads * (n_threads - 1) / 2;
    for (int i = 0; i < n_threads; i++) assert_int_equal(s.total[i], per_job * n_jobs);
    mosa_pool_destroy(s.pool);
}

static void a_pool_of_one_runs_in_the_caller(void **state) {
    (void)state;
    check_pool(1, 3, 5);
}

static void barriers_order_plain_memory_of_two_threads(void **state) {
    (void)state;
    check_pool(2, 200, 20);
}

static void more_threads_than_cpus_sleep_and_still_meet(void **state) {
    (void)state;
    check_pool(7, 30, 10);
}

static void workers_that_fell_asleep_take_the_next_job(void **state) {
    (void)state;
    shared_sum s = {.n_rounds = 1};
    assert_int_equal(mosa_pool_create(3, &s.pool, NULL), MOSA_OK);
    for (int job = 0; job < 5; job++) {
        mosa_sleep_until(mosa_deadline_in_ms(3)); // a hundred times the spinning
        mosa_pool_run(s.pool, sum_rounds, &s);
    }
    assert_int_equal(s.total[0], 5 * 3);
    mosa_pool_destroy(s.pool);
}

static void a_pool_refuses_a_senseless_number_of_threads(void **state) {
    (void)state;
    mosa_error err;
    mosa_pool *pool = NULL;
    assert_int_equal(mosa_pool_create(-1, &pool, &err), MOSA_EINVALID);
    assert_int_equal(mosa_pool_create(MOSA_POOL_THREADS_MAX + 1, &pool, &err), MOSA_EINVALID);
    assert_null(pool);
    mosa_pool_destroy(NULL);
}

// --- queue --------------------------------------------------------------------------------------------------------

enum { PRODUCERS = 3, CONSUMERS = 2, ITEMS_EACH = 2000 };

typedef struct traffic {
    mosa_queue *queue;
    _Atomic int64_t pushed, popped;
    _Atomic int busy;
} traffic;

static void produce(void *arg) {
    traffic *t = arg;
    for (int i = 1; i <= ITEMS_EACH;) {
        if (mosa_queue_push(t->queue, (void *)(intptr_t)i) == MOSA_OK) {
            atomic_fetch_add(&t->pushed, i++);
        } else {
            atomic_fetch_add(&t->busy, 1);
            mosa_sleep_until(mosa_deadline_in_ms(1));
        }
    }
}

static void consume(void *arg) {
    traffic *t = arg;
    void *item;
    while (mosa_queue_pop(t->queue, &item, MOSA_DEADLINE_NEVER) == MOSA_OK)
        atomic_fetch_add(&t->popped, (intptr_t)item);
}

static void every_pushed_item_is_popped_once(void **state) {
    (void)state;
    traffic t = {0};
    mosa_thread threads[PRODUCERS + CONSUMERS] = {0};
    assert_int_equal(mosa_queue_create(8, &t.queue, NULL), MOSA_OK);
    for (int i = 0; i < PRODUCERS + CONSUMERS; i++)
        assert_int_equal(mosa_thread_start(&threads[i], "test", i < PRODUCERS ? produce : consume, &t, NULL), MOSA_OK);
    for (int i = 0; i < PRODUCERS; i++) mosa_thread_join(&threads[i]);
    mosa_queue_close(t.queue);
    for (int i = PRODUCERS; i < PRODUCERS + CONSUMERS; i++) mosa_thread_join(&threads[i]);
    assert_int_equal(t.pushed, (int64_t)PRODUCERS * ITEMS_EACH * (ITEMS_EACH + 1) / 2);
    assert_int_equal(t.popped, t.pushed);
    mosa_queue_destroy(t.queue);
}

static void a_queue_keeps_order_and_says_when_it_is_full(void **state) {
    (void)state;
    mosa_queue *queue;
    int items[4];
    void *item;
    assert_int_equal(mosa_queue_create(3, &queue, NULL), MOSA_OK);
    for (int lap = 0; lap < 5; lap++) {
        for (int i = 0; i < 3; i++) assert_int_equal(mosa_queue_push(queue, &items[i]), MOSA_OK);
        assert_int_equal(mosa_queue_push(queue, &items[3]), MOSA_EBUSY);
        assert_int_equal(mosa_queue_length(queue), 3);
        for (int i = 0; i < 3; i++) {
            assert_int_equal(mosa_queue_pop(queue, &item, mosa_deadline_in_ms(0)), MOSA_OK);
            assert_ptr_equal(item, &items[i]);
        }
    }
    mosa_queue_destroy(queue);
}

static void a_pop_gives_up_at_its_deadline(void **state) {
    (void)state;
    mosa_queue *queue;
    void *item = NULL;
    assert_int_equal(mosa_queue_create(1, &queue, NULL), MOSA_OK);
    uint64_t before = mosa_clock_ns();
    assert_int_equal(mosa_queue_pop(queue, &item, mosa_deadline_in_ms(20)), MOSA_ETIMEOUT);
    assert_true(mosa_clock_ns() - before >= 20u * 1000 * 1000);
    assert_int_equal(mosa_queue_pop(queue, &item, mosa_deadline_in_ms(0)), MOSA_ETIMEOUT);
    assert_null(item);
    mosa_queue_destroy(queue);
}

static void a_closed_queue_refuses_pushes_and_drains(void **state) {
    (void)state;
    mosa_queue *queue;
    void *item;
    int thing;
    assert_int_equal(mosa_queue_create(2, &queue, NULL), MOSA_OK);
    assert_int_equal(mosa_queue_push(queue, &thing), MOSA_OK);
    mosa_queue_close(queue);
    assert_int_equal(mosa_queue_push(queue, &thing), MOSA_ECANCELLED);
    assert_int_equal(mosa_queue_pop(queue, &item, MOSA_DEADLINE_NEVER), MOSA_OK);
    assert_int_equal(mosa_queue_pop(queue, &item, MOSA_DEADLINE_NEVER), MOSA_ECANCELLED);
    mosa_queue_destroy(queue);
}

static void a_queue_of_absurd_size_is_refused(void **state) {
    (void)state;
    mosa_queue *queue = NULL;
    assert_int_equal(mosa_queue_create(0, &queue, NULL), MOSA_EINVALID);
    assert_int_equal(mosa_queue_create(SIZE_MAX / 2, &queue, NULL), MOSA_ENOMEM);
    assert_null(queue);
}

// --- threads ------------------------------------------------------------------------------------------------------

typedef struct surroundings {
    char name[16];
    bool term_blocked, fault_blocked;
} surroundings;

static void look_around(void *arg) {
    surroundings *seen = arg;
    sigset_t mask;
    pthread_getname_np(pthread_self(), seen->name, sizeof seen->name);
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    seen->term_blocked = sigismember(&mask, SIGTERM);
    seen->fault_blocked = sigismember(&mask, SIGSEGV);
}

static void a_thread_carries_its_name_and_leaves_signals_to_others(void **state) {
    (void)state;
    surroundings seen = {0};
    mosa_thread thread = {0};
    assert_int_equal(mosa_thread_start(&thread, "a-rather-long-name", look_around, &seen, NULL), MOSA_OK);
    mosa_thread_join(&thread);
    mosa_thread_join(&thread);
    assert_string_equal(seen.name, "a-rather-long-n");
    assert_true(seen.term_blocked);
    assert_false(seen.fault_blocked);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pool_of_one_runs_in_the_caller),
        cmocka_unit_test(barriers_order_plain_memory_of_two_threads),
        cmocka_unit_test(more_threads_than_cpus_sleep_and_still_meet),
        cmocka_unit_test(workers_that_fell_asleep_take_the_next_job),
        cmocka_unit_test(a_pool_refuses_a_senseless_number_of_threads),
        cmocka_unit_test(every_pushed_item_is_popped_once),
        cmocka_unit_test(a_queue_keeps_order_and_says_when_it_is_full),
        cmocka_unit_test(a_pop_gives_up_at_its_deadline),
        cmocka_unit_test(a_closed_queue_refuses_pushes_and_drains),
        cmocka_unit_test(a_queue_of_absurd_size_is_refused),
        cmocka_unit_test(a_thread_carries_its_name_and_leaves_signals_to_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
