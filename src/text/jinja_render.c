// The public render: sets up a jinja_rt, resolves the names that the template mentions, runs it, hands the text out.
#include "text/jinja_runtime.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const mosa_jinja_limits default_limits = {
    .max_output_bytes = (size_t)64 << 20,
    .max_memory_bytes = (size_t)256 << 20,
    .max_steps = 20 * 1000 * 1000,
    .max_depth = 600,
};

bool jinja_fail(jinja_rt *rt, mosa_status status, const char *format, ...) {
    char what[MOSA_ERROR_MESSAGE_MAX - 48];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    mosa_fail(rt->err, status, "chat template, line %u: %s", rt->line, what);
    return false;
}

bool jinja_charge(jinja_rt *rt, uint64_t steps) {
    if (steps > rt->steps) {
        rt->steps = 0;
        return jinja_fail(rt, MOSA_ELIMIT, "rendering takes more than %llu steps (max_steps)",
                          (unsigned long long)rt->limits.max_steps);
    }
    rt->steps -= steps;
    return true;
}

bool jinja_enter(jinja_rt *rt) {
    if (rt->depth >= rt->limits.max_depth)
        return jinja_fail(rt, MOSA_ELIMIT, "nested more than %u deep (max_depth)", rt->limits.max_depth);
    rt->depth++;
    return true;
}

void *jinja_alloc(jinja_rt *rt, size_t count, size_t size) {
    void *memory = mosa_arena_alloc_array(&rt->arena, count, size);
    if (memory) return memory;
    bool limit = rt->arena.used_bytes + rt->limits.max_memory_bytes / 4 > rt->limits.max_memory_bytes ||
                 count > rt->limits.max_memory_bytes / (size ? size : 1) / 4;
    if (limit)
        jinja_fail(rt, MOSA_ELIMIT, "rendering takes more than %zu bytes of memory (max_memory_bytes)",
                   rt->limits.max_memory_bytes);
    else
        jinja_fail(rt, MOSA_ENOMEM, "out of memory");
    return NULL;
}

// What a name means outside of all scopes: a variable of the request, of the model's files, or a global function.
static bool resolve_global(jinja_rt *rt, const jinja_str *name, jinja_value *out) {
    const char *text = name->data; // constants are NUL-terminated
    json_t *untrusted = json_object_get(rt->inputs->variables, text);
    json_t *trusted = untrusted ? NULL : json_object_get(rt->inputs->trusted, text);
    if (untrusted) return jinja_from_json(rt, untrusted, false, out);
    if (trusted) return jinja_from_json(rt, trusted, true, out);
    const jinja_builtin *function = jinja_find_function(jinja_slice_of(name));
    *out = function ? (jinja_value){.type = JINJA_FUNCTION, .as.function = function}
                    : (jinja_value){.type = JINJA_MISSING};
    return true;
}

static bool resolve_globals(jinja_rt *rt) {
    const jinja_names *names = &rt->tmpl->names;
    jinja_value *globals = JINJA_ARRAY(rt, jinja_value, names->n);
    if (!globals) return false;
    for (size_t i = 0; i < names->n; i++)
        if (!resolve_global(rt, names->items[i], &globals[i])) return false;
    rt->globals = globals;
    return true;
}

static mosa_status hand_out(const jinja_builder *b, mosa_jinja_output *out, mosa_error *err) {
    mosa_jinja_output result = {.len = b->len, .n_ranges = b->n_runs};
    result.text = malloc(b->len + 1);
    result.ranges = malloc((b->n_runs ? b->n_runs : 1) * sizeof *result.ranges);
    if (!result.text || !result.ranges) {
        mosa_jinja_output_finish(&result);
        return mosa_fail(err, MOSA_ENOMEM, "chat template: out of memory");
    }
    if (b->len) memcpy(result.text, b->data, b->len);
    result.text[b->len] = '\0';
    size_t offset = 0;
    for (size_t i = 0; i < b->n_runs; i++) {
        const jinja_run *run = &b->runs[i];
        result.ranges[i] = (mosa_text_range){.offset = offset,
                                             .len = run->end - offset,
                                             .trusted = run->flags & JINJA_TRUSTED,
                                             .generated = run->flags & JINJA_GENERATED};
        offset = run->end;
    }
    *out = result;
    return MOSA_OK;
}

static void fill_limits(mosa_jinja_limits *limits) {
    if (!limits->max_output_bytes) limits->max_output_bytes = default_limits.max_output_bytes;
    if (!limits->max_memory_bytes) limits->max_memory_bytes = default_limits.max_memory_bytes;
    if (!limits->max_steps) limits->max_steps = default_limits.max_steps;
    if (!limits->max_depth) limits->max_depth = default_limits.max_depth;
}

mosa_status mosa_jinja_render(const mosa_jinja_template *tmpl, const mosa_jinja_inputs *inputs, mosa_jinja_output *out,
                              mosa_error *err) {
    mosa_error local = {0};
    jinja_rt rt = {.tmpl = tmpl, .inputs = inputs, .limits = inputs->limits, .line = 1, .err = err ? err : &local};
    fill_limits(&rt.limits);
    rt.steps = rt.limits.max_steps;
    mosa_arena_init(&rt.arena, 0, rt.limits.max_memory_bytes);
    jinja_builder b;
    jinja_builder_init(&b, &rt);
    b.limit = rt.limits.max_output_bytes;
    rt.out = &b;
    mosa_status status = MOSA_OK;
    rt.frame = rt.root_frame = jinja_push_frame(&rt, NULL, &tmpl->body.scope);
    if (!rt.frame || !resolve_globals(&rt) || jinja_exec(&rt, &tmpl->body) == FLOW_ERROR || b.failed)
        status = rt.err->status;
    else
        status = hand_out(&b, out, err);
    mosa_arena_finish(&rt.arena);
    return status;
}

void mosa_jinja_output_finish(mosa_jinja_output *out) {
    free(out->text);
    free(out->ranges);
    *out = (mosa_jinja_output){0};
}
