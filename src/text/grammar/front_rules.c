// What the two grammar dialects share.
#include "text/grammar/front_rules.h"

#include "text/grammar/charset.h"
#include "text/grammar/pattern.h"
#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>

void front_rules_init(front_rules *p, mosa_front *front, mosa_slice text, mosa_error *err) {
    *p = (front_rules){.front = front, .cfg = front->cfg, .text = text, .err = err};
}

void front_rules_finish(front_rules *p) {
    free(p->names);
    free(p->slots);
}

bool front_take(front_rules *p, const char *token) {
    size_t len = strlen(token);
    if (p->text.len - p->at < len || memcmp(p->text.data + p->at, token, len) != 0) return false;
    p->at += len;
    return true;
}

static int line_at(const front_rules *p, size_t at) {
    int line = 1;
    for (size_t i = 0; i < at && i < p->text.len; i++) line += p->text.data[i] == '\n';
    return line;
}

mosa_status front_invalid(front_rules *p, const char *what) {
    return mosa_fail(p->err, MOSA_EINVALID, "grammar, line %d: %s", line_at(p, p->at), what);
}
mosa_status front_unsupported(front_rules *p, const char *what) {
    return mosa_fail(p->err, MOSA_EUNSUPPORTED, "grammar, line %d: %s is not supported", line_at(p, p->at), what);
}
mosa_status front_memory(front_rules *p) {
    return mosa_fail(p->err, MOSA_ENOMEM, "out of memory for a grammar");
}
mosa_status front_enter(front_rules *p) {
    if (++p->depth <= MOSA_GRAMMAR_NESTING_MAX) return MOSA_OK;
    return mosa_fail(p->err, MOSA_ELIMIT, "grammar, line %d: parentheses nest deeper than %d", line_at(p, p->at),
                     MOSA_GRAMMAR_NESTING_MAX);
}

// --- names

static size_t slot_of(const front_rules *p, mosa_slice name) {
    size_t slot = mosa_hash_bytes(name.data, name.len, 0) & (p->slot_count - 1);
    while (p->slots[slot] && !mosa_slice_eq(p->names[p->slots[slot] - 1].name, name))
        slot = (slot + 1) & (p->slot_count - 1);
    return slot;
}

static mosa_status find_name(front_rules *p, mosa_slice name, front_name **out) {
    if (!p->slots) {
        p->slot_count = 2 * MOSA_GRAMMAR_RULES_MAX;
        p->slots = calloc(p->slot_count, sizeof *p->slots);
        if (!p->slots) return front_memory(p);
    }
    size_t slot = slot_of(p, name);
    if (!p->slots[slot]) {
        MOSA_TRY(mosa_cfg_report(p->cfg, p->err));
        if (p->name_count == p->name_capacity) {
            size_t capacity = p->name_capacity ? 2 * p->name_capacity : 64;
            front_name *names = realloc(p->names, capacity * sizeof *names);
            if (!names) return front_memory(p);
            p->names = names;
            p->name_capacity = capacity;
        }
        p->names[p->name_count] = (front_name){.name = name, .rule = mosa_cfg_rule(p->cfg), .first_use = p->at};
        p->slots[slot] = (uint32_t)++p->name_count;
        MOSA_TRY(mosa_cfg_report(p->cfg, p->err));
    }
    *out = &p->names[p->slots[slot] - 1];
    return MOSA_OK;
}

mosa_status front_use(front_rules *p, mosa_slice name, mosa_symbol *out) {
    front_name *n;
    MOSA_TRY(find_name(p, name, &n));
    *out = MOSA_SYMBOL_RULE | n->rule;
    return MOSA_OK;
}

mosa_status front_define(front_rules *p, mosa_slice name, uint32_t *rule) {
    front_name *n;
    MOSA_TRY(find_name(p, name, &n));
    if (n->defined) return front_invalid(p, "a rule of this name is there already");
    n->defined = true;
    *rule = n->rule;
    return MOSA_OK;
}

mosa_status front_start(front_rules *p, mosa_slice name, mosa_symbol *out) {
    for (size_t i = 0; i < p->name_count; i++) {
        mosa_slice used = p->names[i].name;
        if (!p->names[i].defined)
            return mosa_fail(p->err, MOSA_EINVALID, "grammar, line %d: no rule is called %.*s",
                             line_at(p, p->names[i].first_use), (int)(used.len < 80 ? used.len : 80), used.data);
        if (mosa_slice_eq(used, name)) *out = MOSA_SYMBOL_RULE | p->names[i].rule;
    }
    if (p->slots && p->slots[slot_of(p, name)]) return MOSA_OK;
    return mosa_fail(p->err, MOSA_EINVALID, "grammar: there is no rule \"%.*s\" to start with", (int)name.len,
                     name.data);
}

// --- strings and classes

static mosa_status string_escape(front_rules *p, mosa_buf *out) {
    static const char names[] = "ntrbfv0", values[] = "\n\t\r\b\f\v";
    if (!front_more(p)) return front_invalid(p, "a string without its end");
    char ch = p->text.data[p->at++];
    const char *found = strchr(names, ch);
    int digits = ch == 'x' ? 2 : ch == 'u' ? 4 : ch == 'U' ? 8 : 0;
    if (!digits) {
        mosa_buf_append_char(out, found && ch ? values[found - names] : ch);
        return MOSA_OK;
    }
    uint32_t c = 0;
    for (int i = 0; i < digits; i++) {
        char d = front_more(p) ? (char)(front_peek(p) | 32) : ' ';
        int value = d >= '0' && d <= '9' ? d - '0' : d >= 'a' && d <= 'f' ? d - 'a' + 10 : -1;
        if (value < 0) return front_invalid(p, "an escape without its hexadecimal digits");
        c = c << 4 | (uint32_t)value;
        p->at++;
    }
    if (c > 0x10FFFF || (c >= 0xD800 && c < 0xE000)) return front_invalid(p, "an escape that names no character");
    mosa_spell_char(out, c, MOSA_SPELL_UTF8);
    return MOSA_OK;
}

