// Constrained requests: what comes out is in the language, whoever runs beside it, guesses or not; others do not
// notice.
#include "mosa/mosa.h"

#include "base/status.h"
#include "codec/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MODEL MOSA_SOURCE_ROOT "/tests/golden/families/small-llama"

enum { PROMPT = 24, TOKENS_MAX = 400, REQUESTS = 6 };

typedef struct outcome {
    int32_t tokens[TOKENS_MAX];
    float logprobs[TOKENS_MAX];
    int n;
    char text[4096];
    size_t text_len;
    mosa_finish finish;
} outcome;

static const char schema[] =
    "{\"type\": \"object\", \"properties\": {\"name\": {\"type\": \"string\", \"maxLength\": 8}, "
    "\"age\": {\"type\": \"integer\", \"minimum\": 0, \"maximum\": 120}, "
    "\"kind\": {\"enum\": [\"cat\", \"dog\"]}}, "
    "\"required\": [\"name\", \"age\", \"kind\"], \"additionalProperties\": false}";

static int32_t prompts[REQUESTS][PROMPT];

static mosa_engine *open_with(mosa_engine_options options) {
    mosa_engine *engine = NULL;
    mosa_error err = {0};
    mosa_engine_info info;
    options.model = MODEL;
    if (!options.threads) options.threads = 1;
    if (mosa_engine_open(&options, &engine, &err) != MOSA_OK) fail_msg("%s", err.message);
    mosa_engine_get_info(engine, &info);
    for (int r = 0; r < REQUESTS; r++)
        for (int i = 0; i < PROMPT; i++) prompts[r][i] = (i * 37 + 11 * r + 5) % info.vocab_size;
    return engine;
}

static mosa_constraint constraint_of(mosa_constraint_kind kind, const char *text) {
    return (mosa_constraint){kind, text, text ? strlen(text) : 0};
}

// A mix: constrained by every kind, and one that is free.
static mosa_request make_request(int index) {
    mosa_request r = mosa_request_default();
    r.tokens = prompts[index];
    r.n_tokens = PROMPT;
    r.sampling.seed = (uint64_t)index + 7;
    r.sampling.temperature = index == 1 ? 0 : 1;
    r.max_tokens = 150;
    r.top_logprobs = index % 2 ? 0 : -1;
    if (index == 0) r.constraint = constraint_of(MOSA_CONSTRAINT_JSON_SCHEMA, schema);
    if (index == 1) r.constraint = constraint_of(MOSA_CONSTRAINT_CHOICE, "[\"yes\", \"no\", \"perhaps not\"]");
    if (index == 2) r.constraint = constraint_of(MOSA_CONSTRAINT_REGEX, "[A-C]{3}-[0-9]{2,4}");
    if (index == 3) r.constraint = constraint_of(MOSA_CONSTRAINT_JSON_SCHEMA, schema);
    if (index == 4)
        r.constraint = constraint_of(MOSA_CONSTRAINT_GRAMMAR, "root ::= \"<\" [a-z]+ \">\" (\"!\" | \"?\")");
    return r; // 5: free
}

static void record(outcome *o, const mosa_event *event) {
    if (event->token >= 0) {
        assert_true(o->n < TOKENS_MAX);
        o->logprobs[o->n] = event->logprob;
        o->tokens[o->n++] = event->token;
    }
    memcpy(o->text + o->text_len, event->text, event->text_len);
    o->text_len += event->text_len;
    o->text[o->text_len] = '\0';
    o->finish = event->finish;
}

// Runs requests [first, last) together.
static uint64_t run(mosa_engine_options options, int first, int last, outcome out[REQUESTS]) {
    mosa_engine *engine = open_with(options);
    uint64_t ids[REQUESTS];
    mosa_error err = {0};
    for (int r = first; r < last; r++) {
        mosa_request request = make_request(r);
        memset(&out[r], 0, sizeof out[r]);
        if (mosa_engine_submit(engine, &request, &ids[r], &err) != MOSA_OK) fail_msg("%d: %s", r, err.message);
    }
    for (int pending = last - first; pending > 0;) {
        const mosa_event *events;
        int n;
        if (mosa_engine_step(engine, -1, &events, &n, &err) != MOSA_OK) fail_msg("%s", err.message);
        for (int i = 0; i < n; i++)
            for (int r = first; r < last; r++)
                if (events[i].request == ids[r]) {
                    record(&out[r], &events[i]);
                    if (events[i].finish == MOSA_FINISH_ERROR) fail_msg("%d: %s", r, events[i].error->message);
                    pending -= events[i].finish != MOSA_FINISH_NONE;
                }
    }
    mosa_engine_stats stats;
    mosa_engine_get_stats(engine, &stats);
    assert_int_equal(stats.pages_used, 0);
    mosa_engine_close(engine);
    return stats.steps;
}

static bool is_one_of(const char *text, const char *const *words) {
    for (; *words; words++)
        if (strcmp(text, *words) == 0) return true;
    return false;
}

