// Adapters in the engine: every mix gives each request the bits that it has alone; names come and go while requests
// run.
#include "mosa/mosa.h"

#include "base/status.h"
#include "base/thread.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define GOLDEN MOSA_SOURCE_ROOT "/tests/golden/"
#define MODEL  GOLDEN "families/small-llama"

enum { PROMPT = 100, OUTPUT = 24, KINDS = 4, CROWD = 9 };

static const char *const names[KINDS] = {NULL, "plain", "pattern", "wide"};

typedef struct transcript {
    uint64_t id;
    int n, cached;
    int32_t tokens[OUTPUT];
    float logprobs[OUTPUT];
} transcript;

static void must(mosa_status status, const mosa_error *err) {
    if (status != MOSA_OK) fail_msg("%s", err->message);
}

static mosa_engine *open_with(mosa_engine_options options) {
    mosa_engine *engine;
    mosa_error err;
    options.model = MODEL;
    must(mosa_engine_open(&options, &engine, &err), &err);
    return engine;
}

static mosa_status load(mosa_engine *engine, const char *name, const char *file, mosa_error *err) {
    char path[512];
    snprintf(path, sizeof path, GOLDEN "adapters/%s", file);
    return mosa_engine_adapter_load(engine, name, path, err);
}

static void load_all(mosa_engine *engine) {
    mosa_error err;
    must(load(engine, "plain", "small-llama/plain", &err), &err);
    must(load(engine, "pattern", "small-llama/pattern/adapter_config.json", &err), &err);
    must(load(engine, "wide", "small-llama/wide", &err), &err);
}

static mosa_status submit(mosa_engine *engine, const char *adapter, int n_prompt, int n_output, uint64_t *id,
                          mosa_error *err) {
    int32_t tokens[PROMPT];
    for (int i = 0; i < n_prompt; i++) tokens[i] = (i * 37 + 11) % 300 + 3; // all prompts begin alike
    mosa_request request = mosa_request_default();
    request.tokens = tokens;
    request.n_tokens = (size_t)n_prompt;
    request.max_tokens = n_output;
    request.ignore_eos = true;
    request.sampling.seed = 7;
    request.top_logprobs = 0;
    request.adapter = adapter;
    return mosa_engine_submit(engine, &request, id, err);
}

static void start(mosa_engine *engine, const char *adapter, transcript *t) {
    mosa_error err;
    *t = (transcript){0};
    must(submit(engine, adapter, PROMPT, OUTPUT, &t->id, &err), &err);
}

// Steps until `pending` requests have ended, or, with steps > 0, that often.
static void run(mosa_engine *engine, transcript *list, int n_list, int pending, int steps) {
    for (int step = 0; pending > 0 && (steps == 0 || step < steps); step++) {
        const mosa_event *events;
        mosa_error err;
        int n;
        must(mosa_engine_step(engine, 10000, &events, &n, &err), &err);
        for (int i = 0; i < n; i++) {
            assert_int_not_equal(events[i].finish, MOSA_FINISH_ERROR);
            pending -= events[i].finish != MOSA_FINISH_NONE;
            for (int t = 0; t < n_list; t++) {
                if (list[t].id != events[i].request) continue;
                list[t].cached = events[i].cached_tokens;
                if (events[i].token < 0 || list[t].n == OUTPUT) continue;
                list[t].tokens[list[t].n] = events[i].token;
                list[t].logprobs[list[t].n++] = events[i].logprob;
            }
        }
    }
}

static void assert_same(const transcript *a, const transcript *b, const char *what) {
    assert_int_equal(a->n, OUTPUT);
    assert_int_equal(b->n, OUTPUT);
    if (memcmp(a->tokens, b->tokens, sizeof a->tokens) != 0 ||
        memcmp(a->logprobs, b->logprobs, sizeof a->logprobs) != 0)
        fail_msg("%s: the answer has other bits than alone", what);
}

