// The statement half of the parser, the helpers of both halves, and the public parse and destroy.
#include "text/jinja_parser.h"
#include "text/jinja_runtime.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

bool parser_fail(parser *p, const char *format, ...) {
    char what[320];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    mosa_fail(p->err, MOSA_ECORRUPT, "chat template, line %u: %s", p->token->line, what);
    return false;
}

bool parser_no_memory(parser *p) {
    mosa_fail(p->err, MOSA_ENOMEM, "chat template: out of memory");
    return false;
}

bool parser_enter(parser *p) {
    if (p->depth >= PARSE_DEPTH_MAX) return parser_fail(p, "nested more than %d deep", PARSE_DEPTH_MAX);
    p->depth++;
    return true;
}

bool parser_is_name(const parser *p, const char *word) {
    return p->token->type == TOKEN_NAME && jinja_str_is(p->token->value.as.str, word);
}

bool parser_skip_name(parser *p, const char *word) {
    if (!parser_is_name(p, word)) return false;
    p->token++;
    return true;
}

bool parser_expect(parser *p, jinja_token_type type) {
    if (p->token->type != type)
        return parser_fail(p, "expected '%s', got '%s'", jinja_token_text(type), jinja_token_text(p->token->type));
    p->token++;
    return true;
}

bool parser_expect_name(parser *p, const jinja_str **out) {
    if (p->token->type != TOKEN_NAME)
        return parser_fail(p, "expected a name, got '%s'", jinja_token_text(p->token->type));
    *out = p->token->value.as.str;
    p->token++;
    return true;
}

static bool expect_word(parser *p, const char *word) {
    if (parser_skip_name(p, word)) return true;
    return parser_fail(p, "expected '%s', got '%s'", word, jinja_token_text(p->token->type));
}

jinja_node *parser_node(parser *p, jinja_kind kind, unsigned line) {
    jinja_node *node = MOSA_ARENA_NEW(&p->tmpl->arena, jinja_node);
    if (!node) {
        parser_no_memory(p);
        return NULL;
    }
    node->kind = kind;
    node->line = line;
    return node;
}

bool node_vec_push(parser *p, node_vec *vec, const jinja_node *node) {
    if (vec->n == vec->capacity) {
        size_t capacity = vec->capacity ? vec->capacity * 2 : 4;
        const jinja_node **grown = MOSA_ARENA_ARRAY(&p->tmpl->arena, const jinja_node *, capacity);
        if (!grown) return parser_no_memory(p);
        if (vec->n) memcpy(grown, vec->items, vec->n * sizeof *grown);
        vec->items = grown;
        vec->capacity = capacity;
    }
    vec->items[vec->n++] = node;
    return true;
}

jinja_nodes node_vec_done(const node_vec *vec) {
    return (jinja_nodes){.items = vec->items, .n = vec->n};
}

static bool grow_names(parser *p) {
    jinja_names *names = &p->tmpl->names;
    size_t capacity = names->capacity ? names->capacity * 2 : 32, index_size = capacity * 2;
    const jinja_str **items = MOSA_ARENA_ARRAY(&p->tmpl->arena, const jinja_str *, capacity);
    uint32_t *index = MOSA_ARENA_ARRAY(&p->tmpl->arena, uint32_t, index_size);
    if (!items || !index) return parser_no_memory(p);
    for (size_t i = 0; i < names->n; i++) {
        items[i] = names->items[i];
        size_t at = mosa_hash_bytes(items[i]->data, items[i]->len, 0) & (index_size - 1);
        while (index[at]) at = (at + 1) & (index_size - 1);
        index[at] = (uint32_t)i + 1;
    }
    names->items = items;
    names->index = index;
    names->capacity = capacity;
    names->index_size = index_size;
    return true;
}

unsigned parser_slot(parser *p, const jinja_str *name, bool *ok) {
    jinja_names *names = &p->tmpl->names;
    if (names->n == names->capacity && !grow_names(p)) {
        *ok = false;
        return 0;
    }
    size_t mask = names->index_size - 1, at = mosa_hash_bytes(name->data, name->len, 0) & mask;
    for (; names->index[at]; at = (at + 1) & mask) {
        unsigned slot = names->index[at] - 1;
        if (mosa_slice_eq(jinja_slice_of(names->items[slot]), jinja_slice_of(name))) return slot;
    }
    if (names->n >= PARSE_NAMES_MAX) {
        *ok = parser_fail(p, "more than %d different names", PARSE_NAMES_MAX);
        return 0;
    }
    names->items[names->n++] = name;
    names->index[at] = (uint32_t)names->n;
    return (unsigned)names->n - 1;
}

