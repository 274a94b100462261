// Chat answers with reasoning and tool calls, from the engine's events to the JSON that clients read.
#include "api/api_internal.h"
#include "api/chat_answer.h"
#include "api/chat_chunk.h"
#include "codec/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static const mosa_reasoning_style think = {"<think>", "</think>"};
static const char *const pieces[] = {"<think>",
                                     "Let",
                                     " me see",
                                     "</think>",
                                     "\n\n",
                                     "I look",
                                     ".\n",
                                     "<tool_call>\n{\"name\": \"now\", ",
                                     "\"arguments\": {\"a\"",
                                     ": \"\\\"b\"}}\n</tool_call>\n",
                                     "<tool_call>{\"name\": \"now\", \"arguments\": {}}</tool_call>"};

typedef struct fixture {
    mosa_api_model model;
    mosa_http_request http;
    json_t *tools;
    mosa_call *call;
} fixture;

static void begin(fixture *f, bool stream, bool hide_reasoning, int id_len) {
    *f = (fixture){.model = {.name = "m", .fingerprint = "fp"}};
    f->http.model = &f->model;
    f->tools = json_loads("[{\"type\":\"function\",\"function\":{\"name\":\"now\"}}]", 0, NULL);
    f->call = mosa_call_create(&f->http, &mosa_chat_format, 1);
    f->call->stream = f->call->include_usage = stream;
    snprintf(f->call->id, sizeof f->call->id, "chatcmpl-test");
    mosa_buf_append_str(&f->call->prefix, "{\"choices\":[");
    mosa_answer_options options = {mosa_dialect_by_name("hermes"), &think, false, f->tools};
    f->call->choices[0].answer = mosa_chat_answer_create(&options, id_len, hide_reasoning);
    assert_non_null(f->call->choices[0].answer);
}

static void end(fixture *f) {
    mosa_call_destroy(f->call);
    mosa_buf_finish(&f->http.reply);
    json_decref(f->tools);
}

static void take(fixture *f, const char *text, mosa_finish finish) {
    mosa_choice *choice = &f->call->choices[0];
    mosa_event event = {.token = 1, .text = text, .text_len = strlen(text), .finish = finish, .stop_index = -1};
    choice->finish = finish;
    choice->completion_tokens++;
    mosa_chat_format.event(f->call, choice, &event);
}

static void take_all(fixture *f, mosa_finish finish) {
    for (size_t i = 0; i < MOSA_COUNT(pieces); i++) take(f, pieces[i], MOSA_FINISH_NONE);
    take(f, "", finish);
    mosa_chat_format.finish(f->call, &f->http.reply);
}

static json_t *parse(mosa_slice text) {
    json_t *tree;
    mosa_error err;
    if (mosa_json_parse(text, NULL, &tree, &err) != MOSA_OK)
        fail_msg("%s: %.*s", err.message, (int)text.len, text.data);
    return tree;
}

static const char *str(const json_t *tree, const char *key) {
    return json_string_value(json_object_get(tree, key));
}

static void a_whole_answer_has_all_its_parts(void **state) {
    (void)state;
    fixture f;
    begin(&f, false, false, 0);
    take_all(&f, MOSA_FINISH_STOP);
    json_t *answer = parse(mosa_buf_slice(&f.http.reply));
    const json_t *choice = json_array_get(json_object_get(answer, "choices"), 0),
                 *message = json_object_get(choice, "message");
    const json_t *calls = json_object_get(message, "tool_calls");
    assert_string_equal(str(choice, "finish_reason"), "tool_calls");
    assert_string_equal(str(message, "content"), "I look.");
    assert_string_equal(str(message, "reasoning_content"), "Let me see");
    assert_int_equal(json_array_size(calls), 2);
    assert_string_equal(str(json_array_get(calls, 0), "type"), "function");
    assert_string_equal(str(json_object_get(json_array_get(calls, 0), "function"), "name"), "now");
    assert_string_equal(str(json_object_get(json_array_get(calls, 0), "function"), "arguments"), "{\"a\": \"\\\"b\"}");
    assert_string_not_equal(str(json_array_get(calls, 0), "id"), str(json_array_get(calls, 1), "id"));
    assert_memory_equal(str(json_array_get(calls, 0), "id"), "call_", 5);
    const json_t *details = json_object_get(json_object_get(answer, "usage"), "completion_tokens_details");
    assert_int_equal(json_integer_value(json_object_get(details, "reasoning_tokens")), 4);
    json_decref(answer);
    end(&f);
}

