// What the frames carry: requests, steps, statistics, greetings and refusals, to and from their wire form.
//
// Encoders append one whole frame to a mosa_buf (check mosa_buf_failed once). Decoders take a payload that a hostile
// peer may have written: every count and length is checked against the payload before memory is taken, and any breach
// is MOSA_ECORRUPT naming the field. Thread: reentrant.
#ifndef MOSA_LINK_MESSAGE_H
#define MOSA_LINK_MESSAGE_H

#include "base/arena.h"
#include "link/frame.h"
#include "mosa/mosa.h"

// --- HELLO ----------------------------------------------------------------------------------------------------------

enum { MOSA_LINK_TOKEN_MAX = 128 };

typedef struct mosa_link_hello {
    mosa_engine_info info;               // from an engine; zeroed from a gateway
    char version[32];                    // of the program
    char token[MOSA_LINK_TOKEN_MAX + 1]; // from a gateway: the shared secret, or ""
    int64_t pid;
} mosa_link_hello;

void mosa_link_put_hello(mosa_buf *out, const mosa_link_hello *hello);
mosa_status mosa_link_get_hello(const mosa_link_frame *frame, mosa_link_hello *hello, mosa_error *err) MOSA_MUST_USE;

// --- SUBMIT ---------------------------------------------------------------------------------------------------------

void mosa_link_put_submit(mosa_buf *out, uint64_t id, const mosa_request *request);

// The request's arrays are placed in `arena`. Values are checked for form (counts, finite numbers), not for meaning:
// the engine does that.
mosa_status mosa_link_get_submit(const mosa_link_frame *frame, mosa_arena *arena, mosa_request *request,
                                 mosa_error *err) MOSA_MUST_USE;

// --- STEP -----------------------------------------------------------------------------------------------------------

// Appends one event to a STEP frame that mosa_link_frame_begin started; `id` replaces event->request, `width` is the
// length of event->embedding where there is one.
void mosa_link_put_event(mosa_buf *out, uint64_t id, const mosa_event *event, int width);

// Reads events one after another. Zero it, set `in` to the payload; finish frees its scratch.
typedef struct mosa_link_step_reader {
    mosa_link_cursor in;
    mosa_logprob top[MOSA_TOP_LOGPROBS_MAX];
    mosa_buf embedding; // (n_embedding) floats of the current event
    int n_embedding;
    mosa_error error; // error of the current event
} mosa_link_step_reader;

void mosa_link_step_reader_start(mosa_link_step_reader *reader, const mosa_link_frame *frame);
// *event's pointers are valid until the next call. *more = false at the end (then *event is untouched).
mosa_status mosa_link_step_reader_next(mosa_link_step_reader *reader, mosa_event *event, bool *more,
                                       mosa_error *err) MOSA_MUST_USE;
void mosa_link_step_reader_finish(mosa_link_step_reader *reader);

// --- ADAPTER, ADAPTER_DONE ------------------------------------------------------------------------------------------

typedef struct mosa_link_adapter {
    bool load; // else drop
    char name[MOSA_ADAPTER_NAME_MAX + 1];
    char path[MOSA_LINK_PATH_MAX + 1]; // as the engine's process finds it; "" when dropping
} mosa_link_adapter;

typedef struct mosa_link_adapter_done {
    mosa_link_adapter adapter; // as asked
    mosa_error error;          // MOSA_OK when it was done
    int rank;                  // of a loaded one
    int64_t bytes;
} mosa_link_adapter_done;

void mosa_link_put_adapter(mosa_buf *out, uint64_t id, const mosa_link_adapter *adapter);
mosa_status mosa_link_get_adapter(const mosa_link_frame *frame, mosa_link_adapter *adapter,
                                  mosa_error *err) MOSA_MUST_USE;
void mosa_link_put_adapter_done(mosa_buf *out, uint64_t id, const mosa_link_adapter_done *done);
mosa_status mosa_link_get_adapter_done(const mosa_link_frame *frame, mosa_link_adapter_done *done,
                                       mosa_error *err) MOSA_MUST_USE;

// --- STATS, ERROR ---------------------------------------------------------------------------------------------------

void mosa_link_put_stats(mosa_buf *out, const mosa_engine_stats *stats);
mosa_status mosa_link_get_stats(const mosa_link_frame *frame, mosa_engine_stats *stats, mosa_error *err) MOSA_MUST_USE;

void mosa_link_put_error(mosa_buf *out, uint64_t id, const mosa_error *error);
mosa_status mosa_link_get_error(const mosa_link_frame *frame, mosa_error *error, mosa_error *err) MOSA_MUST_USE;

#endif
