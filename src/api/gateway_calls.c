// Calls in the gateway's loop: from submission through the engine's events to the answer.
#include "api/gateway_internal.h"
#include "api/http.h"
#include "api/metrics.h"
#include "api/stream.h"
#include "base/clock.h"

#include <stdlib.h>

enum {
    CHOICES_IN_FLIGHT_MAX = 64, // of one call; further ones wait, so that one request cannot fill the engine's queue
    ATTEMPTS_MAX = 2,
    SLOT_BITS = 24,
};

// --- lists ----------------------------------------------------------------------------------------------------------

void mosa_call_list_append(call_list *list, mosa_call *call) {
    call->prev = list->last;
    call->next = NULL;
    *(list->last ? &list->last->next : &list->first) = call;
    list->last = call;
}

void mosa_call_list_prepend(call_list *list, mosa_call *call) {
    call->next = list->first;
    call->prev = NULL;
    *(list->first ? &list->first->prev : &list->last) = call;
    list->first = call;
}

void mosa_call_list_remove(call_list *list, mosa_call *call) {
    *(call->prev ? &call->prev->next : &list->first) = call->next;
    *(call->next ? &call->next->prev : &list->last) = call->prev;
    call->prev = call->next = NULL;
}

static void leave_list(mosa_gateway *gateway, mosa_call *call) {
    mosa_call_list_remove(call->pending ? &gateway->pending : &gateway->active, call);
    call->pending = false;
}

static void mark_dirty(mosa_gateway *gateway, mosa_call *call) {
    if (call->dirty) return;
    call->dirty = true;
    call->dirty_next = gateway->dirty;
    gateway->dirty = call;
}

static void unmark_dirty(mosa_gateway *gateway, mosa_call *call) {
    mosa_call **at = &gateway->dirty;
    while (call->dirty && *at && *at != call) at = &(*at)->dirty_next;
    if (call->dirty && *at) *at = call->dirty_next;
    call->dirty = false;
}

// --- slots ----------------------------------------------------------------------------------------------------------

static bool grow_slots(mosa_gateway *gateway) {
    int n = gateway->n_slots ? gateway->n_slots * 2 : 256;
    if (n > 1 << SLOT_BITS) return false;
    call_slot *slots = realloc(gateway->slots, (size_t)n * sizeof *slots);
    if (!slots) return false;
    for (int i = gateway->n_slots; i < n; i++) slots[i] = (call_slot){.next_free = i + 1 < n ? i + 1 : -1};
    gateway->first_free = gateway->n_slots;
    gateway->slots = slots;
    gateway->n_slots = n;
    return true;
}

static bool take_slot(mosa_gateway *gateway, mosa_call *call, mosa_choice *choice) {
    if (gateway->first_free < 0 && !grow_slots(gateway)) return false;
    int index = gateway->first_free;
    call_slot *slot = &gateway->slots[index];
    gateway->first_free = slot->next_free;
    slot->call = call;
    slot->choice = choice;
    if (++slot->generation == 0) slot->generation = 1; // so that no id is ever 0
    choice->id = (uint64_t)slot->generation << SLOT_BITS | (unsigned)index;
    call->n_running++;
    return true;
}

static void free_slot(mosa_gateway *gateway, mosa_call *call, mosa_choice *choice) {
    if (!choice->id) return;
    int index = (int)(choice->id & ((1u << SLOT_BITS) - 1));
    gateway->slots[index].call = NULL;
    gateway->slots[index].next_free = gateway->first_free;
    gateway->first_free = index;
    choice->id = 0;
    call->n_running--;
}

static call_slot *find_slot(mosa_gateway *gateway, uint64_t id) {
    size_t index = id & ((1u << SLOT_BITS) - 1);
    if (index >= (size_t)gateway->n_slots) return NULL;
    call_slot *slot = &gateway->slots[index];
    return slot->call && slot->generation == (uint32_t)(id >> SLOT_BITS) ? slot : NULL;
}

// --- release to the HTTP thread -------------------------------------------------------------------------------------

// From here on the HTTP thread owns the connection.
static void release(mosa_gateway *gateway, mosa_call *call, mosa_call_state state) {
    mosa_loop_unwatch(gateway->loop, &call->watch);
    call->state = state;
    mosa_http_resume(call->http);
}

static void release_reply(mosa_gateway *gateway, mosa_call *call) {
    release(gateway, call, MOSA_CALL_REPLY);
}

static void release_head(mosa_gateway *gateway, mosa_call *call) {
    call->head = call->out;
    call->head_is_all = call->ended;
    mosa_buf_init(&call->out, gateway->options.limits.stream_buffer_bytes);
    release(gateway, call, MOSA_CALL_HEAD);
}

