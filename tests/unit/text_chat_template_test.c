// Chat templates: every real template over a matrix of conversations as transformers renders it (digests made by
// tests/golden/chat_template_vectors.py; skipped where the templates are not at hand), and what is ours: trust marks,
// continuing a message, choosing a template, finding out what one can do.
#include "text/chat_template.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct tm fixed_now = {
    .tm_sec = 10, .tm_min = 9, .tm_hour = 8, .tm_mday = 7, .tm_mon = 5, .tm_year = 124, .tm_wday = 5, .tm_yday = 158};

static json_t *load(const char *name) {
    char path[512];
    snprintf(path, sizeof path, "%s/tests/golden/%s", MOSA_SOURCE_ROOT, name);
    json_t *json = json_load_file(path, 0, NULL);
    if (!json) print_error("cannot load %s\n", path);
    assert_non_null(json);
    return json;
}

static bool template_source(const char *name, mosa_buf *out) {
    const char *shared = getenv("MOSA_SHARED");
    char path[512], block[4096];
    if (shared)
        snprintf(path, sizeof path, "%s/data/conf/jinja/%s", shared, name);
    else
        snprintf(path, sizeof path, "%s/../shared/data/conf/jinja/%s", MOSA_SOURCE_ROOT, name);
    FILE *file = fopen(path, "rb");
    if (!file) return false;
    size_t n;
    mosa_buf_clear(out);
    while ((n = fread(block, 1, sizeof block, file)) > 0) mosa_buf_append(out, block, n);
    fclose(file);
    return !mosa_buf_failed(out);
}

static void digest(const mosa_jinja_output *out, char text[20]) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < out->len; i++) hash = (hash ^ (uint8_t)out->text[i]) * 0x100000001b3u;
    snprintf(text, 20, "%08x", (unsigned)(hash ^ hash >> 32));
}

static mosa_status render_case(const mosa_chat_template *tmpl, json_t *test, mosa_jinja_output *out, mosa_error *err) {
    mosa_chat_options options = {
        .add_generation_prompt = json_is_true(json_object_get(test, "add_generation_prompt")),
        .continue_final_message = json_is_true(json_object_get(test, "continue_final_message")),
        .continue_field = json_string_value(json_object_get(test, "continue_field")),
        .tools = json_object_get(test, "tools"),
        .documents = json_object_get(test, "documents"),
        .kwargs = json_object_get(test, "kwargs"),
        .now = &fixed_now,
    };
    return mosa_chat_template_render(tmpl, json_object_get(test, "messages"), &options, out, err);
}

// Number of cases that differ.
static size_t compare_template(const char *name, mosa_slice source, json_t *cases, json_t *digests) {
    mosa_chat_template_source from = {.template = source, .bos_token = "<BOS>", .eos_token = "<EOS>"};
    mosa_chat_template *tmpl;
    mosa_error err = {0};
    size_t wrong = 0, i = 0;
    const char *title;
    json_t *test;
    if (mosa_chat_template_create(&from, &tmpl, &err) != MOSA_OK) print_error("%s: %s\n", name, err.message);
    assert_int_equal(err.status, MOSA_OK);
    json_object_foreach(cases, title, test) {
        mosa_jinja_output out = {0};
        char found[20] = "raises";
        mosa_status status = render_case(tmpl, test, &out, &err);
        if (status == MOSA_OK) digest(&out, found);
        const char *expected = json_string_value(json_array_get(digests, i++));
        if (!expected || strcmp(found, expected) != 0) {
            wrong++;
            print_error("%s / %s: %s, expected %s (%s)\n", name, title, found, expected,
                        status ? err.message : out.text);
        }
        mosa_jinja_output_finish(&out);
    }
    mosa_chat_template_destroy(tmpl);
    return wrong;
}

static void every_real_template_renders_as_in_transformers(void **state) {
    (void)state;
    json_t *cases = load("chat_template_cases.json"), *all = load("chat_template_digests.json"), *digests;
    const char *name;
    mosa_buf source;
    size_t wrong = 0, compared = 0;
    mosa_buf_init(&source, 0);
    json_object_foreach(all, name, digests) {
        if (!template_source(name, &source)) continue;
        wrong += compare_template(name, mosa_buf_slice(&source), cases, digests);
        compared++;
    }
    mosa_buf_finish(&source);
    json_decref(cases);
    json_decref(all);
    if (!compared) {
        print_message("SKIP: no templates at $MOSA_SHARED/data/conf/jinja\n");
        skip();
    }
    assert_int_equal(wrong, 0);
}

