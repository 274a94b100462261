// Tools as text, in the words that Hermes models were trained on and the generic dialect reads.
#include "api/tool_texts.h"
#include "codec/json.h"

static bool set_text(json_t *message, const char *key, mosa_buf *text) {
    bool ok =
        !mosa_buf_failed(text) && json_object_set_new(message, key, json_stringn(mosa_buf_str(text), text->len)) == 0;
    mosa_buf_finish(text);
    return ok;
}

static void append_member(mosa_buf *out, const json_t *value) {
    if (json_is_string(value)) mosa_buf_append(out, json_string_value(value), json_string_length(value));
}

static void append_tools(mosa_buf *out, const json_t *tools) {
    size_t i;
    json_t *tool;
    mosa_buf_append_str(out, "You may call functions to help with the request. Their signatures:\n<tools>");
    json_array_foreach(tools, i, tool) {
        mosa_buf_append_char(out, '\n');
        mosa_json_append(out, tool);
    }
    mosa_buf_append_str(out,
                        "\n</tools>\nFor each call write a JSON object with the function's name and arguments:\n"
                        "<tool_call>\n{\"name\": <function-name>, \"arguments\": <args-json-object>}\n</tool_call>");
}

// Into the first message: a system message, or a user's where the template has no system role.
static bool show_tools(const mosa_chat_capabilities *can, json_t *messages, const json_t *tools) {
    json_t *first = json_array_get(messages, 0);
    const char *role = json_string_value(json_object_get(first, "role"));
    const json_t *content = json_object_get(first, "content");
    bool system = role && strcmp(role, "system") == 0;
    bool joins = json_is_string(content) && (system || !can->system_role);
    mosa_buf text = {0};
    if (joins && system) {
        append_member(&text, content);
        mosa_buf_append_str(&text, "\n\n");
    }
    append_tools(&text, tools);
    if (joins && !system) {
        mosa_buf_append_str(&text, "\n\n");
        append_member(&text, content);
    }
    if (joins) return set_text(first, "content", &text);
    json_t *message = json_pack("{s:s}", "role", can->system_role ? "system" : "user");
    bool ok = message && set_text(message, "content", &text) && json_array_insert(messages, 0, message) == 0;
    json_decref(message);
    mosa_buf_finish(&text);
    return ok;
}

static bool spell_calls(json_t *message) {
    json_t *calls = json_object_get(message, "tool_calls"), *call;
    size_t i;
    mosa_buf text = {0};
    append_member(&text, json_object_get(message, "content"));
    json_array_foreach(calls, i, call) {
        const json_t *function = json_object_get(call, "function"), *arguments = json_object_get(function, "arguments");
        mosa_buf_append_str(&text, text.len ? "\n<tool_call>\n{\"name\": " : "<tool_call>\n{\"name\": ");
        mosa_json_append(&text, json_object_get(function, "name"));
        mosa_buf_append_str(&text, ", \"arguments\": ");
        if (json_is_string(arguments))
            append_member(&text, arguments);
        else
            mosa_json_append(&text, arguments);
        mosa_buf_append_str(&text, "}\n</tool_call>");
    }
    return set_text(message, "content", &text) && json_object_del(message, "tool_calls") == 0;
}

static bool spell_result(json_t *message) {
    mosa_buf text = {0};
    mosa_buf_append_str(&text, "<tool_response>\n");
    append_member(&text, json_object_get(message, "content"));
    mosa_buf_append_str(&text, "\n</tool_response>");
    return set_text(message, "content", &text) && json_object_set_new(message, "role", json_string("user")) == 0;
}

bool mosa_tool_texts_apply(const mosa_chat_capabilities *can, json_t *messages, json_t *tools) {
    size_t i;
    json_t *message;
    json_array_foreach(messages, i, message) {
        const char *role = json_string_value(json_object_get(message, "role"));
        bool calls = json_array_size(json_object_get(message, "tool_calls")) > 0;
        if (calls && !can->tool_calls && !spell_calls(message)) return false;
        if (role && strcmp(role, "tool") == 0 && !can->tool_results && !spell_result(message)) return false;
    }
    return !tools || can->tools || show_tools(can, messages, tools);
}
