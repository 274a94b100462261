// Character sets: ranges to UTF-8 byte sequences, and JSON's escapes.
#include "text/grammar/charset.h"

#include "text/unicode.h"

#include <stdlib.h>

enum { CODE_MAX = 0x10FFFF, SURROGATE_LO = 0xD800, SURROGATE_HI = 0xDFFF };

void mosa_charset_finish(mosa_charset *set) {
    free(set->ranges);
    *set = (mosa_charset){0};
}

void mosa_charset_add(mosa_charset *set, uint32_t lo, uint32_t hi) {
    if (set->failed || lo > hi) return;
    if (set->count == set->capacity) {
        size_t capacity = set->capacity ? set->capacity * 2 : 16;
        mosa_char_range *ranges = realloc(set->ranges, capacity * sizeof *ranges);
        if (!ranges) {
            set->failed = true;
            return;
        }
        set->ranges = ranges;
        set->capacity = capacity;
    }
    set->ranges[set->count++] = (mosa_char_range){lo, hi};
}

void mosa_charset_add_all(mosa_charset *set, const mosa_charset *other) {
    for (size_t i = 0; i < other->count; i++) mosa_charset_add(set, other->ranges[i].lo, other->ranges[i].hi);
    set->failed |= other->failed;
}

static int by_lo(const void *a, const void *b) {
    const mosa_char_range *x = a, *y = b;
    return x->lo < y->lo ? -1 : x->lo > y->lo;
}

static void merge(mosa_charset *set) {
    size_t kept = 0;
    if (set->count) qsort(set->ranges, set->count, sizeof *set->ranges, by_lo);
    for (size_t i = 0; i < set->count; i++) {
        mosa_char_range r = set->ranges[i];
        if (kept && r.lo <= set->ranges[kept - 1].hi + 1) {
            if (r.hi > set->ranges[kept - 1].hi) set->ranges[kept - 1].hi = r.hi;
        } else
            set->ranges[kept++] = r;
    }
    set->count = kept;
}

// Cuts U+D800..U+DFFF out of a merged set.
static void drop_surrogates(mosa_charset *set) {
    size_t count = set->count;
    for (size_t i = 0; i < count; i++) {
        mosa_char_range r = set->ranges[i];
        if (r.hi < SURROGATE_LO || r.lo > SURROGATE_HI) continue;
        set->ranges[i] = r.lo < SURROGATE_LO ? (mosa_char_range){r.lo, SURROGATE_LO - 1} : (mosa_char_range){1, 0};
        if (r.hi > SURROGATE_HI) mosa_charset_add(set, SURROGATE_HI + 1, r.hi);
    }
    size_t kept = 0;
    for (size_t i = 0; i < set->count; i++)
        if (set->ranges[i].lo <= set->ranges[i].hi) set->ranges[kept++] = set->ranges[i];
    set->count = kept;
    if (set->count) qsort(set->ranges, set->count, sizeof *set->ranges, by_lo);
}

void mosa_charset_sort(mosa_charset *set) {
    merge(set);
    drop_surrogates(set);
}

void mosa_charset_invert(mosa_charset *set) {
    merge(set);
    mosa_charset out = {.failed = set->failed};
    uint32_t next = 0;
    for (size_t i = 0; i < set->count; i++) {
        if (set->ranges[i].lo > next) mosa_charset_add(&out, next, set->ranges[i].lo - 1);
        next = set->ranges[i].hi + 1;
    }
    if (next <= CODE_MAX) mosa_charset_add(&out, next, CODE_MAX);
    mosa_charset_finish(set);
    *set = out;
    drop_surrogates(set);
}

void mosa_charset_fold_ascii(mosa_charset *set) {
    mosa_charset_sort(set);
    size_t count = set->count;
    for (size_t i = 0; i < count; i++)
        for (uint32_t c = set->ranges[i].lo; c <= set->ranges[i].hi && c < 128; c++) {
            if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) mosa_charset_add(set, c ^ 32, c ^ 32);
        }
    mosa_charset_sort(set);
}

void mosa_charset_add_categories(mosa_charset *set, uint32_t mask) {
    for (uint32_t c = 0; c <= CODE_MAX;) {
        uint32_t begin = c;
        bool in = (mosa_unicode_mask(c) & mask) != 0;
        while (c <= CODE_MAX && ((mosa_unicode_mask(c) & mask) != 0) == in) c++;
        if (in) mosa_charset_add(set, begin, c - 1);
    }
}

// --- UTF-8