static void an_answer_of_calls_alone_has_no_content(void **state) {
    (void)state;
    fixture f;
    begin(&f, false, true, 9);
    take(&f, "<think>x</think><tool_call>{\"name\": \"now\"}", MOSA_FINISH_LENGTH);
    mosa_chat_format.finish(f.call, &f.http.reply);
    json_t *answer = parse(mosa_buf_slice(&f.http.reply));
    const json_t *choice = json_array_get(json_object_get(answer, "choices"), 0),
                 *message = json_object_get(choice, "message");
    assert_true(json_is_null(json_object_get(message, "content")));
    assert_null(json_object_get(message, "reasoning_content")); // the client does not want it
    assert_string_equal(str(choice, "finish_reason"), "length");
    assert_int_equal(strlen(str(json_array_get(json_object_get(message, "tool_calls"), 0), "id")), 9);
    json_decref(answer);
    end(&f);
}

// Joins a stream's deltas as clients do.
static void join(json_t *delta, mosa_buf *content, mosa_buf *reasoning, mosa_buf *arguments, size_t *n_calls) {
    size_t i;
    json_t *call;
    if (str(delta, "content")) mosa_buf_append_str(content, str(delta, "content"));
    if (str(delta, "reasoning_content")) mosa_buf_append_str(reasoning, str(delta, "reasoning_content"));
    json_array_foreach(json_object_get(delta, "tool_calls"), i, call) {
        size_t index = (size_t)json_integer_value(json_object_get(call, "index"));
        if (str(call, "id")) {
            assert_int_equal(index, *n_calls);
            ++*n_calls;
            assert_string_equal(str(json_object_get(call, "function"), "name"), "now");
            assert_string_equal(str(call, "type"), "function");
            mosa_buf_append_char(arguments, '|');
        } else {
            assert_int_equal(index, *n_calls - 1);
            assert_null(json_object_get(json_object_get(call, "function"), "name"));
        }
        mosa_buf_append_str(arguments, str(json_object_get(call, "function"), "arguments"));
    }
}

static void a_stream_says_the_same(void **state) {
    (void)state;
    fixture f;
    mosa_buf content = {0}, reasoning = {0}, arguments = {0};
    size_t n_calls = 0;
    const char *reason = NULL;
    char kept[32] = "";
    begin(&f, true, false, 0);
    take_all(&f, MOSA_FINISH_STOP);
    for (char *line = f.call->out.data, *next; (next = strstr(line, "\n\n")); line = next + 2) {
        *next = '\0';
        assert_memory_equal(line, "data: ", 6);
        if (strcmp(line, "data: [DONE]") == 0) continue;
        json_t *chunk = parse(mosa_slice_of(line + 6)), *choice = json_array_get(json_object_get(chunk, "choices"), 0);
        if (choice) join(json_object_get(choice, "delta"), &content, &reasoning, &arguments, &n_calls);
        if (choice && (reason = str(choice, "finish_reason"))) snprintf(kept, sizeof kept, "%s", reason);
        json_decref(chunk);
    }
    assert_string_equal(kept, "tool_calls");
    assert_string_equal(mosa_buf_str(&content), "I look.");
    assert_string_equal(mosa_buf_str(&reasoning), "Let me see");
    assert_string_equal(mosa_buf_str(&arguments), "|{\"a\": \"\\\"b\"}|{}");
    mosa_buf_finish(&content);
    mosa_buf_finish(&reasoning);
    mosa_buf_finish(&arguments);
    end(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_answer_has_all_its_parts),
        cmocka_unit_test(an_answer_of_calls_alone_has_no_content),
        cmocka_unit_test(a_stream_says_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
