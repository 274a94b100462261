// The HTTP connections and their deadlines: who may stay, and for how long without making progress.
//
// libmicrohttpd's own timeout counts inactivity, which a client that drips one byte at a time never shows. Here every
// phase of a connection has an absolute limit:
//
//   IDLE       nothing of a request has come (fresh, or kept alive)      idle_timeout_ms
//   HEADERS    a request has begun                                       header_timeout_ms
//   BODY       its headers are complete                                  body_timeout_ms
//   ACTIVE     we are working on it                                      none: the request has its own limits
//   SENDING    the answer is on its way                                  send_timeout_ms
//
// IDLE to HEADERS is seen through TCP_INFO: libmicrohttpd does not tell of a request before its first line is complete.
// A connection over its limit is shut down (shutdown(2)); libmicrohttpd then finds it closed.
// Thread: any; one mutex guards all lists. The sweep is called a few times per second.
#ifndef MOSA_API_PEERS_H
#define MOSA_API_PEERS_H

#include "base/status.h"

#include <stdint.h>

typedef enum mosa_peer_phase {
    MOSA_PEER_IDLE,
    MOSA_PEER_HEADERS,
    MOSA_PEER_BODY,
    MOSA_PEER_ACTIVE,
    MOSA_PEER_SENDING,
    MOSA_PEER_PHASES
} mosa_peer_phase;

typedef struct mosa_peer mosa_peer;
typedef struct mosa_peers mosa_peers;

typedef struct mosa_peers_limits {
    int64_t idle_timeout_ms, header_timeout_ms, body_timeout_ms, send_timeout_ms;
} mosa_peers_limits;

mosa_status mosa_peers_create(const mosa_peers_limits *limits, mosa_peers **out, mosa_error *err) MOSA_MUST_USE;
void mosa_peers_destroy(mosa_peers *peers); // all peers must have been removed; NULL-safe

mosa_peer *mosa_peers_add(mosa_peers *peers, int fd);       // NULL when out of memory
void mosa_peers_remove(mosa_peers *peers, mosa_peer *peer); // before its descriptor is closed; NULL-safe
void mosa_peers_enter(mosa_peers *peers, mosa_peer *peer, mosa_peer_phase phase); // its clock starts anew

void mosa_peers_sweep(mosa_peers *peers, int64_t now_ms); // shuts down what is over its limit
int mosa_peers_count(mosa_peers *peers);
uint64_t mosa_peers_cut(mosa_peers *peers); // shut down so far

#endif
