// The expression half of the parser: recursive descent in jinja2's order of precedence, from the inline if down to
// literals, with its peculiarities (filters bind tighter than operators, `is` takes a bare argument).
#include "text/jinja_parser.h"
#include "text/jinja_runtime.h"

bool parse_name_node(parser *p, bool load, const jinja_node **out) {
    unsigned line = p->token->line;
    const jinja_str *name;
    if (!parser_expect_name(p, &name)) return false;
    jinja_node *node = parser_node(p, NODE_NAME, line);
    bool ok = node != NULL;
    if (!ok) return false;
    node->as.name.text = name;
    node->as.name.slot = parser_slot(p, name, &ok);
    for (parser_macro *m = load ? p->macro : NULL; m; m = m->outer) {
        m->caller |= jinja_str_is(name, "caller");
        m->kwargs |= jinja_str_is(name, "kwargs");
        m->varargs |= jinja_str_is(name, "varargs");
    }
    if (ok) *out = node;
    return ok;
}

static bool parse_constant(parser *p, jinja_value value, const jinja_node **out) {
    jinja_node *node = parser_node(p, NODE_CONST, p->token->line);
    if (!node) return false;
    node->as.constant = value;
    p->token++;
    *out = node;
    return true;
}

static bool parse_word(parser *p, bool with_namespace, const jinja_node **out) {
    if (parser_is_name(p, "true") || parser_is_name(p, "True")) return parse_constant(p, jinja_bool(true), out);
    if (parser_is_name(p, "false") || parser_is_name(p, "False")) return parse_constant(p, jinja_bool(false), out);
    if (parser_is_name(p, "none") || parser_is_name(p, "None")) return parse_constant(p, jinja_none(), out);
    bool reference = with_namespace && p->token[1].type == TOKEN_DOT;
    if (!parse_name_node(p, true, out) || !reference) return *out != NULL;
    const jinja_node *object = *out;
    p->token++;
    jinja_node *node = parser_node(p, NODE_NAMESPACE_REF, object->line);
    if (!node || !parser_expect_name(p, &node->as.attribute.name)) return false;
    node->as.attribute.object = object;
    node->as.attribute.slot = object->as.name.slot;
    *out = node;
    return true;
}

// Adjacent string literals are one.
static bool parse_strings(parser *p, const jinja_node **out) {
    if (p->token[1].type != TOKEN_STRING) return parse_constant(p, p->token->value, out);
    size_t len = 0;
    const jinja_token *first = p->token, *last = first;
    for (; last->type == TOKEN_STRING; last++) len += last->value.as.str->len;
    char *joined = mosa_arena_alloc(&p->tmpl->arena, len + 1);
    if (!joined) return parser_no_memory(p);
    size_t n = 0;
    for (const jinja_token *t = first; t < last; t++) {
        memcpy(joined + n, t->value.as.str->data, t->value.as.str->len);
        n += t->value.as.str->len;
    }
    const jinja_str *text = jinja_constant_str(&p->tmpl->arena, joined, len);
    if (!text) return parser_no_memory(p);
    p->token = last - 1;
    return parse_constant(p, jinja_of_str(text), out);
}

static bool parse_list(parser *p, const jinja_node **out) {
    jinja_node *node = parser_node(p, NODE_LIST, p->token->line);
    if (!node) return false;
    node_vec items = {0};
    p->token++;
    while (p->token->type != TOKEN_RBRACKET) {
        if (items.n && !parser_expect(p, TOKEN_COMMA)) return false;
        if (p->token->type == TOKEN_RBRACKET) break;
        const jinja_node *item;
        if (!parse_expression(p, true, &item) || !node_vec_push(p, &items, item)) return false;
    }
    p->token++;
    node->as.list = node_vec_done(&items);
    *out = node;
    return true;
}

static bool parse_dict(parser *p, const jinja_node **out) {
    jinja_node *node = parser_node(p, NODE_DICT, p->token->line);
    if (!node) return false;
    node_vec items = {0};
    p->token++;
    while (p->token->type != TOKEN_RBRACE) {
        if (items.n && !parser_expect(p, TOKEN_COMMA)) return false;
        if (p->token->type == TOKEN_RBRACE) break;
        const jinja_node *key, *value;
        if (!parse_expression(p, true, &key) || !parser_expect(p, TOKEN_COLON) || !parse_expression(p, true, &value) ||
            !node_vec_push(p, &items, key) || !node_vec_push(p, &items, value))
            return false;
    }
    p->token++;
    node->as.list = node_vec_done(&items);
    *out = node;
    return true;
}

