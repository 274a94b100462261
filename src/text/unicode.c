// UTF-8 validation after the Unicode standard's table of well-formed sequences, and the bridge to utf8proc.
#include "text/unicode.h"

#include <stdlib.h>
#include <utf8proc.h>

bool mosa_unicode_is_word(uint32_t c) {
    enum { WORD = MOSA_UM_L | MOSA_UM_M | MOSA_UM(MOSA_UC_ND) | MOSA_UM(MOSA_UC_NL) | MOSA_UM(MOSA_UC_PC) };
    if (mosa_unicode_mask(c) & WORD) return true;
    return (mosa_unicode_prop(c) & 128) != 0 || c == 0x200C || c == 0x200D;
}

uint32_t mosa_unicode_lower(uint32_t c) { return (uint32_t)utf8proc_tolower((utf8proc_int32_t)c); }

unsigned mosa_utf8_encode(uint32_t c, char out[MOSA_UTF8_MAX]) {
    return (unsigned)utf8proc_encode_char((utf8proc_int32_t)c, (utf8proc_uint8_t *)out);
}

mosa_utf8_kind mosa_utf8_scan(const char *data, size_t len, unsigned *used) {
    const unsigned char *b = (const unsigned char *)data;
    *used = 1;
    if (b[0] < 0x80) return MOSA_UTF8_CHAR;
    if (b[0] < 0xC2 || b[0] > 0xF4) return MOSA_UTF8_BAD;
    unsigned need = mosa_utf8_len(b[0]);
    // The second byte's range excludes overlong forms, surrogates and what lies beyond U+10FFFF.
    unsigned char low = b[0] == 0xE0 ? 0xA0 : b[0] == 0xF0 ? 0x90 : 0x80;
    unsigned char high = b[0] == 0xED ? 0x9F : b[0] == 0xF4 ? 0x8F : 0xBF;
    for (unsigned i = 1; i < need; i++) {
        if (i >= len) return MOSA_UTF8_PARTIAL;
        if (b[i] < low || b[i] > high) return MOSA_UTF8_BAD;
        *used = i + 1;
        low = 0x80;
        high = 0xBF;
    }
    return MOSA_UTF8_CHAR;
}

size_t mosa_utf8_valid_prefix(const char *data, size_t len) {
    size_t at = 0;
    while (at < len) {
        uint64_t word;
        if (len - at >= sizeof word && (memcpy(&word, data + at, sizeof word), (word & 0x8080808080808080u) == 0)) {
            at += sizeof word;
            continue;
        }
        unsigned used;
        if (mosa_utf8_scan(data + at, len - at, &used) != MOSA_UTF8_CHAR) return at;
        at += used;
    }
    return at;
}

void mosa_utf8_append_lossy(mosa_buf *out, mosa_slice text) {
    size_t at = 0;
    while (at < text.len) {
        size_t good = mosa_utf8_valid_prefix(text.data + at, text.len - at);
        mosa_buf_append(out, text.data + at, good);
        at += good;
        if (at == text.len) return;
        unsigned used;
        mosa_utf8_kind kind = mosa_utf8_scan(text.data + at, text.len - at, &used);
        mosa_buf_append(out, "\xEF\xBF\xBD", 3);
        at = kind == MOSA_UTF8_PARTIAL ? text.len : at + used;
    }
}

bool mosa_unicode_normalize(mosa_unicode_form form, mosa_slice text, mosa_buf *out) {
    static const int options[] = {
        [MOSA_NFC] = UTF8PROC_STABLE | UTF8PROC_COMPOSE,
        [MOSA_NFD] = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE,
        [MOSA_NFKC] = UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT,
        [MOSA_NFKD] = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT,
    };
    if (text.len == 0) return !mosa_buf_failed(out);
    utf8proc_uint8_t *result = NULL;
    utf8proc_ssize_t len = utf8proc_map((const utf8proc_uint8_t *)text.data, (utf8proc_ssize_t)text.len, &result,
                                        (utf8proc_option_t)options[form]);
    if (len < 0) return false;
    mosa_buf_append(out, result, (size_t)len);
    free(result);
    return !mosa_buf_failed(out);
}
