// safetensors header: u64 length, JSON object, tensor data. Parsed by a scanner made for this one schema, so that a
// hostile header of 100 MB costs memory only for the tensors that it names (a general value tree would take gigabytes):
//
//   { "__metadata__": {string: string, ...}, NAME: {"dtype": S, "shape": [N, ...], "data_offsets": [N, N]}, ... }
//
// Names and metadata are copied into the arena with escapes resolved.
#include "codec/safetensors_internal.h"

#include <stdlib.h>

enum { KEY_MAX = 16, METADATA_MAX = 4096, METADATA_VALUE_MAX = 1 << 20 };

typedef struct scanner {
    const char *at, *end;
    mosa_arena *arena;
    mosa_buf text; // the last string read
} scanner;

static mosa_status syntax(scanner *s, const char *start, const char *wanted, mosa_error *err) {
    if (s->at == s->end) return mosa_fail(err, MOSA_ECORRUPT, "header ends where %s was expected", wanted);
    return mosa_fail(err, MOSA_ECORRUPT, "header byte %zu: expected %s", (size_t)(s->at - start), wanted);
}

static void skip_space(scanner *s) {
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\t' || *s->at == '\n' || *s->at == '\r')) s->at++;
}

// Consumes `c` after white space; false leaves the scanner at what is there instead.
static bool accept(scanner *s, char c) {
    skip_space(s);
    if (s->at == s->end || *s->at != c) return false;
    s->at++;
    return true;
}

static bool read_hex4(scanner *s, uint32_t *out) {
    if (s->end - s->at < 4) return false;
    uint32_t value = 0;
    for (int i = 0; i < 4; i++) {
        char c = s->at[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0) return false;
        value = value << 4 | (uint32_t)digit;
    }
    s->at += 4;
    *out = value;
    return true;
}

static void append_utf8(mosa_buf *buf, uint32_t point) {
    char bytes[4];
    size_t len = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    static const unsigned char leads[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = len - 1; i > 0; i--, point >>= 6) bytes[i] = (char)(0x80 | (point & 0x3f));
    bytes[0] = (char)(leads[len] | point);
    mosa_buf_append(buf, bytes, len);
}

// After a backslash. A lone surrogate or NUL is refused: neither can be a name.
static bool read_escape(scanner *s) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (s->at == s->end) return false;
    char c = *s->at++;
    const char *found = c ? strchr(from, c) : NULL;
    if (found) {
        mosa_buf_append_char(&s->text, to[found - from]);
        return true;
    }
    uint32_t point, low;
    if (c != 'u' || !read_hex4(s, &point) || point == 0 || (point & 0xfc00) == 0xdc00) return false;
    if ((point & 0xfc00) == 0xd800) {
        if (s->end - s->at < 2 || s->at[0] != '\\' || s->at[1] != 'u') return false;
        s->at += 2;
        if (!read_hex4(s, &low) || (low & 0xfc00) != 0xdc00) return false;
        point = 0x10000 + ((point & 0x3ff) << 10) + (low & 0x3ff);
    }
    append_utf8(&s->text, point);
    return true;
}

// A JSON string into s->text, at most `max` bytes.
static bool read_string(scanner *s, size_t max) {
    mosa_buf_clear(&s->text);
    s->text.limit = max;
    if (!accept(s, '"')) return false;
    while (s->at < s->end && *s->at != '"') {
        unsigned char c = (unsigned char)*s->at++;
        if (c < 0x20) return false;
        if (c != '\\')
            mosa_buf_append_char(&s->text, (char)c);
        else if (!read_escape(s))
            return false;
        if (mosa_buf_failed(&s->text)) return false;
    }
    if (s->at == s->end) return false;
    s->at++;
    return true;
}

