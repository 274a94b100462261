// The engine's end of the link: runs the engine's loop and speaks with gateways.
//
// Three threads. The engine thread (the caller of mosa_link_server_run) steps and writes one STEP frame per step to
// each gateway with running requests. The I/O thread accepts, reads frames, submits and cancels, and sends what the
// engine thread could not. The adapter thread reads adapter files. A gateway that goes away has its requests cancelled;
// one that does not read is cut off.
#ifndef MOSA_LINK_LINK_SERVER_H
#define MOSA_LINK_LINK_SERVER_H

#include "base/status.h"
#include "mosa/mosa.h"

typedef struct mosa_link_server mosa_link_server;

typedef struct mosa_link_server_options {
    // "fd:N": a connected socket inherited from the parent; the server ends when it closes.
    // "/path" or "unix:/path": a unix socket to listen on (made with mode 0600, removed at the end).
    // "host:port": TCP; needs a token.
    const char *address;
    const char *token;      // gateways must present it in their HELLO; NULL or "" = none (not for TCP)
    size_t out_limit_bytes; // waiting for a gateway that does not read; 0 = 64 MiB
    int max_requests;       // of all gateways together; more are refused with MOSA_EBUSY
} mosa_link_server_options;

// The engine is borrowed and must outlive the server. Starts to listen; nothing is read before mosa_link_server_run.
mosa_status mosa_link_server_create(const mosa_link_server_options *options, mosa_engine *engine,
                                    mosa_link_server **out, mosa_error *err) MOSA_MUST_USE;
void mosa_link_server_destroy(mosa_link_server *server); // after run has returned; NULL-safe

// Serves until the inherited connection closes, a drain is complete or mosa_link_server_stop is called: MOSA_OK; or
// until the engine fails: its error, which has been sent to the gateways too.
mosa_status mosa_link_server_run(mosa_link_server *server, mosa_error *err) MOSA_MUST_USE;

void mosa_link_server_drain(mosa_link_server *server); // refuse new requests, end after the last; any thread
void mosa_link_server_stop(mosa_link_server *server);  // end now; any thread

#endif
