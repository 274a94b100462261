// Slices, growing buffers and strict number parsing.
#include "base/str.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

bool mosa_slice_starts_with(mosa_slice text, mosa_slice prefix) {
    return text.len >= prefix.len && (prefix.len == 0 || memcmp(text.data, prefix.data, prefix.len) == 0);
}

bool mosa_slice_ends_with(mosa_slice text, mosa_slice suffix) {
    return text.len >= suffix.len &&
           (suffix.len == 0 || memcmp(text.data + text.len - suffix.len, suffix.data, suffix.len) == 0);
}

// wyhash-style multiply-fold over 8-byte words: fast on short keys, and no secret is protected by it.
static uint64_t fold_multiply(uint64_t a, uint64_t b) {
    __uint128_t product = (__uint128_t)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

uint64_t mosa_hash_bytes(const void *data, size_t len, uint64_t seed) {
    const unsigned char *bytes = data;
    uint64_t hash = seed ^ 0x9e3779b97f4a7c15u ^ len;
    while (len >= 8) {
        uint64_t word;
        memcpy(&word, bytes, 8);
        hash = fold_multiply(hash ^ word, 0xa0761d6478bd642fu);
        bytes += 8;
        len -= 8;
    }
    uint64_t tail = 0;
    if (len) memcpy(&tail, bytes, len);
    return fold_multiply(hash ^ tail, 0xe7037ed1a0b428dbu);
}

void mosa_buf_init(mosa_buf *buf, size_t limit) {
    *buf = (mosa_buf){.limit = limit};
}

void mosa_buf_finish(mosa_buf *buf) {
    free(buf->data);
    *buf = (mosa_buf){.limit = buf->limit};
}

void mosa_buf_clear(mosa_buf *buf) {
    buf->len = 0;
    buf->failed = false;
    if (buf->data) buf->data[0] = '\0';
}

bool mosa_buf_reserve(mosa_buf *buf, size_t extra) {
    if (buf->failed) return false;
    size_t need;
    if (__builtin_add_overflow(buf->len, extra, &need) || need == SIZE_MAX || (buf->limit && need > buf->limit)) {
        buf->failed = true;
        return false;
    }
    if (need + 1 <= buf->capacity) return true;
    size_t capacity = buf->capacity ? buf->capacity : 64;
    while (capacity < need + 1) capacity = capacity > SIZE_MAX / 2 ? need + 1 : capacity * 2;
    char *data = realloc(buf->data, capacity);
    if (!data) {
        buf->failed = true;
        return false;
    }
    buf->data = data;
    buf->capacity = capacity;
    return true;
}

void mosa_buf_append(mosa_buf *buf, const void *data, size_t len) {
    if (!mosa_buf_reserve(buf, len)) return;
    if (len) memcpy(buf->data + buf->len, data, len);
    buf->len += len;
    buf->data[buf->len] = '\0';
}

void mosa_buf_append_slice(mosa_buf *buf, mosa_slice text) {
    mosa_buf_append(buf, text.data, text.len);
}
void mosa_buf_append_str(mosa_buf *buf, const char *text) {
    mosa_buf_append(buf, text, strlen(text));
}
void mosa_buf_append_char(mosa_buf *buf, char c) {
    mosa_buf_append(buf, &c, 1);
}

void mosa_buf_append_f64(mosa_buf *buf, double value) {
    char text[40];
    if (!isfinite(value)) {
        mosa_buf_append_str(buf, isnan(value) ? "NaN" : value > 0 ? "+Inf" : "-Inf");
        return;
    }
    // 17 digits always suffice; most numbers that people write need far fewer.
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    mosa_buf_append_str(buf, text);
}

void mosa_buf_append_wrapped(mosa_buf *buf, const char *text, size_t column, size_t indent, size_t columns) {
    for (bool first = true; *text; first = false) {
        size_t len = strcspn(text, " ");
        if (!first && column + 1 + len > columns) {
            mosa_buf_printf(buf, "\n%*s", (int)indent, "");
            column = indent;
        } else if (!first) {
            mosa_buf_append_char(buf, ' ');
            column++;
        }
        mosa_buf_append(buf, text, len);
        column += len;
        text += len;
        text += strspn(text, " ");
    }
    mosa_buf_append_char(buf, '\n');
}

void mosa_buf_printf(mosa_buf *buf, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (len < 0) buf->failed = true;
    if (len < 0 || !mosa_buf_reserve(buf, (size_t)len)) return;
    va_start(args, format);
    vsnprintf(buf->data + buf->len, (size_t)len + 1, format, args);
    va_end(args);
    buf->len += (size_t)len;
}

char *mosa_buf_take(mosa_buf *buf) {
    if (!mosa_buf_reserve(buf, 0)) return NULL;
    buf->data[buf->len] = '\0';
    char *data = buf->data;
    *buf = (mosa_buf){.limit = buf->limit};
    return data;
}

bool mosa_parse_i64(const char *text, int64_t *out) {
    if (!text || !*text || isspace((unsigned char)*text)) return false;
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno || *end) return false;
    *out = value;
    return true;
}

bool mosa_parse_f64(const char *text, double *out) {
    if (!text || !*text || isspace((unsigned char)*text)) return false;
    char *end;
    errno = 0;
    double value = strtod(text, &end);
    if (*end || !isfinite(value)) return false;
    *out = value;
    return true;
}

bool mosa_parse_bytes(const char *text, uint64_t *out) {
    if (!text || !isdigit((unsigned char)*text)) return false;
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno) return false;
    static const char units[] = "KMGT";
    unsigned shift = 0;
    const char *unit = *end ? strchr(units, toupper((unsigned char)*end)) : NULL;
    if (unit) {
        shift = 10u * (unsigned)(unit - units + 1);
        end++;
        if (*end == 'i') end++;
    }
    if (*end == 'B') end++;
    if (*end || (shift && value > (UINT64_MAX >> shift))) return false;
    *out = (uint64_t)value << shift;
    return true;
}