static bool read_number(scanner *s, uint64_t *out) {
    skip_space(s);
    const char *start = s->at;
    uint64_t value = 0;
    while (s->at < s->end && *s->at >= '0' && *s->at <= '9') {
        if (__builtin_mul_overflow(value, 10u, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*s->at - '0'), &value))
            return false;
        s->at++;
    }
    if (s->at == start || (*start == '0' && s->at - start > 1)) return false;
    *out = value;
    return true;
}

// [n, n, ...] of at most `max` numbers.
static bool read_numbers(scanner *s, uint64_t *out, size_t max, size_t *count) {
    *count = 0;
    if (!accept(s, '[')) return false;
    if (accept(s, ']')) return true;
    do {
        if (*count == max || !read_number(s, &out[*count])) return false;
        ++*count;
    } while (accept(s, ','));
    return accept(s, ']');
}

static void *grow(void *items, size_t *capacity, size_t count, size_t item_bytes) {
    if (count < *capacity) return items;
    size_t wanted = *capacity ? *capacity * 2 : 64;
    void *bigger = realloc(items, wanted * item_bytes);
    if (bigger) *capacity = wanted;
    return bigger;
}

static mosa_status read_metadata(scanner *s, const char *start, st_header *header, mosa_error *err) {
    if (!accept(s, '{')) return syntax(s, start, "the object of __metadata__", err);
    if (accept(s, '}')) return MOSA_OK;
    do {
        st_metadata row;
        if (header->n_metadata == METADATA_MAX)
            return mosa_fail(err, MOSA_ELIMIT, "__metadata__ has more than %d entries", METADATA_MAX);
        if (!read_string(s, METADATA_VALUE_MAX)) return syntax(s, start, "a string in __metadata__", err);
        row.key = mosa_arena_strdup(s->arena, mosa_buf_str(&s->text));
        if (!accept(s, ':') || !read_string(s, METADATA_VALUE_MAX))
            return syntax(s, start, "a string value in __metadata__", err);
        row.value = mosa_arena_strdup(s->arena, mosa_buf_str(&s->text));
        st_metadata *grown = grow(header->metadata, &header->metadata_capacity, header->n_metadata, sizeof row);
        if (!row.key || !row.value || !grown) return mosa_fail(err, MOSA_ENOMEM, "out of memory for __metadata__");
        header->metadata = grown;
        header->metadata[header->n_metadata++] = row;
    } while (accept(s, ','));
    return accept(s, '}') ? MOSA_OK : syntax(s, start, "',' or '}' in __metadata__", err);
}

typedef struct entry { // one tensor's object as read
    const char *name;
    mosa_dtype dtype;
    uint64_t shape[MOSA_TENSOR_DIMS_MAX], offsets[2];
    size_t n_dims;
    bool has_dtype, has_shape, has_offsets;
} entry;

static mosa_status read_field(scanner *s, const char *start, entry *e, mosa_error *err) {
    size_t count;
    if (!read_string(s, KEY_MAX)) return syntax(s, start, "a field name of at most 16 bytes", err);
    const char *field = mosa_buf_str(&s->text);
    bool *seen = strcmp(field, "dtype") == 0          ? &e->has_dtype
                 : strcmp(field, "shape") == 0        ? &e->has_shape
                 : strcmp(field, "data_offsets") == 0 ? &e->has_offsets
                                                      : NULL;
    if (!seen) return mosa_fail(err, MOSA_ECORRUPT, "tensor '%s': unknown field '%s'", e->name, field);
    if (*seen) return mosa_fail(err, MOSA_ECORRUPT, "tensor '%s': field '%s' occurs twice", e->name, field);
    *seen = true;
    if (!accept(s, ':')) return syntax(s, start, "':'", err);
    if (seen == &e->has_dtype) {
        if (!read_string(s, KEY_MAX)) return mosa_fail(err, MOSA_ECORRUPT, "tensor '%s': dtype is no string", e->name);
        if (!mosa_dtype_from_st_name(mosa_buf_str(&s->text), &e->dtype))
            return mosa_fail(err, MOSA_EUNSUPPORTED, "tensor '%s': unknown dtype '%s'", e->name,
                             mosa_buf_str(&s->text));
    } else if (seen == &e->has_shape) {
        if (!read_numbers(s, e->shape, MOSA_TENSOR_DIMS_MAX, &e->n_dims))
            return mosa_fail(err, MOSA_ECORRUPT, "tensor '%s': shape is no list of at most %d counts", e->name,
                             MOSA_TENSOR_DIMS_MAX);
    } else if (!read_numbers(s, e->offsets, 2, &count) || count != 2) {
        return mosa_fail(err, MOSA_ECORRUPT, "tensor '%s': data_offsets is no pair of counts", e->name);
    }
    return MOSA_OK;
}

