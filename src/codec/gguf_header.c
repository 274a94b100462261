// GGUF header: bytes to key and tensor tables, with every check. See codec/gguf.h for the limits.
//
// Layout: "GGUF", u32 version, u64 n_tensors, u64 n_kv, the pairs (string key, u32 type, value), the tensor records
// (string name, u32 n_dims, u64 dims innermost first, u32 type, u64 offset), padding to the alignment, tensor data.
// A cursor never moves past the end; counts are compared with the bytes left before anything is allocated.
#include "codec/gguf_internal.h"

#include <stdlib.h>

enum {
    KV_BYTES_MIN = 8 + 1 + 4 + 1,         // one-letter key, type, one byte
    TENSOR_BYTES_MIN = 8 + 1 + 4 + 4 + 8, // one-letter name, no dims, type, offset
    ALIGNMENT_DEFAULT = 32
};

typedef struct cursor {
    const unsigned char *at;
    size_t left;
} cursor;

static bool take(cursor *c, void *out, size_t bytes) {
    if (c->left < bytes) return false;
    memcpy(out, c->at, bytes);
    c->at += bytes;
    c->left -= bytes;
    return true;
}

static bool skip(cursor *c, uint64_t bytes) {
    if (c->left < bytes) return false;
    c->at += bytes;
    c->left -= bytes;
    return true;
}

static mosa_status truncated(mosa_error *err, const char *what) {
    return mosa_fail(err, MOSA_ECORRUPT, "file ends inside %s", what);
}

size_t gguf_type_bytes(mosa_gguf_type type) {
    static const uint8_t bytes[MOSA_GGUF_TYPE_COUNT] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    return bytes[type];
}

// A key or tensor name as a NUL-terminated copy. Control characters would let a file write to the terminal.
static mosa_status read_name(cursor *c, mosa_arena *arena, const char *what, const char **out, mosa_error *err) {
    uint64_t len;
    if (!take(c, &len, sizeof len)) return truncated(err, what);
    if (len == 0 || len > MOSA_GGUF_NAME_MAX)
        return mosa_fail(err, MOSA_ECORRUPT, "%s has %llu bytes, 1 to %d are allowed", what, (unsigned long long)len,
                         MOSA_GGUF_NAME_MAX);
    if (c->left < len) return truncated(err, what);
    for (size_t i = 0; i < len; i++)
        if (c->at[i] < 0x20 || c->at[i] == 0x7f)
            return mosa_fail(err, MOSA_ECORRUPT, "%s holds the control character 0x%02x", what, c->at[i]);
    *out = mosa_arena_strndup(arena, (const char *)c->at, len);
    if (!*out) return mosa_fail(err, MOSA_ENOMEM, "out of memory reading %s", what);
    skip(c, len);
    return MOSA_OK;
}

static mosa_status skip_string(cursor *c, const char *key, mosa_error *err) {
    uint64_t len;
    if (!take(c, &len, sizeof len)) return mosa_fail(err, MOSA_ECORRUPT, "key '%s': file ends inside a string", key);
    if (len > MOSA_GGUF_STR_MAX)
        return mosa_fail(err, MOSA_ELIMIT, "key '%s': string of %llu bytes, at most %d are allowed", key,
                         (unsigned long long)len, MOSA_GGUF_STR_MAX);
    if (!skip(c, len))
        return mosa_fail(err, MOSA_ECORRUPT, "key '%s': string of %llu bytes, but %zu are left in the file", key,
                         (unsigned long long)len, c->left);
    return MOSA_OK;
}

static mosa_status skip_numbers(cursor *c, const char *key, mosa_gguf_type type, uint64_t count, mosa_error *err) {
    size_t each = gguf_type_bytes(type);
    if (count > c->left / each)
        return mosa_fail(err, MOSA_ECORRUPT, "key '%s': %llu items of %s, but %zu bytes are left in the file", key,
                         (unsigned long long)count, mosa_gguf_type_name(type), c->left);
    for (uint64_t i = 0; type == MOSA_GGUF_BOOL && i < count; i++)
        if (c->at[i] > 1) return mosa_fail(err, MOSA_ECORRUPT, "key '%s': %u is not a bool", key, (unsigned)c->at[i]);
    skip(c, count * each);
    return MOSA_OK;
}

