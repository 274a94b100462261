// From the tree of a pattern to its term: anchors decide what may stand around it, lookahead becomes intersection.
#include "text/grammar/pattern.h"

#include "text/grammar/grammar.h"
#include "text/grammar/pattern_internal.h"

enum { SPREAD_MAX = 256 }; // alternatives that groups with anchors may be multiplied out to

typedef struct lowering {
    pattern_parser *parser;
    mosa_rx_pool *pool;
    mosa_rx any; // any text
    int spread;
} lowering;

static mosa_status fail_memory(lowering *l) {
    return mosa_fail(l->parser->err, MOSA_ENOMEM, "out of memory for a pattern");
}

// --- inner parts: no anchors, no lookahead

static mosa_status inner_alternatives(lowering *l, const pattern_sequence *s, mosa_rx *out);

static mosa_status inner_node(lowering *l, const pattern_node *n, mosa_rx *out) {
    mosa_rx r;
    switch (n->kind) {
    case PATTERN_TERM:
        *out = n->rx;
        return MOSA_OK;
    case PATTERN_GROUP:
        return inner_alternatives(l, n->alternatives, out);
    case PATTERN_REPEAT:
        MOSA_TRY(inner_alternatives(l, n->alternatives, &r));
        *out = mosa_rx_repeat(l->pool, r, n->min, n->max);
        return MOSA_OK;
    default:
        return mosa_fail(l->parser->err, MOSA_EUNSUPPORTED, "pattern: %s inside the pattern is not supported",
                         n->kind == PATTERN_AHEAD ? "lookahead" : "an anchor");
    }
}

// The nodes [n, stop), then `rest`. Folded from the right, so that each concatenation only puts one node in front.
static mosa_status inner_nodes(lowering *l, const pattern_node *n, const pattern_node *stop, mosa_rx rest,
                               mosa_rx *out) {
    size_t count = 0;
    for (const pattern_node *i = n; i != stop; i = i->next) count++;
    mosa_rx *parts = MOSA_ARENA_ARRAY(&l->parser->arena, mosa_rx, count);
    if (!parts) return fail_memory(l);
    for (size_t i = 0; i < count; i++, n = n->next) MOSA_TRY(inner_node(l, n, &parts[i]));
    while (count) rest = mosa_rx_cat(l->pool, parts[--count], rest);
    *out = rest;
    return MOSA_OK;
}

static mosa_status inner_alternatives(lowering *l, const pattern_sequence *s, mosa_rx *out) {
    size_t count = 0;
    for (const pattern_sequence *i = s; i; i = i->next) count++;
    mosa_rx *parts = MOSA_ARENA_ARRAY(&l->parser->arena, mosa_rx, count);
    if (!parts) return fail_memory(l);
    for (size_t i = 0; i < count; i++, s = s->next) MOSA_TRY(inner_nodes(l, s->first, NULL, MOSA_RX_EPS, &parts[i]));
    *out = mosa_rx_or_all(l->pool, parts, count);
    return MOSA_OK;
}

// --- top level

static bool holds_context(const pattern_sequence *s) {
    for (; s; s = s->next)
        for (const pattern_node *n = s->first; n; n = n->next)
            if (n->kind >= PATTERN_START || (n->kind == PATTERN_GROUP && holds_context(n->alternatives))) return true;
    return false;
}

static mosa_status top_sequence(lowering *l, const pattern_sequence *s, bool search, mosa_rx *out);

// before + alternative + after as one sequence of fresh nodes.
static mosa_status splice(lowering *l, const pattern_sequence *s, const pattern_node *group,
                          const pattern_sequence *alternative, pattern_sequence *out) {
    const pattern_node *parts[3] = {s->first, alternative->first, group->next};
    const pattern_node *stops[3] = {group, NULL, NULL};
    pattern_node **tail = &out->first;
    for (int i = 0; i < 3; i++)
        for (const pattern_node *n = parts[i]; n != stops[i]; n = n->next) {
            *tail = MOSA_ARENA_NEW(&l->parser->arena, pattern_node);
            if (!*tail) return fail_memory(l);
            **tail = *n;
            (*tail)->next = NULL;
            tail = &(*tail)->next;
        }
    return MOSA_OK;
}

// A group with anchors or lookahead in it is multiplied out, so that they come to stand at the top level.
static mosa_status multiply_out(lowering *l, const pattern_sequence *s, const pattern_node *group, bool search,
                                mosa_rx *out) {
    *out = MOSA_RX_NONE;
    for (const pattern_sequence *a = group->alternatives; a; a = a->next) {
        if (++l->spread > SPREAD_MAX)
            return mosa_fail(l->parser->err, MOSA_ELIMIT, "pattern: anchors in groups make more than %d alternatives",
                             SPREAD_MAX);
        pattern_sequence whole = {0};
        mosa_rx r;
        MOSA_TRY(splice(l, s, group, a, &whole));
        MOSA_TRY(top_sequence(l, &whole, search, &r));
        *out = mosa_rx_or(l->pool, *out, r);
    }
    return MOSA_OK;
}

