// Calls: binding arguments to builtins and macros, and what is callable at all.
#include "text/jinja_runtime.h"

#include <string.h>

enum { BUILTIN_PARAMETERS_MAX = 8 };

typedef struct parameter {
    const char *name;
    size_t len;
    bool required;
} parameter;

// Splits "a! b c" into parameters; *positional_only for a leading "/".
static size_t split_parameters(const char *params, parameter out[BUILTIN_PARAMETERS_MAX], bool *positional_only) {
    size_t n = 0;
    *positional_only = *params == '/';
    if (*positional_only) params++;
    while (*params && n < BUILTIN_PARAMETERS_MAX) {
        while (*params == ' ') params++;
        size_t len = strcspn(params, " ");
        if (len == 0) break;
        bool required = params[len - 1] == '!';
        out[n++] = (parameter){params, len - required, required};
        params += len;
    }
    return n;
}

static bool bind_keyword(jinja_rt *rt, const jinja_builtin *builtin, const parameter *params, size_t n,
                         const jinja_kwarg *kw, jinja_value *bound) {
    for (size_t i = 0; i < n; i++) {
        if (kw->name->len != params[i].len || memcmp(kw->name->data, params[i].name, params[i].len) != 0) continue;
        if (bound[i].type != JINJA_MISSING)
            return jinja_fail(rt, MOSA_EINVALID, "%s() got multiple values for argument '%.*s'", builtin->name,
                              (int)params[i].len, params[i].name);
        bound[i] = kw->value;
        return true;
    }
    return jinja_fail(rt, MOSA_EINVALID, "%s() got an unexpected keyword argument '%.*s'", builtin->name,
                      (int)(kw->name->len < 80 ? kw->name->len : 80), kw->name->data);
}

bool jinja_call_builtin(jinja_rt *rt, const jinja_builtin *builtin, jinja_value self, const jinja_args *args,
                        jinja_value *out) {
    if (builtin->params[0] == '*') return builtin->fn(rt, self, args, out);
    parameter params[BUILTIN_PARAMETERS_MAX];
    jinja_value bound[BUILTIN_PARAMETERS_MAX];
    bool positional_only;
    size_t n = split_parameters(builtin->params, params, &positional_only);
    if (args->n > n)
        return jinja_fail(rt, MOSA_EINVALID, "%s() takes at most %zu argument%s (%zu given)", builtin->name, n,
                          n == 1 ? "" : "s", args->n);
    if (positional_only && args->n_kw)
        return jinja_fail(rt, MOSA_EINVALID, "%s() takes no keyword arguments", builtin->name);
    for (size_t i = 0; i < n; i++) bound[i] = i < args->n ? args->pos[i] : (jinja_value){.type = JINJA_MISSING};
    for (size_t i = 0; i < args->n_kw; i++)
        if (!bind_keyword(rt, builtin, params, n, &args->kw[i], bound)) return false;
    for (size_t i = 0; i < n; i++)
        if (params[i].required && bound[i].type == JINJA_MISSING)
            return jinja_fail(rt, MOSA_EINVALID, "%s() missing required argument '%.*s'", builtin->name,
                              (int)params[i].len, params[i].name);
    jinja_args full = {.pos = bound, .n = n};
    return builtin->fn(rt, self, &full, out);
}

// Takes the keyword argument out of kw, by marking it MISSING.
static bool take_keyword(jinja_kwarg *kw, size_t n, const jinja_str *name, jinja_value *out) {
    for (size_t i = 0; i < n; i++) {
        if (kw[i].value.type == JINJA_MISSING || !mosa_slice_eq(jinja_slice_of(kw[i].name), jinja_slice_of(name)))
            continue;
        *out = kw[i].value;
        kw[i].value = (jinja_value){.type = JINJA_MISSING};
        return true;
    }
    return false;
}

static bool bind_rest(jinja_rt *rt, const jinja_macro *macro, const jinja_args *args, jinja_kwarg *kw,
                      jinja_frame *frame) {
    const jinja_signature *signature = macro->signature;
    const jinja_str *name = signature->name;
    int name_len = name ? (int)name->len : 0;
    const char *name_text = name ? name->data : "";
    jinja_value rest;
    if (signature->uses_kwargs) {
        if (!jinja_new_dict(rt, &rest)) return false;
        for (size_t i = 0; i < args->n_kw; i++)
            if (kw[i].value.type != JINJA_MISSING &&
                !jinja_dict_set(rt, rest.as.dict, jinja_of_str(kw[i].name), kw[i].value))
                return false;
        if (!jinja_bind(rt, frame, rt->tmpl->slot_kwargs, rest)) return false;
    }
    for (size_t i = 0; i < args->n_kw && !signature->uses_kwargs; i++)
        if (kw[i].value.type != JINJA_MISSING)
            return jinja_fail(rt, MOSA_EINVALID, "macro '%.*s' takes no keyword argument '%.*s'", name_len, name_text,
                              (int)(kw[i].name->len < 80 ? kw[i].name->len : 80), kw[i].name->data);
    size_t used = args->n < signature->n_parameters ? args->n : signature->n_parameters;
    if (!signature->uses_varargs)
        return used == args->n || jinja_fail(rt, MOSA_EINVALID, "macro '%.*s' takes not more than %zu argument(s)",
                                             name_len, name_text, signature->n_parameters);
    jinja_vec more = {0};
    for (size_t i = used; i < args->n; i++)
        if (!jinja_vec_push(rt, &more, args->pos[i])) return false;
    return jinja_vec_list(rt, &more, JINJA_TUPLE, &rest) && jinja_bind(rt, frame, rt->tmpl->slot_varargs, rest);
}

