// The gateway: its thread, its mailbox, admission and end.
#include "api/gateway_internal.h"
#include "base/log.h"

#include <stdlib.h>

enum { TICK_MS = 250 };

static void tick(void *user) {
    mosa_gateway *gateway = user;
    mosa_loop_timer(gateway->loop, &gateway->tick_timer, TICK_MS, tick, gateway);
    int64_t now_ms = mosa_loop_now_ms(gateway->loop);
    mosa_gateway_expire(gateway, now_ms);
    mosa_gateway_flush_dirty(gateway);
    if (gateway->options.on_tick) gateway->options.on_tick(gateway->options.user, now_ms);
}

static void take_mail(mosa_gateway *gateway, mosa_call *call) {
    while (call) {
        mosa_call *next = call->mail_next; // read first: the call may be freed
        call->mail_next = NULL;
        switch (call->message) {
        case MOSA_CALL_SUBMIT:
            mosa_gateway_take_submitted(gateway, call);
            break;
        case MOSA_CALL_TAKE_BACK:
            mosa_gateway_take_back(gateway, call);
            break;
        case MOSA_CALL_FORGET:
            mosa_gateway_take_forgotten(gateway, call);
            break;
        }
        call = next;
    }
}

static void on_wake(void *user) {
    mosa_gateway *gateway = user;
    pthread_mutex_lock(&gateway->mutex);
    mosa_call *mail = gateway->mail_first;
    gateway->mail_first = gateway->mail_last = NULL;
    bool abort_wanted = gateway->abort_wanted, stop_wanted = gateway->stop_wanted;
    gateway->abort_wanted = gateway->stop_wanted = false;
    int64_t kill_after_ms = gateway->stop_kill_after_ms;
    pthread_mutex_unlock(&gateway->mutex);
    take_mail(gateway, mail);
    if (abort_wanted) mosa_gateway_abort_calls(gateway);
    mosa_gateway_flush_dirty(gateway);
    if (gateway->link) mosa_link_client_flush(gateway->link);
    if (stop_wanted) mosa_gateway_engine_stop(gateway, kill_after_ms);
}

mosa_status mosa_gateway_create(const mosa_gateway_options *options, mosa_gateway **out, mosa_error *err) {
    mosa_gateway *gateway = calloc(1, sizeof *gateway);
    if (!gateway) return mosa_fail(err, MOSA_ENOMEM, "gateway: out of memory");
    gateway->options = *options;
    gateway->first_free = -1;
    pthread_mutex_init(&gateway->mutex, NULL);
    mosa_status status = mosa_loop_create(on_wake, gateway, &gateway->loop, err);
    if (status == MOSA_OK) status = mosa_gateway_adapters_init(gateway, err);
    if (status == MOSA_OK) status = mosa_gateway_engine_create(gateway, err);
    if (status != MOSA_OK) {
        mosa_gateway_destroy(gateway);
        return status;
    }
    *out = gateway;
    return MOSA_OK;
}

void mosa_gateway_destroy(mosa_gateway *gateway) {
    if (!gateway) return;
    mosa_link_client_destroy(gateway->link);
    mosa_supervisor_destroy(gateway->supervisor);
    mosa_loop_destroy(gateway->loop);
    pthread_mutex_destroy(&gateway->mutex);
    free(gateway->slots);
    mosa_gateway_adapters_finish(gateway);
    free(gateway);
}

static void run(void *user) {
    mosa_gateway *gateway = user;
    // In this thread from the start: the engine's parent-death signal is tied to the thread that made it.
    mosa_gateway_engine_start(gateway);
    mosa_loop_timer(gateway->loop, &gateway->tick_timer, TICK_MS, tick, gateway);
    mosa_error err;
    if (mosa_loop_run(gateway->loop, &err) != MOSA_OK)
        mosa_log_failure(MOSA_LOG_ERROR, "gateway's event loop failed", &err);
}

mosa_status mosa_gateway_start(mosa_gateway *gateway, mosa_error *err) {
    return mosa_thread_start(&gateway->thread, "gateway", run, gateway, err);
}

bool mosa_gateway_admit(mosa_gateway *gateway, mosa_api_error *error) {
    if (atomic_load(&gateway->draining)) {
        mosa_api_fail(error, 503, "shutting_down", NULL, "The server is shutting down. Please retry.");
        return false;
    }
    if (atomic_fetch_add(&gateway->admitted, 1) < gateway->options.limits.max_calls) return true;
    atomic_fetch_sub(&gateway->admitted, 1);
    mosa_api_fail(error, 429, "queue_full", NULL, "The server is answering %d requests already. Please retry later.",
                  gateway->options.limits.max_calls);
    return false;
}

void mosa_gateway_release(mosa_gateway *gateway) {
    atomic_fetch_sub(&gateway->admitted, 1);
}

static void post(mosa_gateway *gateway, mosa_call *call, mosa_call_message message) {
    call->message = message;
    call->mail_next = NULL;
    pthread_mutex_lock(&gateway->mutex);
    bool was_empty = !gateway->mail_first;
    *(was_empty ? &gateway->mail_first : &gateway->mail_last->mail_next) = call;
    gateway->mail_last = call;
    pthread_mutex_unlock(&gateway->mutex);
    if (was_empty) mosa_loop_wake(gateway->loop);
}

void mosa_gateway_submit(mosa_gateway *gateway, mosa_call *call) {
    post(gateway, call, MOSA_CALL_SUBMIT);
}
void mosa_gateway_direct(mosa_gateway *gateway, mosa_call *call) {
    post(gateway, call, MOSA_CALL_TAKE_BACK);
}
void mosa_gateway_forget(mosa_gateway *gateway, mosa_call *call) {
    post(gateway, call, MOSA_CALL_FORGET);
}

void mosa_gateway_get_status(mosa_gateway *gateway, mosa_engine_status *out) {
    pthread_mutex_lock(&gateway->mutex);
    *out = gateway->status;
    pthread_mutex_unlock(&gateway->mutex);
}

int64_t mosa_gateway_context_tokens(mosa_gateway *gateway) {
    return atomic_load(&gateway->context_tokens);
}
int mosa_gateway_calls(mosa_gateway *gateway) {
    return atomic_load(&gateway->admitted);
}

void mosa_gateway_drain(mosa_gateway *gateway) {
    atomic_store(&gateway->draining, true);
}

void mosa_gateway_abort(mosa_gateway *gateway) {
    pthread_mutex_lock(&gateway->mutex);
    gateway->abort_wanted = true;
    pthread_mutex_unlock(&gateway->mutex);
    mosa_loop_wake(gateway->loop);
}

void mosa_gateway_stop(mosa_gateway *gateway, int64_t kill_after_ms) {
    if (!gateway->thread.started) return;
    pthread_mutex_lock(&gateway->mutex);
    gateway->stop_wanted = true;
    gateway->stop_kill_after_ms = kill_after_ms;
    pthread_mutex_unlock(&gateway->mutex);
    mosa_loop_wake(gateway->loop);
    mosa_thread_join(&gateway->thread);
}