static bool parse_primary(parser *p, bool with_namespace, const jinja_node **out) {
    *out = NULL;
    switch (p->token->type) {
    case TOKEN_NAME:
        return parse_word(p, with_namespace, out);
    case TOKEN_STRING:
        return parse_strings(p, out);
    case TOKEN_INTEGER:
    case TOKEN_FLOAT:
        return parse_constant(p, p->token->value, out);
    case TOKEN_LBRACKET:
        return parse_list(p, out);
    case TOKEN_LBRACE:
        return parse_dict(p, out);
    case TOKEN_LPAREN:
        p->token++;
        return parse_tuple(p, true, NULL, true, out) && parser_expect(p, TOKEN_RPAREN);
    default:
        return parser_fail(p, "unexpected '%s'", jinja_token_text(p->token->type));
    }
}

static bool tuple_ends(const parser *p, const char *end_word) {
    jinja_token_type type = p->token->type;
    if (type == TOKEN_VARIABLE_END || type == TOKEN_BLOCK_END || type == TOKEN_RPAREN) return true;
    return end_word && parser_is_name(p, end_word);
}

// The items of a tuple without its brackets. simplified: assignment targets only.
static bool parse_tuple_of(parser *p, bool simplified, bool with_condition, const char *end_word, bool parenthesised,
                           bool with_namespace, const jinja_node **out) {
    unsigned line = p->token->line;
    node_vec items = {0};
    bool is_tuple = false;
    for (;;) {
        if (items.n && !parser_expect(p, TOKEN_COMMA)) return false;
        if (tuple_ends(p, end_word)) break;
        const jinja_node *item;
        bool ok = simplified ? parse_primary(p, with_namespace, &item) : parse_expression(p, with_condition, &item);
        if (!ok || !node_vec_push(p, &items, item)) return false;
        if (p->token->type != TOKEN_COMMA) break;
        is_tuple = true;
    }
    if (!is_tuple && items.n) {
        *out = items.items[0];
        return true;
    }
    if (!is_tuple && !parenthesised)
        return parser_fail(p, "expected an expression, got '%s'", jinja_token_text(p->token->type));
    jinja_node *node = parser_node(p, NODE_TUPLE, line);
    if (!node) return false;
    node->as.list = node_vec_done(&items);
    *out = node;
    return true;
}

bool parse_tuple(parser *p, bool with_condition, const char *end_word, bool parenthesised, const jinja_node **out) {
    if (!parser_enter(p)) return false;
    bool ok = parse_tuple_of(p, false, with_condition, end_word, parenthesised, false, out);
    p->depth--;
    return ok;
}

static bool check_target(parser *p, const jinja_node *target) {
    if (target->kind == NODE_NAME) {
        if (p->in_for && jinja_str_is(target->as.name.text, "loop"))
            return parser_fail(p, "can't assign to special loop variable in for-loop target");
        return true;
    }
    if (target->kind == NODE_NAMESPACE_REF) return true;
    if (target->kind != NODE_TUPLE) return parser_fail(p, "can't assign to this expression");
    for (size_t i = 0; i < target->as.list.n; i++)
        if (!check_target(p, target->as.list.items[i])) return false;
    return true;
}

bool parse_target(parser *p, const char *end_word, bool with_namespace, const jinja_node **out) {
    if (!parser_enter(p)) return false;
    bool ok = parse_tuple_of(p, true, true, end_word, false, with_namespace, out) && check_target(p, *out);
    p->depth--;
    return ok;
}

// One subscript between brackets; for a slice *start, *stop and *step (NULL = left out) and *is_slice.
static bool parse_subscript_part(parser *p, const jinja_node *parts[3], bool *is_slice) {
    parts[0] = parts[1] = parts[2] = NULL;
    *is_slice = true;
    if (p->token->type != TOKEN_COLON && !parse_expression(p, true, &parts[0])) return false;
    if (p->token->type != TOKEN_COLON) {
        *is_slice = false;
        return true;
    }
    for (int i = 1; i < 3 && p->token->type == TOKEN_COLON; i++) {
        p->token++;
        jinja_token_type next = p->token->type;
        if (next == TOKEN_COLON || next == TOKEN_RBRACKET || next == TOKEN_COMMA) continue;
        if (!parse_expression(p, true, &parts[i])) return false;
    }
    return true;
}