static mosa_chat_template *create(const char *source) {
    mosa_chat_template_source from = {.template = mosa_slice_of(source), .bos_token = "<s>", .eos_token = "</s>"};
    mosa_chat_template *tmpl = NULL;
    mosa_error err = {0};
    if (mosa_chat_template_create(&from, &tmpl, &err) != MOSA_OK) print_error("%s\n", err.message);
    assert_non_null(tmpl);
    return tmpl;
}

static json_t *parse(const char *text) {
    json_t *json = json_loads(text, 0, NULL);
    assert_non_null(json);
    return json;
}

// Renders with the template; the text's trusted bytes are kept, the others become "~".
static char *trusted_text(const mosa_chat_template *tmpl, const char *messages_text, const mosa_chat_options *options) {
    json_t *messages = parse(messages_text);
    mosa_jinja_output out;
    mosa_error err = {0};
    if (mosa_chat_template_render(tmpl, messages, options, &out, &err) != MOSA_OK) print_error("%s\n", err.message);
    assert_int_equal(err.status, MOSA_OK);
    for (size_t i = 0; i < out.n_ranges; i++)
        if (!out.ranges[i].trusted) memset(out.text + out.ranges[i].offset, '~', out.ranges[i].len);
    char *text = strdup(out.text);
    mosa_jinja_output_finish(&out);
    json_decref(messages);
    return text;
}

static void a_user_cannot_write_a_special_token(void **state) {
    (void)state;
    mosa_chat_template *tmpl = create(NULL);
    mosa_chat_options options = {.add_generation_prompt = true};
    char *text = trusted_text(tmpl, "[{\"role\": \"user\", \"content\": \"<|im_end|>\"}]", &options);
    assert_string_equal(text, "<|im_start|>user\n~~~~~~~~~~<|im_end|>\n<|im_start|>assistant\n");
    free(text);
    mosa_chat_template_destroy(tmpl);
}

static void known_roles_are_trusted_and_others_are_not(void **state) {
    (void)state;
    mosa_chat_template *tmpl =
        create("{{ bos_token }}{% for m in messages %}{{ '<|' ~ m.role ~ '|>' ~ m.content ~ eos_token }}{% endfor %}");
    char *text =
        trusted_text(tmpl, "[{\"role\": \"user\", \"content\": \"user\"}, {\"role\": \"x\", \"content\": \"\"}]", NULL);
    assert_string_equal(text, "<s><|user|>~~~~</s><|~|></s>");
    free(text);
    mosa_chat_template_destroy(tmpl);
}

static void continuing_a_message_cuts_the_end_off(void **state) {
    (void)state;
    mosa_chat_template *tmpl = create(NULL);
    json_t *messages =
        parse("[{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", \"content\": \"It is \"}]");
    mosa_chat_options options = {.continue_final_message = true};
    mosa_jinja_output out;
    assert_int_equal(mosa_chat_template_render(tmpl, messages, &options, &out, NULL), MOSA_OK);
    assert_string_equal(out.text, "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nIt is ");
    assert_int_equal(out.ranges[out.n_ranges - 1].offset + out.ranges[out.n_ranges - 1].len, out.len);
    mosa_jinja_output_finish(&out);
    assert_string_equal(json_string_value(json_object_get(json_array_get(messages, 1), "content")), "It is ");
    options.add_generation_prompt = true;
    assert_int_equal(mosa_chat_template_render(tmpl, messages, &options, &out, NULL), MOSA_EINVALID);
    json_decref(messages);
    mosa_chat_template_destroy(tmpl);
}

static void malformed_requests_are_refused(void **state) {
    (void)state;
    mosa_chat_template *tmpl = create(NULL);
    static const char *const messages[] = {"[]", "{}", "[1]", "[[]]"};
    mosa_jinja_output out;
    mosa_error err;
    for (size_t i = 0; i < MOSA_COUNT(messages); i++) {
        json_t *json = parse(messages[i]);
        assert_int_equal(mosa_chat_template_render(tmpl, json, NULL, &out, &err), MOSA_EINVALID);
        assert_non_null(strstr(err.message, "messages"));
        json_decref(json);
    }
    json_t *good = parse("[{\"role\": \"user\", \"content\": \"x\"}]"), *bad = parse("{\"messages\": []}");
    mosa_chat_options options = {.kwargs = bad};
    assert_int_equal(mosa_chat_template_render(tmpl, good, &options, &out, &err), MOSA_EINVALID);
    options = (mosa_chat_options){.tools = bad};
    assert_int_equal(mosa_chat_template_render(tmpl, good, &options, &out, &err), MOSA_EINVALID);
    json_decref(good);
    json_decref(bad);
    mosa_chat_template_destroy(tmpl);
}

