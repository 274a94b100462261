// Masks on real vocabularies: every token of random outputs is in its mask, outputs end; with --bench, what a mask
// costs.
//
//     grammar_mask_test                       the small vocabulary of examples/
//     grammar_mask_test --bench [FILE...]     times with each vocabulary (NAME.tiktoken, tokenizer.json, GGUF)
//
// A run compiles each schema anew and draws three outputs from it, so that the numbers hold cold automata and warm ones
// in the proportion of a server that sees a schema three times. Tokens are drawn from the mask with a bias to small
// ids, which vocabularies give to frequent tokens.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "../unit/grammar_fixture.h"
#include "../unit/shared_data.h"
#include "base/clock.h"

#include <string.h>

enum { SAMPLES_MAX = 1 << 20, TOKENS_MAX = 400, OUTPUTS = 3 };

typedef struct samples {
    double us[SAMPLES_MAX];
    size_t count;
} samples;

static samples masks, first_masks, accepts;

static const char *const schemas[] = {
    // An issue, as a code host's API returns it.
    "{\"type\":\"object\",\"properties\":{\"id\":{\"type\":\"integer\",\"minimum\":1},\"node_id\":{\"type\":\"string\"}"
    ",\"url\":{"
    "\"type\":\"string\",\"format\":\"uri\"},\"number\":{\"type\":\"integer\"},\"title\":{\"type\":\"string\","
    "\"minLength\":1,"
    "\"maxLength\":256},\"state\":{\"enum\":[\"open\",\"closed\"]},\"locked\":{\"type\":\"boolean\"},\"user\":{\"$"
    "ref\":\"#/$defs/user\"},"
    "\"assignees\":{\"type\":\"array\",\"items\":{\"$ref\":\"#/$defs/"
    "user\"},\"maxItems\":10},\"labels\":{\"type\":\"array\",\"items\":{"
    "\"anyOf\":[{\"type\":\"string\"},{\"type\":\"object\",\"properties\":{\"id\":{\"type\":\"integer\"},\"name\":{"
    "\"type\":\"string\"},"
    "\"color\":{\"type\":[\"string\",\"null\"],\"pattern\":\"^[0-9a-f]{6}$\"},\"default\":{\"type\":\"boolean\"}}}]}},"
    "\"body\":{\"type\":["
    "\"string\",\"null\"]},\"created_at\":{\"type\":\"string\",\"format\":\"date-time\"},\"closed_at\":{\"type\":["
    "\"string\",\"null\"],"
    "\"format\":\"date-time\"},\"milestone\":{\"anyOf\":[{\"type\":\"null\"},{\"$ref\":\"#/$defs/"
    "milestone\"}]}},\"required\":[\"id\","
    "\"title\",\"state\",\"user\",\"labels\",\"created_at\"],\"$defs\":{\"user\":{\"type\":\"object\",\"properties\":{"
    "\"login\":{\"type\":"
    "\"string\",\"pattern\":\"^[A-Za-z0-9](?:-?[A-Za-z0-9]){0,38}$\"},\"id\":{\"type\":\"integer\"},"
    "\"email\":{\"type\":"
    "\"string\",\"format\":\"email\"},\"type\":{\"enum\":[\"User\",\"Bot\",\"Organization\"]},\"site_admin\":{\"type\":"
    "\"boolean\"}},"
    "\"required\":[\"login\",\"id\"],\"additionalProperties\":false},\"milestone\":{\"type\":\"object\",\"properties\":"
    "{\"title\":{"
    "\"type\":\"string\"},\"due_on\":{\"type\":\"string\",\"format\":\"date\"},\"creator\":{\"$ref\":\"#/$defs/"
    "user\"}}}}}",
    // A tool call with free text and nested arguments.
    "{\"type\":\"object\",\"properties\":{\"reasoning\":{\"type\":\"string\"},\"tool\":{\"enum\":[\"search\",\"fetch\","
    "\"write_file\","
    "\"run\"]},\"arguments\":{\"type\":\"object\",\"properties\":{\"query\":{\"type\":\"string\",\"maxLength\":400},"
    "\"path\":{\"type\":"
    "\"string\",\"pattern\":\"^(/[^/"
    "]+)+$\"},\"limit\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":100},\"options\":{\"type\":\"object\","
    "\"additionalProperties\":{\"type\":\"string\"}}},\"additionalProperties\":false},\"confidence\":{\"type\":"
    "\"number\",\"minimum\":0,"
    "\"maximum\":1}},\"required\":[\"reasoning\",\"tool\",\"arguments\"],\"additionalProperties\":false}",
    // A recursive document.
    "{\"$ref\":\"#/$defs/"
    "node\",\"$defs\":{\"node\":{\"type\":\"object\",\"properties\":{\"kind\":{\"enum\":[\"heading\",\"paragraph\","
    "\"list\",\"table\"]},\"text\":{\"type\":\"string\"},\"attributes\":{\"type\":\"object\",\"patternProperties\":{\"^"
    "data-[a-z]+$\":{"
    "\"type\":\"string\"}},\"additionalProperties\":{\"type\":[\"string\",\"number\",\"boolean\"]}},\"children\":{"
    "\"type\":\"array\","
    "\"items\":{\"$ref\":\"#/$defs/node\"}}},\"required\":[\"kind\"],\"additionalProperties\":false}}}",
    // An extracted record.
    "{\"type\":\"array\",\"items\":{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\"},\"uuid\":{"
    "\"type\":\"string\","
    "\"format\":\"uuid\"},\"address\":{\"type\":\"object\",\"properties\":{\"street\":{\"type\":\"string\","
    "\"maxLength\":80},\"city\":{"
    "\"type\":\"string\",\"maxLength\":40},\"zip\":{\"type\":\"string\",\"pattern\":\"^\\\\d{5}(-\\\\d{4})?$\"},"
    "\"country\":{\"enum\":[\"AT\",\"CH\","
    "\"DE\",\"FR\",\"IT\",\"NL\",\"PL\",\"US\"]}},\"required\":[\"street\",\"city\",\"zip\"]},\"phones\":{\"type\":"
    "\"array\",\"items\":{\"type\":\"string\","
    "\"pattern\":\"^\\\\+[1-9]\\\\d{6,14}$\"}},\"balance\":{\"type\":\"number\",\"multipleOf\":0.01},\"ip\":{\"type\":"
    "\"string\",\"format\":\"ipv4\"}},"
    "\"required\":[\"name\",\"address\"]},\"minItems\":1,\"maxItems\":20}",
    "{\"type\":\"object\"}",
};
// Schemas of a public OpenAPI document, compiled with those that they refer to.
static const char *const components[] = {"CreateEmbeddingRequest",
                                         "CreateModerationRequest",
                                         "FunctionObject",
                                         "ChatCompletionTool",
                                         "Batch",
                                         "OpenAIFile",
                                         "FineTuningJobEvent",
                                         "RunStepObject",
                                         "CreateImageRequest",
                                         "Model",
                                         "CreateChatCompletionResponse",
                                         "CreateCompletionRequest",
                                         "VectorStoreObject",
                                         "AssistantObject",
                                         "MessageObject",
                                         "Response",
                                         "CreateChatCompletionRequest",
                                         "Tool"};

