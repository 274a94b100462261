// A decoding step allocates nothing: every allocator that our code calls is counted while sequences decode.
#include "engine/engine_internal.h"
#include "mosa/mosa.h"

#include "base/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

// The linker sends calls of malloc and its relatives in our objects here (-Wl,--wrap).
static _Atomic long allocations;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);

void *__wrap_malloc(size_t size) {
    allocations++;
    return __real_malloc(size);
}
void *__wrap_calloc(size_t count, size_t size) {
    allocations++;
    return __real_calloc(count, size);
}
void *__wrap_realloc(void *old, size_t size) {
    allocations++;
    return __real_realloc(old, size);
}
void *__wrap_aligned_alloc(size_t alignment, size_t size) {
    allocations++;
    return __real_aligned_alloc(alignment, size);
}

#define MODEL MOSA_SOURCE_ROOT "/tests/golden/families/small-llama/model-q8_0.gguf"

enum { STREAMS = 6, PROMPT = 30, OUTPUT = 400 };

// Few tokens to choose from, so that the output repeats itself and guesses are made.
static void submit_streams(mosa_engine *engine, bool adapted) {
    static const mosa_logit_bias favourites[] = {{40, 95}, {50, 95}, {60, 95}};
    static const char *const stops[] = {"never to be seen"};
    mosa_engine_info info;
    mosa_engine_get_info(engine, &info);
    int32_t tokens[PROMPT];
    for (int i = 0; i < STREAMS; i++) {
        for (int t = 0; t < PROMPT; t++) tokens[t] = (t * 31 + i * 7 + 5) % info.vocab_size;
        mosa_request request = mosa_request_default();
        request.tokens = tokens;
        request.n_tokens = PROMPT;
        request.max_tokens = OUTPUT;
        request.ignore_eos = true;
        request.sampling.top_p = 0.9f;
        request.sampling.frequency_penalty = 0.1f;
        request.sampling.repetition_penalty = 1.1f;
        request.sampling.seed = (uint64_t)i;
        request.sampling.logit_bias = favourites;
        request.sampling.n_logit_bias = 3;
        request.top_logprobs = 5;
        request.stop = stops;
        request.n_stop = i % 2;
        if (adapted && i % 3) request.adapter = "a";
        uint64_t id;
        mosa_error err;
        if (mosa_engine_submit(engine, &request, &id, &err) != MOSA_OK) fail_msg("%s", err.message);
    }
}

static void expect_no_allocation(const char *speculate, const char *draft_model, bool adapted) {
    mosa_engine *engine;
    mosa_engine_stats stats;
    mosa_error err;
    mosa_engine_options options = {.model = MODEL,
                                   .threads = 2,
                                   .max_sequences = STREAMS,
                                   .max_adapters = adapted,
                                   .speculate = speculate,
                                   .draft_model = draft_model};
    assert_int_equal(mosa_engine_open(&options, &engine, &err), MOSA_OK);
    engine->draft.cost = 0; // it is as large as the other here
    if (adapted)
        assert_int_equal(
            mosa_engine_adapter_load(engine, "a", MOSA_SOURCE_ROOT "/tests/golden/adapters/small-llama/plain", &err),
            MOSA_OK);
    submit_streams(engine, adapted);
    const mosa_event *events;
    int n, generated = 0;
    for (int step = 0; step < 4; step++) assert_int_equal(mosa_engine_step(engine, 1000, &events, &n, &err), MOSA_OK);
    long before = allocations;
    assert_true(before > 0); // the counting works
    for (int step = 0; step < 60; step++) {
        assert_int_equal(mosa_engine_step(engine, 1000, &events, &n, &err), MOSA_OK);
        generated += n;
    }
    assert_int_equal(allocations - before, 0);
    assert_true(generated >= 60 * STREAMS);
    mosa_engine_get_stats(engine, &stats);
    assert_true((stats.accepted > 0) == (speculate != NULL));
    mosa_engine_close(engine);
}

static void a_decoding_step_allocates_nothing(void **state) {
    (void)state;
    expect_no_allocation(NULL, NULL, false);
}

static void nor_does_one_with_guesses(void **state) {
    (void)state;
    expect_no_allocation("ngram", NULL, false);
    expect_no_allocation("draft", MODEL, false);
}

static void nor_does_one_with_adapters(void **state) {
    (void)state;
    expect_no_allocation(NULL, NULL, true);
    expect_no_allocation("ngram", NULL, true);
    expect_no_allocation("draft", MODEL, true);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_decoding_step_allocates_nothing),
                                       cmocka_unit_test(nor_does_one_with_guesses),
                                       cmocka_unit_test(nor_does_one_with_adapters)};
    return cmocka_run_group_tests_name("engine: allocations", tests, NULL, NULL);
}
