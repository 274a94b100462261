// Bounded parsing over jansson, and typed members. Writing is in json_write.c.
//
// A scan before the parse bounds the nesting (jansson's own limit is fixed and generous) and finds integers beyond
// int64, which jansson refuses: they get an exponent, "1000000000000000019884624838656e0", and so become reals.
#include "codec/json.h"

#include "base/file.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

// --- scan ---------------------------------------------------------------------------------------------------------

typedef struct scan {
    mosa_slice text;
    int depth, depth_max;
    bool too_deep;
    size_t nul; // bytes before the first NUL outside strings, or text.len: jansson would stop there
    size_t big_integers;
    mosa_buf *rewritten; // second pass: takes the text with exponents; NULL in the first
} scan;

static size_t string_end(mosa_slice text, size_t i) {
    for (i++; i < text.len && text.data[i] != '"'; i++)
        if (text.data[i] == '\\') i++;
    return i < text.len ? i + 1 : text.len;
}

// Whether the digits of [begin, end), without sign and leading zeros, exceed int64.
static bool beyond_i64(const char *digits, size_t n, bool negative) {
    const char *limit = negative ? "9223372036854775808" : "9223372036854775807";
    size_t limit_len = strlen(limit);
    while (n > 1 && *digits == '0') digits++, n--;
    return n > limit_len || (n == limit_len && memcmp(digits, limit, n) > 0);
}

// A number starts at i: counts it when it is a big integer. Returns where it ends.
static size_t scan_number(scan *s, size_t i) {
    size_t begin = i;
    bool negative = s->text.data[i] == '-';
    if (negative) i++;
    size_t digits = i;
    while (i < s->text.len && isdigit((unsigned char)s->text.data[i])) i++;
    bool integer = i > digits && (i == s->text.len || !strchr(".eE", s->text.data[i]) || !s->text.data[i]);
    bool big = integer && beyond_i64(s->text.data + digits, i - digits, negative);
    while (i < s->text.len && s->text.data[i] && strchr("0123456789.eE+-", s->text.data[i])) i++;
    s->big_integers += big;
    if (s->rewritten) {
        mosa_buf_append(s->rewritten, s->text.data + begin, i - begin);
        if (big) mosa_buf_append_str(s->rewritten, "e0");
    }
    return i;
}

static void scan_text(scan *s) {
    s->nul = s->text.len;
    for (size_t i = 0; i < s->text.len;) {
        char c = s->text.data[i];
        size_t next = i + 1;
        if (c == '-' || isdigit((unsigned char)c)) {
            i = scan_number(s, i);
            continue;
        }
        if (c == '"') next = string_end(s->text, i);
        if (c == '\0' && i < s->nul) s->nul = i;
        if (c == '{' || c == '[') s->too_deep |= ++s->depth > s->depth_max;
        if (c == '}' || c == ']') s->depth--;
        if (s->rewritten) mosa_buf_append(s->rewritten, s->text.data + i, next - i);
        i = next;
    }
}

// --- parse --------------------------------------------------------------------------------------------------------

static mosa_status parse_fault(const json_error_t *fault, mosa_error *err) {
    // jansson reports most allocation failures without a text.
    if (json_error_code(fault) == json_error_out_of_memory || !fault->text[0])
        return mosa_fail(err, MOSA_ENOMEM, "JSON: out of memory");
    return mosa_fail(err, MOSA_EINVALID, "JSON line %d column %d: %s", fault->line, fault->column, fault->text);
}

static mosa_status parse_scanned(mosa_slice text, json_t **out, mosa_error *err) {
    json_error_t fault;
    json_t *value = json_loadb(text.data ? text.data : "", text.len,
                               JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &fault);
    if (!value) return parse_fault(&fault, err);
    *out = value;
    return MOSA_OK;
}

static mosa_status parse_rewritten(mosa_slice text, json_t **out, mosa_error *err) {
    mosa_buf rewritten = {0};
    scan again = {.text = text, .rewritten = &rewritten};
    scan_text(&again);
    mosa_status status = mosa_buf_failed(&rewritten) ? mosa_fail(err, MOSA_ENOMEM, "JSON: out of memory")
                                                     : parse_scanned(mosa_buf_slice(&rewritten), out, err);
    mosa_buf_finish(&rewritten);
    return status;
}

static size_t line_at(mosa_slice text, size_t offset) {
    size_t line = 1;
    for (size_t i = 0; i < offset; i++) line += text.data[i] == '\n';
    return line;
}

mosa_status mosa_json_parse(mosa_slice text, const mosa_json_limits *limits, json_t **out, mosa_error *err) {
    static const mosa_json_limits fallback = {MOSA_JSON_BYTES_MAX, MOSA_JSON_DEPTH_MAX};
    if (!limits) limits = &fallback;
    if (text.len > limits->bytes_max)
        return mosa_fail(err, MOSA_ELIMIT, "JSON text has %zu bytes, at most %zu are read", text.len,
                         limits->bytes_max);
    scan first = {.text = text, .depth_max = limits->depth_max};
    scan_text(&first);
    if (first.nul < text.len)
        return mosa_fail(err, MOSA_EINVALID, "JSON line %zu: NUL character", line_at(text, first.nul));
    if (first.too_deep) return mosa_fail(err, MOSA_ELIMIT, "JSON is nested deeper than %d levels", limits->depth_max);
    return first.big_integers ? parse_rewritten(text, out, err) : parse_scanned(text, out, err);
}

mosa_status mosa_json_load(const char *path, const mosa_json_limits *limits, json_t **out, mosa_error *err) {
    MOSA_AUTO_FREE char *bytes = NULL;
    size_t len;
    MOSA_TRY(mosa_file_read(path, limits ? limits->bytes_max : MOSA_JSON_BYTES_MAX, &bytes, &len, err));
    mosa_status status = mosa_json_parse((mosa_slice){bytes, len}, limits, out, err);
    if (status != MOSA_OK) mosa_fail_prefix(err, path);
    return status;
}

// --- values -------------------------------------------------------------------------------------------------------

const char *mosa_json_type_name(const json_t *value) {
    static const char *const names[] = {
        [JSON_OBJECT] = "object", [JSON_ARRAY] = "array",  [JSON_STRING] = "string", [JSON_INTEGER] = "integer",
        [JSON_REAL] = "number",   [JSON_TRUE] = "boolean", [JSON_FALSE] = "boolean", [JSON_NULL] = "null"};
    return value ? names[json_typeof(value)] : "nothing";
}

void mosa_json_auto_decref(json_t **value) {
    json_decref(*value);
}
