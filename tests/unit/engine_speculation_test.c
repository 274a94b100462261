// Speculation is exact: with guesses every event of every request is, bit for bit, what it is without, in fewer steps.
#include "engine/engine_internal.h"
#include "engine/ngram.h"
#include "mosa/mosa.h"

#include "base/rng.h"
#include "base/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FAMILIES MOSA_SOURCE_ROOT "/tests/golden/families/"

enum { PROMPT = 40, OUTPUT = 100, REQUESTS = 14, TOP = 2, FAVOURITES = 5 };

typedef struct transcript {
    mosa_event events[OUTPUT + 2]; // pointers cleared
    mosa_logprob top[OUTPUT + 2][TOP];
    int n;
    char text[4096];
    size_t text_len;
    bool ended;
} transcript;

typedef struct run {
    transcript requests[REQUESTS];
    mosa_engine_stats stats;
} run;

typedef struct setting {
    const char *name, *model, *speculate, *draft;
    int threads, chunk, draft_tokens, at_once; // requests that run at the same time
    int64_t pages;                             // 0 = plenty
} setting;

// Each request has its own trait. A few favoured tokens make an output that repeats itself often, but not always.
static mosa_request make_request(int index, const mosa_engine *engine, int32_t *tokens, mosa_logit_bias *bias) {
    static const char *const stops[] = {"\xff never", "   "};
    mosa_request r = mosa_request_default();
    int vocab = engine->info.vocab_size;
    size_t n_ends;
    for (int i = 0; i < PROMPT; i++) tokens[i] = (int32_t)mosa_rng_below(3, (uint64_t)(i % 17), (uint64_t)vocab);
    for (int i = 0; i < FAVOURITES; i++)
        bias[i] = (mosa_logit_bias){(int32_t)mosa_rng_below(5, (uint64_t)i, (uint64_t)vocab), 90};
    r.tokens = tokens;
    r.n_tokens = (size_t)(PROMPT - index % 5);
    r.max_tokens = OUTPUT - index;
    r.ignore_eos = true;
    r.top_logprobs = index == 1 ? -1 : TOP;
    r.sampling.seed = (uint64_t)index;
    r.sampling.temperature = index == 0 ? 0 : index < 5 ? 0.8f : 2;
    r.sampling.logit_bias = bias;
    r.sampling.n_logit_bias = index == 0 ? 0 : FAVOURITES;
    if (index == 2) r.sampling.top_p = 0.8f;
    if (index == 3) r.sampling.top_k = 3;
    if (index == 4) r.sampling.frequency_penalty = 0.4f;
    if (index == 5) r.sampling.repetition_penalty = 1.3f;
    if (index == 6) r.stop = stops, r.n_stop = 2;
    if (index == 7 || index == 8) { // the end token is a favourite: it ends the output inside a block of guesses
        r.ignore_eos = false;
        bias[0].token = mosa_model_text_end_ids(engine->text, &n_ends)[0];
        r.min_tokens = index == 8 ? 30 : 0;
    }
    if (index == 9) r.prompt_logprobs = true, r.top_logprobs = 0, r.max_tokens = 50;
    if (index == 10) r.max_tokens = 1;
    if (index == 11) r.max_tokens = 2;
    if (index == 12) r.sampling.min_p = 0.2f;
    return r;
}

static mosa_engine *open_engine(const setting *s) {
    mosa_error err = {0};
    mosa_engine *engine = NULL;
    mosa_engine_info info = {.kv_pages = 1};
    mosa_engine_options options = {.model = s->model,
                                   .threads = s->threads,
                                   .max_batch_tokens = s->chunk,
                                   .max_sequences = s->at_once,
                                   .context_tokens = 256,
                                   .speculate = s->speculate,
                                   .draft_model = s->draft,
                                   .draft_tokens = s->draft_tokens};
    if (s->pages) {
        if (mosa_engine_open(&options, &engine, &err) != MOSA_OK) fail_msg("%s", err.message);
        mosa_engine_get_info(engine, &info);
        mosa_engine_close(engine);
        options.kv_memory_bytes = info.kv_bytes / info.kv_pages * s->pages;
    }
    if (mosa_engine_open(&options, &engine, &err) != MOSA_OK) fail_msg("%s", err.message);
    engine->draft.cost = 0; // here the draft model is as large as the other
    return engine;
}

