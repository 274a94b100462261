// safetensors object: one mapping per shard, the joined tensor table, and the index file of sharded models.
// Headers are parsed in safetensors_header.c.
#include "codec/safetensors.h"

#include "base/file.h"
#include "codec/json.h"
#include "codec/safetensors_internal.h"

#include <stdlib.h>
#include <sys/stat.h>

enum { INDEX_BYTES_MAX = 64 * 1024 * 1024 };

static const size_t arena_limit = (size_t)1 << 30; // names of all shards: each header is at most 100 MB

struct mosa_safetensors {
    mosa_arena arena; // names and strings
    char *path;
    mosa_file_map *mappings;
    size_t n_mappings;
    st_header header;
    const mosa_tensor_view **by_name; // sorted
};

static int compare_names(const void *a, const void *b) {
    return strcmp((*(const mosa_tensor_view *const *)a)->name, (*(const mosa_tensor_view *const *)b)->name);
}

static mosa_status index_names(mosa_safetensors *st, mosa_error *err) {
    size_t count = st->header.n_tensors;
    st->by_name = MOSA_ARENA_ARRAY(&st->arena, const mosa_tensor_view *, count);
    if (!st->by_name) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory for the name index", st->path);
    for (size_t i = 0; i < count; i++) st->by_name[i] = &st->header.tensors[i];
    qsort(st->by_name, count, sizeof *st->by_name, compare_names);
    for (size_t i = 1; i < count; i++)
        if (strcmp(st->by_name[i - 1]->name, st->by_name[i]->name) == 0)
            return mosa_fail(err, MOSA_ECORRUPT, "%s: tensor '%s' occurs twice", st->path, st->by_name[i]->name);
    return MOSA_OK;
}

static mosa_status create(const char *path, size_t shards, mosa_safetensors **out, mosa_error *err) {
    mosa_safetensors *st = calloc(1, sizeof *st);
    if (!st) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", path);
    mosa_arena_init(&st->arena, 0, arena_limit);
    st->path = strdup(path);
    st->mappings = calloc(shards, sizeof *st->mappings);
    if (!st->path || !st->mappings) {
        mosa_safetensors_close(st);
        return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", path);
    }
    *out = st;
    return MOSA_OK;
}

static mosa_status add_bytes(mosa_safetensors *st, const void *data, size_t len, const char *path, mosa_error *err) {
    mosa_status status = st_read_header(data, len, &st->arena, &st->header, err);
    if (status != MOSA_OK) mosa_fail_prefix(err, path);
    return status;
}

static mosa_status add_file(mosa_safetensors *st, const char *path, mosa_error *err) {
    mosa_file_map *mapping = &st->mappings[st->n_mappings];
    MOSA_TRY(mosa_file_map_open(path, mapping, err));
    st->n_mappings++;
    return add_bytes(st, mapping->data, mapping->size, path, err);
}

// A shard's name comes from a file that somebody else wrote: it may not leave the folder of the index.
static bool is_plain_name(const char *name) {
    if (!*name || *name == '.' || strlen(name) > 255) return false;
    for (const char *c = name; *c; c++)
        if (*c == '/' || *c == '\\' || (unsigned char)*c < 0x20 || *c == 0x7f) return false;
    return true;
}

