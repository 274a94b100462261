// What the frames carry: requests, steps, statistics and refusals.
#include "link/message.h"
#include "link/message_internal.h"

#include <math.h>
#include <string.h>

enum { BIAS_BYTES = 8 };

enum submit_flag {
    SUBMIT_IGNORE_EOS = 1,
    SUBMIT_PROMPT_LOGPROBS = 2,
    SUBMIT_NO_SPECULATION = 4,
    SUBMIT_SHOW_CONTROL = 8
};
enum event_flag { EVENT_IS_PROMPT = 1, EVENT_HAS_ERROR = 2 };

static mosa_status corrupt(mosa_error *err, const char *what) {
    return mosa_fail(err, MOSA_ECORRUPT, "link message: %s", what);
}

// --- SUBMIT ---------------------------------------------------------------------------------------------------------

static void put_sampling(mosa_buf *out, const mosa_sampling *sampling) {
    mosa_link_put_f32(out, sampling->temperature);
    mosa_link_put_f32(out, sampling->top_p);
    mosa_link_put_f32(out, sampling->min_p);
    mosa_link_put_u32(out, (uint32_t)sampling->top_k);
    mosa_link_put_f32(out, sampling->repetition_penalty);
    mosa_link_put_f32(out, sampling->frequency_penalty);
    mosa_link_put_f32(out, sampling->presence_penalty);
    mosa_link_put_u64(out, sampling->seed);
    mosa_link_put_u32(out, (uint32_t)sampling->n_logit_bias);
    for (int i = 0; i < sampling->n_logit_bias; i++) {
        mosa_link_put_u32(out, (uint32_t)sampling->logit_bias[i].token);
        mosa_link_put_f32(out, sampling->logit_bias[i].bias);
    }
}

static float get_finite(mosa_link_cursor *in) {
    float value = mosa_link_get_f32(in);
    if (!isfinite(value)) in->failed = true;
    return value;
}

static void get_sampling(mosa_link_cursor *in, mosa_arena *arena, mosa_sampling *sampling) {
    sampling->temperature = get_finite(in);
    sampling->top_p = get_finite(in);
    sampling->min_p = get_finite(in);
    sampling->top_k = (int)mosa_link_get_u32(in);
    sampling->repetition_penalty = get_finite(in);
    sampling->frequency_penalty = get_finite(in);
    sampling->presence_penalty = get_finite(in);
    sampling->seed = mosa_link_get_u64(in);
    uint32_t count = mosa_link_get_count(in, MOSA_LINK_BIAS_MAX, BIAS_BYTES);
    mosa_logit_bias *bias = MOSA_ARENA_ARRAY(arena, mosa_logit_bias, count);
    if (!bias) in->failed = true;
    for (uint32_t i = 0; bias && i < count; i++) {
        bias[i].token = (int32_t)mosa_link_get_u32(in);
        bias[i].bias = get_finite(in);
    }
    sampling->logit_bias = bias;
    sampling->n_logit_bias = (int)count;
}

void mosa_link_put_submit(mosa_buf *out, uint64_t id, const mosa_request *request) {
    size_t start = mosa_link_frame_begin(out, MOSA_LINK_SUBMIT, id);
    mosa_link_put_u8(out, (uint8_t)request->kind);
    mosa_link_put_u8(out, (uint8_t)((request->ignore_eos ? SUBMIT_IGNORE_EOS : 0) |
                                    (request->prompt_logprobs ? SUBMIT_PROMPT_LOGPROBS : 0) |
                                    (request->no_speculation ? SUBMIT_NO_SPECULATION : 0) |
                                    (request->show_control ? SUBMIT_SHOW_CONTROL : 0)));
    mosa_link_put_u16(out, (uint16_t)request->top_logprobs);
    mosa_link_put_u32(out, (uint32_t)request->priority);
    mosa_link_put_u64(out, request->caller);
    mosa_link_put_u64(out, (uint64_t)request->max_tokens);
    mosa_link_put_u64(out, (uint64_t)request->min_tokens);
    put_sampling(out, &request->sampling);
    const char *adapter = request->adapter ? request->adapter : "";
    mosa_link_put_bytes(out, adapter, strlen(adapter));
    mosa_link_put_u8(out, (uint8_t)request->constraint.kind);
    mosa_link_put_bytes(out, request->constraint.text, request->constraint.text_len);
    mosa_link_put_u32(out, (uint32_t)request->n_stop);
    for (int i = 0; i < request->n_stop; i++) mosa_link_put_bytes(out, request->stop[i], strlen(request->stop[i]));
    if (request->n_tokens > MOSA_LINK_PAYLOAD_MAX / sizeof(int32_t)) out->failed = true;
    mosa_link_put_u32(out, (uint32_t)request->n_first);
    mosa_link_put_u32(out, (uint32_t)request->n_tokens);
    mosa_buf_reserve(out, request->n_tokens * sizeof(int32_t));
    for (size_t i = 0; i < request->n_tokens && !out->failed; i++) mosa_link_put_u32(out, (uint32_t)request->tokens[i]);
    mosa_link_frame_end(out, start);
}