static bool parse_statement(parser *p, node_vec *body);

static bool at_end_tag(const parser *p, const char *const *ends) {
    for (; ends && *ends; ends++)
        if (parser_is_name(p, *ends)) return true;
    return false;
}

static bool flush_output(parser *p, node_vec *pending, node_vec *body) {
    if (pending->n == 0) return true;
    jinja_node *node = parser_node(p, NODE_OUTPUT, pending->items[0]->line);
    if (!node) return false;
    node->as.list = node_vec_done(pending);
    *pending = (node_vec){0};
    return node_vec_push(p, body, node);
}

static bool parse_data(parser *p, node_vec *pending) {
    jinja_node *node = parser_node(p, NODE_CONST, p->token->line);
    if (!node) return false;
    node->as.constant = p->token->value;
    p->token++;
    return node_vec_push(p, pending, node);
}

static bool parse_print(parser *p, node_vec *pending) {
    const jinja_node *node;
    p->token++;
    return parse_tuple(p, true, NULL, false, &node) && node_vec_push(p, pending, node) &&
           parser_expect(p, TOKEN_VARIABLE_END);
}

// Text, prints and statements up to one of the end tags (the current token is then its name), or the end of all.
static bool parse_body(parser *p, const char *const *ends, jinja_nodes *out) {
    node_vec body = {0}, pending = {0};
    if (!parser_enter(p)) return false;
    while (p->token->type != TOKEN_END) {
        bool ok;
        if (p->token->type == TOKEN_DATA) {
            ok = parse_data(p, &pending);
        } else if (p->token->type == TOKEN_VARIABLE_BEGIN) {
            ok = parse_print(p, &pending);
        } else {
            p->token++;
            if (!flush_output(p, &pending, &body)) return false;
            if (at_end_tag(p, ends)) break;
            ok = parse_statement(p, &body) && parser_expect(p, TOKEN_BLOCK_END);
        }
        if (!ok) return false;
    }
    if (!flush_output(p, &pending, &body)) return false;
    if (ends && p->token->type == TOKEN_END)
        return parser_fail(p, "unexpected end of template, expected '%s'", ends[0]);
    p->depth--;
    *out = node_vec_done(&body);
    return true;
}

// The body behind a statement's head, whose closing mark is still to come.
static bool parse_block(parser *p, const char *const *ends, jinja_nodes *out) {
    if (p->token->type == TOKEN_COLON) p->token++;
    return parser_expect(p, TOKEN_BLOCK_END) && parse_body(p, ends, out);
}

static bool parse_block_to(parser *p, const char *end, jinja_nodes *out) {
    const char *const ends[] = {end, NULL};
    if (!parse_block(p, ends, out)) return false;
    p->token++;
    return true;
}

// As parse_block_to for a body that is a scope of its own, where unknown filters are errors at once.
static bool parse_scope_to(parser *p, const char *end, jinja_nodes *out) {
    bool soft = p->soft;
    p->soft = false;
    bool ok = parse_block_to(p, end, out);
    p->soft = soft;
    return ok;
}

static bool parse_if(parser *p, jinja_node *node) {
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    jinja_branch *branches = NULL;
    size_t n = 0, capacity = 0;
    bool soft = p->soft, more = true;
    p->soft = true;
    while (more) {
        if (n + 2 > capacity) {
            capacity = capacity ? capacity * 2 : 2;
            jinja_branch *grown = MOSA_ARENA_ARRAY(&p->tmpl->arena, jinja_branch, capacity);
            if (!grown) return parser_no_memory(p);
            if (n) memcpy(grown, branches, n * sizeof *grown);
            branches = grown;
        }
        p->token++; // if or elif
        if (!parse_tuple(p, false, NULL, false, &branches[n].test) || !parse_block(p, ends, &branches[n].body))
            return false;
        n++;
        more = parser_is_name(p, "elif");
    }
    if (parser_skip_name(p, "else")) {
        if (!parse_block_to(p, "endif", &branches[n].body)) return false;
        n++;
    } else {
        p->token++;
    }
    p->soft = soft;
    node->as.branch.branches = branches;
    node->as.branch.n = n;
    return true;
}

