// Grammars: what they accept, masks against brute force, forced text, rollback, limits, and the official schema suite.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "codec/schema.h"
#include "grammar_fixture.h"
#include "shared_data.h"

#include <dirent.h>
#include <string.h>

static grammar_fixture tiny;

static mosa_grammar *compile(mosa_grammar_kind kind, const char *text) {
    mosa_grammar *grammar = NULL;
    mosa_error err;
    if (mosa_grammar_compile(tiny.trie, kind, mosa_slice_of(text), MOSA_JSON_SPACED, &grammar, &err) != MOSA_OK)
        fail_msg("%s: %s", text, err.message);
    return grammar;
}

static mosa_status refused(mosa_grammar_kind kind, const char *text, const char *says) {
    mosa_grammar *grammar = NULL;
    mosa_error err = {0};
    mosa_status status = mosa_grammar_compile(tiny.trie, kind, mosa_slice_of(text), MOSA_JSON_SPACED, &grammar, &err);
    mosa_grammar_unref(grammar);
    if (status == MOSA_OK || !strstr(err.message, says)) fail_msg("%.200s: said \"%s\"", text, err.message);
    return status;
}

// accepted and refused: NULL-terminated.
static void expect(mosa_grammar_kind kind, const char *text, const char *const *yes, const char *const *no) {
    mosa_grammar *grammar = compile(kind, text);
    for (; *yes; yes++)
        if (!grammar_accepts(&tiny, grammar, mosa_slice_of(*yes))) fail_msg("%s refuses %s", text, *yes);
    for (; *no; no++)
        if (grammar_accepts(&tiny, grammar, mosa_slice_of(*no))) fail_msg("%s accepts %s", text, *no);
    mosa_grammar_unref(grammar);
}

#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL})

static void regular_expressions_match_the_whole_output(void **state) {
    (void)state;
    expect(MOSA_GRAMMAR_REGEX, "[a-c]+x?", LIST("a", "abcx", "cc"), LIST("", "x", "abxx", "d"));
    expect(MOSA_GRAMMAR_REGEX, "(ab){2,3}|\\d{4}-\\d\\d", LIST("abab", "ababab", "2024-05"),
           LIST("ab", "abababab", "2024-5"));
    expect(MOSA_GRAMMAR_REGEX, "é|日本|[^a]", LIST("é", "日本", "ü", "b"), LIST("a", "日日", "bb"));
    expect(MOSA_GRAMMAR_REGEX, "^(?!foo)[a-z]+$", LIST("fo", "bar", "foa"), LIST("foo", "foobar"));
    expect(MOSA_GRAMMAR_REGEX, "(?i)yes|no", LIST("YES", "yes", "No"), LIST("y"));
    expect(MOSA_GRAMMAR_REGEX, "a?", LIST("", "a"), LIST("aa"));
}

static void choices_are_whole_strings(void **state) {
    (void)state;
    expect(MOSA_GRAMMAR_CHOICE, "[\"red\",\"reddish\",\"green\"]", LIST("red", "reddish", "green"),
           LIST("re", "redd", "blue"));
}

static void dialects_describe_languages(void **state) {
    (void)state;
    const char *lark = "start: greeting (\", \" NAME)* \"!\"\n"
                       "greeting: \"Hi\" | \"Hello\"  // either\n"
                       "NAME: /[A-Z][a-z]+/\n";
    expect(MOSA_GRAMMAR_TEXT, lark, LIST("Hi!", "Hello, Ann, Bob!"), LIST("Hi", "Hi, ann!", "Hi,Ann!"));
    expect(MOSA_GRAMMAR_TEXT, "start: \"a\"* \"ab\"\n", LIST("ab", "aaaab"), LIST("a", "aabb"));
    expect(MOSA_GRAMMAR_TEXT, "start: \"<t>\" U \"!\"\nU: %until \"</t>\"\n", LIST("<t>x</t>!", "<t>a</b></t>!"),
           LIST("<t>x</t>y</t>!", "<t>x!"));
    expect(MOSA_GRAMMAR_TEXT,
           "start: text | call\ntext: %without \"<call>\"\ncall: \"<call>\" %json {\"type\":\"object\","
           "\"properties\":{\"a\":{\"type\":\"integer\"}},\"required\":[\"a\"],\"additionalProperties\":false}\n",
           LIST("just text", "<cal", "<call>{\"a\": 5}", "{}"), LIST("<call>", "x <call> y", "<call>{}"));
    expect(MOSA_GRAMMAR_TEXT, "root ::= \"(\" root* \")\" | [0-9]+ | \"x\"{2,3}\n", LIST("()", "(1(2)xx)", "42", "xxx"),
           LIST("(", "x", "xxxx"));
    expect(MOSA_GRAMMAR_TEXT, "start: a\na: \"x\" a \"y\" | \"z\"\n", LIST("z", "xxzyy"), LIST("xzyy"));
    refused(MOSA_GRAMMAR_TEXT, "start: b\n", "no rule is called b");
    refused(MOSA_GRAMMAR_TEXT, "start: <|nothing|>\n", "no token <|nothing|>");
    refused(MOSA_GRAMMAR_TEXT, "start: a\na: \"x\" a\n", "nothing matches");
}

