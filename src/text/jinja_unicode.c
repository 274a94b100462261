// UTF-8 steps, and Unicode as Python's str methods see it. General categories and one-to-one case mappings come from
// utf8proc, the rest from jinja_unicode_tables.h.
#include "text/jinja_unicode_tables.h"
#include "text/jinja_value.h"

#include <utf8proc.h>

uint32_t jinja_utf8_next(const char *data, size_t len, size_t *position) {
    const unsigned char *p = (const unsigned char *)data + *position;
    size_t left = len - *position;
    unsigned size = p[0] < 0x80 ? 1 : p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : 4;
    if (size > left) size = 1;
    *position += size;
    if (size == 1) return p[0];
    if (size == 2) return (uint32_t)(p[0] & 0x1F) << 6 | (p[1] & 0x3F);
    if (size == 3) return (uint32_t)(p[0] & 0x0F) << 12 | (uint32_t)(p[1] & 0x3F) << 6 | (p[2] & 0x3F);
    return (uint32_t)(p[0] & 0x07) << 18 | (uint32_t)(p[1] & 0x3F) << 12 | (uint32_t)(p[2] & 0x3F) << 6 | (p[3] & 0x3F);
}

size_t jinja_utf8_prev(const char *data, size_t position) {
    do position--;
    while (position > 0 && ((unsigned char)data[position] & 0xC0) == 0x80);
    return position;
}

size_t jinja_utf8_put(char out[4], uint32_t c) {
    return (size_t)utf8proc_encode_char((utf8proc_int32_t)c, (utf8proc_uint8_t *)out);
}

size_t jinja_utf8_count(const char *data, size_t len) {
    size_t n = 0;
    for (size_t i = 0; i < len; i++) n += ((unsigned char)data[i] & 0xC0) != 0x80;
    return n;
}

bool jinja_utf8_valid(const char *data, size_t len) {
    for (size_t i = 0; i < len;) {
        utf8proc_int32_t c;
        utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)data + i, (utf8proc_ssize_t)(len - i), &c);
        if (n <= 0) return false;
        i += (size_t)n;
    }
    return true;
}

static bool in_spans(const code_span *spans, size_t n, uint32_t c) {
    size_t low = 0, high = n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (c > spans[mid].last)
            low = mid + 1;
        else
            high = mid;
    }
    return low < n && c >= spans[low].first;
}
#define IN_SPANS(spans, c) in_spans((spans), sizeof(spans) / sizeof((spans)[0]), (c))

static utf8proc_category_t category(uint32_t c) {
    return utf8proc_category((utf8proc_int32_t)c);
}

bool jinja_is_space(uint32_t c) {
    if (c < 0x80) return (c >= 9 && c <= 13) || (c >= 28 && c <= 32);
    return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
           c == 0x202F || c == 0x205F || c == 0x3000;
}

