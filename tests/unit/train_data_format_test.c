// Every format becomes its canonical record; every fault is refused with words that name it.
#include "codec/json.h"
#include "train/data/format.h"
#include "train/data/reader.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static mosa_status parse(const char *json, const mosa_data_layout *layout, mosa_data_format *format, mosa_record *out,
                         mosa_error *err) {
    static const mosa_data_layout plain;
    json_t *object;
    if (!layout) layout = &plain;
    assert_int_equal(mosa_json_parse(mosa_slice_of(json), NULL, &object, err), MOSA_OK);
    mosa_status status = mosa_data_format_detect(object, layout, format, err);
    if (status != MOSA_OK) {
        json_decref(object);
        return status;
    }
    return mosa_record_parse(object, *format, layout, out, err);
}

// Roles as letters, contents behind them: "s:be kind|u:hi|a:hello".
static void show_messages(const json_t *messages, char *out, size_t size) {
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < json_array_size(messages); i++) {
        const json_t *m = json_array_get(messages, i), *calls = json_object_get(m, "tool_calls");
        used += (size_t)snprintf(out + used, size - used, "%s%c:%s", i ? "|" : "",
                                 json_string_value(json_object_get(m, "role"))[0],
                                 json_string_value(json_object_get(m, "content")) ?: "");
        if (calls)
            used += (size_t)snprintf(
                out + used, size - used, "!%s",
                json_string_value(json_object_get(json_object_get(json_array_get(calls, 0), "function"), "name")));
    }
}

typedef struct good_case {
    const char *json;
    mosa_data_format format;
    mosa_data_kind kind;
    const char *messages, *rejected; // as show_messages; NULL = not a chat
    size_t n_prompt;
} good_case;

