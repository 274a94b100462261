// Dialects and the streaming answer parser: outputs as models write them, cut in every way.
#include "base/file.h"
#include "base/rng.h"
#include "codec/json.h"
#include "text/dialect/answer_parser.h"

#include "shared_data.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static const mosa_reasoning_style think = {"<think>", "</think>"}, bracket = {"[THINK]", "[/THINK]"};

static const char tools_text[] =
    "[{\"type\":\"function\",\"function\":{\"name\":\"get_weather\",\"parameters\":{\"type\":\"object\",\"properties\":"
    "{\"city\":{\"type\":\"string\"},\"days\":{\"type\":\"integer\"},\"tags\":{\"type\":\"array\"}}}}},"
    "{\"type\":\"function\",\"function\":{\"name\":\"now\"}}]";

typedef struct answer_case {
    const char *dialect;
    const mosa_reasoning_style *reasoning;
    bool open;
    const char *text;
    const char *expected; // R<reasoning> C<content> name<arguments>, neighbours of a kind joined
} answer_case;

static const answer_case cases[] = {
    // Text alone.
    {"hermes", NULL, false, "Hello, world.\n", "C<Hello, world.\n>"},
    {"hermes", NULL, false, "a < b and <tool> and <tool_cal", "C<a < b and <tool> and <tool_cal>"},
    // Reasoning.
    {"hermes", &think, false, "<think>\nLet me see.\n</think>\n\nFour.", "R<Let me see.>C<Four.>"},
    {"hermes", &think, true, "Let me see.\n</think>\n\nFour.", "R<Let me see.>C<Four.>"},
    {"hermes", &think, true, "Cut off </thin", "R<Cut off </thin>"},
    {"hermes", &think, false, "<think>\n\n</think>\n\nFour.", "C<Four.>"},
    {"hermes", &think, false, "No thought: <think> is a tag.", "C<No thought: <think> is a tag.>"},
    {"hermes", &think, false, "\n\n", "C<\n\n>"},
    {"mistral", &bracket, false, "[THINK]Hm.[/THINK]Four.", "R<Hm.>C<Four.>"},
    // Hermes and Qwen.
    {"hermes", &think, false,
     "<think>\nA call.\n</think>\n\n<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Bern "
     "\\\"}{\"}}\n"
     "</tool_call>",
     "R<A call.>get_weather<{\"city\": \"Bern \\\"}{\"}>"},
    {"hermes", NULL, false,
     "I look.\n<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>\n<tool_call>\n{\"arguments\": "
     "{\"city\": \"Zürich\"}, \"name\": \"get_weather\"}\n</tool_call>\nDone.",
     "C<I look.>now<{}>get_weather<{\"city\": \"Zürich\"}>C<Done.>"},
    {"hermes", NULL, false, "<tool_call>{\"name\": \"now\"}</tool_call>", "now<{}>"},
    {"hermes", NULL, false,
     "<tool_call>{\"id\": 1, \"type\": \"function\", \"function\": {\"name\": \"now\", \"arguments\": {\"a\": [1, "
     "{}]}}}"
     "</tool_call>",
     "now<{\"a\": [1, {}]}>"},
    {"hermes", NULL, false,
     "<tool_call>{\"name\": \"now\", \"arguments\": \"{\\\"a\\\": \\\"\\u00e9\\ud83d\\ude00\\\"}\"}</tool_call>",
     "now<{\"a\": \"é😀\"}>"},
    {"hermes", NULL, false, "<tool_call>not JSON</tool_call> after", "C<<tool_call>not JSON</tool_call> after>"},
    {"hermes", NULL, false, "<tool_call>{\"name\": 3}</tool_call>", "C<<tool_call>{\"name\": 3}</tool_call>>"},
    {"hermes", NULL, false, "<tool_call>{\"name\": \"no", "C<<tool_call>{\"name\": \"no>"},
    {"hermes", NULL, false, "<tool_call>{\"name\": \"now\", \"arguments\": {\"a\": \"b", "now<{\"a\": \"b>"},
    {"hermes", NULL, false, "<tool_call>oops <tool_call>{\"name\": \"now\", \"arguments\": {}}</tool_call>",
     "C<<tool_call>oops>now<{}>"},
    {"hermes", NULL, false, "<tool_call>{\"name\": \"now\", \"arguments\": {}} and more", "now<{}>C<and more>"},
    // Llama 3 and the last resort.
    {"llama3", NULL, false, "{\"name\": \"get_weather\", \"parameters\": {\"city\": \"Bern\"}}",
     "get_weather<{\"city\": \"Bern\"}>"},
    {"llama3", NULL, false,
     "<|python_tag|>{\"name\": \"now\", \"parameters\": {}}; {\"name\": \"now\", \"parameters\": {}}",
     "now<{}>now<{}>"},
    {"llama3", NULL, false, "{\"name\": \"Bob\", \"parameters\": {}} is JSON",
     "C<{\"name\": \"Bob\", \"parameters\": {}} is JSON>"},
    {"llama3", NULL, false, "{\"name\": \"now\", \"parameters\": {}}; done", "now<{}>C<; done>"},
    {"llama3", NULL, false, "See {\"name\": \"now\", \"parameters\": {}}",
     "C<See {\"name\": \"now\", \"parameters\": {}}>"},
    {"generic", NULL, false, "  {\"name\": \"now\", \"arguments\": {}}", "now<{}>"},
    // Mistral.
    {"mistral_list", NULL, false,
     "[TOOL_CALLS] [{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Bern\"}, \"id\": \"abcdefghi\"}, "
     "{\"name\": \"now\", \"arguments\": {}}]",
     "get_weather<{\"city\": \"Bern\"}>now<{}>"},
    {"mistral_list", NULL, false, "[TOOL_CALLS] [{\"name\": \"now\", \"arguments\": {}}, oops]", "now<{}>C<, oops]>"},
    {"mistral", NULL, false,
     "[TOOL_CALLS]get_weather[CALL_ID]abcdefghi[ARGS]{\"city\": \"Bern\"}[TOOL_CALLS]now[ARGS]{}",
     "get_weather<{\"city\": \"Bern\"}>now<{}>"},
    {"mistral", NULL, false, "[TOOL_CALLS]bad name![ARGS]{}", "C<[TOOL_CALLS]bad name![ARGS]{}>"},
    {"mistral", NULL, false, "[TOOL_CALLS]now[ARGS]none", "C<[TOOL_CALLS]now[ARGS]none>"},
    // DeepSeek.
    {"deepseek_r1", &think, true,
     "Hm.\n</think>\n\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n"
     "{\"city\": \"Bern\"}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>now\n```json\n{}\n```"
     "<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
     "R<Hm.>get_weather<{\"city\": \"Bern\"}>now<{}>"},
    {"deepseek_v31", NULL, false,
     "Wait.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>now<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁call▁begin｜>"
     "get_weather<｜tool▁sep｜>{\"city\": \"Bern\"}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
     "C<Wait.>now<{}>get_weather<{\"city\": \"Bern\"}>"},
    {"deepseek_v31", NULL, false, "<｜tool▁calls▁begin｜>but no", "C<<｜tool▁calls▁begin｜>but no>"},
    // Kimi, Granite, Cohere, FireFunction.
    {"kimi", NULL, false,
     "<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>{\"city\": "
     "\"Bern\"}<|tool_call_end|><|tool_call_begin|>functions.now:1<|tool_call_argument_begin|>{}<|tool_call_end|>"
     "<|tool_calls_section_end|>",
     "get_weather<{\"city\": \"Bern\"}>now<{}>"},
    {"granite", NULL, false, "<|tool_call|>[{\"name\": \"now\", \"arguments\": {}}]", "now<{}>"},
    {"cohere", NULL, false,
     "<|START_ACTION|>[\n {\"tool_call_id\": \"0\", \"tool_name\": \"now\", \"parameters\": {}}\n]<|END_ACTION|>",
     "now<{}>"},
    {"firefunction", NULL, false, " functools[{\"name\": \"now\", \"arguments\": {}}]", "now<{}>"},
    // Parameters between marks.
    {"qwen_coder", NULL, false,
     "I look.\n\n<tool_call>\n<function=get_weather>\n<parameter=city>\nBern \"x\"\n</parameter>\n<parameter=days>\n3\n"
     "</parameter>\n<parameter=tags>\n[\"a\"]\n</parameter>\n</function>\n</tool_call>",
     "C<I look.>get_weather<{\"city\": \"Bern \\\"x\\\"\", \"days\": 3, \"tags\": [\"a\"]}>"},
    {"qwen_coder", NULL, false,
     "<tool_call>\n<function=get_weather>\n<parameter=city>\nfirst\n\nsecond "
     "é\n\n</parameter>\n<parameter=days>\nmany\n"
     "</parameter>\n</function>\n</tool_call>\n<tool_call>\n<function=now>\n</function>\n</tool_call>",
     "get_weather<{\"city\": \"first\\n\\nsecond é\\n\", \"days\": \"many\"}>now<{}>"},
    {"qwen_coder", NULL, false,
     "<tool_call>\n<function=get_weather>\n<parameter=city>\n</parameter>\n</function>\n</tool_call>",
     "get_weather<{\"city\": \"\"}>"},
    {"qwen_coder", NULL, false, "<tool_call>\nnothing\n</tool_call>", "C<<tool_call>\nnothing\n</tool_call>>"},
    {"seed", NULL, false,
     "<seed:tool_call>\n<function=get_weather>\n<parameter=city>Bern</parameter>\n</function>\n</seed:tool_call>",
     "get_weather<{\"city\": \"Bern\"}>"},
    {"glm", &think, false,
     "\n<think>Hm.</think>\nI look.\n<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Bern</arg_value>\n"
     "<arg_key>days</arg_key>\n<arg_value>3</arg_value>\n</tool_call>\n<tool_call>now\n</tool_call>",
     "R<Hm.>C<I look.>get_weather<{\"city\": \"Bern\", \"days\": 3}>now<{}>"},
    // Harmony.
    {"harmony", NULL, false,
     "<|channel|>analysis<|message|>Think.<|end|><|start|>assistant<|channel|>final<|message|>Four.<|return|>",
     "R<Think.>C<Four.>"},
    {"harmony", NULL, false,
     "<|channel|>analysis<|message|>Think.<|end|><|start|>assistant<|channel|>commentary to=functions.get_weather "
     "<|constrain|>json<|message|>{\"city\": \"Bern\"}<|call|>",
     "R<Think.>get_weather<{\"city\": \"Bern\"}>"},
    {"harmony", NULL, false,
     "<|channel|>commentary<|message|>I look.<|end|><|start|>assistant to=functions.now<|channel|>commentary json"
     "<|message|>{}",
     "C<I look.>now<{}>"},
    {"harmony", NULL, false, "Just text.", "C<Just text.>"},
    {"harmony", NULL, false, "<|channel|>final<|message|>Four.<|end|><|start|>assis", "C<Four.>"},
};