static void tokens_without_text_are_named(void **state) {
    (void)state;
    mosa_grammar *grammar = compile(MOSA_GRAMMAR_TEXT, "start: \"a\" <|im_start|> \"b\"\n");
    mosa_matcher *m;
    uint64_t *mask = calloc(tiny.words, sizeof *mask);
    assert_int_equal(mosa_matcher_create(grammar, &m, NULL), MOSA_OK);
    mosa_token_id a = mosa_tokenizer_find(tiny.tokenizer, MOSA_SLICE("a")),
                  b = mosa_tokenizer_find(tiny.tokenizer, MOSA_SLICE("b")),
                  mark = mosa_tokenizer_find(tiny.tokenizer, MOSA_SLICE("<|im_start|>"));
    assert_false(mosa_matcher_accept(m, mark));
    assert_true(mosa_matcher_accept(m, a));
    assert_int_equal(mosa_matcher_mask(m, mask, NULL), MOSA_OK);
    assert_true(mask[mark >> 6] >> (mark & 63) & 1);
    assert_false(mosa_matcher_accept(m, b));
    assert_true(mosa_matcher_accept(m, mark) && mosa_matcher_accept(m, b) && mosa_matcher_must_end(m));
    free(mask);
    mosa_matcher_destroy(m);
    mosa_grammar_unref(grammar);
}

static void schemas_describe_values(void **state) {
    (void)state;
    expect(MOSA_GRAMMAR_JSON_SCHEMA,
           "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\",\"maxLength\":3},\"n\":{\"type\":"
           "\"integer\","
           "\"minimum\":-5,\"maximum\":120}},\"required\":[\"n\"],\"additionalProperties\":false}",
           LIST("{\"name\": \"Ann\", \"n\": 7}", "{\"n\": 120}", "{\"n\": -5}", "{\"n\": 0}"),
           LIST("{}", "{\"name\": \"Anna\", \"n\": 7}", "{\"n\": 121}", "{\"n\": -6}", "{\"n\":7}", "{\"n\": 07}",
                "{\"n\": -0}"));
    expect(MOSA_GRAMMAR_JSON_SCHEMA, "{\"type\":\"number\",\"exclusiveMinimum\":0.25,\"maximum\":3.5}",
           LIST("0.26", "0.250001", "3.5", "3.50", "1", "3"), LIST("0.25", "3.51", "4", "-1", "0", "0.2"));
    expect(MOSA_GRAMMAR_JSON_SCHEMA, "{\"type\":\"number\",\"multipleOf\":0.25,\"minimum\":-10}",
           LIST("0.25", "0.750", "-9.5", "1", "100.25", "0"), LIST("0.3", "0.255", "-10.25"));
    expect(MOSA_GRAMMAR_JSON_SCHEMA, "{\"type\":\"integer\",\"multipleOf\":7}", LIST("0", "7", "-14", "700"),
           LIST("8", "-1"));
    expect(MOSA_GRAMMAR_JSON_SCHEMA, "{\"enum\":[\"a\\\"b\",1,null,[1,{\"k\":true}]]}",
           LIST("\"a\\\"b\"", "1", "null", "[1, {\"k\": true}]"), LIST("\"a\"", "2", "[1]", "true"));
    expect(MOSA_GRAMMAR_JSON_SCHEMA, "{\"type\":\"string\",\"format\":\"date\"}", LIST("\"2024-02-29\""),
           LIST("\"2023-02-29\"", "\"2024-2-1\""));
    expect(MOSA_GRAMMAR_JSON_SCHEMA,
           "{\"$ref\":\"#/$defs/n\",\"$defs\":{\"n\":{\"type\":\"object\",\"properties\":{\"v\":{\"type\":"
           "\"integer\"},\"next\":{\"$ref\":\"#/$defs/n\"}},\"required\":[\"v\"],\"additionalProperties\":false}}}",
           LIST("{\"v\": 1, \"next\": {\"v\": 2, \"next\": {\"v\": 3}}}"), LIST("{\"v\": 1, \"next\": {}}"));
    expect(MOSA_GRAMMAR_JSON_SCHEMA, "{\"oneOf\":[{\"type\":\"integer\"},{\"minimum\":2}]}", LIST("1", "2.5", "\"a\""),
           LIST("3", "1.5"));
    expect(MOSA_GRAMMAR_JSON_SCHEMA,
           "{\"type\":\"array\",\"items\":{\"type\":\"boolean\"},\"minItems\":1,\"maxItems\":3}",
           LIST("[true]", "[true, false, true]"), LIST("[]", "[true, true, true, true]", "[1]"));
}

