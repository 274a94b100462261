// The draft model: opening it beside the engine's own, catching up, and guessing.
#include "engine/engine_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// --- open and close -----------------------------------------------------------------------------------------------

static mosa_status refuse_vocabulary(const char *path, const char *why, mosa_error *err) {
    mosa_fail(err, MOSA_EINVALID, "%s cannot draft for this model: %s", path, why);
    return mosa_hint(err, "a draft model needs the same vocabulary; take a smaller one of the same family");
}

static mosa_status compare_tokens(const char *path, const mosa_tokenizer *ours, const mosa_tokenizer *theirs,
                                  mosa_error *err) {
    size_t size = mosa_tokenizer_size(ours);
    char why[96];
    if (mosa_tokenizer_size(theirs) != size) {
        snprintf(why, sizeof why, "it has %zu tokens, not %zu", mosa_tokenizer_size(theirs), size);
        return refuse_vocabulary(path, why, err);
    }
    for (size_t id = 0; id < size; id++) {
        mosa_slice a = mosa_tokenizer_token_bytes(ours, (mosa_token_id)id);
        mosa_slice b = mosa_tokenizer_token_bytes(theirs, (mosa_token_id)id);
        if (a.len == b.len && memcmp(a.data, b.data, a.len) == 0) continue;
        snprintf(why, sizeof why, "token %zu is another text in it", id);
        return refuse_vocabulary(path, why, err);
    }
    return MOSA_OK;
}

static mosa_status check_vocabulary(const mosa_engine *e, const char *path, mosa_error *err) {
    mosa_model_text *text;
    MOSA_TRY(mosa_model_text_open(path, NULL, &text, err));
    mosa_status status = compare_tokens(path, mosa_model_text_tokenizer(e->text), mosa_model_text_tokenizer(text), err);
    mosa_model_text_close(text);
    return status;
}

static mosa_status allocate(mosa_draft *d, int max_running, mosa_error *err) {
    d->row_tokens = calloc((size_t)d->max_rows, sizeof *d->row_tokens);
    d->row_positions = calloc((size_t)d->max_rows, sizeof *d->row_positions);
    d->segments = calloc((size_t)max_running, sizeof *d->segments);
    d->guesses = calloc((size_t)max_running, sizeof(mosa_sequence *));
    d->guess_rows = calloc((size_t)max_running, sizeof *d->guess_rows);
    d->logits = calloc((size_t)d->vocab_engine, sizeof *d->logits);
    if (d->row_tokens && d->row_positions && d->segments && d->guesses && d->guess_rows && d->logits) return MOSA_OK;
    return mosa_fail(err, MOSA_ENOMEM, "out of memory for the draft model's buffers");
}

mosa_status mosa_draft_open(mosa_engine *e, const mosa_engine_options *o, mosa_error *err) {
    mosa_draft *d = &e->draft;
    mosa_model_options options = {.path = o->draft_model,
                                  .quantize = MOSA_F32,
                                  .threads = o->threads,
                                  .context = o->context_tokens,
                                  .max_rows = o->max_batch_tokens,
                                  .max_outputs = o->max_sequences < 64 ? o->max_sequences : 64};
    MOSA_TRY(check_vocabulary(e, o->draft_model, err));
    MOSA_TRY(mosa_model_open(e->backend, &options, &d->model, err));
    const mosa_model_config *c = mosa_model_get_config(d->model);
    d->max_rows = (int)options.max_rows;
    d->max_outputs = (int)options.max_outputs;
    d->vocab = (int)c->vocab;
    d->vocab_engine = (int32_t)mosa_model_get_config(e->model)->vocab;
    d->context_tokens = c->context;
    d->cost = (float)mosa_model_weight_bytes(d->model) / (float)mosa_model_weight_bytes(e->model);
    return allocate(d, o->max_sequences, err);
}

mosa_status mosa_draft_create_kv(mosa_engine *e, const mosa_kv_spec *spec, mosa_error *err) {
    return e->backend->ops->kv_create(e->backend, spec, &e->draft.kv, err);
}

void mosa_draft_close(mosa_engine *e) {
    mosa_draft *d = &e->draft;
    if (d->kv) e->backend->ops->kv_destroy(e->backend, d->kv);
    mosa_model_close(d->model);
    free(d->row_tokens);
    free(d->row_positions);
    free(d->segments);
    free(d->guesses);
    free(d->guess_rows);
    free(d->logits);
    *d = (mosa_draft){0};
}

// --- one pass -----------------------------------------------------------------------------------------------------

