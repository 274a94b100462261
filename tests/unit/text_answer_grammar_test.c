// Grammars of answers: whatever they let through, the parser reads as calls that follow their schemas.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "codec/schema.h"
#include "grammar_fixture.h"
#include "text/dialect/answer_grammar.h"
#include "text/dialect/answer_parser.h"

static grammar_fixture tiny;
static json_t *tools;
static mosa_schema *schema;
static const mosa_reasoning_style think = {"<think>", "</think>"};

#define PARAMETERS                                                                                                     \
    "{\"type\":\"object\",\"properties\":{\"days\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":99},\"unit\":"      \
    "{\"type\":\"string\",\"enum\":[\"C\",\"F\"]}},\"required\":[\"days\",\"unit\"],\"additionalProperties\":false}"
static const char tools_text[] =
    "[{\"type\":\"function\",\"function\":{\"name\":\"get_weather\",\"parameters\":" PARAMETERS
    "}},{\"type\":\"function\",\"function\":{\"name\":\"now\"}}]";

static mosa_grammar *compile(const mosa_answer_grammar *what) {
    mosa_buf text = {0};
    mosa_grammar *grammar = NULL;
    mosa_error err;
    mosa_answer_grammar_write(what, &text);
    assert_false(mosa_buf_failed(&text));
    if (mosa_grammar_compile(tiny.trie, MOSA_GRAMMAR_TEXT, mosa_buf_slice(&text), MOSA_JSON_SPACED, &grammar, &err) !=
        MOSA_OK)
        fail_msg("%s: %s\n%s", what->dialect->name, err.message, mosa_buf_str(&text));
    mosa_buf_finish(&text);
    return grammar;
}

// --- what the parser makes of an answer -----------------------------------------------------------------------------

typedef struct found {
    mosa_buf content, reasoning, arguments, name;
    int calls;
} found;

static void check_call(found *f) {
    json_t *arguments = NULL;
    if (!f->calls) return;
    assert_int_equal(mosa_json_parse(mosa_buf_slice(&f->arguments), NULL, &arguments, NULL), MOSA_OK);
    if (strcmp(mosa_buf_str(&f->name), "get_weather") == 0)
        assert_int_equal(mosa_schema_check(schema, arguments, NULL, NULL), MOSA_OK);
    else
        assert_int_equal(json_object_size(arguments), 0);
    json_decref(arguments);
    mosa_buf_clear(&f->arguments);
    mosa_buf_clear(&f->name);
}

static void take(void *user, const mosa_answer_delta *delta) {
    found *f = user;
    switch (delta->kind) {
    case MOSA_ANSWER_CONTENT:
        mosa_buf_append_slice(&f->content, delta->text);
        break;
    case MOSA_ANSWER_REASONING:
        mosa_buf_append_slice(&f->reasoning, delta->text);
        break;
    case MOSA_ANSWER_CALL:
        check_call(f);
        f->calls++;
        mosa_buf_append_slice(&f->name, delta->text);
        break;
    case MOSA_ANSWER_ARGUMENTS:
        mosa_buf_append_slice(&f->arguments, delta->text);
        break;
    }
}

static void read_answer(const mosa_answer_grammar *what, mosa_slice text, found *f) {
    mosa_answer_options options = {what->dialect, what->reasoning, what->state == MOSA_REASONING_OPEN, tools};
    mosa_answer_parser *parser;
    *f = (found){0};
    assert_int_equal(mosa_answer_parser_create(&options, &parser, NULL), MOSA_OK);
    mosa_answer_parser_feed(parser, text, take, f);
    mosa_answer_parser_finish(parser, take, f);
    check_call(f);
    mosa_answer_parser_destroy(parser);
}

static void finish(found *f) {
    mosa_buf_finish(&f->content);
    mosa_buf_finish(&f->reasoning);
    mosa_buf_finish(&f->arguments);
    mosa_buf_finish(&f->name);
}

// --- tests ----------------------------------------------------------------------------------------------------------

static void walk(const mosa_answer_grammar *what) {
    mosa_grammar *grammar = compile(what);
    int several = 0;
    for (uint64_t seed = 0; seed < 12; seed++) {
        mosa_buf text = {0};
        found f;
        int length = grammar_walk(&tiny, grammar, seed, 1200, &text);
        if (length < 0) fail_msg("%s: %d: %s", what->dialect->name, length, mosa_buf_str(&text));
        read_answer(what, mosa_buf_slice(&text), &f);
        if (f.calls < 1 || f.content.len) fail_msg("%s: %s", what->dialect->name, mosa_buf_str(&text));
        if (f.calls > 1) several++;
        finish(&f);
        mosa_buf_finish(&text);
    }
    if (!what->parallel) assert_int_equal(several, 0);
    mosa_grammar_unref(grammar);
}

static void forced_calls_are_read_as_calls(void **state) {
    (void)state;
    size_t count;
    const mosa_dialect *const *all = mosa_dialects(&count);
    for (size_t i = 0; i < count; i++) {
        // Without its optional reasoning, which a random walk would never end.
        mosa_answer_grammar what = {.tokenizer = tiny.tokenizer, .dialect = all[i], .tools = tools, .forced = true};
        if (all[i]->form == MOSA_CALL_HARMONY) continue;
        walk(&what);
        what.parallel = true;
        walk(&what);
    }
}

