// Which names a scope hides before they are set.
//
// jinja2 compiles a name to one variable per scope. When a scope sets a name that it has not read before, and that no
// scope around it knows, the variable is undefined until then, even if the context has a value under that name: in
// {% for m in l %}{{ x }}{% endfor %}{% set x = 1 %} the loop never sees the context's x. A name that is set in a
// branch of an if only, or read first, keeps the context's value. This pass finds the hidden names; frames are pushed
// with them unbound. Everything else about scopes needs no analysis (jinja_exec.c).
#include "text/jinja_parser.h"

#include <stdlib.h>
#include <string.h>

// Sets of slots of one scope; bits in words.
typedef struct symbols {
    const struct symbols *outer;
    uint64_t *known, *stored, *hidden; // read, set or declared here; set here; hidden until set
} symbols;

typedef struct analysis {
    parser *p;
    size_t words;
    bool failed;
} analysis;

static bool test_bit(const uint64_t *set, unsigned slot) {
    return set[slot / 64] >> (slot % 64) & 1;
}
static void set_bit(uint64_t *set, unsigned slot) {
    set[slot / 64] |= (uint64_t)1 << (slot % 64);
}

static bool init_symbols(analysis *a, symbols *s, const symbols *outer) {
    uint64_t *words = calloc(a->words * 3, sizeof *words);
    if (!words) a->failed = true;
    *s = (symbols){outer, words, words ? words + a->words : NULL, words ? words + 2 * a->words : NULL};
    return words != NULL;
}

static void finish_symbols(symbols *s) {
    free(s->known);
}

static bool known_around(const symbols *s, unsigned slot) {
    for (; s; s = s->outer)
        if (test_bit(s->known, slot)) return true;
    return false;
}

static void declare(symbols *s, unsigned slot) {
    set_bit(s->known, slot);
    set_bit(s->stored, slot);
}

static void store(symbols *s, unsigned slot) {
    set_bit(s->stored, slot);
    if (test_bit(s->known, slot)) return;
    set_bit(s->known, slot);
    if (!known_around(s->outer, slot)) set_bit(s->hidden, slot);
}

static void load(symbols *s, unsigned slot) {
    if (!known_around(s, slot)) set_bit(s->known, slot);
}

static void read_names(symbols *s, const jinja_node *node);

static void read_nodes(symbols *s, const jinja_nodes *nodes) {
    for (size_t i = 0; i < nodes->n; i++) read_names(s, nodes->items[i]);
}

static void read_arguments(symbols *s, const jinja_arguments *args) {
    read_nodes(s, &args->positional);
    for (size_t i = 0; i < args->n_keywords; i++) read_names(s, args->keywords[i].value);
    read_names(s, args->star);
    read_names(s, args->star_star);
}

// The names that an expression reads. Chains like a.b.c or a + b + c nest to the left without a limit of depth, so
// the left part is the next turn of the loop, not a call.
static void read_names(symbols *s, const jinja_node *node) {
    while (node) {
        const jinja_node *next = NULL;
        switch (node->kind) {
        case NODE_NAME:
            load(s, node->as.name.slot);
            break;
        case NODE_LIST:
        case NODE_TUPLE:
        case NODE_DICT:
        case NODE_CONCAT:
            read_nodes(s, &node->as.list);
            break;
        case NODE_BINARY:
        case NODE_AND:
        case NODE_OR:
            read_names(s, node->as.binary.right);
            next = node->as.binary.left;
            break;
        case NODE_NOT:
        case NODE_NEGATE:
        case NODE_PLUS:
            next = node->as.operand;
            break;
        case NODE_COMPARE:
            for (size_t i = 0; i < node->as.compare.n; i++) read_names(s, node->as.compare.rest[i].right);
            next = node->as.compare.left;
            break;
        case NODE_GETATTR:
        case NODE_NAMESPACE_REF:
            next = node->as.attribute.object;
            break;
        case NODE_GETITEM:
            read_names(s, node->as.item.key);
            next = node->as.item.object;
            break;
        case NODE_SLICE:
            read_names(s, node->as.slice.start);
            read_names(s, node->as.slice.stop);
            read_names(s, node->as.slice.step);
            next = node->as.slice.object;
            break;
        case NODE_CALL:
            read_arguments(s, &node->as.call.args);
            next = node->as.call.callee;
            break;
        case NODE_FILTER:
        case NODE_TEST:
            read_arguments(s, &node->as.filter.args);
            next = node->as.filter.operand;
            break;
        case NODE_CONDITIONAL:
            read_names(s, node->as.conditional.test);
            read_names(s, node->as.conditional.otherwise);
            next = node->as.conditional.then;
            break;
        default:
            break;
        }
        node = next;
    }
}

static void write_target(symbols *s, const jinja_node *target, bool parameter) {
    if (target->kind == NODE_TUPLE) {
        for (size_t i = 0; i < target->as.list.n; i++) write_target(s, target->as.list.items[i], parameter);
    } else if (target->kind == NODE_NAME) {
        if (parameter)
            declare(s, target->as.name.slot);
        else
            store(s, target->as.name.slot);
    } else {
        read_names(s, target);
    }
}

static void scan(analysis *a, symbols *s, const jinja_nodes *body);

