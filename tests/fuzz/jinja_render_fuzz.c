// A template, a zero byte, and its variables as JSON: rendered within small limits. Checks that the output is UTF-8's
// length, NUL-terminated, and that the ranges cover it without gaps.
#include "text/jinja.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char default_variables[] =
    "{\"messages\": [{\"role\": \"user\", \"content\": \"hi é\"}, {\"role\": \"assistant\", \"content\": null, "
    "\"tool_calls\": [{\"function\": {\"name\": \"f\", \"arguments\": {\"a\": 1.5}}}]}], \"tools\": [{\"name\": "
    "\"f\"}], "
    "\"s\": \"Hello, World\", \"n\": 7, \"f\": 2.5, \"l\": [3, 1, 2], \"d\": {\"a\": 1, \"b\": \"two\"}, \"t\": true}";

static void check(const mosa_jinja_output *out) {
    size_t end = 0;
    if (out->text[out->len] != '\0') abort();
    for (size_t i = 0; i < out->n_ranges; i++) {
        if (out->ranges[i].offset != end || out->ranges[i].len == 0) abort();
        end += out->ranges[i].len;
    }
    if (end != out->len) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const struct tm fixed_now = {.tm_mday = 7, .tm_mon = 5, .tm_year = 124, .tm_wday = 5, .tm_yday = 158};
    const uint8_t *split = size ? memchr(data, 0, size) : NULL;
    size_t len = split ? (size_t)(split - data) : size;
    mosa_jinja_template *tmpl;
    if (mosa_jinja_parse((mosa_slice){(const char *)data, len}, &tmpl, NULL) != MOSA_OK) return 0;
    json_t *variables = split ? json_loadb((const char *)split + 1, size - len - 1, 0, NULL) : NULL;
    if (!json_is_object(variables)) {
        json_decref(variables);
        variables = json_loads(default_variables, 0, NULL);
    }
    mosa_jinja_inputs inputs = {
        .variables = variables,
        .now = &fixed_now,
        .limits = {.max_output_bytes = 1 << 18, .max_memory_bytes = 8 << 20, .max_steps = 50000, .max_depth = 200}};
    mosa_jinja_output out;
    mosa_error err;
    if (mosa_jinja_render(tmpl, &inputs, &out, &err) == MOSA_OK) {
        check(&out);
        mosa_jinja_output_finish(&out);
    }
    json_decref(variables);
    mosa_jinja_destroy(tmpl);
    return 0;
}
