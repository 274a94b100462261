// Statements: they write to rt->out and bind names in rt->frame.
//
// Scopes are a chain of frames, looked up by slot from the innermost. for, macro, call, filter, set block, with and
// block have frames of their own, if has none: what jinja2's compiler decides ahead of time holds here by construction.
#include "text/jinja_runtime.h"

#include <string.h>

jinja_frame *jinja_push_frame(jinja_rt *rt, jinja_frame *parent, const jinja_scope *scope) {
    jinja_frame *frame = JINJA_NEW(rt, jinja_frame);
    if (!frame) return NULL;
    frame->parent = parent;
    return !scope || jinja_hide_names(rt, frame, scope) ? frame : NULL;
}

bool jinja_hide_names(jinja_rt *rt, jinja_frame *frame, const jinja_scope *scope) {
    for (size_t i = 0; i < scope->n; i++)
        if (!jinja_bind(rt, frame, scope->hidden[i], (jinja_value){.type = JINJA_MISSING})) return false;
    return true;
}

bool jinja_bind(jinja_rt *rt, jinja_frame *frame, unsigned slot, jinja_value value) {
    for (size_t i = 0; i < frame->n; i++) {
        if (frame->bindings[i].slot != slot) continue;
        frame->bindings[i].value = value;
        return true;
    }
    if (frame->n == frame->capacity) {
        size_t capacity = frame->capacity ? frame->capacity * 2 : 8;
        jinja_binding *bindings = JINJA_ARRAY(rt, jinja_binding, capacity);
        if (!bindings) return false;
        if (frame->n) memcpy(bindings, frame->bindings, frame->n * sizeof *bindings);
        frame->bindings = bindings;
        frame->capacity = capacity;
    }
    frame->bindings[frame->n++] = (jinja_binding){slot, value};
    return true;
}

static bool assign_namespace(jinja_rt *rt, const jinja_node *target, jinja_value value) {
    jinja_value object;
    const jinja_str *name = target->as.attribute.name;
    if (!jinja_eval(rt, target->as.attribute.object, &object)) return false;
    if (object.type != JINJA_NAMESPACE)
        return jinja_fail(rt, MOSA_EINVALID, "cannot assign attribute on non-namespace object");
    if (name->len && name->data[0] == '_')
        return jinja_fail(rt, MOSA_EINVALID,
                          "chat templates cannot store underscore-prefixed attributes on a namespace");
    return jinja_dict_set(rt, object.as.dict, jinja_of_str(name), value);
}

static bool assign_tuple(jinja_rt *rt, jinja_frame *frame, const jinja_nodes *targets, jinja_value value) {
    jinja_iter it;
    jinja_value item;
    if (!jinja_iterate(rt, value, &it)) return false;
    jinja_value *items = JINJA_ARRAY(rt, jinja_value, targets->n);
    if (!items) return false;
    for (size_t i = 0; i < targets->n; i++) {
        int got = jinja_next(rt, &it, &items[i]);
        if (got < 0) return false;
        if (got == 0)
            return jinja_fail(rt, MOSA_EINVALID, "not enough values to unpack (expected %zu, got %zu)", targets->n, i);
    }
    int extra = jinja_next(rt, &it, &item);
    if (extra > 0) return jinja_fail(rt, MOSA_EINVALID, "too many values to unpack (expected %zu)", targets->n);
    for (size_t i = 0; i < targets->n && extra == 0; i++)
        if (!jinja_assign(rt, frame, targets->items[i], items[i])) return false;
    return extra == 0;
}

bool jinja_assign(jinja_rt *rt, jinja_frame *frame, const jinja_node *target, jinja_value value) {
    if (target->kind == NODE_NAME) return jinja_bind(rt, frame, target->as.name.slot, value);
    if (target->kind == NODE_NAMESPACE_REF) return assign_namespace(rt, target, value);
    return assign_tuple(rt, frame, &target->as.list, value);
}

// Runs the body in a new frame on top of the current one.
static jinja_flow exec_scope(jinja_rt *rt, const jinja_nodes *body) {
    jinja_frame *saved = rt->frame;
    rt->frame = jinja_push_frame(rt, saved, &body->scope);
    jinja_flow flow = rt->frame ? jinja_exec(rt, body) : FLOW_ERROR;
    rt->frame = saved;
    return flow;
}

