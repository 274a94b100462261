// Submitting and cancelling from any thread: lock-free stacks into the engine, and its sleep and wake.
#include "engine/engine_internal.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

void mosa_engine_wake(mosa_engine *engine) {
    uint64_t one = 1;
    ssize_t written = write(engine->wake_fd, &one, sizeof one);
    (void)written; // a full counter is awake already
}

static void wake_if_sleeping(mosa_engine *engine) {
    if (atomic_load(&engine->sleeping)) mosa_engine_wake(engine);
}

static mosa_status constrain(mosa_engine *engine, const mosa_request *request, mosa_constrained **out,
                             mosa_error *err) {
    if (request->kind != MOSA_GENERATE) return mosa_fail(err, MOSA_EINVALID, "only generated text can be constrained");
    if (request->constraint.text_len > MOSA_CONSTRAINT_BYTES_MAX)
        return mosa_fail(err, MOSA_ELIMIT, "the constraint has %zu bytes, at most %d are taken",
                         request->constraint.text_len, MOSA_CONSTRAINT_BYTES_MAX);
    return mosa_constraints_open(&engine->constraints, &request->constraint, out, err);
}

mosa_status mosa_engine_submit(mosa_engine *engine, const mosa_request *request, uint64_t *id, mosa_error *err) {
    int64_t waiting = atomic_fetch_add(&engine->n_waiting, 1);
    if (waiting >= engine->max_queued) {
        atomic_fetch_sub(&engine->n_waiting, 1);
        mosa_fail(err, MOSA_EBUSY, "the engine's queue holds %d requests (max_queued)", engine->max_queued);
        mosa_hint(err, "try again later, or raise --max-queue");
        return MOSA_EBUSY; // whether or not the caller wants the message
    }
    mosa_sequence *sequence;
    mosa_engine_adapter *adapter = NULL;
    mosa_constrained *constrained = NULL;
    mosa_status status = MOSA_OK;
    if (request->constraint.kind != MOSA_CONSTRAINT_NONE) status = constrain(engine, request, &constrained, err);
    if (status == MOSA_OK && request->adapter)
        status = mosa_adapters_ref(&engine->adapters, request->adapter, &adapter, err);
    if (status == MOSA_OK) status = mosa_sequence_create(request, &engine->limits, &sequence, err);
    if (status != MOSA_OK) {
        mosa_adapters_unref(adapter);
        mosa_constrained_close(constrained);
        atomic_fetch_sub(&engine->n_waiting, 1);
        return status;
    }
    sequence->adapter = adapter;
    sequence->constrained = constrained;
    sequence->waits = true;
    sequence->id = atomic_fetch_add(&engine->next_id, 1);
    *id = sequence->id;
    sequence->next = atomic_load(&engine->inbox);
    while (!atomic_compare_exchange_weak(&engine->inbox, &sequence->next, sequence)) {
    }
    wake_if_sleeping(engine);
    return MOSA_OK;
}

void mosa_engine_cancel(mosa_engine *engine, uint64_t id) {
    mosa_cancel *cancel = malloc(sizeof *cancel);
    if (!cancel) return; // the sequence runs to its own end; nothing is lost but time
    cancel->id = id;
    cancel->next = atomic_load(&engine->cancels);
    while (!atomic_compare_exchange_weak(&engine->cancels, &cancel->next, cancel)) {
    }
    wake_if_sleeping(engine);
}

void mosa_engine_drain_inbox(mosa_engine *engine) {
    // Cancels first: whoever cancelled had submitted before, so the request is in the inbox by now.
    mosa_cancel *cancel = atomic_exchange(&engine->cancels, NULL);
    mosa_sequence *sequence = atomic_exchange(&engine->inbox, NULL);
    while (sequence) {
        mosa_sequence *next = sequence->next;
        mosa_scheduler_enqueue(&engine->scheduler, sequence);
        sequence = next;
    }
    while (cancel) {
        mosa_cancel *next = cancel->next;
        mosa_sequence *found = mosa_scheduler_find(&engine->scheduler, cancel->id);
        if (found) found->cancelled = true;
        free(cancel);
        cancel = next;
    }
}

static bool has_work(const mosa_engine *engine) {
    return engine->scheduler.n_running || engine->scheduler.n_queued || atomic_load(&engine->inbox) ||
           atomic_load(&engine->cancels);
}

void mosa_engine_wait(mosa_engine *engine, int timeout_ms) {
    if (has_work(engine)) return;
    atomic_store(&engine->sleeping, true);
    // Whoever pushes after this store wakes us; whoever pushed before it is seen here.
    if (!has_work(engine)) {
        struct pollfd waiting = {.fd = engine->wake_fd, .events = POLLIN};
        if (poll(&waiting, 1, timeout_ms) > 0) {
            uint64_t count;
            ssize_t got = read(engine->wake_fd, &count, sizeof count);
            (void)got;
        }
    }
    atomic_store(&engine->sleeping, false);
}
