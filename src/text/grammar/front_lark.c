// The Lark-like dialect: `name: body`, one rule a line; a line that begins with | or white space goes on.
//
//   start: think? answer
//   think: "<think>" UNTIL_END
//   UNTIL_END: %until "</think>"          // everything up to and with the first "</think>"
//   answer: %without "<tool_call>"        // any text in which "<tool_call>" does not occur
//         | call+ <|eom_id|>              // a token without text, by its name
//   call: "<tool_call>" %json {"type": "object"} "</tool_call>"
//
// Strings, /regular expressions/, ( ), [ ] for "may be missing", | * + ? {m,n} ~m..n, "a".."z" ranges. A name in
// capitals is no different from another: every string and expression is a terminal, and all ways to cut the text are
// followed.
#include "text/grammar/front_rules.h"

#include "codec/json.h"
#include "text/grammar/charset.h"
#include "text/grammar/pattern_class.h"

#include <string.h>

static bool name_char(char ch) {
    return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') || ch == '_' || ch == '-';
}

static mosa_slice name(front_rules *p) {
    size_t begin = p->at;
    while (front_more(p) && name_char(front_peek(p))) p->at++;
    return (mosa_slice){p->text.data + begin, p->at - begin};
}

static void blank(front_rules *p, bool newlines) {
    while (front_more(p)) {
        char ch = front_peek(p);
        bool comment = ch == '#' || (ch == '/' && p->at + 1 < p->text.len && p->text.data[p->at + 1] == '/');
        if (comment)
            while (front_more(p) && front_peek(p) != '\n') p->at++;
        else if (ch == ' ' || ch == '\t' || ch == '\r' || (newlines && ch == '\n'))
            p->at++;
        else
            return;
    }
}

// Behind the end of a line: whether the rule goes on, that is, whether no new rule or directive begins.
static bool goes_on(front_rules *p) {
    size_t begin = p->at;
    blank(p, true);
    bool ends = !front_more(p);
    size_t word = p->at;
    if (!ends && front_peek(p) == '%' && p->text.len - p->at >= 7)
        ends = memcmp(p->text.data + p->at, "%ignore", 7) == 0 || memcmp(p->text.data + p->at, "%import", 7) == 0;
    if (!ends && (front_peek(p) == '?' || front_peek(p) == '!')) p->at++;
    if (!ends && name(p).len > 0) {
        blank(p, false);
        ends = front_more(p) && front_peek(p) == ':';
    }
    p->at = ends ? begin : word;
    return !ends;
}

static mosa_status alternatives(front_rules *p, mosa_symbol *out);

// --- terminals

static mosa_status expression(front_rules *p, mosa_symbol *out) {
    size_t begin = ++p->at;
    bool class = false;
    for (; front_more(p) && front_peek(p) != '\n' && (class || front_peek(p) != '/'); p->at++) {
        if (front_peek(p) == '\\')
            p->at++;
        else if (front_peek(p) == '[')
            class = true;
        else if (front_peek(p) == ']')
            class = false;
    }
    if (!front_more(p) || front_peek(p) != '/') return front_invalid(p, "an expression without its /");
    mosa_buf pattern = {0};
    size_t end = p->at++;
    char flags[4] = "";
    size_t n = 0;
    while (front_more(p) && (front_peek(p) == 'i' || front_peek(p) == 's') && n < 3) flags[n++] = p->text.data[p->at++];
    if (n) mosa_buf_printf(&pattern, "(?%s)", flags);
    for (size_t i = begin; i < end; i++) { // \/ is a slash
        if (p->text.data[i] == '\\' && i + 1 < end && p->text.data[i + 1] == '/')
            i++;
        else if (p->text.data[i] == '\\' && i + 1 < end)
            mosa_buf_append_char(&pattern, p->text.data[i++]);
        mosa_buf_append_char(&pattern, p->text.data[i]);
    }
    mosa_rx rx;
    mosa_status status = mosa_buf_failed(&pattern)
                             ? front_memory(p)
                             : mosa_pattern_rx(&p->cfg->pool, mosa_buf_slice(&pattern), 0, &rx, p->err);
    mosa_buf_finish(&pattern);
    if (status == MOSA_OK) *out = front_lexeme(p, rx);
    return status;
}