static void release_tail(mosa_gateway *gateway, mosa_call *call, bool aborted) {
    call->aborted = aborted;
    release(gateway, call, MOSA_CALL_TAIL);
}

// Takes the call's requests away from the engine.
static void cancel_choices(mosa_gateway *gateway, mosa_call *call) {
    for (int i = 0; i < call->n_choices && call->n_running > 0; i++) {
        if (!call->choices[i].id) continue;
        if (gateway->link) mosa_link_client_cancel(gateway->link, call->choices[i].id);
        free_slot(gateway, call, &call->choices[i]);
    }
    call->next_choice = call->n_choices;
}

// The client has gone, or reads too slowly.
static void hang_up(mosa_gateway *gateway, mosa_call *call) {
    cancel_choices(gateway, call);
    if (gateway->link) mosa_link_client_flush(gateway->link);
    mosa_metrics_add(gateway->options.metrics, MOSA_METRIC_DISCONNECTS, 1, NULL);
    if (call->state == MOSA_CALL_DIRECT) {
        release_tail(gateway, call, true);
    } else if (call->state == MOSA_CALL_WAITING) {
        call->aborted = true;
        release_reply(gateway, call);
    }
}

void mosa_gateway_fail_call(mosa_gateway *gateway, mosa_call *call, const mosa_api_error *error) {
    cancel_choices(gateway, call);
    if (call->ended || call->state == MOSA_CALL_TAIL || call->state == MOSA_CALL_REPLY) return;
    if (call->state == MOSA_CALL_WAITING) {
        call->http->error = *error;
        release_reply(gateway, call);
        return;
    }
    // The status has been sent: the error becomes the last event of the stream.
    mosa_stream_open_chunk(call);
    mosa_buf_append_str(&call->out, call->http->route->anthropic ? "event: error\ndata: " : "data: ");
    mosa_http_append_error(call->http, error, &call->out);
    mosa_buf_append_str(&call->out, "\n\n");
    call->ended = true;
    mark_dirty(gateway, call);
}

static void fail_for_memory(mosa_gateway *gateway, mosa_call *call) {
    mosa_api_error error;
    mosa_api_fail(&error, 503, "out_of_memory", NULL, "The server is out of memory. Please retry.");
    mosa_gateway_fail_call(gateway, call, &error);
}

// --- submission -----------------------------------------------------------------------------------------------------

static void start_choices(mosa_gateway *gateway, mosa_call *call) {
    while (call->next_choice < call->n_choices && call->n_running < CHOICES_IN_FLIGHT_MAX) {
        mosa_choice *choice = &call->choices[call->next_choice];
        if (!take_slot(gateway, call, choice)) {
            fail_for_memory(gateway, call);
            return;
        }
        call->next_choice++;
        mosa_link_frame_set_request(choice->frame.data, choice->id);
        mosa_link_client_submit(gateway->link, mosa_buf_slice(&choice->frame));
    }
}

static void start_call(mosa_gateway *gateway, mosa_call *call) {
    call->attempts++;
    start_choices(gateway, call);
}

static void handle_client(void *user, uint32_t events);

void mosa_gateway_take_submitted(mosa_gateway *gateway, mosa_call *call) {
    call->state = MOSA_CALL_WAITING;
    call->gateway = gateway;
    call->submitted_ns = (int64_t)mosa_clock_ns();
    call->deadline_ms = mosa_loop_now_ms(gateway->loop) + gateway->options.limits.engine_wait_ms;
    call->pending = !gateway->ready;
    mosa_call_list_append(call->pending ? &gateway->pending : &gateway->active, call);
    if (mosa_loop_watch(gateway->loop, &call->watch, call->http->fd, EPOLLRDHUP, handle_client, call, NULL) != MOSA_OK)
        fail_for_memory(gateway, call);
    else if (gateway->ready)
        start_call(gateway, call);
}

void mosa_gateway_start_pending(mosa_gateway *gateway) {
    while (gateway->pending.first) {
        mosa_call *call = gateway->pending.first;
        leave_list(gateway, call);
        mosa_call_list_append(&gateway->active, call);
        if (call->state == MOSA_CALL_WAITING) start_call(gateway, call);
    }
    mosa_link_client_flush(gateway->link);
}

void mosa_gateway_take_back(mosa_gateway *gateway, mosa_call *call) {
    call->state = MOSA_CALL_DIRECT;
    call->last_sent_ms = mosa_loop_now_ms(gateway->loop);
    mosa_buf_finish(&call->head);
    if (mosa_loop_watch(gateway->loop, &call->watch, call->http->fd, EPOLLRDHUP, handle_client, call, NULL) != MOSA_OK)
        hang_up(gateway, call);
    else
        mark_dirty(gateway, call);
}