static mosa_status read_array_head(cursor *c, const char *key, mosa_gguf_type *type, uint64_t *count, mosa_error *err) {
    uint32_t raw;
    if (!take(c, &raw, sizeof raw) || !take(c, count, sizeof *count))
        return mosa_fail(err, MOSA_ECORRUPT, "key '%s': file ends inside an array", key);
    if (raw >= MOSA_GGUF_TYPE_COUNT)
        return mosa_fail(err, MOSA_ECORRUPT, "key '%s': unknown array item type %u", key, raw);
    if (*count > MOSA_GGUF_ITEMS_MAX)
        return mosa_fail(err, MOSA_ELIMIT, "key '%s': array of %llu items, at most %d are allowed", key,
                         (unsigned long long)*count, MOSA_GGUF_ITEMS_MAX);
    *type = (mosa_gguf_type)raw;
    return MOSA_OK;
}

// Moves past `count` values of one type. Each nested array takes at least 12 bytes, so work is bounded by the file.
static mosa_status skip_values(cursor *c, const char *key, mosa_gguf_type type, uint64_t count, int depth,
                               mosa_error *err) {
    if (type != MOSA_GGUF_STR && type != MOSA_GGUF_ARRAY) return skip_numbers(c, key, type, count, err);
    if (depth > MOSA_GGUF_DEPTH_MAX)
        return mosa_fail(err, MOSA_ELIMIT, "key '%s': arrays nested deeper than %d", key, MOSA_GGUF_DEPTH_MAX);
    for (uint64_t i = 0; i < count; i++) {
        mosa_gguf_type item;
        uint64_t items;
        if (type == MOSA_GGUF_STR) {
            MOSA_TRY(skip_string(c, key, err));
            continue;
        }
        MOSA_TRY(read_array_head(c, key, &item, &items, err));
        MOSA_TRY(skip_values(c, key, item, items, depth + 1, err));
    }
    return MOSA_OK;
}

static mosa_status read_kv(cursor *c, mosa_arena *arena, mosa_gguf_kv *kv, mosa_error *err) {
    uint32_t type;
    MOSA_TRY(read_name(c, arena, "a metadata key", &kv->key, err));
    if (!take(c, &type, sizeof type)) return truncated(err, "a metadata pair");
    if (type >= MOSA_GGUF_TYPE_COUNT)
        return mosa_fail(err, MOSA_ECORRUPT, "key '%s': unknown value type %u", kv->key, type);
    kv->type = kv->item_type = (mosa_gguf_type)type;
    kv->count = 1;
    if (kv->type == MOSA_GGUF_ARRAY) MOSA_TRY(read_array_head(c, kv->key, &kv->item_type, &kv->count, err));
    const unsigned char *start = c->at;
    MOSA_TRY(skip_values(c, kv->key, kv->item_type, kv->count, 1, err));
    kv->data = start;
    kv->bytes = (size_t)(c->at - start);
    return MOSA_OK;
}

static mosa_status read_alignment(const gguf_header *header, uint32_t *out, mosa_error *err) {
    *out = ALIGNMENT_DEFAULT;
    for (size_t i = 0; i < header->n_kvs; i++) {
        const mosa_gguf_kv *kv = &header->kvs[i];
        if (strcmp(kv->key, "general.alignment") != 0) continue;
        if (kv->type != MOSA_GGUF_U32)
            return mosa_fail(err, MOSA_ECORRUPT, "key '%s': is %s, must be u32", kv->key,
                             mosa_gguf_type_name(kv->type));
        memcpy(out, kv->data, sizeof *out);
        if (*out == 0 || (*out & (*out - 1)) != 0 || *out > MOSA_GGUF_ALIGNMENT_MAX)
            return mosa_fail(err, MOSA_ECORRUPT, "key '%s': %u is not a power of two up to %d", kv->key, *out,
                             MOSA_GGUF_ALIGNMENT_MAX);
    }
    return MOSA_OK;
}

