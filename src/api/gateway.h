// The gateway of one model: one thread that owns its engine, the link, and every call that waits or streams.
//
// One wake-up per engine step: the events of all sequences arrive in one frame, are turned into SSE chunks and written
// straight to the clients' sockets, which libmicrohttpd has set aside (suspended) meanwhile. The loop watches those
// sockets too, because libmicrohttpd does not: a client that leaves has its request cancelled at once.
//
// When the engine dies, calls that have produced nothing are given to the next engine once; the others end with an
// error. While no engine is ready, calls wait up to engine_wait_ms.
#ifndef MOSA_API_GATEWAY_H
#define MOSA_API_GATEWAY_H

#include "api/call.h"
#include "base/metrics.h"
#include "link/message.h"
#include "platform/supervisor.h"

typedef struct mosa_gateway mosa_gateway;

typedef enum mosa_engine_state {
    MOSA_ENGINE_LOADING, // process started, weights are being read
    MOSA_ENGINE_READY,
    MOSA_ENGINE_DOWN,   // died, will be started again
    MOSA_ENGINE_FAILED, // dies again and again; still tried now and then
    MOSA_ENGINE_STOPPED,
} mosa_engine_state;

typedef struct mosa_engine_status {
    mosa_engine_state state;
    mosa_link_hello hello;   // of the last engine that was ready
    mosa_engine_stats stats; // its last statistics; running and waiting are 0 unless READY
    int pid;
    uint64_t restarts;
    char fault[256]; // why the last one died, or ""
} mosa_engine_status;

typedef struct mosa_gateway_limits {
    int64_t engine_wait_ms;     // how long a call waits for an engine
    int64_t request_timeout_ms; // from submission to the last byte; 0 = none
    int64_t keep_alive_ms;      // an SSE comment after this long without an event; 0 = never
    size_t stream_buffer_bytes; // waiting for one slow client; more cancels its call
    int max_calls;              // at the same time
} mosa_gateway_limits;

typedef struct mosa_adapter_option {
    const char *name, *path;
} mosa_adapter_option;

typedef struct mosa_gateway_options {
    mosa_supervisor_options engine; // its command line and name, and how it is restarted; borrowed
    mosa_gateway_limits limits;
    const mosa_adapter_option *adapters; // (n_adapters) to begin with; borrowed until created
    int n_adapters;
    mosa_metrics *metrics;                                           // borrowed
    void (*on_tick)(void *user, int64_t now_ms);                     // a few times per second; may be NULL
    void (*on_engine)(void *user, const mosa_engine_status *status); // state has changed
    void *user;
} mosa_gateway_options;

mosa_status mosa_gateway_create(const mosa_gateway_options *options, mosa_gateway **out, mosa_error *err) MOSA_MUST_USE;
// Starts the thread and the engine.
mosa_status mosa_gateway_start(mosa_gateway *gateway, mosa_error *err) MOSA_MUST_USE;

// --- from the HTTP and worker threads -------------------------------------------------------------------------------

// Reserves a place for one call; false (with *error filled) when there are too many, or the gateway is going down.
// Every success is followed by mosa_gateway_submit, or by mosa_gateway_release if the call is dropped.
bool mosa_gateway_admit(mosa_gateway *gateway, mosa_api_error *error);
void mosa_gateway_release(mosa_gateway *gateway);
// Hands the call over; its connection is suspended.
void mosa_gateway_submit(mosa_gateway *gateway, mosa_call *call);
// HEAD is done and the connection is suspended again: the loop may write.
void mosa_gateway_direct(mosa_gateway *gateway, mosa_call *call);
// The HTTP exchange is over, for whatever reason; the loop frees call and HTTP request.
void mosa_gateway_forget(mosa_gateway *gateway, mosa_call *call);

void mosa_gateway_get_status(mosa_gateway *gateway, mosa_engine_status *out); // any thread
int64_t
mosa_gateway_context_tokens(mosa_gateway *gateway); // longest sequence, 0 before the engine has told; any thread
int mosa_gateway_calls(mosa_gateway *gateway);      // admitted now; any thread

// --- adapters -------------------------------------------------------------------------------------------------------

// Those that are served, whether or not an engine is ready just now. They outlive engines: each new one loads them.
typedef struct mosa_gateway_adapter {
    char name[MOSA_ADAPTER_NAME_MAX + 1];
    char *path;
    int rank; // 0 before an engine has told
} mosa_gateway_adapter;

bool mosa_gateway_has_adapter(mosa_gateway *gateway, const char *name); // any thread
// Visits each under the gateway's lock: `visit` must be short and take no other. Any thread.
typedef void (*mosa_gateway_adapter_fn)(void *user, const mosa_gateway_adapter *adapter);
void mosa_gateway_each_adapter(mosa_gateway *gateway, mosa_gateway_adapter_fn visit, void *user);

// --- end ------------------------------------------------------------------------------------------------------------

void mosa_gateway_drain(mosa_gateway *gateway); // admits nothing more; any thread
void mosa_gateway_abort(mosa_gateway *gateway); // ends all calls with an error; any thread
// Stops engine and thread. No call may be left. Waits for the engine up to kill_after_ms.
void mosa_gateway_stop(mosa_gateway *gateway, int64_t kill_after_ms);
void mosa_gateway_destroy(mosa_gateway *gateway); // after stop; NULL-safe

#endif
