// From messages to token ids.
#include "api/chat_messages.h"
#include "api/api_internal.h"
#include "api/params.h"
#include "api/tool_texts.h"
#include "codec/json.h"

#include <stdio.h>

static bool fail(mosa_http_request *request, size_t message, const char *field, const char *what) {
    char param[64];
    snprintf(param, sizeof param, "messages[%zu].%s", message, field);
    mosa_api_fail(&request->error, 400, "unsupported", param, "%s: %s", param, what);
    return false;
}

static bool fail_memory(mosa_http_request *request) {
    mosa_api_fail(&request->error, 503, "out_of_memory", NULL, "The server is out of memory. Please retry.");
    return false;
}

// A list of text parts; templates for text want one string, so they are joined by newlines.
static bool join_parts(mosa_http_request *request, size_t index, json_t *message, const json_t *parts) {
    mosa_buf text;
    mosa_buf_init(&text, 0);
    for (size_t i = 0; i < json_array_size(parts); i++) {
        const json_t *part = json_array_get(parts, i);
        const char *type = json_string_value(json_object_get(part, "type"));
        const json_t *words = json_object_get(part, "text");
        if (strcmp(type, "text") != 0 || !json_is_string(words)) {
            mosa_buf_finish(&text);
            return fail(request, index, "content", "only parts of type text, with a text, are supported.");
        }
        if (request->model->can.content_parts) continue;
        if (i) mosa_buf_append_char(&text, '\n');
        mosa_buf_append(&text, json_string_value(words), json_string_length(words));
    }
    bool ok = true;
    if (!request->model->can.content_parts)
        ok = !mosa_buf_failed(&text) &&
             json_object_set_new(message, "content", json_stringn_nocheck(mosa_buf_str(&text), text.len)) == 0;
    mosa_buf_finish(&text);
    return ok || fail(request, index, "content", "out of memory.");
}

// Clients send a call's arguments as text; templates write them as the object that the text stands for.
static void parse_arguments(json_t *message) {
    json_t *calls = json_object_get(message, "tool_calls");
    for (size_t i = 0; i < json_array_size(calls); i++) {
        json_t *function = json_object_get(json_array_get(calls, i), "function");
        const json_t *arguments = json_object_get(function, "arguments");
        json_t *object = NULL;
        if (!json_is_string(arguments)) continue;
        mosa_slice text = {json_string_value(arguments), json_string_length(arguments)};
        if (mosa_json_parse(text, NULL, &object, NULL) != MOSA_OK) continue;
        if (json_is_object(object)) json_object_set(function, "arguments", object);
        json_decref(object);
    }
}

static bool normalise(mosa_http_request *request, json_t *messages) {
    size_t i;
    json_t *message;
    json_array_foreach(messages, i, message) {
        const char *role = json_string_value(json_object_get(message, "role"));
        if (strcmp(role, "function") == 0)
            return fail(request, i, "role", "function messages are deprecated and not supported; use tools.");
        if (strcmp(role, "developer") == 0) json_object_set_new(message, "role", json_string("system"));
        const json_t *content = json_object_get(message, "content");
        if (json_is_array(content) && !join_parts(request, i, message, content)) return false;
        bool has_calls = json_array_size(json_object_get(message, "tool_calls")) > 0;
        if (!mosa_body_has(message, "content") && !has_calls) {
            char param[64];
            snprintf(param, sizeof param, "messages[%zu].content", i);
            mosa_api_fail(&request->error, 400, NULL, param, "%s: a message needs a content.", param);
            return false;
        }
        parse_arguments(message);
    }
    return true;
}

bool mosa_chat_tokenize(mosa_http_request *request, json_t *tools, int32_t **tokens, size_t *n_tokens) {
    json_t *body = request->json, *messages = json_object_get(body, "messages");
    json_t *kwargs = json_object_get(body, "chat_template_kwargs");
    if (json_is_null(kwargs)) kwargs = NULL;
    if (!normalise(request, messages)) return false;
    const mosa_chat_capabilities *can = tools ? &request->model->can_with_tools : &request->model->can;
    if (!mosa_tool_texts_apply(can, messages, tools)) return fail_memory(request);
    bool continued = mosa_body_bool(body, "continue_final_message", false);
    bool prompt = mosa_body_bool(body, "add_generation_prompt", !continued);
    if (continued && prompt) {
        mosa_api_fail(&request->error, 400, NULL, "continue_final_message",
                      "continue_final_message and add_generation_prompt exclude each other.");
        return false;
    }
    mosa_error err;
    mosa_status status =
        mosa_model_text_chat(request->model->text, messages, tools, kwargs, prompt, continued, tokens, n_tokens, &err);
    if (status == MOSA_OK && *n_tokens == 0) status = mosa_fail(&err, MOSA_EINVALID, "the rendered prompt is empty");
    if (status != MOSA_OK) mosa_api_error_set(&request->error, &err, "messages");
    return status == MOSA_OK;
}
