// Messages: what OpenAI's and ShareGPT's conversations may say, and their one canonical form.
#include "train/data/format_internal.h"

#include "codec/config.h"
#include "codec/json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const roles[] = {"system", "developer", "user", "assistant", "tool"};

static mosa_slice string_slice(const json_t *value) {
    return (mosa_slice){json_string_value(value), json_string_length(value)};
}

static bool is_blank(mosa_slice text) {
    for (size_t i = 0; i < text.len; i++)
        if (!strchr(" \t\r\n", text.data[i]) || !text.data[i]) return false;
    return true;
}

mosa_status format_string(const json_t *object, const char *key, bool needed, mosa_slice *out, mosa_error *err) {
    const json_t *value = json_object_get(object, key);
    if (json_is_string(value)) {
        *out = string_slice(value);
        return MOSA_OK;
    }
    if (value && !json_is_null(value))
        return mosa_fail(err, MOSA_EINVALID, "%s must be a string, it is %s", key, mosa_json_type_name(value));
    if (needed) return mosa_fail(err, MOSA_EINVALID, "%s is missing", key);
    *out = (mosa_slice){0};
    return MOSA_OK;
}

mosa_status format_append(json_t *messages, const char *role, mosa_slice text, mosa_error *err) {
    json_t *message = json_object(), *content = json_stringn_nocheck(text.data ? text.data : "", text.len);
    bool ok = message && content && json_object_set_new(message, "role", json_string(role)) == 0;
    if (!ok) json_decref(content);
    ok = ok && json_object_set_new(message, "content", content) == 0;
    if (ok && json_array_append_new(messages, message) == 0) return MOSA_OK;
    if (!ok) json_decref(message);
    return format_no_memory(err);
}

// --- tool calls -----------------------------------------------------------------------------------------------------

// Servers parse a call's arguments before they render; training must too.
static mosa_status check_arguments(json_t *function, const char *where, mosa_error *err) {
    json_t *arguments = json_object_get(function, "arguments"), *object = NULL;
    if (!arguments || json_is_null(arguments))
        return json_object_set_new(function, "arguments", json_object()) == 0 ? MOSA_OK : format_no_memory(err);
    if (json_is_object(arguments)) return MOSA_OK;
    if (!json_is_string(arguments))
        return mosa_fail(err, MOSA_EINVALID, "%s.arguments must be an object or a string of JSON, it is %s", where,
                         mosa_json_type_name(arguments));
    mosa_status status =
        is_blank(string_slice(arguments)) ? MOSA_OK : mosa_json_parse(string_slice(arguments), NULL, &object, NULL);
    if (!object && status == MOSA_OK) object = json_object();
    if (status == MOSA_ENOMEM || (status == MOSA_OK && !object)) return format_no_memory(err);
    if (status != MOSA_OK || !json_is_object(object)) {
        json_decref(object);
        (void)mosa_fail(err, MOSA_EINVALID, "%s.arguments is no JSON object", where);
        return mosa_hint(err, "the model would learn to write calls that nobody can parse");
    }
    return json_object_set_new(function, "arguments", object) == 0 ? MOSA_OK : format_no_memory(err);
}

static mosa_status check_calls(json_t *calls, const char *where, mosa_error *err) {
    if (!json_is_array(calls) || json_array_size(calls) == 0)
        return mosa_fail(err, MOSA_EINVALID, "%s.tool_calls must be a list with at least one call", where);
    for (size_t i = 0; i < json_array_size(calls); i++) {
        json_t *call = json_array_get(calls, i), *function = json_object_get(call, "function");
        char inner[FORMAT_WHERE_MAX + 64];
        (void)snprintf(inner, sizeof inner, "%s.tool_calls[%zu].function", where, i);
        const json_t *name = json_object_get(function, "name");
        if (!json_is_string(name) || json_string_length(name) == 0)
            return mosa_fail(err, MOSA_EINVALID, "%s.name is missing", inner);
        MOSA_TRY(check_arguments(function, inner, err));
    }
    return MOSA_OK;
}