static bool parse_for(parser *p, jinja_node *node) {
    static const char *const ends[] = {"endfor", "else", NULL};
    bool soft = p->soft;
    p->token++;
    p->in_for++;
    if (!parse_target(p, "in", false, &node->as.loop.target) || !expect_word(p, "in")) return false;
    if (!parse_tuple(p, false, "recursive", false, &node->as.loop.iterable)) return false;
    p->soft = false;
    if (parser_skip_name(p, "if") && !parse_expression(p, true, &node->as.loop.test)) return false;
    node->as.loop.recursive = parser_skip_name(p, "recursive");
    unsigned in_loop = p->in_loop;
    p->in_loop = node->as.loop.recursive ? 1 : in_loop + 1;
    if (!parse_block(p, ends, &node->as.loop.body)) return false;
    p->in_loop = node->as.loop.recursive ? 0 : in_loop;
    if (parser_skip_name(p, "else")) {
        if (!parse_block_to(p, "endfor", &node->as.loop.otherwise)) return false;
    } else {
        p->token++;
    }
    p->in_loop = in_loop;
    p->in_for--;
    p->soft = soft;
    return true;
}

static bool parse_set(parser *p, jinja_node *node) {
    p->token++;
    if (!parse_target(p, NULL, true, &node->as.set.target)) return false;
    if (p->token->type == TOKEN_ASSIGN) {
        p->token++;
        return parse_tuple(p, true, NULL, false, &node->as.set.value);
    }
    node->kind = NODE_SET_BLOCK;
    bool soft = p->soft;
    p->soft = false;
    bool ok = parse_filter(p, NULL, false, &node->as.set.value) && parse_block_to(p, "endset", &node->as.set.body);
    p->soft = soft;
    return ok;
}

static bool parse_parameters(parser *p, jinja_signature *signature) {
    node_vec names = {0}, defaults = {0};
    bool any_default = false;
    if (!parser_expect(p, TOKEN_LPAREN)) return false;
    while (p->token->type != TOKEN_RPAREN) {
        if (names.n && !parser_expect(p, TOKEN_COMMA)) return false;
        const jinja_node *name, *fallback = NULL;
        if (!parse_name_node(p, false, &name)) return false;
        for (size_t i = 0; i < names.n; i++)
            if (names.items[i]->as.name.slot == name->as.name.slot) return parser_fail(p, "duplicate parameter name");
        if (p->token->type == TOKEN_ASSIGN) {
            p->token++;
            any_default = true;
            if (!parse_expression(p, true, &fallback)) return false;
        } else if (any_default) {
            return parser_fail(p, "non-default argument follows default argument");
        }
        if (!node_vec_push(p, &names, name) || !node_vec_push(p, &defaults, fallback)) return false;
    }
    p->token++;
    signature->parameters = names.items;
    signature->defaults = defaults.items;
    signature->n_parameters = names.n;
    return true;
}

static bool finish_signature(parser *p, jinja_signature *signature, const parser_macro *uses) {
    signature->uses_caller = uses->caller;
    signature->uses_kwargs = uses->kwargs;
    signature->uses_varargs = uses->varargs;
    for (size_t i = 0; i < signature->n_parameters; i++) {
        const jinja_str *name = signature->parameters[i]->as.name.text;
        if (jinja_str_is(name, "kwargs")) signature->uses_kwargs = false;
        if (jinja_str_is(name, "varargs")) signature->uses_varargs = false;
        if (!jinja_str_is(name, "caller")) continue;
        signature->explicit_caller = true;
        if (signature->uses_caller && !signature->defaults[i])
            return parser_fail(p, "a \"caller\" argument must be omitted or be given a default");
    }
    return true;
}

// A body that runs as a function: break and continue cannot leave it, and the names it mentions decide what it takes.
static bool parse_function_body(parser *p, jinja_signature *signature, const char *end) {
    parser_macro uses = {.outer = p->macro};
    unsigned in_loop = p->in_loop;
    p->macro = &uses;
    p->in_loop = 0;
    bool ok = parse_scope_to(p, end, &signature->body) && finish_signature(p, signature, &uses);
    p->macro = uses.outer;
    p->in_loop = in_loop;
    return ok;
}