static mosa_status check_entry(const entry *e, const char *data, size_t data_len, mosa_tensor_view *view,
                               mosa_error *err) {
    if (!e->has_dtype || !e->has_shape || !e->has_offsets)
        return mosa_fail(err, MOSA_ECORRUPT, "tensor '%s': dtype, shape or data_offsets is missing", e->name);
    *view = (mosa_tensor_view){.name = e->name, .dtype = e->dtype, .n_dims = (uint32_t)e->n_dims, .n_elements = 1};
    for (size_t i = 0; i < MOSA_TENSOR_DIMS_MAX; i++) view->dims[i] = i < e->n_dims ? (int64_t)e->shape[i] : 1;
    for (size_t i = 0; i < e->n_dims; i++)
        if (e->shape[i] > INT64_MAX ||
            __builtin_mul_overflow(view->n_elements, (int64_t)e->shape[i], &view->n_elements))
            return mosa_fail(err, MOSA_ECORRUPT, "tensor '%s': the product of its shape overflows", e->name);
    if (e->offsets[0] > e->offsets[1] || e->offsets[1] > data_len)
        return mosa_fail(err, MOSA_ECORRUPT, "tensor '%s': data_offsets [%llu, %llu] do not lie in %zu bytes of data",
                         e->name, (unsigned long long)e->offsets[0], (unsigned long long)e->offsets[1], data_len);
    if (!mosa_dtype_bytes(e->dtype, view->n_elements, &view->bytes) || view->bytes != e->offsets[1] - e->offsets[0])
        return mosa_fail(err, MOSA_ECORRUPT, "tensor '%s': data_offsets span %llu bytes, which is not its shape of %s",
                         e->name, (unsigned long long)(e->offsets[1] - e->offsets[0]), mosa_dtype_name(e->dtype));
    view->data = data + e->offsets[0];
    return MOSA_OK;
}

