// GBNF: rules `name ::= body` over character classes and strings; `root` is the start.
#include "text/grammar/front_rules.h"

#include <string.h>

static void blank(front_rules *p, bool newlines) {
    while (front_more(p)) {
        char ch = front_peek(p);
        if (ch == '#') {
            while (front_more(p) && front_peek(p) != '\n') p->at++;
        } else if (ch == ' ' || ch == '\t' || ch == '\r' || (newlines && ch == '\n'))
            p->at++;
        else
            return;
    }
}

static bool name_char(char ch) {
    return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') || ch == '-' || ch == '_';
}

static mosa_slice name(front_rules *p) {
    size_t begin = p->at;
    while (front_more(p) && name_char(front_peek(p))) p->at++;
    return (mosa_slice){p->text.data + begin, p->at - begin};
}

// A name that begins the next rule ends this one.
static bool at_next_rule(front_rules *p) {
    size_t begin = p->at;
    name(p);
    blank(p, true);
    bool found = p->at > begin && p->text.len - p->at >= 3 && memcmp(p->text.data + p->at, "::=", 3) == 0;
    p->at = begin;
    return found;
}

static mosa_status alternatives(front_rules *p, bool nested, mosa_symbol *out);

static mosa_status element(front_rules *p, bool nested, mosa_symbol *out) {
    char ch = front_peek(p);
    if (ch == '(') {
        p->at++;
        MOSA_TRY(front_enter(p));
        MOSA_TRY(alternatives(p, true, out));
        p->depth--;
        return front_take(p, ")") ? MOSA_OK : front_invalid(p, "( without )");
    }
    if (ch == '"') return front_string(p, out);
    if (ch == '[' || ch == '.') return front_class(p, out);
    mosa_slice word = name(p);
    (void)nested;
    if (word.len == 0) return front_invalid(p, "a character that begins nothing");
    return front_use(p, word, out);
}

static mosa_status sequence(front_rules *p, bool nested, uint32_t rule) {
    front_symbols list = {0};
    mosa_status status = MOSA_OK;
    blank(p, true);
    while (status == MOSA_OK && front_more(p) && front_peek(p) != '|' && front_peek(p) != ')' &&
           (nested || !at_next_rule(p))) {
        mosa_symbol symbol;
        status = element(p, nested, &symbol);
        if (status == MOSA_OK) status = front_quantified(p, &symbol);
        if (status == MOSA_OK) status = front_push(p, &list, symbol);
        blank(p, true);
    }
    if (status == MOSA_OK) mosa_cfg_add(p->cfg, rule, list.items, list.count);
    front_symbols_finish(&list);
    return status;
}

static mosa_status alternatives(front_rules *p, bool nested, mosa_symbol *out) {
    uint32_t rule = mosa_cfg_rule(p->cfg);
    do MOSA_TRY(sequence(p, nested, rule));
    while (front_take(p, "|"));
    *out = MOSA_SYMBOL_RULE | rule;
    return mosa_cfg_report(p->cfg, p->err);
}

static mosa_status rules(front_rules *p) {
    for (blank(p, true); front_more(p); blank(p, true)) {
        mosa_slice word = name(p);
        uint32_t rule;
        mosa_symbol body;
        blank(p, true);
        if (word.len == 0 || !front_take(p, "::=")) return front_invalid(p, "expected `name ::=`");
        MOSA_TRY(front_define(p, word, &rule));
        MOSA_TRY(alternatives(p, false, &body));
        mosa_cfg_add(p->cfg, rule, &body, 1);
    }
    return MOSA_OK;
}

mosa_status mosa_front_gbnf(mosa_front *front, mosa_slice text, mosa_symbol *start, mosa_error *err) {
    front_rules p;
    front_rules_init(&p, front, text, err);
    mosa_status status = rules(&p);
    if (status == MOSA_OK) status = front_start(&p, MOSA_SLICE("root"), start);
    front_rules_finish(&p);
    return status;
}

bool mosa_front_is_gbnf(mosa_slice text) {
    bool quoted = false, comment = false;
    for (size_t i = 0; i < text.len; i++) {
        char ch = text.data[i];
        if (ch == '\n')
            quoted = comment = false;
        else if (comment)
            continue;
        else if (ch == '\\')
            i++;
        else if (ch == '"')
            quoted = !quoted;
        else if (ch == '#' && !quoted)
            comment = true;
        else if (!quoted && ch == ':' && text.len - i >= 3 && memcmp(text.data + i, "::=", 3) == 0)
            return true;
    }
    return false;
}