// Each kind alone in a fresh engine that knows its adapter only.
static void run_alone(transcript alone[KINDS]) {
    for (int k = 0; k < KINDS; k++) {
        mosa_engine *engine = open_with((mosa_engine_options){.threads = 1, .max_adapters = k > 0});
        char path[64];
        mosa_error err;
        snprintf(path, sizeof path, "small-llama/%s", k ? names[k] : "");
        if (k) must(load(engine, names[k], path, &err), &err);
        start(engine, names[k], &alone[k]);
        run(engine, &alone[k], 1, 1, 0);
        mosa_engine_close(engine);
    }
    for (int k = 1; k < KINDS; k++)
        assert_memory_not_equal(alone[k].logprobs, alone[0].logprobs, sizeof alone[0].logprobs);
}

static void every_mix_of_adapters_gives_the_bits_of_each_alone(void **state) {
    (void)state;
    static const mosa_engine_options settings[] = {
        {.threads = 1, .max_sequences = 16},
        {.threads = 2, .max_sequences = 16},
        {.threads = 3, .max_sequences = 16, .max_batch_tokens = 23},
        {.threads = 2, .max_sequences = 16, .no_prefix_cache = true},
        {.threads = 2, .max_sequences = 4, .kv_memory_bytes = 96 << 10},
        {.threads = 2, .max_sequences = 16, .device = "cpu:ref"},
        {.threads = 2, .max_sequences = 16, .speculate = "ngram"},
        {.threads = 2, .max_sequences = 16, .speculate = "draft", .draft_model = MODEL "/model-q8_0.gguf"},
    };
    transcript alone[KINDS];
    run_alone(alone);
    for (size_t s = 0; s < MOSA_COUNT(settings); s++) {
        mosa_engine_options options = settings[s];
        options.max_adapters = 3;
        mosa_engine *engine = open_with(options);
        load_all(engine);
        transcript mixed[CROWD];
        for (int round = 0; round < 2; round++) { // the second finds pages in the prefix tree
            for (int i = 0; i < CROWD; i++) start(engine, names[(i * 3 + round) % KINDS], &mixed[i]);
            run(engine, mixed, CROWD, CROWD, 0);
            for (int i = 0; i < CROWD; i++) {
                char what[64];
                snprintf(what, sizeof what, "setting %zu, round %d, request %d", s, round, i);
                assert_same(&alone[(i * 3 + round) % KINDS], &mixed[i], what);
            }
        }
        mosa_engine_close(engine);
    }
}

static void adapters_never_share_pages(void **state) {
    (void)state;
    mosa_engine *engine = open_with((mosa_engine_options){.threads = 1, .max_adapters = 3});
    load_all(engine);
    for (int k = 0; k < KINDS; k++) {
        transcript first, again;
        start(engine, names[k], &first);
        run(engine, &first, 1, 1, 0);
        assert_int_equal(first.cached, 0);
        start(engine, names[k], &again);
        run(engine, &again, 1, 1, 0);
        assert_true(again.cached > 0);
        assert_same(&first, &again, "from the cache");
    }
    mosa_engine_close(engine);
}

static void dropping_a_name_waits_for_those_who_use_it(void **state) {
    (void)state;
    mosa_engine *engine = open_with((mosa_engine_options){.threads = 1, .max_adapters = 1});
    mosa_error err;
    uint64_t id;
    mosa_adapter_info info;
    transcript whole, cut, other;
    must(load(engine, "a", "small-llama/plain", &err), &err);
    start(engine, "a", &whole);
    run(engine, &whole, 1, 1, 0);
    start(engine, "a", &cut);
    run(engine, &cut, 1, 1, 5);
    assert_int_equal(mosa_engine_get_adapters(engine, &info, 1), 1);
    assert_string_equal(info.name, "a");
    assert_int_equal(info.requests, 1);
    assert_int_equal(info.rank, 4);
    must(mosa_engine_adapter_unload(engine, "a", &err), &err);
    assert_int_equal(mosa_engine_get_adapters(engine, &info, 1), 0);
    assert_int_equal(submit(engine, "a", PROMPT, 1, &id, &err), MOSA_ENOTFOUND);
    assert_int_equal(load(engine, "a", "small-llama/wide", &err), MOSA_ELIMIT); // its memory is still in use
    run(engine, &cut, 1, 1, 0);
    assert_same(&whole, &cut, "after its name was dropped");
    run(engine, NULL, 0, 1, 1); // the ended request is let go in the next step
    must(load(engine, "a", "small-llama/wide", &err), &err);
    start(engine, "a", &other); // the old pages of that name are not its own
    run(engine, &other, 1, 1, 0);
    assert_int_equal(other.cached, 0);
    assert_memory_not_equal(other.logprobs, whole.logprobs, sizeof whole.logprobs);
    mosa_engine_close(engine);
}