// Parameters by position, then by name; what is left goes to caller, kwargs and varargs where the body uses them.
// rt->frame is the macro's frame, in which defaults are evaluated, after all arguments are bound.
static bool bind_macro(jinja_rt *rt, const jinja_macro *macro, const jinja_args *args, jinja_frame *frame) {
    const jinja_signature *signature = macro->signature;
    jinja_kwarg *kw = JINJA_ARRAY(rt, jinja_kwarg, args->n_kw);
    if (!kw) return false;
    if (args->n_kw) memcpy(kw, args->kw, args->n_kw * sizeof *kw);
    bool found_caller = signature->explicit_caller && args->n >= signature->n_parameters;
    for (size_t i = 0; i < signature->n_parameters; i++) {
        const jinja_node *parameter = signature->parameters[i];
        jinja_value value = {.type = JINJA_MISSING};
        if (i < args->n)
            value = args->pos[i];
        else
            take_keyword(kw, args->n_kw, parameter->as.name.text, &value);
        if (i >= args->n && jinja_str_is(parameter->as.name.text, "caller")) found_caller = true;
        if (!jinja_bind(rt, frame, parameter->as.name.slot, value)) return false;
    }
    if (signature->uses_caller && !found_caller) {
        jinja_value caller = {.type = JINJA_MISSING};
        const jinja_str *name = rt->tmpl->names.items[rt->tmpl->slot_caller];
        take_keyword(kw, args->n_kw, name, &caller);
        if ((caller.type == JINJA_MISSING || caller.type == JINJA_NONE) &&
            !jinja_undefined_value(rt, "No caller defined", caller, name, &caller))
            return false;
        if (!jinja_bind(rt, frame, rt->tmpl->slot_caller, caller)) return false;
    }
    return bind_rest(rt, macro, args, kw, frame);
}

static bool bind_defaults(jinja_rt *rt, const jinja_signature *signature, jinja_frame *frame) {
    for (size_t i = 0; i < signature->n_parameters; i++) {
        if (frame->bindings[i].value.type != JINJA_MISSING) continue;
        jinja_value value;
        const jinja_node *fallback = signature->defaults[i];
        const jinja_str *name = signature->parameters[i]->as.name.text;
        if (fallback ? !jinja_eval(rt, fallback, &value)
                     : !jinja_undefined_value(rt, NULL, (jinja_value){.type = JINJA_MISSING}, name, &value))
            return false;
        frame->bindings[i].value = value;
    }
    return true;
}

bool jinja_call_macro(jinja_rt *rt, const jinja_macro *macro, const jinja_args *args, jinja_value *out) {
    jinja_frame *saved = rt->frame, *frame = jinja_push_frame(rt, macro->frame, NULL);
    if (!frame || !jinja_enter(rt)) return false;
    bool ok = bind_macro(rt, macro, args, frame) && jinja_hide_names(rt, frame, &macro->signature->body.scope);
    rt->frame = frame;
    ok = ok && bind_defaults(rt, macro->signature, frame) &&
         jinja_capture(rt, &macro->signature->body, out) == FLOW_NEXT;
    rt->frame = saved;
    rt->depth--;
    return ok;
}

bool jinja_call(jinja_rt *rt, jinja_value callee, const jinja_args *args, jinja_value *out) {
    switch ((jinja_type)callee.type) {
    case JINJA_UNDEFINED:
        return jinja_fail_undefined(rt, callee);
    case JINJA_FUNCTION:
        return jinja_call_builtin(rt, callee.as.function, jinja_none(), args, out);
    case JINJA_METHOD:
        return jinja_call_builtin(rt, callee.as.method->builtin, callee.as.method->self, args, out);
    case JINJA_MACRO:
        return jinja_call_macro(rt, callee.as.macro, args, out);
    case JINJA_LOOP:
        return jinja_call_loop(rt, callee.as.loop, args, out);
    case JINJA_JOINER:
        if (args->n || args->n_kw) return jinja_fail(rt, MOSA_EINVALID, "a joiner takes no arguments");
        if (!callee.as.joiner->used) {
            callee.as.joiner->used = true;
            return jinja_text_value(rt, "", out);
        }
        *out = callee.as.joiner->separator;
        return true;
    default:
        return jinja_fail(rt, MOSA_EINVALID, "'%s' object is not callable", jinja_type_name(callee));
    }
}