static bool parse_brackets(parser *p, const jinja_node *object, const jinja_node **out) {
    unsigned line = p->token->line;
    node_vec keys = {0};
    const jinja_node *parts[3] = {0};
    bool is_slice = false;
    p->token++;
    while (p->token->type != TOKEN_RBRACKET) {
        if (keys.n && !parser_expect(p, TOKEN_COMMA)) return false;
        if (is_slice) return parser_fail(p, "a slice cannot be one of several subscripts");
        if (!parse_subscript_part(p, parts, &is_slice) || !node_vec_push(p, &keys, parts[0])) return false;
        if (is_slice && keys.n > 1) return parser_fail(p, "a slice cannot be one of several subscripts");
    }
    p->token++;
    jinja_node *node = parser_node(p, is_slice ? NODE_SLICE : NODE_GETITEM, line);
    if (!node) return false;
    *out = node;
    if (is_slice) {
        node->as.slice.object = object;
        node->as.slice.start = parts[0];
        node->as.slice.stop = parts[1];
        node->as.slice.step = parts[2];
        return true;
    }
    node->as.item.object = object;
    node->as.item.key = parts[0];
    if (keys.n == 1) return true;
    jinja_node *tuple = parser_node(p, NODE_TUPLE, line);
    if (!tuple) return false;
    tuple->as.list = node_vec_done(&keys);
    node->as.item.key = tuple;
    return true;
}

static bool parse_subscript(parser *p, const jinja_node *object, const jinja_node **out) {
    if (p->token->type == TOKEN_LBRACKET) return parse_brackets(p, object, out);
    unsigned line = p->token->line;
    p->token++;
    if (p->token->type == TOKEN_NAME) {
        jinja_node *node = parser_node(p, NODE_GETATTR, line);
        if (!node) return false;
        node->as.attribute.object = object;
        node->as.attribute.name = p->token->value.as.str;
        p->token++;
        *out = node;
        return true;
    }
    if (p->token->type != TOKEN_INTEGER) return parser_fail(p, "expected name or number");
    jinja_node *node = parser_node(p, NODE_GETITEM, line);
    if (!node || !parse_constant(p, p->token->value, &node->as.item.key)) return false;
    node->as.item.object = object;
    *out = node;
    return true;
}

typedef struct keyword_vec {
    jinja_keyword *items;
    size_t n, capacity;
} keyword_vec;

static bool parse_keyword(parser *p, keyword_vec *vec) {
    if (vec->n == vec->capacity) {
        size_t capacity = vec->capacity ? vec->capacity * 2 : 4;
        jinja_keyword *grown = MOSA_ARENA_ARRAY(&p->tmpl->arena, jinja_keyword, capacity);
        if (!grown) return parser_no_memory(p);
        if (vec->n) memcpy(grown, vec->items, vec->n * sizeof *grown);
        vec->items = grown;
        vec->capacity = capacity;
    }
    const jinja_str *name = p->token->value.as.str;
    for (size_t i = 0; i < vec->n; i++)
        if (mosa_slice_eq(jinja_slice_of(vec->items[i].name), jinja_slice_of(name)))
            return parser_fail(p, "keyword argument '%.*s' repeated", (int)name->len, name->data);
    p->token += 2;
    const jinja_node *value;
    if (!parse_expression(p, true, &value)) return false;
    vec->items[vec->n++] = (jinja_keyword){name, value};
    return true;
}

static bool parse_argument(parser *p, jinja_arguments *out, node_vec *positional, keyword_vec *keywords) {
    const char *invalid = "invalid syntax for function call expression";
    if (p->token->type == TOKEN_MUL) {
        if (out->star || out->star_star) return parser_fail(p, "%s", invalid);
        p->token++;
        return parse_expression(p, true, &out->star);
    }
    if (p->token->type == TOKEN_POW) {
        if (out->star_star) return parser_fail(p, "%s", invalid);
        p->token++;
        return parse_expression(p, true, &out->star_star);
    }
    if (p->token->type == TOKEN_NAME && p->token[1].type == TOKEN_ASSIGN) {
        if (out->star_star) return parser_fail(p, "%s", invalid);
        return parse_keyword(p, keywords);
    }
    if (out->star || out->star_star || keywords->n) return parser_fail(p, "%s", invalid);
    const jinja_node *value;
    return parse_expression(p, true, &value) && node_vec_push(p, positional, value);
}