static int32_t draw(const grammar_fixture *f, const uint64_t *mask, uint64_t seed, uint64_t at) {
    uint32_t count = 0;
    for (size_t w = 0; w < f->words; w++) count += (uint32_t)__builtin_popcountll(mask[w]);
    if (count == 0) return -1;
    uint32_t pick = count;
    for (uint64_t k = 0; k < 4; k++) {
        uint32_t one = (uint32_t)mosa_rng_below(seed, 4 * at + k, count);
        if (one < pick) pick = one;
    }
    for (size_t w = 0;; w++) {
        uint32_t here = (uint32_t)__builtin_popcountll(mask[w]);
        if (pick >= here) {
            pick -= here;
            continue;
        }
        uint64_t bits = mask[w];
        while (pick--) bits &= bits - 1;
        return (int32_t)(w * 64) + __builtin_ctzll(bits);
    }
}

static void note(samples *s, uint64_t begin_ns) {
    if (s->count < SAMPLES_MAX) s->us[s->count++] = (double)(mosa_clock_ns() - begin_ns) / 1000;
}

static void run_output(const grammar_fixture *f, mosa_grammar *grammar, uint64_t seed, uint64_t *mask) {
    mosa_matcher *m;
    assert_int_equal(mosa_matcher_create(grammar, &m, NULL), MOSA_OK);
    for (uint64_t i = 0; i < TOKENS_MAX; i++) {
        uint64_t begin = mosa_clock_ns();
        assert_int_equal(mosa_matcher_mask(m, mask, NULL), MOSA_OK);
        note(&masks, begin);
        int32_t token = draw(f, mask, seed, i);
        assert_true(token >= 0);
        begin = mosa_clock_ns();
        assert_true(mosa_matcher_accept(m, token));
        note(&accepts, begin);
        if (mosa_tokenizer_is_end(f->tokenizer, token) || mosa_matcher_must_end(m)) break;
    }
    mosa_matcher_destroy(m);
}