static bool parse_macro(parser *p, jinja_node *node) {
    jinja_signature *signature = MOSA_ARENA_NEW(&p->tmpl->arena, jinja_signature);
    if (!signature) return parser_no_memory(p);
    const jinja_node *name;
    p->token++;
    if (!parse_name_node(p, false, &name)) return false;
    if (p->in_for && jinja_str_is(name->as.name.text, "loop")) return parser_fail(p, "can't assign to 'loop'");
    signature->name = name->as.name.text;
    node->as.macro.signature = signature;
    node->as.macro.slot = name->as.name.slot;
    return parse_parameters(p, signature) && parse_function_body(p, signature, "endmacro");
}

static bool parse_call_block(parser *p, jinja_node *node) {
    jinja_signature *signature = MOSA_ARENA_NEW(&p->tmpl->arena, jinja_signature);
    if (!signature) return parser_no_memory(p);
    p->token++;
    if (p->token->type == TOKEN_LPAREN && !parse_parameters(p, signature)) return false;
    if (!parse_expression(p, true, &node->as.macro.call)) return false;
    if (node->as.macro.call->kind != NODE_CALL) return parser_fail(p, "expected call");
    node->as.macro.signature = signature;
    return parse_function_body(p, signature, "endcall");
}

static bool parse_generation(parser *p, jinja_node *node) {
    jinja_signature signature = {0};
    p->token++;
    p->tmpl->has_generation = true;
    if (!parse_function_body(p, &signature, "endgeneration")) return false;
    node->as.block.body = signature.body;
    return true;
}

static bool parse_filter_block(parser *p, jinja_node *node) {
    bool soft = p->soft;
    p->token++;
    p->soft = false;
    bool ok = parse_filter(p, NULL, true, &node->as.block_filter.filter) &&
              parse_block_to(p, "endfilter", &node->as.block_filter.body);
    p->soft = soft;
    return ok;
}

static bool parse_with(parser *p, jinja_node *node) {
    node_vec targets = {0}, values = {0};
    p->token++;
    while (p->token->type != TOKEN_BLOCK_END) {
        if (targets.n && !parser_expect(p, TOKEN_COMMA)) return false;
        const jinja_node *target, *value;
        if (!parse_target(p, NULL, false, &target) || !parser_expect(p, TOKEN_ASSIGN) ||
            !parse_expression(p, true, &value) || !node_vec_push(p, &targets, target) ||
            !node_vec_push(p, &values, value))
            return false;
    }
    node->as.with.targets = node_vec_done(&targets);
    node->as.with.values = node_vec_done(&values);
    return parse_scope_to(p, "endwith", &node->as.with.body);
}

static bool parse_named_block(parser *p, jinja_node *node) {
    const jinja_str *name;
    p->token++;
    if (!parser_expect_name(p, &name)) return false;
    node->as.block.scoped = parser_skip_name(p, "scoped");
    if (parser_skip_name(p, "required")) return parser_fail(p, "a required block needs a child template");
    unsigned in_loop = p->in_loop;
    p->in_loop = 0;
    bool ok = parse_scope_to(p, "endblock", &node->as.block.body);
    p->in_loop = in_loop;
    if (ok && p->token->type == TOKEN_NAME &&
        mosa_slice_eq(jinja_slice_of(p->token->value.as.str), jinja_slice_of(name)))
        p->token++;
    return ok;
}

// {% print a, b %}
static bool parse_print_statement(parser *p, jinja_node *node) {
    node_vec items = {0};
    p->token++;
    while (p->token->type != TOKEN_BLOCK_END) {
        const jinja_node *item;
        if (items.n && !parser_expect(p, TOKEN_COMMA)) return false;
        if (!parse_expression(p, true, &item) || !node_vec_push(p, &items, item)) return false;
    }
    node->as.list = node_vec_done(&items);
    return true;
}

static bool parse_jump(parser *p, jinja_node *node) {
    if (p->in_loop == 0)
        return parser_fail(p, "'%.*s' outside loop", (int)p->token->value.as.str->len, p->token->value.as.str->data);
    (void)node;
    p->token++;
    return true;
}

