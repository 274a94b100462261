// What a step's rows give: draws, checked guesses, log-probabilities, text, and the events that report them.
//
// A sequence may run several rows that want logits. Row p draws token p+1; while that token is the one that was guessed
// (sequence.h), the next row stands as well and draws the token after it. The first draw that differs makes the rows
// behind it void: their positions are computed anew. So what comes out is what one row per step would have given.
#include "engine/engine_internal.h"

#include "base/rng.h"

#include <assert.h>
#include <string.h>

// --- events -------------------------------------------------------------------------------------------------------

mosa_event *mosa_engine_add_event(mosa_engine *e, const mosa_sequence *q) {
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

void mosa_engine_finish(mosa_engine *e, mosa_sequence *q, mosa_event *event, mosa_finish reason) {
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
        if (list[i]->cancelled)
            mosa_engine_finish(e, list[i], mosa_engine_add_event(e, list[i]), MOSA_FINISH_CANCELLED);
}

void mosa_engine_finish_cancelled(mosa_engine *e) {
    finish_cancelled_in(e, e->scheduler.running, &e->scheduler.n_running);
    finish_cancelled_in(e, e->scheduler.queued, &e->scheduler.n_queued);
}

void mosa_engine_attach_texts(mosa_engine *e) {
    for (int i = 0; i < e->n_events; i++) {
        size_t end = i + 1 < e->n_events ? e->text_offsets[i + 1] : e->step_text.len;
        e->events[i].text = mosa_buf_str(&e->step_text) + e->text_offsets[i];
        e->events[i].text_len = end - e->text_offsets[i];
    }
}

// --- log-probabilities and draws ------------------------------------------------------------------------------------

// What a row has for its token: its logits on the host, or what the device drew or scored.
typedef struct row_result {
    const float *logits; // NULL: the device's
    const mosa_drawn *drawn;
} row_result;

static void report_logprobs(mosa_engine *e, const mosa_sequence *q, mosa_event *event, row_result row) {
    int n = q->request.top_logprobs;
    if (n < 0) return;
    if (n > e->limits.vocab) n = e->limits.vocab;
    mosa_logprob *top = e->tops + (size_t)(event - e->events) * MOSA_TOP_LOGPROBS_MAX;
    if (row.logits)
        event->logprob = mosa_sampler_logprobs(&e->sampler, row.logits, event->token, n, top);
    else
        event->logprob = row.drawn->logprob;
    for (int i = 0; !row.logits && i < n; i++)
        top[i] = (mosa_logprob){row.drawn->top_token[i], row.drawn->top_logprob[i]};
    event->n_top = n;
    event->top = top;
}

static bool is_end(const mosa_engine *e, int32_t token) {
    size_t n;
    const mosa_token_id *ends = mosa_model_text_end_ids(e->text, &n);
    for (size_t i = 0; i < n; i++)
        if (ends[i] == token) return true;
    return false;
}

int32_t mosa_engine_draw(mosa_engine *e, const mosa_sequence *q, int32_t n_tokens, const float *logits) {
    mosa_sample_input input = {.logits = logits,
                               .sampling = &q->request.sampling,
                               .tokens = q->tokens,
                               .n_prompt = q->n_prompt,
                               .n_tokens = n_tokens};
    if (n_tokens - q->n_prompt < q->request.min_tokens)
        input.masked = mosa_model_text_end_ids(e->text, &input.n_masked);
    return mosa_sampler_draw(&e->sampler, &input);
}

// Detokenizes the new token, holds back what may be a stop string, decides whether this was the last one.
static void report_token(mosa_engine *e, mosa_sequence *q, int32_t token, row_result row) {
    atomic_fetch_add_explicit(&e->counters.generated_tokens, 1, memory_order_relaxed);
    mosa_event *event = mosa_engine_add_event(e, q);
    event->token = token;
    report_logprobs(e, q, event, row);
    bool over = q->constrained && mosa_constrained_is_over(q->constrained);
    bool ended = is_end(e, token) && (!q->request.ignore_eos || q->constrained);
    bool full = q->n_tokens == q->capacity;
    mosa_buf_clear(&e->piece);
    if (!ended) mosa_detokenizer_push(&q->detokenizer, token, &e->piece);
    if (ended || over || full) mosa_detokenizer_flush(&q->detokenizer, &e->piece);
    event->stop_index = mosa_stop_matcher_push(&q->stop, mosa_buf_slice(&e->piece), &e->step_text);
    if (event->stop_index < 0 && (ended || over || full)) mosa_stop_matcher_flush(&q->stop, &e->step_text);
    if (event->stop_index >= 0 || ended || over)
        mosa_engine_finish(e, q, event, MOSA_FINISH_STOP);
    else if (full)
        mosa_engine_finish(e, q, event, MOSA_FINISH_LENGTH);
}

// The next token of `q` is `token`. Where it was guessed its own row has run already and now counts as computed.
static void append_token(mosa_engine *e, mosa_sequence *q, int32_t token, bool certain, row_result row) {
    bool guessed = q->n_draft > 0 && q->tokens[q->n_tokens] == token;
    if (q->n_draft > 0 && !certain) mosa_engine_judge_guess(e, q, guessed);
    q->n_draft = guessed ? q->n_draft - 1 : 0;
    q->tokens[q->n_tokens++] = token;
    if (guessed) {
        // A guess that the draft model has read (all but the last) is a token that it has read.
        if (q->n_mirrored == q->n_tokens - 1 && q->n_mirrored < q->n_guess_mirrored)
            mosa_scheduler_mirror(&e->scheduler, q, q->n_tokens);
        mosa_scheduler_advance(&e->scheduler, q, 1);
    }
    report_token(e, q, token, row);
}

static void score_prompt_token(mosa_engine *e, const mosa_wanted_row *wanted, row_result row) {
    mosa_event *event = mosa_engine_add_event(e, wanted->sequence);
    event->is_prompt = true;
    event->token = wanted->sequence->tokens[wanted->position + 1];
    report_logprobs(e, wanted->sequence, event, row);
}

static int32_t draw_token(mosa_engine *e, mosa_sequence *q, row_result row) {
    if (!row.logits) return row.drawn->token;
    return q->constrained ? mosa_engine_draw_constrained(e, q, row.logits)
                          : mosa_engine_draw(e, q, q->n_tokens, row.logits);
}

// A row whose own token was a wrong guess does not count as computed; nor does one of a sequence that has ended.
static bool is_stale(const mosa_wanted_row *wanted) {
    const mosa_sequence *q = wanted->sequence;
    return wanted->samples && (q->state != MOSA_SEQUENCE_RUNNING || wanted->position >= q->n_computed);
}

static void use_row(mosa_engine *e, const mosa_wanted_row *wanted, row_result row) {
    mosa_sequence *q = wanted->sequence;
    if (!wanted->samples) {
        score_prompt_token(e, wanted, row);
        return;
    }
    bool certain = q->constrained && mosa_constrained_next(q->constrained) >= 0;
    int32_t token = draw_token(e, q, row);
    if (token < 0 && !q->constrained)
        mosa_fail(&e->failure, MOSA_EINTERNAL, "the model produced logits that are not finite");
    if (token >= 0 && q->constrained && !mosa_constrained_take(q->constrained, token)) {
        mosa_fail(&e->failure, MOSA_EINTERNAL, "the constraint refused token %d, which it had allowed", token);
        token = -1;
    }
    if (token >= 0)
        append_token(e, q, token, certain, row);
    else
        mosa_engine_finish(e, q, mosa_engine_add_event(e, q), MOSA_FINISH_ERROR);
}

// --- the device's part ----------------------------------------------------------------------------------------------

// Whether the row's token depends on its logits and the request's filters alone. A row draws the token after it, so its
// position says how many tokens there will have been, whatever becomes of the rows before it.
static bool device_draws(const mosa_wanted_row *wanted) {
    const mosa_sequence *q = wanted->sequence;
    const mosa_sampling *p = &q->request.sampling;
    if (!wanted->samples) return true;
    bool repetition = p->repetition_penalty != 1.0f && p->repetition_penalty > 0;
    bool penalties = repetition || p->frequency_penalty != 0 || p->presence_penalty != 0;
    bool ends_masked = wanted->position + 1 - q->n_prompt < q->request.min_tokens;
    return !q->constrained && !penalties && p->n_logit_bias == 0 && !ends_masked;
}

static mosa_draw draw_of(const mosa_wanted_row *wanted, int row) {
    const mosa_sequence *q = wanted->sequence;
    const mosa_sampling *p = &q->request.sampling;
    mosa_draw draw = {.row = row, .given = -1, .n_top = q->request.top_logprobs};
    if (!wanted->samples) {
        draw.given = q->tokens[wanted->position + 1];
        return draw;
    }
    draw.temperature = p->temperature;
    draw.top_k = p->top_k;
    draw.top_p = p->top_p;
    draw.min_p = p->min_p;
    draw.uniform = mosa_rng_uniform(p->seed, (uint64_t)(wanted->position + 1 - q->n_prompt));
    return draw;
}

// Draws what the device can, for the rows of one head run; drawn[] is in the order of such rows.
static mosa_status draw_on_device(mosa_engine *e, const mosa_wanted_row *wanted, int count, mosa_error *err) {
    int n = 0;
    for (int i = 0; i < count; i++)
        if (device_draws(&wanted[i])) e->draws[n++] = draw_of(&wanted[i], i);
    return n > 0 ? mosa_model_draw(e->model, e->draws, n, e->drawn, err) : MOSA_OK;
}

static mosa_status use_device_rows(mosa_engine *e, const mosa_wanted_row *wanted, int count, mosa_error *err) {
    MOSA_TRY(draw_on_device(e, wanted, count, err));
    for (int i = 0, n = 0; i < count; i++) {
        row_result row = {0};
        bool drawn = device_draws(&wanted[i]);
        if (drawn) row.drawn = &e->drawn[n++];
        if (is_stale(&wanted[i])) continue;
        if (!drawn) {
            MOSA_TRY(mosa_model_read_logits(e->model, i, e->row_logits, err));
            row.logits = e->row_logits;
        }
        use_row(e, &wanted[i], row);
    }
    return MOSA_OK;
}

// --- rows -----------------------------------------------------------------------------------------------------------

// Adds the rows of one sequence: from its last token on when it is fully computed, and all of a prompt that wants its
// own log-probabilities. Returns the new count.
static int collect_of(mosa_engine *e, mosa_sequence *q, int n) {
    int32_t certain = q->rows - q->n_draft, first = q->n_computed - certain;
    bool complete = q->n_computed == q->n_tokens;
    for (int32_t r = q->request.prompt_logprobs ? 0 : certain - 1; r < q->rows; r++) {
        int32_t position = first + r;
        bool samples = complete && position >= q->n_tokens - 1;
        bool scores = q->request.prompt_logprobs && position + 1 < q->n_prompt && position >= q->n_reported;
        if (samples || scores) e->wanted[n++] = (mosa_wanted_row){q, q->row_begin + r, position, samples};
    }
    return n;
}

static int collect_wanted(mosa_engine *e) {
    int n = 0;
    for (int i = 0; i < e->scheduler.n_running; i++) {
        mosa_sequence *q = e->scheduler.running[i];
        if (q->rows > 0 && !mosa_sequence_embeds(q)) n = collect_of(e, q, n);
    }
    return n;
}

static mosa_status use_host_rows(mosa_engine *e, const mosa_wanted_row *wanted, int count, mosa_error *err) {
    const float *logits;
    MOSA_TRY(mosa_model_logits(e->model, e->picked, count, &logits, err));
    for (int i = 0; i < count; i++)
        if (!is_stale(&wanted[i]))
            use_row(e, &wanted[i], (row_result){.logits = logits + (size_t)i * (size_t)e->limits.vocab});
    return MOSA_OK;
}

mosa_status mosa_engine_sample(mosa_engine *e, mosa_error *err) {
    int n = collect_wanted(e);
    for (int begin = 0; begin < n; begin += e->max_outputs) {
        const mosa_wanted_row *wanted = e->wanted + begin;
        int count = n - begin < e->max_outputs ? n - begin : e->max_outputs;
        for (int i = 0; i < count; i++) e->picked[i] = wanted[i].row;
        if (!mosa_model_draws(e->model)) {
            MOSA_TRY(use_host_rows(e, wanted, count, err));
            continue;
        }
        MOSA_TRY(mosa_model_logits(e->model, e->picked, count, NULL, err));
        MOSA_TRY(use_device_rows(e, wanted, count, err));
    }
    return MOSA_OK;
}
