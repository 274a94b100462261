// Template source to tokens, with the environment's whitespace rules: one newline after a block tag is dropped
// (trim_blocks), blanks before a block tag at the start of a line are dropped (lstrip_blocks), "-" strips on its side,
// "+" keeps. Newlines are normalised, and one at the very end of the source is dropped.
// Invariant: the source is valid UTF-8, so that a byte scan never cuts a code point.
#include "text/jinja_ast.h"

#include <stdlib.h>

typedef struct lexer {
    mosa_arena *arena;
    const char *src;
    size_t len, pos;
    unsigned line;
    bool line_starting; // the last thing consumed ended with a newline
    jinja_token *tokens;
    size_t n, capacity;
    char *closers; // stack of the brackets that are open
    size_t n_closers, closers_capacity;
    mosa_error *err;
} lexer;

static const struct {
    const char *text;
    jinja_token_type type;
} operators[] = {
    // longest first
    {"//", TOKEN_FLOORDIV}, {"**", TOKEN_POW},   {"==", TOKEN_EQ},      {"!=", TOKEN_NE},      {">=", TOKEN_GTEQ},
    {"<=", TOKEN_LTEQ},     {"+", TOKEN_ADD},    {"-", TOKEN_SUB},      {"/", TOKEN_DIV},      {"*", TOKEN_MUL},
    {"%", TOKEN_MOD},       {"~", TOKEN_TILDE},  {"[", TOKEN_LBRACKET}, {"]", TOKEN_RBRACKET}, {"(", TOKEN_LPAREN},
    {")", TOKEN_RPAREN},    {"{", TOKEN_LBRACE}, {"}", TOKEN_RBRACE},   {">", TOKEN_GT},       {"<", TOKEN_LT},
    {"=", TOKEN_ASSIGN},    {".", TOKEN_DOT},    {":", TOKEN_COLON},    {"|", TOKEN_PIPE},     {",", TOKEN_COMMA},
    {";", TOKEN_SEMICOLON},
};

const char *jinja_token_text(jinja_token_type type) {
    switch (type) {
    case TOKEN_END:
        return "end of template";
    case TOKEN_DATA:
        return "template data / text";
    case TOKEN_VARIABLE_BEGIN:
        return "begin of print statement";
    case TOKEN_VARIABLE_END:
        return "end of print statement";
    case TOKEN_BLOCK_BEGIN:
        return "begin of statement block";
    case TOKEN_BLOCK_END:
        return "end of statement block";
    case TOKEN_NAME:
        return "name";
    case TOKEN_STRING:
        return "string";
    case TOKEN_INTEGER:
        return "integer";
    case TOKEN_FLOAT:
        return "float";
    default:
        break;
    }
    for (size_t i = 0; i < MOSA_COUNT(operators); i++)
        if (operators[i].type == type) return operators[i].text;
    return "token";
}

static mosa_status out_of_memory(lexer *lx) {
    return mosa_fail(lx->err, MOSA_ENOMEM, "chat template: out of memory");
}

static mosa_status lex_fail(lexer *lx, const char *what) {
    return mosa_fail(lx->err, MOSA_ECORRUPT, "chat template, line %u: %s", lx->line, what);
}

const jinja_str *jinja_constant_str(mosa_arena *arena, const char *data, size_t len) {
    jinja_str *s = MOSA_ARENA_NEW(arena, jinja_str);
    char *copy = s ? mosa_arena_strndup(arena, data, len) : NULL;
    if (!copy) return NULL;
    *s = (jinja_str){.data = copy, .len = len, .chars = jinja_utf8_count(copy, len), .flags = JINJA_TRUSTED};
    return s;
}

static mosa_status push(lexer *lx, jinja_token_type type, jinja_value value) {
    if (lx->n == lx->capacity) {
        size_t capacity = lx->capacity ? lx->capacity * 2 : 256;
        jinja_token *grown = MOSA_ARENA_ARRAY(lx->arena, jinja_token, capacity);
        if (!grown) return out_of_memory(lx);
        if (lx->n) memcpy(grown, lx->tokens, lx->n * sizeof *grown);
        lx->tokens = grown;
        lx->capacity = capacity;
    }
    lx->tokens[lx->n++] = (jinja_token){type, lx->line, value};
    return MOSA_OK;
}