static const struct {
    const char *word;
    jinja_kind kind;
    bool (*parse)(parser *p, jinja_node *node);
} statements[] = {
    {"if", NODE_IF, parse_if},
    {"for", NODE_FOR, parse_for},
    {"set", NODE_SET, parse_set},
    {"macro", NODE_MACRO, parse_macro},
    {"call", NODE_CALL_BLOCK, parse_call_block},
    {"filter", NODE_FILTER_BLOCK, parse_filter_block},
    {"with", NODE_WITH, parse_with},
    {"block", NODE_BLOCK, parse_named_block},
    {"generation", NODE_GENERATION, parse_generation},
    {"print", NODE_OUTPUT, parse_print_statement},
    {"break", NODE_BREAK, parse_jump},
    {"continue", NODE_CONTINUE, parse_jump},
};

static const char *const absent_statements[] = {"include", "import", "from", "extends", "autoescape"};

static bool parse_statement(parser *p, node_vec *body) {
    if (p->token->type != TOKEN_NAME) return parser_fail(p, "tag name expected");
    const jinja_str *word = p->token->value.as.str;
    for (size_t i = 0; i < MOSA_COUNT(statements); i++) {
        if (!jinja_str_is(word, statements[i].word)) continue;
        jinja_node *node = parser_node(p, statements[i].kind, p->token->line);
        return node && statements[i].parse(p, node) && node_vec_push(p, body, node);
    }
    for (size_t i = 0; i < MOSA_COUNT(absent_statements); i++) {
        if (!jinja_str_is(word, absent_statements[i])) continue;
        mosa_fail(p->err, MOSA_EUNSUPPORTED, "chat template, line %u: the statement '%s' is not available",
                  p->token->line, absent_statements[i]);
        return false;
    }
    return parser_fail(p, "encountered unknown tag '%.*s'", (int)(word->len < 80 ? word->len : 80), word->data);
}

static bool intern_special(parser *p) {
    static const char *const words[] = {"loop", "caller", "kwargs", "varargs"};
    unsigned *slots[] = {&p->tmpl->slot_loop, &p->tmpl->slot_caller, &p->tmpl->slot_kwargs, &p->tmpl->slot_varargs};
    bool ok = true;
    for (size_t i = 0; i < MOSA_COUNT(words); i++) {
        const jinja_str *name = jinja_constant_str(&p->tmpl->arena, words[i], strlen(words[i]));
        if (!name) return parser_no_memory(p);
        *slots[i] = parser_slot(p, name, &ok);
    }
    return ok;
}

static mosa_status parse_source(mosa_jinja_template *tmpl, mosa_slice source, mosa_error *err) {
    mosa_error local = {0};
    jinja_token *tokens;
    size_t n;
    MOSA_TRY(jinja_lex(&tmpl->arena, source, &tokens, &n, err));
    parser p = {.tmpl = tmpl, .token = tokens, .err = err ? err : &local};
    if (!intern_special(&p) || !parse_body(&p, NULL, &tmpl->body) || !parser_find_hidden(&p)) return p.err->status;
    if (p.unknown.name)
        return mosa_fail(err, MOSA_ECORRUPT, "chat template, line %u: no %s named '%.*s'", p.unknown.line,
                         p.unknown.what, (int)(p.unknown.name->len < 80 ? p.unknown.name->len : 80),
                         p.unknown.name->data);
    return MOSA_OK;
}

// A source is at most a few hundred kilobytes; tokens and nodes take up to some hundred bytes per byte of it.
enum { SOURCE_MAX = 1 << 20 };
#define PARSE_MEMORY_MAX ((size_t)256 << 20)

mosa_status mosa_jinja_parse(mosa_slice source, mosa_jinja_template **out, mosa_error *err) {
    if (source.len > SOURCE_MAX)
        return mosa_fail(err, MOSA_ELIMIT, "chat template: the source has %zu bytes, more than %d", source.len,
                         SOURCE_MAX);
    mosa_jinja_template *tmpl = calloc(1, sizeof *tmpl);
    if (!tmpl) return mosa_fail(err, MOSA_ENOMEM, "chat template: out of memory");
    mosa_arena_init(&tmpl->arena, 0, PARSE_MEMORY_MAX);
    mosa_status status = parse_source(tmpl, source, err);
    if (status != MOSA_OK) {
        mosa_jinja_destroy(tmpl);
        return status;
    }
    *out = tmpl;
    return MOSA_OK;
}

void mosa_jinja_destroy(mosa_jinja_template *tmpl) {
    if (!tmpl) return;
    mosa_arena_finish(&tmpl->arena);
    free(tmpl);
}

bool mosa_jinja_has_generation(const mosa_jinja_template *tmpl) {
    return tmpl->has_generation;
}