// Characters lo..hi of one encoded length, split where a lower byte does not run over its whole range.
static mosa_rx split_range(mosa_rx_pool *p, uint32_t lo, uint32_t hi) {
    char a[MOSA_UTF8_MAX], b[MOSA_UTF8_MAX];
    unsigned len = mosa_utf8_encode(lo, a);
    for (unsigned i = 1; i < len; i++) {
        uint32_t mask = (1u << (6 * i)) - 1;
        if ((lo & ~mask) == (hi & ~mask)) continue;
        if (lo & mask) return mosa_rx_or(p, split_range(p, lo, lo | mask), split_range(p, (lo | mask) + 1, hi));
        if ((hi & mask) != mask)
            return mosa_rx_or(p, split_range(p, lo, (hi & ~mask) - 1), split_range(p, hi & ~mask, hi));
    }
    mosa_utf8_encode(hi, b);
    mosa_rx r = MOSA_RX_EPS;
    for (unsigned i = len; i > 0; i--) r = mosa_rx_cat(p, mosa_rx_range(p, (uint8_t)a[i - 1], (uint8_t)b[i - 1]), r);
    return r;
}

static mosa_rx range_rx(mosa_rx_pool *p, uint32_t lo, uint32_t hi) {
    static const uint32_t last[] = {0x7F, 0x7FF, 0xFFFF, CODE_MAX};
    mosa_rx r = MOSA_RX_NONE;
    for (size_t i = 0; i < 4 && lo <= hi; i++) {
        if (lo > last[i]) continue;
        uint32_t end = hi < last[i] ? hi : last[i];
        r = mosa_rx_or(p, r, split_range(p, lo, end));
        lo = end + 1;
    }
    return r;
}

// --- JSON

void mosa_spell_char(mosa_buf *out, uint32_t c, mosa_spelling spelling) {
    static const char short_escapes[] = "btnvfr"; // of U+0008 to U+000D; \v is not JSON's
    if (spelling == MOSA_SPELL_JSON && (c == '"' || c == '\\')) {
        mosa_buf_append_char(out, '\\');
        mosa_buf_append_char(out, (char)c);
    } else if (spelling == MOSA_SPELL_JSON && c < 0x20) {
        if (c >= 8 && c <= 13 && c != 11) {
            mosa_buf_append_char(out, '\\');
            mosa_buf_append_char(out, short_escapes[c - 8]);
        } else
            mosa_buf_printf(out, "\\u%04x", c);
    } else {
        char bytes[MOSA_UTF8_MAX];
        mosa_buf_append(out, bytes, mosa_utf8_encode(c, bytes));
    }
}

void mosa_spell(mosa_buf *out, mosa_slice text, mosa_spelling spelling) {
    for (size_t i = 0; i < text.len;) {
        unsigned len;
        mosa_spell_char(out, mosa_utf8_decode(text.data + i, &len), spelling);
        i += len;
    }
}

static bool escaped(uint32_t c) {
    return c < 0x20 || c == '"' || c == '\\';
}

// The members that JSON writes as escapes.
static mosa_rx escapes_rx(mosa_rx_pool *p, const mosa_charset *set) {
    mosa_rx r = MOSA_RX_NONE;
    for (size_t i = 0; i < set->count; i++)
        for (uint32_t c = set->ranges[i].lo; c <= set->ranges[i].hi && c <= '\\'; c++) {
            if (!escaped(c)) continue;
            mosa_buf text = {0};
            mosa_spell_char(&text, c, MOSA_SPELL_JSON);
            p->failed |= mosa_buf_failed(&text);
            r = mosa_rx_or(p, r, mosa_rx_literal(p, mosa_buf_slice(&text)));
            mosa_buf_finish(&text);
        }
    return r;
}

mosa_rx mosa_charset_rx(mosa_rx_pool *p, mosa_charset *set, mosa_spelling spelling) {
    mosa_charset_sort(set);
    p->failed |= set->failed;
    mosa_rx r = spelling == MOSA_SPELL_JSON ? escapes_rx(p, set) : MOSA_RX_NONE;
    for (size_t i = 0; i < set->count; i++) {
        mosa_char_range range = set->ranges[i];
        if (spelling == MOSA_SPELL_UTF8 || range.lo > '\\') {
            r = mosa_rx_or(p, r, range_rx(p, range.lo, range.hi));
            continue;
        }
        uint32_t c = range.lo;
        for (; c <= range.hi && c <= '\\'; c++)
            if (!escaped(c)) r = mosa_rx_or(p, r, mosa_rx_byte(p, (unsigned char)c));
        if (c <= range.hi) r = mosa_rx_or(p, r, range_rx(p, c, range.hi));
    }
    return r;
}

mosa_rx mosa_any_char_rx(mosa_rx_pool *p, mosa_spelling spelling) {
    mosa_charset all = {0};
    mosa_charset_add(&all, 0, CODE_MAX);
    mosa_rx r = mosa_charset_rx(p, &all, spelling);
    mosa_charset_finish(&all);
    return r;
}