static int compare_strings(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

// The distinct shard names of a weight map, sorted; borrowed from it. *names is the caller's to free.
static mosa_status list_shards(const char *path, json_t *map, const char ***names, size_t *count, mosa_error *err) {
    size_t total = 0, distinct = 0;
    const char *key;
    json_t *value;
    const char **all = calloc(json_object_size(map) + 1, sizeof *all);
    if (!all) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", path);
    json_object_foreach(map, key, value) {
        const char *name = json_string_value(value);
        if (!name || !is_plain_name(name)) {
            free(all);
            return mosa_fail(err, MOSA_ECORRUPT, "%s: weight_map '%.100s': '%.100s' is no plain file name", path, key,
                             name ? name : "(not a string)");
        }
        all[total++] = name;
    }
    qsort(all, total, sizeof *all, compare_strings);
    for (size_t i = 0; i < total; i++)
        if (i == 0 || strcmp(all[i], all[i - 1]) != 0) all[distinct++] = all[i];
    if (distinct == 0 || distinct > MOSA_SAFETENSORS_SHARDS_MAX) {
        free(all);
        return mosa_fail(err, MOSA_ECORRUPT, "%s: weight_map names %zu shards, 1 to %d are allowed", path, distinct,
                         MOSA_SAFETENSORS_SHARDS_MAX);
    }
    *names = all;
    *count = distinct;
    return MOSA_OK;
}

// Every tensor that the index promises must lie in the shard that it names.
static mosa_status check_weight_map(const mosa_safetensors *st, json_t *map, const char *const *shards, size_t count,
                                    mosa_error *err) {
    const char *key;
    json_t *value;
    json_object_foreach(map, key, value) {
        const char *name = json_string_value(value);
        const char **shard = bsearch(&name, shards, count, sizeof *shards, compare_strings);
        const mosa_tensor_view *view = mosa_safetensors_tensor_find(st, key);
        const mosa_file_map *mapping = shard ? &st->mappings[shard - (const char **)shards] : NULL;
        const char *base = mapping ? (const char *)mapping->data : NULL;
        if (!view || !base || (const char *)view->data < base || (const char *)view->data > base + mapping->size)
            return mosa_fail(err, MOSA_ECORRUPT, "%s: tensor '%.150s' is not in shard '%.100s'", st->path, key, name);
    }
    return MOSA_OK;
}

static mosa_status open_shards(const char *path, json_t *map, const char *const *names, size_t count,
                               mosa_safetensors **out, mosa_error *err) {
    const char *slash = strrchr(path, '/');
    int folder = slash ? (int)(slash - path) + 1 : 0;
    mosa_safetensors *st;
    mosa_status status;
    MOSA_TRY(create(path, count, &st, err));
    for (size_t i = 0; i < count; i++) {
        char *shard = mosa_arena_printf(&st->arena, "%.*s%s", folder, path, names[i]);
        status = shard ? add_file(st, shard, err) : mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", path);
        if (status != MOSA_OK) goto fail;
    }
    MOSA_TRY_GOTO(index_names(st, err), fail);
    MOSA_TRY_GOTO(check_weight_map(st, map, names, count, err), fail);
    *out = st;
    return MOSA_OK;
fail:
    mosa_safetensors_close(st);
    return status;
}

static mosa_status open_index(const char *path, mosa_safetensors **out, mosa_error *err) {
    static const mosa_json_limits limits = {INDEX_BYTES_MAX, MOSA_JSON_DEPTH_MAX};
    MOSA_AUTO_JSON json_t *root = NULL;
    const char **names = NULL;
    size_t count = 0;
    MOSA_TRY(mosa_json_load(path, &limits, &root, err));
    json_t *map = json_object_get(root, "weight_map");
    mosa_status status = json_is_object(map) ? list_shards(path, map, &names, &count, err)
                                             : mosa_fail(err, MOSA_ECORRUPT, "%s: has no weight_map object", path);
    if (status == MOSA_OK) status = open_shards(path, map, names, count, out, err);
    free(names);
    return status;
}

static mosa_status open_single(const char *path, mosa_safetensors **out, mosa_error *err) {
    mosa_safetensors *st;
    MOSA_TRY(create(path, 1, &st, err));
    mosa_status status = add_file(st, path, err);
    if (status == MOSA_OK) status = index_names(st, err);
    if (status != MOSA_OK) {
        mosa_safetensors_close(st);
        return status;
    }
    *out = st;
    return MOSA_OK;
}

static mosa_status open_folder(const char *path, mosa_safetensors **out, mosa_error *err) {
    struct stat info;
    mosa_buf file;
    mosa_buf_init(&file, 0);
    mosa_buf_printf(&file, "%s/model.safetensors.index.json", path);
    bool sharded = !mosa_buf_failed(&file) && stat(mosa_buf_str(&file), &info) == 0;
    if (!sharded) {
        mosa_buf_clear(&file);
        mosa_buf_printf(&file, "%s/model.safetensors", path);
    }
    mosa_status status = mosa_buf_failed(&file) ? mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", path)
                         : sharded              ? open_index(mosa_buf_str(&file), out, err)
                                                : open_single(mosa_buf_str(&file), out, err);
    mosa_buf_finish(&file);
    return status;
}

mosa_status mosa_safetensors_open(const char *path, mosa_safetensors **out, mosa_error *err) {
    struct stat info;
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode)) return open_folder(path, out, err);
    if (mosa_str_ends_with(path, ".json")) return open_index(path, out, err);
    return open_single(path, out, err);
}

mosa_status mosa_safetensors_parse(const void *data, size_t len, const char *name, mosa_safetensors **out,
                                   mosa_error *err) {
    mosa_safetensors *st;
    MOSA_TRY(create(name, 1, &st, err));
    mosa_status status = add_bytes(st, data, len, name, err);
    if (status == MOSA_OK) status = index_names(st, err);
    if (status != MOSA_OK) {
        mosa_safetensors_close(st);
        return status;
    }
    *out = st;
    return MOSA_OK;
}

void mosa_safetensors_close(mosa_safetensors *st) {
    if (!st) return;
    for (size_t i = 0; i < st->n_mappings; i++) mosa_file_map_close(&st->mappings[i]);
    free(st->mappings);
    free(st->path);
    st_header_finish(&st->header);
    mosa_arena_finish(&st->arena);
    free(st);
}

size_t mosa_safetensors_shard_count(const mosa_safetensors *st) {
    return st->n_mappings ? st->n_mappings : 1;
}

size_t mosa_safetensors_tensor_count(const mosa_safetensors *st) {
    return st->header.n_tensors;
}

const mosa_tensor_view *mosa_safetensors_tensor_at(const mosa_safetensors *st, size_t index) {
    return &st->header.tensors[index];
}

const mosa_tensor_view *mosa_safetensors_tensor_find(const mosa_safetensors *st, const char *name) {
    mosa_tensor_view probe = {.name = name};
    const mosa_tensor_view *key = &probe;
    const mosa_tensor_view **found =
        bsearch(&key, st->by_name, st->header.n_tensors, sizeof *st->by_name, compare_names);
    return found ? *found : NULL;
}

size_t mosa_safetensors_metadata_count(const mosa_safetensors *st) {
    return st->header.n_metadata;
}

void mosa_safetensors_metadata_at(const mosa_safetensors *st, size_t index, const char **key, const char **value) {
    *key = st->header.metadata[index].key;
    *value = st->header.metadata[index].value;
}

bool mosa_safetensors_metadata_find(const mosa_safetensors *st, const char *key, const char **value) {
    for (size_t i = 0; i < st->header.n_metadata; i++) {
        if (strcmp(st->header.metadata[i].key, key) != 0) continue;
        *value = st->header.metadata[i].value;
        return true;
    }
    return false;
}
