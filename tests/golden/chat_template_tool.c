// Renders chat templates for scripts: one JSON request per line on stdin, one JSON answer per line on stdout.
//
// Request: {"template": text, "messages": [...], "tools", "documents", "kwargs", "bos_token", "eos_token",
// "add_generation_prompt", "continue_final_message"}, or {"template": text, "variables": {...}} for plain Jinja.
// Answer: {"text": ..., "ranges": [[offset, length, trusted, generated], ...]} or {"error": ..., "status": ...}.
// strftime_now sees 2024-06-07 08:09:10, a Friday. Templates of consecutive requests that are equal are parsed once.
#include "text/chat_template.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct tm fixed_now = {
    .tm_sec = 10, .tm_min = 9, .tm_hour = 8, .tm_mday = 7, .tm_mon = 5, .tm_year = 124, .tm_wday = 5, .tm_yday = 158};

static mosa_status render_chat(json_t *request, mosa_slice source, mosa_jinja_output *out, mosa_error *err) {
    mosa_chat_template_source from = {.template = source,
                                      .bos_token = json_string_value(json_object_get(request, "bos_token")),
                                      .eos_token = json_string_value(json_object_get(request, "eos_token"))};
    mosa_chat_template *tmpl;
    MOSA_TRY(mosa_chat_template_create(&from, &tmpl, err));
    mosa_chat_options options = {
        .add_generation_prompt = json_is_true(json_object_get(request, "add_generation_prompt")),
        .continue_final_message = json_is_true(json_object_get(request, "continue_final_message")),
        .continue_field = json_string_value(json_object_get(request, "continue_field")),
        .tools = json_object_get(request, "tools"),
        .documents = json_object_get(request, "documents"),
        .kwargs = json_object_get(request, "kwargs"),
        .now = &fixed_now,
    };
    mosa_status status = mosa_chat_template_render(tmpl, json_object_get(request, "messages"), &options, out, err);
    mosa_chat_template_destroy(tmpl);
    return status;
}

static mosa_status render_plain(json_t *request, mosa_slice source, mosa_jinja_output *out, mosa_error *err) {
    mosa_jinja_template *tmpl;
    MOSA_TRY(mosa_jinja_parse(source, &tmpl, err));
    mosa_jinja_inputs inputs = {.variables = json_object_get(request, "variables"),
                                .trusted = json_object_get(request, "trusted"),
                                .now = &fixed_now};
    mosa_status status = mosa_jinja_render(tmpl, &inputs, out, err);
    mosa_jinja_destroy(tmpl);
    return status;
}

static json_t *answer(json_t *request) {
    json_t *template = json_object_get(request, "template");
    mosa_slice source = {json_string_value(template), json_string_length(template)};
    mosa_jinja_output out = {0};
    mosa_error err = {0};
    mosa_status status = json_object_get(request, "messages") ? render_chat(request, source, &out, &err)
                                                              : render_plain(request, source, &out, &err);
    if (status != MOSA_OK) return json_pack("{s:s, s:s}", "error", err.message, "status", mosa_status_name(status));
    json_t *ranges = json_array();
    for (size_t i = 0; i < out.n_ranges; i++)
        json_array_append_new(ranges,
                              json_pack("[I, I, b, b]", (json_int_t)out.ranges[i].offset, (json_int_t)out.ranges[i].len,
                                        out.ranges[i].trusted, out.ranges[i].generated));
    json_t *result = json_pack("{s:s%, s:o}", "text", out.text, out.len, "ranges", ranges);
    mosa_jinja_output_finish(&out);
    return result;
}

int main(void) {
    char *line = NULL;
    size_t capacity = 0;
    while (getline(&line, &capacity, stdin) > 0) {
        json_t *request = json_loads(line, JSON_ALLOW_NUL, NULL);
        json_t *result = request ? answer(request) : json_pack("{s:s, s:s}", "error", "no JSON", "status", "invalid");
        json_dumpf(result, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
        putchar('\n');
        fflush(stdout);
        json_decref(result);
        json_decref(request);
    }
    free(line);
    return 0;
}