static void what_cannot_be_enforced_is_named(void **state) {
    (void)state;
    mosa_grammar_kind schema = MOSA_GRAMMAR_JSON_SCHEMA;
    assert_int_equal(refused(schema, "{\"uniqueItems\":true}", "uniqueItems"), MOSA_EUNSUPPORTED);
    assert_int_equal(refused(schema, "{\"unevaluatedProperties\":false}", "unevaluatedProperties"), MOSA_EUNSUPPORTED);
    assert_int_equal(refused(schema, "{\"$ref\":\"http://x/y\"}", "$ref"), MOSA_EUNSUPPORTED);
    assert_int_equal(refused(schema, "{\"pattern\":\"(a)\\\\1\"}", "\\1"), MOSA_EUNSUPPORTED);
    assert_int_equal(refused(schema, "{\"type\":\"integer\",\"minimum\":3,\"maximum\":2}", "nothing matches"),
                     MOSA_EINVALID);
    assert_int_equal(refused(schema, "{\"type\":\"strin\"}", "type"), MOSA_EINVALID);
    assert_int_equal(refused(schema, "{\"$ref\":\"#\"}", "itself"), MOSA_EINVALID);
    assert_int_equal(refused(schema, "{", "line"), MOSA_EINVALID);
    assert_int_equal(refused(schema, "{\"type\":\"array\",\"minItems\":100000}", "items"), MOSA_ELIMIT);
    assert_int_equal(refused(schema, "{\"minLength\":10000000}", "minLength"), MOSA_ELIMIT);
    char deep[4096];
    memset(deep, '(', 2000);
    memset(deep + 2000, ')', 2000);
    deep[4000] = '\0';
    assert_int_equal(refused(MOSA_GRAMMAR_REGEX, deep, "nest"), MOSA_ELIMIT);
    assert_int_equal(refused(MOSA_GRAMMAR_REGEX, "a{1,9999999}", "repetition"), MOSA_ELIMIT);
}

// Exponentially many states: the mask fails within its bounds, or the walk stays inside them.
static void bombs_end_in_bounded_time(void **state) {
    (void)state;
    const char *bombs[] = {"[ab]*a[ab]{40}", "(a?){3000}a{3000}", "((a{1,200}){1,200}){1,200}",
                           "(?=.*a.*b.*c.*d)(?!.*x.*y).*[abcd]{30}"};
    for (size_t i = 0; i < sizeof bombs / sizeof *bombs; i++) {
        mosa_grammar *grammar = NULL;
        mosa_error err;
        mosa_status status = mosa_grammar_compile(tiny.trie, MOSA_GRAMMAR_REGEX, mosa_slice_of(bombs[i]),
                                                  MOSA_JSON_SPACED, &grammar, &err);
        assert_true(status == MOSA_OK || status == MOSA_ELIMIT);
        if (status != MOSA_OK) continue;
        mosa_matcher *m;
        uint64_t *mask = calloc(tiny.words, sizeof *mask);
        assert_int_equal(mosa_matcher_create(grammar, &m, NULL), MOSA_OK);
        for (int k = 0; k < 60; k++) {
            status = mosa_matcher_mask(m, mask, &err);
            assert_true(status == MOSA_OK || status == MOSA_ELIMIT);
            if (status != MOSA_OK || !mosa_matcher_accept(m, mosa_tokenizer_find(tiny.tokenizer, MOSA_SLICE("a"))))
                break;
        }
        free(mask);
        mosa_matcher_destroy(m);
        mosa_grammar_unref(grammar);
    }
}

