// Expressions to values.
#include "text/jinja_runtime.h"

static bool eval_name(jinja_rt *rt, const jinja_node *node, jinja_value *out) {
    unsigned slot = node->as.name.slot;
    for (const jinja_frame *frame = rt->frame; frame; frame = frame->parent)
        for (size_t i = frame->n; i-- > 0;) {
            if (frame->bindings[i].slot != slot) continue;
            *out = frame->bindings[i].value;
            if (out->type != JINJA_MISSING) return true;
            return jinja_undefined_value(rt, NULL, *out, node->as.name.text, out);
        }
    *out = rt->globals[slot];
    return out->type != JINJA_MISSING || jinja_undefined_value(rt, NULL, *out, node->as.name.text, out);
}

static bool eval_items(jinja_rt *rt, const jinja_nodes *nodes, jinja_vec *out) {
    *out = (jinja_vec){0};
    for (size_t i = 0; i < nodes->n; i++) {
        jinja_value item;
        if (!jinja_eval(rt, nodes->items[i], &item) || !jinja_vec_push(rt, out, item)) return false;
    }
    return true;
}

static bool eval_list(jinja_rt *rt, const jinja_node *node, jinja_value *out) {
    jinja_vec items;
    return eval_items(rt, &node->as.list, &items) &&
           jinja_vec_list(rt, &items, node->kind == NODE_LIST ? JINJA_LIST : JINJA_TUPLE, out);
}

static bool eval_dict(jinja_rt *rt, const jinja_node *node, jinja_value *out) {
    const jinja_nodes *nodes = &node->as.list;
    if (!jinja_new_dict(rt, out)) return false;
    for (size_t i = 0; i < nodes->n; i += 2) {
        jinja_value key, value;
        if (!jinja_eval(rt, nodes->items[i], &key) || !jinja_eval(rt, nodes->items[i + 1], &value) ||
            !jinja_dict_set(rt, out->as.dict, key, value))
            return false;
    }
    return true;
}

static bool eval_logic(jinja_rt *rt, const jinja_node *node, jinja_value *out) {
    bool truth;
    if (!jinja_eval(rt, node->as.binary.left, out) || !jinja_truth(rt, *out, &truth)) return false;
    if (truth == (node->kind == NODE_OR)) return true;
    return jinja_eval(rt, node->as.binary.right, out);
}

static bool eval_compare(jinja_rt *rt, const jinja_node *node, jinja_value *out) {
    jinja_value left, right;
    bool result = true;
    if (!jinja_eval(rt, node->as.compare.left, &left)) return false;
    for (size_t i = 0; i < node->as.compare.n && result; i++) {
        const jinja_operand *operand = &node->as.compare.rest[i];
        if (!jinja_eval(rt, operand->right, &right) || !jinja_compare(rt, operand->op, left, right, &result))
            return false;
        left = right;
    }
    *out = jinja_bool(result);
    return true;
}

static bool eval_concat(jinja_rt *rt, const jinja_node *node, jinja_value *out) {
    jinja_vec parts;
    jinja_builder b;
    if (!eval_items(rt, &node->as.list, &parts)) return false;
    jinja_builder_init(&b, rt);
    for (size_t i = 0; i < parts.n; i++)
        if (!jinja_write_str(&b, parts.items[i])) return false;
    return jinja_build(&b, out);
}

static bool eval_slice(jinja_rt *rt, const jinja_node *node, jinja_value *out) {
    jinja_value object, bounds[3];
    const jinja_node *parts[3] = {node->as.slice.start, node->as.slice.stop, node->as.slice.step};
    if (!jinja_eval(rt, node->as.slice.object, &object)) return false;
    for (int i = 0; i < 3; i++) {
        bounds[i] = (jinja_value){.type = JINJA_MISSING};
        if (parts[i] && !jinja_eval(rt, parts[i], &bounds[i])) return false;
    }
    return jinja_slice(rt, object, bounds[0], bounds[1], bounds[2], out);
}

static bool star_kwargs(jinja_rt *rt, jinja_value source, jinja_kwarg *out, size_t *n) {
    if (source.type != JINJA_DICT)
        return jinja_fail(rt, MOSA_EINVALID, "argument after ** must be a mapping, not %s", jinja_type_name(source));
    for (size_t i = 0; i < source.as.dict->n; i++) {
        const jinja_pair *pair = &source.as.dict->items[i];
        if (pair->key.type != JINJA_STR) return jinja_fail(rt, MOSA_EINVALID, "keywords must be strings");
        for (size_t k = 0; k < *n; k++)
            if (mosa_slice_eq(jinja_slice_of(out[k].name), jinja_slice_of(pair->key.as.str)))
                return jinja_fail(rt, MOSA_EINVALID, "got multiple values for keyword argument");
        out[(*n)++] = (jinja_kwarg){pair->key.as.str, pair->value};
    }
    return true;
}

