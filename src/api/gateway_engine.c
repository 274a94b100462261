// The gateway's engine: its process, its link, and what is known about it.
#include "api/gateway_internal.h"
#include "base/log.h"

#include <stdio.h>
#include <unistd.h>

enum { LAST_FRAMES_MS = 200, END_OF_PROCESS_MS = 500 };

static void publish(mosa_gateway *gateway, mosa_engine_state state, const char *fault) {
    pthread_mutex_lock(&gateway->mutex);
    gateway->status.state = state;
    gateway->status.pid = (int)mosa_supervisor_pid(gateway->supervisor);
    if (state != MOSA_ENGINE_READY) gateway->status.stats.running = gateway->status.stats.waiting = 0;
    if (fault) snprintf(gateway->status.fault, sizeof gateway->status.fault, "%s", fault);
    mosa_engine_status copy = gateway->status;
    pthread_mutex_unlock(&gateway->mutex);
    if (gateway->options.on_engine) gateway->options.on_engine(gateway->options.user, &copy);
}

// --- link -----------------------------------------------------------------------------------------------------------

static void drop_link(mosa_gateway *gateway) {
    mosa_link_client_destroy(gateway->link);
    gateway->link = NULL;
    gateway->ready = false;
    mosa_loop_timer_cancel(gateway->loop, &gateway->exit_timer);
    mosa_gateway_lose_engine(gateway);
    mosa_gateway_flush_dirty(gateway);
}

// The engine takes calls from now on.
static void become_ready(mosa_gateway *gateway) {
    gateway->ready = gateway->ever_ready = true;
    publish(gateway, MOSA_ENGINE_READY, "");
    mosa_gateway_start_pending(gateway);
}

static void on_hello(void *user, const mosa_link_hello *hello) {
    mosa_gateway *gateway = user;
    atomic_store(&gateway->context_tokens, hello->info.context_tokens);
    pthread_mutex_lock(&gateway->mutex);
    gateway->status.hello = *hello;
    pthread_mutex_unlock(&gateway->mutex);
    mosa_supervisor_ready(gateway->supervisor);
    mosa_log_info("engine ready", MOSA_KV("engine", gateway->options.engine.name), MOSA_KV("pid", hello->pid),
                  MOSA_KV("device", (const char *)hello->info.device),
                  MOSA_KV("load_ms", (double)hello->info.load_ns / 1e6));
    gateway->restoring = mosa_gateway_restore_adapters(gateway);
    if (gateway->restoring == 0)
        become_ready(gateway);
    else
        mosa_link_client_flush(gateway->link);
}

static void on_adapter(void *user, uint64_t id, const mosa_link_adapter_done *done) {
    mosa_gateway *gateway = user;
    if (id == 0) {
        if (gateway->restoring == 0) return; // nobody asked
        mosa_gateway_note_restored(gateway, done);
        if (--gateway->restoring == 0) become_ready(gateway);
        return;
    }
    mosa_gateway_note_adapter(gateway, done);
    mosa_event event = {.request = id, .token = -1, .stop_index = -1, .finish = MOSA_FINISH_STOP};
    if (done->error.status == MOSA_OK)
        mosa_gateway_take_event(gateway, &event);
    else
        mosa_gateway_take_refusal(gateway, id, &done->error);
    mosa_gateway_flush_dirty(gateway);
}

static void on_event(void *user, const mosa_event *event) {
    mosa_gateway_take_event(user, event);
}
static void on_step(void *user) {
    mosa_gateway_flush_dirty(user);
}

static void on_refused(void *user, uint64_t id, const mosa_error *why) {
    mosa_gateway_take_refusal(user, id, why);
    mosa_gateway_flush_dirty(user);
}

static void on_stats(void *user, const mosa_engine_stats *stats) {
    mosa_gateway *gateway = user;
    pthread_mutex_lock(&gateway->mutex);
    gateway->status.stats = *stats;
    pthread_mutex_unlock(&gateway->mutex);
}

static void replace_engine(void *user) {
    mosa_gateway *gateway = user;
    mosa_supervisor_replace(gateway->supervisor);
}

