// Whose turn it is: callers of equal priority share slots and rows, higher priorities go first and push lower ones out,
// and nobody's output changes by it.
#include "engine/callers.h"
#include "mosa/mosa.h"

#include "base/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define MODEL MOSA_SOURCE_ROOT "/tests/golden/families/small-llama"

enum { REQUESTS_MAX = 128, OUTPUT_MAX = 64, PROMPT_MAX = 400 };

typedef struct watched {
    uint64_t id;
    int32_t tokens[OUTPUT_MAX];
    float logprobs[OUTPUT_MAX];
    int n, first_step, last_step; // steps of its first token and its end; 0 = not yet
} watched;

typedef struct stage {
    mosa_engine *engine;
    watched requests[REQUESTS_MAX];
    int n, pending, step;
} stage;

static void open_stage(stage *s, mosa_engine_options options) {
    mosa_error err = {0};
    memset(s, 0, sizeof *s);
    options.model = MODEL;
    options.threads = 1;
    if (mosa_engine_open(&options, &s->engine, &err) != MOSA_OK) fail_msg("%s", err.message);
}

static watched *ask(stage *s, uint64_t caller, int priority, int n_prompt, int n_output) {
    int32_t prompt[PROMPT_MAX];
    mosa_error err = {0};
    mosa_request request = mosa_request_default();
    for (int i = 0; i < n_prompt; i++) prompt[i] = (i * 37 + s->n * 11 + 5) % 300;
    request.tokens = prompt;
    request.n_tokens = (size_t)n_prompt;
    request.max_tokens = n_output;
    request.ignore_eos = true;
    request.top_logprobs = 0;
    request.sampling.seed = (uint64_t)s->n;
    request.caller = caller;
    request.priority = priority;
    watched *w = &s->requests[s->n++];
    if (mosa_engine_submit(s->engine, &request, &w->id, &err) != MOSA_OK) fail_msg("%s", err.message);
    s->pending++;
    return w;
}

static void step(stage *s) {
    const mosa_event *events;
    int n;
    mosa_error err;
    s->step++;
    if (mosa_engine_step(s->engine, 1000, &events, &n, &err) != MOSA_OK) fail_msg("%s", err.message);
    for (int e = 0; e < n; e++)
        for (int i = 0; i < s->n; i++) {
            watched *w = &s->requests[i];
            if (w->id != events[e].request || events[e].token < 0) continue;
            if (!w->first_step) w->first_step = s->step;
            w->tokens[w->n] = events[e].token;
            w->logprobs[w->n++] = events[e].logprob;
            if (events[e].finish == MOSA_FINISH_NONE) continue;
            w->last_step = s->step;
            s->pending--;
        }
}

static void run_out(stage *s) {
    while (s->pending > 0) step(s);
    mosa_engine_stats stats;
    mosa_engine_get_stats(s->engine, &stats);
    assert_int_equal(stats.pages_used, 0);
    assert_int_equal(stats.failed, 0);
}

static void a_caller_with_a_hundred_does_not_starve_one_with_one(void **state) {
    (void)state;
    static stage s;
    open_stage(&s, (mosa_engine_options){.max_sequences = 4});
    for (int i = 0; i < 100; i++) ask(&s, 1, 0, 20, 16);
    for (int i = 0; i < 5; i++) step(&s);
    watched *lone = ask(&s, 2, 0, 20, 16);
    run_out(&s);
    assert_true(lone->last_step <= 5 + 1 + 16); // it had a slot at once
    mosa_engine_close(s.engine);
}

static void callers_take_turns_for_a_single_slot(void **state) {
    (void)state;
    static stage s;
    open_stage(&s, (mosa_engine_options){.max_sequences = 1});
    watched *first[10], *second[10];
    for (int i = 0; i < 10; i++) first[i] = ask(&s, 1, 0, 20, 8);
    for (int i = 0; i < 10; i++) second[i] = ask(&s, 2, 0, 20, 8);
    run_out(&s);
    for (int i = 0; i + 1 < 10; i++) {
        assert_true(first[i]->last_step < second[i + 1]->last_step);
        assert_true(second[i]->last_step < first[i + 1]->last_step + 8); // not a whole request behind
        assert_true(first[i]->last_step < first[i + 1]->last_step);      // of one caller, in order of arrival
    }
    mosa_engine_close(s.engine);
}

