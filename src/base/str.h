// Strings: a borrowed slice and a growing byte buffer.
//
// mosa_slice borrows bytes that somebody else owns; it is not NUL-terminated and may hold any byte.
// mosa_buf owns its bytes, always keeps a NUL after them, and remembers failure: after an out-of-memory every append is
// a no-op and mosa_buf_failed() is true, so that a sequence of appends is checked once at its end. Not thread-safe.
#ifndef MOSA_BASE_STR_H
#define MOSA_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct mosa_slice {
    const char *data; // may be NULL only when len is 0
    size_t len;
} mosa_slice;

#define MOSA_SLICE(literal) ((mosa_slice){(literal), sizeof(literal) - 1})
static inline mosa_slice mosa_slice_of(const char *text) {
    return (mosa_slice){text, text ? strlen(text) : 0};
}
static inline bool mosa_slice_eq(mosa_slice a, mosa_slice b) {
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}
bool mosa_slice_starts_with(mosa_slice text, mosa_slice prefix);
bool mosa_slice_ends_with(mosa_slice text, mosa_slice suffix);
static inline bool mosa_str_ends_with(const char *text, const char *suffix) {
    return mosa_slice_ends_with(mosa_slice_of(text), mosa_slice_of(suffix));
}
uint64_t mosa_hash_bytes(const void *data, size_t len, uint64_t seed); // 64-bit, stable across runs and machines

typedef struct mosa_buf {
    char *data; // NUL-terminated; never NULL after the first successful append, may be NULL before
    size_t len;
    size_t capacity; // bytes allocated
    size_t limit;    // 0 = none; an append beyond it fails the buffer
    bool failed;
} mosa_buf;

void mosa_buf_init(mosa_buf *buf, size_t limit);
void mosa_buf_finish(mosa_buf *buf); // frees; safe on a zeroed struct
void mosa_buf_clear(mosa_buf *buf);  // len 0, memory and failure flag: memory kept, failure forgotten
bool mosa_buf_reserve(mosa_buf *buf, size_t extra);
void mosa_buf_append(mosa_buf *buf, const void *data, size_t len);
void mosa_buf_append_slice(mosa_buf *buf, mosa_slice text);
void mosa_buf_append_str(mosa_buf *buf, const char *text);
void mosa_buf_append_char(mosa_buf *buf, char c);
// Shortest decimal that reads back as the same double: "0.1", "3", "1e+300"; "NaN", "+Inf" and "-Inf" as Prometheus
// does.
void mosa_buf_append_f64(mosa_buf *buf, double value);
// Text wrapped at spaces to `columns`: it begins at `column`, further lines are indented. Ends with a newline.
void mosa_buf_append_wrapped(mosa_buf *buf, const char *text, size_t column, size_t indent, size_t columns);
void mosa_buf_printf(mosa_buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
static inline bool mosa_buf_failed(const mosa_buf *buf) {
    return buf->failed;
}
static inline mosa_slice mosa_buf_slice(const mosa_buf *buf) {
    return (mosa_slice){buf->data, buf->len};
}
char *mosa_buf_take(mosa_buf *buf); // hands over the NUL-terminated bytes (free()); NULL if failed; buf is empty after
static inline const char *mosa_buf_str(const mosa_buf *buf) {
    return buf->data ? buf->data : "";
}

// Parsing of whole strings; false on any junk, sign error or overflow, and then *out is untouched.
bool mosa_parse_i64(const char *text, int64_t *out);
bool mosa_parse_f64(const char *text, double *out);
bool mosa_parse_bytes(const char *text, uint64_t *out); // "512", "64K", "8MiB", "2G"

#endif