static mosa_status push_text(lexer *lx, jinja_token_type type, const char *data, size_t len) {
    const jinja_str *s = jinja_constant_str(lx->arena, data, len);
    if (!s) return out_of_memory(lx);
    return push(lx, type, jinja_of_str(s));
}

static bool looking_at(const lexer *lx, size_t pos, const char *text) {
    size_t len = strlen(text);
    return lx->len - pos >= len && memcmp(lx->src + pos, text, len) == 0;
}

static size_t skip_space(const lexer *lx, size_t pos) {
    while (pos < lx->len) {
        size_t next = pos;
        if (!jinja_is_space(jinja_utf8_next(lx->src, lx->len, &next))) break;
        pos = next;
    }
    return pos;
}

// Moves to `end`, counting lines.
static void advance(lexer *lx, size_t end) {
    for (; lx->pos < end; lx->pos++)
        if (lx->src[lx->pos] == '\n') lx->line++;
    if (end > 0) lx->line_starting = lx->src[end - 1] == '\n';
}

// The end of a tag's closing mark at pos, whitespace control included; 0 when there is none.
// plus_allowed and trim differ between the kinds of tags.
static size_t match_close(const lexer *lx, size_t pos, const char *mark, bool plus_allowed, bool trim) {
    if (plus_allowed && pos < lx->len && lx->src[pos] == '+' && looking_at(lx, pos + 1, mark)) return pos + 3;
    if (pos < lx->len && lx->src[pos] == '-' && looking_at(lx, pos + 1, mark)) return skip_space(lx, pos + 3);
    if (!looking_at(lx, pos, mark)) return 0;
    pos += 2;
    return trim && pos < lx->len && lx->src[pos] == '\n' ? pos + 1 : pos;
}

static bool is_sign(const lexer *lx, size_t pos) {
    return pos < lx->len && (lx->src[pos] == '-' || lx->src[pos] == '+');
}

// {%[-+]? word at pos: returns the position after the word, or 0.
static size_t match_tag_word(const lexer *lx, size_t pos, const char *word) {
    if (!looking_at(lx, pos, "{%")) return 0;
    pos += 2;
    if (is_sign(lx, pos)) pos++;
    pos = skip_space(lx, pos);
    if (!looking_at(lx, pos, word)) return 0;
    return skip_space(lx, pos + strlen(word));
}

// Text between lx->pos and a tag at `tag` whose sign is at tag + 2, stripped by that sign and the lstrip rule.
static mosa_status push_data(lexer *lx, size_t tag, bool variable) {
    size_t begin = lx->pos, end = tag;
    char sign = is_sign(lx, tag + 2) ? lx->src[tag + 2] : '\0';
    if (sign == '-') {
        while (end > begin) {
            size_t previous = jinja_utf8_prev(lx->src, end), next = previous;
            if (!jinja_is_space(jinja_utf8_next(lx->src, lx->len, &next))) break;
            end = previous;
        }
    } else if (sign != '+' && !variable) {
        size_t start = end;
        while (start > begin && lx->src[start - 1] != '\n') start--;
        bool at_line_start = start > begin || lx->line_starting;
        if (at_line_start && skip_space(lx, start) >= end) end = start;
    }
    if (end > begin) MOSA_TRY(push_text(lx, TOKEN_DATA, lx->src + begin, end - begin));
    return MOSA_OK;
}

// {% raw %} up to and including {% endraw %}. body: where the raw text begins.
static mosa_status lex_raw(lexer *lx, size_t body) {
    advance(lx, body);
    if (lx->pos >= lx->len) return MOSA_OK;
    for (size_t tag = lx->pos; tag < lx->len; tag++) {
        size_t after = match_tag_word(lx, tag, "endraw");
        size_t end = after ? match_close(lx, after, "%}", true, true) : 0;
        if (!end) continue;
        MOSA_TRY(push_data(lx, tag, false));
        advance(lx, end);
        return MOSA_OK;
    }
    return lex_fail(lx, "missing end of raw directive");
}