static void record(transcript *t, const mosa_event *event) {
    assert_true(t->n < OUTPUT + 2 || event->is_prompt);
    assert_true(t->text_len + event->text_len < sizeof t->text);
    memcpy(t->text + t->text_len, event->text, event->text_len);
    t->text_len += event->text_len;
    t->ended = event->finish != MOSA_FINISH_NONE;
    if (event->is_prompt) return;
    mosa_event *kept = &t->events[t->n];
    for (int i = 0; i < event->n_top; i++) t->top[t->n][i] = event->top[i];
    *kept = *event;
    kept->request = 0;
    kept->top = NULL;
    kept->text = NULL;
    kept->cached_tokens = 0; // depends on who came before
    t->n++;
}

static void run_all(const setting *s, run *out) {
    mosa_engine *engine = open_engine(s);
    uint64_t ids[REQUESTS];
    mosa_error err;
    int pending = REQUESTS;
    memset(out, 0, sizeof *out);
    for (int i = 0; i < REQUESTS; i++) {
        int32_t tokens[PROMPT];
        mosa_logit_bias bias[FAVOURITES];
        mosa_request request = make_request(i, engine, tokens, bias);
        if (mosa_engine_submit(engine, &request, &ids[i], &err) != MOSA_OK) fail_msg("%s", err.message);
    }
    while (pending > 0) {
        const mosa_event *events;
        int n;
        if (mosa_engine_step(engine, 1000, &events, &n, &err) != MOSA_OK) fail_msg("%s", err.message);
        for (int e = 0; e < n; e++)
            for (int i = 0; i < REQUESTS; i++)
                if (ids[i] == events[e].request) {
                    assert_false(out->requests[i].ended); // nothing comes after the last event
                    record(&out->requests[i], &events[e]);
                    pending -= events[e].finish != MOSA_FINISH_NONE;
                }
    }
    mosa_engine_get_stats(engine, &out->stats);
    assert_int_equal(out->stats.pages_used, 0);
    mosa_engine_close(engine);
}

static void expect_equal(const setting *s, const run *plain, const run *guessed) {
    for (int i = 0; i < REQUESTS; i++) {
        const transcript *a = &plain->requests[i], *b = &guessed->requests[i];
        if (a->n != b->n) fail_msg("%s: request %d has %d events, without speculation %d", s->name, i, b->n, a->n);
        for (int t = 0; t < a->n; t++) {
            if (a->events[t].token != b->events[t].token || a->events[t].logprob != b->events[t].logprob ||
                a->events[t].finish != b->events[t].finish || a->events[t].text_len != b->events[t].text_len ||
                a->events[t].completion_tokens != b->events[t].completion_tokens ||
                a->events[t].stop_index != b->events[t].stop_index)
                fail_msg("%s: token %d of request %d is %d (%.9g), without speculation %d (%.9g)", s->name, t, i,
                         b->events[t].token, (double)b->events[t].logprob, a->events[t].token,
                         (double)a->events[t].logprob);
            assert_memory_equal(a->top[t], b->top[t], sizeof a->top[t]);
        }
        assert_int_equal(a->text_len, b->text_len);
        assert_memory_equal(a->text, b->text, a->text_len);
    }
}

static const mosa_event *last_event(const transcript *t) {
    return &t->events[t->n - 1];
}

static void compare(const setting *settings, size_t n, const char *model) {
    static run plain, guessed;
    const setting alone = {.name = "plain", .model = model, .threads = 1, .at_once = 1};
    run_all(&alone, &plain);
    assert_int_equal(plain.stats.drafted, 0);
    for (int i = 6; i <= 8; i++) // a stop string, end tokens: not at the first token, so that guesses are cut off
        assert_true(last_event(&plain.requests[i])->finish == MOSA_FINISH_STOP && plain.requests[i].n > 2);
    assert_true(plain.requests[8].n >= 30);
    for (size_t i = 0; i < n; i++) {
        setting s = settings[i];
        s.model = model;
        run_all(&s, &guessed);
        expect_equal(&s, &plain, &guessed);
        if (s.pages) assert_true(guessed.stats.preemptions > 0);
        if (s.draft) assert_true(guessed.stats.accepted > guessed.stats.drafted * 3 / 4);
        assert_true(guessed.stats.accepted > 50 && guessed.stats.accepted < guessed.stats.drafted);
        if (s.at_once == 1) assert_true(guessed.stats.steps < plain.stats.steps - 100);
    }
}