static mosa_status range_or_string(front_rules *p, mosa_symbol *out) {
    size_t begin = p->at;
    mosa_buf low = {0}, high = {0};
    bool fold = false;
    mosa_status status = front_string_bytes(p, &low, &fold);
    size_t behind = p->at;
    blank(p, false);
    bool range = status == MOSA_OK && front_take(p, "..");
    if (range) blank(p, false);
    if (range && (!front_more(p) || front_peek(p) != '"')) status = front_invalid(p, "a range without its end");
    if (range && status == MOSA_OK) status = front_string_bytes(p, &high, &fold);
    if (range && status == MOSA_OK) {
        mosa_charset set = {0};
        uint32_t lo, hi;
        size_t a = 0, b = 0;
        status = low.len && high.len ? pattern_char(mosa_buf_slice(&low), &a, &lo, p->err)
                                     : front_invalid(p, "an empty range");
        if (status == MOSA_OK) status = pattern_char(mosa_buf_slice(&high), &b, &hi, p->err);
        if (status == MOSA_OK && (a != low.len || b != high.len || lo > hi))
            status = front_invalid(p, "a range is of single characters, the smaller first");
        if (status == MOSA_OK) {
            mosa_charset_add(&set, lo, hi);
            *out = front_lexeme(p, mosa_charset_rx(&p->cfg->pool, &set, MOSA_SPELL_UTF8));
        }
        mosa_charset_finish(&set);
    }
    mosa_buf_finish(&low);
    mosa_buf_finish(&high);
    if (status != MOSA_OK || range) return status;
    p->at = begin;
    status = front_string(p, out);
    return p->at == behind || status != MOSA_OK ? status : front_invalid(p, "a string without its end");
}

// %until "a" "b": text up to and with the first of them. %without: text in which none occurs.
static mosa_status lazy_text(front_rules *p, bool until, mosa_symbol *out) {
    mosa_rx_pool *pool = &p->cfg->pool;
    mosa_rx stops = MOSA_RX_NONE, text = mosa_rx_star(pool, mosa_any_char_rx(pool, MOSA_SPELL_UTF8));
    for (blank(p, false); front_more(p) && front_peek(p) == '"'; blank(p, false)) {
        mosa_buf bytes = {0};
        bool fold = false;
        mosa_status status = front_string_bytes(p, &bytes, &fold);
        if (status == MOSA_OK && bytes.len == 0) status = front_invalid(p, "an empty string ends nothing");
        if (status == MOSA_OK) stops = mosa_rx_or(pool, stops, mosa_rx_literal(pool, mosa_buf_slice(&bytes)));
        mosa_buf_finish(&bytes);
        MOSA_TRY(status);
        blank(p, false);
        front_take(p, ",");
    }
    if (stops == MOSA_RX_NONE) return front_invalid(p, "%until and %without are followed by strings");
    mosa_rx before = mosa_rx_cat(pool, MOSA_RX_ALL, stops), rx;
    mosa_rx earlier = mosa_rx_cat(pool, before, MOSA_RX_ALL); // a stop occurs
    if (until) {                                              // ... at the end, and not before
        mosa_byte_set any = {0};
        mosa_byte_set_add(&any, 0, 255);
        mosa_rx more = mosa_rx_cat(pool, before, mosa_rx_repeat(pool, mosa_rx_set(pool, &any), 1, MOSA_RX_FOREVER));
        rx = mosa_rx_and(pool, mosa_rx_and(pool, before, mosa_rx_not(pool, more)), text);
    } else
        rx = mosa_rx_and(pool, text, mosa_rx_not(pool, earlier));
    *out = front_lexeme(p, rx);
    return MOSA_OK;
}

