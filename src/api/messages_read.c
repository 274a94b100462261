// From a body of /v1/messages to one of /v1/chat/completions.
//
// Blocks become what chat has for them: tool_use becomes tool_calls of its message, tool_result a message of role
// "tool", thinking becomes reasoning_content. A last message of the assistant is continued.
// The source's values are shared, not copied. jansson's functions ending in _new take the reference also when they
// fail, and take NULL: a failure shows in their result, which `bad` collects.
#include "api/messages.h"
#include "api/params.h"
#include "codec/json.h"

#include <stdio.h>

typedef struct rewrite {
    mosa_http_request *request;
    json_t *messages; // of the chat body
    bool bad;         // out of memory
} rewrite;

static void put(rewrite *to, json_t *object, const char *key, json_t *value) {
    to->bad |= json_object_set_new(object, key, value) != 0;
}

static void push(rewrite *to, json_t *array, json_t *value) {
    to->bad |= json_array_append_new(array, value) != 0;
}

// The member `from` of one object as the member `name` of another, where it is there.
static void carry(rewrite *to, json_t *object, const char *name, const json_t *source, const char *from) {
    if (mosa_body_has(source, from)) put(to, object, name, json_incref(json_object_get(source, from)));
}

static bool refuse(rewrite *to, const char *param, const char *what) {
    mosa_api_fail(&to->request->error, 400, "unsupported", param, "%s: %s", param, what);
    return false;
}

static bool is_type(const json_t *block, const char *type) {
    const char *given = json_string_value(json_object_get(block, "type"));
    return given && strcmp(given, type) == 0;
}

static json_t *text_part(const json_t *block) {
    return json_pack("{s:s, s:O}", "type", "text", "text", json_object_get(block, "text"));
}

// --- messages -------------------------------------------------------------------------------------------------------

static void put_message(rewrite *to, const char *role, json_t *content) {
    push(to, to->messages, json_pack("{s:s, s:o}", "role", role, "content", content));
}

// A text, or blocks of text, as the content of a chat message; NULL with request->error.
static json_t *text_content(rewrite *to, json_t *content, const char *param) {
    if (json_is_string(content)) return json_incref(content);
    json_t *parts = json_array();
    for (size_t i = 0; i < json_array_size(content); i++) {
        const json_t *block = json_array_get(content, i);
        if (!is_type(block, "text") || !json_is_string(json_object_get(block, "text"))) {
            json_decref(parts);
            refuse(to, param, "only blocks of type text, with a text, are supported here.");
            return NULL;
        }
        push(to, parts, text_part(block));
    }
    return parts;
}

static bool add_system(rewrite *to, const json_t *body) {
    if (!mosa_body_has(body, "system")) return true;
    json_t *content = text_content(to, json_object_get(body, "system"), "system");
    if (!content) return false;
    put_message(to, "system", content);
    return true;
}

static bool add_tool_result(rewrite *to, const json_t *block, const char *param) {
    json_t *content =
        mosa_body_has(block, "content") ? text_content(to, json_object_get(block, "content"), param) : json_string("");
    if (!content) return false;
    json_t *message = json_pack("{s:s, s:o}", "role", "tool", "content", content);
    carry(to, message, "tool_call_id", block, "tool_use_id");
    push(to, to->messages, message);
    return true;
}

static void flush_parts(rewrite *to, json_t **parts) {
    if (json_array_size(*parts))
        put_message(to, "user", *parts);
    else
        json_decref(*parts);
    *parts = json_array();
}

static bool add_user_blocks(rewrite *to, const json_t *blocks, size_t index) {
    json_t *parts = json_array();
    bool ok = true;
    for (size_t i = 0; ok && i < json_array_size(blocks); i++) {
        const json_t *block = json_array_get(blocks, i);
        char param[64];
        snprintf(param, sizeof param, "messages[%zu].content[%zu]", index, i);
        if (is_type(block, "tool_result")) {
            flush_parts(to, &parts);
            ok = add_tool_result(to, block, param);
        } else if (is_type(block, "text") && json_is_string(json_object_get(block, "text"))) {
            push(to, parts, text_part(block));
        } else {
            ok = refuse(to, param, "only text and tool_result are supported in a message of the user.");
        }
    }
    flush_parts(to, &parts);
    json_decref(parts);
    return ok;
}

static json_t *tool_call(const json_t *block) {
    return json_pack("{s:O, s:s, s:{s:O, s:O}}", "id", json_object_get(block, "id"), "type", "function", "function",
                     "name", json_object_get(block, "name"), "arguments", json_object_get(block, "input"));
}

// Adds an assistant's block to its message.
static bool add_assistant_block(rewrite *to, json_t *message, json_t *parts, const json_t *block, const char *param) {
    if (is_type(block, "text") && json_is_string(json_object_get(block, "text"))) {
        push(to, parts, text_part(block));
    } else if (is_type(block, "thinking")) {
        carry(to, message, "reasoning_content", block, "thinking");
    } else if (is_type(block, "tool_use")) {
        if (!json_is_string(json_object_get(block, "id")) || !json_is_string(json_object_get(block, "name")) ||
            !json_is_object(json_object_get(block, "input")))
            return refuse(to, param, "a tool_use has an id, a name and an input, which is an object.");
        if (!json_object_get(message, "tool_calls")) put(to, message, "tool_calls", json_array());
        push(to, json_object_get(message, "tool_calls"), tool_call(block));
    } else if (!is_type(block, "redacted_thinking")) {
        return refuse(to, param, "only text, thinking and tool_use are supported in a message of the assistant.");
    }
    return true;
}