void mosa_gateway_take_forgotten(mosa_gateway *gateway, mosa_call *call) {
    cancel_choices(gateway, call);
    unmark_dirty(gateway, call);
    leave_list(gateway, call);
    mosa_loop_unwatch(gateway->loop, &call->watch);
    mosa_http_request_destroy(call->http);
    mosa_gateway_release(gateway);
}

// --- the engine's answers -------------------------------------------------------------------------------------------

static void observe_first_token(mosa_gateway *gateway, const mosa_call *call) {
    double seconds = (double)((int64_t)mosa_clock_ns() - call->submitted_ns) / 1e9;
    mosa_metrics_observe(gateway->options.metrics, MOSA_METRIC_FIRST_TOKEN_SECONDS, seconds, NULL);
}

static void finish_choice(mosa_gateway *gateway, mosa_call *call, mosa_choice *choice) {
    free_slot(gateway, call, choice);
    call->n_finished++;
    start_choices(gateway, call);
    if (call->n_finished < call->n_choices || call->ended) return;
    call->ended = true;
    call->format->finish(call, &call->http->reply);
    if (!call->stream && call->state == MOSA_CALL_WAITING) {
        mosa_http_reply_json(call->http, 200);
        release_reply(gateway, call);
    }
}

// The gateway has checked everything else that the engine refuses as wrong.
static const char *error_param(const mosa_call *call, const mosa_error *why) {
    bool wrong = why->status == MOSA_EINVALID || why->status == MOSA_EUNSUPPORTED || why->status == MOSA_ELIMIT;
    return wrong ? call->constraint_param : NULL;
}

static void fail_choice(mosa_gateway *gateway, mosa_call *call, mosa_choice *choice, const mosa_error *why) {
    mosa_api_error error;
    free_slot(gateway, call, choice);
    mosa_api_error_set(&error, why, error_param(call, why));
    // It was there when the request came and has been dropped since.
    if (why->status == MOSA_ENOTFOUND && call->http->adapter[0] && call->http->route->scope == MOSA_AUTH_INFERENCE)
        mosa_api_fail(&error, 404, "model_not_found", "model", "The model '%.200s' does not exist.",
                      call->http->adapter);
    mosa_gateway_fail_call(gateway, call, &error);
}

void mosa_gateway_take_event(mosa_gateway *gateway, const mosa_event *event) {
    call_slot *slot = find_slot(gateway, event->request);
    if (!slot) return;
    mosa_call *call = slot->call;
    mosa_choice *choice = slot->choice;
    if (event->finish == MOSA_FINISH_ERROR || event->finish == MOSA_FINISH_CANCELLED) {
        mosa_error cancelled;
        mosa_fail(&cancelled, MOSA_EUNAVAILABLE, "The engine has given up the request. Please retry.");
        fail_choice(gateway, call, choice, event->error ? event->error : &cancelled);
        return;
    }
    if (!call->started) observe_first_token(gateway, call);
    call->started = true;
    mosa_buf_finish(&choice->frame);
    choice->prompt_tokens = event->prompt_tokens;
    choice->cached_tokens = event->cached_tokens;
    choice->completion_tokens = event->completion_tokens;
    choice->finish = event->finish;
    mosa_stream_open_chunk(call);
    call->format->event(call, choice, event);
    if (call->stream) mark_dirty(gateway, call);
    if (event->finish != MOSA_FINISH_NONE) finish_choice(gateway, call, choice);
}

void mosa_gateway_take_refusal(mosa_gateway *gateway, uint64_t id, const mosa_error *why) {
    call_slot *slot = find_slot(gateway, id);
    if (slot) fail_choice(gateway, slot->call, slot->choice, why);
}

// --- flushing -------------------------------------------------------------------------------------------------------

static void flush_direct(mosa_gateway *gateway, mosa_call *call) {
    mosa_stream_close_chunk(call);
    bool had_bytes = call->out.len > call->out_start;
    switch (mosa_stream_send(call, call->http->fd)) {
    case MOSA_STREAM_SENT:
        if (had_bytes) call->last_sent_ms = mosa_loop_now_ms(gateway->loop);
        mosa_loop_watch_change(gateway->loop, &call->watch, EPOLLRDHUP);
        if (call->ended) release_tail(gateway, call, false);
        break;
    case MOSA_STREAM_BLOCKED:
        mosa_loop_watch_change(gateway->loop, &call->watch, EPOLLRDHUP | EPOLLOUT);
        break;
    case MOSA_STREAM_BROKEN:
        hang_up(gateway, call);
        break; // gone, or more than stream_buffer_bytes behind
    }
}

