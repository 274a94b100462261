// loss: how surprised a model is by a text.
//
// The text's tokens are cut into windows of `context` tokens that do not overlap; in each, every token but the first is
// scored given those before it. Bits per byte divide by the bytes that the scored tokens spell, so models with
// different tokenizers can be compared.
#include "eval/eval_batch.h"

#include "base/file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_BYTES_MAX = 1 << 30 };

static mosa_status add_windows(mosa_eval_batch *batch, const mosa_eval_options *o, const int32_t *tokens, size_t n,
                               mosa_error *err) {
    size_t context = (size_t)o->context;
    for (size_t at = 0; at + 1 < n && (o->limit == 0 || batch->n_jobs < (size_t)o->limit); at += context) {
        size_t len = n - at < context ? n - at : context;
        if (len < 2) break;
        mosa_eval_job *job = mosa_eval_batch_add(batch);
        int32_t *copy = job ? malloc(len * sizeof *copy) : NULL;
        if (!copy) return mosa_fail(err, MOSA_ENOMEM, "out of memory for the windows");
        memcpy(copy, tokens + at, len * sizeof *copy);
        job->tokens = copy;
        job->n_tokens = len;
        job->score_from = 1;
    }
    if (batch->n_jobs == 0) return mosa_fail(err, MOSA_EINVALID, "%s: too short to score", o->data);
    return MOSA_OK;
}

static mosa_status add_up(const mosa_eval_batch *batch, const mosa_engine *engine, mosa_eval_result *result,
                          mosa_error *err) {
    double nats = 0;
    int64_t tokens = 0, bytes = 0;
    for (size_t i = 0; i < batch->n_jobs; i++) {
        const mosa_eval_job *job = &batch->jobs[i];
        if (job->refused) return mosa_fail(err, job->error.status, "%s", job->error.message);
        nats -= job->logprob;
        tokens += (int64_t)job->n_tokens - 1;
        for (size_t t = 1; t < job->n_tokens; t++) {
            size_t len = 0;
            if (mosa_token_bytes(engine, job->tokens[t], &len)) bytes += (int64_t)len;
        }
    }
    result->records = (int64_t)batch->n_jobs;
    mosa_eval_add(result, "loss", nats / (double)tokens);
    mosa_eval_add(result, "perplexity", exp(nats / (double)tokens));
    mosa_eval_add(result, "bits_per_byte", bytes ? nats / log(2) / (double)bytes : 0);
    mosa_eval_add(result, "tokens", (double)tokens);
    mosa_eval_add(result, "bytes", (double)bytes);
    return MOSA_OK;
}

static mosa_status run(mosa_engine *engine, const mosa_eval_options *o, mosa_eval_result *result, mosa_error *err) {
    MOSA_AUTO_FREE char *text = NULL;
    MOSA_AUTO_FREE int32_t *tokens = NULL;
    size_t len = 0, n = 0;
    MOSA_TRY(mosa_file_read(o->data, TEXT_BYTES_MAX, &text, &len, err));
    MOSA_TRY(mosa_eval_tokenize(engine, (mosa_slice){text, len}, 0, &tokens, &n, err));
    mosa_eval_batch batch = {0};
    mosa_status status = add_windows(&batch, o, tokens, n, err);
    if (status == MOSA_OK) status = mosa_eval_batch_run(&batch, engine, o, err);
    if (status == MOSA_OK) status = add_up(&batch, engine, result, err);
    mosa_eval_batch_finish(&batch);
    return status;
}

const mosa_eval_task mosa_eval_loss = {
    .name = "loss",
    .summary = "loss, perplexity and bits per byte of a text",
    .format = "plain text",
    .run = run,
};
