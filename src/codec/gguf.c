// GGUF object: mapping, splits, and the sorted indexes by name. Parsing is in gguf_header.c, getters in gguf_meta.c.
#include "codec/gguf_internal.h"

#include <stdio.h>
#include <stdlib.h>

enum { SPLIT_SUFFIX_LEN = sizeof "-00001-of-00002.gguf" - 1 };

// Bound for names and tables of all parts: the largest tensor table times its rows in three arrays.
static const size_t arena_limit = (size_t)512 << 20;

static int compare_keys(const void *a, const void *b) {
    return strcmp((*(const mosa_gguf_kv *const *)a)->key, (*(const mosa_gguf_kv *const *)b)->key);
}

static int compare_names(const void *a, const void *b) {
    return strcmp((*(const mosa_tensor_view *const *)a)->name, (*(const mosa_tensor_view *const *)b)->name);
}

// Sorted rather than hashed: no choice of names by a hostile file makes look-ups slow.
static mosa_status index_names(mosa_gguf *gguf, mosa_error *err) {
    gguf->kvs_by_key = MOSA_ARENA_ARRAY(&gguf->arena, const mosa_gguf_kv *, gguf->n_kvs);
    gguf->tensors_by_name = MOSA_ARENA_ARRAY(&gguf->arena, const mosa_tensor_view *, gguf->n_tensors);
    if (!gguf->kvs_by_key || !gguf->tensors_by_name)
        return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory for the name index", gguf->path);
    for (size_t i = 0; i < gguf->n_kvs; i++) gguf->kvs_by_key[i] = &gguf->kvs[i];
    for (size_t i = 0; i < gguf->n_tensors; i++) gguf->tensors_by_name[i] = &gguf->tensors[i];
    qsort(gguf->kvs_by_key, gguf->n_kvs, sizeof *gguf->kvs_by_key, compare_keys);
    qsort(gguf->tensors_by_name, gguf->n_tensors, sizeof *gguf->tensors_by_name, compare_names);
    for (size_t i = 1; i < gguf->n_kvs; i++)
        if (strcmp(gguf->kvs_by_key[i - 1]->key, gguf->kvs_by_key[i]->key) == 0)
            return mosa_fail(err, MOSA_ECORRUPT, "%s: key '%s' occurs twice", gguf->path, gguf->kvs_by_key[i]->key);
    for (size_t i = 1; i < gguf->n_tensors; i++)
        if (strcmp(gguf->tensors_by_name[i - 1]->name, gguf->tensors_by_name[i]->name) == 0)
            return mosa_fail(err, MOSA_ECORRUPT, "%s: tensor '%s' occurs twice", gguf->path,
                             gguf->tensors_by_name[i]->name);
    return MOSA_OK;
}

static mosa_status read_part(mosa_gguf *gguf, const void *data, size_t len, const char *path, gguf_header *header,
                             mosa_error *err) {
    mosa_status status = gguf_read_header(data, len, &gguf->arena, header, err);
    if (status != MOSA_OK) mosa_fail_prefix(err, path);
    return status;
}

// The next part's file; the object owns the map from here on.
static mosa_status map_part(mosa_gguf *gguf, const char *path, gguf_header *header, mosa_error *err) {
    mosa_file_map *map = &gguf->mappings[gguf->n_mappings];
    MOSA_TRY(mosa_file_map_open(path, map, err));
    gguf->n_mappings++;
    return read_part(gguf, map->data, map->size, path, header, err);
}

static mosa_status create(const char *path, mosa_gguf **out, mosa_error *err) {
    mosa_gguf *gguf = calloc(1, sizeof *gguf);
    if (!gguf) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", path);
    mosa_arena_init(&gguf->arena, 0, arena_limit);
    gguf->path = strdup(path);
    if (!gguf->path) {
        mosa_gguf_close(gguf);
        return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", path);
    }
    *out = gguf;
    return MOSA_OK;
}

static void adopt_first(mosa_gguf *gguf, const gguf_header *header) {
    gguf->version = header->version;
    gguf->alignment = header->alignment;
    gguf->kvs = header->kvs;
    gguf->n_kvs = header->n_kvs;
    gguf->tensors = header->tensors;
    gguf->n_tensors = header->n_tensors;
}