// --- one message ----------------------------------------------------------------------------------------------------

static mosa_status check_keys(const json_t *message, const char *where, const mosa_data_layout *layout,
                              mosa_error *err) {
    static const char *const known[] = {"role",    "content",           "name",      "weight",   "tool_calls",
                                        "refusal", "reasoning_content", "reasoning", "thinking", "tool_call_id"};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)message, key, value) {
        bool found = json_is_null(value) || layout->ignore_unknown;
        for (size_t i = 0; i < MOSA_COUNT(known) && !found; i++) found = strcmp(known[i], key) == 0;
        if (found) continue;
        (void)mosa_fail(err, MOSA_EINVALID, "%s.%s is not a known field", where, key);
        if (strcmp(key, "function_call") == 0) return mosa_hint(err, "write it as tool_calls");
        const char *near = mosa_nearest_word(key, known, MOSA_COUNT(known));
        return near ? mosa_hint(err, "did you mean \"%s\"?", near)
                    : mosa_hint(err, "remove it, or pass over unknown fields with --ignore-unknown");
    }
    return MOSA_OK;
}

static mosa_status check_role(json_t *message, const char *where, mosa_error *err) {
    const char *role = json_string_value(json_object_get(message, "role"));
    if (!role) return mosa_fail(err, MOSA_EINVALID, "%s.role is missing", where);
    for (size_t i = 0; i < MOSA_COUNT(roles); i++) {
        if (strcmp(roles[i], role) != 0) continue;
        bool renamed = strcmp(role, "developer") == 0;
        return renamed && json_object_set_new(message, "role", json_string("system")) != 0 ? format_no_memory(err)
                                                                                           : MOSA_OK;
    }
    const char *near = mosa_nearest_word(role, roles, MOSA_COUNT(roles));
    (void)mosa_fail(err, MOSA_EINVALID, "%s.role is \"%.40s\"", where, role);
    return near ? mosa_hint(err, "did you mean \"%s\"?", near)
                : mosa_hint(err, "roles are system, developer, user, assistant, tool");
}

// A string, a list of text parts, or (for calls) nothing. *empty: it says nothing.
static mosa_status check_content(const json_t *message, const char *where, bool *empty, mosa_error *err) {
    const json_t *content = json_object_get(message, "content");
    *empty = true;
    if (!content || json_is_null(content)) return MOSA_OK;
    if (json_is_string(content)) {
        *empty = is_blank(string_slice(content));
        return MOSA_OK;
    }
    if (!json_is_array(content))
        return mosa_fail(err, MOSA_EINVALID, "%s.content must be a string, it is %s", where,
                         mosa_json_type_name(content));
    for (size_t i = 0; i < json_array_size(content); i++) {
        const json_t *part = json_array_get(content, i), *text = json_object_get(part, "text");
        const char *type = json_string_value(json_object_get(part, "type"));
        if (!type || strcmp(type, "text") != 0 || !json_is_string(text))
            return mosa_fail(err, MOSA_EUNSUPPORTED, "%s.content[%zu] is no text; only text can be trained on", where,
                             i);
        *empty = *empty && is_blank(string_slice(text));
    }
    return MOSA_OK;
}

static mosa_status check_weight(const json_t *message, const char *where, bool assistant, mosa_error *err) {
    const json_t *weight = json_object_get(message, "weight");
    if (!weight || json_is_null(weight)) return MOSA_OK;
    double value = json_number_value(weight);
    if (!json_is_number(weight) || !(value >= 0 && value <= 1e6))
        return mosa_fail(err, MOSA_EINVALID, "%s.weight must be a number from 0 on", where);
    if (assistant || value == 0) return MOSA_OK;
    (void)mosa_fail(err, MOSA_EINVALID, "%s.weight: only the assistant's messages have a weight", where);
    return mosa_hint(err, "--train-on all trains on everything");
}

static bool has_reasoning(const json_t *message) {
    return json_string_length(json_object_get(message, "reasoning_content")) ||
           json_string_length(json_object_get(message, "reasoning")) ||
           json_string_length(json_object_get(message, "thinking"));
}