static void get_stops(mosa_link_cursor *in, mosa_arena *arena, mosa_request *request) {
    uint32_t count = mosa_link_get_count(in, MOSA_STOP_MAX, sizeof(uint32_t));
    const char **stop = MOSA_ARENA_ARRAY(arena, const char *, count);
    if (!stop) in->failed = true;
    for (uint32_t i = 0; stop && i < count; i++) {
        mosa_slice text = mosa_link_get_bytes(in, MOSA_STOP_BYTES_MAX);
        // The engine's boundary takes C strings: an inner NUL would silently shorten what stops the output.
        if (memchr(text.data, '\0', text.len)) in->failed = true;
        stop[i] = mosa_arena_strndup(arena, text.data, text.len);
        if (!stop[i]) in->failed = true;
    }
    request->stop = stop;
    request->n_stop = (int)count;
}

static void get_adapter_name(mosa_link_cursor *in, mosa_arena *arena, mosa_request *request) {
    mosa_slice name = mosa_link_get_bytes(in, MOSA_ADAPTER_NAME_MAX);
    if (name.len == 0 || in->failed) return;
    request->adapter = mosa_arena_strndup(arena, name.data, name.len);
    if (!request->adapter || memchr(name.data, '\0', name.len)) in->failed = true;
}

static void get_constraint(mosa_link_cursor *in, mosa_constraint *constraint) {
    uint8_t kind = mosa_link_get_u8(in);
    mosa_slice text = mosa_link_get_bytes(in, MOSA_CONSTRAINT_BYTES_MAX);
    if (kind > MOSA_CONSTRAINT_GRAMMAR) in->failed = true;
    *constraint = (mosa_constraint){(mosa_constraint_kind)kind, text.data, text.len};
}

static void get_tokens(mosa_link_cursor *in, mosa_arena *arena, mosa_request *request) {
    request->n_first = mosa_link_get_u32(in);
    uint32_t count = mosa_link_get_count(in, MOSA_LINK_PAYLOAD_MAX / sizeof(int32_t), sizeof(int32_t));
    int32_t *tokens = MOSA_ARENA_ARRAY(arena, int32_t, count);
    if (!tokens) in->failed = true;
    for (uint32_t i = 0; tokens && i < count; i++) tokens[i] = (int32_t)mosa_link_get_u32(in);
    request->tokens = tokens;
    request->n_tokens = count;
}

mosa_status mosa_link_get_submit(const mosa_link_frame *frame, mosa_arena *arena, mosa_request *out, mosa_error *err) {
    mosa_link_cursor in = {frame->payload, frame->len, false};
    mosa_request request = mosa_request_default();
    uint8_t kind = mosa_link_get_u8(&in);
    if (kind > MOSA_SCORE) return corrupt(err, "SUBMIT has an unknown kind");
    request.kind = (mosa_request_kind)kind;
    uint8_t flags = mosa_link_get_u8(&in);
    request.ignore_eos = flags & SUBMIT_IGNORE_EOS;
    request.prompt_logprobs = flags & SUBMIT_PROMPT_LOGPROBS;
    request.no_speculation = flags & SUBMIT_NO_SPECULATION;
    request.show_control = flags & SUBMIT_SHOW_CONTROL;
    request.top_logprobs = (int16_t)mosa_link_get_u16(&in);
    request.priority = (int)mosa_link_get_u32(&in);
    request.caller = mosa_link_get_u64(&in);
    request.max_tokens = (int64_t)mosa_link_get_u64(&in);
    request.min_tokens = (int64_t)mosa_link_get_u64(&in);
    get_sampling(&in, arena, &request.sampling);
    if (in.failed) return corrupt(err, "SUBMIT's sampling parameters are cut off or not finite");
    get_adapter_name(&in, arena, &request);
    if (in.failed) return corrupt(err, "SUBMIT's adapter name is cut off or too long");
    get_constraint(&in, &request.constraint);
    if (in.failed) return corrupt(err, "SUBMIT's constraint is cut off, too long or of an unknown kind");
    get_stops(&in, arena, &request);
    if (in.failed) return corrupt(err, "SUBMIT's stop strings are cut off, too long or too many");
    get_tokens(&in, arena, &request);
    if (in.failed || in.left) return corrupt(err, "SUBMIT's tokens do not fill the frame");
    *out = request;
    return MOSA_OK;
}

