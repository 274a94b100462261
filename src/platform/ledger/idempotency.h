// Idempotency keys: a request that is sent again does not run, and is not billed, twice.
//
//   (new) -> RUNNING       mosa_idempotency_begin says NEW; its caller runs the request
//   RUNNING -> DONE        mosa_idempotency_finish: the answer is kept, if it is not too long, and replayed
//   RUNNING -> (forgotten) mosa_idempotency_abandon: nothing was billed, so that a retry may run
//   DONE -> (forgotten)    keep_ms later, or earlier when there are too many entries or bytes, oldest first
//
// A key belongs to a scope (the project), and to one request: `fingerprint` (a hash of method, path and body) must be
// the same each time. Running entries are never forgotten; when they alone fill the table, FULL is the answer. In
// memory only: what ran before a restart is not known here. Thread: any; one short lock, no I/O. Time is milliseconds
// of the monotonic clock.
#ifndef MOSA_PLATFORM_LEDGER_IDEMPOTENCY_H
#define MOSA_PLATFORM_LEDGER_IDEMPOTENCY_H

#include "base/status.h"
#include "base/str.h"

typedef struct mosa_idempotency mosa_idempotency;
typedef struct mosa_idempotency_ticket mosa_idempotency_ticket;

typedef struct mosa_idempotency_options {
    int max_entries;         // 0 = 65536
    size_t max_answer_bytes; // of one body; 0 = 256 KiB
    size_t max_bytes;        // of all that is kept, keys included; 0 = 64 MiB
    int64_t keep_ms;         // 0 = 24 h
} mosa_idempotency_options;

enum { MOSA_IDEMPOTENCY_KEY_MAX = 255 }; // bytes; the caller refuses longer ones

typedef enum mosa_idempotency_verdict {
    MOSA_IDEMPOTENCY_NEW,      // run it; *ticket is the caller's until finish or abandon
    MOSA_IDEMPOTENCY_RUNNING,  // 409: the first one has not ended
    MOSA_IDEMPOTENCY_REPLAY,   // *answer is to be sent, and released
    MOSA_IDEMPOTENCY_TOO_LONG, // 409: it has ended, and its answer was too long to be kept
    MOSA_IDEMPOTENCY_MISMATCH, // 422: the key was used for another request
    MOSA_IDEMPOTENCY_FULL,     // 429: no room to remember it
} mosa_idempotency_verdict;

// Immutable, reference-counted.
typedef struct mosa_idempotency_answer {
    int http;
    bool stream; // the body is server-sent events
    mosa_slice body;
} mosa_idempotency_answer;

mosa_status mosa_idempotency_create(const mosa_idempotency_options *options, mosa_idempotency **out,
                                    mosa_error *err) MOSA_MUST_USE;
void mosa_idempotency_destroy(mosa_idempotency *table); // no ticket may be left; answers may. NULL-safe

// Outputs are written for NEW and REPLAY only. Out of memory is FULL.
mosa_idempotency_verdict mosa_idempotency_begin(mosa_idempotency *table, const char *scope, const char *key,
                                                uint64_t fingerprint, int64_t now_ms, mosa_idempotency_ticket **ticket,
                                                const mosa_idempotency_answer **answer);
// Both consume the ticket. The body is copied.
void mosa_idempotency_finish(mosa_idempotency_ticket *ticket, int http, bool stream, mosa_slice body, int64_t now_ms);
void mosa_idempotency_abandon(mosa_idempotency_ticket *ticket);

void mosa_idempotency_release(const mosa_idempotency_answer *answer); // any thread; NULL-safe

typedef struct mosa_idempotency_stats {
    int entries, running;
    size_t bytes;
} mosa_idempotency_stats;
void mosa_idempotency_get_stats(mosa_idempotency *table, mosa_idempotency_stats *out);

#endif