// --- driving --------------------------------------------------------------------------------------------------------

typedef struct trace {
    mosa_buf text;
    int kind, call;
} trace;

static void record(void *user, const mosa_answer_delta *delta) {
    trace *t = user;
    assert_true(delta->text.len > 0);
    if (delta->kind == MOSA_ANSWER_CALL) {
        if (t->kind >= 0) mosa_buf_append_char(&t->text, '>');
        mosa_buf_append_slice(&t->text, delta->text);
        mosa_buf_append_char(&t->text, '<');
        assert_int_equal(delta->call, t->call + 1);
        t->call = delta->call;
        t->kind = MOSA_ANSWER_ARGUMENTS;
        return;
    }
    if ((int)delta->kind != t->kind) {
        assert_int_not_equal(delta->kind, MOSA_ANSWER_ARGUMENTS);
        if (t->kind >= 0) mosa_buf_append_char(&t->text, '>');
        mosa_buf_append_str(&t->text, delta->kind == MOSA_ANSWER_REASONING ? "R<" : "C<");
        t->kind = (int)delta->kind;
    }
    mosa_buf_append_slice(&t->text, delta->text);
}

static json_t *tools;

static mosa_answer_parser *create(const char *dialect, const mosa_reasoning_style *reasoning, bool open) {
    mosa_answer_options options = {mosa_dialect_by_name(dialect), reasoning, open, tools};
    mosa_answer_parser *parser;
    assert_non_null(options.dialect);
    assert_int_equal(mosa_answer_parser_create(&options, &parser, NULL), MOSA_OK);
    return parser;
}