// --- STEP -----------------------------------------------------------------------------------------------------------

void mosa_link_put_error_body(mosa_buf *out, const mosa_error *error) {
    mosa_link_put_u16(out, (uint16_t)error->status);
    mosa_link_put_bytes(out, error->message, strlen(error->message));
    mosa_link_put_bytes(out, error->hint, strlen(error->hint));
}

void mosa_link_put_event(mosa_buf *out, uint64_t id, const mosa_event *event, int width) {
    if (!event->embedding) width = 0;
    mosa_link_put_u64(out, id);
    mosa_link_put_u32(out, (uint32_t)event->token);
    mosa_link_put_f32(out, event->logprob);
    mosa_link_put_f32(out, event->score);
    mosa_link_put_u8(out, (uint8_t)((event->is_prompt ? EVENT_IS_PROMPT : 0) | (event->error ? EVENT_HAS_ERROR : 0)));
    mosa_link_put_u8(out, (uint8_t)event->finish);
    mosa_link_put_u16(out, (uint16_t)event->stop_index);
    mosa_link_put_u32(out, (uint32_t)event->prompt_tokens);
    mosa_link_put_u32(out, (uint32_t)event->cached_tokens);
    mosa_link_put_u32(out, (uint32_t)event->completion_tokens);
    mosa_link_put_u32(out, (uint32_t)event->n_top);
    mosa_link_put_u32(out, (uint32_t)width);
    for (int i = 0; i < event->n_top; i++) {
        mosa_link_put_u32(out, (uint32_t)event->top[i].token);
        mosa_link_put_f32(out, event->top[i].logprob);
    }
    for (int i = 0; i < width; i++) mosa_link_put_f32(out, event->embedding[i]);
    mosa_link_put_bytes(out, event->text, event->text_len);
    if (event->error) mosa_link_put_error_body(out, event->error);
}

static void copy_text(char *to, size_t capacity, mosa_slice text) {
    size_t len = text.len < capacity ? text.len : capacity - 1;
    memcpy(to, text.data, len);
    to[len] = '\0';
}

void mosa_link_get_error_body(mosa_link_cursor *in, mosa_error *error) {
    uint16_t status = mosa_link_get_u16(in);
    if (status == MOSA_OK || status >= MOSA_STATUS_COUNT) in->failed = true;
    error->status = (mosa_status)status;
    copy_text(error->message, sizeof error->message, mosa_link_get_bytes(in, MOSA_ERROR_MESSAGE_MAX - 1));
    copy_text(error->hint, sizeof error->hint, mosa_link_get_bytes(in, MOSA_ERROR_HINT_MAX - 1));
}

void mosa_link_step_reader_start(mosa_link_step_reader *reader, const mosa_link_frame *frame) {
    reader->in = (mosa_link_cursor){frame->payload, frame->len, false};
}

void mosa_link_step_reader_finish(mosa_link_step_reader *reader) {
    mosa_buf_finish(&reader->embedding);
}

static void get_embedding(mosa_link_step_reader *reader, mosa_event *event) {
    mosa_link_cursor *in = &reader->in;
    if (reader->n_embedding == 0) return;
    mosa_buf_clear(&reader->embedding);
    for (int i = 0; i < reader->n_embedding; i++) {
        float value = mosa_link_get_f32(in);
        mosa_buf_append(&reader->embedding, &value, sizeof value);
    }
    if (mosa_buf_failed(&reader->embedding)) in->failed = true;
    event->embedding = (const float *)(const void *)reader->embedding.data;
}