jinja_flow jinja_capture(jinja_rt *rt, const jinja_nodes *body, jinja_value *out) {
    jinja_builder b, *saved = rt->out;
    jinja_builder_init(&b, rt);
    rt->out = &b;
    jinja_flow flow = jinja_exec(rt, body);
    rt->out = saved;
    if (flow == FLOW_NEXT && !jinja_build(&b, out)) return FLOW_ERROR;
    return flow;
}

static jinja_flow capture_scope(jinja_rt *rt, const jinja_nodes *body, jinja_value *out) {
    jinja_frame *saved = rt->frame;
    rt->frame = jinja_push_frame(rt, saved, &body->scope);
    jinja_flow flow = rt->frame ? jinja_capture(rt, body, out) : FLOW_ERROR;
    rt->frame = saved;
    return flow;
}

static bool exec_output(jinja_rt *rt, const jinja_node *node) {
    for (size_t i = 0; i < node->as.list.n; i++) {
        jinja_value value;
        if (!jinja_eval(rt, node->as.list.items[i], &value) || !jinja_write_str(rt->out, value)) return false;
    }
    return true;
}

static jinja_flow exec_if(jinja_rt *rt, const jinja_node *node) {
    for (size_t i = 0; i < node->as.branch.n; i++) {
        const jinja_branch *branch = &node->as.branch.branches[i];
        jinja_value test;
        bool truth = true;
        if (branch->test && (!jinja_eval(rt, branch->test, &test) || !jinja_truth(rt, test, &truth))) return FLOW_ERROR;
        if (truth) return jinja_exec(rt, &branch->body);
    }
    return FLOW_NEXT;
}

// jinja2 checks for namespaces before it evaluates the value.
static bool check_references(jinja_rt *rt, const jinja_node *target) {
    if (target->kind == NODE_TUPLE) {
        for (size_t i = 0; i < target->as.list.n; i++)
            if (!check_references(rt, target->as.list.items[i])) return false;
        return true;
    }
    jinja_value object;
    if (target->kind != NODE_NAMESPACE_REF) return true;
    if (!jinja_eval(rt, target->as.attribute.object, &object)) return false;
    return object.type == JINJA_NAMESPACE ||
           jinja_fail(rt, MOSA_EINVALID, "cannot assign attribute on non-namespace object");
}

static bool exec_set(jinja_rt *rt, const jinja_node *node) {
    jinja_value value;
    return check_references(rt, node->as.set.target) && jinja_eval(rt, node->as.set.value, &value) &&
           jinja_assign(rt, rt->frame, node->as.set.target, value);
}

static jinja_flow exec_set_block(jinja_rt *rt, const jinja_node *node) {
    jinja_value value;
    jinja_flow flow = capture_scope(rt, &node->as.set.body, &value);
    if (flow != FLOW_NEXT) return flow;
    if (node->as.set.value && !jinja_eval_filter(rt, node->as.set.value, value, &value)) return FLOW_ERROR;
    return jinja_assign(rt, rt->frame, node->as.set.target, value) ? FLOW_NEXT : FLOW_ERROR;
}

static jinja_flow exec_filter_block(jinja_rt *rt, const jinja_node *node) {
    jinja_value value;
    jinja_flow flow = capture_scope(rt, &node->as.block_filter.body, &value);
    if (flow != FLOW_NEXT) return flow;
    bool ok = jinja_eval_filter(rt, node->as.block_filter.filter, value, &value) && jinja_write_str(rt->out, value);
    return ok ? FLOW_NEXT : FLOW_ERROR;
}

static jinja_flow exec_with(jinja_rt *rt, const jinja_node *node) {
    jinja_frame *saved = rt->frame, *frame = jinja_push_frame(rt, saved, &node->as.with.body.scope);
    if (!frame) return FLOW_ERROR;
    for (size_t i = 0; i < node->as.with.targets.n; i++) {
        jinja_value value;
        if (!jinja_eval(rt, node->as.with.values.items[i], &value) ||
            !jinja_assign(rt, frame, node->as.with.targets.items[i], value))
            return FLOW_ERROR;
    }
    rt->frame = frame;
    jinja_flow flow = jinja_exec(rt, &node->as.with.body);
    rt->frame = saved;
    return flow;
}

