// for loops and the `loop` object: lazy over iterators, with a look-ahead of one item, recursive on request.
#include "text/jinja_runtime.h"

// The next item that passes the loop's own `if`. 1, 0 at the end, -1 on error.
static int pull(jinja_rt *rt, jinja_loop *loop, jinja_value *out) {
    for (;;) {
        int got = jinja_next(rt, &loop->iter, out);
        if (got <= 0 || !loop->test) return got;
        jinja_frame *saved = rt->frame;
        jinja_value test;
        bool truth = false;
        rt->frame = jinja_push_frame(rt, loop->outer, NULL);
        bool ok = rt->frame && jinja_assign(rt, rt->frame, loop->node->as.loop.target, *out) &&
                  jinja_eval(rt, loop->test, &test) && jinja_truth(rt, test, &truth);
        rt->frame = saved;
        if (!ok) return -1;
        if (truth) return 1;
    }
}

static int peek(jinja_rt *rt, jinja_loop *loop) {
    if (loop->after.type != JINJA_MISSING) return 1;
    int got = pull(rt, loop, &loop->after);
    if (got <= 0) loop->after = (jinja_value){.type = JINJA_MISSING};
    return got;
}

bool jinja_loop_length(jinja_rt *rt, jinja_loop *loop, size_t *out) {
    if (!loop->has_length && !loop->test && jinja_has_length(loop->iterable)) {
        if (!jinja_length(rt, loop->iterable, &loop->length)) return false;
    } else if (!loop->has_length) {
        jinja_vec rest = {0};
        jinja_value item, list;
        int got;
        while ((got = pull(rt, loop, &item)) > 0)
            if (!jinja_vec_push(rt, &rest, item)) return false;
        if (got < 0 || !jinja_vec_list(rt, &rest, JINJA_LIST, &list)) return false;
        loop->iter = (jinja_iter){.source = list};
        loop->test = NULL;
        loop->length = rest.n + loop->index0 + 1 + (loop->after.type != JINJA_MISSING);
    }
    loop->has_length = true;
    *out = loop->length;
    return true;
}

static bool neighbour(jinja_rt *rt, jinja_loop *loop, bool next, jinja_value *out) {
    if (!next) {
        *out = loop->before;
        if (loop->index0 > 0) return true;
        return jinja_undefined_value(rt, "there is no previous item", jinja_none(), NULL, out);
    }
    int got = peek(rt, loop);
    if (got < 0) return false;
    *out = loop->after;
    return got > 0 || jinja_undefined_value(rt, "there is no next item", jinja_none(), NULL, out);
}

bool jinja_loop_attribute(jinja_rt *rt, jinja_loop *loop, const jinja_str *name, jinja_value *out) {
    size_t length;
    if (jinja_str_is(name, "index"))
        *out = jinja_int((int64_t)loop->index0 + 1);
    else if (jinja_str_is(name, "index0"))
        *out = jinja_int((int64_t)loop->index0);
    else if (jinja_str_is(name, "first"))
        *out = jinja_bool(loop->index0 == 0);
    else if (jinja_str_is(name, "depth"))
        *out = jinja_int((int64_t)loop->depth0 + 1);
    else if (jinja_str_is(name, "depth0"))
        *out = jinja_int((int64_t)loop->depth0);
    else if (jinja_str_is(name, "previtem"))
        return neighbour(rt, loop, false, out);
    else if (jinja_str_is(name, "nextitem"))
        return neighbour(rt, loop, true, out);
    else if (jinja_str_is(name, "last")) {
        int got = peek(rt, loop);
        *out = jinja_bool(got == 0);
        return got >= 0;
    } else if (jinja_str_is(name, "length") || jinja_str_is(name, "revindex") || jinja_str_is(name, "revindex0")) {
        if (!jinja_loop_length(rt, loop, &length)) return false;
        size_t passed = name->len == 6 ? 0 : name->len == 8 ? loop->index0 : loop->index0 + 1;
        *out = jinja_int((int64_t)length - (int64_t)passed);
    }
    return true;
}