static void run_schema(const grammar_fixture *f, mosa_slice text, uint64_t seed, const char *name) {
    mosa_grammar *grammar;
    mosa_error err;
    uint64_t *mask = calloc(f->words, sizeof *mask), begin = mosa_clock_ns();
    assert_non_null(mask);
    mosa_status status =
        mosa_grammar_compile(f->trie, MOSA_GRAMMAR_JSON_SCHEMA, text, MOSA_JSON_SPACED, &grammar, &err);
    if (status == MOSA_OK) {
        mosa_matcher *m;
        assert_int_equal(mosa_matcher_create(grammar, &m, NULL), MOSA_OK);
        assert_int_equal(mosa_matcher_mask(m, mask, NULL), MOSA_OK);
        note(&first_masks, begin);
        mosa_matcher_destroy(m);
        for (uint64_t k = 0; k < OUTPUTS; k++) run_output(f, grammar, mosa_rng_mix(seed * OUTPUTS + k), mask);
        mosa_grammar_unref(grammar);
    } else
        printf("  %s: %s\n", name, err.message);
    free(mask);
}

// Adds the schema `name`, and those that it refers to, to `out`.
static void add_component(json_t *all, const char *name, json_t *out);

static void add_references(json_t *all, json_t *value, json_t *out) {
    const char prefix[] = "#/components/schemas/", *key, *ref = json_string_value(json_object_get(value, "$ref"));
    json_t *item;
    size_t i;
    if (ref && strncmp(ref, prefix, sizeof prefix - 1) == 0) add_component(all, ref + sizeof prefix - 1, out);
    json_object_foreach(value, key, item) add_references(all, item, out);
    json_array_foreach(value, i, item) add_references(all, item, out);
}

static void add_component(json_t *all, const char *name, json_t *out) {
    json_t *schema = json_object_get(all, name);
    if (!schema || json_object_get(out, name)) return;
    json_object_set(out, name, schema);
    add_references(all, schema, out);
}

static void run_components(const grammar_fixture *f, json_t *document) {
    for (size_t i = 0; i < sizeof components / sizeof *components; i++) {
        char ref[128];
        mosa_buf text = {0};
        snprintf(ref, sizeof ref, "#/components/schemas/%s", components[i]);
        json_t *all = json_object_get(json_object_get(document, "components"), "schemas"), *used = json_object();
        add_component(all, components[i], used);
        json_t *root = json_pack("{s:s,s:{s:o}}", "$ref", ref, "components", "schemas", used);
        mosa_json_append(&text, root);
        run_schema(f, mosa_buf_slice(&text), 100 + i, components[i]);
        mosa_buf_finish(&text);
        json_decref(root);
    }
}

static void run_all(const grammar_fixture *f, json_t *document) {
    masks.count = first_masks.count = accepts.count = 0;
    for (size_t i = 0; i < sizeof schemas / sizeof *schemas; i++) run_schema(f, mosa_slice_of(schemas[i]), i, "schema");
    if (document) run_components(f, document);
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void report(const char *what, samples *s) {
    double sum = 0;
    if (s->count == 0) return;
    qsort(s->us, s->count, sizeof *s->us, by_size);
    for (size_t i = 0; i < s->count; i++) sum += s->us[i];
    printf("  %-12s n %6zu  mean %8.1f  p50 %8.1f  p99 %8.1f  max %8.1f us\n", what, s->count, sum / (double)s->count,
           s->us[s->count / 2], s->us[s->count * 99 / 100], s->us[s->count - 1]);
}

static int bench(int count, char **paths) {
    char path[512];
    json_t *document = NULL;
    if (shared_data_path("data/conf/openai_openapi.json", path, sizeof path))
        (void)!mosa_json_load(path, NULL, &document, NULL);
    for (int i = 0; i < count; i++) {
        grammar_fixture f;
        if (!grammar_fixture_open(&f, paths[i])) return 1;
        printf("%s: %zu tokens\n", paths[i], mosa_tokenizer_size(f.tokenizer));
        run_all(&f, document);
        report("mask", &masks);
        report("first mask", &first_masks);
        report("accept", &accepts);
        grammar_fixture_close(&f);
    }
    json_decref(document);
    return 0;
}

static void random_outputs_never_run_into_a_dead_end(void **state) {
    (void)state;
    grammar_fixture f;
    assert_true(grammar_fixture_open(&f, MOSA_SOURCE_ROOT "/examples/mosa-tiny.gguf"));
    run_all(&f, NULL);
    grammar_fixture_close(&f);
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "--bench") == 0) {
        char *tiny[] = {MOSA_SOURCE_ROOT "/examples/mosa-tiny.gguf"};
        return argc > 2 ? bench(argc - 2, argv + 2) : bench(1, tiny);
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(random_outputs_never_run_into_a_dead_end)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