static void guesses_from_the_text_change_nothing_but_the_steps(void **state) {
    (void)state;
    static const setting settings[] = {
        {.name = "one at a time", .speculate = "ngram", .threads = 1, .at_once = 1},
        {.name = "two threads", .speculate = "ngram", .threads = 2, .at_once = 2},
        {.name = "three threads, long guesses", .speculate = "ngram", .threads = 3, .at_once = 1, .draft_tokens = 32},
        {.name = "chunks of 5", .speculate = "ngram", .threads = 1, .at_once = 3, .chunk = 5},
        {.name = "all at once", .speculate = "ngram", .threads = 2, .at_once = REQUESTS},
        {.name = "few pages", .speculate = "ngram", .threads = 2, .at_once = 4, .pages = 9},
    };
    compare(settings, MOSA_COUNT(settings), FAMILIES "small-llama");
    compare(settings, 2, FAMILIES "small-qwen3/model-q8_0.gguf");
}

// The draft is the same model in another precision, or another one altogether: many guesses stand, or hardly any.
static void guesses_of_a_draft_model_change_nothing_but_the_steps(void **state) {
    (void)state;
    static const char *const close = FAMILIES "small-llama/model-q8_0.gguf";
    static const setting settings[] = {
        {.name = "one at a time", .draft = close, .threads = 1, .at_once = 1},
        {.name = "two threads", .draft = close, .threads = 2, .at_once = 2},
        {.name = "long guesses", .draft = close, .threads = 3, .at_once = 1, .draft_tokens = 32},
        {.name = "chunks of 5", .draft = close, .threads = 1, .at_once = 3, .chunk = 5},
        {.name = "all at once", .draft = close, .threads = 2, .at_once = REQUESTS},
        {.name = "few pages", .draft = close, .threads = 2, .at_once = 4, .pages = 9},
    };
    compare(settings, MOSA_COUNT(settings), FAMILIES "small-llama");
}

static void a_request_may_refuse_speculation(void **state) {
    (void)state;
    const setting s = {.model = FAMILIES "small-llama", .speculate = "ngram", .threads = 1, .at_once = 1};
    mosa_engine *engine = open_engine(&s);
    mosa_engine_stats stats;
    mosa_error err;
    int32_t tokens[PROMPT];
    mosa_logit_bias bias[FAVOURITES];
    mosa_request request = make_request(1, engine, tokens, bias);
    request.no_speculation = true;
    assert_int_equal(mosa_engine_generate(engine, &request, NULL, NULL, &err), MOSA_OK);
    mosa_engine_get_stats(engine, &stats);
    assert_int_equal(stats.drafted, 0);
    request.no_speculation = false;
    assert_int_equal(mosa_engine_generate(engine, &request, NULL, NULL, &err), MOSA_OK);
    mosa_engine_get_stats(engine, &stats);
    assert_true(stats.drafted > 0);
    mosa_engine_close(engine);
}

// Tokens that never repeat as they did before: guesses fail, and are soon made no more.
static void a_text_that_defies_guessing_soon_gets_few_guesses(void **state) {
    (void)state;
    const setting s = {.model = FAMILIES "small-llama", .speculate = "ngram", .threads = 1, .at_once = 1};
    mosa_engine *engine = open_engine(&s);
    mosa_engine_stats stats;
    mosa_error err;
    int32_t tokens[PROMPT];
    mosa_logit_bias bias[FAVOURITES];
    mosa_request request = make_request(1, engine, tokens, bias);
    for (int i = 0; i < 2; i++) bias[i] = (mosa_logit_bias){20 + i, 100};
    request.sampling.n_logit_bias = 2;
    request.sampling.temperature = 100; // a coin is tossed for every token
    request.max_tokens = 200;
    assert_int_equal(mosa_engine_generate(engine, &request, NULL, NULL, &err), MOSA_OK);
    mosa_engine_get_stats(engine, &stats);
    assert_true(stats.drafted < 300);
    mosa_engine_close(engine);
}

