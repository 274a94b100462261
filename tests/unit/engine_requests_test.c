// What a request may ask for and what it gets: limits, stops, log-probabilities, embeddings, cancellation, full queues.
#include "model/model.h"
#include "mosa/mosa.h"

#include "base/status.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define MODEL MOSA_SOURCE_ROOT "/tests/golden/families/small-llama"

enum { PROMPT = 40, TOKENS_MAX = 512 };

typedef struct outcome {
    int32_t tokens[TOKENS_MAX], prompt_ids[TOKENS_MAX];
    float prompt_logprobs[TOKENS_MAX], logprobs[TOKENS_MAX];
    int n, n_prompt_events;
    char text[4096];
    size_t text_len;
    mosa_finish finish;
    int stop_index;
    float embedding[4096];
    bool embedded;
    int32_t completion_tokens;
    int cancel_after; // 0 = never
} outcome;

static int32_t prompt[PROMPT];

static mosa_engine *open_with(mosa_engine_options options) {
    mosa_engine *engine = NULL;
    mosa_error err = {0};
    options.model = MODEL;
    options.threads = 1;
    if (mosa_engine_open(&options, &engine, &err) != MOSA_OK) fail_msg("%s", err.message);
    mosa_engine_info info;
    mosa_engine_get_info(engine, &info);
    for (int i = 0; i < PROMPT; i++) prompt[i] = (i * 37 + 11) % info.vocab_size;
    return engine;
}

static mosa_request basic(void) {
    mosa_request request = mosa_request_default();
    request.tokens = prompt;
    request.n_tokens = PROMPT;
    request.sampling.temperature = 0;
    request.max_tokens = 24;
    request.ignore_eos = true;
    return request;
}

static bool on_event(void *user, const mosa_event *event) {
    outcome *o = user;
    if (event->is_prompt) {
        o->prompt_ids[o->n_prompt_events] = event->token;
        o->prompt_logprobs[o->n_prompt_events++] = event->logprob;
    } else if (event->token >= 0) {
        o->logprobs[o->n] = event->logprob;
        o->tokens[o->n++] = event->token;
    }
    memcpy(o->text + o->text_len, event->text, event->text_len);
    o->text_len += event->text_len;
    o->text[o->text_len] = '\0';
    if (event->embedding) {
        memcpy(o->embedding, event->embedding, 64 * sizeof(float));
        o->embedded = true;
    }
    o->finish = event->finish;
    o->stop_index = event->stop_index;
    o->completion_tokens = event->completion_tokens;
    return o->cancel_after == 0 || o->n < o->cancel_after;
}

static void generate(mosa_engine *engine, const mosa_request *request, outcome *o) {
    mosa_error err = {0};
    int cancel_after = o->cancel_after;
    memset(o, 0, sizeof *o);
    o->cancel_after = cancel_after;
    if (mosa_engine_generate(engine, request, on_event, o, &err) != MOSA_OK) fail_msg("%s", err.message);
}

static mosa_status refuse(mosa_engine *engine, const mosa_request *request, mosa_error *err) {
    uint64_t id;
    return mosa_engine_submit(engine, request, &id, err);
}

static void max_tokens_ends_with_length(void **state) {
    (void)state;
    static outcome o;
    mosa_engine *engine = open_with((mosa_engine_options){.max_sequences = 2});
    mosa_request request = basic();
    generate(engine, &request, &o);
    assert_int_equal(o.n, 24);
    assert_int_equal(o.finish, MOSA_FINISH_LENGTH);
    assert_int_equal(o.completion_tokens, 24);
    mosa_engine_close(engine);
}

static void the_end_of_the_context_ends_with_length(void **state) {
    (void)state;
    static outcome o;
    mosa_engine *engine = open_with((mosa_engine_options){.max_sequences = 1, .context_tokens = 64});
    mosa_request request = basic();
    request.max_tokens = 0;
    generate(engine, &request, &o);
    assert_int_equal(o.n, 64 - PROMPT);
    assert_int_equal(o.finish, MOSA_FINISH_LENGTH);
    mosa_engine_close(engine);
}

static void a_stop_string_ends_the_text_before_it(void **state) {
    (void)state;
    static outcome plain, stopped;
    mosa_engine *engine = open_with((mosa_engine_options){.max_sequences = 2});
    mosa_request request = basic();
    generate(engine, &request, &plain);
    assert_true(plain.text_len > 12);
    char stop[4] = {0};
    memcpy(stop, plain.text + plain.text_len / 2, 3);
    size_t expected = (size_t)(strstr(plain.text, stop) - plain.text);
    const char *stops[] = {"never to be seen", stop};
    request.stop = stops;
    request.n_stop = 2;
    generate(engine, &request, &stopped);
    assert_int_equal(stopped.finish, MOSA_FINISH_STOP);
    assert_int_equal(stopped.stop_index, 1);
    assert_int_equal(stopped.text_len, expected);
    assert_memory_equal(stopped.text, plain.text, expected);
    mosa_engine_close(engine);
}