static void check_object(const outcome *o) {
    static const char *const kinds[] = {"cat", "dog", NULL};
    MOSA_AUTO_JSON json_t *value = NULL;
    mosa_error err = {0};
    if (mosa_json_parse((mosa_slice){o->text, o->text_len}, NULL, &value, &err) != MOSA_OK)
        fail_msg("%s: %s", o->text, err.message);
    assert_int_equal(json_object_size(value), 3);
    assert_true(json_is_string(json_object_get(value, "name")));
    json_int_t age = json_integer_value(json_object_get(value, "age"));
    assert_true(json_is_integer(json_object_get(value, "age")) && age >= 0 && age <= 120);
    assert_true(is_one_of(json_string_value(json_object_get(value, "kind")), kinds));
}

static void outputs_are_in_the_language(void **state) {
    (void)state;
    static outcome out[REQUESTS];
    static const char *const answers[] = {"yes", "no", "perhaps not", NULL};
    run((mosa_engine_options){0}, 0, REQUESTS, out);
    check_object(&out[0]);
    check_object(&out[3]);
    assert_true(is_one_of(out[1].text, answers));
    assert_true(out[2].text_len >= 6 && out[2].text_len <= 8 && out[2].text[3] == '-');
    assert_true(strspn(out[2].text, "ABC") == 3 && strspn(out[2].text + 4, "0123456789") == out[2].text_len - 4);
    assert_true(out[4].finish == MOSA_FINISH_LENGTH || out[4].text[0] == '<');
    for (int r = 0; r < 4; r++) assert_int_equal(out[r].finish, MOSA_FINISH_STOP);
}

static void expect_same(const outcome *a, const outcome *b) {
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->tokens, b->tokens, (size_t)a->n * sizeof *a->tokens);
    assert_memory_equal(a->logprobs, b->logprobs, (size_t)a->n * sizeof *a->logprobs);
    assert_string_equal(a->text, b->text);
    assert_int_equal(a->finish, b->finish);
}

static void company_chunks_threads_and_guesses_change_nothing(void **state) {
    (void)state;
    static outcome alone[REQUESTS], other[REQUESTS];
    for (int r = 0; r < REQUESTS; r++) run((mosa_engine_options){0}, r, r + 1, alone);
    const mosa_engine_options settings[] = {
        {.max_sequences = 8},
        {.max_sequences = 8, .threads = 2, .max_batch_tokens = 9},
        {.max_sequences = 8, .max_batch_tokens = 64, .speculate = "ngram", .draft_tokens = 5},
        {.max_sequences = 2, .no_prefix_cache = true},
    };
    for (size_t s = 0; s < MOSA_COUNT(settings); s++) {
        run(settings[s], 0, REQUESTS, other);
        for (int r = 0; r < REQUESTS; r++) expect_same(&alone[r], &other[r]);
    }
}

// Keys, quotes and colons of the schema are no choice: they cost no step of their own.
static void certain_tokens_take_no_step(void **state) {
    (void)state;
    static outcome out[REQUESTS];
    uint64_t steps = run((mosa_engine_options){0}, 0, 1, out);
    assert_true(steps < (uint64_t)out[0].n * 3 / 4);
}

static mosa_status submit(mosa_engine *engine, mosa_constraint_kind kind, const char *text, mosa_error *err) {
    mosa_request request = make_request(5);
    uint64_t id;
    request.constraint = constraint_of(kind, text);
    return mosa_engine_submit(engine, &request, &id, err);
}

static void what_cannot_be_enforced_is_refused_at_once(void **state) {
    (void)state;
    mosa_engine *engine = open_with((mosa_engine_options){0});
    mosa_error err = {0};
    assert_int_not_equal(submit(engine, MOSA_CONSTRAINT_JSON_SCHEMA, "{", &err), MOSA_OK);
    assert_int_not_equal(submit(engine, MOSA_CONSTRAINT_JSON_SCHEMA, "{\"unevaluatedProperties\": false}", &err),
                         MOSA_OK);
    assert_non_null(strstr(err.message, "unevaluatedProperties"));
    assert_int_not_equal(submit(engine, MOSA_CONSTRAINT_JSON_SCHEMA, "false", &err), MOSA_OK);
    assert_int_not_equal(submit(engine, MOSA_CONSTRAINT_REGEX, "(", &err), MOSA_OK);
    assert_int_not_equal(submit(engine, MOSA_CONSTRAINT_REGEX, "(a{1000}){1000}{1000}", &err), MOSA_OK);
    assert_int_not_equal(submit(engine, MOSA_CONSTRAINT_CHOICE, "[]", &err), MOSA_OK);
    assert_int_not_equal(submit(engine, MOSA_CONSTRAINT_GRAMMAR, "root ::= nothing", &err), MOSA_OK);
    mosa_request request = make_request(0);
    uint64_t id;
    request.kind = MOSA_EMBED_MEAN;
    assert_int_not_equal(mosa_engine_submit(engine, &request, &id, &err), MOSA_OK);
    mosa_engine_stats stats;
    mosa_engine_get_stats(engine, &stats);
    assert_int_equal(stats.waiting + stats.running, 0);
    mosa_engine_close(engine);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(outputs_are_in_the_language),
        cmocka_unit_test(company_chunks_threads_and_guesses_change_nothing),
        cmocka_unit_test(certain_tokens_take_no_step),
        cmocka_unit_test(what_cannot_be_enforced_is_refused_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