static void end(mosa_answer_parser *parser, trace *t) {
    mosa_answer_parser_finish(parser, record, t);
    if (t->kind >= 0) mosa_buf_append_char(&t->text, '>');
    assert_false(mosa_answer_parser_failed(parser));
    mosa_answer_parser_destroy(parser);
}

// Feeds the text in pieces that end at the `cuts`, ascending.
static void check(const answer_case *c, const size_t *cuts, size_t n_cuts) {
    trace t = {.kind = -1, .call = -1};
    mosa_answer_parser *parser = create(c->dialect, c->reasoning, c->open);
    size_t at = 0, len = strlen(c->text);
    for (size_t i = 0; i <= n_cuts; i++) {
        size_t next = i < n_cuts ? cuts[i] : len;
        mosa_answer_parser_feed(parser, (mosa_slice){c->text + at, next - at}, record, &t);
        at = next;
    }
    end(parser, &t);
    if (strcmp(mosa_buf_str(&t.text), c->expected) != 0)
        fail_msg("%s, %zu cuts from %zu:\n%s\ngave\n%s\nnot\n%s", c->dialect, n_cuts, n_cuts ? cuts[0] : 0, c->text,
                 mosa_buf_str(&t.text), c->expected);
    mosa_buf_finish(&t.text);
}