static mosa_status read_dims(cursor *c, mosa_tensor_view *view, mosa_error *err) {
    uint32_t n_dims;
    uint64_t dims[MOSA_GGUF_DIMS_MAX];
    if (!take(c, &n_dims, sizeof n_dims)) return truncated(err, "the tensor table");
    if (n_dims > MOSA_GGUF_DIMS_MAX)
        return mosa_fail(err, MOSA_ECORRUPT, "tensor '%s': %u dims, at most %d are allowed", view->name, n_dims,
                         MOSA_GGUF_DIMS_MAX);
    if (!take(c, dims, n_dims * sizeof *dims)) return truncated(err, "the tensor table");
    for (unsigned i = 0; i < MOSA_TENSOR_DIMS_MAX; i++) view->dims[i] = 1;
    view->n_dims = n_dims;
    view->n_elements = 1;
    for (uint32_t i = 0; i < n_dims; i++) {
        if (dims[i] == 0) return mosa_fail(err, MOSA_ECORRUPT, "tensor '%s': dim %u is 0", view->name, i);
        if (dims[i] > INT64_MAX || __builtin_mul_overflow(view->n_elements, (int64_t)dims[i], &view->n_elements))
            return mosa_fail(err, MOSA_ECORRUPT, "tensor '%s': the product of its dims overflows", view->name);
        view->dims[n_dims - 1 - i] = (int64_t)dims[i]; // GGUF stores the innermost first
    }
    return MOSA_OK;
}

static mosa_status read_tensor(cursor *c, mosa_arena *arena, mosa_tensor_view *view, uint64_t *offset,
                               mosa_error *err) {
    uint32_t type;
    MOSA_TRY(read_name(c, arena, "a tensor name", &view->name, err));
    MOSA_TRY(read_dims(c, view, err));
    if (!take(c, &type, sizeof type) || !take(c, offset, sizeof *offset)) return truncated(err, "the tensor table");
    if (!mosa_dtype_from_ggml(type, &view->dtype))
        return mosa_fail(err, MOSA_EUNSUPPORTED, "tensor '%s': unknown type id %u", view->name, type);
    int64_t inner = view->n_dims ? view->dims[view->n_dims - 1] : 1;
    uint32_t block_len = mosa_dtype_traits_of(view->dtype)->block_len;
    if (inner % block_len != 0)
        return mosa_fail(err, MOSA_ECORRUPT, "tensor '%s': rows of %lld are not whole blocks of %u (%s)", view->name,
                         (long long)inner, block_len, mosa_dtype_name(view->dtype));
    if (!mosa_dtype_bytes(view->dtype, view->n_elements, &view->bytes))
        return mosa_fail(err, MOSA_ECORRUPT, "tensor '%s': its size overflows", view->name);
    return MOSA_OK;
}

typedef struct extent { // of one tensor in the data section, for the overlap check
    uint64_t start, end;
    const char *name;
} extent;

static int compare_extents(const void *a, const void *b) {
    const extent *x = a, *y = b;
    return x->start < y->start ? -1 : x->start > y->start;
}

static mosa_status check_overlaps(extent *extents, size_t count, mosa_error *err) {
    qsort(extents, count, sizeof *extents, compare_extents);
    for (size_t i = 1; i < count; i++)
        if (extents[i].start < extents[i - 1].end)
            return mosa_fail(err, MOSA_ECORRUPT, "tensors '%.100s' and '%.100s' overlap", extents[i - 1].name,
                             extents[i].name);
    return MOSA_OK;
}