static bool parse_arguments(parser *p, jinja_arguments *out) {
    node_vec positional = {0};
    keyword_vec keywords = {0};
    *out = (jinja_arguments){0};
    p->token++;
    bool first = true;
    while (p->token->type != TOKEN_RPAREN) {
        if (!first && !parser_expect(p, TOKEN_COMMA)) return false;
        if (!first && p->token->type == TOKEN_RPAREN) break;
        first = false;
        if (!parse_argument(p, out, &positional, &keywords)) return false;
    }
    p->token++;
    out->positional = node_vec_done(&positional);
    out->keywords = keywords.items;
    out->n_keywords = keywords.n;
    return true;
}

static bool parse_call(parser *p, const jinja_node *callee, const jinja_node **out) {
    jinja_node *node = parser_node(p, NODE_CALL, p->token->line);
    if (!node || !parse_arguments(p, &node->as.call.args)) return false;
    node->as.call.callee = callee;
    *out = node;
    return true;
}

// A dotted name, as filters and tests may have.
static bool parse_dotted(parser *p, const jinja_str **out) {
    if (!parser_expect_name(p, out)) return false;
    while (p->token->type == TOKEN_DOT) {
        p->token++;
        const jinja_str *part;
        if (!parser_expect_name(p, &part)) return false;
        char *joined =
            mosa_arena_printf(&p->tmpl->arena, "%.*s.%.*s", (int)(*out)->len, (*out)->data, (int)part->len, part->data);
        *out = joined ? jinja_constant_str(&p->tmpl->arena, joined, strlen(joined)) : NULL;
        if (!*out) return parser_no_memory(p);
    }
    return true;
}

static void note_unknown(parser *p, const jinja_node *node, const char *what) {
    if (node->as.filter.builtin || p->soft || p->unknown.name) return;
    p->unknown = (parser_unknown){node->as.filter.name, node->line, what};
}

bool parse_filter(parser *p, const jinja_node *operand, bool inline_start, const jinja_node **out) {
    *out = operand;
    while (p->token->type == TOKEN_PIPE || inline_start) {
        if (!inline_start) p->token++;
        inline_start = false;
        jinja_node *node = parser_node(p, NODE_FILTER, p->token->line);
        if (!node || !parse_dotted(p, &node->as.filter.name)) return false;
        if (p->token->type == TOKEN_LPAREN && !parse_arguments(p, &node->as.filter.args)) return false;
        node->as.filter.operand = *out;
        node->as.filter.builtin = jinja_find_filter(jinja_slice_of(node->as.filter.name));
        note_unknown(p, node, "filter");
        *out = node;
    }
    return true;
}

static bool parse_postfix(parser *p, const jinja_node *node, const jinja_node **out) {
    for (;;) {
        if (p->token->type == TOKEN_DOT || p->token->type == TOKEN_LBRACKET) {
            if (!parse_subscript(p, node, &node)) return false;
        } else if (p->token->type == TOKEN_LPAREN) {
            if (!parse_call(p, node, &node)) return false;
        } else {
            *out = node;
            return true;
        }
    }
}

static bool starts_bare_argument(const parser *p) {
    switch (p->token->type) {
    case TOKEN_NAME:
        return !parser_is_name(p, "else") && !parser_is_name(p, "or") && !parser_is_name(p, "and");
    case TOKEN_STRING:
    case TOKEN_INTEGER:
    case TOKEN_FLOAT:
    case TOKEN_LBRACKET:
    case TOKEN_LBRACE:
        return true;
    default:
        return false;
    }
}

static bool parse_test(parser *p, const jinja_node *operand, const jinja_node **out) {
    unsigned line = p->token->line;
    p->token++;
    bool negated = parser_skip_name(p, "not");
    jinja_node *node = parser_node(p, NODE_TEST, line);
    if (!node || !parse_dotted(p, &node->as.filter.name)) return false;
    if (p->token->type == TOKEN_LPAREN) {
        if (!parse_arguments(p, &node->as.filter.args)) return false;
    } else if (starts_bare_argument(p)) {
        if (parser_is_name(p, "is")) return parser_fail(p, "you cannot chain multiple tests with is");
        node_vec positional = {0};
        const jinja_node *argument;
        if (!parse_primary(p, false, &argument) || !parse_postfix(p, argument, &argument) ||
            !node_vec_push(p, &positional, argument))
            return false;
        node->as.filter.args.positional = node_vec_done(&positional);
    }
    node->as.filter.operand = operand;
    node->as.filter.builtin = jinja_find_test(jinja_slice_of(node->as.filter.name));
    note_unknown(p, node, "test");
    *out = node;
    if (!negated) return true;
    jinja_node *inverse = parser_node(p, NODE_NOT, line);
    if (!inverse) return false;
    inverse->as.operand = node;
    *out = inverse;
    return true;
}