static void on_closed(void *user, const mosa_error *why) {
    mosa_gateway *gateway = user;
    if (!gateway->stopping && why->status != MOSA_EUNAVAILABLE)
        mosa_log_failure(MOSA_LOG_ERROR, "link to the engine broke", why,
                         MOSA_KV("engine", gateway->options.engine.name));
    drop_link(gateway);
    // Its process is ending, most likely, and how it ends is worth knowing: it is killed only if it goes on living.
    if (mosa_supervisor_pid(gateway->supervisor) > 0)
        mosa_loop_timer(gateway->loop, &gateway->exit_timer, END_OF_PROCESS_MS, replace_engine, gateway);
}

// --- process --------------------------------------------------------------------------------------------------------

static void on_started(void *user, int socket_fd) {
    static const mosa_link_client_handler handler = {on_hello,   on_event, on_step,  on_refused,
                                                     on_adapter, on_stats, on_closed};
    mosa_gateway *gateway = user;
    mosa_error err;
    mosa_loop_timer_cancel(gateway->loop, &gateway->exit_timer);
    if (gateway->link) drop_link(gateway);
    if (mosa_link_client_create(gateway->loop, socket_fd, NULL, &handler, gateway, &gateway->link, &err) != MOSA_OK) {
        mosa_log_failure(MOSA_LOG_ERROR, "cannot speak with the engine", &err);
        mosa_supervisor_replace(gateway->supervisor);
        return;
    }
    publish(gateway, MOSA_ENGINE_LOADING, NULL);
}

static void give_up_on_link(void *user) {
    mosa_gateway *gateway = user;
    if (gateway->link) drop_link(gateway);
}

static void on_exited(void *user, const mosa_process_exit *result, int64_t restart_in_ms) {
    mosa_gateway *gateway = user;
    char fault[256];
    // Its last line says more than its exit code, but a signal leaves no last words of its own.
    bool spoke = result->code > 0 && result->last_line[0];
    snprintf(fault, sizeof fault, "%s%s%.150s", result->text, spoke ? ": " : "", spoke ? result->last_line : "");
    if (restart_in_ms < 0) {
        publish(gateway, MOSA_ENGINE_STOPPED, fault);
        if (gateway->stopping) mosa_loop_stop(gateway->loop);
        return;
    }
    mosa_loop_timer_cancel(gateway->loop, &gateway->exit_timer);
    // What the engine had sent before it died is still in the socket and is read before its end is seen.
    if (gateway->link) mosa_loop_timer(gateway->loop, &gateway->exit_timer, LAST_FRAMES_MS, give_up_on_link, gateway);
    pthread_mutex_lock(&gateway->mutex);
    gateway->status.restarts++;
    pthread_mutex_unlock(&gateway->mutex);
    // An engine that ends by itself before it was ever ready will do so again: a wrong path, a broken file.
    bool hopeless = !gateway->ever_ready && result->code > 0;
    publish(gateway, hopeless ? MOSA_ENGINE_FAILED : MOSA_ENGINE_DOWN, fault);
}

static void on_crash_loop(void *user, const mosa_process_exit *result) {
    mosa_gateway *gateway = user;
    mosa_log_error("engine keeps dying", MOSA_KV("engine", gateway->options.engine.name),
                   MOSA_KV("reason", (const char *)result->text));
    publish(gateway, MOSA_ENGINE_FAILED, NULL);
}

mosa_status mosa_gateway_engine_create(mosa_gateway *gateway, mosa_error *err) {
    static const mosa_supervisor_handler handler = {on_started, on_exited, on_crash_loop};
    return mosa_supervisor_create(gateway->loop, &gateway->options.engine, &handler, gateway, &gateway->supervisor,
                                  err);
}

void mosa_gateway_engine_start(mosa_gateway *gateway) {
    mosa_supervisor_start(gateway->supervisor);
}

void mosa_gateway_engine_stop(mosa_gateway *gateway, int64_t kill_after_ms) {
    gateway->stopping = true;
    bool running = mosa_supervisor_pid(gateway->supervisor) > 0;
    mosa_supervisor_stop(gateway->supervisor, kill_after_ms);
    if (!running) mosa_loop_stop(gateway->loop);
}