// Combinations that would be exponentially or cubically many.
static void combinations_are_bounded(void **state) {
    (void)state;
    mosa_buf many = {0}, pairs = {0};
    mosa_buf_append_str(&many, "{\"allOf\":[");
    for (int i = 0; i < 30; i++) {
        mosa_buf_append_str(&many, i ? ",{\"anyOf\":[" : "{\"anyOf\":[");
        for (int k = 0; k < 10; k++) mosa_buf_printf(&many, "%s{\"minLength\":%d}", k ? "," : "", i * 10 + k);
        mosa_buf_append_str(&many, "]}");
    }
    mosa_buf_append_str(&many, "]}");
    mosa_buf_append_str(&pairs, "{\"oneOf\":[");
    for (int i = 0; i < 100; i++) {
        mosa_buf_printf(&pairs, "%s{\"type\":\"object\",\"required\":[", i ? "," : "");
        for (int k = 0; k < 600; k++) mosa_buf_printf(&pairs, "%s\"p%d\"", k ? "," : "", k);
        mosa_buf_append_str(&pairs, "]}");
    }
    mosa_buf_append_str(&pairs, "]}");
    assert_int_equal(refused(MOSA_GRAMMAR_JSON_SCHEMA, mosa_buf_str(&many), "more than"), MOSA_ELIMIT);
    refused(MOSA_GRAMMAR_JSON_SCHEMA, mosa_buf_str(&pairs), "");
    mosa_buf_finish(&many);
    mosa_buf_finish(&pairs);
}

// Every mask along some outputs equals what asking for each token alone gives; going back gives the same mask again.
static void masks_equal_brute_force(void **state) {
    (void)state;
    const struct {
        mosa_grammar_kind kind;
        const char *grammar, *output;
    } table[] = {
        {MOSA_GRAMMAR_JSON_OBJECT, "", "{\"a\": [1, 2.5e3, \"x\\n\", null], \"b\": {}}"},
        {MOSA_GRAMMAR_JSON_SCHEMA,
         "{\"type\":\"object\",\"properties\":{\"abc\":{\"type\":\"string\",\"maxLength\":5},\"d\":{\"pattern\":\"^[a-"
         "z]+$\"}},"
         "\"required\":[\"abc\"]}",
         "{\"abc\": \"héll\", \"d\": \"word\", \"e\": 1}"},
        {MOSA_GRAMMAR_TEXT, "start: \"the \" (WORD \" \")* \"end\"\nWORD: /[a-z]+/\n", "the then en end end"},
        {MOSA_GRAMMAR_TEXT, "start: T \"stop\" T\nT: %without \"xx\"\n", "hello stop stop x"},
        {MOSA_GRAMMAR_REGEX, "(the|then|there)*[a-z ]{3,9}", "thenthe abc"},
    };
    size_t vocab = mosa_tokenizer_size(tiny.tokenizer);
    uint64_t *mask = calloc(tiny.words, sizeof *mask), *again = calloc(tiny.words, sizeof *mask);
    for (size_t t = 0; t < sizeof table / sizeof *table; t++) {
        mosa_grammar *grammar = compile(table[t].kind, table[t].grammar);
        mosa_matcher *m;
        mosa_token_list list;
        mosa_token_list_init(&list, 0);
        assert_int_equal(mosa_matcher_create(grammar, &m, NULL), MOSA_OK);
        assert_int_equal(mosa_tokenizer_encode(tiny.tokenizer, mosa_slice_of(table[t].output), 0, &list, NULL),
                         MOSA_OK);
        for (size_t i = 0; i <= list.len; i++) {
            assert_int_equal(mosa_matcher_mask(m, mask, NULL), MOSA_OK);
            for (size_t v = 0; v < vocab; v++) {
                mosa_token_id token = (mosa_token_id)v;
                bool alone = mosa_matcher_check(m, &token, 1) == 1;
                if (alone != (mask[v >> 6] >> (v & 63) & 1)) fail_msg("grammar %zu, place %zu, token %zu", t, i, v);
            }
            if (i < list.len && !mosa_matcher_accept(m, list.ids[i])) fail_msg("grammar %zu refuses token %zu", t, i);
            if (i > 0 && i < list.len) {
                mosa_matcher_rollback(m, 1);
                assert_int_equal(mosa_matcher_mask(m, again, NULL), MOSA_OK);
                assert_memory_equal(mask, again, tiny.words * sizeof *mask);
                assert_true(mosa_matcher_accept(m, list.ids[i]));
            }
        }
        assert_true(mosa_matcher_can_end(m));
        mosa_token_list_finish(&list);
        mosa_matcher_destroy(m);
        mosa_grammar_unref(grammar);
    }
    free(mask);
    free(again);
}