static bool parse_filters_and_tests(parser *p, const jinja_node *node, const jinja_node **out) {
    for (;;) {
        bool ok = true;
        if (p->token->type == TOKEN_PIPE)
            ok = parse_filter(p, node, false, &node);
        else if (parser_is_name(p, "is"))
            ok = parse_test(p, node, &node);
        else if (p->token->type == TOKEN_LPAREN)
            ok = parse_call(p, node, &node);
        else
            break;
        if (!ok) return false;
    }
    *out = node;
    return true;
}

static bool parse_unary(parser *p, bool with_filter, const jinja_node **out) {
    if (!parser_enter(p)) return false;
    jinja_token_type type = p->token->type;
    bool ok;
    if (type == TOKEN_SUB || type == TOKEN_ADD) {
        jinja_node *node = parser_node(p, type == TOKEN_SUB ? NODE_NEGATE : NODE_PLUS, p->token->line);
        p->token++;
        ok = node && parse_unary(p, false, &node->as.operand);
        *out = node;
    } else {
        ok = parse_primary(p, false, out);
    }
    ok = ok && parse_postfix(p, *out, out) && (!with_filter || parse_filters_and_tests(p, *out, out));
    p->depth--;
    return ok;
}

// The levels of left-associative binary operators, loosest first. Level 1, "~", is a node of its own.
enum { LEVEL_SUM, LEVEL_CONCAT, LEVEL_PRODUCT, LEVEL_POWER, LEVEL_UNARY };

static bool operator_of_level(jinja_token_type type, int level, jinja_operator *op) {
    static const struct {
        jinja_token_type type;
        int level;
        jinja_operator op;
    } table[] = {{TOKEN_ADD, LEVEL_SUM, OP_ADD},     {TOKEN_SUB, LEVEL_SUM, OP_SUB},
                 {TOKEN_MUL, LEVEL_PRODUCT, OP_MUL}, {TOKEN_DIV, LEVEL_PRODUCT, OP_DIV},
                 {TOKEN_MOD, LEVEL_PRODUCT, OP_MOD}, {TOKEN_FLOORDIV, LEVEL_PRODUCT, OP_FLOORDIV},
                 {TOKEN_POW, LEVEL_POWER, OP_POW}};
    for (size_t i = 0; i < MOSA_COUNT(table); i++) {
        if (table[i].type != type || table[i].level != level) continue;
        *op = table[i].op;
        return true;
    }
    return false;
}

static bool parse_level(parser *p, int level, const jinja_node **out);

static bool parse_concat(parser *p, const jinja_node **out) {
    unsigned line = p->token->line;
    if (!parse_level(p, LEVEL_PRODUCT, out)) return false;
    if (p->token->type != TOKEN_TILDE) return true;
    node_vec parts = {0};
    if (!node_vec_push(p, &parts, *out)) return false;
    while (p->token->type == TOKEN_TILDE) {
        p->token++;
        const jinja_node *part;
        if (!parse_level(p, LEVEL_PRODUCT, &part) || !node_vec_push(p, &parts, part)) return false;
    }
    jinja_node *node = parser_node(p, NODE_CONCAT, line);
    if (!node) return false;
    node->as.list = node_vec_done(&parts);
    *out = node;
    return true;
}

static bool parse_level(parser *p, int level, const jinja_node **out) {
    if (level == LEVEL_UNARY) return parse_unary(p, true, out);
    if (level == LEVEL_CONCAT) return parse_concat(p, out);
    unsigned line = p->token->line;
    if (!parse_level(p, level + 1, out)) return false;
    jinja_operator op;
    while (operator_of_level(p->token->type, level, &op)) {
        p->token++;
        jinja_node *node = parser_node(p, NODE_BINARY, line);
        if (!node) return false;
        node->as.binary.op = op;
        node->as.binary.left = *out;
        if (!parse_level(p, level + 1, &node->as.binary.right)) return false;
        *out = node;
        line = p->token->line;
    }
    return true;
}