static mosa_status read_tensor(scanner *s, const char *start, const char *data, size_t data_len, st_header *header,
                               mosa_error *err) {
    entry e = {.name = mosa_arena_strdup(s->arena, mosa_buf_str(&s->text))};
    if (!e.name) return mosa_fail(err, MOSA_ENOMEM, "out of memory for tensor names");
    if (header->n_tensors == MOSA_SAFETENSORS_TENSORS_MAX)
        return mosa_fail(err, MOSA_ELIMIT, "more than %d tensors", MOSA_SAFETENSORS_TENSORS_MAX);
    for (const char *c = e.name; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            return mosa_fail(err, MOSA_ECORRUPT, "a tensor name holds the control character 0x%02x", (unsigned)*c);
    if (!accept(s, '{')) return syntax(s, start, "a tensor's object", err);
    do MOSA_TRY(read_field(s, start, &e, err));
    while (accept(s, ','));
    if (!accept(s, '}')) return syntax(s, start, "',' or '}'", err);
    mosa_tensor_view *grown = grow(header->tensors, &header->tensor_capacity, header->n_tensors, sizeof *grown);
    if (!grown) return mosa_fail(err, MOSA_ENOMEM, "out of memory for the tensor table");
    header->tensors = grown;
    MOSA_TRY(check_entry(&e, data, data_len, &header->tensors[header->n_tensors], err));
    header->n_tensors++;
    return MOSA_OK;
}

static mosa_status read_object(scanner *s, const char *start, const char *data, size_t data_len, st_header *header,
                               mosa_error *err) {
    bool metadata_seen = false;
    if (!accept(s, '{')) return syntax(s, start, "'{'", err);
    if (!accept(s, '}')) {
        do {
            if (!read_string(s, MOSA_SAFETENSORS_NAME_MAX)) return syntax(s, start, "a tensor name", err);
            bool is_metadata = strcmp(mosa_buf_str(&s->text), "__metadata__") == 0;
            if (s->text.len == 0) return mosa_fail(err, MOSA_ECORRUPT, "a tensor name is empty");
            if (!accept(s, ':')) return syntax(s, start, "':'", err);
            if (is_metadata && metadata_seen) return mosa_fail(err, MOSA_ECORRUPT, "__metadata__ occurs twice");
            metadata_seen |= is_metadata;
            if (is_metadata)
                MOSA_TRY(read_metadata(s, start, header, err));
            else
                MOSA_TRY(read_tensor(s, start, data, data_len, header, err));
        } while (accept(s, ','));
        if (!accept(s, '}')) return syntax(s, start, "',' or '}'", err);
    }
    skip_space(s);
    return s->at == s->end ? MOSA_OK : syntax(s, start, "nothing more", err);
}

static int compare_places(const void *a, const void *b) {
    const mosa_tensor_view *x = a, *y = b;
    if (x->data != y->data) return (const char *)x->data < (const char *)y->data ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes; // empty tensors first
}

// The tensors of one file, sorted by place, must tile the data section without gap or overlap.
static mosa_status check_tiling(mosa_tensor_view *tensors, size_t count, const char *data, size_t data_len,
                                mosa_error *err) {
    if (count) qsort(tensors, count, sizeof *tensors, compare_places);
    const char *expected = data;
    for (size_t i = 0; i < count; i++) {
        if ((const char *)tensors[i].data != expected)
            return mosa_fail(err, MOSA_ECORRUPT, "tensor '%s': its data %s", tensors[i].name,
                             (const char *)tensors[i].data < expected ? "overlaps another tensor's" : "leaves a gap");
        expected += tensors[i].bytes;
    }
    if ((size_t)(expected - data) != data_len)
        return mosa_fail(err, MOSA_ECORRUPT, "%zu bytes after the last tensor", data_len - (size_t)(expected - data));
    return MOSA_OK;
}

mosa_status st_read_header(const void *data, size_t len, mosa_arena *arena, st_header *header, mosa_error *err) {
    uint64_t json_len;
    if (len < sizeof json_len) return mosa_fail(err, MOSA_ECORRUPT, "not a safetensors file: only %zu bytes", len);
    memcpy(&json_len, data, sizeof json_len);
    if (json_len > MOSA_SAFETENSORS_HEADER_MAX)
        return mosa_fail(err, MOSA_ELIMIT, "header of %llu bytes, at most %d are allowed", (unsigned long long)json_len,
                         MOSA_SAFETENSORS_HEADER_MAX);
    if (json_len > len - sizeof json_len)
        return mosa_fail(err, MOSA_ECORRUPT, "header of %llu bytes in a file of %zu", (unsigned long long)json_len,
                         len);
    const char *json = (const char *)data + sizeof json_len, *tensors = json + json_len;
    size_t data_len = len - sizeof json_len - json_len, before = header->n_tensors;
    scanner s = {json, tensors, arena, {0}};
    mosa_status status = read_object(&s, json, tensors, data_len, header, err);
    mosa_buf_finish(&s.text);
    if (status != MOSA_OK) return status;
    // A file without tensors may have no table to point into.
    size_t count = header->n_tensors - before;
    return check_tiling(count ? header->tensors + before : NULL, count, tensors, data_len, err);
}

void st_header_finish(st_header *header) {
    free(header->tensors);
    free(header->metadata);
    *header = (st_header){0};
}