bool jinja_is_line_break(uint32_t c) {
    return (c >= 10 && c <= 13) || (c >= 28 && c <= 30) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

bool jinja_is_alpha(uint32_t c) {
    utf8proc_category_t cat = category(c);
    return cat >= UTF8PROC_CATEGORY_LU && cat <= UTF8PROC_CATEGORY_LO;
}

bool jinja_is_decimal(uint32_t c) {
    return category(c) == UTF8PROC_CATEGORY_ND;
}
bool jinja_is_digit(uint32_t c) {
    return jinja_is_decimal(c) || IN_SPANS(digit_spans, c);
}

bool jinja_is_numeric(uint32_t c) {
    utf8proc_category_t cat = category(c);
    return (cat >= UTF8PROC_CATEGORY_ND && cat <= UTF8PROC_CATEGORY_NO) || IN_SPANS(numeric_spans, c);
}

bool jinja_is_printable(uint32_t c) {
    if (c == ' ') return true;
    switch (category(c)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
        return false;
    default:
        return true;
    }
}

bool jinja_is_upper(uint32_t c) {
    return category(c) == UTF8PROC_CATEGORY_LU || IN_SPANS(other_upper_spans, c);
}
bool jinja_is_lower(uint32_t c) {
    return category(c) == UTF8PROC_CATEGORY_LL || IN_SPANS(other_lower_spans, c);
}
bool jinja_is_title(uint32_t c) {
    return category(c) == UTF8PROC_CATEGORY_LT;
}
bool jinja_is_cased(uint32_t c) {
    return jinja_is_upper(c) || jinja_is_lower(c) || jinja_is_title(c);
}

bool jinja_is_case_ignorable(uint32_t c) {
    if (c == '\'' || c == '.' || c == ':' || c == 0xB7 || c == 0x2018 || c == 0x2019 || c == 0x2024 || c == 0x2027)
        return true;
    switch (category(c)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
        return true;
    default:
        return false;
    }
}

bool jinja_is_word(uint32_t c) {
    return c == '_' || jinja_is_alpha(c) || jinja_is_numeric(c);
}

bool jinja_is_id_start(uint32_t c) {
    if (c < 0x80) return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    return jinja_is_alpha(c) || category(c) == UTF8PROC_CATEGORY_NL;
}

bool jinja_is_id_continue(uint32_t c) {
    if (c < 0x80) return jinja_is_id_start(c) || (c >= '0' && c <= '9');
    if (jinja_is_id_start(c)) return true;
    utf8proc_category_t cat = category(c);
    return cat == UTF8PROC_CATEGORY_MN || cat == UTF8PROC_CATEGORY_MC || cat == UTF8PROC_CATEGORY_ND ||
           cat == UTF8PROC_CATEGORY_PC;
}

static size_t special_mapping(const special_case *rows, size_t n, uint32_t c, uint32_t out[3]) {
    size_t low = 0, high = n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (rows[mid].from < c)
            low = mid + 1;
        else
            high = mid;
    }
    if (low >= n || rows[low].from != c) return 0;
    size_t count = 0;
    while (count < 3 && rows[low].to[count]) {
        out[count] = rows[low].to[count];
        count++;
    }
    return count;
}
#define SPECIAL(rows, c, out) special_mapping((rows), sizeof(rows) / sizeof((rows)[0]), (c), (out))

// Simple case folding: utf8proc folds to several code points; one-to-one is what is left beside fold_rows.
static uint32_t fold_simple(uint32_t c) {
    utf8proc_int32_t folded[4];
    utf8proc_ssize_t n = utf8proc_decompose_char((utf8proc_int32_t)c, folded, 4, UTF8PROC_CASEFOLD, NULL);
    return n == 1 ? (uint32_t)folded[0] : c;
}

size_t jinja_map_case(uint32_t c, jinja_case to, uint32_t out[3]) {
    if (c < 0x80) {
        bool up = to == JINJA_UPPER || to == JINJA_TITLE;
        out[0] = up && c >= 'a' && c <= 'z' ? c - 32 : !up && c >= 'A' && c <= 'Z' ? c + 32 : c;
        return 1;
    }
    size_t n = 0;
    utf8proc_int32_t code = (utf8proc_int32_t)c;
    switch (to) {
    case JINJA_UPPER:
        n = SPECIAL(upper_rows, c, out);
        if (!n) out[0] = (uint32_t)utf8proc_toupper(code);
        break;
    case JINJA_LOWER:
        n = SPECIAL(lower_rows, c, out);
        if (!n) out[0] = (uint32_t)utf8proc_tolower(code);
        break;
    case JINJA_TITLE:
        n = SPECIAL(title_rows, c, out);
        if (!n) out[0] = (uint32_t)utf8proc_totitle(code);
        break;
    case JINJA_FOLD:
        n = SPECIAL(fold_rows, c, out);
        if (!n) out[0] = fold_simple(c);
        break;
    }
    return n ? n : 1;
}