mosa_status format_check_message(json_t *message, const char *field, size_t i, const mosa_data_layout *layout,
                                 mosa_error *err) {
    char where[FORMAT_WHERE_MAX];
    bool empty;
    (void)snprintf(where, sizeof where, "%s[%zu]", field, i);
    if (!json_is_object(message))
        return mosa_fail(err, MOSA_EINVALID, "%s must be an object, it is %s", where, mosa_json_type_name(message));
    MOSA_TRY(check_keys(message, where, layout, err));
    MOSA_TRY(check_role(message, where, err));
    MOSA_TRY(check_content(message, where, &empty, err));
    const char *role = json_string_value(json_object_get(message, "role"));
    bool assistant = strcmp(role, "assistant") == 0;
    MOSA_TRY(check_weight(message, where, assistant, err));
    json_t *calls = json_object_get(message, "tool_calls");
    if (json_is_null(calls)) calls = NULL;
    if (calls && !assistant) return mosa_fail(err, MOSA_EINVALID, "%s.tool_calls: only the assistant calls", where);
    if (calls) MOSA_TRY(check_calls(calls, where, err));
    if (empty && strcmp(role, "user") == 0) return mosa_fail(err, MOSA_EINVALID, "%s: the user says nothing", where);
    if (!assistant || !empty || calls || has_reasoning(message)) return MOSA_OK;
    (void)mosa_fail(err, MOSA_EINVALID, "%s: the assistant says nothing", where);
    return mosa_hint(err, "remove the record, or fill in the answer: the model would learn to stop at once");
}

// --- conversations --------------------------------------------------------------------------------------------------

static mosa_status check_order(const json_t *messages, const char *field, bool ends, mosa_error *err) {
    size_t n = json_array_size(messages), calls = 0;
    for (size_t i = 0; i < n; i++) {
        const json_t *message = json_array_get(messages, i);
        const char *role = json_string_value(json_object_get(message, "role"));
        if (strcmp(role, "assistant") == 0) {
            calls = json_array_size(json_object_get(message, "tool_calls"));
        } else if (strcmp(role, "tool") == 0) {
            if (calls == 0)
                return mosa_fail(err, MOSA_EINVALID, "%s[%zu]: a tool's result that no call asked for", field, i);
            calls--;
        }
    }
    const char *last = json_string_value(json_object_get(json_array_get(messages, n - 1), "role"));
    if (!ends || strcmp(last, "assistant") == 0) return MOSA_OK;
    (void)mosa_fail(err, MOSA_EINVALID, "the last message is of role \"%s\": nothing would be learned from it", last);
    return mosa_hint(err, "a conversation must end with the assistant's answer");
}

mosa_status format_check_messages(json_t *messages, const char *field, bool ends, const mosa_data_layout *layout,
                                  mosa_error *err) {
    if (!json_is_array(messages))
        return mosa_fail(err, MOSA_EINVALID, "%s must be a list, it is %s", field, mosa_json_type_name(messages));
    if (json_array_size(messages) == 0) return mosa_fail(err, MOSA_EINVALID, "%s is empty", field);
    for (size_t i = 0; i < json_array_size(messages); i++)
        MOSA_TRY(format_check_message(json_array_get(messages, i), field, i, layout, err));
    return check_order(messages, field, ends, err);
}

// --- ShareGPT -------------------------------------------------------------------------------------------------------

typedef enum turn_kind { TURN_UNKNOWN, TURN_SYSTEM, TURN_USER, TURN_ASSISTANT, TURN_CALL, TURN_RESULT } turn_kind;