static void answers_are_taken_apart(void **state) {
    (void)state;
    for (size_t i = 0; i < MOSA_COUNT(cases); i++) check(&cases[i], NULL, 0);
}

static void no_cut_changes_an_answer(void **state) {
    (void)state;
    for (size_t i = 0; i < MOSA_COUNT(cases); i++) {
        size_t cuts[1024], n = strlen(cases[i].text);
        assert_true(n < MOSA_COUNT(cuts));
        for (size_t k = 0; k < n; k++) cuts[k] = k;
        check(&cases[i], cuts, n); // byte by byte
        for (size_t k = 0; k < n; k++) check(&cases[i], &k, 1);
        for (uint64_t seed = 0; seed < 20; seed++) {
            size_t count = 0;
            for (size_t k = 0; k < n; k++)
                if (mosa_rng_below(seed, k, 7) == 0) cuts[count++] = k;
            check(&cases[i], cuts, count);
        }
    }
}

static void without_tools_calls_are_content(void **state) {
    (void)state;
    json_t *kept = tools;
    tools = NULL;
    answer_case c = {"hermes", &think, false, "<think>x</think><tool_call>{\"name\": \"now\"}</tool_call>",
                     "R<x>C<<tool_call>{\"name\": \"now\"}</tool_call>>"};
    check(&c, NULL, 0);
    tools = kept;
}

static void what_is_held_is_bounded(void **state) {
    (void)state;
    trace t = {.kind = -1, .call = -1};
    mosa_answer_parser *parser = create("hermes", NULL, false);
    size_t fed = 0;
    mosa_answer_parser_feed(parser, mosa_slice_of("<tool_call>{\"x\": \""), record, &t);
    for (; fed < 4 * MOSA_ANSWER_HELD_MAX; fed++) mosa_answer_parser_feed(parser, (mosa_slice){"y", 1}, record, &t);
    assert_true(t.text.len > 2 * MOSA_ANSWER_HELD_MAX);
    assert_true(mosa_answer_parser_in_content(parser));
    end(parser, &t);
    assert_int_equal(t.text.len, fed + strlen("C<<tool_call>{\"x\": \">"));
    mosa_buf_finish(&t.text);
}

static void calls_are_counted_and_limited(void **state) {
    (void)state;
    trace t = {.kind = -1, .call = -1};
    mosa_answer_parser *parser = create("hermes", NULL, false);
    static const char call[] = "<tool_call>{\"name\": \"now\", \"arguments\": {}}</tool_call>";
    for (int i = 0; i <= MOSA_ANSWER_CALLS_MAX; i++) mosa_answer_parser_feed(parser, MOSA_SLICE(call), record, &t);
    assert_int_equal(mosa_answer_parser_calls(parser), MOSA_ANSWER_CALLS_MAX);
    end(parser, &t);
    assert_non_null(strstr(mosa_buf_str(&t.text), call));
    mosa_buf_finish(&t.text);
}

static void the_state_can_be_asked_for(void **state) {
    (void)state;
    trace t = {.kind = -1, .call = -1};
    mosa_answer_parser *parser = create("hermes", &think, false);
    assert_true(mosa_answer_parser_in_content(parser));
    mosa_answer_parser_feed(parser, mosa_slice_of("<thi"), record, &t);
    assert_true(mosa_answer_parser_holds(parser));
    mosa_answer_parser_feed(parser, mosa_slice_of("nk>a"), record, &t);
    assert_true(mosa_answer_parser_in_reasoning(parser) && !mosa_answer_parser_holds(parser));
    mosa_answer_parser_feed(parser, mosa_slice_of("</think>b<tool_call>"), record, &t);
    assert_false(mosa_answer_parser_in_reasoning(parser) || mosa_answer_parser_in_content(parser));
    end(parser, &t);
    mosa_buf_finish(&t.text);
}