static bool add_assistant_blocks(rewrite *to, const json_t *blocks, size_t index) {
    json_t *message = json_pack("{s:s}", "role", "assistant"), *parts = json_array();
    bool ok = true;
    for (size_t i = 0; ok && i < json_array_size(blocks); i++) {
        char param[64];
        snprintf(param, sizeof param, "messages[%zu].content[%zu]", index, i);
        ok = add_assistant_block(to, message, parts, json_array_get(blocks, i), param);
    }
    if (json_array_size(parts) || !json_object_get(message, "tool_calls"))
        put(to, message, "content", parts);
    else
        json_decref(parts);
    push(to, to->messages, message);
    return ok;
}

static bool add_messages(rewrite *to, const json_t *body) {
    const json_t *messages = json_object_get(body, "messages");
    for (size_t i = 0; i < json_array_size(messages); i++) {
        const json_t *message = json_array_get(messages, i);
        const char *role = json_string_value(json_object_get(message, "role"));
        json_t *content = json_object_get(message, "content");
        bool user = strcmp(role, "user") == 0;
        if (json_is_string(content))
            put_message(to, user ? "user" : "assistant", json_incref(content));
        else if (user ? !add_user_blocks(to, content, i) : !add_assistant_blocks(to, content, i))
            return false;
    }
    return true;
}

// --- tools and parameters -------------------------------------------------------------------------------------------

static bool add_tools(rewrite *to, json_t *chat, const json_t *body) {
    const json_t *tools = json_object_get(body, "tools");
    if (json_array_size(tools) == 0) return true;
    json_t *list = json_array();
    put(to, chat, "tools", list);
    for (size_t i = 0; i < json_array_size(tools); i++) {
        const json_t *tool = json_array_get(tools, i);
        char param[32];
        snprintf(param, sizeof param, "tools[%zu].type", i);
        if (mosa_body_has(tool, "type") && !is_type(tool, "custom"))
            return refuse(to, param, "only tools of the client are supported.");
        json_t *function = json_object();
        carry(to, function, "name", tool, "name");
        carry(to, function, "description", tool, "description");
        carry(to, function, "parameters", tool, "input_schema");
        carry(to, function, "strict", tool, "strict");
        push(to, list, json_pack("{s:s, s:o}", "type", "function", "function", function));
    }
    return true;
}

static bool add_tool_choice(rewrite *to, json_t *chat, const json_t *body) {
    const json_t *choice = json_object_get(body, "tool_choice");
    if (!json_is_object(choice)) return true;
    if (is_type(choice, "auto") || is_type(choice, "none"))
        carry(to, chat, "tool_choice", choice, "type");
    else if (is_type(choice, "any"))
        put(to, chat, "tool_choice", json_string("required"));
    else if (is_type(choice, "tool") && json_is_string(json_object_get(choice, "name")))
        put(to, chat, "tool_choice",
            json_pack("{s:s, s:{s:O}}", "type", "function", "function", "name", json_object_get(choice, "name")));
    else
        return refuse(to, "tool_choice", "must be of type auto, any, none, or tool with a name.");
    if (mosa_body_bool(choice, "disable_parallel_tool_use", false)) put(to, chat, "parallel_tool_calls", json_false());
    return true;
}

// output_config.format: the JSON Schema that the text follows.
static bool add_format(rewrite *to, json_t *chat, const json_t *body) {
    const json_t *format = json_object_get(json_object_get(body, "output_config"), "format");
    if (!format || json_is_null(format)) return true;
    if (!is_type(format, "json_schema") || !json_is_object(json_object_get(format, "schema")))
        return refuse(to, "output_config.format", "must be of type json_schema, with a schema.");
    put(to, chat, "response_format",
        json_pack("{s:s, s:{s:s, s:b, s:O}}", "type", "json_schema", "json_schema", "name", "output", "strict", 1,
                  "schema", json_object_get(format, "schema")));
    return true;
}

static void add_parameters(rewrite *to, json_t *chat, const json_t *body) {
    static const char *const same[] = {"model", "max_tokens", "temperature", "top_p", "top_k", "stream", "seed"};
    for (size_t i = 0; i < MOSA_COUNT(same); i++) carry(to, chat, same[i], body, same[i]);
    carry(to, chat, "stop", body, "stop_sequences");
    carry(to, chat, "user", json_object_get(body, "metadata"), "user_id");
    const json_t *messages = json_object_get(body, "messages");
    const json_t *last = json_array_get(messages, json_array_size(messages) - 1);
    if (strcmp(json_string_value(json_object_get(last, "role")), "assistant") == 0)
        put(to, chat, "continue_final_message", json_true());
    const json_t *thinking = json_object_get(body, "thinking");
    if (!json_is_object(thinking)) return;
    bool thinks = !is_type(thinking, "disabled");
    put(to, chat, "include_reasoning", json_boolean(thinks));
    put(to, chat, "chat_template_kwargs", json_pack("{s:b}", "enable_thinking", (int)thinks));
}

bool mosa_messages_read(mosa_http_request *request) {
    MOSA_AUTO_JSON json_t *chat = json_object();
    json_t *body = request->json;
    rewrite to = {.request = request, .messages = json_array()};
    put(&to, chat, "messages", to.messages);
    bool ok = !to.bad && add_system(&to, body) && add_messages(&to, body) && add_tools(&to, chat, body) &&
              add_tool_choice(&to, chat, body) && add_format(&to, chat, body);
    if (ok) add_parameters(&to, chat, body);
    if (to.bad && !request->error.http)
        mosa_api_fail(&request->error, 503, "out_of_memory", NULL, "The server is out of memory. Please retry.");
    if (!ok || to.bad) return false;
    request->json = json_incref(chat);
    json_decref(body);
    return true;
}