static turn_kind turn_kind_of(const char *from, const mosa_data_layout *l) {
    static const struct {
        const char *name;
        turn_kind kind;
    } names[] = {{"human", TURN_USER},          {"user", TURN_USER},       {"gpt", TURN_ASSISTANT},
                 {"assistant", TURN_ASSISTANT}, {"model", TURN_ASSISTANT}, {"chatgpt", TURN_ASSISTANT},
                 {"bot", TURN_ASSISTANT},       {"system", TURN_SYSTEM},   {"function_call", TURN_CALL},
                 {"observation", TURN_RESULT},  {"tool", TURN_RESULT},     {"function_response", TURN_RESULT}};
    if (l->user_tag && strcmp(from, l->user_tag) == 0) return TURN_USER;
    if (l->assistant_tag && strcmp(from, l->assistant_tag) == 0) return TURN_ASSISTANT;
    if (l->observation_tag && strcmp(from, l->observation_tag) == 0) return TURN_RESULT;
    if (l->function_tag && strcmp(from, l->function_tag) == 0) return TURN_CALL;
    if (l->system_tag && strcmp(from, l->system_tag) == 0) return TURN_SYSTEM;
    for (size_t i = 0; i < MOSA_COUNT(names); i++)
        if (strcmp(names[i].name, from) == 0) return names[i].kind;
    return TURN_UNKNOWN;
}

// {"name","arguments"} as a call of OpenAI's form. Ids have nine letters and digits, which every template accepts.
static mosa_status add_call(json_t *calls, json_t *function, const char *where, mosa_error *err) {
    json_t *name = json_object_get(function, "name"), *arguments = json_object_get(function, "arguments");
    if (!json_is_string(name))
        return mosa_fail(err, MOSA_EINVALID, "%s: a call needs \"name\" and \"arguments\"", where);
    char id[16];
    (void)snprintf(id, sizeof id, "call%05u", (unsigned)(json_array_size(calls) % 100000));
    json_t *call = json_pack("{s:s, s:s, s:{s:O, s:O?}}", "id", id, "type", "function", "function", "name", name,
                             "arguments", arguments);
    return call && json_array_append_new(calls, call) == 0 ? MOSA_OK : format_no_memory(err);
}

static mosa_status append_calls(json_t *messages, mosa_slice value, const char *where, mosa_error *err) {
    MOSA_AUTO_JSON json_t *parsed = NULL;
    MOSA_AUTO_JSON json_t *calls = json_array();
    mosa_status status = mosa_json_parse(value, NULL, &parsed, NULL);
    if (!calls || status == MOSA_ENOMEM) return format_no_memory(err);
    if (status != MOSA_OK) return mosa_fail(err, MOSA_EINVALID, "%s: a function call must be JSON", where);
    if (json_is_array(parsed)) {
        for (size_t i = 0; i < json_array_size(parsed); i++)
            MOSA_TRY(add_call(calls, json_array_get(parsed, i), where, err));
    } else {
        MOSA_TRY(add_call(calls, parsed, where, err));
    }
    MOSA_TRY(format_append(messages, "assistant", (mosa_slice){0}, err));
    json_t *message = json_array_get(messages, json_array_size(messages) - 1);
    return json_object_set(message, "tool_calls", calls) == 0 ? MOSA_OK : format_no_memory(err);
}

// What identifies the call that a result answers: the last one made.
static mosa_status append_result(json_t *messages, mosa_slice value, mosa_error *err) {
    json_t *before = json_array_get(messages, json_array_size(messages) - 1);
    json_t *call = json_array_get(json_object_get(before, "tool_calls"), 0);
    json_t *id = json_object_get(call, "id"), *name = json_object_get(json_object_get(call, "function"), "name");
    MOSA_TRY(format_append(messages, "tool", value, err));
    json_t *message = json_array_get(messages, json_array_size(messages) - 1);
    bool ok = (!id || json_object_set(message, "tool_call_id", id) == 0) &&
              (!name || json_object_set(message, "name", name) == 0);
    return ok ? MOSA_OK : format_no_memory(err);
}

