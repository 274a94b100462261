// One step: schedule, run, sample, report.
//
//   drain inbox -> scheduler plans rows -> body over all rows -> head over the rows that need logits -> one token per
//   sequence whose rows are all computed -> events
//
// Nothing here allocates: sequences bring their memory, everything else is sized at open.
#include "engine/engine_internal.h"

#include "base/clock.h"

#include <assert.h>
#include <math.h>
#include <string.h>

static void free_finished(mosa_engine *e) {
    while (e->finished) {
        mosa_sequence *next = e->finished->next;
        mosa_sequence_destroy(e->finished);
        e->finished = next;
    }
}

// --- events -------------------------------------------------------------------------------------------------------

static mosa_event *add_event(mosa_engine *e, const mosa_sequence *q) {
    assert(e->n_events < e->max_events);
    mosa_event *event = &e->events[e->n_events];
    *event = (mosa_event){.request = q->id,
                          .token = -1,
                          .stop_index = -1,
                          .prompt_tokens = q->n_prompt,
                          .cached_tokens = q->n_cached,
                          .completion_tokens = mosa_sequence_generated(q)};
    e->text_offsets[e->n_events++] = e->step_text.len;
    return event;
}

static void finish(mosa_engine *e, mosa_sequence *q, mosa_event *event, mosa_finish reason) {
    event->finish = reason;
    if (reason == MOSA_FINISH_ERROR) event->error = &e->failure;
    if (q->waits) atomic_fetch_sub(&e->n_waiting, 1);
    atomic_fetch_add_explicit(reason == MOSA_FINISH_CANCELLED ? &e->counters.cancelled
                              : reason == MOSA_FINISH_ERROR   ? &e->counters.failed
                                                              : &e->counters.finished,
                              1, memory_order_relaxed);
    mosa_scheduler_remove(&e->scheduler, q);
    q->next = e->finished;
    e->finished = q;
}

static void finish_cancelled_in(mosa_engine *e, mosa_sequence **list, const int *n) {
    for (int i = *n - 1; i >= 0; i--)
        if (list[i]->cancelled) finish(e, list[i], add_event(e, list[i]), MOSA_FINISH_CANCELLED);
}

// Texts move while the buffer grows, so events get their pointers at the end.
static void attach_texts(mosa_engine *e) {
    for (int i = 0; i < e->n_events; i++) {
        size_t end = i + 1 < e->n_events ? e->text_offsets[i + 1] : e->step_text.len;
        e->events[i].text = mosa_buf_str(&e->step_text) + e->text_offsets[i];
        e->events[i].text_len = end - e->text_offsets[i];
    }
}

// --- rows ---------------------------------------------------------------------------------------------------------

static int lay_out_rows(mosa_engine *e) {
    int n = 0;
    for (int i = 0; i < e->scheduler.n_running; i++) {
        mosa_sequence *q = e->scheduler.running[i];
        if (q->rows == 0) continue;
        e->segments[n++] = (mosa_segment){.row_begin = q->row_begin,
                                          .row_count = q->rows,
                                          .pos_begin = q->n_computed,
                                          .n_pages = q->n_pages,
                                          .pages = q->pages};
        memcpy(e->row_tokens + q->row_begin, q->tokens + q->n_computed, (size_t)q->rows * sizeof *q->tokens);
        for (int32_t r = 0; r < q->rows; r++) e->row_positions[q->row_begin + r] = q->n_computed + r;
    }
    return n;
}

static void report_logprobs(mosa_engine *e, const mosa_sequence *q, mosa_event *event, const float *logits) {
    int n = q->request.top_logprobs;
    if (n < 0) return;
    if (n > e->limits.vocab) n = e->limits.vocab;
    mosa_logprob *top = e->tops + (size_t)(event - e->events) * MOSA_TOP_LOGPROBS_MAX;
    event->logprob = mosa_sampler_logprobs(&e->sampler, logits, event->token, n, top);
    event->n_top = n;
    event->top = top;
}

// --- sampling -----------------------------------------------------------------------------------------------------

static bool is_end(const mosa_engine *e, int32_t token) {
    size_t n;
    const mosa_token_id *ends = mosa_model_text_end_ids(e->text, &n);
    for (size_t i = 0; i < n; i++)
        if (ends[i] == token) return true;
    return false;
}

static int32_t draw(mosa_engine *e, const mosa_sequence *q, const float *logits) {
    mosa_sample_input input = {.logits = logits,
                               .sampling = &q->request.sampling,
                               .tokens = q->tokens,
                               .n_prompt = q->n_prompt,
                               .n_tokens = q->n_tokens};
    if (mosa_sequence_generated(q) < q->request.min_tokens)
        input.masked = mosa_model_text_end_ids(e->text, &input.n_masked);
    return mosa_sampler_draw(&e->sampler, &input);
}

