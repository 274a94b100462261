// The gateway-engine protocol: what travels on the socket.
//
// A frame is a 16-byte little-endian header and a payload:
//
//   OFFSET SIZE
//   0      4    payload bytes, at most MOSA_LINK_PAYLOAD_MAX
//   4      2    type (mosa_link_type)
//   6      2    MOSA_LINK_VERSION
//   8      8    request id, 0 where none is concerned
//
//   HELLO   both ways, first frame of each side: JSON object (mosa_link_hello in link/message.h)
//   SUBMIT  gateway to engine: one request; the gateway chose its id, unique among its running ones, below 2^56
//   CANCEL  gateway to engine: empty; a finished or unknown id is ignored
//   STEP    engine to gateway: the events of one engine step for all sequences of this connection
//   STATS   engine to gateway: counters and gauges, a few times per second while they change
//   DRAIN   gateway to engine: empty; take no more requests, leave when the last has finished
//   ADAPTER gateway to engine: load or drop an adapter
//   ADAPTER_DONE  engine to gateway: what became of the ADAPTER with this id; others may be answered before it
//   ERROR   engine to gateway: the request is refused (id), or the engine is failing (id 0)
//
// Life of a request: SUBMIT, then either one ERROR, or events in STEP frames of which the last has a finish reason.
// Any byte that breaks these rules ends the connection; the engine cancels what the connection had submitted.
#ifndef MOSA_LINK_PROTOCOL_H
#define MOSA_LINK_PROTOCOL_H

#include <stdint.h>

typedef enum mosa_link_type {
    MOSA_LINK_HELLO = 1,
    MOSA_LINK_SUBMIT = 2,
    MOSA_LINK_CANCEL = 3,
    MOSA_LINK_STEP = 4,
    MOSA_LINK_STATS = 5,
    MOSA_LINK_DRAIN = 6,
    MOSA_LINK_ERROR = 7,
    MOSA_LINK_ADAPTER = 8,
    MOSA_LINK_ADAPTER_DONE = 9,
} mosa_link_type;

enum {
    MOSA_LINK_VERSION = 2,
    MOSA_LINK_HEADER_BYTES = 16,
    MOSA_LINK_PAYLOAD_MAX = 64 << 20,   // the longest prompt: 16 Mi tokens
    MOSA_LINK_STEP_BYTES_MAX = 1 << 20, // a larger step is sent as several STEP frames
    MOSA_LINK_HELLO_BYTES_MAX = 64 << 10,
    MOSA_LINK_BIAS_MAX = 4096,       // logit_bias entries
    MOSA_LINK_EMBEDDING_MAX = 65536, // floats
    MOSA_LINK_PATH_MAX = 4095,       // bytes of a path
};

#define MOSA_LINK_ID_MAX ((UINT64_C(1) << 56) - 1)

#endif
