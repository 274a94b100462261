// One step: schedule, run, sample, report.
//
//   drain inbox -> scheduler plans rows -> body over all rows -> head over the rows that need logits -> draws, and the
//   events that report them (engine_output.c, engine_embed.c)
//
// Nothing here allocates: sequences bring their memory, everything else is sized at open.
#include "engine/engine_internal.h"

#include "base/clock.h"

#include <string.h>

static void free_finished(mosa_engine *e) {
    while (e->finished) {
        mosa_sequence *next = e->finished->next;
        mosa_sequence_destroy(e->finished);
        e->finished = next;
    }
}

// --- rows ---------------------------------------------------------------------------------------------------------

// Number of a sequence's adapter in this step's list, counted from 1; 0 for none.
static int32_t number_adapter(mosa_engine *e, const mosa_sequence *q, int32_t *n_adapters) {
    if (!q->adapter) return 0;
    int32_t a = 0;
    while (a < *n_adapters && e->step_adapters[a] != q->adapter->resident) a++;
    if (a == *n_adapters) e->step_adapters[(*n_adapters)++] = q->adapter->resident;
    return a + 1;
}

static int lay_out_rows(mosa_engine *e, int32_t *n_adapters) {
    int n = 0;
    for (int i = 0; i < e->scheduler.n_running; i++) {
        mosa_sequence *q = e->scheduler.running[i];
        if (q->rows == 0) continue;
        e->segments[n++] = (mosa_segment){.row_begin = q->row_begin,
                                          .row_count = q->rows,
                                          .pos_begin = q->n_computed,
                                          .n_pages = q->n_pages,
                                          .pages = q->pages,
                                          .adapter = number_adapter(e, q, n_adapters)};
        memcpy(e->row_tokens + q->row_begin, q->tokens + q->n_computed, (size_t)q->rows * sizeof *q->tokens);
        for (int32_t r = 0; r < q->rows; r++) {
            int32_t position = q->n_computed + r;
            e->row_positions[q->row_begin + r] = position;
            e->row_types[q->row_begin + r] = q->request.n_first > 0 && (size_t)position >= q->request.n_first;
        }
    }
    return n;
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

static mosa_status run_model(mosa_engine *e, const mosa_batch *batch, mosa_error *err) {
    if (e->kv) return mosa_model_forward(e->model, e->row_tokens, e->row_positions, batch, e->kv, err);
    return mosa_model_encode(e->model, e->row_tokens, e->row_positions, e->row_types, batch, err);
}

static mosa_status run_batch(mosa_engine *e, int rows, mosa_error *err) {
    mosa_batch batch = {.rows = rows, .segments = e->segments, .adapters = e->step_adapters};
    batch.n_segments = lay_out_rows(e, &batch.n_adapters);
    count_rows(e);
    mosa_engine_count_guesses(e);
    mosa_engine_begin_masks(e);
    mosa_status status = run_model(e, &batch, err);
    mosa_constraints_join(&e->constraints); // also behind a fault: the thread must not outlive the step
    MOSA_TRY(status);
    for (int i = 0; i < e->scheduler.n_running; i++) {
        mosa_sequence *q = e->scheduler.running[i];
        mosa_scheduler_advance(&e->scheduler, q, q->rows - q->n_draft);
    }
    MOSA_TRY(mosa_engine_pool_embeddings(e, err));
    MOSA_TRY(mosa_engine_score(e, err));
    MOSA_TRY(mosa_engine_sample(e, err));
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
    mosa_engine_finish_cancelled(e);
    mosa_scheduler_admit(&e->scheduler);
    mosa_engine_guess(e);
    int rows = mosa_scheduler_plan(&e->scheduler);
    note_admissions(e);
    if (e->draft.model) MOSA_TRY(mosa_draft_run(e, err));
    if (rows > 0) {
        MOSA_TRY(run_batch(e, rows, err));
        atomic_fetch_add_explicit(&e->counters.steps, 1, memory_order_relaxed);
    }
    mosa_engine_attach_texts(e);
    publish_stats(e, begin);
    if (mosa_buf_failed(&e->step_text)) return mosa_fail(err, MOSA_ENOMEM, "out of memory for the step's text");
    *events = e->events;
    *n_events = e->n_events;
    return MOSA_OK;
}