mosa_status format_add_turn(json_t *messages, const json_t *turn, const char *where, const mosa_data_layout *layout,
                            mosa_error *err) {
    const char *role_tag = layout->role_tag ? layout->role_tag : "from";
    const char *content_tag = layout->content_tag ? layout->content_tag : "value";
    const json_t *from = json_object_get(turn, role_tag), *value = json_object_get(turn, content_tag);
    if (!json_is_string(from)) return mosa_fail(err, MOSA_EINVALID, "%s.%s is missing", where, role_tag);
    if (!json_is_string(value)) return mosa_fail(err, MOSA_EINVALID, "%s.%s must be a string", where, content_tag);
    switch (turn_kind_of(json_string_value(from), layout)) {
    case TURN_SYSTEM:
        return format_append(messages, "system", string_slice(value), err);
    case TURN_USER:
        return format_append(messages, "user", string_slice(value), err);
    case TURN_CALL:
        return append_calls(messages, string_slice(value), where, err);
    case TURN_RESULT:
        return append_result(messages, string_slice(value), err);
    case TURN_ASSISTANT: {
        const json_t *weight = json_object_get(turn, "weight");
        MOSA_TRY(format_append(messages, "assistant", string_slice(value), err));
        json_t *message = json_array_get(messages, json_array_size(messages) - 1);
        bool ok = !weight || json_object_set(message, "weight", (json_t *)weight) == 0;
        return ok ? MOSA_OK : format_no_memory(err);
    }
    case TURN_UNKNOWN:
        break;
    }
    (void)mosa_fail(err, MOSA_EINVALID, "%s.%s is \"%.40s\"", where, role_tag, json_string_value(from));
    return mosa_hint(err, "known are human, gpt, system, function_call, observation; others can be mapped by tags");
}

mosa_status format_from_sharegpt(const json_t *turns, const char *field, const mosa_data_layout *layout, json_t **out,
                                 mosa_error *err) {
    if (!json_is_array(turns))
        return mosa_fail(err, MOSA_EINVALID, "%s must be a list, it is %s", field, mosa_json_type_name(turns));
    MOSA_AUTO_JSON json_t *messages = json_array();
    if (!messages) return format_no_memory(err);
    for (size_t i = 0; i < json_array_size(turns); i++) {
        char where[FORMAT_WHERE_MAX];
        (void)snprintf(where, sizeof where, "%s[%zu]", field, i);
        MOSA_TRY(format_add_turn(messages, json_array_get(turns, i), where, layout, err));
    }
    *out = json_incref(messages);
    return MOSA_OK;
}

// --- tools ----------------------------------------------------------------------------------------------------------

static mosa_status add_tool(json_t *tools, json_t *tool, const char *field, size_t i, mosa_error *err) {
    json_t *function = json_object_get(tool, "function");
    const json_t *name = json_object_get(function ? function : tool, "name");
    if (!json_is_string(name)) return mosa_fail(err, MOSA_EINVALID, "%s[%zu] has no name", field, i);
    json_t *whole = function ? json_incref(tool) : json_pack("{s:s, s:O}", "type", "function", "function", tool);
    return whole && json_array_append_new(tools, whole) == 0 ? MOSA_OK : format_no_memory(err);
}

mosa_status format_tools(const json_t *value, const char *field, json_t **out, mosa_error *err) {
    MOSA_AUTO_JSON json_t *parsed = NULL;
    MOSA_AUTO_JSON json_t *tools = json_array();
    *out = NULL;
    if (!value || json_is_null(value)) return MOSA_OK;
    if (json_is_string(value)) {
        if (is_blank(string_slice(value))) return MOSA_OK;
        mosa_status status = mosa_json_parse(string_slice(value), NULL, &parsed, NULL);
        if (status == MOSA_ENOMEM) return format_no_memory(err);
        if (status != MOSA_OK) return mosa_fail(err, MOSA_EINVALID, "%s is a string that is no JSON", field);
        value = parsed;
    }
    if (!tools) return format_no_memory(err);
    if (!json_is_array(value))
        return mosa_fail(err, MOSA_EINVALID, "%s must be a list, it is %s", field, mosa_json_type_name(value));
    for (size_t i = 0; i < json_array_size(value); i++)
        MOSA_TRY(add_tool(tools, json_array_get(value, i), field, i, err));
    if (json_array_size(tools)) *out = json_incref(tools);
    return MOSA_OK;
}
