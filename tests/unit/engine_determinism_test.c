// The promise of determinism: one seeded request gives the same tokens and log-probabilities, bit for bit, alone or in
// a crowd, in any chunking, after a prefix hit, with any number of threads, and when it was preempted on the way.
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

enum { PROMPT = 150, OUTPUT = 40, TOP = 3, CROWD = 32 };

typedef struct served {
    const char *path, *kv_type;
} served;

static const served models[] = {
    {FAMILIES "small-llama", "f16"},
    {FAMILIES "small-llama/model-q8_0.gguf", "f16"},
    {FAMILIES "small-llama/model-q8_0.gguf", "q8_0"},
    {FAMILIES "small-mistral", "f16"},
    {FAMILIES "small-qwen2", "f32"},
    {FAMILIES "small-qwen3/model-q8_0.gguf", "f16"},
    {FAMILIES "small-qwen2-moe/model-q8_0.gguf", "f16"},
    {FAMILIES "small-deepseek", "f16"},
    {FAMILIES "small-deepseek/model-q8_0.gguf", "q8_0"},
    {FAMILIES "small-gpt-oss/model-mxfp4.gguf", "q8_0"},
};

typedef struct transcript {
    int32_t tokens[OUTPUT];
    float logprobs[OUTPUT];
    mosa_logprob top[OUTPUT][TOP];
    int n;
    int32_t cached;
    char text[8192];
    size_t text_len;
} transcript;

// How the engine is set up, and what happens around the request.
typedef struct setting {
    const char *name;
    int threads, chunk, max_sequences;
    int64_t kv_memory;
    bool no_prefix_cache, crowd, twice;
} setting;

static void make_prompt(uint64_t seed, int vocab, int32_t *tokens, int n) {
    for (int i = 0; i < n; i++) tokens[i] = (int32_t)mosa_rng_below(seed, (uint64_t)i, (uint64_t)vocab);
}

static mosa_engine *open_engine(const served *model, const setting *s) {
    mosa_error err = {0};
    mosa_engine *engine = NULL;
    mosa_engine_options options = {.model = model->path,
                                   .kv_type = model->kv_type,
                                   .threads = s->threads,
                                   .max_batch_tokens = s->chunk,
                                   .max_sequences = s->max_sequences,
                                   .kv_memory_bytes = s->kv_memory,
                                   .no_prefix_cache = s->no_prefix_cache};
    if (mosa_engine_open(&options, &engine, &err) != MOSA_OK) fail_msg("%s", err.message);
    return engine;
}

static uint64_t submit(mosa_engine *engine, uint64_t prompt_seed, int n_prompt, int n_output, uint64_t seed) {
    mosa_engine_info info;
    mosa_engine_get_info(engine, &info);
    int32_t tokens[PROMPT];
    make_prompt(prompt_seed, info.vocab_size, tokens, n_prompt);
    mosa_request request = mosa_request_default();
    request.tokens = tokens;
    request.n_tokens = (size_t)n_prompt;
    request.max_tokens = n_output;
    request.ignore_eos = true;
    request.sampling.temperature = 0.9f;
    request.sampling.top_p = 0.95f;
    request.sampling.frequency_penalty = 0.2f;
    request.sampling.seed = seed;
    request.top_logprobs = TOP;
    uint64_t id;
    mosa_error err;
    if (mosa_engine_submit(engine, &request, &id, &err) != MOSA_OK) fail_msg("%s", err.message);
    return id;
}

static void record(transcript *t, const mosa_event *event) {
    if (event->token >= 0 && t->n < OUTPUT) {
        t->tokens[t->n] = event->token;
        t->logprobs[t->n] = event->logprob;
        memcpy(t->top[t->n], event->top, sizeof t->top[0]);
        t->n++;
    }
    t->cached = event->cached_tokens;
    assert_true(t->text_len + event->text_len < sizeof t->text);
    memcpy(t->text + t->text_len, event->text, event->text_len);
    t->text_len += event->text_len;
}

static void run_until_done(mosa_engine *engine, uint64_t id, int pending, transcript *t) {
    while (pending > 0) {
        const mosa_event *events;
        int n;
        mosa_error err;
        if (mosa_engine_step(engine, 10000, &events, &n, &err) != MOSA_OK) fail_msg("%s", err.message);
        for (int i = 0; i < n; i++) {
            assert_int_not_equal(events[i].finish, MOSA_FINISH_ERROR);
            if (events[i].request == id) record(t, &events[i]);
            pending -= events[i].finish != MOSA_FINISH_NONE;
        }
    }
}