static bool comparison_here(parser *p, jinja_operator *op) {
    switch (p->token->type) {
    case TOKEN_EQ:
        *op = OP_EQ;
        break;
    case TOKEN_NE:
        *op = OP_NE;
        break;
    case TOKEN_LT:
        *op = OP_LT;
        break;
    case TOKEN_LTEQ:
        *op = OP_LTEQ;
        break;
    case TOKEN_GT:
        *op = OP_GT;
        break;
    case TOKEN_GTEQ:
        *op = OP_GTEQ;
        break;
    case TOKEN_NAME:
        if (parser_skip_name(p, "in")) {
            *op = OP_IN;
            return true;
        }
        if (!parser_is_name(p, "not") || p->token[1].type != TOKEN_NAME ||
            !jinja_str_is(p->token[1].value.as.str, "in"))
            return false;
        p->token++;
        *op = OP_NOTIN;
        break;
    default:
        return false;
    }
    p->token++;
    return true;
}

static bool parse_compare(parser *p, const jinja_node **out) {
    unsigned line = p->token->line;
    if (!parse_level(p, LEVEL_SUM, out)) return false;
    jinja_operand *operands = NULL;
    size_t n = 0, capacity = 0;
    jinja_operator op;
    while (comparison_here(p, &op)) {
        if (n == capacity) {
            capacity = capacity ? capacity * 2 : 1;
            jinja_operand *grown = MOSA_ARENA_ARRAY(&p->tmpl->arena, jinja_operand, capacity);
            if (!grown) return parser_no_memory(p);
            if (n) memcpy(grown, operands, n * sizeof *grown);
            operands = grown;
        }
        operands[n].op = op;
        if (!parse_level(p, LEVEL_SUM, &operands[n++].right)) return false;
    }
    if (n == 0) return true;
    jinja_node *node = parser_node(p, NODE_COMPARE, line);
    if (!node) return false;
    node->as.compare.left = *out;
    node->as.compare.rest = operands;
    node->as.compare.n = n;
    *out = node;
    return true;
}

static bool parse_not(parser *p, const jinja_node **out) {
    if (!parser_is_name(p, "not")) return parse_compare(p, out);
    if (!parser_enter(p)) return false;
    jinja_node *node = parser_node(p, NODE_NOT, p->token->line);
    p->token++;
    bool ok = node && parse_not(p, &node->as.operand);
    p->depth--;
    *out = node;
    return ok;
}

static bool parse_logic(parser *p, bool is_or, const jinja_node **out) {
    unsigned line = p->token->line;
    if (!(is_or ? parse_logic(p, false, out) : parse_not(p, out))) return false;
    while (parser_skip_name(p, is_or ? "or" : "and")) {
        jinja_node *node = parser_node(p, is_or ? NODE_OR : NODE_AND, line);
        if (!node) return false;
        node->as.binary.left = *out;
        if (!(is_or ? parse_logic(p, false, &node->as.binary.right) : parse_not(p, &node->as.binary.right)))
            return false;
        *out = node;
        line = p->token->line;
    }
    return true;
}

static bool parse_conditional(parser *p, const jinja_node **out) {
    unsigned line = p->token->line;
    parser_unknown unknown = p->unknown;
    if (!parse_logic(p, true, out)) return false;
    bool soft = p->soft, found = false;
    while (parser_skip_name(p, "if")) {
        found = p->soft = true;
        jinja_node *node = parser_node(p, NODE_CONDITIONAL, line);
        if (!node || !parse_logic(p, true, &node->as.conditional.test)) return false;
        node->as.conditional.then = *out;
        if (parser_skip_name(p, "else")) {
            if (!parser_enter(p) || !parse_conditional(p, &node->as.conditional.otherwise)) return false;
            p->depth--;
        }
        *out = node;
        line = p->token->line;
    }
    p->soft = soft;
    if (found) p->unknown = unknown;
    return true;
}

bool parse_expression(parser *p, bool with_condition, const jinja_node **out) {
    if (!parser_enter(p)) return false;
    bool ok = with_condition ? parse_conditional(p, out) : parse_logic(p, true, out);
    p->depth--;
    return ok;
}
