// The pattern syntax as a tree.
#include "text/grammar/grammar.h"
#include "text/grammar/pattern_class.h"
#include "text/grammar/pattern_internal.h"
#include "text/unicode.h"

#include <string.h>

static mosa_status alternatives(pattern_parser *p, pattern_sequence **out);

static bool more(const pattern_parser *p) {
    return p->at < p->text.len;
}
static char peek(const pattern_parser *p) {
    return p->text.data[p->at];
}
static bool take(pattern_parser *p, const char *token) {
    size_t len = strlen(token);
    if (p->text.len - p->at < len || memcmp(p->text.data + p->at, token, len) != 0) return false;
    p->at += len;
    return true;
}

static mosa_status unsupported(pattern_parser *p, const char *what) {
    return mosa_fail(p->err, MOSA_EUNSUPPORTED, "pattern, offset %zu: %s is not supported", p->at, what);
}
static mosa_status invalid(pattern_parser *p, const char *what) {
    return mosa_fail(p->err, MOSA_EINVALID, "pattern, offset %zu: %s", p->at, what);
}

static mosa_status finish_set(pattern_parser *p, mosa_charset *set, mosa_status status, pattern_node *node) {
    if (status == MOSA_OK) {
        if (p->ignore_case) mosa_charset_fold_ascii(set);
        node->rx = mosa_charset_rx(p->pool, set, p->flags & MOSA_PATTERN_JSON ? MOSA_SPELL_JSON : MOSA_SPELL_UTF8);
    }
    mosa_charset_finish(set);
    return status;
}

static mosa_status character(pattern_parser *p, pattern_node *node) {
    mosa_charset set = {0};
    uint32_t c;
    mosa_status status = MOSA_OK;
    if (take(p, "\\"))
        status = pattern_escape(p->text, &p->at, &set, &c, p->err);
    else if (take(p, "["))
        status = mosa_pattern_class(p->text, &p->at, &set, p->err);
    else if (take(p, ".")) {
        if (!p->dot_all) {
            mosa_charset_add(&set, '\n', '\n');
            mosa_charset_add(&set, '\r', '\r');
            mosa_charset_add(&set, 0x2028, 0x2029);
        }
        mosa_charset_invert(&set);
    } else {
        status = pattern_char(p->text, &p->at, &c, p->err);
        if (status == MOSA_OK) mosa_charset_add(&set, c, c);
    }
    return finish_set(p, &set, status, node);
}

static mosa_status group_name(pattern_parser *p) {
    const char *close = memchr(p->text.data + p->at, '>', p->text.len - p->at);
    if (!close) return invalid(p, "a group's name without >");
    p->at = (size_t)(close - p->text.data) + 1;
    return MOSA_OK;
}

static mosa_status group(pattern_parser *p, pattern_node *node) {
    node->kind = PATTERN_GROUP;
    if (take(p, "?=") || take(p, "?!")) {
        node->kind = PATTERN_AHEAD;
        node->negative = p->text.data[p->at - 1] == '!';
    } else if (take(p, "?<=") || take(p, "?<!"))
        return unsupported(p, "lookbehind");
    else if (take(p, "?<") || take(p, "?P<"))
        MOSA_TRY(group_name(p));
    else if (!take(p, "?:") && more(p) && peek(p) == '?')
        return unsupported(p, "this kind of group");
    if (++p->depth > MOSA_GRAMMAR_NESTING_MAX)
        return mosa_fail(p->err, MOSA_ELIMIT, "pattern: groups nest deeper than %d", MOSA_GRAMMAR_NESTING_MAX);
    MOSA_TRY(alternatives(p, &node->alternatives));
    p->depth--;
    return take(p, ")") ? MOSA_OK : invalid(p, "( without )");
}

static mosa_status atom(pattern_parser *p, pattern_node *node) {
    char c = peek(p);
    if (c == '*' || c == '+' || c == '?') return invalid(p, "nothing to repeat");
    if (take(p, "(")) return group(p, node);
    if (take(p, "^")) {
        node->kind = PATTERN_START;
        return MOSA_OK;
    }
    if (take(p, "$")) {
        node->kind = PATTERN_END;
        return MOSA_OK;
    }
    return character(p, node);
}

static bool number(pattern_parser *p, uint32_t *out) {
    size_t begin = p->at;
    uint64_t value = 0;
    for (; more(p) && peek(p) >= '0' && peek(p) <= '9'; p->at++)
        if (value < UINT32_MAX) value = value * 10 + (uint64_t)(peek(p) - '0');
    *out = value < UINT32_MAX - 1 ? (uint32_t)value : UINT32_MAX - 1;
    return p->at > begin;
}