static void what_must_follow_is_forced(void **state) {
    (void)state;
    mosa_grammar *grammar = compile(MOSA_GRAMMAR_JSON_SCHEMA,
                                    "{\"type\":\"object\",\"properties\":{\"temperature\":{\"type\":\"integer\"}},"
                                    "\"required\":[\"temperature\"],\"additionalProperties\":false}");
    mosa_matcher *m;
    mosa_token_id ids[64];
    assert_int_equal(mosa_matcher_create(grammar, &m, NULL), MOSA_OK);
    size_t n = mosa_matcher_forced(m, ids, 64);
    assert_true(n > 2);
    mosa_buf text = {0};
    for (size_t i = 0; i < n; i++) {
        assert_true(mosa_matcher_accept(m, ids[i]));
        mosa_buf_append_slice(&text, mosa_tokenizer_token_bytes(tiny.tokenizer, ids[i]));
    }
    assert_memory_equal(mosa_buf_str(&text), "{\"temperature", 13);
    assert_int_equal(mosa_matcher_forced(m, ids, 64), 0);
    mosa_buf_finish(&text);
    mosa_matcher_destroy(m);
    mosa_grammar_unref(grammar);
}

static void equal_sources_are_compiled_once(void **state) {
    (void)state;
    mosa_grammar_cache *cache;
    mosa_grammar *a, *b, *c;
    bool hit;
    assert_int_equal(mosa_grammar_cache_create(tiny.trie, 1, &cache, NULL), MOSA_OK);
    assert_int_equal(
        mosa_grammar_cache_get(cache, MOSA_GRAMMAR_REGEX, MOSA_SLICE("a+"), MOSA_JSON_SPACED, &a, &hit, NULL), MOSA_OK);
    assert_false(hit);
    assert_int_equal(
        mosa_grammar_cache_get(cache, MOSA_GRAMMAR_REGEX, MOSA_SLICE("a+"), MOSA_JSON_SPACED, &b, &hit, NULL), MOSA_OK);
    assert_true(hit && a == b);
    assert_int_equal(
        mosa_grammar_cache_get(cache, MOSA_GRAMMAR_REGEX, MOSA_SLICE("b+"), MOSA_JSON_SPACED, &c, &hit, NULL), MOSA_OK);
    assert_false(hit);
    mosa_grammar_unref(a);
    mosa_grammar_unref(b);
    mosa_grammar_unref(c);
    mosa_grammar_cache_destroy(cache);
}