void mosa_gateway_flush_dirty(mosa_gateway *gateway) {
    while (gateway->dirty) {
        mosa_call *call = gateway->dirty;
        gateway->dirty = call->dirty_next;
        call->dirty = false;
        if (call->state == MOSA_CALL_DIRECT)
            flush_direct(gateway, call);
        else if (call->state == MOSA_CALL_WAITING && !mosa_buf_failed(&call->out))
            release_head(gateway, call);
        else if (call->state == MOSA_CALL_WAITING)
            fail_for_memory(gateway, call);
    }
}

static void handle_client(void *user, uint32_t events) {
    mosa_call *call = user;
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        hang_up(call->gateway, call);
    else if (call->state == MOSA_CALL_DIRECT)
        flush_direct(call->gateway, call);
}

// --- loss of the engine, deadlines, end -----------------------------------------------------------------------------

static bool can_try_again(const mosa_call *call) {
    return call->state == MOSA_CALL_WAITING && !call->started && call->attempts < ATTEMPTS_MAX;
}

static void requeue(mosa_gateway *gateway, mosa_call *call) {
    for (int i = 0; i < call->n_choices; i++) free_slot(gateway, call, &call->choices[i]);
    call->next_choice = 0;
    leave_list(gateway, call);
    call->pending = true;
    call->deadline_ms = mosa_loop_now_ms(gateway->loop) + gateway->options.limits.engine_wait_ms;
    mosa_call_list_prepend(&gateway->pending, call);
}

void mosa_gateway_lose_engine(mosa_gateway *gateway) {
    mosa_api_error error;
    mosa_api_fail(&error, 503, "engine_failed", NULL, "The engine stopped while it was answering. Please retry.");
    mosa_call *before;
    for (mosa_call *call = gateway->active.last; call; call = before) { // from the last, so that prepending keeps order
        before = call->prev;
        if (call->n_running == 0) continue; // its answer is complete
        if (can_try_again(call))
            requeue(gateway, call);
        else
            mosa_gateway_fail_call(gateway, call, &error);
    }
}

void mosa_gateway_abort_calls(mosa_gateway *gateway) {
    mosa_api_error error;
    mosa_api_fail(&error, 503, "shutting_down", NULL, "The server is shutting down. Please retry.");
    for (mosa_call *call = gateway->pending.first; call; call = call->next)
        mosa_gateway_fail_call(gateway, call, &error);
    for (mosa_call *call = gateway->active.first; call; call = call->next) {
        if (call->state == MOSA_CALL_DIRECT && call->ended)
            hang_up(gateway, call); // a client that does not read
        else
            mosa_gateway_fail_call(gateway, call, &error);
    }
}

static void keep_alive(mosa_gateway *gateway, mosa_call *call, int64_t now_ms) {
    int64_t interval_ms = gateway->options.limits.keep_alive_ms;
    if (call->state != MOSA_CALL_DIRECT || call->ended || call->out.len > 0) return;
    if (interval_ms == 0 || now_ms - call->last_sent_ms < interval_ms) return;
    mosa_stream_open_chunk(call);
    mosa_buf_append_str(&call->out, ": keep-alive\n\n");
    mark_dirty(gateway, call);
}

static void expire_call(mosa_gateway *gateway, mosa_call *call, int64_t now_ms) {
    mosa_api_error error;
    int64_t timeout_ms = gateway->options.limits.request_timeout_ms;
    if (call->pending && call->deadline_ms <= now_ms) {
        mosa_api_fail(&error, 503, "engine_unavailable", NULL, "The model's engine is not ready. Please retry.");
        mosa_gateway_fail_call(gateway, call, &error);
    } else if (timeout_ms && now_ms - call->submitted_ns / 1000000 >= timeout_ms) {
        mosa_api_fail(&error, 504, "timeout", NULL, "The request took longer than the limit of %lld seconds.",
                      (long long)(timeout_ms / 1000));
        if (call->state == MOSA_CALL_DIRECT && call->ended)
            hang_up(gateway, call); // a client that does not read
        else
            mosa_gateway_fail_call(gateway, call, &error);
    } else {
        keep_alive(gateway, call, now_ms);
    }
}

void mosa_gateway_expire(mosa_gateway *gateway, int64_t now_ms) {
    for (mosa_call *call = gateway->pending.first; call; call = call->next) expire_call(gateway, call, now_ms);
    for (mosa_call *call = gateway->active.first; call; call = call->next) expire_call(gateway, call, now_ms);
}