// Value of an integer key of one part, or `fallback` when there is none.
static int64_t header_int(const gguf_header *header, const char *key, int64_t fallback) {
    for (size_t i = 0; i < header->n_kvs; i++) {
        int64_t value;
        if (strcmp(header->kvs[i].key, key) != 0 || header->kvs[i].count == 0) continue;
        return mosa_gguf_kv_i64(&header->kvs[i], 0, &value) ? value : fallback;
    }
    return fallback;
}

// Maps and reads parts 2..count, whose names follow from the first one's.
static mosa_status open_parts(mosa_gguf *gguf, gguf_header *parts, int count, mosa_error *err) {
    char expected[SPLIT_SUFFIX_LEN + 1];
    size_t stem = strlen(gguf->path);
    snprintf(expected, sizeof expected, "-00001-of-%05d.gguf", count);
    if (stem < SPLIT_SUFFIX_LEN || strcmp(gguf->path + stem - SPLIT_SUFFIX_LEN, expected) != 0)
        return mosa_fail(err, MOSA_EINVALID, "%s: first of %d parts, but its name does not end in %s", gguf->path,
                         count, expected);
    stem -= SPLIT_SUFFIX_LEN;
    for (int i = 1; i < count; i++) {
        char *path = mosa_arena_printf(&gguf->arena, "%.*s-%05d-of-%05d.gguf", (int)stem, gguf->path, i + 1, count);
        if (!path) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", gguf->path);
        MOSA_TRY(map_part(gguf, path, &parts[i], err));
        if (header_int(&parts[i], "split.no", -1) != i || header_int(&parts[i], "split.count", -1) != count)
            return mosa_fail(err, MOSA_ECORRUPT, "%s: split.no and split.count do not say part %d of %d", path, i,
                             count);
    }
    return MOSA_OK;
}

static mosa_status join_parts(mosa_gguf *gguf, const gguf_header *parts, int count, mosa_error *err) {
    size_t total = 0;
    for (int i = 0; i < count; i++) total += parts[i].n_tensors;
    int64_t promised = header_int(&parts[0], "split.tensors.count", (int64_t)total);
    if (total > MOSA_GGUF_TENSORS_MAX || promised != (int64_t)total)
        return mosa_fail(err, MOSA_ECORRUPT, "%s: the parts hold %zu tensors, split.tensors.count is %lld", gguf->path,
                         total, (long long)promised);
    gguf->tensors = MOSA_ARENA_ARRAY(&gguf->arena, mosa_tensor_view, total);
    if (!gguf->tensors) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory for %zu tensors", gguf->path, total);
    gguf->n_tensors = 0;
    for (int i = 0; i < count; i++) {
        if (parts[i].n_tensors)
            memcpy(gguf->tensors + gguf->n_tensors, parts[i].tensors, parts[i].n_tensors * sizeof *gguf->tensors);
        gguf->n_tensors += parts[i].n_tensors;
    }
    return MOSA_OK;
}

static mosa_status check_split(const mosa_gguf *gguf, const gguf_header *first, int64_t *count, mosa_error *err) {
    *count = header_int(first, "split.count", 1);
    int64_t number = header_int(first, "split.no", 0);
    if (*count < 0 || *count > MOSA_GGUF_SPLITS_MAX)
        return mosa_fail(err, MOSA_ECORRUPT, "%s: key 'split.count': %lld is not in 1 to %d", gguf->path,
                         (long long)*count, MOSA_GGUF_SPLITS_MAX);
    if (*count > 1 && number != 0) {
        mosa_fail(err, MOSA_EINVALID, "%s: part %lld of a split model", gguf->path, (long long)number + 1);
        mosa_hint(err, "open its first part, -00001-of-%05d.gguf", (int)*count);
        return MOSA_EINVALID;
    }
    if (*count == 0) *count = 1;
    return MOSA_OK;
}

