// UTF-8 validation after the Unicode standard's table of well-formed sequences, and the bridge to utf8proc.
#include "text/unicode.h"

#include <stdlib.h>
#include <utf8proc.h>

bool mosa_unicode_is_word(uint32_t c) {
    enum { WORD = MOSA_UM_L | MOSA_UM_M | MOSA_UM(MOSA_UC_ND) | MOSA_UM(MOSA_UC_NL) | MOSA_UM(MOSA_UC_PC) };
    if (mosa_unicode_mask(c) & WORD) return true;
    return (mosa_unicode_prop(c) & 128) != 0 || c == 0x200C || c == 0x200D;
}

uint32_t mosa_unicode_lower(uint32_t c) {
    return (uint32_t)utf8proc_tolower((utf8proc_int32_t)c);
}

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

// --- Normalisation --------------------------------------------------------------------------------------------------

// utf8proc orders combining marks by swapping neighbours, which is quadratic in a run's length. Long runs are therefore
// put in order beforehand, by counting; the result is the same.
enum { LONG_RUN = 32, CLASSES = 256 };

// Marks of class 0 that decompose into marks of other classes; such a decomposition stands for them in a run.
static const char *hidden_marks(uint32_t c) {
    if (c == 0xF73) return "\u0F71\u0F72";
    if (c == 0xF75) return "\u0F71\u0F74";
    return c == 0xF81 ? "\u0F71\u0F80" : NULL;
}

static unsigned combining_class(uint32_t c) {
    return (unsigned)utf8proc_get_property((utf8proc_int32_t)c)->combining_class & (CLASSES - 1);
}

// End of the run of combining marks at `at`, and their number.
static size_t end_of_marks(mosa_slice text, size_t at, size_t *count) {
    unsigned len;
    for (*count = 0; at < text.len; at += len, (*count)++) {
        uint32_t c = mosa_utf8_decode(text.data + at, &len);
        if (combining_class(c) == 0 && !hidden_marks(c)) break;
    }
    return at;
}

static bool has_long_run(mosa_slice text) {
    size_t marks;
    for (size_t at = 0; at < text.len;) {
        if ((unsigned char)text.data[at] < 0x80) {
            at++;
            continue;
        }
        size_t end = end_of_marks(text, at, &marks);
        if (marks > LONG_RUN) return true;
        at = end > at ? end : at + mosa_utf8_len((unsigned char)text.data[at]);
    }
    return false;
}

// Appends a run of marks sorted by class, those of one class in their order.
static bool append_sorted(mosa_slice run, mosa_buf *out) {
    mosa_buf expanded;
    mosa_buf_init(&expanded, 0);
    size_t starts[CLASSES + 1] = {0};
    unsigned len;
    for (size_t at = 0; at < run.len; at += len) {
        const char *marks = hidden_marks(mosa_utf8_decode(run.data + at, &len));
        if (marks)
            mosa_buf_append_str(&expanded, marks);
        else
            mosa_buf_append(&expanded, run.data + at, len);
    }
    for (size_t at = 0; at < expanded.len; at += len) {
        unsigned class = combining_class(mosa_utf8_decode(expanded.data + at, &len));
        starts[class + 1] += len;
    }
    for (size_t i = 1; i <= CLASSES; i++) starts[i] += starts[i - 1];
    bool ok = !mosa_buf_failed(&expanded) && mosa_buf_reserve(out, expanded.len);
    for (size_t at = 0; ok && at < expanded.len; at += len) {
        unsigned class = combining_class(mosa_utf8_decode(expanded.data + at, &len));
        memcpy(out->data + out->len + starts[class], expanded.data + at, len);
        starts[class] += len;
    }
    if (ok) out->len += expanded.len;
    mosa_buf_finish(&expanded);
    return ok;
}

static bool sort_long_runs(mosa_slice text, mosa_buf *out) {
    size_t marks;
    for (size_t at = 0; at < text.len;) {
        size_t end = end_of_marks(text, at, &marks);
        if (marks > LONG_RUN) {
            if (!append_sorted((mosa_slice){text.data + at, end - at}, out)) return false;
        } else {
            if (end == at) end += mosa_utf8_len((unsigned char)text.data[at]);
            mosa_buf_append(out, text.data + at, end - at);
        }
        at = end;
    }
    return !mosa_buf_failed(out);
}

static bool map_form(mosa_unicode_form form, mosa_slice text, mosa_buf *out) {
    static const int options[] = {
        [MOSA_NFC] = UTF8PROC_STABLE | UTF8PROC_COMPOSE,
        [MOSA_NFD] = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE,
        [MOSA_NFKC] = UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT,
        [MOSA_NFKD] = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT,
    };
    utf8proc_uint8_t *result = NULL;
    utf8proc_ssize_t len = utf8proc_map((const utf8proc_uint8_t *)text.data, (utf8proc_ssize_t)text.len, &result,
                                        (utf8proc_option_t)options[form]);
    if (len < 0) return false;
    mosa_buf_append(out, result, (size_t)len);
    free(result);
    return !mosa_buf_failed(out);
}

bool mosa_unicode_normalize(mosa_unicode_form form, mosa_slice text, mosa_buf *out) {
    if (text.len == 0) return !mosa_buf_failed(out);
    if (!has_long_run(text)) return map_form(form, text, out);
    mosa_buf sorted;
    mosa_buf_init(&sorted, 0);
    bool ok = sort_long_runs(text, &sorted) && map_form(form, mosa_buf_slice(&sorted), out);
    mosa_buf_finish(&sorted);
    return ok;
}