static mosa_status inline_json(front_rules *p, mosa_symbol *out) {
    blank(p, true);
    size_t begin = p->at;
    int depth = 0;
    bool quoted = false;
    do {
        if (!front_more(p)) return front_invalid(p, "%json without a whole object behind it");
        char ch = p->text.data[p->at++];
        if (quoted && ch == '\\')
            p->at++;
        else if (ch == '"')
            quoted = !quoted;
        else if (!quoted && ch == '{')
            depth++;
        else if (!quoted && ch == '}')
            depth--;
        else if (!quoted && depth == 0)
            return front_invalid(p, "%json is followed by a schema in braces");
    } while (depth > 0 || quoted);
    if (p->at > p->text.len) return front_invalid(p, "%json without a whole object behind it");
    return mosa_front_schema(p->front, (mosa_slice){p->text.data + begin, p->at - begin}, out, p->err);
}

// The token that "<name>" or "<[number]>" names.
static mosa_token_id find_token(const mosa_tokenizer *tokenizer, mosa_slice spelling) {
    if (!tokenizer) return MOSA_TOKEN_NONE;
    if (spelling.len < 5 || memcmp(spelling.data, "<[", 2) != 0) return mosa_tokenizer_find(tokenizer, spelling);
    size_t id = 0, i = 2;
    for (; spelling.data[i] >= '0' && spelling.data[i] <= '9'; i++)
        if (id < 1u << 30) id = id * 10 + (size_t)(spelling.data[i] - '0');
    bool whole = i + 2 == spelling.len && spelling.data[i] == ']';
    return whole && id < mosa_tokenizer_size(tokenizer) ? (mosa_token_id)id : MOSA_TOKEN_NONE;
}

// <|name|> or <name> or, by its number, <[7]>: a token; one that has text is that text.
static mosa_status token(front_rules *p, mosa_symbol *out) {
    const char *close = memchr(p->text.data + p->at, '>', p->text.len - p->at);
    if (!close) return front_invalid(p, "< without >");
    mosa_slice spelling = {p->text.data + p->at, (size_t)(close + 1 - p->text.data) - p->at};
    mosa_token_id id = find_token(p->front->tokenizer, spelling);
    if (id == MOSA_TOKEN_NONE)
        return mosa_fail(p->err, MOSA_EINVALID, "grammar: the model has no token %.*s",
                         (int)(spelling.len < 80 ? spelling.len : 80), spelling.data);
    p->at += spelling.len;
    mosa_token_type type = mosa_tokenizer_token_type(p->front->tokenizer, id);
    bool text = type == MOSA_TOKEN_NORMAL || type == MOSA_TOKEN_USER_DEFINED;
    *out = text ? front_lexeme(p, mosa_rx_literal(&p->cfg->pool, mosa_tokenizer_token_bytes(p->front->tokenizer, id)))
                : mosa_cfg_token(p->cfg, id);
    return MOSA_OK;
}

// --- rules

static mosa_status nested(front_rules *p, const char *close, mosa_symbol *out) {
    p->at++;
    MOSA_TRY(front_enter(p));
    MOSA_TRY(alternatives(p, out));
    p->depth--;
    blank(p, true);
    return front_take(p, close) ? MOSA_OK : front_invalid(p, "a bracket that is not closed");
}

static mosa_status element(front_rules *p, mosa_symbol *out) {
    switch (front_peek(p)) {
    case '(':
        return nested(p, ")", out);
    case '[':
        MOSA_TRY(nested(p, "]", out));
        *out = mosa_cfg_repeat(p->cfg, *out, UINT32_MAX, 0, 1);
        return MOSA_OK;
    case '"':
        return range_or_string(p, out);
    case '/':
        return expression(p, out);
    case '<':
        return token(p, out);
    default:
        break;
    }
    if (front_take(p, "%json")) return inline_json(p, out);
    if (front_take(p, "%until")) return lazy_text(p, true, out);
    if (front_take(p, "%without")) return lazy_text(p, false, out);
    mosa_slice word = name(p);
    return word.len ? front_use(p, word, out) : front_invalid(p, "a character that begins nothing");
}

