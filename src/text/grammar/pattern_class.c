// Escapes and character classes of the pattern syntax.
#include "text/grammar/pattern_class.h"

#include "text/unicode.h"

#include <string.h>

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool read_hex(mosa_slice text, size_t *at, int min, int max, uint32_t *out) {
    uint32_t value = 0;
    int n = 0;
    for (; n < max && *at < text.len && hex_digit(text.data[*at]) >= 0; n++)
        value = value << 4 | (uint32_t)hex_digit(text.data[(*at)++]);
    *out = value;
    return n >= min;
}

mosa_status pattern_char(mosa_slice text, size_t *at, uint32_t *out, mosa_error *err) {
    unsigned used;
    size_t len = mosa_utf8_valid_prefix(text.data + *at, text.len - *at < 4 ? text.len - *at : 4);
    if (len == 0) return mosa_fail(err, MOSA_EINVALID, "pattern, offset %zu: not UTF-8", *at);
    *out = mosa_utf8_decode(text.data + *at, &used);
    *at += used;
    return MOSA_OK;
}

// \u{1F600}, \u00e9, and a pair of surrogates as one character.
static mosa_status unicode_escape(mosa_slice text, size_t *at, uint32_t *out, mosa_error *err) {
    size_t begin = *at;
    bool braces = *at < text.len && text.data[*at] == '{';
    *at += braces;
    bool ok = read_hex(text, at, braces ? 1 : 4, braces ? 6 : 4, out);
    if (ok && braces) ok = *at < text.len && text.data[(*at)++] == '}';
    if (ok && *out >= 0xD800 && *out < 0xDC00 && *at + 6 <= text.len && memcmp(text.data + *at, "\\u", 2) == 0) {
        uint32_t low;
        *at += 2;
        ok = read_hex(text, at, 4, 4, &low) && low >= 0xDC00 && low < 0xE000;
        *out = 0x10000 + ((*out - 0xD800) << 10) + (low - 0xDC00);
    }
    if (ok && *out <= 0x10FFFF) return MOSA_OK;
    return mosa_fail(err, MOSA_EINVALID, "pattern, offset %zu: \\u needs four hexadecimal digits or {...}", begin);
}