static const good_case good_cases[] = {
    {"{\"text\":\"Once\"}", MOSA_FORMAT_TEXT, MOSA_DATA_TEXT, NULL, NULL, 0},
    {"{\"messages\":[{\"role\":\"developer\",\"content\":\"be kind\"},{\"role\":\"user\",\"content\":\"hi\"},"
     "{\"role\":\"assistant\",\"content\":\"hello\",\"weight\":1}],\"parallel_tool_calls\":false}",
     MOSA_FORMAT_OPENAI, MOSA_DATA_CHAT, "s:be kind|u:hi|a:hello", NULL, 0},
    {"{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"},{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{"
     "\"id\":\"c1\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"x\\\":1}\"}}]},"
     "{\"role\":\"tool\",\"tool_call_id\":\"c1\",\"content\":\"2\"},{\"role\":\"assistant\",\"content\":\"two\"}],"
     "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{}}}]}",
     MOSA_FORMAT_OPENAI, MOSA_DATA_CHAT, "u:hi|a:!f|t:2|a:two", NULL, 0},
    {"{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"},{\"role\":\"assistant\",\"content\":\"yo\"}],"
     "\"label\":false}",
     MOSA_FORMAT_OPENAI, MOSA_DATA_LABELLED, "u:hi|a:yo", NULL, 1},
    {"{\"input\":{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]},\"preferred_output\":[{\"role\":\"assistant\","
     "\"content\":\"hello\"}],\"non_preferred_output\":[{\"role\":\"assistant\",\"content\":\"what\"}]}",
     MOSA_FORMAT_OPENAI_DPO, MOSA_DATA_PAIRS, "u:hi|a:hello", "u:hi|a:what", 1},
    {"{\"instruction\":\"add\",\"input\":\"1 2\",\"output\":\"3\",\"system\":\"calc\",\"history\":[[\"q\",\"r\"]]}",
     MOSA_FORMAT_ALPACA, MOSA_DATA_CHAT, "s:calc|u:q|a:r|u:add\n1 2|a:3", NULL, 0},
    {"{\"instruction\":\"add\",\"input\":\"\",\"chosen\":\"3\",\"rejected\":\"4\"}", MOSA_FORMAT_ALPACA,
     MOSA_DATA_PAIRS, "u:add|a:3", "u:add|a:4", 1},
    {"{\"instruction\":\"add\",\"input\":\"\",\"output\":\"3\",\"kto_tag\":true}", MOSA_FORMAT_ALPACA,
     MOSA_DATA_LABELLED, "u:add|a:3", NULL, 1},
    {"{\"conversations\":[{\"from\":\"human\",\"value\":\"hi\"},{\"from\":\"function_call\",\"value\":"
     "\"{\\\"name\\\":\\\"f\\\",\\\"arguments\\\":{}}\"},{\"from\":\"observation\",\"value\":\"9\"},"
     "{\"from\":\"gpt\",\"value\":\"nine\"}],\"system\":\"s\",\"tools\":\"[{\\\"name\\\":\\\"f\\\"}]\"}",
     MOSA_FORMAT_SHAREGPT, MOSA_DATA_CHAT, "s:s|u:hi|a:!f|t:9|a:nine", NULL, 0},
    {"{\"conversations\":[{\"from\":\"human\",\"value\":\"hi\"}],\"chosen\":{\"from\":\"gpt\",\"value\":\"a\"},"
     "\"rejected\":{\"from\":\"gpt\",\"value\":\"b\"}}",
     MOSA_FORMAT_SHAREGPT, MOSA_DATA_PAIRS, "u:hi|a:a", "u:hi|a:b", 1},
    {"{\"prompt\":\"The sky is\",\"completion\":\" blue\"}", MOSA_FORMAT_COMPLETION, MOSA_DATA_CHAT, NULL, NULL, 0},
    {"{\"prompt\":[{\"role\":\"user\",\"content\":\"hi\"}],\"completion\":[{\"role\":\"assistant\",\"content\":\"yo\"}]"
     ",\"label\":true}",
     MOSA_FORMAT_COMPLETION, MOSA_DATA_LABELLED, "u:hi|a:yo", NULL, 1},
    {"{\"prompt\":\"The sky is\",\"chosen\":\" blue\",\"rejected\":\" green\"}", MOSA_FORMAT_PREFERENCE,
     MOSA_DATA_PAIRS, NULL, NULL, 0},
    {"{\"chosen\":[{\"role\":\"user\",\"content\":\"hi\"},{\"role\":\"assistant\",\"content\":\"a\"}],\"rejected\":["
     "{\"role\":\"user\",\"content\":\"hi\"},{\"role\":\"assistant\",\"content\":\"b\"}]}",
     MOSA_FORMAT_PREFERENCE, MOSA_DATA_PAIRS, "u:hi|a:a", "u:hi|a:b", 1},
};

static void test_formats_become_records(void **state) {
    (void)state;
    for (size_t i = 0; i < MOSA_COUNT(good_cases); i++) {
        const good_case *c = &good_cases[i];
        mosa_record record;
        mosa_data_format format;
        mosa_error err = {0};
        char text[512];
        if (parse(c->json, NULL, &format, &record, &err) != MOSA_OK) fail_msg("case %zu: %s", i, err.message);
        assert_int_equal(format, c->format);
        assert_int_equal(record.kind, c->kind);
        assert_int_equal(record.chat, c->messages != NULL);
        assert_int_equal(record.n_prompt, c->n_prompt);
        if (c->messages) {
            show_messages(record.messages, text, sizeof text);
            assert_string_equal(text, c->messages);
        }
        if (c->rejected) {
            show_messages(record.rejected, text, sizeof text);
            assert_string_equal(text, c->rejected);
        }
        mosa_record_finish(&record);
    }
}

static void test_arguments_become_objects_and_tools_get_their_wrapper(void **state) {
    (void)state;
    mosa_record record;
    mosa_data_format format;
    mosa_error err;
    assert_int_equal(parse(good_cases[2].json, NULL, &format, &record, &err), MOSA_OK);
    const json_t *call = json_array_get(json_object_get(json_array_get(record.messages, 1), "tool_calls"), 0);
    assert_true(json_is_object(json_object_get(json_object_get(call, "function"), "arguments")));
    mosa_record_finish(&record);
    assert_int_equal(parse(good_cases[8].json, NULL, &format, &record, &err), MOSA_OK);
    assert_string_equal(json_string_value(json_object_get(json_array_get(record.tools, 0), "type")), "function");
    mosa_record_finish(&record);
}

static void test_implicit_prompts_of_strings_are_found(void **state) {
    (void)state;
    mosa_record record;
    mosa_data_format format;
    mosa_error err;
    assert_int_equal(
        parse("{\"chosen\":\"The sky is blue.\",\"rejected\":\"The sky is green.\"}", NULL, &format, &record, &err),
        MOSA_OK);
    assert_int_equal(record.text.len, strlen("The sky is"));
    assert_memory_equal(record.answer.data, " blue.", 6);
    assert_memory_equal(record.rejected_answer.data, " green.", 7);
    mosa_record_finish(&record);
}

#define MESSAGES(list)   "{\"messages\":[" list "]}"
#define USER             "{\"role\":\"user\",\"content\":\"hi\"}"
#define ASSISTANT(extra) "{\"role\":\"assistant\",\"content\":\"yo\"" extra "}"

static const struct {
    const char *json, *message, *hint; // parts of them; hint NULL = any
} bad_cases[] = {
    {"[1]", "must be an object", NULL},
    {"{\"foo\":1}", "no known format", "text; messages"},
    {MESSAGES(""), "messages is empty", NULL},
    {MESSAGES(USER), "last message is of role \"user\"", "must end with the assistant"},
    {MESSAGES(USER ",{\"role\":\"asistant\",\"content\":\"yo\"}"), "messages[1].role is \"asistant\"", "assistant"},
    {MESSAGES(USER ",{\"role\":\"narrator\",\"content\":\"yo\"}"), "messages[1].role", "roles are"},
    {MESSAGES(USER ",{\"content\":\"yo\"}"), "messages[1].role is missing", NULL},
    {MESSAGES(USER ",{\"role\":\"assistant\",\"content\":\" \\n\"}"), "the assistant says nothing", "remove"},
    {MESSAGES(USER ",{\"role\":\"assistant\",\"content\":null}"), "the assistant says nothing", NULL},
    {MESSAGES("{\"role\":\"user\",\"content\":\"\"}," ASSISTANT("")), "the user says nothing", NULL},
    {MESSAGES(USER "," ASSISTANT(",\"wieght\":0")), "messages[1].wieght is not a known field", "weight"},
    {MESSAGES(USER "," ASSISTANT(",\"weight\":-1")), "weight must be a number", NULL},
    {MESSAGES("{\"role\":\"user\",\"content\":\"hi\",\"weight\":1}," ASSISTANT("")), "only the assistant's", NULL},
    {MESSAGES(USER "," ASSISTANT(",\"function_call\":{}")), "function_call", "tool_calls"},
    {MESSAGES(USER "," ASSISTANT(",\"tool_calls\":[]")), "at least one call", NULL},
    {MESSAGES(USER "," ASSISTANT(",\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":\"{\"}}]")),
     "arguments is no JSON object", NULL},
    {MESSAGES(USER ",{\"role\":\"tool\",\"content\":\"1\"}," ASSISTANT("")), "no call asked for", NULL},
    {MESSAGES(USER ",{\"role\":\"assistant\",\"content\":[{\"type\":\"image_url\"}]}"), "is no text", NULL},
    {"{\"messages\":[" USER "," ASSISTANT("") "],\"tols\":[]}", "unknown field \"tols\"", "tools"},
    {"{\"messages\":[" USER "," ASSISTANT("") "],\"label\":\"yes\"}", "label must be true or false", NULL},
    {"{\"messages\":[" USER "," ASSISTANT("") "],\"tools\":\"[\"}", "tools is a string that is no JSON", NULL},
    {"{\"conversations\":[{\"from\":\"alien\",\"value\":\"x\"}]}", "from is \"alien\"", "human, gpt"},
    {"{\"conversations\":[{\"from\":\"human\",\"value\":\"x\"},{\"from\":\"function_call\",\"value\":\"f(\"}]}",
     "must be JSON", NULL},
    {"{\"instruction\":\"x\"}", "output is missing", NULL},
    {"{\"instruction\":\"x\",\"output\":\"\"}", "the assistant says nothing", NULL},
    {"{\"instruction\":\"x\",\"output\":\"y\",\"history\":[[\"a\"]]}", "history[0]", NULL},
    {"{\"prompt\":\"x\",\"completion\":\"\"}", "completion is empty", NULL},
    {"{\"prompt\":\"x\",\"completion\":5}", "completion must be a string", NULL},
    {"{\"prompt\":\"x\",\"chosen\":\"y\",\"rejected\":\"y\"}", "are the same", NULL},
    {"{\"prompt\":\"x\",\"chosen\":\"y\"}", "rejected is missing", NULL},
    {"{\"input\":{\"messages\":[" USER "]},\"preferred_output\":[" USER
     "],\"non_preferred_output\":[" ASSISTANT("") "]}",
     "last message is of role", NULL},
    {"{\"text\":\"\"}", "text is empty", NULL},
    {"{\"text\":\"x\",\"weight\":\"high\"}", "weight must be a number", NULL},
};

static void test_faults_are_named(void **state) {
    (void)state;
    for (size_t i = 0; i < MOSA_COUNT(bad_cases); i++) {
        mosa_record record;
        mosa_data_format format;
        mosa_error err = {0};
        mosa_status status = parse(bad_cases[i].json, NULL, &format, &record, &err);
        if (status == MOSA_OK) fail_msg("case %zu was taken: %s", i, bad_cases[i].json);
        if (!strstr(err.message, bad_cases[i].message)) fail_msg("case %zu says \"%s\"", i, err.message);
        if (bad_cases[i].hint && !strstr(err.hint, bad_cases[i].hint)) fail_msg("case %zu hints \"%s\"", i, err.hint);
    }
}

static void test_layouts_of_dataset_info_map_columns_and_tags(void **state) {
    (void)state;
    mosa_error err;
    mosa_data_layout layout;
    mosa_record record;
    mosa_data_format format;
    char text[256];
    json_t *entry = json_loads("{\"formatting\":\"sharegpt\",\"columns\":{\"messages\":\"turns\",\"system\":\"sys\"},"
                               "\"tags\":{\"role_tag\":\"who\",\"content_tag\":\"what\",\"user_tag\":\"me\","
                               "\"assistant_tag\":\"you\"}}",
                               0, NULL);
    assert_int_equal(mosa_data_layout_read(entry, &layout, &err), MOSA_OK);
    assert_int_equal(parse("{\"turns\":[{\"who\":\"me\",\"what\":\"hi\"},{\"who\":\"you\",\"what\":\"yo\"}],\"sys\":"
                           "\"s\",\"other\":1}",
                           &layout, &format, &record, &err),
                     MOSA_OK);
    show_messages(record.messages, text, sizeof text);
    assert_string_equal(text, "s:s|u:hi|a:yo");
    mosa_record_finish(&record);
    json_decref(entry);
    layout = (mosa_data_layout){.ignore_unknown = true};
    assert_int_equal(mosa_data_layout_column(&layout, MOSA_SLICE("prompt"), "question", &err), MOSA_OK);
    assert_int_equal(mosa_data_layout_column(&layout, MOSA_SLICE("response"), "answer", &err), MOSA_OK);
    assert_int_equal(parse("{\"question\":\"1+1\",\"answer\":\"2\"}", &layout, &format, &record, &err), MOSA_OK);
    show_messages(record.messages, text, sizeof text);
    assert_string_equal(text, "u:1+1|a:2");
    mosa_record_finish(&record);
    assert_int_equal(mosa_data_layout_column(&layout, MOSA_SLICE("promt"), "q", &err), MOSA_EINVALID);
    assert_non_null(strstr(err.hint, "prompt"));
}

// --- the reader -----------------------------------------------------------------------------------------------------

// Records as "line:bytes" with bars between, or what went wrong.
static void read_all(const char *bytes, const char *name, const mosa_data_layout *layout, char *out, size_t size) {
    mosa_reader *reader;
    mosa_error err = {0};
    size_t used = 0;
    out[0] = '\0';
    if (mosa_reader_open_bytes(mosa_slice_of(bytes), name, layout, &reader, &err) != MOSA_OK) {
        (void)snprintf(out, size, "%s", err.message);
        return;
    }
    for (bool more = true; more;) {
        mosa_raw_record raw;
        if (mosa_reader_next(reader, &raw, &more, &err) != MOSA_OK) {
            (void)snprintf(out + used, size - used, "!%s", err.message);
            break;
        }
        if (more)
            used += (size_t)snprintf(out + used, size - used, "%s%llu:%.*s", used ? "|" : "",
                                     (unsigned long long)raw.line, (int)raw.bytes.len, raw.bytes.data);
    }
    mosa_reader_close(reader);
}

static void test_files_are_cut_into_records(void **state) {
    (void)state;
    static const mosa_data_layout by_file, by_line = {.text_unit = MOSA_TEXT_BY_LINE},
                                           by_paragraph = {.text_unit = MOSA_TEXT_BY_PARAGRAPH};
    const struct {
        const char *bytes, *name, *want;
        const mosa_data_layout *layout;
    } cases[] = {
        {"{\"a\":1}\r\n\n{\"b\":2}", "x.jsonl", "1:{\"a\":1}|3:{\"b\":2}", &by_file},
        {"\xEF\xBB\xBF{\"a\":1}\n", "x.jsonl", "1:{\"a\":1}", &by_file},
        {"[\n {\"a\":\"]}\\\"\"},\n\n {\"b\":[1,\n2]}\n]\n", "x.json", "2:{\"a\":\"]}\\\"\"}|4:{\"b\":[1,\n2]}",
         &by_file},
        {"[]", "x.json", "", &by_file},
        {"[1 2]", "x.json", "1:1!x.json:1: a comma is missing between elements of the JSON array", &by_file},
        {"[{\"a\":1},", "x.json", "1:{\"a\":1}!x.json:1: a value is missing in the JSON array", &by_file},
        {"[{\"a\":1}", "x.json", "1:{\"a\":1}!x.json:1: the JSON array does not end: the file was cut short", &by_file},
        {"[1]\nx", "x.json", "1:1!x.json:2: there is something behind the JSON array", &by_file},
        {"hello", "x.json", "x.json:1: this is neither a JSON array nor JSON lines", &by_file},
        {"# c\n---\n- a: 1\n  b: |\n    - x\n- a: 2\n", "x.yaml", "3:- a: 1\n  b: |\n    - x\n|6:- a: 2\n", &by_file},
        {"a: 1\n", "x.yaml", "x.yaml:1: a YAML data file is a list: its records begin with \"- \"", &by_file},
        {"one\n\ntwo\n", "x.txt", "1:one\n\ntwo\n", &by_file},
        {" \n", "x.txt", "", &by_file},
        {"one\n\n  two\n", "x.txt", "1:one|3:  two", &by_line},
        {"one\ntwo\n \n\nthree", "x.txt", "1:one\ntwo|5:three", &by_paragraph},
    };
    char text[512];
    for (size_t i = 0; i < MOSA_COUNT(cases); i++) {
        read_all(cases[i].bytes, cases[i].name, cases[i].layout, text, sizeof text);
        if (strcmp(text, cases[i].want) != 0) fail_msg("case %zu: \"%s\"", i, text);
    }
}

static void check_fault(const char *bytes, const char *name, const char *message, const char *hint) {
    static const mosa_data_layout layout;
    mosa_reader *reader;
    mosa_raw_record raw;
    mosa_error err = {0};
    json_t *value = NULL;
    bool more;
    assert_int_equal(mosa_reader_open_bytes(mosa_slice_of(bytes), name, &layout, &reader, &err), MOSA_OK);
    assert_int_equal(mosa_reader_next(reader, &raw, &more, &err), MOSA_OK);
    if (strstr(name, ".json")) assert_int_equal(mosa_reader_next(reader, &raw, &more, &err), MOSA_OK);
    assert_int_not_equal(mosa_reader_parse(reader, &raw, &value, &err), MOSA_OK);
    if (!strstr(err.message, message) || !strstr(err.hint, hint)) fail_msg("%s (%s)", err.message, err.hint);
    mosa_reader_close(reader);
}

static void test_syntax_faults_name_the_line_of_the_file(void **state) {
    (void)state;
    check_fault("{\"a\":1}\n{\"a\":\n", "x.jsonl", "x.jsonl:2: ", "each line must be one JSON object");
    check_fault("[\n{\"a\":1},\n{\"a\":\n1 2}]", "x.json", "x.json:4: column", "");
    check_fault("{\"a\":1}\n{\"a\":\"\xff\"}\n", "x.jsonl", "x.jsonl:2: ", "iconv");
    check_fault("a\nb\xff", "x.txt", "x.txt:2: byte 0xff is not UTF-8", "iconv");
    check_fault("- a: [\n- b: 1\n", "x.yaml", "x.yaml:", "");
}

static void test_yaml_items_are_values(void **state) {
    (void)state;
    static const mosa_data_layout layout;
    mosa_reader *reader;
    mosa_raw_record raw;
    mosa_error err;
    json_t *value;
    bool more;
    static const char bytes[] = "- text: no\n- text: |\n    two\n    lines\n";
    assert_int_equal(mosa_reader_open_bytes(mosa_slice_of(bytes), "x.yml", &layout, &reader, &err), MOSA_OK);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(mosa_reader_next(reader, &raw, &more, &err), MOSA_OK);
        assert_int_equal(mosa_reader_parse(reader, &raw, &value, &err), MOSA_OK);
        assert_string_equal(json_string_value(json_object_get(value, "text")), i ? "two\nlines\n" : "no");
        json_decref(value);
    }
    mosa_reader_close(reader);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formats_become_records),
        cmocka_unit_test(test_arguments_become_objects_and_tools_get_their_wrapper),
        cmocka_unit_test(test_implicit_prompts_of_strings_are_found),
        cmocka_unit_test(test_faults_are_named),
        cmocka_unit_test(test_layouts_of_dataset_info_map_columns_and_tags),
        cmocka_unit_test(test_files_are_cut_into_records),
        cmocka_unit_test(test_syntax_faults_name_the_line_of_the_file),
        cmocka_unit_test(test_yaml_items_are_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
