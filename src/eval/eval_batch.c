// Submitting, stepping, and giving each event to its job.
#include "eval/eval_batch.h"

#include <stdlib.h>
#include <string.h>

mosa_eval_job *mosa_eval_batch_add(mosa_eval_batch *batch) {
    if (batch->n_jobs == batch->capacity) {
        size_t n = batch->capacity ? batch->capacity * 2 : 256;
        mosa_eval_job *jobs = realloc(batch->jobs, n * sizeof *jobs);
        if (!jobs) return NULL;
        batch->jobs = jobs;
        batch->capacity = n;
    }
    mosa_eval_job *job = &batch->jobs[batch->n_jobs++];
    *job = (mosa_eval_job){0};
    return job;
}

void mosa_eval_batch_finish(mosa_eval_batch *batch) {
    for (size_t i = 0; i < batch->n_jobs; i++) {
        free(batch->jobs[i].tokens);
        mosa_buf_finish(&batch->jobs[i].text);
    }
    free(batch->jobs);
    *batch = (mosa_eval_batch){0};
}

// --- running --------------------------------------------------------------------------------------------------------

typedef struct flight {
    uint64_t id; // 0 = free
    mosa_eval_job *job;
    size_t next_prompt; // index of the prompt token that the next prompt event scores
} flight;

static mosa_status submit(mosa_engine *engine, mosa_eval_job *job, const char *adapter, flight *slot, mosa_error *err) {
    mosa_request request = mosa_request_default();
    bool scores = job->score_from < job->n_tokens;
    request.adapter = adapter;
    request.tokens = job->tokens;
    request.n_tokens = job->n_tokens;
    request.sampling.temperature = 0;
    request.max_tokens = job->max_tokens ? job->max_tokens : 1;
    request.prompt_logprobs = scores;
    request.top_logprobs = scores ? 0 : -1;
    request.stop = &job->stop;
    request.n_stop = job->stop != NULL;
    *slot = (flight){.job = job, .next_prompt = 1};
    return mosa_engine_submit(engine, &request, &slot->id, err);
}

static void take_event(flight *slot, const mosa_event *event) {
    mosa_eval_job *job = slot->job;
    if (event->is_prompt) {
        if (slot->next_prompt >= job->score_from) job->logprob += (double)event->logprob;
        slot->next_prompt++;
    } else if (job->max_tokens) {
        mosa_buf_append(&job->text, event->text, event->text_len);
    }
    if (event->finish == MOSA_FINISH_NONE) return;
    if (event->finish == MOSA_FINISH_ERROR) {
        job->refused = true;
        job->error = *event->error;
    }
    slot->id = 0;
}

static flight *find(flight *slots, uint64_t id) {
    for (int i = 0; i < MOSA_EVAL_IN_FLIGHT; i++)
        if (slots[i].id == id) return &slots[i];
    return NULL;
}

// Fills free slots; a job that cannot run is marked and skipped, a full queue waits for the next step.
static mosa_status fill(mosa_eval_batch *batch, mosa_engine *engine, const char *adapter, flight *slots, size_t *next,
                        size_t *done, mosa_error *err) {
    for (int i = 0; i < MOSA_EVAL_IN_FLIGHT && *next < batch->n_jobs; i++) {
        if (slots[i].id) continue;
        mosa_eval_job *job = &batch->jobs[*next];
        mosa_status status = submit(engine, job, adapter, &slots[i], &job->error);
        if (status != MOSA_OK) slots[i].id = 0;
        if (status == MOSA_EBUSY) return MOSA_OK;
        if (status == MOSA_ENOMEM) return mosa_fail(err, status, "%s", job->error.message);
        if (status != MOSA_OK) {
            job->refused = true;
            ++*done;
            i--;
        }
        ++*next;
    }
    return MOSA_OK;
}

mosa_status mosa_eval_batch_run(mosa_eval_batch *batch, mosa_engine *engine, const mosa_eval_options *options,
                                mosa_error *err) {
    flight slots[MOSA_EVAL_IN_FLIGHT] = {0};
    size_t next = 0, done = 0;
    while (done < batch->n_jobs) {
        MOSA_TRY(fill(batch, engine, options->adapter, slots, &next, &done, err));
        if (done == batch->n_jobs) break;
        const mosa_event *events;
        int n;
        MOSA_TRY(mosa_engine_step(engine, -1, &events, &n, err));
        for (int i = 0; i < n; i++) {
            flight *slot = find(slots, events[i].request);
            if (!slot) continue;
            take_event(slot, &events[i]);
            done += slot->id == 0;
        }
        if (options->progress) options->progress(options->user, done, batch->n_jobs);
    }
    return MOSA_OK;
}

// --- tokens ---------------------------------------------------------------------------------------------------------

// `messages`: the text is a conversation. A token seldom has less than a byte, so one pass is nearly always enough.
static mosa_status tokenize(const mosa_engine *engine, mosa_slice text, bool messages, unsigned flags, int32_t **tokens,
                            size_t *n, mosa_error *err) {
    for (size_t capacity = text.len + 64;; capacity = *n) {
        int32_t *ids = malloc(capacity * sizeof *ids);
        if (!ids) return mosa_fail(err, MOSA_ENOMEM, "out of memory for %zu tokens", capacity);
        mosa_status status = messages ? mosa_tokenize_chat(engine, text.data, ids, capacity, n, err)
                                      : mosa_tokenize(engine, text.data, text.len, flags, ids, capacity, n, err);
        if (status == MOSA_OK && *n <= capacity) {
            *tokens = ids;
            return MOSA_OK;
        }
        free(ids);
        if (status != MOSA_OK) return status;
    }
}

mosa_status mosa_eval_tokenize(const mosa_engine *engine, mosa_slice text, unsigned flags, int32_t **tokens, size_t *n,
                               mosa_error *err) {
    return tokenize(engine, text, false, flags, tokens, n, err);
}

mosa_status mosa_eval_tokenize_user(const mosa_engine *engine, const char *message, int32_t **tokens, size_t *n,
                                    mosa_error *err) {
    json_t *messages = json_pack("[{s:s, s:s}]", "role", "user", "content", message);
    MOSA_AUTO_FREE char *text = messages ? json_dumps(messages, JSON_COMPACT) : NULL;
    json_decref(messages);
    if (!text) return mosa_fail(err, MOSA_EINVALID, "a question is not UTF-8");
    return tokenize(engine, mosa_slice_of(text), true, 0, tokens, n, err);
}