// Detokenizes the new token, holds back what may be a stop string, decides whether this was the last one.
static void emit_token(mosa_engine *e, mosa_sequence *q, int32_t token, const float *logits) {
    q->tokens[q->n_tokens++] = token;
    atomic_fetch_add_explicit(&e->counters.generated_tokens, 1, memory_order_relaxed);
    mosa_event *event = add_event(e, q);
    event->token = token;
    report_logprobs(e, q, event, logits);
    bool ended = is_end(e, token) && !q->request.ignore_eos;
    bool full = q->n_tokens == q->capacity;
    mosa_buf_clear(&e->piece);
    if (!ended) mosa_detokenizer_push(&q->detokenizer, token, &e->piece);
    if (ended || full) mosa_detokenizer_flush(&q->detokenizer, &e->piece);
    event->stop_index = mosa_stop_matcher_push(&q->stop, mosa_buf_slice(&e->piece), &e->step_text);
    if (event->stop_index < 0 && (ended || full)) mosa_stop_matcher_flush(&q->stop, &e->step_text);
    if (event->stop_index >= 0 || ended)
        finish(e, q, event, MOSA_FINISH_STOP);
    else if (full)
        finish(e, q, event, MOSA_FINISH_LENGTH);
}

static void use_logits(mosa_engine *e, const mosa_wanted_row *row, const float *logits) {
    mosa_sequence *q = row->sequence;
    if (!row->samples) {
        mosa_event *event = add_event(e, q);
        event->is_prompt = true;
        event->token = q->tokens[row->position + 1];
        report_logprobs(e, q, event, logits);
        return;
    }
    int32_t token = draw(e, q, logits);
    if (token >= 0) {
        emit_token(e, q, token, logits);
        return;
    }
    mosa_fail(&e->failure, MOSA_EINTERNAL, "the model produced logits that are not finite");
    finish(e, q, add_event(e, q), MOSA_FINISH_ERROR);
}

// Rows that need logits: the last of a sequence that is fully computed, and all of a prompt that wants its own.
static int collect_wanted(mosa_engine *e) {
    int n = 0;
    for (int i = 0; i < e->scheduler.n_running; i++) {
        mosa_sequence *q = e->scheduler.running[i];
        if (q->rows == 0 || mosa_sequence_embeds(q)) continue;
        bool complete = q->n_computed == q->n_tokens;
        for (int32_t r = q->request.prompt_logprobs ? 0 : q->rows - 1; r < q->rows; r++) {
            bool samples = complete && r == q->rows - 1;
            int32_t position = q->n_computed - q->rows + r;
            bool scores = q->request.prompt_logprobs && position + 1 < q->n_prompt && position >= q->n_reported;
            if (samples || scores) e->wanted[n++] = (mosa_wanted_row){q, q->row_begin + r, position, samples};
        }
    }
    return n;
}

static mosa_status sample_all(mosa_engine *e, const float *hidden, mosa_error *err) {
    size_t width = (size_t)e->limits.width, vocab = (size_t)e->limits.vocab;
    int n = collect_wanted(e);
    for (int begin = 0; begin < n; begin += e->max_outputs) {
        int count = n - begin < e->max_outputs ? n - begin : e->max_outputs;
        const float *logits;
        for (int i = 0; i < count; i++)
            memcpy(e->selected + (size_t)i * width, hidden + (size_t)e->wanted[begin + i].row * width,
                   width * sizeof *hidden);
        MOSA_TRY(mosa_model_logits(e->model, e->selected, count, &logits, err));
        for (int i = 0; i < count; i++) use_logits(e, &e->wanted[begin + i], logits + (size_t)i * vocab);
    }
    return MOSA_OK;
}

// --- embeddings ---------------------------------------------------------------------------------------------------

static void finish_embedding(mosa_engine *e, mosa_sequence *q) {
    double square = 0;
    for (int i = 0; i < e->limits.width; i++) square += q->embedding_sum[i] * q->embedding_sum[i];
    double scale = square > 0 ? 1 / sqrt(square) : 0;
    for (int i = 0; i < e->limits.width; i++) q->embedding[i] = (float)(q->embedding_sum[i] * scale);
    mosa_event *event = add_event(e, q);
    event->embedding = q->embedding;
    finish(e, q, event, MOSA_FINISH_STOP);
}

// The normalised direction of a mean is that of the sum, so rows are only added up.
static mosa_status pool_embeddings(mosa_engine *e, const float *hidden, mosa_error *err) {
    for (int i = e->scheduler.n_running - 1; i >= 0; i--) {
        mosa_sequence *q = e->scheduler.running[i];
        if (q->rows == 0 || !mosa_sequence_embeds(q)) continue;
        bool complete = q->n_computed == q->n_tokens;
        int32_t known = q->n_reported - (q->n_computed - q->rows);
        int32_t first = q->request.kind == MOSA_EMBED_LAST ? q->rows - 1 : known > 0 ? known : 0;
        if (first >= q->rows || (q->request.kind == MOSA_EMBED_LAST && !complete)) continue;
        const float *normed;
        size_t width = (size_t)e->limits.width;
        MOSA_TRY(mosa_model_normed(e->model, hidden + (size_t)(q->row_begin + first) * width, q->rows - first, &normed,
                                   err));
        for (int32_t r = 0; r < q->rows - first; r++)
            for (size_t d = 0; d < width; d++) q->embedding_sum[d] += normed[(size_t)r * width + d];
        if (complete) finish_embedding(e, q);
    }
    return MOSA_OK;
}