// Random outputs of a grammar are values that the schema checker accepts.
static void random_outputs_are_valid(void **state) {
    (void)state;
    const char *schemas[] = {
        "{\"type\":\"object\",\"properties\":{\"id\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":50},\"tags\":{"
        "\"type\":\"array\","
        "\"items\":{\"enum\":[\"a\",\"bb\",\"ccc\"]},\"minItems\":1,\"maxItems\":4},\"when\":{\"type\":\"string\","
        "\"format\":\"date-time\"},"
        "\"more\":{\"type\":\"string\",\"maxLength\":8}},\"required\":[\"id\",\"tags\"],\"additionalProperties\":{"
        "\"type\":\"boolean\"}}",
        "{\"anyOf\":[{\"type\":\"object\",\"properties\":{\"kind\":{\"const\":\"x\"},\"n\":{\"type\":\"number\","
        "\"multipleOf\":0.5,\"maximum\":9}},"
        "\"required\":[\"kind\",\"n\"]},{\"type\":\"array\",\"prefixItems\":[{\"type\":\"null\"},{\"pattern\":\"^a.c$"
        "\",\"type\":\"string\"}],\"minItems\":2,\"maxItems\":2}]}",
        "{\"type\":\"object\",\"patternProperties\":{\"^x\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":9},\"y$\":{"
        "\"maximum\":5,\"type\":\"number\",\"minimum\":0}},\"maxProperties\":3}",
        "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":3},\"b\":{\"type\":"
        "\"boolean\"}},\"if\":{\"properties\":{\"a\":{\"const\":1}},\"required\":[\"a\"]},"
        "\"then\":{\"required\":[\"b\"]},\"additionalProperties\":false}",
    };
    for (size_t s = 0; s < sizeof schemas / sizeof *schemas; s++) {
        mosa_grammar *grammar = compile(MOSA_GRAMMAR_JSON_SCHEMA, schemas[s]);
        mosa_schema *schema;
        int ended = 0;
        assert_int_equal(mosa_schema_compile_text(schemas[s], &schema, NULL), MOSA_OK);
        for (uint64_t seed = 0; seed < 40; seed++) {
            mosa_buf text = {0};
            json_error_t where;
            int n = grammar_walk(&tiny, grammar, seed, 300, &text);
            if (n == -2) fail_msg("schema %zu, seed %d: dead end behind %s", s, (int)seed, mosa_buf_str(&text));
            if (n >= 0) { // a key may come twice; the last one counts
                json_t *value = json_loadb(text.data, text.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &where);
                mosa_error err;
                if (!value) fail_msg("schema %zu: %s: %s", s, where.text, mosa_buf_str(&text));
                if (mosa_schema_check(schema, value, NULL, &err) != MOSA_OK)
                    fail_msg("schema %zu: %s: %s", s, err.message, mosa_buf_str(&text));
                json_decref(value);
                ended++;
            }
            mosa_buf_finish(&text);
        }
        assert_true(ended > 5);
        mosa_schema_destroy(schema);
        mosa_grammar_unref(grammar);
    }
}

// Random tokens along each format: no dead end, and no format that outgrows its bounds.
static void every_format_can_be_written(void **state) {
    (void)state;
    static const char *const formats[] = {"date",    "time",          "date-time",    "duration",
                                          "email",   "ipv4",          "ipv6",         "uuid",
                                          "uri",     "uri-reference", "json-pointer", "relative-json-pointer",
                                          "hostname"};
    for (size_t f = 0; f < sizeof formats / sizeof *formats; f++) {
        char schema[128];
        snprintf(schema, sizeof schema, "{\"type\":\"string\",\"format\":\"%s\"}", formats[f]);
        mosa_grammar *grammar = compile(MOSA_GRAMMAR_JSON_SCHEMA, schema);
        for (uint64_t seed = 0; seed < 10; seed++) {
            mosa_buf text = {0};
            if (grammar_walk(&tiny, grammar, seed, 120, &text) == -2)
                fail_msg("%s: dead end behind %s", formats[f], mosa_buf_str(&text));
            mosa_buf_finish(&text);
        }
        mosa_grammar_unref(grammar);
    }
}

// --- the official suite

typedef struct tally {
    int tests, refused, wrong;
    int lax; // of the wrong ones: accepted although invalid
} tally;

static bool accepts_in_some_order(mosa_grammar *grammar, json_t *value) {
    for (unsigned order = 0; order < 120; order++) {
        mosa_buf text = {0};
        grammar_spell(&text, value, order);
        bool ok = grammar_accepts(&tiny, grammar, mosa_buf_slice(&text));
        mosa_buf_finish(&text);
        if (ok) return true;
        if (!json_is_object(value) && !json_is_array(value)) break;
    }
    return false;
}

static void run_group(const char *file, json_t *group, tally *t) {
    mosa_buf text = {0};
    mosa_grammar *grammar = NULL;
    mosa_error err = {0};
    json_t *tests = json_object_get(group, "tests"), *test;
    size_t i;
    int valid = 0;
    mosa_json_append(&text, json_object_get(group, "schema"));
    mosa_status status = mosa_grammar_compile(tiny.trie, MOSA_GRAMMAR_JSON_SCHEMA, mosa_buf_slice(&text),
                                              MOSA_JSON_COMPACT, &grammar, &err);
    mosa_buf_finish(&text);
    json_array_foreach(tests, i, test) valid += json_is_true(json_object_get(test, "valid"));
    const char *about = json_string_value(json_object_get(group, "description"));
    if (status == MOSA_EUNSUPPORTED) {
        t->refused += (int)json_array_size(tests);
        printf("refused: %s: %s: %s\n", file, about, err.message);
        return;
    }
    if (status != MOSA_OK) { // a schema that nothing satisfies is an error, rightly if no test is valid
        if (valid) printf("WRONG %s: %s: %s\n", file, about, err.message);
        t->wrong += valid > 0;
        t->tests += (int)json_array_size(tests);
        return;
    }
    json_array_foreach(tests, i, test) {
        t->tests++;
        bool ok = accepts_in_some_order(grammar, json_object_get(test, "data"));
        if (ok == json_is_true(json_object_get(test, "valid"))) continue;
        printf("WRONG %s: %s: %s\n", file, about, json_string_value(json_object_get(test, "description")));
        t->wrong++;
        t->lax += ok;
    }
    mosa_grammar_unref(grammar);
}