// Turns offsets into pointers. `data` and `data_len` are the tensor data section.
static mosa_status place_tensors(gguf_header *header, const uint64_t *offsets, const unsigned char *data,
                                 size_t data_len, mosa_arena *arena, mosa_error *err) {
    extent *extents = MOSA_ARENA_ARRAY(arena, extent, header->n_tensors);
    if (!extents) return mosa_fail(err, MOSA_ENOMEM, "out of memory for %zu tensors", header->n_tensors);
    for (size_t i = 0; i < header->n_tensors; i++) {
        mosa_tensor_view *view = &header->tensors[i];
        if (offsets[i] % header->alignment != 0)
            return mosa_fail(err, MOSA_ECORRUPT, "tensor '%s': offset %llu is not a multiple of the alignment %u",
                             view->name, (unsigned long long)offsets[i], header->alignment);
        if (offsets[i] > data_len || view->bytes > data_len - offsets[i])
            return mosa_fail(err, MOSA_ECORRUPT,
                             "tensor '%s': %zu bytes at offset %llu reach beyond the data section of %zu bytes",
                             view->name, view->bytes, (unsigned long long)offsets[i], data_len);
        view->data = data + offsets[i];
        extents[i] = (extent){offsets[i], offsets[i] + view->bytes, view->name};
    }
    return check_overlaps(extents, header->n_tensors, err);
}

static mosa_status read_preamble(cursor *c, gguf_header *header, mosa_error *err) {
    char magic[4];
    uint64_t n_tensors, n_kvs;
    if (c->left == 0) return mosa_fail(err, MOSA_ECORRUPT, "the file is empty");
    if (!take(c, magic, sizeof magic) || memcmp(magic, "GGUF", 4) != 0)
        return mosa_fail(err, MOSA_ECORRUPT, "not a GGUF file");
    if (!take(c, &header->version, 4) || !take(c, &n_tensors, 8) || !take(c, &n_kvs, 8))
        return truncated(err, "the preamble");
    if (header->version && (header->version & 0xffff) == 0)
        return mosa_fail(err, MOSA_EUNSUPPORTED, "big-endian GGUF files are not supported");
    if (header->version < 2 || header->version > 3)
        return mosa_fail(err, MOSA_EUNSUPPORTED, "GGUF version %u is not supported, 2 and 3 are", header->version);
    if (n_kvs > MOSA_GGUF_KV_MAX || n_tensors > MOSA_GGUF_TENSORS_MAX)
        return mosa_fail(err, MOSA_ELIMIT, "%llu metadata pairs and %llu tensors, at most %d and %d are allowed",
                         (unsigned long long)n_kvs, (unsigned long long)n_tensors, MOSA_GGUF_KV_MAX,
                         MOSA_GGUF_TENSORS_MAX);
    if (n_kvs * KV_BYTES_MIN + n_tensors * TENSOR_BYTES_MIN > c->left)
        return mosa_fail(err, MOSA_ECORRUPT, "%llu metadata pairs and %llu tensors cannot fit in %zu bytes",
                         (unsigned long long)n_kvs, (unsigned long long)n_tensors, c->left);
    header->n_kvs = n_kvs;
    header->n_tensors = n_tensors;
    return MOSA_OK;
}

mosa_status gguf_read_header(const void *data, size_t len, mosa_arena *arena, gguf_header *out, mosa_error *err) {
    gguf_header header = {0};
    cursor c = {data, len};
    MOSA_TRY(read_preamble(&c, &header, err));
    header.kvs = MOSA_ARENA_ARRAY(arena, mosa_gguf_kv, header.n_kvs);
    header.tensors = MOSA_ARENA_ARRAY(arena, mosa_tensor_view, header.n_tensors);
    uint64_t *offsets = MOSA_ARENA_ARRAY(arena, uint64_t, header.n_tensors);
    if (!header.kvs || !header.tensors || !offsets)
        return mosa_fail(err, MOSA_ENOMEM, "out of memory for %zu metadata pairs and %zu tensors", header.n_kvs,
                         header.n_tensors);
    for (size_t i = 0; i < header.n_kvs; i++) MOSA_TRY(read_kv(&c, arena, &header.kvs[i], err));
    MOSA_TRY(read_alignment(&header, &header.alignment, err));
    for (size_t i = 0; i < header.n_tensors; i++)
        MOSA_TRY(read_tensor(&c, arena, &header.tensors[i], &offsets[i], err));
    size_t padding = -(len - c.left) & (header.alignment - 1);
    if (header.n_tensors && !skip(&c, padding)) return truncated(err, "the padding before the tensor data");
    MOSA_TRY(place_tensors(&header, offsets, c.at, c.left, arena, err));
    *out = header;
    return MOSA_OK;
}
