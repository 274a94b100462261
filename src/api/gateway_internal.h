// Private parts of the gateway. Everything but the mailbox and `status` belongs to the loop's thread.
#ifndef MOSA_API_GATEWAY_INTERNAL_H
#define MOSA_API_GATEWAY_INTERNAL_H

#include "api/gateway.h"
#include "base/loop.h"
#include "base/thread.h"
#include "link/link_client.h"

#include <stdatomic.h>

typedef struct call_list {
    mosa_call *first, *last;
} call_list;

// Where the engine's answers to one id go. The id holds the slot's index and its generation, so that late events of a
// cancelled request find nobody.
typedef struct call_slot {
    mosa_call *call; // NULL when free
    mosa_choice *choice;
    uint32_t generation;
    int next_free;
} call_slot;

struct mosa_gateway {
    mosa_gateway_options options;
    mosa_loop *loop;
    mosa_thread thread;
    mosa_timer tick_timer, exit_timer;
    mosa_supervisor *supervisor;
    mosa_link_client *link; // NULL without an engine
    bool ready;             // the link's engine has said HELLO and has its adapters
    int restoring;          // adapters that it has yet to load before it is ready
    bool ever_ready;
    bool stopping;

    call_list pending; // wait for an engine, first come first
    call_list active;  // the engine has them, or their answer is being sent
    mosa_call *dirty;  // to be flushed before the loop waits again
    call_slot *slots;  // (n_slots)
    int n_slots, first_free;

    atomic_int admitted;
    atomic_bool draining;
    atomic_llong context_tokens;

    pthread_mutex_t mutex; // guards what follows
    mosa_call *mail_first, *mail_last;
    bool abort_wanted, stop_wanted;
    int64_t stop_kill_after_ms;
    mosa_engine_status status;
    mosa_gateway_adapter *adapters; // (n_adapters) in order of loading
    int n_adapters;
};

// --- gateway_engine.c: process and link -----------------------------------------------------------------------------

mosa_status mosa_gateway_engine_create(mosa_gateway *gateway, mosa_error *err);
void mosa_gateway_engine_start(mosa_gateway *gateway);
void mosa_gateway_engine_stop(mosa_gateway *gateway, int64_t kill_after_ms);

// --- gateway_adapters.c: the list of adapters -----------------------------------------------------------------------

mosa_status mosa_gateway_adapters_init(mosa_gateway *gateway, mosa_error *err);
void mosa_gateway_adapters_finish(mosa_gateway *gateway);
int mosa_gateway_restore_adapters(mosa_gateway *gateway); // asks a new engine to load the list; returns how many
void mosa_gateway_note_restored(mosa_gateway *gateway, const mosa_link_adapter_done *done);
void mosa_gateway_note_adapter(mosa_gateway *gateway, const mosa_link_adapter_done *done); // a call's doing

// --- gateway_calls.c: calls from submission to answer ---------------------------------------------------------------

void mosa_gateway_take_submitted(mosa_gateway *gateway, mosa_call *call);
void mosa_gateway_take_back(mosa_gateway *gateway, mosa_call *call);
void mosa_gateway_take_forgotten(mosa_gateway *gateway, mosa_call *call);
void mosa_gateway_take_event(mosa_gateway *gateway, const mosa_event *event);
void mosa_gateway_take_refusal(mosa_gateway *gateway, uint64_t id, const mosa_error *why);
void mosa_gateway_start_pending(mosa_gateway *gateway);
void mosa_gateway_lose_engine(mosa_gateway *gateway); // the link is gone: give calls to the next engine or fail them
void mosa_gateway_fail_call(mosa_gateway *gateway, mosa_call *call, const mosa_api_error *error);
void mosa_gateway_abort_calls(mosa_gateway *gateway);
void mosa_gateway_expire(mosa_gateway *gateway, int64_t now_ms); // deadlines and keep-alive comments
void mosa_gateway_flush_dirty(mosa_gateway *gateway);

// --- call_list ------------------------------------------------------------------------------------------------------

void mosa_call_list_append(call_list *list, mosa_call *call);
void mosa_call_list_prepend(call_list *list, mosa_call *call);
void mosa_call_list_remove(call_list *list, mosa_call *call);

#endif