// --- the step -----------------------------------------------------------------------------------------------------

static void count_rows(mosa_engine *e) {
    for (int i = 0; i < e->scheduler.n_running; i++) {
        mosa_sequence *q = e->scheduler.running[i];
        if (q->rows == 0) continue;
        int32_t prompt_left = q->n_prompt - q->n_computed;
        int32_t prompt_rows = prompt_left <= 0 ? 0 : prompt_left < q->rows ? prompt_left : q->rows;
        atomic_fetch_add_explicit(&e->counters.prompt_tokens, (uint64_t)prompt_rows, memory_order_relaxed);
    }
}

static void publish_stats(mosa_engine *e, uint64_t begin_ns) {
    mosa_engine_counters *c = &e->counters;
    const mosa_scheduler *s = &e->scheduler;
    uint64_t spent = mosa_clock_ns() - begin_ns;
    atomic_store_explicit(&c->running, s->n_running, memory_order_relaxed);
    atomic_store_explicit(&c->waiting, s->n_queued, memory_order_relaxed);
    atomic_store_explicit(&c->preemptions, s->preemptions, memory_order_relaxed);
    atomic_store_explicit(&c->pages_cached, s->tree.n_unreferenced, memory_order_relaxed);
    atomic_store_explicit(&c->pages_used, s->pool.n_total - s->pool.n_free - s->tree.n_unreferenced,
                          memory_order_relaxed);
    atomic_store_explicit(&c->step_ns_last, spent, memory_order_relaxed);
    atomic_fetch_add_explicit(&c->step_ns_total, spent, memory_order_relaxed);
}

// Who was preempted waits again, who was admitted waits no longer; in this order, so that a submission of the moment
// never sees room that is not there.
static void note_admissions(mosa_engine *e) {
    for (int i = 0; i < e->scheduler.n_queued; i++) {
        mosa_sequence *q = e->scheduler.queued[i];
        if (!q->waits) atomic_fetch_add(&e->n_waiting, 1);
        q->waits = true;
    }
    for (int i = 0; i < e->scheduler.n_running; i++) {
        mosa_sequence *q = e->scheduler.running[i];
        if (q->waits) atomic_fetch_sub(&e->n_waiting, 1);
        q->waits = false;
        if (q->counted) continue;
        q->counted = true;
        atomic_fetch_add_explicit(&e->counters.cached_tokens, (uint64_t)q->n_cached, memory_order_relaxed);
    }
}

// What a preempted prompt runs a second time is not scored or summed a second time.
static void note_reported(mosa_engine *e) {
    for (int i = 0; i < e->scheduler.n_running; i++) {
        mosa_sequence *q = e->scheduler.running[i];
        if (q->n_computed > q->n_reported) q->n_reported = q->n_computed;
    }
}

static mosa_status run_batch(mosa_engine *e, int rows, mosa_error *err) {
    mosa_batch batch = {.rows = rows, .segments = e->segments, .n_segments = lay_out_rows(e)};
    const float *hidden;
    count_rows(e);
    MOSA_TRY(mosa_model_forward(e->model, e->row_tokens, e->row_positions, &batch, e->kv, &hidden, err));
    for (int i = 0; i < e->scheduler.n_running; i++) mosa_scheduler_advance(&e->scheduler, e->scheduler.running[i]);
    MOSA_TRY(pool_embeddings(e, hidden, err));
    MOSA_TRY(sample_all(e, hidden, err));
    note_reported(e);
    return MOSA_OK;
}

mosa_status mosa_engine_step(mosa_engine *e, int timeout_ms, const mosa_event **events, int *n_events,
                             mosa_error *err) {
    free_finished(e);
    mosa_engine_wait(e, timeout_ms);
    uint64_t begin = mosa_clock_ns();
    e->n_events = 0;
    mosa_buf_clear(&e->step_text);
    mosa_engine_drain_inbox(e);
    finish_cancelled_in(e, e->scheduler.running, &e->scheduler.n_running);
    finish_cancelled_in(e, e->scheduler.queued, &e->scheduler.n_queued);
    int rows = mosa_scheduler_plan(&e->scheduler);
    note_admissions(e);
    if (rows > 0) {
        MOSA_TRY(run_batch(e, rows, err));
        atomic_fetch_add_explicit(&e->counters.steps, 1, memory_order_relaxed);
    }
    attach_texts(e);
    publish_stats(e, begin);
    if (mosa_buf_failed(&e->step_text)) return mosa_fail(err, MOSA_ENOMEM, "out of memory for the step's text");
    *events = e->events;
    *n_events = e->n_events;
    return MOSA_OK;
}