static void min_tokens_holds_the_end_token_off(void **state) {
    (void)state;
    static outcome o;
    mosa_engine *engine = open_with((mosa_engine_options){.max_sequences = 2});
    mosa_engine_info info;
    mosa_engine_get_info(engine, &info);
    mosa_request request = basic();
    request.ignore_eos = false;
    request.max_tokens = 20;
    // Push every end token to the front: without min_tokens the first draw would end the sequence.
    mosa_logit_bias bias[8];
    int n_bias = 0;
    for (int32_t id = 0; id < info.vocab_size && n_bias < 8; id++) {
        size_t len;
        const char *bytes = mosa_token_bytes(engine, id, &len);
        if (bytes && len > 2 && bytes[0] == '<' && bytes[len - 1] == '>') bias[n_bias++] = (mosa_logit_bias){id, 100};
    }
    request.sampling.logit_bias = bias;
    request.sampling.n_logit_bias = n_bias;
    generate(engine, &request, &o);
    bool ended_at_once = o.finish == MOSA_FINISH_STOP && o.n == 1;
    if (ended_at_once) {
        request.min_tokens = 5;
        generate(engine, &request, &o);
        assert_true(o.n >= 5);
    }
    mosa_engine_close(engine);
}

// The prompt's log-probabilities are those that the same tokens get when they are generated.
static void prompt_logprobs_agree_with_generation(void **state) {
    (void)state;
    static outcome generated, scored;
    mosa_engine *engine = open_with((mosa_engine_options){.max_sequences = 2, .max_batch_tokens = 16});
    mosa_request request = basic();
    request.top_logprobs = 0;
    generate(engine, &request, &generated);
    int32_t whole[PROMPT + 24];
    memcpy(whole, prompt, sizeof prompt);
    memcpy(whole + PROMPT, generated.tokens, 24 * sizeof *whole);
    request.tokens = whole;
    request.n_tokens = PROMPT + 24;
    request.max_tokens = 1;
    request.prompt_logprobs = true;
    generate(engine, &request, &scored);
    assert_int_equal(scored.n_prompt_events, PROMPT + 24 - 1);
    for (int i = 0; i < 24; i++) {
        assert_int_equal(scored.prompt_ids[PROMPT - 1 + i], generated.tokens[i]);
        assert_memory_equal(&scored.prompt_logprobs[PROMPT - 1 + i], &generated.logprobs[i], sizeof(float));
    }
    mosa_engine_close(engine);
}

static void embeddings_have_length_one_and_do_not_depend_on_chunks(void **state) {
    (void)state;
    static outcome small, large, last;
    mosa_engine *engine = open_with((mosa_engine_options){.max_sequences = 1, .max_batch_tokens = 7});
    mosa_request request = basic();
    request.kind = MOSA_EMBED_MEAN;
    generate(engine, &request, &small);
    mosa_engine_close(engine);
    engine = open_with((mosa_engine_options){.max_sequences = 2, .max_batch_tokens = 256});
    generate(engine, &request, &large);
    request.kind = MOSA_EMBED_LAST;
    generate(engine, &request, &last);
    mosa_engine_info info;
    mosa_engine_get_info(engine, &info);
    assert_int_equal(info.width, 64);
    assert_true(small.embedded && large.embedded && last.embedded);
    assert_memory_equal(small.embedding, large.embedding, 64 * sizeof(float));
    assert_memory_not_equal(last.embedding, large.embedding, 64 * sizeof(float));
    double square = 0;
    for (int i = 0; i < 64; i++) square += (double)large.embedding[i] * large.embedding[i];
    assert_true(fabs(square - 1) < 1e-5);
    mosa_engine_close(engine);
}

