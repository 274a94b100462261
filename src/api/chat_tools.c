// A chat body's tools and the choice among them.
#include "api/chat_tools.h"
#include "api/params.h"

#include <stdarg.h>
#include <stdio.h>

static bool fail(mosa_http_request *request, const char *param, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static bool fail(mosa_http_request *request, const char *param, const char *format, ...) {
    char what[256];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    mosa_api_fail(&request->error, 400, NULL, param, "%s: %s", param, what);
    return false;
}

static const char *name_of(const json_t *tool) {
    return json_string_value(json_object_get(json_object_get(tool, "function"), "name"));
}

// The tool of that name, or NULL.
static json_t *find(json_t *tools, const char *name) {
    size_t i;
    json_t *tool;
    json_array_foreach(tools, i, tool) if (name && strcmp(name_of(tool), name) == 0) return tool;
    return NULL;
}

static bool is_sane_name(const char *name) {
    size_t len = strlen(name);
    return len > 0 && len <= MOSA_TOOL_NAME_MAX &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.") == len;
}

static bool check_tool(mosa_http_request *request, json_t *tools, size_t i) {
    json_t *tool = json_array_get(tools, i), *function = json_object_get(tool, "function");
    char param[64];
    const char *type = json_string_value(json_object_get(tool, "type"));
    snprintf(param, sizeof param, "tools[%zu].type", i);
    if (strcmp(type, "function") != 0) return fail(request, param, "only tools of type function are supported.");
    snprintf(param, sizeof param, "tools[%zu].function", i);
    if (!json_is_object(function)) return fail(request, param, "is missing.");
    snprintf(param, sizeof param, "tools[%zu].function.name", i);
    if (!is_sane_name(name_of(tool)))
        return fail(request, param, "a name has 1 to %d letters, digits, '_', '-' or '.'.", MOSA_TOOL_NAME_MAX);
    if (find(tools, name_of(tool)) != tool) return fail(request, param, "two tools are called '%s'.", name_of(tool));
    const json_t *parameters = json_object_get(function, "parameters");
    const json_t *wanted = json_object_get(parameters, "type");
    snprintf(param, sizeof param, "tools[%zu].function.parameters", i);
    if (parameters && !json_is_null(parameters) && !json_is_object(parameters))
        return fail(request, param, "must be a JSON Schema, an object.");
    if (json_is_string(wanted) && strcmp(json_string_value(wanted), "object") != 0)
        return fail(request, param, "must describe an object, not a value of type '%.40s'.", json_string_value(wanted));
    return true;
}

static bool check_tools(mosa_http_request *request, json_t *tools) {
    if (json_array_size(tools) > MOSA_TOOLS_MAX) return fail(request, "tools", "at most %d.", MOSA_TOOLS_MAX);
    for (size_t i = 0; i < json_array_size(tools); i++)
        if (!check_tool(request, tools, i)) return false;
    return true;
}

static bool add(mosa_http_request *request, mosa_chat_tools *out, const json_t *named) {
    const char *name = name_of(named);
    json_t *tool = find(out->shown, name);
    if (!name)
        return fail(request, "tool_choice",
                    "must name a function: {\"type\": \"function\", \"function\": {\"name\": ...}}.");
    if (!tool) return fail(request, "tool_choice", "there is no tool called '%.64s'.", name);
    if (!find(out->callable, name)) json_array_append(out->callable, tool);
    return true;
}

// {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [...]}}
static bool read_allowed(mosa_http_request *request, mosa_chat_tools *out, const json_t *allowed) {
    const char *mode = json_string_value(json_object_get(allowed, "mode"));
    const json_t *list = json_object_get(allowed, "tools");
    if (!mode || (strcmp(mode, "auto") != 0 && strcmp(mode, "required") != 0) || json_array_size(list) == 0)
        return fail(request, "tool_choice", "allowed_tools needs a mode, auto or required, and tools.");
    out->forced = strcmp(mode, "required") == 0;
    for (size_t i = 0; i < json_array_size(list); i++)
        if (!add(request, out, json_array_get(list, i))) return false;
    return true;
}

static bool read_choice_object(mosa_http_request *request, mosa_chat_tools *out, const json_t *choice) {
    const char *type = json_string_value(json_object_get(choice, "type"));
    out->callable = json_array();
    if (type && strcmp(type, "allowed_tools") == 0)
        return read_allowed(request, out, json_object_get(choice, "allowed_tools"));
    if (type && strcmp(type, "function") != 0)
        return fail(request, "tool_choice", "the type '%.40s' is not supported.", type);
    out->forced = true;
    out->parallel = false; // one call of the named function
    return add(request, out, choice);
}

static bool read_choice_word(mosa_http_request *request, mosa_chat_tools *out, const char *word) {
    bool none = strcmp(word, "none") == 0;
    out->forced = strcmp(word, "required") == 0;
    if (!none && !out->forced && strcmp(word, "auto") != 0)
        return fail(request, "tool_choice", "must be none, auto, required or an object.");
    if (none)
        out->shown = NULL;
    else
        out->callable = json_incref(out->shown);
    return true;
}

static void note_strict(mosa_chat_tools *out) {
    size_t i;
    json_t *tool;
    json_array_foreach(out->callable, i, tool) out->strict |=
        json_is_true(json_object_get(json_object_get(tool, "function"), "strict"));
}

bool mosa_chat_tools_read(mosa_http_request *request, mosa_chat_tools *out) {
    json_t *tools = json_object_get(request->json, "tools");
    const json_t *choice = json_object_get(request->json, "tool_choice");
    bool chosen = choice && !json_is_null(choice);
    *out = (mosa_chat_tools){.parallel = mosa_body_bool(request->json, "parallel_tool_calls", true)};
    const char *word = chosen ? json_string_value(choice) : "auto";
    if (json_array_size(tools) == 0) {
        if (word && (strcmp(word, "auto") == 0 || strcmp(word, "none") == 0)) return true;
        return fail(request, "tool_choice", "needs tools to choose from.");
    }
    if (!check_tools(request, tools)) return false;
    out->shown = tools;
    if (word ? !read_choice_word(request, out, word) : !read_choice_object(request, out, choice)) return false;
    note_strict(out);
    return true;
}

void mosa_chat_tools_finish(mosa_chat_tools *tools) {
    json_decref(tools->callable);
    *tools = (mosa_chat_tools){0};
}