// {m}, {m,} and {m,n}; anything else behind { is a literal brace. False when there is no quantifier here.
static bool braces(pattern_parser *p, uint32_t *min, uint32_t *max) {
    size_t begin = p->at;
    if (take(p, "{") && number(p, min)) {
        *max = *min;
        if (take(p, ",") && !number(p, max)) *max = MOSA_RX_FOREVER;
        if (take(p, "}")) return true;
    }
    p->at = begin;
    return false;
}

static bool quantifier(pattern_parser *p, uint32_t *min, uint32_t *max) {
    if (!more(p)) return false;
    *min = peek(p) == '+';
    *max = peek(p) == '?' ? 1 : MOSA_RX_FOREVER;
    if (take(p, "*") || take(p, "+") || take(p, "?")) return true;
    return braces(p, min, max);
}

static mosa_status repeat(pattern_parser *p, pattern_node *node) {
    uint32_t min, max;
    if (!quantifier(p, &min, &max)) return MOSA_OK;
    if (max < min) return invalid(p, "a repetition whose bounds fall");
    if (min > MOSA_GRAMMAR_REPEAT_MAX || (max != MOSA_RX_FOREVER && max > MOSA_GRAMMAR_REPEAT_MAX))
        return mosa_fail(p->err, MOSA_ELIMIT, "pattern, offset %zu: a repetition of more than %d", p->at,
                         MOSA_GRAMMAR_REPEAT_MAX);
    if (node->kind > PATTERN_GROUP) return unsupported(p, "a repetition of this");
    take(p, "?"); // lazy: the same strings
    if (more(p) && peek(p) == '+') return unsupported(p, "possessive repetition");
    pattern_node *inner = MOSA_ARENA_NEW(&p->arena, pattern_node);
    pattern_sequence *only = MOSA_ARENA_NEW(&p->arena, pattern_sequence);
    if (!inner || !only) return mosa_fail(p->err, MOSA_ENOMEM, "out of memory for a pattern");
    *inner = *node;
    *only = (pattern_sequence){.first = inner, .last = inner};
    *node = (pattern_node){.kind = PATTERN_REPEAT, .alternatives = only, .min = min, .max = max};
    uint32_t again;
    if (quantifier(p, &again, &again)) return invalid(p, "nothing to repeat");
    return MOSA_OK;
}

static mosa_status sequence(pattern_parser *p, pattern_sequence *out) {
    while (more(p) && peek(p) != '|' && peek(p) != ')') {
        pattern_node *node = MOSA_ARENA_NEW(&p->arena, pattern_node);
        if (!node) return mosa_fail(p->err, MOSA_ENOMEM, "out of memory for a pattern");
        MOSA_TRY(atom(p, node));
        MOSA_TRY(repeat(p, node));
        if (out->last)
            out->last->next = node;
        else
            out->first = node;
        out->last = node;
    }
    return MOSA_OK;
}

static mosa_status alternatives(pattern_parser *p, pattern_sequence **out) {
    pattern_sequence **tail = out;
    do {
        *tail = MOSA_ARENA_NEW(&p->arena, pattern_sequence);
        if (!*tail) return mosa_fail(p->err, MOSA_ENOMEM, "out of memory for a pattern");
        MOSA_TRY(sequence(p, *tail));
        tail = &(*tail)->next;
    } while (take(p, "|"));
    return MOSA_OK;
}

static void leading_flags(pattern_parser *p) {
    size_t begin = p->at;
    bool ignore_case = false, dot_all = false;
    if (!take(p, "(?")) return;
    for (; more(p) && strchr("isu", peek(p)); p->at++) {
        ignore_case |= peek(p) == 'i';
        dot_all |= peek(p) == 's';
    }
    if (!take(p, ")")) {
        p->at = begin;
        return;
    }
    p->ignore_case |= ignore_case;
    p->dot_all |= dot_all;
}

mosa_status pattern_parse(pattern_parser *p, pattern_sequence **out) {
    if (mosa_utf8_valid_prefix(p->text.data, p->text.len) != p->text.len) return invalid(p, "not UTF-8");
    leading_flags(p);
    MOSA_TRY(alternatives(p, out));
    return more(p) ? invalid(p, ") without (") : MOSA_OK;
}