static void expect(const mosa_answer_grammar *what, const char *const *yes, const char *const *no) {
    mosa_grammar *grammar = compile(what);
    for (; *yes; yes++)
        if (!grammar_accepts(&tiny, grammar, mosa_slice_of(*yes))) fail_msg("%s refuses %s", what->dialect->name, *yes);
    for (; *no; no++)
        if (grammar_accepts(&tiny, grammar, mosa_slice_of(*no))) fail_msg("%s accepts %s", what->dialect->name, *no);
    mosa_grammar_unref(grammar);
}

#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL})
#define CALL      "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>"

static void reasoning_text_and_calls_go_together(void **state) {
    (void)state;
    mosa_answer_grammar what = {.tokenizer = tiny.tokenizer,
                                .dialect = mosa_dialect_by_name("hermes"),
                                .reasoning = &think,
                                .state = MOSA_REASONING_OPEN,
                                .tools = tools};
    expect(&what, LIST("Hm.</think>\n\nText.", "</think>", "Hm.</think>" CALL, "<tool_call></think>Look.\n" CALL),
           LIST("Hm.", "Hm.</think><tool_call>x", "</think>" CALL "\n" CALL));
    what.state = MOSA_REASONING_MAYBE;
    expect(&what, LIST("Text.", CALL, "<think>x</think>" CALL), LIST("<tool_call>"));
    what.forced = what.parallel = true;
    expect(&what, LIST(CALL, CALL "\n" CALL, "<think>x</think>\n" CALL), LIST("Text.", "Text." CALL));
    what.forced = false;
    what.content = MOSA_SLICE("%json {\"type\":\"integer\"}");
    expect(&what, LIST("<think>x</think>12", "12", CALL), LIST("Text.", "12" CALL));
    what.tools = NULL;
    expect(&what, LIST("<think>x</think>12", "12"), LIST("Text.", CALL));
}

static void strings_between_marks_are_free_text(void **state) {
    (void)state;
    MOSA_AUTO_JSON json_t *one =
        json_loads("[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"type\":"
                   "\"object\",\"properties\":{\"a\":{\"type\":\"string\"}}}}}]",
                   0, NULL);
    mosa_answer_grammar what = {
        .tokenizer = tiny.tokenizer, .dialect = mosa_dialect_by_name("qwen_coder"), .tools = one, .forced = true};
    expect(&what,
           LIST("<tool_call>\n<function=f>\n<parameter=a>\nx \"</p>\n\n</parameter>\n</function>\n</tool_call>",
                "<tool_call>\n<function=f>\n</function>\n</tool_call>"),
           LIST("<tool_call>\n<function=g>\n</function>\n</tool_call>",
                "<tool_call>\n<function=f>\n<parameter=b>\nx\n</parameter>\n</function>\n</tool_call>"));
}

static void control_tokens_go_by_number(void **state) {
    (void)state;
    mosa_dialect dialect = mosa_dialect_hermes;
    mosa_buf text = {0};
    dialect.call_open = "<|im_start|>";
    mosa_answer_grammar what = {.tokenizer = tiny.tokenizer, .dialect = &dialect, .tools = tools, .forced = true};
    mosa_answer_grammar_write(&what, &text);
    char number[32];
    snprintf(number, sizeof number, "<[%d]>", mosa_tokenizer_find(tiny.tokenizer, MOSA_SLICE("<|im_start|>")));
    assert_non_null(strstr(mosa_buf_str(&text), number));
    mosa_buf_finish(&text);
    mosa_grammar_unref(compile(&what));
}

static void texts_and_patterns_become_expressions(void **state) {
    (void)state;
    MOSA_AUTO_JSON json_t *texts = json_loads("[\"a\\\"b\", \"c\\\\d\\n\"]", 0, NULL);
    mosa_buf expression = {0};
    mosa_answer_grammar what = {.tokenizer = tiny.tokenizer, .dialect = &mosa_dialect_hermes};
    mosa_answer_grammar_choice(texts, &expression);
    what.content = mosa_buf_slice(&expression);
    expect(&what, LIST("a\"b", "c\\d\n"), LIST("a", "ab"));
    mosa_buf_clear(&expression);
    mosa_answer_grammar_pattern(MOSA_SLICE("a/b\\/[/]\\d"), &expression);
    what.content = mosa_buf_slice(&expression);
    expect(&what, LIST("a/b//7"), LIST("a/b/7", "ab"));
    mosa_buf_finish(&expression);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forced_calls_are_read_as_calls),        cmocka_unit_test(reasoning_text_and_calls_go_together),
        cmocka_unit_test(strings_between_marks_are_free_text),   cmocka_unit_test(control_tokens_go_by_number),
        cmocka_unit_test(texts_and_patterns_become_expressions),
    };
    if (!grammar_fixture_open(&tiny, MOSA_SOURCE_ROOT "/examples/mosa-tiny.gguf")) return 1;
    tools = json_loads(tools_text, 0, NULL);
    if (mosa_schema_compile_text(PARAMETERS, &schema, NULL) != MOSA_OK) return 1;
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    mosa_schema_destroy(schema);
    json_decref(tools);
    grammar_fixture_close(&tiny);
    return failures;
}