static mosa_status lex_comment(lexer *lx) {
    advance(lx, lx->pos + 2 + is_sign(lx, lx->pos + 2));
    if (lx->pos >= lx->len) return MOSA_OK;
    for (size_t pos = lx->pos; pos < lx->len; pos++) {
        size_t end = match_close(lx, pos, "#}", true, true);
        if (!end) continue;
        advance(lx, end);
        return MOSA_OK;
    }
    return lex_fail(lx, "missing end of comment tag");
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

// (\d+_)*\d+ at pos; returns its end, or pos when there is none.
static size_t match_digits(const lexer *lx, size_t pos) {
    size_t end = pos;
    while (pos < lx->len && is_digit(lx->src[pos])) {
        end = ++pos;
        if (pos + 1 < lx->len && lx->src[pos] == '_' && is_digit(lx->src[pos + 1])) pos++;
    }
    return end;
}

static size_t match_float(const lexer *lx) {
    size_t pos = lx->pos;
    if (pos > 0 && lx->src[pos - 1] == '.') return 0;
    size_t whole = match_digits(lx, pos);
    if (whole == pos) return 0;
    size_t end = whole;
    if (end + 1 < lx->len && lx->src[end] == '.') {
        size_t fraction = match_digits(lx, end + 1);
        if (fraction > end + 1) end = fraction;
    }
    if (end < lx->len && (lx->src[end] == 'e' || lx->src[end] == 'E')) {
        size_t digits = end + 1 + is_sign(lx, end + 1);
        size_t exponent = match_digits(lx, digits);
        if (exponent > digits) return exponent;
    }
    return end > whole ? end : 0;
}

static bool digit_of_base(char c, int base) {
    if (base == 16) return is_digit(c) || ((c | 32) >= 'a' && (c | 32) <= 'f');
    return c >= '0' && c < '0' + base;
}

static size_t match_integer(const lexer *lx, int *base) {
    size_t pos = lx->pos;
    char prefix = lx->src[pos] == '0' && pos + 1 < lx->len ? (char)(lx->src[pos + 1] | 32) : '\0';
    *base = prefix == 'b' ? 2 : prefix == 'o' ? 8 : prefix == 'x' ? 16 : 10;
    size_t start = *base == 10 ? pos : pos + 2, end = start;
    while (end < lx->len) {
        size_t digit = end + (lx->src[end] == '_' && end > (*base == 10 ? start : 0));
        if (digit >= lx->len || !digit_of_base(lx->src[digit], *base)) break;
        // a decimal number does not begin with 0, except 0 itself
        if (*base == 10 && end > start && lx->src[start] == '0' && lx->src[digit] != '0') break;
        end = digit + 1;
    }
    if (end > start) return end;
    *base = 10;
    return prefix && lx->src[pos] == '0' ? pos + 1 : 0;
}

static mosa_status lex_number(lexer *lx, bool *found) {
    int base = 10;
    size_t real_end = match_float(lx);
    size_t end = real_end ? real_end : is_digit(lx->src[lx->pos]) ? match_integer(lx, &base) : 0;
    *found = end > 0;
    if (!end) return MOSA_OK;
    char digits[128];
    size_t n = 0;
    for (size_t i = lx->pos + (base == 10 ? 0 : 2); i < end; i++) {
        if (lx->src[i] == '_') continue;
        if (n + 1 >= sizeof digits) return lex_fail(lx, "number is too long");
        digits[n++] = lx->src[i];
    }
    digits[n] = '\0';
    jinja_value value;
    if (real_end) {
        value = jinja_float(strtod(digits, NULL));
    } else {
        int64_t integer = 0;
        for (size_t i = 0; i < n; i++) {
            int digit = is_digit(digits[i]) ? digits[i] - '0' : (digits[i] | 32) - 'a' + 10;
            if (__builtin_mul_overflow(integer, (int64_t)base, &integer) ||
                __builtin_add_overflow(integer, (int64_t)digit, &integer))
                return lex_fail(lx, "integer does not fit in 64 bits");
        }
        value = jinja_int(integer);
    }
    MOSA_TRY(push(lx, real_end ? TOKEN_FLOAT : TOKEN_INTEGER, value));
    advance(lx, end);
    return MOSA_OK;
}

static mosa_status lex_name(lexer *lx, bool *found) {
    size_t end = lx->pos, next = end;
    while (next < lx->len && jinja_is_id_continue(jinja_utf8_next(lx->src, lx->len, &next))) end = next;
    *found = end > lx->pos;
    if (!*found) return MOSA_OK;
    size_t first = lx->pos;
    if (!jinja_is_id_start(jinja_utf8_next(lx->src, lx->len, &first)))
        return lex_fail(lx, "invalid character in identifier");
    MOSA_TRY(push_text(lx, TOKEN_NAME, lx->src + lx->pos, end - lx->pos));
    advance(lx, end);
    return MOSA_OK;
}

static int hex_value(char c) {
    if (is_digit(c)) return c - '0';
    c |= 32;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// \x, \u or \U with `digits` hex digits at text[i]: the code point, or -1.
static int64_t hex_escape(const char *text, size_t len, size_t i, size_t digits) {
    if (len - i < digits) return -1;
    int64_t value = 0;
    for (size_t k = 0; k < digits; k++) {
        int digit = hex_value(text[i + k]);
        if (digit < 0) return -1;
        value = value * 16 + digit;
    }
    bool surrogate = value >= 0xD800 && value <= 0xDFFF;
    return value > 0x10FFFF || surrogate ? -1 : value;
}

static char simple_escape(char c) {
    static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
    const char *found = c ? strchr(from, c) : NULL;
    return found ? to[found - from] : '\0';
}

// One escape at text[*i], which is behind the backslash; writes its bytes. False when it is malformed.
static bool unescape(const char *text, size_t len, size_t *i, char *out, size_t *n) {
    char c = text[*i];
    if (simple_escape(c)) {
        out[(*n)++] = simple_escape(c);
        (*i)++;
    } else if (c == '\n') {
        (*i)++;
    } else if (c >= '0' && c <= '7') {
        uint32_t value = 0;
        for (int k = 0; k < 3 && *i < len && text[*i] >= '0' && text[*i] <= '7'; k++)
            value = value * 8 + (uint32_t)(text[(*i)++] - '0');
        *n += jinja_utf8_put(out + *n, value);
    } else if (c == 'x' || c == 'u' || c == 'U') {
        size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : 8;
        int64_t value = hex_escape(text, len, *i + 1, digits);
        if (value < 0) return false;
        *n += jinja_utf8_put(out + *n, (uint32_t)value);
        *i += 1 + digits;
    } else if (c == 'N') {
        return false;
    } else {
        out[(*n)++] = '\\';
    }
    return true;
}

static mosa_status lex_string(lexer *lx, bool *found) {
    char quote = lx->src[lx->pos];
    *found = false;
    if (quote != '\'' && quote != '"') return MOSA_OK;
    size_t begin = lx->pos + 1, end = begin;
    while (end < lx->len && lx->src[end] != quote) end += lx->src[end] == '\\' ? 2 : 1;
    if (end >= lx->len) return MOSA_OK;
    const char *text = lx->src + begin;
    size_t len = end - begin, n = 0;
    // No escape makes more bytes than it has, but an unfinished one may write its backslash.
    char *out = mosa_arena_alloc(lx->arena, len + 4);
    if (!out) return out_of_memory(lx);
    for (size_t i = 0; i < len;) {
        if (text[i] != '\\') {
            out[n++] = text[i++];
            continue;
        }
        i++;
        if (!unescape(text, len, &i, out, &n)) return lex_fail(lx, "malformed escape in a string");
    }
    *found = true;
    MOSA_TRY(push_text(lx, TOKEN_STRING, out, n));
    advance(lx, end + 1);
    return MOSA_OK;
}

static mosa_status track_bracket(lexer *lx, char c) {
    const char *pair = strchr("{}()[]", c);
    if (!pair) return MOSA_OK;
    if (strchr("{([", c)) {
        if (lx->n_closers == lx->closers_capacity) {
            size_t capacity = lx->closers_capacity ? lx->closers_capacity * 2 : 64;
            char *grown = mosa_arena_alloc(lx->arena, capacity);
            if (!grown) return out_of_memory(lx);
            if (lx->n_closers) memcpy(grown, lx->closers, lx->n_closers);
            lx->closers = grown;
            lx->closers_capacity = capacity;
        }
        lx->closers[lx->n_closers++] = pair[1];
        return MOSA_OK;
    }
    char message[] = "unexpected '?'";
    message[12] = c;
    if (lx->n_closers == 0 || lx->closers[--lx->n_closers] != c) return lex_fail(lx, message);
    return MOSA_OK;
}

static mosa_status lex_operator(lexer *lx, bool *found) {
    *found = false;
    for (size_t i = 0; i < MOSA_COUNT(operators); i++) {
        if (!looking_at(lx, lx->pos, operators[i].text)) continue;
        *found = true;
        if (!operators[i].text[1]) MOSA_TRY(track_bracket(lx, operators[i].text[0]));
        MOSA_TRY(push(lx, operators[i].type, jinja_none()));
        advance(lx, lx->pos + strlen(operators[i].text));
        return MOSA_OK;
    }
    return MOSA_OK;
}

// The inside of {{ }} or {% %}, to and including its end mark.
static mosa_status lex_tag(lexer *lx, bool variable) {
    MOSA_TRY(push(lx, variable ? TOKEN_VARIABLE_BEGIN : TOKEN_BLOCK_BEGIN, jinja_none()));
    advance(lx, lx->pos + 2 + is_sign(lx, lx->pos + 2));
    lx->n_closers = 0;
    for (;;) {
        if (lx->n_closers == 0) {
            size_t end = match_close(lx, lx->pos, variable ? "}}" : "%}", !variable, !variable);
            if (end) {
                MOSA_TRY(push(lx, variable ? TOKEN_VARIABLE_END : TOKEN_BLOCK_END, jinja_none()));
                advance(lx, end);
                return MOSA_OK;
            }
        }
        if (lx->pos >= lx->len) return MOSA_OK; // the parser reports the end of the template
        size_t after_space = skip_space(lx, lx->pos);
        if (after_space > lx->pos) {
            advance(lx, after_space);
            continue;
        }
        bool found = false;
        MOSA_TRY(lex_number(lx, &found));
        if (!found) MOSA_TRY(lex_name(lx, &found));
        if (!found) MOSA_TRY(lex_string(lx, &found));
        if (!found) MOSA_TRY(lex_operator(lx, &found));
        if (!found) return lex_fail(lx, "unexpected character");
    }
}

// Text up to the next tag, and that tag.
static mosa_status lex_root(lexer *lx) {
    size_t tag = lx->pos;
    while (tag < lx->len && !looking_at(lx, tag, "{{") && !looking_at(lx, tag, "{%") && !looking_at(lx, tag, "{#")) {
        const char *brace = tag + 1 < lx->len ? memchr(lx->src + tag + 1, '{', lx->len - tag - 1) : NULL;
        tag = brace ? (size_t)(brace - lx->src) : lx->len;
    }
    if (tag >= lx->len) {
        MOSA_TRY(push_text(lx, TOKEN_DATA, lx->src + lx->pos, lx->len - lx->pos));
        advance(lx, lx->len);
        return MOSA_OK;
    }
    char kind = lx->src[tag + 1];
    MOSA_TRY(push_data(lx, tag, kind == '{'));
    advance(lx, tag);
    if (kind == '#') return lex_comment(lx);
    size_t raw = kind == '%' ? match_tag_word(lx, tag, "raw") : 0;
    size_t raw_body = raw ? match_close(lx, raw, "%}", false, false) : 0;
    if (raw_body) return lex_raw(lx, raw_body);
    return lex_tag(lx, kind == '{');
}

// \r\n and \r become \n; one newline at the end goes.
static char *normalise(mosa_arena *arena, mosa_slice source, size_t *len) {
    char *text = mosa_arena_alloc(arena, source.len + 1);
    size_t n = 0;
    for (size_t i = 0; text && i < source.len; i++) {
        if (source.data[i] == '\r' && i + 1 < source.len && source.data[i + 1] == '\n') continue;
        text[n++] = source.data[i] == '\r' ? '\n' : source.data[i];
    }
    if (n > 0 && text[n - 1] == '\n') n--;
    *len = n;
    return text;
}

mosa_status jinja_lex(mosa_arena *arena, mosa_slice source, jinja_token **out, size_t *n, mosa_error *err) {
    lexer lx = {.arena = arena, .line = 1, .line_starting = true, .err = err};
    if (!jinja_utf8_valid(source.data, source.len))
        return mosa_fail(err, MOSA_ECORRUPT, "chat template: the source is not valid UTF-8");
    lx.src = normalise(arena, source, &lx.len);
    if (!lx.src) return out_of_memory(&lx);
    while (lx.pos < lx.len) MOSA_TRY(lex_root(&lx));
    MOSA_TRY(push(&lx, TOKEN_END, jinja_none()));
    *out = lx.tokens;
    *n = lx.n;
    return MOSA_OK;
}