// Lark's ~n and ~m..n, besides the quantifiers that both dialects have.
static mosa_status quantified(front_rules *p, mosa_symbol *symbol) {
    MOSA_TRY(front_quantified(p, symbol));
    if (!front_take(p, "~")) return MOSA_OK;
    uint32_t bounds[2] = {0, 0};
    for (int i = 0; i < 2; i++) {
        size_t begin = p->at;
        for (; front_more(p) && front_peek(p) >= '0' && front_peek(p) <= '9'; p->at++)
            if (bounds[i] < 1000000) bounds[i] = bounds[i] * 10 + (uint32_t)(front_peek(p) - '0');
        if (p->at == begin) return front_invalid(p, "~ without a number");
        if (i == 0 && !front_take(p, "..")) {
            bounds[1] = bounds[0];
            break;
        }
    }
    if (bounds[1] < bounds[0]) return front_invalid(p, "a repetition whose bounds fall");
    *symbol = mosa_cfg_repeat(p->cfg, *symbol, UINT32_MAX, bounds[0], bounds[1]);
    return mosa_cfg_report(p->cfg, p->err);
}

static bool at_end(front_rules *p) {
    blank(p, p->depth > 0);
    if (!front_more(p)) return true;
    char ch = front_peek(p);
    if (ch == '\n') return !goes_on(p) || front_peek(p) == '|';
    return ch == '|' || ch == ')' || ch == ']';
}

static mosa_status sequence(front_rules *p, uint32_t rule) {
    front_symbols list = {0};
    mosa_status status = MOSA_OK;
    while (status == MOSA_OK && !at_end(p)) {
        mosa_symbol symbol;
        if (front_take(p, "->")) { // Lark's alias names a tree node; there are no trees here
            blank(p, false);
            name(p);
            continue;
        }
        status = element(p, &symbol);
        if (status == MOSA_OK) status = quantified(p, &symbol);
        if (status == MOSA_OK) status = front_push(p, &list, symbol);
    }
    if (status == MOSA_OK) mosa_cfg_add(p->cfg, rule, list.items, list.count);
    front_symbols_finish(&list);
    return status;
}

static mosa_status alternatives(front_rules *p, mosa_symbol *out) {
    uint32_t rule = mosa_cfg_rule(p->cfg);
    do MOSA_TRY(sequence(p, rule));
    while (front_take(p, "|"));
    *out = MOSA_SYMBOL_RULE | rule;
    return mosa_cfg_report(p->cfg, p->err);
}

static mosa_status rules(front_rules *p) {
    for (blank(p, true); front_more(p); blank(p, true)) {
        uint32_t rule;
        mosa_symbol body;
        if (front_peek(p) == '%') return front_unsupported(p, "this directive");
        front_take(p, "?"); // Lark: inline this node
        front_take(p, "!");
        mosa_slice word = name(p);
        blank(p, false);
        if (word.len == 0 || !front_take(p, ":")) return front_invalid(p, "expected `name:`");
        MOSA_TRY(front_define(p, word, &rule));
        MOSA_TRY(alternatives(p, &body));
        if (front_more(p) && (front_peek(p) == ')' || front_peek(p) == ']')) return front_invalid(p, ") without (");
        mosa_cfg_add(p->cfg, rule, &body, 1);
    }
    return MOSA_OK;
}

mosa_status mosa_front_lark(mosa_front *front, mosa_slice text, mosa_symbol *start, mosa_error *err) {
    front_rules p;
    front_rules_init(&p, front, text, err);
    mosa_status status = rules(&p);
    if (status == MOSA_OK) status = front_start(&p, MOSA_SLICE("start"), start);
    front_rules_finish(&p);
    return status;
}
