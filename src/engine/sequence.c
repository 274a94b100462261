// Checking and copying requests.
#include "engine/sequence.h"

#include "engine/page_pool.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

mosa_request mosa_request_default(void) {
    return (mosa_request){
        .kind = MOSA_GENERATE,
        .sampling = {.temperature = 1, .top_p = 1, .repetition_penalty = 1},
        .top_logprobs = -1,
    };
}

static mosa_status check_range(const char *field, double value, double min, double max, mosa_error *err) {
    if (value >= min && value <= max) return MOSA_OK;
    return mosa_fail(err, MOSA_EINVALID, "%s is %g, must be between %g and %g", field, value, min, max);
}

static mosa_status check_sampling(const mosa_sampling *p, int vocab, mosa_error *err) {
    MOSA_TRY(check_range("temperature", p->temperature, 0, 100, err));
    MOSA_TRY(check_range("top_p", p->top_p, 0, 1, err));
    MOSA_TRY(check_range("min_p", p->min_p, 0, 1, err));
    MOSA_TRY(check_range("top_k", p->top_k, -1, 1 << 30, err));
    MOSA_TRY(check_range("repetition_penalty", p->repetition_penalty, 0.01, 100, err));
    MOSA_TRY(check_range("frequency_penalty", p->frequency_penalty, -100, 100, err));
    MOSA_TRY(check_range("presence_penalty", p->presence_penalty, -100, 100, err));
    for (int i = 0; i < p->n_logit_bias; i++) {
        if (p->logit_bias[i].token < 0 || p->logit_bias[i].token >= vocab)
            return mosa_fail(err, MOSA_EINVALID, "logit_bias names token %d, the vocabulary has %d",
                             p->logit_bias[i].token, vocab);
        MOSA_TRY(check_range("logit_bias", p->logit_bias[i].bias, -100, 100, err));
    }
    return MOSA_OK;
}

static mosa_status check_kind(const mosa_request *r, const mosa_sequence_limits *limits, mosa_error *err) {
    if (r->kind == MOSA_GENERATE && !limits->generates) {
        mosa_fail(err, MOSA_EUNSUPPORTED, "this model is an encoder: it makes embeddings and generates no text");
        return mosa_hint(err, "use /v1/embeddings or /v1/rerank");
    }
    if (r->kind == MOSA_SCORE && !limits->scores) {
        mosa_fail(err, MOSA_EUNSUPPORTED, "this model scores no texts");
        return mosa_hint(err, "serve a cross-encoder with one label");
    }
    if (r->n_first >= r->n_tokens && r->n_first > 0)
        return mosa_fail(err, MOSA_EINVALID, "the second text begins at token %zu of %zu", r->n_first, r->n_tokens);
    return MOSA_OK;
}

static mosa_status check_request(const mosa_request *r, const mosa_sequence_limits *limits, mosa_error *err) {
    if (r->n_tokens == 0) return mosa_fail(err, MOSA_EINVALID, "the prompt is empty");
    MOSA_TRY(check_kind(r, limits, err));
    bool embeds = r->kind != MOSA_GENERATE;
    // A generation needs room for at least one token of output.
    if (r->n_tokens > (size_t)limits->context_tokens || (!embeds && r->n_tokens == (size_t)limits->context_tokens))
        return mosa_fail(err, MOSA_ECONTEXT,
                         "the prompt has %zu tokens, the context window of this model holds %lld, output included",
                         r->n_tokens, (long long)limits->context_tokens);
    for (size_t i = 0; i < r->n_tokens; i++)
        if (r->tokens[i] < 0 || r->tokens[i] >= limits->vocab)
            return mosa_fail(err, MOSA_EINVALID, "prompt token %zu is %d, the vocabulary has %d", i, r->tokens[i],
                             limits->vocab);
    if (r->top_logprobs > MOSA_TOP_LOGPROBS_MAX)
        return mosa_fail(err, MOSA_EINVALID, "top_logprobs is %d, must be at most %d", r->top_logprobs,
                         MOSA_TOP_LOGPROBS_MAX);
    if (r->n_stop > MOSA_STOP_MAX)
        return mosa_fail(err, MOSA_EINVALID, "%d stop strings, must be at most %d", r->n_stop, MOSA_STOP_MAX);
    for (int i = 0; i < r->n_stop; i++) {
        size_t len = r->stop[i] ? strlen(r->stop[i]) : 0;
        if (len == 0 || len > MOSA_STOP_BYTES_MAX)
            return mosa_fail(err, MOSA_EINVALID, "stop string %d has %zu bytes, must have 1 to %d", i, len,
                             MOSA_STOP_BYTES_MAX);
    }
    if (r->max_tokens < 0 || r->min_tokens < 0)
        return mosa_fail(err, MOSA_EINVALID, "max_tokens and min_tokens must not be negative");
    if (r->max_tokens && r->min_tokens > r->max_tokens)
        return mosa_fail(err, MOSA_EINVALID, "min_tokens is %lld, more than max_tokens %lld", (long long)r->min_tokens,
                         (long long)r->max_tokens);
    if (!embeds && r->min_tokens > limits->context_tokens - (int64_t)r->n_tokens)
        return mosa_fail(err, MOSA_ECONTEXT,
                         "the prompt has %zu tokens and min_tokens is %lld, the context window holds %lld", r->n_tokens,
                         (long long)r->min_tokens, (long long)limits->context_tokens);
    return check_sampling(&r->sampling, limits->vocab, err);
}