static mosa_status open_all(mosa_gguf *gguf, mosa_error *err) {
    gguf_header first;
    int64_t count;
    gguf->mappings = calloc(MOSA_GGUF_SPLITS_MAX, sizeof *gguf->mappings);
    if (!gguf->mappings) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", gguf->path);
    MOSA_TRY(map_part(gguf, gguf->path, &first, err));
    adopt_first(gguf, &first);
    MOSA_TRY(check_split(gguf, &first, &count, err));
    if (count > 1) {
        gguf_header *parts = MOSA_ARENA_ARRAY(&gguf->arena, gguf_header, (size_t)count);
        if (!parts) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", gguf->path);
        parts[0] = first;
        MOSA_TRY(open_parts(gguf, parts, (int)count, err));
        MOSA_TRY(join_parts(gguf, parts, (int)count, err));
    }
    return index_names(gguf, err);
}

mosa_status mosa_gguf_open(const char *path, mosa_gguf **out, mosa_error *err) {
    mosa_gguf *gguf;
    MOSA_TRY(create(path, &gguf, err));
    mosa_status status = open_all(gguf, err);
    if (status != MOSA_OK) {
        mosa_gguf_close(gguf);
        return status;
    }
    *out = gguf;
    return MOSA_OK;
}

mosa_status mosa_gguf_parse(const void *data, size_t len, const char *name, mosa_gguf **out, mosa_error *err) {
    mosa_gguf *gguf;
    gguf_header header;
    mosa_status status;
    MOSA_TRY(create(name, &gguf, err));
    MOSA_TRY_GOTO(read_part(gguf, data, len, name, &header, err), fail);
    adopt_first(gguf, &header);
    if (header_int(&header, "split.count", 1) > 1) {
        status = mosa_fail(err, MOSA_EUNSUPPORTED, "%s: one part of a split model cannot be read alone", name);
        goto fail;
    }
    MOSA_TRY_GOTO(index_names(gguf, err), fail);
    *out = gguf;
    return MOSA_OK;
fail:
    mosa_gguf_close(gguf);
    return status;
}

void mosa_gguf_close(mosa_gguf *gguf) {
    if (!gguf) return;
    for (size_t i = 0; i < gguf->n_mappings; i++) mosa_file_map_close(&gguf->mappings[i]);
    free(gguf->mappings);
    free(gguf->path);
    mosa_arena_finish(&gguf->arena);
    free(gguf);
}

const char *mosa_gguf_path(const mosa_gguf *gguf) {
    return gguf->path;
}
uint32_t mosa_gguf_version(const mosa_gguf *gguf) {
    return gguf->version;
}
uint32_t mosa_gguf_split_count(const mosa_gguf *gguf) {
    return gguf->n_mappings ? (uint32_t)gguf->n_mappings : 1;
}

uint64_t mosa_gguf_tensor_bytes(const mosa_gguf *gguf) {
    uint64_t total = 0;
    for (size_t i = 0; i < gguf->n_tensors; i++) total += gguf->tensors[i].bytes;
    return total;
}

size_t mosa_gguf_tensor_count(const mosa_gguf *gguf) {
    return gguf->n_tensors;
}
const mosa_tensor_view *mosa_gguf_tensor_at(const mosa_gguf *gguf, size_t index) {
    return &gguf->tensors[index];
}

const mosa_tensor_view *mosa_gguf_tensor_find(const mosa_gguf *gguf, const char *name) {
    mosa_tensor_view probe = {.name = name};
    const mosa_tensor_view *key = &probe;
    const mosa_tensor_view **found =
        bsearch(&key, gguf->tensors_by_name, gguf->n_tensors, sizeof *gguf->tensors_by_name, compare_names);
    return found ? *found : NULL;
}

size_t mosa_gguf_kv_count(const mosa_gguf *gguf) {
    return gguf->n_kvs;
}
const mosa_gguf_kv *mosa_gguf_kv_at(const mosa_gguf *gguf, size_t index) {
    return &gguf->kvs[index];
}

const mosa_gguf_kv *mosa_gguf_kv_find(const mosa_gguf *gguf, const char *key) {
    mosa_gguf_kv probe = {.key = key};
    const mosa_gguf_kv *wanted = &probe;
    const mosa_gguf_kv **found =
        bsearch(&wanted, gguf->kvs_by_key, gguf->n_kvs, sizeof *gguf->kvs_by_key, compare_keys);
    return found ? *found : NULL;
}