// --- recognition ----------------------------------------------------------------------------------------------------

static void a_template_tells_its_dialect(void **state) {
    (void)state;
    static const struct {
        const char *file, *dialect;
        bool reasons;
    } rows[] = {
        {"openai-gpt-oss-120b", "harmony", false},
        {"Kimi-K2-Instruct", "kimi", false},
        {"Kimi-K2-Thinking", "kimi", true},
        {"llama-cpp-deepseek-r1", "deepseek_r1", true},
        {"deepseek-ai-DeepSeek-R1-Distill-Llama-8B", "deepseek_r1", true},
        {"deepseek-ai-DeepSeek-V3.1", "deepseek_v31", true},
        {"mistralai-Mistral-Nemo-Instruct-2407", "mistral_list", false},
        {"Mistral-Small-3.2-24B-Instruct-2506", "mistral", false},
        {"mistralai-Ministral-3-14B-Reasoning-2512", "mistral", true},
        {"CohereForAI-c4ai-command-r7b-12-2024-tool_use", "cohere", true},
        {"ibm-granite-granite-3.3-2B-Instruct", "granite", true},
        {"GLM-4.6", "glm", true},
        {"ByteDance-Seed-OSS", "seed", true},
        {"Qwen3-Coder", "qwen_coder", false},
        {"Qwen3.5-4B", "qwen_coder", true},
        {"Qwen-Qwen3-0.6B", "hermes", true},
        {"Qwen-Qwen2.5-7B-Instruct", "hermes", false},
        {"NousResearch-Hermes-3-Llama-3.1-8B-tool_use", "hermes", false},
        {"fireworks-ai-llama-3-firefunction-v2", "firefunction", false},
        {"meta-llama-Llama-3.1-8B-Instruct", "llama3", false},
        {"meta-llama-Llama-3.2-3B-Instruct", "llama3", false},
        {"google-gemma-2-2b-it", "generic", false},
    };
    for (size_t i = 0; i < MOSA_COUNT(rows); i++) {
        char name[256], path[1024], *bytes;
        size_t len;
        snprintf(name, sizeof name, "data/conf/jinja/%s.jinja", rows[i].file);
        if (!shared_data_path(name, path, sizeof path)) skip();
        assert_int_equal(mosa_file_read(path, 1 << 20, &bytes, &len, NULL), MOSA_OK);
        const mosa_dialect *dialect = mosa_dialect_find((mosa_slice){bytes, len});
        if (strcmp(dialect->name, rows[i].dialect) != 0) fail_msg("%s: %s", rows[i].file, dialect->name);
        if ((mosa_reasoning_style_find((mosa_slice){bytes, len}) != NULL) != rows[i].reasons)
            fail_msg("%s: reasoning", rows[i].file);
        free(bytes);
    }
}

static void every_dialect_has_a_name_and_is_found_by_it(void **state) {
    (void)state;
    size_t count;
    const mosa_dialect *const *all = mosa_dialects(&count);
    for (size_t i = 0; i < count; i++) assert_ptr_equal(mosa_dialect_by_name(all[i]->name), all[i]);
    assert_null(mosa_dialect_by_name("esperanto"));
    assert_string_equal(mosa_dialect_find((mosa_slice){NULL, 0})->name, "generic");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_taken_apart),
        cmocka_unit_test(no_cut_changes_an_answer),
        cmocka_unit_test(without_tools_calls_are_content),
        cmocka_unit_test(what_is_held_is_bounded),
        cmocka_unit_test(calls_are_counted_and_limited),
        cmocka_unit_test(the_state_can_be_asked_for),
        cmocka_unit_test(a_template_tells_its_dialect),
        cmocka_unit_test(every_dialect_has_a_name_and_is_found_by_it),
    };
    if (mosa_json_parse(mosa_slice_of(tools_text), NULL, &tools, NULL) != MOSA_OK) return 1;
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    json_decref(tools);
    return failures;
}