// A block sees the top level only, unless it is scoped.
static jinja_flow exec_block(jinja_rt *rt, const jinja_node *node) {
    jinja_frame *saved = rt->frame;
    if (!node->as.block.scoped) rt->frame = rt->root_frame;
    jinja_flow flow = exec_scope(rt, &node->as.block.body);
    rt->frame = saved;
    return flow;
}

static jinja_flow exec_generation(jinja_rt *rt, const jinja_node *node) {
    jinja_value value;
    jinja_flow flow = capture_scope(rt, &node->as.block.body, &value);
    if (flow != FLOW_NEXT) return flow;
    if (!jinja_str_mark(rt, value.as.str, JINJA_GENERATED, &value)) return FLOW_ERROR;
    return jinja_write_str(rt->out, value) ? FLOW_NEXT : FLOW_ERROR;
}

static bool new_macro(jinja_rt *rt, const jinja_signature *signature, jinja_value *out) {
    jinja_macro *macro = JINJA_NEW(rt, jinja_macro);
    if (!macro) return false;
    *macro = (jinja_macro){signature, rt->frame};
    for (jinja_frame *f = rt->frame; f && !f->captured; f = f->parent) f->captured = true;
    *out = (jinja_value){.type = JINJA_MACRO, .as.macro = macro};
    return true;
}

static bool exec_macro(jinja_rt *rt, const jinja_node *node) {
    jinja_value macro;
    return new_macro(rt, node->as.macro.signature, &macro) && jinja_bind(rt, rt->frame, node->as.macro.slot, macro);
}

static bool exec_call_block(jinja_rt *rt, const jinja_node *node) {
    jinja_value callee, result;
    jinja_kwarg caller = {.name = rt->tmpl->names.items[rt->tmpl->slot_caller]};
    jinja_args args;
    const jinja_node *call = node->as.macro.call;
    return new_macro(rt, node->as.macro.signature, &caller.value) && jinja_eval(rt, call->as.call.callee, &callee) &&
           jinja_eval_args(rt, &call->as.call.args, &caller, &args) && jinja_call(rt, callee, &args, &result) &&
           jinja_write_str(rt->out, result);
}

static jinja_flow exec_node(jinja_rt *rt, const jinja_node *node) {
    bool ok;
    switch (node->kind) {
    case NODE_OUTPUT:
        ok = exec_output(rt, node);
        break;
    case NODE_IF:
        return exec_if(rt, node);
    case NODE_FOR:
        return jinja_exec_for(rt, node);
    case NODE_SET:
        ok = exec_set(rt, node);
        break;
    case NODE_SET_BLOCK:
        return exec_set_block(rt, node);
    case NODE_MACRO:
        ok = exec_macro(rt, node);
        break;
    case NODE_CALL_BLOCK:
        ok = exec_call_block(rt, node);
        break;
    case NODE_FILTER_BLOCK:
        return exec_filter_block(rt, node);
    case NODE_WITH:
        return exec_with(rt, node);
    case NODE_BLOCK:
        return exec_block(rt, node);
    case NODE_GENERATION:
        return exec_generation(rt, node);
    case NODE_BREAK:
        return FLOW_BREAK;
    case NODE_CONTINUE:
        return FLOW_CONTINUE;
    default:
        ok = jinja_fail(rt, MOSA_EINTERNAL, "an expression where a statement belongs");
        break;
    }
    return ok ? FLOW_NEXT : FLOW_ERROR;
}

jinja_flow jinja_exec(jinja_rt *rt, const jinja_nodes *body) {
    if (!jinja_enter(rt)) return FLOW_ERROR;
    jinja_flow flow = FLOW_NEXT;
    for (size_t i = 0; i < body->n && flow == FLOW_NEXT; i++) {
        rt->line = body->items[i]->line;
        flow = jinja_charge(rt, 1) ? exec_node(rt, body->items[i]) : FLOW_ERROR;
    }
    rt->depth--;
    return flow;
}