typedef struct draft_batch {
    int32_t rows, n_segments, n_guesses;
} draft_batch;

// Adds positions [from, from + count) of a sequence. Tokens beyond a smaller vocabulary are read as token 0: that can
// only spoil a guess.
static void add_rows(mosa_draft *d, draft_batch *batch, mosa_sequence *q, int32_t from, int32_t count, bool guesses) {
    d->segments[batch->n_segments++] = (mosa_segment){
        .row_begin = batch->rows, .row_count = count, .pos_begin = from, .n_pages = q->n_pages, .pages = q->pages};
    for (int32_t r = 0; r < count; r++) {
        int32_t token = q->tokens[from + r];
        d->row_tokens[batch->rows + r] = token < d->vocab ? token : 0;
        d->row_positions[batch->rows + r] = from + r;
    }
    batch->rows += count;
    if (!guesses) return;
    d->guesses[batch->n_guesses] = q;
    d->guess_rows[batch->n_guesses++] = batch->rows - 1;
}

static const float *widened(mosa_draft *d, const float *logits) {
    if (d->vocab == d->vocab_engine) return logits;
    int32_t n = d->vocab < d->vocab_engine ? d->vocab : d->vocab_engine;
    memcpy(d->logits, logits, (size_t)n * sizeof *logits);
    for (int32_t i = n; i < d->vocab_engine; i++) d->logits[i] = -INFINITY;
    return d->logits;
}

// Runs the batch; the guess of each sequence that guesses goes behind its last token and `made` earlier guesses.
static mosa_status run_pass(mosa_engine *e, const draft_batch *rows, int32_t made, mosa_error *err) {
    mosa_draft *d = &e->draft;
    mosa_batch batch = {.rows = rows->rows, .n_segments = rows->n_segments, .segments = d->segments};
    const float *logits;
    MOSA_TRY(mosa_model_forward(d->model, d->row_tokens, d->row_positions, &batch, d->kv, err));
    for (int begin = 0; begin < rows->n_guesses; begin += d->max_outputs) {
        int count = rows->n_guesses - begin < d->max_outputs ? rows->n_guesses - begin : d->max_outputs;
        MOSA_TRY(mosa_model_logits(d->model, d->guess_rows + begin, count, &logits, err));
        for (int i = 0; i < count; i++) {
            mosa_sequence *q = d->guesses[begin + i];
            int32_t at = q->n_tokens + made;
            int32_t token = mosa_engine_draw(e, q, at, widened(d, logits + (size_t)i * (size_t)d->vocab));
            q->tokens[at] = token < 0 ? 0 : token;
        }
    }
    return MOSA_OK;
}

// --- all guesses of a step ----------------------------------------------------------------------------------------

// Adds what sequences still lack, as far as the batch reaches: first those that guess now, whom the policy has counted
// (engine_guess.c), then those that want to later.
static void catch_up(mosa_engine *e, draft_batch *batch) {
    mosa_draft *d = &e->draft;
    for (int later = 0; later < 2; later++) {
        for (int i = 0; i < e->scheduler.n_running; i++) {
            mosa_sequence *q = e->scheduler.running[i];
            bool guesses = q->n_draft > 0;
            if (!q->wants_mirror || guesses == (later == 1)) continue;
            mosa_scheduler_skip_mirrored(&e->scheduler, q);
            int32_t held = q->n_pages * MOSA_PAGE_TOKENS, end = q->n_tokens < held ? q->n_tokens : held;
            int32_t count = end - q->n_mirrored, room = d->max_rows - batch->rows;
            if (count > room) count = room;
            if (count <= 0) continue;
            add_rows(d, batch, q, q->n_mirrored, count, guesses);
            mosa_scheduler_mirror(&e->scheduler, q, q->n_mirrored + count);
        }
    }
}

mosa_status mosa_draft_run(mosa_engine *e, mosa_error *err) {
    mosa_draft *d = &e->draft;
    draft_batch batch = {0};
    catch_up(e, &batch);
    for (int32_t made = 0; batch.rows > 0; made++) {
        MOSA_TRY(run_pass(e, &batch, made, err));
        batch = (draft_batch){0};
        for (int i = 0; i < e->scheduler.n_running; i++) {
            mosa_sequence *q = e->scheduler.running[i];
            if (q->n_draft <= made + 1 || q->constrained) continue;
            add_rows(d, &batch, q, q->n_tokens + made, 1, true);
            q->n_guess_mirrored = q->n_tokens + made + 1;
        }
    }
    return MOSA_OK;
}