static void run_setting(const served *model, const setting *s, transcript *t) {
    mosa_engine *engine = open_engine(model, s);
    memset(t, 0, sizeof *t);
    int pending = 1;
    if (s->twice) {
        transcript first = {0};
        uint64_t id = submit(engine, 1, PROMPT, OUTPUT, 7);
        run_until_done(engine, id, 1, &first);
    }
    // Half of the crowd comes before, half behind; some share the prompt's beginning.
    for (int i = 0; s->crowd && i < CROWD / 2; i++, pending++)
        submit(engine, i % 3 ? 100 + (uint64_t)i : 1, 20 + i * 7, 10 + i, (uint64_t)i);
    uint64_t id = submit(engine, 1, PROMPT, OUTPUT, 7);
    for (int i = 0; s->crowd && i < CROWD / 2; i++, pending++)
        submit(engine, i % 4 ? 200 + (uint64_t)i : 1, 30 + i * 5, 12 + i, (uint64_t)i);
    run_until_done(engine, id, pending, t);
    if (s->twice) assert_true(t->cached > 0);
    mosa_engine_stats stats;
    mosa_engine_get_stats(engine, &stats);
    if (s->kv_memory) assert_true(stats.preemptions > 0);
    assert_int_equal(stats.pages_used, 0);
    mosa_engine_close(engine);
}

static void expect_equal(const served *model, const setting *s, const transcript *a, const transcript *b) {
    for (int i = 0; i < OUTPUT; i++)
        if (a->tokens[i] != b->tokens[i] || memcmp(&a->logprobs[i], &b->logprobs[i], sizeof(float)) != 0 ||
            memcmp(a->top[i], b->top[i], sizeof a->top[i]) != 0)
            fail_msg("%s with %s pages, %s: token %d is %d (%.9g), alone it was %d (%.9g)", model->path, model->kv_type,
                     s->name, i, b->tokens[i], b->logprobs[i], a->tokens[i], a->logprobs[i]);
    assert_int_equal(a->text_len, b->text_len);
    assert_memory_equal(a->text, b->text, a->text_len);
}

static void a_seeded_request_gives_the_same_bits_whatever_happens_around_it(void **state) {
    (void)state;
    static const setting settings[] = {
        {.name = "two threads", .threads = 2, .max_sequences = 4},
        {.name = "three threads", .threads = 3, .max_sequences = 4},
        {.name = "chunks of 7", .threads = 1, .chunk = 7, .max_sequences = 2},
        {.name = "chunks of 64, two threads", .threads = 2, .chunk = 64, .max_sequences = 2},
        {.name = "no prefix cache", .threads = 1, .max_sequences = 4, .no_prefix_cache = true},
        {.name = "after a prefix hit", .threads = 1, .max_sequences = 4, .twice = true},
        {.name = "among 32 others", .threads = 2, .chunk = 96, .max_sequences = 40, .crowd = true},
        {.name = "among 32 others without a prefix cache",
         .threads = 1,
         .chunk = 200,
         .max_sequences = 40,
         .crowd = true,
         .no_prefix_cache = true},
    };
    for (size_t m = 0; m < MOSA_COUNT(models); m++) {
        static transcript alone, other;
        const setting plain = {.name = "alone", .threads = 1, .max_sequences = 4, .no_prefix_cache = true};
        run_setting(&models[m], &plain, &alone);
        assert_int_equal(alone.n, OUTPUT);
        for (size_t i = 0; i < MOSA_COUNT(settings); i++) {
            run_setting(&models[m], &settings[i], &other);
            expect_equal(&models[m], &settings[i], &alone, &other);
        }
    }
}

// A pool of a few pages, so that sequences push each other out again and again.
static void preempted_requests_continue_with_the_same_bits(void **state) {
    (void)state;
    static transcript alone, other;
    mosa_engine_info info;
    const setting plain = {.name = "alone", .threads = 1, .max_sequences = 4, .no_prefix_cache = true};
    mosa_engine *engine = open_engine(&models[0], &plain);
    mosa_engine_get_info(engine, &info);
    mosa_engine_close(engine);
    run_setting(&models[0], &plain, &alone);
    setting tight = {.name = "preempted",
                     .threads = 2,
                     .chunk = 64,
                     .max_sequences = 16,
                     .crowd = true,
                     .kv_memory = info.kv_bytes / info.kv_pages * 14};
    run_setting(&models[0], &tight, &other);
    expect_equal(&models[0], &tight, &alone, &other);
    tight.no_prefix_cache = true;
    run_setting(&models[0], &tight, &other);
    expect_equal(&models[0], &tight, &alone, &other);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_seeded_request_gives_the_same_bits_whatever_happens_around_it),
        cmocka_unit_test(preempted_requests_continue_with_the_same_bits),
    };
    return cmocka_run_group_tests_name("engine: determinism", tests, NULL, NULL);
}