static mosa_status top_alternatives(lowering *l, const pattern_sequence *s, bool left, bool right, mosa_rx *out);

static mosa_status after_end(lowering *l, const pattern_node *end) {
    mosa_rx unused;
    for (const pattern_node *n = end; n; n = n->next)
        if (n->kind != PATTERN_END) return inner_node(l, end, &unused); // an anchor inside
    return MOSA_OK;
}

// The term of the nodes from n on, up to the end of the text. Recursion runs over lookaheads alone.
static mosa_status tail_rx(lowering *l, const pattern_node *n, bool search, mosa_rx *out) {
    const pattern_node *stop = n;
    mosa_rx rest = search ? l->any : MOSA_RX_EPS, one;
    while (stop && stop->kind != PATTERN_END && stop->kind != PATTERN_AHEAD) stop = stop->next;
    if (stop && stop->kind == PATTERN_END) {
        MOSA_TRY(after_end(l, stop));
        rest = MOSA_RX_EPS;
    } else if (stop) {
        if (++l->spread > SPREAD_MAX)
            return mosa_fail(l->parser->err, MOSA_ELIMIT, "pattern: more than %d lookaheads", SPREAD_MAX);
        MOSA_TRY(top_alternatives(l, stop->alternatives, false, true, &one));
        MOSA_TRY(tail_rx(l, stop->next, search, &rest));
        rest = mosa_rx_and(l->pool, stop->negative ? mosa_rx_not(l->pool, one) : one, rest);
    }
    return inner_nodes(l, n, stop, rest, out);
}

static mosa_status top_sequence_at(lowering *l, const pattern_sequence *s, bool left, bool right, mosa_rx *out) {
    const pattern_node *n = s->first;
    bool anchored = !left;
    for (; n && n->kind == PATTERN_START; n = n->next) anchored = true;
    mosa_rx r;
    MOSA_TRY(tail_rx(l, n, right, &r));
    *out = anchored ? r : mosa_rx_cat(l->pool, l->any, r);
    return MOSA_OK;
}

static mosa_status top_sequence(lowering *l, const pattern_sequence *s, bool search, mosa_rx *out) {
    for (const pattern_node *n = s->first; n; n = n->next)
        if (n->kind == PATTERN_GROUP && holds_context(n->alternatives)) return multiply_out(l, s, n, search, out);
    return top_sequence_at(l, s, search, search, out);
}

static mosa_status top_alternatives(lowering *l, const pattern_sequence *s, bool left, bool right, mosa_rx *out) {
    size_t count = 0;
    for (const pattern_sequence *i = s; i; i = i->next) count++;
    mosa_rx *parts = MOSA_ARENA_ARRAY(&l->parser->arena, mosa_rx, count);
    if (!parts) return fail_memory(l);
    for (size_t i = 0; i < count; i++, s = s->next) {
        if (left == right)
            MOSA_TRY(top_sequence(l, s, left, &parts[i]));
        else
            MOSA_TRY(top_sequence_at(l, s, left, right, &parts[i]));
    }
    *out = mosa_rx_or_all(l->pool, parts, count);
    return MOSA_OK;
}

mosa_status mosa_pattern_rx(mosa_rx_pool *pool, mosa_slice pattern, unsigned flags, mosa_rx *out, mosa_error *err) {
    pattern_parser parser = {.pool = pool, .text = pattern, .flags = flags, .err = err};
    mosa_arena_init(&parser.arena, 0, (size_t)64 << 20);
    mosa_spelling spelling = flags & MOSA_PATTERN_JSON ? MOSA_SPELL_JSON : MOSA_SPELL_UTF8;
    lowering l = {.parser = &parser, .pool = pool, .any = mosa_rx_star(pool, mosa_any_char_rx(pool, spelling))};
    pattern_sequence *tree;
    mosa_rx r = MOSA_RX_NONE;
    bool search = (flags & MOSA_PATTERN_SEARCH) != 0;
    mosa_status status = pattern_parse(&parser, &tree);
    if (status == MOSA_OK) status = top_alternatives(&l, tree, search, search, &r);
    mosa_arena_finish(&parser.arena);
    if (status == MOSA_OK && pool->failed)
        status = mosa_fail(err, MOSA_ELIMIT, "pattern: it needs more than %d states or steps", MOSA_RX_NODES_MAX);
    if (status == MOSA_OK) *out = r;
    return status;
}