static void a_long_prompt_does_not_hold_up_another_callers_short_one(void **state) {
    (void)state;
    static stage s;
    open_stage(&s, (mosa_engine_options){.max_sequences = 4, .max_batch_tokens = 16});
    watched *long_one = ask(&s, 1, 0, 400, 2);
    step(&s);
    watched *short_one = ask(&s, 2, 0, 12, 2);
    run_out(&s);
    assert_true(short_one->first_step <= 3);
    assert_true(long_one->first_step >= 400 / 16);
    mosa_engine_close(s.engine);
}

// `others` of low priority run; then one of high priority comes. Returns what the first of the others got.
static watched push_out(mosa_engine_options options, int others, int late, int n_prompt) {
    static stage s;
    mosa_engine_stats stats;
    open_stage(&s, options);
    for (int i = 0; i < others; i++) ask(&s, 1, 0, n_prompt, 40);
    for (int i = 0; i < 8; i++) step(&s);
    watched *high = late ? ask(&s, 1, 1, n_prompt, 10) : NULL;
    run_out(&s);
    if (high) assert_true(high->last_step <= 8 + 2 + 10);
    mosa_engine_get_stats(s.engine, &stats);
    assert_int_equal(stats.preemptions > 0, late);
    mosa_engine_close(s.engine);
    return s.requests[others - 1];
}

static void expect_same_output(const watched *a, const watched *b) {
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->tokens, b->tokens, (size_t)a->n * sizeof *a->tokens);
    assert_memory_equal(a->logprobs, b->logprobs, (size_t)a->n * sizeof *a->logprobs);
}

static void a_higher_priority_takes_a_slot_and_the_displaced_one_resumes(void **state) {
    (void)state;
    mosa_engine_options options = {.max_sequences = 3};
    watched alone = push_out(options, 3, 0, 20), displaced = push_out(options, 3, 1, 20);
    expect_same_output(&alone, &displaced);
    assert_true(displaced.last_step > alone.last_step);
}

static void a_higher_priority_takes_pages_too(void **state) {
    (void)state;
    static stage s;
    mosa_engine_info info;
    open_stage(&s, (mosa_engine_options){.max_sequences = 4, .context_tokens = 160});
    mosa_engine_get_info(s.engine, &info);
    mosa_engine_close(s.engine);
    for (int share = 0; share < 2; share++) {
        mosa_engine_options options = {.max_sequences = 4,
                                       .context_tokens = 160,
                                       .kv_memory_bytes = info.kv_bytes / info.kv_pages * 10,
                                       .no_prefix_cache = !share};
        watched alone = push_out(options, 2, 0, 100), displaced = push_out(options, 2, 1, 100);
        expect_same_output(&alone, &displaced);
    }
}

static void a_newcomer_starts_at_the_least_that_others_were_served(void **state) {
    (void)state;
    mosa_callers callers;
    assert_int_equal(mosa_callers_init(&callers, 3, NULL), MOSA_OK);
    int32_t a = mosa_callers_enter(&callers, 7), b = mosa_callers_enter(&callers, 8);
    callers.slots[a].served = 100;
    callers.slots[b].served = 60;
    assert_int_equal(mosa_callers_enter(&callers, 7), a);
    int32_t c = mosa_callers_enter(&callers, 9);
    assert_int_equal(callers.slots[c].served, 60);
    mosa_callers_leave(&callers, b);
    assert_int_equal(mosa_callers_enter(&callers, 10), b); // the slot is free again
    assert_int_equal(callers.slots[b].served, 60);
    mosa_callers_leave(&callers, a);
    assert_int_equal(callers.slots[a].present, 1);
    mosa_callers_leave(&callers, a);
    mosa_callers_leave(&callers, b);
    mosa_callers_leave(&callers, c);
    assert_int_equal(callers.n_slots, 0);
    assert_int_equal(callers.slots[mosa_callers_enter(&callers, 7)].served, 0);
    mosa_callers_finish(&callers);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_caller_with_a_hundred_does_not_starve_one_with_one),
        cmocka_unit_test(callers_take_turns_for_a_single_slot),
        cmocka_unit_test(a_long_prompt_does_not_hold_up_another_callers_short_one),
        cmocka_unit_test(a_higher_priority_takes_a_slot_and_the_displaced_one_resumes),
        cmocka_unit_test(a_higher_priority_takes_pages_too),
        cmocka_unit_test(a_newcomer_starts_at_the_least_that_others_were_served),
    };
    return cmocka_run_group_tests_name("engine: fairness", tests, NULL, NULL);
}