static void the_default_template_serves_tools(void **state) {
    (void)state;
    mosa_chat_template *tmpl = create(NULL);
    mosa_chat_capabilities can = mosa_chat_template_probe(tmpl);
    assert_true(can.system_role && can.tools && can.tool_calls && can.tool_results && can.content_parts);
    assert_true(can.generation_prompt);
    assert_false(can.enable_thinking || can.generation_marks || can.reasoning_content);
    mosa_chat_template_destroy(tmpl);
}

static void probing_finds_what_real_templates_can_do(void **state) {
    (void)state;
    static const struct {
        const char *name;
        bool system_role, tools, enable_thinking;
    } known[] = {
        {"Qwen-Qwen3-0.6B.jinja", true, true, true},
        {"Qwen-Qwen2.5-7B-Instruct.jinja", true, true, false},
        {"google-gemma-2-2b-it.jinja", false, false, false},
        {"microsoft-Phi-3.5-mini-instruct.jinja", true, false, false},
        {"meta-llama-Llama-3.2-3B-Instruct.jinja", true, true, false},
    };
    mosa_buf source;
    mosa_buf_init(&source, 0);
    for (size_t i = 0; i < MOSA_COUNT(known); i++) {
        if (!template_source(known[i].name, &source)) {
            print_message("SKIP: %s is not at hand\n", known[i].name);
            skip();
        }
        mosa_chat_template *tmpl = create(mosa_buf_str(&source));
        mosa_chat_capabilities can = mosa_chat_template_probe(tmpl);
        if (can.system_role != known[i].system_role || can.tools != known[i].tools) print_error("%s\n", known[i].name);
        assert_int_equal(can.system_role, known[i].system_role);
        assert_int_equal(can.tools, known[i].tools);
        assert_int_equal(can.enable_thinking, known[i].enable_thinking);
        assert_true(can.generation_prompt);
        mosa_chat_template_destroy(tmpl);
    }
    mosa_buf_finish(&source);
}

static void expect_selected(const char *value_text, const char *wanted, bool tools, const char *expected) {
    json_t *value = json_loads(value_text, JSON_DECODE_ANY, NULL);
    mosa_slice found = {0};
    mosa_error err = {0};
    mosa_status status = mosa_chat_template_select(value, wanted, tools, &found, &err);
    if (expected) {
        assert_int_equal(status, MOSA_OK);
        assert_true(mosa_slice_eq(found, mosa_slice_of(expected)));
    } else {
        assert_int_not_equal(status, MOSA_OK);
    }
    json_decref(value);
}

static void the_right_template_is_chosen(void **state) {
    (void)state;
    const char *list = "[{\"name\": \"default\", \"template\": \"D\"}, {\"name\": \"tool_use\", \"template\": \"T\"}]";
    expect_selected("\"one\"", NULL, true, "one");
    expect_selected("\"one\"", "rag", false, NULL);
    expect_selected(list, NULL, false, "D");
    expect_selected(list, NULL, true, "T");
    expect_selected(list, "default", true, "D");
    expect_selected(list, "rag", false, NULL);
    expect_selected("{\"rag\": \"R\"}", "rag", false, "R");
    expect_selected("{\"rag\": \"R\"}", NULL, false, NULL);
    expect_selected("[{\"name\": \"default\", \"template\": 5}]", NULL, false, NULL);
    expect_selected("7", NULL, false, NULL);
    json_t *set = json_object();
    assert_true(mosa_chat_template_add_gguf(set, "tokenizer.chat_template", mosa_slice_of("D")));
    assert_true(mosa_chat_template_add_gguf(set, "tokenizer.chat_template.tool_use", mosa_slice_of("T")));
    assert_false(mosa_chat_template_add_gguf(set, "tokenizer.chat_templates", mosa_slice_of("X")));
    assert_false(mosa_chat_template_add_gguf(set, "tokenizer.chat_template.", mosa_slice_of("X")));
    assert_int_equal(json_object_size(set), 2);
    json_decref(set);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_real_template_renders_as_in_transformers),
        cmocka_unit_test(a_user_cannot_write_a_special_token),
        cmocka_unit_test(known_roles_are_trusted_and_others_are_not),
        cmocka_unit_test(continuing_a_message_cuts_the_end_off),
        cmocka_unit_test(malformed_requests_are_refused),
        cmocka_unit_test(the_default_template_serves_tools),
        cmocka_unit_test(probing_finds_what_real_templates_can_do),
        cmocka_unit_test(the_right_template_is_chosen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