static void the_lookup_prefers_the_longest_and_newest_occurrence(void **state) {
    (void)state;
    int32_t tokens[64] = {9, 1, 2, 3, 70, 71, 1, 2, 3, 80, 81, 5, 1, 2, 3};
    assert_int_equal(mosa_ngram_guess(tokens, 15, 4), 4);
    assert_int_equal(tokens[15], 80); // the newer of two of equal length
    assert_int_equal(tokens[16], 81);
    tokens[11] = 9;
    assert_int_equal(mosa_ngram_guess(tokens, 15, 1), 1);
    assert_int_equal(tokens[15], 70); // the longer one
    int32_t fresh[8] = {1, 2, 3, 4, 5, 2, 3};
    assert_int_equal(mosa_ngram_guess(fresh, 7, 4), 0);
    assert_int_equal(fresh[7], 0);
    int32_t loop[16] = {1, 2, 1, 2, 1, 2};
    assert_int_equal(mosa_ngram_guess(loop, 6, 5), 5);
    for (int i = 6; i < 11; i++) assert_int_equal(loop[i], i % 2 ? 2 : 1);
    assert_int_equal(mosa_ngram_guess(loop, 2, 4), 0);
}

// Pages that a prefix hit brings are read by the draft model only when it needs them, and then by one sequence for all.
static void a_draft_model_catches_up_with_shared_prefixes(void **state) {
    (void)state;
    const setting s = {.model = FAMILIES "small-llama",
                       .draft = FAMILIES "small-llama/model-q8_0.gguf",
                       .threads = 1,
                       .chunk = 16,
                       .at_once = 1};
    mosa_engine *engine = open_engine(&s);
    mosa_engine_stats before, after;
    mosa_error err;
    int32_t tokens[PROMPT];
    mosa_logit_bias bias[FAVOURITES];
    mosa_request request = make_request(1, engine, tokens, bias);
    request.max_tokens = 60;
    request.no_speculation = true;
    assert_int_equal(mosa_engine_generate(engine, &request, NULL, NULL, &err), MOSA_OK);
    for (int i = 0; i < 2; i++) {
        request.no_speculation = false;
        mosa_engine_get_stats(engine, &before);
        assert_int_equal(mosa_engine_generate(engine, &request, NULL, NULL, &err), MOSA_OK);
        mosa_engine_get_stats(engine, &after);
        assert_true(after.cached_tokens > before.cached_tokens);
        assert_true((after.accepted - before.accepted) * 4 > (after.drafted - before.drafted) * 3);
    }
    mosa_engine_close(engine);
}

static void unknown_ways_to_guess_are_refused(void **state) {
    (void)state;
    mosa_engine *engine = NULL;
    mosa_error err;
    mosa_engine_options options = {.model = FAMILIES "small-llama", .speculate = "oracle"};
    assert_int_equal(mosa_engine_open(&options, &engine, &err), MOSA_EINVALID);
    assert_non_null(strstr(err.message, "oracle"));
    options.speculate = "draft";
    assert_int_equal(mosa_engine_open(&options, &engine, &err), MOSA_EINVALID);
    assert_non_null(strstr(err.hint, "--draft-model"));
    options.draft_model = FAMILIES "small-mistral"; // has other words
    assert_int_equal(mosa_engine_open(&options, &engine, &err), MOSA_EINVALID);
    assert_non_null(strstr(err.message, "token"));
    options.draft_model = FAMILIES "no-such-model";
    assert_int_equal(mosa_engine_open(&options, &engine, &err), MOSA_ENOTFOUND);
    options = (mosa_engine_options){.model = FAMILIES "small-llama", .draft_tokens = 65};
    assert_int_equal(mosa_engine_open(&options, &engine, &err), MOSA_EINVALID);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(guesses_from_the_text_change_nothing_but_the_steps),
        cmocka_unit_test(guesses_of_a_draft_model_change_nothing_but_the_steps),
        cmocka_unit_test(a_draft_model_catches_up_with_shared_prefixes),
        cmocka_unit_test(a_request_may_refuse_speculation),
        cmocka_unit_test(a_text_that_defies_guessing_soon_gets_few_guesses),
        cmocka_unit_test(the_lookup_prefers_the_longest_and_newest_occurrence),
        cmocka_unit_test(unknown_ways_to_guess_are_refused),
    };
    return cmocka_run_group_tests_name("engine: speculation", tests, NULL, NULL);
}