static void what_cannot_be_is_refused_at_once(void **state) {
    (void)state;
    mosa_engine *engine = open_with((mosa_engine_options){.threads = 1, .max_adapters = 2, .max_adapter_rank = 4});
    mosa_error err;
    uint64_t id;
    char longer[MOSA_ADAPTER_NAME_MAX + 2];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    assert_int_equal(submit(engine, "nobody", PROMPT, 1, &id, &err), MOSA_ENOTFOUND);
    assert_non_null(strstr(err.message, "nobody"));
    assert_int_equal(mosa_engine_adapter_unload(engine, "nobody", &err), MOSA_ENOTFOUND);
    assert_int_equal(load(engine, "", "small-llama/plain", &err), MOSA_EINVALID);
    assert_int_equal(load(engine, "\xff", "small-llama/plain", &err), MOSA_EINVALID);
    assert_int_equal(load(engine, longer, "small-llama/plain", &err), MOSA_EINVALID);
    assert_int_equal(load(engine, "a", "no/such/folder", &err), MOSA_ENOTFOUND);
    assert_int_equal(load(engine, "a", "small-llama/wide", &err), MOSA_ELIMIT);
    assert_non_null(strstr(err.message, "max_adapter_rank"));
    assert_int_equal(load(engine, "a", "small-qwen3/plain", &err), MOSA_EINVALID);
    assert_non_null(strstr(err.message, "lora_"));
    assert_int_equal(load(engine, "a", "../families/small-llama/model-q8_0.gguf", &err), MOSA_EUNSUPPORTED);
    must(load(engine, "a", "small-llama/plain.gguf", &err), &err);
    assert_int_equal(load(engine, "a", "small-llama/plain", &err), MOSA_EEXISTS);
    must(load(engine, "b", "small-llama/plain", &err), &err);
    assert_int_equal(load(engine, "c", "small-llama/plain", &err), MOSA_ELIMIT);
    mosa_engine_close(engine);
    engine = open_with((mosa_engine_options){.threads = 1});
    assert_int_equal(load(engine, "a", "small-llama/plain", &err), MOSA_EUNSUPPORTED);
    mosa_engine_close(engine);
}

typedef struct churn {
    mosa_engine *engine;
    atomic_bool stop;
    int loads;
} churn;

static void load_and_drop(void *arg) {
    churn *c = arg;
    mosa_error err;
    while (!atomic_load(&c->stop)) {
        if (load(c->engine, "coming", "small-llama/pattern", &err) == MOSA_OK) c->loads++;
        (void)mosa_engine_adapter_unload(c->engine, "coming", &err);
    }
}

static void names_come_and_go_while_requests_run(void **state) {
    (void)state;
    churn c = {.engine = open_with((mosa_engine_options){.threads = 2, .max_adapters = 8})};
    mosa_thread thread = {0};
    mosa_error err;
    must(load(c.engine, "plain", "small-llama/plain", &err), &err);
    must(mosa_thread_start(&thread, "churn", load_and_drop, &c, &err), &err);
    transcript first, last;
    start(c.engine, "plain", &first);
    run(c.engine, &first, 1, 1, 0);
    for (int round = 0; round < 40; round++) {
        uint64_t id;
        int pending = submit(c.engine, "coming", 20, 4, &id, &err) == MOSA_OK;
        start(c.engine, "plain", &last);
        run(c.engine, &last, 1, pending + 1, 0);
        assert_same(&first, &last, "beside names that come and go");
    }
    atomic_store(&c.stop, true);
    mosa_thread_join(&thread);
    assert_true(c.loads > 0);
    mosa_engine_close(c.engine);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_mix_of_adapters_gives_the_bits_of_each_alone),
        cmocka_unit_test(adapters_never_share_pages),
        cmocka_unit_test(dropping_a_name_waits_for_those_who_use_it),
        cmocka_unit_test(what_cannot_be_is_refused_at_once),
        cmocka_unit_test(names_come_and_go_while_requests_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