static void *copy_array(mosa_arena *arena, const void *data, size_t count, size_t size) {
    void *copy = mosa_arena_alloc_array(arena, count, size);
    if (copy && count) memcpy(copy, data, count * size);
    return copy;
}

static bool copy_stops(mosa_sequence *s, const mosa_request *r, mosa_slice **out) {
    mosa_slice *stops = MOSA_ARENA_ARRAY(&s->arena, mosa_slice, (size_t)r->n_stop);
    for (int i = 0; stops && i < r->n_stop; i++) {
        char *text = mosa_arena_strdup(&s->arena, r->stop[i]);
        if (!text) return false;
        stops[i] = mosa_slice_of(text);
    }
    *out = stops;
    return stops != NULL;
}

static mosa_status fill(mosa_sequence *s, const mosa_request *r, const mosa_sequence_limits *limits, mosa_error *err) {
    bool embeds = r->kind != MOSA_GENERATE;
    int64_t room = embeds ? 0 : limits->context_tokens - (int64_t)r->n_tokens;
    if (!embeds && r->max_tokens && r->max_tokens < room) room = r->max_tokens;
    static const mosa_request_kind pooled[] = {[MOSA_POOLING_MEAN] = MOSA_EMBED_MEAN,
                                               [MOSA_POOLING_CLS] = MOSA_EMBED_CLS,
                                               [MOSA_POOLING_LAST] = MOSA_EMBED_LAST};
    s->request = *r;
    if (limits->token_types < 2) s->request.n_first = 0;
    if (r->kind == MOSA_EMBED) s->request.kind = pooled[limits->pooling];
    s->n_prompt = s->n_tokens = (int32_t)r->n_tokens;
    s->capacity = (int32_t)((int64_t)r->n_tokens + room);
    size_t n_pages = ((size_t)s->capacity + (size_t)limits->page_tokens - 1) / (size_t)limits->page_tokens;
    mosa_slice *stops;
    s->tokens = MOSA_ARENA_ARRAY(&s->arena, int32_t, (size_t)s->capacity);
    s->pages = MOSA_ARENA_ARRAY(&s->arena, int32_t, n_pages);
    s->request.sampling.logit_bias =
        copy_array(&s->arena, r->sampling.logit_bias, (size_t)r->sampling.n_logit_bias, sizeof(mosa_logit_bias));
    bool ok = s->tokens && s->pages && s->request.sampling.logit_bias && copy_stops(s, r, &stops);
    if (ok && embeds) {
        s->embedding_sum = MOSA_ARENA_ARRAY(&s->arena, double, (size_t)limits->width);
        s->embedding = MOSA_ARENA_ARRAY(&s->arena, float, (size_t)limits->width);
        ok = s->embedding_sum && s->embedding;
    }
    if (!ok) return mosa_fail(err, MOSA_ENOMEM, "out of memory for a request of %zu tokens", r->n_tokens);
    memcpy(s->tokens, r->tokens, r->n_tokens * sizeof *s->tokens);
    s->request.tokens = s->tokens;
    s->request.constraint = (mosa_constraint){0}; // compiled at submission
    s->request.stop = NULL;                       // the matcher has its own copy
    s->request.adapter = NULL;                    // named once, at submission
    mosa_detokenizer_init_continue(&s->detokenizer, limits->tokenizer, r->show_control ? MOSA_DECODE_SPECIAL : 0);
    return mosa_stop_matcher_init(&s->stop, stops, r->n_stop, err);
}

mosa_status mosa_sequence_create(const mosa_request *request, const mosa_sequence_limits *limits, mosa_sequence **out,
                                 mosa_error *err) {
    MOSA_TRY(check_request(request, limits, err));
    mosa_sequence *s = calloc(1, sizeof *s);
    if (!s) return mosa_fail(err, MOSA_ENOMEM, "out of memory for a request");
    mosa_arena_init(&s->arena, 4096, 0);
    mosa_status status = fill(s, request, limits, err);
    if (status != MOSA_OK) {
        mosa_sequence_destroy(s);
        return status;
    }
    *out = s;
    return MOSA_OK;
}

void mosa_sequence_destroy(mosa_sequence *s) {
    if (!s) return;
    mosa_adapters_unref(s->adapter);
    mosa_constrained_close(s->constrained);
    mosa_stop_matcher_finish(&s->stop);
    mosa_arena_finish(&s->arena);
    free(s);
}