static mosa_status property(mosa_slice text, size_t *at, bool negative, mosa_charset *out, mosa_error *err) {
    static const struct {
        const char *name;
        uint32_t mask;
    } table[] = {
        {"L", MOSA_UM_L},
        {"Letter", MOSA_UM_L},
        {"Lu", MOSA_UM(MOSA_UC_LU)},
        {"Ll", MOSA_UM(MOSA_UC_LL)},
        {"Lt", MOSA_UM(MOSA_UC_LT)},
        {"Lm", MOSA_UM(MOSA_UC_LM)},
        {"Lo", MOSA_UM(MOSA_UC_LO)},
        {"M", MOSA_UM_M},
        {"Mark", MOSA_UM_M},
        {"Mn", MOSA_UM(MOSA_UC_MN)},
        {"Mc", MOSA_UM(MOSA_UC_MC)},
        {"Me", MOSA_UM(MOSA_UC_ME)},
        {"N", MOSA_UM_N},
        {"Number", MOSA_UM_N},
        {"Nd", MOSA_UM(MOSA_UC_ND)},
        {"digit", MOSA_UM(MOSA_UC_ND)},
        {"Nl", MOSA_UM(MOSA_UC_NL)},
        {"No", MOSA_UM(MOSA_UC_NO)},
        {"P", MOSA_UM_P},
        {"Punctuation", MOSA_UM_P},
        {"Pc", MOSA_UM(MOSA_UC_PC)},
        {"Pd", MOSA_UM(MOSA_UC_PD)},
        {"Ps", MOSA_UM(MOSA_UC_PS)},
        {"Pe", MOSA_UM(MOSA_UC_PE)},
        {"Pi", MOSA_UM(MOSA_UC_PI)},
        {"Pf", MOSA_UM(MOSA_UC_PF)},
        {"Po", MOSA_UM(MOSA_UC_PO)},
        {"S", MOSA_UM_S},
        {"Symbol", MOSA_UM_S},
        {"Sm", MOSA_UM(MOSA_UC_SM)},
        {"Sc", MOSA_UM(MOSA_UC_SC)},
        {"Sk", MOSA_UM(MOSA_UC_SK)},
        {"So", MOSA_UM(MOSA_UC_SO)},
        {"Z", MOSA_UM_Z},
        {"Separator", MOSA_UM_Z},
        {"Zs", MOSA_UM(MOSA_UC_ZS)},
        {"Zl", MOSA_UM(MOSA_UC_ZL)},
        {"Zp", MOSA_UM(MOSA_UC_ZP)},
        {"Cc", MOSA_UM(MOSA_UC_CC)},
        {"Cf", MOSA_UM(MOSA_UC_CF)},
        {"Co", MOSA_UM(MOSA_UC_CO)},
        {"Cn", MOSA_UM(MOSA_UC_CN)},
    };
    size_t begin = *at, len = 1;
    mosa_slice name = {text.data + *at, 1};
    if (*at < text.len && text.data[*at] == '{') {
        const char *close = memchr(text.data + *at, '}', text.len - *at);
        if (!close) return mosa_fail(err, MOSA_EINVALID, "pattern, offset %zu: \\p{ without }", begin);
        name = (mosa_slice){text.data + *at + 1, (size_t)(close - text.data) - *at - 1};
        len = name.len + 2;
    } else if (*at == text.len)
        return mosa_fail(err, MOSA_EINVALID, "pattern, offset %zu: \\p without a name", begin);
    *at += len;
    if (mosa_slice_starts_with(name, MOSA_SLICE("gc="))) name = (mosa_slice){name.data + 3, name.len - 3};
    for (size_t i = 0; i < MOSA_COUNT(table); i++) {
        if (!mosa_slice_eq(name, mosa_slice_of(table[i].name))) continue;
        mosa_charset_add_categories(out, negative ? ~table[i].mask : table[i].mask);
        return MOSA_OK;
    }
    return mosa_fail(err, MOSA_EUNSUPPORTED, "pattern, offset %zu: property %.*s is not supported", begin,
                     (int)(name.len < 64 ? name.len : 64), name.data);
}