mosa_status mosa_link_step_reader_next(mosa_link_step_reader *reader, mosa_event *out, bool *more, mosa_error *err) {
    mosa_link_cursor *in = &reader->in;
    *more = in->left > 0;
    if (!*more) return MOSA_OK;
    mosa_event event = {.request = mosa_link_get_u64(in)};
    event.token = (int32_t)mosa_link_get_u32(in);
    event.logprob = mosa_link_get_f32(in);
    event.score = mosa_link_get_f32(in);
    uint8_t flags = mosa_link_get_u8(in);
    uint8_t finish = mosa_link_get_u8(in);
    if (finish > MOSA_FINISH_ERROR) return corrupt(err, "STEP has an unknown finish reason");
    event.finish = (mosa_finish)finish;
    event.is_prompt = flags & EVENT_IS_PROMPT;
    event.stop_index = (int16_t)mosa_link_get_u16(in);
    event.prompt_tokens = (int32_t)mosa_link_get_u32(in);
    event.cached_tokens = (int32_t)mosa_link_get_u32(in);
    event.completion_tokens = (int32_t)mosa_link_get_u32(in);
    event.n_top = (int)mosa_link_get_u32(in);
    reader->n_embedding = (int)mosa_link_get_u32(in);
    if (in->failed || event.n_top < 0 || event.n_top > MOSA_TOP_LOGPROBS_MAX || reader->n_embedding < 0 ||
        reader->n_embedding > MOSA_LINK_EMBEDDING_MAX)
        return corrupt(err, "STEP has an event that is cut off or has too many log-probabilities");
    for (int i = 0; i < event.n_top; i++) {
        reader->top[i].token = (int32_t)mosa_link_get_u32(in);
        reader->top[i].logprob = mosa_link_get_f32(in);
    }
    event.top = reader->top;
    get_embedding(reader, &event);
    mosa_slice text = mosa_link_get_bytes(in, MOSA_LINK_PAYLOAD_MAX);
    event.text = text.data;
    event.text_len = text.len;
    if (flags & EVENT_HAS_ERROR) {
        mosa_link_get_error_body(in, &reader->error);
        event.error = &reader->error;
    }
    if (in->failed) return corrupt(err, "STEP has an event whose parts exceed the frame");
    *out = event;
    return MOSA_OK;
}

// --- STATS, ERROR ---------------------------------------------------------------------------------------------------

void mosa_link_put_stats(mosa_buf *out, const mosa_engine_stats *stats) {
    const uint64_t values[] = {stats->steps,
                               stats->prompt_tokens,
                               stats->cached_tokens,
                               stats->generated_tokens,
                               stats->finished,
                               stats->cancelled,
                               stats->failed,
                               stats->preemptions,
                               (uint64_t)stats->running,
                               (uint64_t)stats->waiting,
                               (uint64_t)stats->pages_used,
                               (uint64_t)stats->pages_cached,
                               (uint64_t)stats->pages_total,
                               stats->step_ns_last,
                               stats->step_ns_total,
                               stats->drafted,
                               stats->accepted};
    size_t start = mosa_link_frame_begin(out, MOSA_LINK_STATS, 0);
    for (size_t i = 0; i < MOSA_COUNT(values); i++) mosa_link_put_u64(out, values[i]);
    mosa_link_frame_end(out, start);
}

mosa_status mosa_link_get_stats(const mosa_link_frame *frame, mosa_engine_stats *out, mosa_error *err) {
    mosa_link_cursor in = {frame->payload, frame->len, false};
    mosa_engine_stats stats = {0};
    stats.steps = mosa_link_get_u64(&in);
    stats.prompt_tokens = mosa_link_get_u64(&in);
    stats.cached_tokens = mosa_link_get_u64(&in);
    stats.generated_tokens = mosa_link_get_u64(&in);
    stats.finished = mosa_link_get_u64(&in);
    stats.cancelled = mosa_link_get_u64(&in);
    stats.failed = mosa_link_get_u64(&in);
    stats.preemptions = mosa_link_get_u64(&in);
    stats.running = (int)mosa_link_get_u64(&in);
    stats.waiting = (int)mosa_link_get_u64(&in);
    stats.pages_used = (int64_t)mosa_link_get_u64(&in);
    stats.pages_cached = (int64_t)mosa_link_get_u64(&in);
    stats.pages_total = (int64_t)mosa_link_get_u64(&in);
    stats.step_ns_last = mosa_link_get_u64(&in);
    stats.step_ns_total = mosa_link_get_u64(&in);
    stats.drafted = mosa_link_get_u64(&in);
    stats.accepted = mosa_link_get_u64(&in);
    if (in.failed || in.left) return corrupt(err, "STATS has another size than expected");
    *out = stats;
    return MOSA_OK;
}

void mosa_link_put_error(mosa_buf *out, uint64_t id, const mosa_error *error) {
    size_t start = mosa_link_frame_begin(out, MOSA_LINK_ERROR, id);
    mosa_link_put_error_body(out, error);
    mosa_link_frame_end(out, start);
}

mosa_status mosa_link_get_error(const mosa_link_frame *frame, mosa_error *out, mosa_error *err) {
    mosa_link_cursor in = {frame->payload, frame->len, false};
    mosa_error error = {0};
    mosa_link_get_error_body(&in, &error);
    if (in.failed || in.left) return corrupt(err, "ERROR is cut off or names no status");
    *out = error;
    return MOSA_OK;
}