mosa_status front_string_bytes(front_rules *p, mosa_buf *out, bool *ignore_case) {
    p->at++;
    while (front_more(p) && front_peek(p) != '"') {
        char ch = p->text.data[p->at++];
        if (ch == '\n') return front_invalid(p, "a string without its end");
        if (ch == '\\')
            MOSA_TRY(string_escape(p, out));
        else
            mosa_buf_append_char(out, ch);
    }
    if (!front_take(p, "\"")) return front_invalid(p, "a string without its end");
    *ignore_case = front_take(p, "i");
    return mosa_buf_failed(out) ? front_memory(p) : MOSA_OK;
}

mosa_symbol front_lexeme(front_rules *p, mosa_rx rx) {
    return mosa_cfg_lexeme(p->cfg, rx, false);
}

static mosa_rx both_cases(mosa_rx_pool *pool, mosa_slice text) {
    mosa_rx r = MOSA_RX_EPS;
    for (size_t i = text.len; i > 0; i--) {
        unsigned char ch = (unsigned char)text.data[i - 1];
        mosa_byte_set set = {0};
        mosa_byte_set_add(&set, ch, ch);
        if ((ch | 32) >= 'a' && (ch | 32) <= 'z') mosa_byte_set_add(&set, ch ^ 32u, ch ^ 32u);
        r = mosa_rx_cat(pool, mosa_rx_set(pool, &set), r);
    }
    return r;
}

mosa_status front_string(front_rules *p, mosa_symbol *out) {
    mosa_buf bytes = {0};
    bool ignore_case = false;
    mosa_status status = front_string_bytes(p, &bytes, &ignore_case);
    if (status == MOSA_OK) {
        mosa_slice text = mosa_buf_slice(&bytes);
        mosa_rx rx = ignore_case ? both_cases(&p->cfg->pool, text) : mosa_rx_literal(&p->cfg->pool, text);
        *out = front_lexeme(p, rx);
    }
    mosa_buf_finish(&bytes);
    return status;
}

mosa_status front_class(front_rules *p, mosa_symbol *out) {
    mosa_charset set = {0};
    mosa_status status = MOSA_OK;
    if (front_take(p, "["))
        status = mosa_pattern_class(p->text, &p->at, &set, p->err);
    else {
        p->at++;
        mosa_charset_add(&set, 0, 0x10FFFF);
    }
    if (status == MOSA_OK) *out = front_lexeme(p, mosa_charset_rx(&p->cfg->pool, &set, MOSA_SPELL_UTF8));
    mosa_charset_finish(&set);
    return status;
}

// --- repetition

static bool number(front_rules *p, uint32_t *out) {
    size_t begin = p->at;
    uint32_t value = 0;
    for (; front_more(p) && front_peek(p) >= '0' && front_peek(p) <= '9'; p->at++)
        if (value < 1000000) value = value * 10 + (uint32_t)(front_peek(p) - '0');
    *out = value;
    return p->at > begin;
}

// A lexeme repeats as a term, which keeps the parser out of it; a rule as rules.
static mosa_symbol repeated(front_rules *p, mosa_symbol inner, uint32_t min, uint32_t max) {
    bool lexeme = mosa_symbol_kind(inner) == MOSA_SYMBOL_LEXEME && !mosa_cfg_failed(p->cfg);
    mosa_rx rx = lexeme ? p->cfg->lexemes[mosa_symbol_index(inner)].rx : MOSA_RX_NONE;
    bool bounded = max == MOSA_RX_FOREVER ? min <= MOSA_GRAMMAR_REPEAT_MAX : max <= MOSA_GRAMMAR_REPEAT_MAX;
    if (rx != MOSA_RX_NONE && bounded) return front_lexeme(p, mosa_rx_repeat(&p->cfg->pool, rx, min, max));
    return mosa_cfg_repeat(p->cfg, inner, UINT32_MAX, min, max);
}

mosa_status front_quantified(front_rules *p, mosa_symbol *symbol) {
    for (;;) {
        uint32_t min = 0, max = MOSA_RX_FOREVER;
        if (front_take(p, "+"))
            min = 1;
        else if (front_take(p, "?"))
            max = 1;
        else if (front_take(p, "{")) {
            if (!number(p, &min)) min = 0;
            max = min;
            if (front_take(p, ",") && !number(p, &max)) max = MOSA_RX_FOREVER;
            if (!front_take(p, "}") || max < min) return front_invalid(p, "a repetition is {m}, {m,} or {m,n}");
        } else if (!front_take(p, "*"))
            return MOSA_OK;
        *symbol = repeated(p, *symbol, min, max);
        MOSA_TRY(mosa_cfg_report(p->cfg, p->err));
    }
}

mosa_status front_push(front_rules *p, front_symbols *list, mosa_symbol symbol) {
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : 16;
        mosa_symbol *items = realloc(list->items, capacity * sizeof *items);
        if (!items) return front_memory(p);
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->count++] = symbol;
    return MOSA_OK;
}

void front_symbols_finish(front_symbols *list) {
    free(list->items);
}
