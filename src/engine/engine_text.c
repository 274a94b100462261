// The text half of the public library, and the one-request loop.
#include "engine/engine_internal.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static mosa_status deliver(int32_t *found, size_t n, int32_t *tokens, size_t capacity, size_t *n_out) {
    size_t copied = n < capacity ? n : capacity;
    if (copied) memcpy(tokens, found, copied * sizeof *tokens);
    free(found);
    *n_out = n;
    return MOSA_OK;
}

mosa_status mosa_tokenize(const mosa_engine *engine, const char *text, size_t len, unsigned flags, int32_t *tokens,
                          size_t capacity, size_t *n_out, mosa_error *err) {
    int32_t *found;
    size_t n;
    MOSA_TRY(mosa_model_text_encode(engine->text, (mosa_slice){text, len}, flags & MOSA_TOKENIZE_SPECIAL,
                                    flags & MOSA_TOKENIZE_CONTROL, &found, &n, err));
    return deliver(found, n, tokens, capacity, n_out);
}

const char *mosa_token_bytes(const mosa_engine *engine, int32_t token, size_t *len) {
    mosa_slice bytes = mosa_tokenizer_token_bytes(mosa_model_text_tokenizer(engine->text), token);
    *len = bytes.len;
    return bytes.data;
}

mosa_status mosa_tokenize_chat(const mosa_engine *engine, const char *messages_json, int32_t *tokens, size_t capacity,
                               size_t *n_out, mosa_error *err) {
    json_error_t where;
    json_t *messages = json_loads(messages_json, JSON_REJECT_DUPLICATES, &where);
    if (!messages)
        return mosa_fail(err, MOSA_EINVALID, "messages, line %d column %d: %s", where.line, where.column, where.text);
    int32_t *found;
    size_t n;
    mosa_status status = mosa_model_text_chat(engine->text, messages, NULL, NULL, true, false, &found, &n, err);
    json_decref(messages);
    return status == MOSA_OK ? deliver(found, n, tokens, capacity, n_out) : status;
}

// Hands the events of one request over; true while it goes on.
static bool pass_events(mosa_engine *engine, uint64_t id, const mosa_event *events, int n, mosa_event_fn on_event,
                        void *user, mosa_error *err, mosa_status *status) {
    bool running = true;
    for (int i = 0; i < n; i++) {
        if (events[i].request != id) continue;
        if (on_event && !on_event(user, &events[i])) mosa_engine_cancel(engine, id);
        if (events[i].finish == MOSA_FINISH_NONE) continue;
        running = false;
        if (events[i].finish == MOSA_FINISH_ERROR) {
            if (err) *err = *events[i].error;
            *status = events[i].error->status;
        }
    }
    return running;
}

mosa_status mosa_engine_generate(mosa_engine *engine, const mosa_request *request, mosa_event_fn on_event, void *user,
                                 mosa_error *err) {
    uint64_t id;
    MOSA_TRY(mosa_engine_submit(engine, request, &id, err));
    mosa_status status = MOSA_OK;
    const mosa_event *events;
    int n;
    do {
        MOSA_TRY(mosa_engine_step(engine, -1, &events, &n, err));
    } while (pass_events(engine, id, events, n, on_event, user, err, &status));
    return status;
}