// Runs `request` beside one that goes before it and grows until there is no page left for both.
static void run_beside_a_hungry_one(mosa_engine *engine, mosa_request *request, outcome *o) {
    mosa_request hungry = basic();
    mosa_error err;
    uint64_t first, id;
    hungry.n_tokens = 8;
    hungry.max_tokens = 80;
    hungry.priority = 1;
    assert_int_equal(mosa_engine_submit(engine, &hungry, &first, &err), MOSA_OK);
    assert_int_equal(mosa_engine_submit(engine, request, &id, &err), MOSA_OK);
    memset(o, 0, sizeof *o);
    while (o->finish == MOSA_FINISH_NONE) {
        const mosa_event *events;
        int n;
        if (mosa_engine_step(engine, 1000, &events, &n, &err) != MOSA_OK) fail_msg("%s", err.message);
        for (int i = 0; i < n; i++)
            if (events[i].request == id) on_event(o, &events[i]);
    }
}

static void a_preempted_prompt_is_reported_once(void **state) {
    (void)state;
    static outcome alone, beside;
    mosa_engine_options options = {
        .max_sequences = 2, .max_batch_tokens = 2, .context_tokens = 96, .no_prefix_cache = true};
    mosa_engine *engine = open_with(options);
    mosa_engine_info info;
    mosa_engine_stats stats;
    mosa_engine_get_info(engine, &info);
    mosa_engine_close(engine);
    options.kv_memory_bytes = info.kv_bytes / info.kv_pages * 3;
    engine = open_with(options);
    mosa_request request = basic();
    request.prompt_logprobs = true;
    request.top_logprobs = 0;
    request.max_tokens = 4;
    generate(engine, &request, &alone);
    run_beside_a_hungry_one(engine, &request, &beside);
    mosa_engine_get_stats(engine, &stats);
    assert_int_equal(stats.preemptions, 1);
    assert_int_equal(alone.n_prompt_events, PROMPT - 1);
    assert_int_equal(beside.n_prompt_events, PROMPT - 1);
    assert_memory_equal(beside.prompt_logprobs, alone.prompt_logprobs, (PROMPT - 1) * sizeof(float));
    assert_memory_equal(beside.logprobs, alone.logprobs, 4 * sizeof(float));
    request = basic();
    request.kind = MOSA_EMBED_MEAN;
    generate(engine, &request, &alone);
    run_beside_a_hungry_one(engine, &request, &beside);
    mosa_engine_get_stats(engine, &stats);
    assert_int_equal(stats.preemptions, 2);
    assert_memory_equal(beside.embedding, alone.embedding, 64 * sizeof(float));
    mosa_engine_close(engine);
}

static void a_cancelled_request_ends_in_the_next_step_and_returns_its_pages(void **state) {
    (void)state;
    static outcome o = {.cancel_after = 3};
    mosa_engine *engine = open_with((mosa_engine_options){.max_sequences = 2});
    mosa_request request = basic();
    request.max_tokens = 200;
    generate(engine, &request, &o);
    assert_int_equal(o.finish, MOSA_FINISH_CANCELLED);
    assert_int_equal(o.n, 3);
    mosa_engine_stats stats;
    mosa_engine_get_stats(engine, &stats);
    assert_int_equal(stats.pages_used, 0);
    assert_int_equal(stats.cancelled, 1);
    mosa_engine_close(engine);
}

static void requests_that_can_never_run_are_refused_at_once(void **state) {
    (void)state;
    mosa_engine *engine = open_with((mosa_engine_options){.max_sequences = 1, .context_tokens = 32});
    mosa_error err;
    mosa_request request = basic();
    assert_int_equal(refuse(engine, &request, &err), MOSA_ECONTEXT);
    request.n_tokens = 32;
    assert_int_equal(refuse(engine, &request, &err), MOSA_ECONTEXT);
    request.n_tokens = 0;
    assert_int_equal(refuse(engine, &request, &err), MOSA_EINVALID);
    int32_t bad[] = {1, 1 << 20};
    request.tokens = bad;
    request.n_tokens = 2;
    assert_int_equal(refuse(engine, &request, &err), MOSA_EINVALID);
    assert_non_null(strstr(err.message, "1048576"));
    request.tokens = prompt;
    request.sampling.temperature = -1;
    assert_int_equal(refuse(engine, &request, &err), MOSA_EINVALID);
    request.sampling.temperature = NAN;
    assert_int_equal(refuse(engine, &request, &err), MOSA_EINVALID);
    request.sampling.temperature = 0;
    request.min_tokens = 30;
    assert_int_equal(refuse(engine, &request, &err), MOSA_EINVALID);
    request.n_tokens = 20;
    request.max_tokens = 0;
    request.min_tokens = 13; // there is room for 12
    assert_int_equal(refuse(engine, &request, &err), MOSA_ECONTEXT);
    request.min_tokens = 0;
    request.top_logprobs = 21;
    assert_int_equal(refuse(engine, &request, &err), MOSA_EINVALID);
    request.top_logprobs = -1;
    const char *empty[] = {""};
    request.stop = empty;
    request.n_stop = 1;
    assert_int_equal(refuse(engine, &request, &err), MOSA_EINVALID);
    mosa_engine_close(engine);
}