static void add_digits(mosa_charset *set) {
    mosa_charset_add(set, '0', '9');
}
static void add_word(mosa_charset *set) {
    mosa_charset_add(set, '0', '9');
    mosa_charset_add(set, 'A', 'Z');
    mosa_charset_add(set, 'a', 'z');
    mosa_charset_add(set, '_', '_');
}
static void add_space(mosa_charset *set) { // ECMAScript's WhiteSpace and LineTerminator
    static const mosa_char_range ranges[] = {{9, 13},          {0x20, 0x20},     {0xA0, 0xA0},     {0x1680, 0x1680},
                                             {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F},
                                             {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
    for (size_t i = 0; i < MOSA_COUNT(ranges); i++) mosa_charset_add(set, ranges[i].lo, ranges[i].hi);
}

static bool shorthand(char c, mosa_charset *out) {
    mosa_charset set = {0};
    switch (c | 32) {
    case 'd':
        add_digits(&set);
        break;
    case 'w':
        add_word(&set);
        break;
    case 's':
        add_space(&set);
        break;
    default:
        return false;
    }
    if (c < 'a') mosa_charset_invert(&set);
    mosa_charset_add_all(out, &set);
    mosa_charset_finish(&set);
    return true;
}

static mosa_status control_escape(mosa_slice text, size_t *at, char c, uint32_t *out, mosa_error *err) {
    static const char names[] = "tnvfr0", values[] = "\t\n\v\f\r";
    const char *found = strchr(names, c);
    if (found) {
        *out = (unsigned char)values[found - names]; // \0 reads the literal's end
        if (c != '0' || *at == text.len || text.data[*at] < '0' || text.data[*at] > '9') return MOSA_OK;
    } else if (c == 'x' && read_hex(text, at, 2, 2, out)) {
        return MOSA_OK;
    } else if (c == 'c' && *at < text.len && ((text.data[*at] | 32) >= 'a' && (text.data[*at] | 32) <= 'z')) {
        *out = (uint32_t)text.data[(*at)++] & 31;
        return MOSA_OK;
    }
    return mosa_fail(err, MOSA_EUNSUPPORTED, "pattern, offset %zu: \\%c is not supported", *at - 2, c);
}

mosa_status pattern_escape(mosa_slice text, size_t *at, mosa_charset *out, uint32_t *single, mosa_error *err) {
    if (*at == text.len) return mosa_fail(err, MOSA_EINVALID, "pattern: ends in a backslash");
    char c = text.data[*at];
    *single = UINT32_MAX;
    if ((c >= '1' && c <= '9') || strchr("bBkAZzGKRXQE", c)) {
        if (c) return mosa_fail(err, MOSA_EUNSUPPORTED, "pattern, offset %zu: \\%c is not supported", *at - 1, c);
    }
    if (shorthand(c, out)) {
        ++*at;
        return MOSA_OK;
    }
    if (c == 'p' || c == 'P') {
        ++*at;
        return property(text, at, c == 'P', out, err);
    }
    if (c == 'u') {
        ++*at;
        MOSA_TRY(unicode_escape(text, at, single, err));
    } else if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) {
        ++*at;
        MOSA_TRY(control_escape(text, at, c, single, err));
    } else
        MOSA_TRY(pattern_char(text, at, single, err));
    mosa_charset_add(out, *single, *single);
    return MOSA_OK;
}

// One member: its set goes to *out when it is no single character.
static mosa_status class_atom(mosa_slice text, size_t *at, mosa_charset *out, uint32_t *single, mosa_error *err) {
    if (text.data[*at] != '\\') return pattern_char(text, at, single, err);
    ++*at;
    if (*at < text.len && text.data[*at] == 'b') { // backspace, inside a class
        ++*at;
        *single = 8;
        return MOSA_OK;
    }
    mosa_charset set = {0};
    mosa_status status = pattern_escape(text, at, &set, single, err);
    if (status == MOSA_OK && *single == UINT32_MAX) mosa_charset_add_all(out, &set);
    mosa_charset_finish(&set);
    return status;
}

mosa_status mosa_pattern_class(mosa_slice text, size_t *at, mosa_charset *out, mosa_error *err) {
    size_t begin = *at;
    bool negative = *at < text.len && text.data[*at] == '^';
    *at += negative;
    while (*at < text.len && text.data[*at] != ']') {
        if (text.data[*at] == '[' && *at + 1 < text.len && strchr(":.=", text.data[*at + 1]))
            return mosa_fail(err, MOSA_EUNSUPPORTED, "pattern, offset %zu: [: :] classes are not supported", *at);
        uint32_t lo, hi;
        MOSA_TRY(class_atom(text, at, out, &lo, err));
        if (lo == UINT32_MAX) continue;
        hi = lo;
        if (*at + 1 < text.len && text.data[*at] == '-' && text.data[*at + 1] != ']') {
            ++*at;
            MOSA_TRY(class_atom(text, at, out, &hi, err));
            if (hi == UINT32_MAX) { // [a-\d]: three members
                mosa_charset_add(out, '-', '-');
                hi = lo;
            }
        }
        if (hi < lo) return mosa_fail(err, MOSA_EINVALID, "pattern, offset %zu: a range that falls", *at);
        mosa_charset_add(out, lo, hi);
    }
    if (*at == text.len) return mosa_fail(err, MOSA_EINVALID, "pattern, offset %zu: [ without ]", begin);
    ++*at;
    if (negative) mosa_charset_invert(out);
    return MOSA_OK;
}
