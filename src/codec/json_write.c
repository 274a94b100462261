// Writing JSON into a buffer: whole trees, and the pieces that hot paths put together themselves.
#include "base/utf8.h"
#include "codec/json.h"

#include <math.h>

enum { WRITE_DEPTH_MAX = 1024 };

static void append_escape(mosa_buf *out, unsigned char c) {
    static const char letters[] = {
        ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r', ['"'] = '"', ['\\'] = '\\'};
    if (c < sizeof letters && letters[c]) {
        mosa_buf_append(out, (const char[]){'\\', letters[c]}, 2);
    } else {
        static const char hex[] = "0123456789abcdef";
        mosa_buf_append(out, (const char[]){'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]}, 6);
    }
}

void mosa_json_append_string(mosa_buf *out, mosa_slice text) {
    const unsigned char *bytes = (const unsigned char *)text.data;
    size_t plain = 0; // start of what needs no change
    mosa_buf_append_char(out, '"');
    for (size_t i = 0; i < text.len;) {
        unsigned char c = bytes[i];
        bool escape = c < 0x20 || c == '"' || c == '\\' || c == 0x7f;
        size_t len = escape ? 0 : mosa_utf8_len(bytes + i, text.len - i);
        if (len) {
            i += len;
            continue;
        }
        mosa_buf_append(out, bytes + plain, i - plain);
        if (escape)
            append_escape(out, c);
        else
            mosa_buf_append_str(out, "\xef\xbf\xbd");
        plain = ++i;
    }
    if (text.len > plain) mosa_buf_append(out, bytes + plain, text.len - plain);
    mosa_buf_append_char(out, '"');
}

void mosa_json_append_f64(mosa_buf *out, double value) {
    if (!isfinite(value)) {
        mosa_buf_append_str(out, "null");
        return;
    }
    size_t before = out->len;
    mosa_buf_append_f64(out, value);
    // A real stays a real when it is read back.
    if (!mosa_buf_failed(out) && !strpbrk(out->data + before, ".e")) mosa_buf_append_str(out, ".0");
}

static void append_break(mosa_buf *out, bool pretty, int depth) {
    if (!pretty) return;
    mosa_buf_append_char(out, '\n');
    for (int i = 0; i < depth; i++) mosa_buf_append_str(out, "  ");
}

static void append_value(mosa_buf *out, const json_t *value, bool pretty, int depth);

static void append_array(mosa_buf *out, const json_t *array, bool pretty, int depth) {
    size_t count = json_array_size(array);
    mosa_buf_append_char(out, '[');
    for (size_t i = 0; i < count; i++) {
        if (i) mosa_buf_append_char(out, ',');
        append_break(out, pretty, depth + 1);
        append_value(out, json_array_get(array, i), pretty, depth + 1);
    }
    if (count) append_break(out, pretty, depth);
    mosa_buf_append_char(out, ']');
}

static void append_object(mosa_buf *out, const json_t *object, bool pretty, int depth) {
    json_t *walk = (json_t *)object; // jansson's iterators take a plain pointer and change nothing
    mosa_buf_append_char(out, '{');
    void *first = json_object_iter(walk);
    for (void *at = first; at; at = json_object_iter_next(walk, at)) {
        if (at != first) mosa_buf_append_char(out, ',');
        append_break(out, pretty, depth + 1);
        mosa_json_append_string(out, (mosa_slice){json_object_iter_key(at), json_object_iter_key_len(at)});
        mosa_buf_append_str(out, pretty ? ": " : ":");
        append_value(out, json_object_iter_value(at), pretty, depth + 1);
    }
    if (first) append_break(out, pretty, depth);
    mosa_buf_append_char(out, '}');
}

static void append_value(mosa_buf *out, const json_t *value, bool pretty, int depth) {
    if (depth > WRITE_DEPTH_MAX || !value) {
        out->failed = true;
        return;
    }
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        append_object(out, value, pretty, depth);
        break;
    case JSON_ARRAY:
        append_array(out, value, pretty, depth);
        break;
    case JSON_STRING:
        mosa_json_append_string(out, (mosa_slice){json_string_value(value), json_string_length(value)});
        break;
    case JSON_INTEGER:
        mosa_buf_printf(out, "%lld", (long long)json_integer_value(value));
        break;
    case JSON_REAL:
        mosa_json_append_f64(out, json_real_value(value));
        break;
    case JSON_TRUE:
        mosa_buf_append_str(out, "true");
        break;
    case JSON_FALSE:
        mosa_buf_append_str(out, "false");
        break;
    case JSON_NULL:
        mosa_buf_append_str(out, "null");
        break;
    }
}

void mosa_json_append(mosa_buf *out, const json_t *value) {
    append_value(out, value, false, 0);
}

void mosa_json_append_pretty(mosa_buf *out, const json_t *value) {
    append_value(out, value, true, 0);
}