static void run_folder(const char *folder, tally *t) {
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir));) {
        // format.json holds that formats are annotations; a grammar enforces them (optional/format).
        if (!strstr(entry->d_name, ".json") || strcmp(entry->d_name, "format.json") == 0) continue;
        char path[1024];
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        json_t *groups = NULL, *group;
        size_t i;
        assert_int_equal(mosa_json_load(path, NULL, &groups, NULL), MOSA_OK);
        json_array_foreach(groups, i, group) run_group(entry->d_name, group, t);
        json_decref(groups);
    }
    closedir(dir);
}

static void the_official_suite_is_answered_or_refused(void **state) {
    (void)state;
    char folder[512];
    tally t = {0};
    if (!shared_data_path("data/conf/json-schema-suite/tests/draft2020-12", folder, sizeof folder)) skip();
    run_folder(folder, &t);
    printf("%d answered, %d refused as unsupported, %d wrong\n", t.tests, t.refused, t.wrong);
    assert_int_equal(t.wrong, 0);
    assert_true(t.tests > 700);
}

// Formats accept nothing that is invalid. What they leave out, on purpose: leap seconds and punycode host names.
enum { LEFT_OUT = 8 + 15 };

static void formats_are_enforced(void **state) {
    (void)state;
    static const char *const formats[] = {"date",    "time",          "date-time",    "duration",
                                          "email",   "ipv4",          "ipv6",         "uuid",
                                          "uri",     "uri-reference", "json-pointer", "relative-json-pointer",
                                          "hostname"};
    tally t = {0};
    for (size_t f = 0; f < sizeof formats / sizeof *formats; f++) {
        char name[256], path[512];
        snprintf(name, sizeof name, "data/conf/json-schema-suite/tests/draft2020-12/optional/format/%s.json",
                 formats[f]);
        if (!shared_data_path(name, path, sizeof path)) skip();
        json_t *groups = NULL, *group;
        size_t i;
        assert_int_equal(mosa_json_load(path, NULL, &groups, NULL), MOSA_OK);
        json_array_foreach(groups, i, group) run_group(formats[f], group, &t);
        json_decref(groups);
    }
    printf("%d answered, %d refused, %d wrong\n", t.tests, t.refused, t.wrong);
    assert_int_equal(t.lax, 0);
    assert_int_equal(t.wrong, LEFT_OUT);
}

static int open_tiny(void **state) {
    (void)state;
    return grammar_fixture_open(&tiny, MOSA_SOURCE_ROOT "/examples/mosa-tiny.gguf") ? 0 : -1;
}
static int close_tiny(void **state) {
    (void)state;
    grammar_fixture_close(&tiny);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(regular_expressions_match_the_whole_output),
        cmocka_unit_test(choices_are_whole_strings),
        cmocka_unit_test(dialects_describe_languages),
        cmocka_unit_test(tokens_without_text_are_named),
        cmocka_unit_test(schemas_describe_values),
        cmocka_unit_test(what_cannot_be_enforced_is_named),
        cmocka_unit_test(bombs_end_in_bounded_time),
        cmocka_unit_test(combinations_are_bounded),
        cmocka_unit_test(masks_equal_brute_force),
        cmocka_unit_test(what_must_follow_is_forced),
        cmocka_unit_test(equal_sources_are_compiled_once),
        cmocka_unit_test(random_outputs_are_valid),
        cmocka_unit_test(every_format_can_be_written),
        cmocka_unit_test(the_official_suite_is_answered_or_refused),
        cmocka_unit_test(formats_are_enforced),
    };
    return cmocka_run_group_tests(tests, open_tiny, close_tiny);
}