static void a_full_queue_says_busy_and_empties_again(void **state) {
    (void)state;
    mosa_engine *engine = open_with((mosa_engine_options){.max_sequences = 1, .max_queued = 3});
    mosa_request request = basic();
    mosa_error err;
    uint64_t id;
    for (int i = 0; i < 3; i++) assert_int_equal(mosa_engine_submit(engine, &request, &id, &err), MOSA_OK);
    assert_int_equal(mosa_engine_submit(engine, &request, &id, &err), MOSA_EBUSY);
    assert_true(mosa_status_retryable(err.status));
    int finished = 0;
    while (finished < 3) {
        const mosa_event *events;
        int n;
        assert_int_equal(mosa_engine_step(engine, 1000, &events, &n, &err), MOSA_OK);
        for (int i = 0; i < n; i++) finished += events[i].finish != MOSA_FINISH_NONE;
    }
    assert_int_equal(mosa_engine_submit(engine, &request, &id, &err), MOSA_OK);
    mosa_engine_close(engine);
}

static void impossible_options_are_refused_with_their_name(void **state) {
    (void)state;
    mosa_engine *engine = NULL;
    mosa_error err;
    mosa_engine_options options = {.model = MODEL, .kv_memory_bytes = 16};
    assert_int_equal(mosa_engine_open(&options, &engine, &err), MOSA_ELIMIT);
    assert_non_null(strstr(err.message, "kv_memory_bytes"));
    options = (mosa_engine_options){.model = MODEL, .kv_type = "q3"};
    assert_int_equal(mosa_engine_open(&options, &engine, &err), MOSA_EINVALID);
    options = (mosa_engine_options){.model = MODEL, .context_tokens = 1 << 23};
    assert_int_equal(mosa_engine_open(&options, &engine, &err), MOSA_EINVALID);
    options = (mosa_engine_options){.model = MODEL "/no-such-model"};
    assert_int_equal(mosa_engine_open(&options, &engine, &err), MOSA_ENOTFOUND);
    assert_non_null(strstr(err.hint, "pull"));
    assert_null(engine);
}

static void memory_is_counted_and_what_does_not_fit_refused(void **state) {
    (void)state;
    mosa_engine *engine = NULL;
    mosa_error err;
    mosa_engine_info info;
    engine = open_with((mosa_engine_options){.max_sequences = 2, .context_tokens = 64});
    mosa_engine_get_info(engine, &info);
    assert_int_equal(info.kv_token_bytes * info.page_tokens * info.kv_pages, info.kv_bytes);
    assert_int_equal(info.kv_pages, 4);
    mosa_engine_close(engine);
    mosa_backend *backend;
    mosa_model *model;
    mosa_model_options tight = {.path = MODEL, .max_rows = 8, .max_outputs = 1, .memory_bytes = 1000};
    assert_int_equal(mosa_backend_open(&(mosa_backend_options){.device = "cpu", .threads = 1}, &backend, &err),
                     MOSA_OK);
    assert_int_equal(mosa_model_open(backend, &tight, &model, &err), MOSA_ELIMIT);
    assert_non_null(strstr(err.message, "GiB"));
    backend->ops->destroy(backend);
}

static void a_model_is_quantised_at_load(void **state) {
    (void)state;
    static outcome o;
    mosa_engine *engine = open_with((mosa_engine_options){.max_sequences = 1, .quantize = "q8_0"});
    mosa_engine_info quantised, plain;
    mosa_engine_get_info(engine, &quantised);
    mosa_request request = basic();
    generate(engine, &request, &o);
    assert_int_equal(o.n, 24);
    mosa_engine_close(engine);
    engine = open_with((mosa_engine_options){.max_sequences = 1});
    mosa_engine_get_info(engine, &plain);
    assert_true(quantised.weight_bytes < plain.weight_bytes);
    mosa_engine_close(engine);
}