static int advance(jinja_rt *rt, jinja_loop *loop, bool first) {
    jinja_value item;
    int got = 1;
    if (loop->after.type != JINJA_MISSING) {
        item = loop->after;
        loop->after = (jinja_value){.type = JINJA_MISSING};
    } else {
        got = pull(rt, loop, &item);
    }
    if (got <= 0) return got;
    if (!first) loop->index0++;
    loop->before = loop->current;
    loop->current = item;
    return 1;
}

// One pass over the items. *completed: some pass through the body reached its end.
static jinja_flow iterate(jinja_rt *rt, jinja_loop *loop, bool *completed) {
    const jinja_node *node = loop->node;
    jinja_value self = {.type = JINJA_LOOP, .as.loop = loop};
    jinja_frame *frame = NULL;
    int got;
    for (bool first = true; (got = advance(rt, loop, first)) > 0; first = false) {
        if (!frame || frame->captured) frame = jinja_push_frame(rt, loop->outer, NULL);
        if (!frame) return FLOW_ERROR;
        frame->n = 0;
        if (!jinja_hide_names(rt, frame, &node->as.loop.body.scope) ||
            !jinja_bind(rt, frame, rt->tmpl->slot_loop, self) ||
            !jinja_assign(rt, frame, node->as.loop.target, loop->current))
            return FLOW_ERROR;
        rt->frame = frame;
        jinja_flow flow = jinja_exec(rt, &node->as.loop.body);
        rt->frame = loop->outer;
        if (flow == FLOW_ERROR) return FLOW_ERROR;
        if (flow == FLOW_BREAK) return FLOW_NEXT;
        if (flow == FLOW_NEXT) *completed = true;
    }
    return got < 0 ? FLOW_ERROR : FLOW_NEXT;
}

static jinja_flow run(jinja_rt *rt, const jinja_node *node, jinja_frame *outer, jinja_value iterable, size_t depth0) {
    jinja_loop *loop = JINJA_NEW(rt, jinja_loop);
    if (!loop) return FLOW_ERROR;
    *loop =
        (jinja_loop){.node = node, .outer = outer, .iterable = iterable, .test = node->as.loop.test, .depth0 = depth0};
    if (!jinja_iterate(rt, iterable, &loop->iter)) return FLOW_ERROR;
    jinja_frame *saved = rt->frame;
    bool completed = false;
    rt->frame = outer;
    jinja_flow flow = iterate(rt, loop, &completed);
    // As in jinja2, else runs unless some pass reached the end of the body.
    if (flow == FLOW_NEXT && !completed && node->as.loop.otherwise.n) {
        rt->frame = jinja_push_frame(rt, outer, &node->as.loop.otherwise.scope);
        flow = rt->frame ? jinja_exec(rt, &node->as.loop.otherwise) : FLOW_ERROR;
    }
    rt->frame = saved;
    return flow;
}

jinja_flow jinja_exec_for(jinja_rt *rt, const jinja_node *node) {
    jinja_value iterable;
    if (!jinja_eval(rt, node->as.loop.iterable, &iterable)) return FLOW_ERROR;
    return run(rt, node, rt->frame, iterable, 0);
}

bool jinja_call_loop(jinja_rt *rt, jinja_loop *loop, const jinja_args *args, jinja_value *out) {
    if (args->n != 1 || args->n_kw) return jinja_fail(rt, MOSA_EINVALID, "loop() takes one iterable");
    if (!loop->node->as.loop.recursive)
        return jinja_fail(rt, MOSA_EINVALID, "the loop must have the 'recursive' marker to be called recursively");
    if (!jinja_enter(rt)) return false;
    jinja_builder b, *saved = rt->out;
    jinja_builder_init(&b, rt);
    rt->out = &b;
    jinja_flow flow = run(rt, loop->node, loop->outer, args->pos[0], loop->depth0 + 1);
    rt->out = saved;
    rt->depth--;
    return flow == FLOW_NEXT && jinja_build(&b, out);
}