// What branches set is not hidden, unless the scope set it before.
static void scan_if(analysis *a, symbols *s, const jinja_node *node) {
    symbols merged;
    if (!init_symbols(a, &merged, s->outer)) return;
    read_names(s, node->as.branch.branches[0].test);
    memcpy(merged.known, s->known, 3 * a->words * sizeof *s->known);
    for (size_t i = 0; i < node->as.branch.n && !a->failed; i++) {
        symbols branch;
        if (!init_symbols(a, &branch, s->outer)) break;
        memcpy(branch.known, s->known, 3 * a->words * sizeof *s->known);
        if (i && node->as.branch.branches[i].test) read_names(&branch, node->as.branch.branches[i].test);
        scan(a, &branch, &node->as.branch.branches[i].body);
        for (size_t w = 0; w < 2 * a->words; w++) merged.known[w] |= branch.known[w];
        finish_symbols(&branch);
    }
    memcpy(s->known, merged.known, 2 * a->words * sizeof *s->known); // known and stored
    finish_symbols(&merged);
}

// The names that statements of this scope read and set, in the order in which jinja2 looks at them.
static void scan(analysis *a, symbols *s, const jinja_nodes *body) {
    for (size_t i = 0; i < body->n && !a->failed; i++) {
        const jinja_node *node = body->items[i];
        switch (node->kind) {
        case NODE_OUTPUT:
            read_nodes(s, &node->as.list);
            break;
        case NODE_IF:
            scan_if(a, s, node);
            break;
        case NODE_FOR:
            read_names(s, node->as.loop.iterable);
            break;
        case NODE_SET:
            read_names(s, node->as.set.value);
            write_target(s, node->as.set.target, false);
            break;
        case NODE_SET_BLOCK:
            write_target(s, node->as.set.target, false);
            break;
        case NODE_MACRO:
            store(s, node->as.macro.slot);
            break;
        case NODE_CALL_BLOCK:
            read_names(s, node->as.macro.call);
            break;
        case NODE_FILTER_BLOCK:
            read_names(s, node->as.block_filter.filter);
            break;
        case NODE_WITH:
            read_nodes(s, &node->as.with.values);
            break;
        default:
            break;
        }
    }
}

static void keep_hidden(analysis *a, const symbols *s, jinja_scope *out) {
    size_t n = 0;
    for (size_t w = 0; w < a->words; w++) n += (size_t)__builtin_popcountll(s->hidden[w]);
    if (n == 0) return;
    unsigned *slots = MOSA_ARENA_ARRAY(&a->p->tmpl->arena, unsigned, n);
    if (!slots) {
        a->failed = true;
        return;
    }
    out->hidden = slots;
    for (unsigned slot = 0; slot < a->words * 64; slot++)
        if (test_bit(s->hidden, slot)) slots[out->n++] = slot;
}

static void descend(analysis *a, const symbols *s, const jinja_nodes *body);

// A scope of its own: `declared` are its parameters (nodes of names or targets), `before` is read ahead of the body.
static void analyse(analysis *a, const symbols *outer, const jinja_nodes *declared, const jinja_nodes *before,
                    const jinja_nodes *body, const jinja_node *after, const jinja_scope *out) {
    symbols s;
    if (a->failed || !init_symbols(a, &s, outer)) return;
    for (size_t i = 0; declared && i < declared->n; i++) write_target(&s, declared->items[i], true);
    if (before) read_nodes(&s, before);
    scan(a, &s, body);
    read_names(&s, after);
    keep_hidden(a, &s, (jinja_scope *)out); // the tree is still ours
    descend(a, &s, body);
    finish_symbols(&s);
}

static void analyse_loop(analysis *a, const symbols *s, const jinja_node *node) {
    const jinja_nodes target = {.items = (const jinja_node **)&node->as.loop.target, .n = 1};
    analyse(a, s, &target, NULL, &node->as.loop.body, NULL, &node->as.loop.body.scope);
    analyse(a, s, NULL, NULL, &node->as.loop.otherwise, NULL, &node->as.loop.otherwise.scope);
}

static void analyse_signature(analysis *a, const symbols *s, const jinja_signature *signature) {
    const jinja_nodes parameters = {.items = signature->parameters, .n = signature->n_parameters};
    const jinja_nodes defaults = {.items = signature->defaults, .n = signature->n_parameters};
    analyse(a, s, &parameters, &defaults, &signature->body, NULL, &signature->body.scope);
}

// The scopes inside of this one.
static void descend(analysis *a, const symbols *s, const jinja_nodes *body) {
    for (size_t i = 0; i < body->n && !a->failed; i++) {
        const jinja_node *node = body->items[i];
        switch (node->kind) {
        case NODE_IF:
            for (size_t k = 0; k < node->as.branch.n; k++) descend(a, s, &node->as.branch.branches[k].body);
            break;
        case NODE_FOR:
            analyse_loop(a, s, node);
            break;
        case NODE_SET_BLOCK:
            analyse(a, s, NULL, NULL, &node->as.set.body, NULL, &node->as.set.body.scope);
            break;
        case NODE_MACRO:
        case NODE_CALL_BLOCK:
            analyse_signature(a, s, node->as.macro.signature);
            break;
        case NODE_FILTER_BLOCK:
            analyse(a, s, NULL, NULL, &node->as.block_filter.body, node->as.block_filter.filter,
                    &node->as.block_filter.body.scope);
            break;
        case NODE_WITH:
            analyse(a, s, &node->as.with.targets, NULL, &node->as.with.body, NULL, &node->as.with.body.scope);
            break;
        case NODE_GENERATION:
            analyse(a, s, NULL, NULL, &node->as.block.body, NULL, &node->as.block.body.scope);
            break;
        case NODE_BLOCK:
            analyse(a, NULL, NULL, NULL, &node->as.block.body, NULL, &node->as.block.body.scope);
            break;
        default:
            break;
        }
    }
}

bool parser_find_hidden(parser *p) {
    analysis a = {.p = p, .words = p->tmpl->names.n / 64 + 1};
    analyse(&a, NULL, NULL, NULL, &p->tmpl->body, NULL, &p->tmpl->body.scope);
    return !a.failed || parser_no_memory(p);
}
