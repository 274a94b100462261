// The gateway's end of the link: submits, cancels, and hands the engine's events to its owner.
//
// Lives on one mosa_loop; every function and callback is for that loop's thread. Requests are encoded by the caller
// (mosa_link_put_submit), so that a request can be kept and sent again to another engine.
#ifndef MOSA_LINK_LINK_CLIENT_H
#define MOSA_LINK_LINK_CLIENT_H

#include "base/loop.h"
#include "base/str.h"
#include "link/message.h"

typedef struct mosa_link_client mosa_link_client;

// A callback must not destroy the client, except on_closed, which comes last and at most once.
typedef struct mosa_link_client_handler {
    void (*on_hello)(void *user, const mosa_link_hello *hello); // the engine is ready
    void (*on_event)(void *user, const mosa_event *event);      // event->request is the id that was submitted
    void (*on_step)(void *user);                                // all events of one engine step have been given
    void (*on_refused)(void *user, uint64_t id, const mosa_error *why);
    void (*on_adapter)(void *user, uint64_t id, const mosa_link_adapter_done *done); // may be NULL
    void (*on_stats)(void *user, const mosa_engine_stats *stats);
    void (*on_closed)(void *user, const mosa_error *why);
} mosa_link_client_handler;

// Takes over the connected socket `fd`, also on failure. token: NULL or the shared secret.
mosa_status mosa_link_client_create(mosa_loop *loop, int fd, const char *token, const mosa_link_client_handler *handler,
                                    void *user, mosa_link_client **out, mosa_error *err) MOSA_MUST_USE;
void mosa_link_client_destroy(mosa_link_client *client); // NULL-safe; no callback follows

// Frames are buffered until mosa_link_client_flush. A fault is told by on_closed, later.
void mosa_link_client_submit(mosa_link_client *client, mosa_slice frame); // one encoded SUBMIT or ADAPTER
void mosa_link_client_cancel(mosa_link_client *client, uint64_t id);
void mosa_link_client_drain(mosa_link_client *client);
void mosa_link_client_flush(mosa_link_client *client);

#endif