static void a_strange_name_is_told_in_whole_characters(void **state) {
    (void)state;
    char folder[] = "/tmp/mosa-name-XXXXXX", path[256], *name = path + sizeof folder;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/\xff", folder); // no UTF-8
    for (int i = 0; i < 70; i++) memcpy(name + 1 + 2 * i, "\xc3\xa9", 3);
    assert_int_equal(symlink(MODEL, path), 0);
    mosa_engine_options options = {.model = path, .threads = 1, .max_sequences = 1};
    mosa_engine *engine = NULL;
    mosa_engine_info info;
    mosa_error err;
    mosa_status status = mosa_engine_open(&options, &engine, &err);
    unlink(path);
    rmdir(folder);
    if (status != MOSA_OK) fail_msg("%s", err.message);
    mosa_engine_get_info(engine, &info);
    assert_int_equal(info.name[0], '?');
    assert_int_equal(strlen(info.name), 127); // 63 of the 70 characters
    assert_memory_equal(info.name + 1, name + 1, 126);
    mosa_engine_close(engine);
}

// What `mosa bench --ops` prints: each op once, times and operations as the model's shape has them.
static void test_profile_adds_up_ops(void **state) {
    (void)state;
    mosa_engine *engine = open_with((mosa_engine_options){0});
    mosa_profile_row rows[MOSA_PROFILE_ROWS_MAX];
    mosa_request request = basic();
    outcome o = {0};
    mosa_error err = {0};
    mosa_engine_info info;
    mosa_engine_get_info(engine, &info);
    assert_int_equal(mosa_engine_get_profile(engine, rows, MOSA_PROFILE_ROWS_MAX), 0);
    mosa_engine_profile(engine, true);
    request.max_tokens = 1;
    assert_int_equal(mosa_engine_generate(engine, &request, on_event, &o, &err), MOSA_OK);
    int n = mosa_engine_get_profile(engine, rows, MOSA_PROFILE_ROWS_MAX);
    double linear_flops = 0;
    for (int i = 0; i < n; i++) {
        assert_true(i == 0 || rows[i - 1].ns >= rows[i].ns);
        assert_true(rows[i].calls > 0 && rows[i].bytes > 0);
        for (int j = 0; j < i; j++) assert_string_not_equal(rows[i].name, rows[j].name);
        if (strncmp(rows[i].name, "linear", 6) == 0) linear_flops += rows[i].flops;
    }
    // Every matrix meets every row of the prompt, the output matrix only the last; the embedding table is none.
    double matrices = (double)info.parameters - (double)info.vocab_size * info.width;
    assert_true(linear_flops > 1.5 * PROMPT * matrices && linear_flops < 2.5 * PROMPT * (double)info.parameters);
    mosa_engine_profile(engine, false);
    assert_int_equal(mosa_engine_generate(engine, &request, on_event, &o, &err), MOSA_OK);
    int again = mosa_engine_get_profile(engine, rows, 1);
    assert_int_equal(again, 1);
    mosa_engine_profile(engine, true);
    assert_int_equal(mosa_engine_get_profile(engine, rows, MOSA_PROFILE_ROWS_MAX), 0);
    mosa_engine_close(engine);
}

static void test_limits_are_measured(void **state) {
    (void)state;
    mosa_engine *engine = open_with((mosa_engine_options){0});
    mosa_limits limits = {0};
    mosa_error err = {0};
    assert_int_equal(mosa_engine_measure(engine, &limits, &err), MOSA_OK);
    assert_true(limits.read_bytes_per_s > 1e7);
#if defined(__x86_64__)
    assert_true(limits.int8_ops_per_s >= 0 && limits.f32_ops_per_s >= 0);
#endif
    mosa_engine_close(engine);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(max_tokens_ends_with_length),
        cmocka_unit_test(the_end_of_the_context_ends_with_length),
        cmocka_unit_test(a_stop_string_ends_the_text_before_it),
        cmocka_unit_test(min_tokens_holds_the_end_token_off),
        cmocka_unit_test(prompt_logprobs_agree_with_generation),
        cmocka_unit_test(embeddings_have_length_one_and_do_not_depend_on_chunks),
        cmocka_unit_test(a_preempted_prompt_is_reported_once),
        cmocka_unit_test(a_cancelled_request_ends_in_the_next_step_and_returns_its_pages),
        cmocka_unit_test(requests_that_can_never_run_are_refused_at_once),
        cmocka_unit_test(a_full_queue_says_busy_and_empties_again),
        cmocka_unit_test(impossible_options_are_refused_with_their_name),
        cmocka_unit_test(memory_is_counted_and_what_does_not_fit_refused),
        cmocka_unit_test(a_model_is_quantised_at_load),
        cmocka_unit_test(a_strange_name_is_told_in_whole_characters),
        cmocka_unit_test(test_profile_adds_up_ops),
        cmocka_unit_test(test_limits_are_measured),
    };
    return cmocka_run_group_tests_name("engine: requests", tests, NULL, NULL);
}