bool jinja_eval_args(jinja_rt *rt, const jinja_arguments *args, const jinja_kwarg *extra, jinja_args *out) {
    jinja_vec positional;
    jinja_value star, star_star = {.type = JINJA_MISSING};
    if (!eval_items(rt, &args->positional, &positional)) return false;
    if (args->star) {
        jinja_vec more;
        if (!jinja_eval(rt, args->star, &star) || !jinja_collect(rt, star, &more)) return false;
        for (size_t i = 0; i < more.n; i++)
            if (!jinja_vec_push(rt, &positional, more.items[i])) return false;
    }
    *out = (jinja_args){.pos = positional.items, .n = positional.n};
    size_t most = args->n_keywords + (extra ? 1 : 0);
    if (most == 0 && !args->star_star) return true;
    jinja_kwarg *kw = JINJA_ARRAY(rt, jinja_kwarg, most);
    if (!kw) return false;
    size_t n = 0;
    for (size_t i = 0; i < args->n_keywords; i++, n++) {
        kw[n].name = args->keywords[i].name;
        if (!jinja_eval(rt, args->keywords[i].value, &kw[n].value)) return false;
    }
    if (extra) kw[n++] = *extra;
    if (args->star_star) {
        if (!jinja_eval(rt, args->star_star, &star_star)) return false;
        size_t members = star_star.type == JINJA_DICT ? star_star.as.dict->n : 0;
        jinja_kwarg *all = JINJA_ARRAY(rt, jinja_kwarg, n + members);
        if (!all) return false;
        if (n) memcpy(all, kw, n * sizeof *all);
        kw = all;
        if (!star_kwargs(rt, star_star, kw, &n)) return false;
    }
    out->kw = kw;
    out->n_kw = n;
    return true;
}

static bool eval_call(jinja_rt *rt, const jinja_node *node, jinja_value *out) {
    jinja_value callee;
    jinja_args args;
    if (!jinja_eval(rt, node->as.call.callee, &callee)) return false;
    if (!jinja_eval_args(rt, &node->as.call.args, NULL, &args)) return false;
    rt->line = node->line;
    return jinja_call(rt, callee, &args, out);
}

bool jinja_eval_filter(jinja_rt *rt, const jinja_node *node, jinja_value captured, jinja_value *out) {
    const char *what = node->kind == NODE_TEST ? "test" : "filter";
    if (!node->as.filter.builtin)
        return jinja_fail(rt, MOSA_EINVALID, "no %s named '%.*s'", what,
                          (int)(node->as.filter.name->len < 80 ? node->as.filter.name->len : 80),
                          node->as.filter.name->data);
    const jinja_node *operand = node->as.filter.operand;
    jinja_value value = captured;
    jinja_args args;
    if (operand && operand->kind == NODE_FILTER) {
        if (!jinja_enter(rt) || !jinja_eval_filter(rt, operand, captured, &value)) return false;
        rt->depth--;
    } else if (operand && !jinja_eval(rt, operand, &value)) {
        return false;
    }
    if (!jinja_eval_args(rt, &node->as.filter.args, NULL, &args)) return false;
    rt->line = node->line;
    return jinja_call_builtin(rt, node->as.filter.builtin, value, &args, out);
}

static bool eval_conditional(jinja_rt *rt, const jinja_node *node, jinja_value *out) {
    jinja_value test;
    bool truth;
    if (!jinja_eval(rt, node->as.conditional.test, &test) || !jinja_truth(rt, test, &truth)) return false;
    if (truth) return jinja_eval(rt, node->as.conditional.then, out);
    if (node->as.conditional.otherwise) return jinja_eval(rt, node->as.conditional.otherwise, out);
    return jinja_undefined_value(rt, "the inline if-expression evaluated to false and no else section was defined.",
                                 jinja_none(), NULL, out);
}

static bool eval_node(jinja_rt *rt, const jinja_node *node, jinja_value *out) {
    jinja_value a, b;
    bool truth;
    switch (node->kind) {
    case NODE_CONST:
        *out = node->as.constant;
        return true;
    case NODE_NAME:
        return eval_name(rt, node, out);
    case NODE_LIST:
    case NODE_TUPLE:
        return eval_list(rt, node, out);
    case NODE_DICT:
        return eval_dict(rt, node, out);
    case NODE_AND:
    case NODE_OR:
        return eval_logic(rt, node, out);
    case NODE_BINARY:
        return jinja_eval(rt, node->as.binary.left, &a) && jinja_eval(rt, node->as.binary.right, &b) &&
               jinja_binary(rt, node->as.binary.op, a, b, out);
    case NODE_NOT:
        if (!jinja_eval(rt, node->as.operand, &a) || !jinja_truth(rt, a, &truth)) return false;
        *out = jinja_bool(!truth);
        return true;
    case NODE_NEGATE:
    case NODE_PLUS:
        return jinja_eval(rt, node->as.operand, &a) && jinja_negate(rt, a, node->kind == NODE_NEGATE, out);
    case NODE_COMPARE:
        return eval_compare(rt, node, out);
    case NODE_CONCAT:
        return eval_concat(rt, node, out);
    case NODE_GETATTR:
        return jinja_eval(rt, node->as.attribute.object, &a) && jinja_getattr(rt, a, node->as.attribute.name, out);
    case NODE_GETITEM:
        return jinja_eval(rt, node->as.item.object, &a) && jinja_eval(rt, node->as.item.key, &b) &&
               jinja_getitem(rt, a, b, out);
    case NODE_SLICE:
        return eval_slice(rt, node, out);
    case NODE_CALL:
        return eval_call(rt, node, out);
    case NODE_FILTER:
    case NODE_TEST:
        return jinja_eval_filter(rt, node, jinja_none(), out);
    case NODE_CONDITIONAL:
        return eval_conditional(rt, node, out);
    default:
        return jinja_fail(rt, MOSA_EINTERNAL, "a statement where an expression belongs");
    }
}

bool jinja_eval(jinja_rt *rt, const jinja_node *node, jinja_value *out) {
    if (!jinja_enter(rt) || !jinja_charge(rt, 1)) return false;
    rt->line = node->line;
    bool ok = eval_node(rt, node, out);
    rt->depth--;
    return ok;
}
