// safetensors writer: plan the shards, then stream one after the other.
#include "codec/safetensors_writer.h"

#include "base/out_file.h"

#include <stdio.h>
#include <stdlib.h>

enum { HEADER_ALIGNMENT = 8 };
static const uint64_t shard_bytes_default = 5000000000u;

typedef struct planned {
    mosa_tensor_view view; // name, dtype, dims, bytes
    size_t shard;
} planned;

struct mosa_safetensors_writer {
    mosa_arena arena; // names
    char *folder;
    const char *stem; // of the files' names
    uint64_t shard_bytes;
    planned *tensors;
    size_t n_tensors, capacity, n_shards;
    mosa_out_file *file; // the open shard
    bool begun;
    size_t current, current_bytes; // tensor being written, and how much of it was
};

mosa_status mosa_safetensors_writer_create(const char *folder, uint64_t shard_bytes, mosa_safetensors_writer **out,
                                           mosa_error *err) {
    mosa_safetensors_writer *writer = calloc(1, sizeof *writer);
    if (!writer) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", folder);
    mosa_arena_init(&writer->arena, 0, 0);
    writer->stem = "model";
    writer->shard_bytes = shard_bytes ? shard_bytes : shard_bytes_default;
    writer->folder = strdup(folder);
    if (!writer->folder) {
        mosa_safetensors_writer_destroy(writer);
        return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", folder);
    }
    *out = writer;
    return MOSA_OK;
}

mosa_status mosa_safetensors_writer_set_stem(mosa_safetensors_writer *writer, const char *stem, mosa_error *err) {
    char *copy = mosa_arena_strdup(&writer->arena, stem);
    if (!copy) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", writer->folder);
    writer->stem = copy;
    return MOSA_OK;
}

void mosa_safetensors_writer_destroy(mosa_safetensors_writer *writer) {
    if (!writer) return;
    mosa_out_file_destroy(writer->file);
    mosa_arena_finish(&writer->arena);
    free(writer->tensors);
    free(writer->folder);
    free(writer);
}

static mosa_status fill_view(mosa_safetensors_writer *writer, const char *name, mosa_dtype dtype, uint32_t n_dims,
                             const int64_t *dims, mosa_tensor_view *view, mosa_error *err) {
    if (!mosa_dtype_traits_of(dtype)->st_name)
        return mosa_fail(err, MOSA_EINVALID, "tensor '%s': safetensors has no type %s", name, mosa_dtype_name(dtype));
    if (n_dims > MOSA_TENSOR_DIMS_MAX || !*name || strlen(name) > MOSA_SAFETENSORS_NAME_MAX)
        return mosa_fail(err, MOSA_EINVALID, "tensor '%.80s': %u dims or its name's length are out of range", name,
                         n_dims);
    *view = (mosa_tensor_view){.dtype = dtype, .n_dims = n_dims, .n_elements = 1};
    for (uint32_t i = 0; i < n_dims; i++) {
        view->dims[i] = dims[i];
        if (dims[i] < 0 || __builtin_mul_overflow(view->n_elements, dims[i], &view->n_elements))
            return mosa_fail(err, MOSA_EINVALID, "tensor '%s': dims are negative or overflow", name);
    }
    if (!mosa_dtype_bytes(dtype, view->n_elements, &view->bytes))
        return mosa_fail(err, MOSA_EINVALID, "tensor '%s': its size overflows", name);
    view->name = mosa_arena_strdup(&writer->arena, name);
    return view->name ? MOSA_OK : mosa_fail(err, MOSA_ENOMEM, "out of memory for tensor names");
}

mosa_status mosa_safetensors_writer_add_tensor(mosa_safetensors_writer *writer, const char *name, mosa_dtype dtype,
                                               uint32_t n_dims, const int64_t *dims, mosa_error *err) {
    if (writer->n_tensors == writer->capacity) {
        size_t wanted = writer->capacity ? writer->capacity * 2 : 256;
        planned *grown = realloc(writer->tensors, wanted * sizeof *grown);
        if (!grown) return mosa_fail(err, MOSA_ENOMEM, "out of memory for the tensor table");
        writer->tensors = grown;
        writer->capacity = wanted;
    }
    planned *tensor = &writer->tensors[writer->n_tensors];
    MOSA_TRY(fill_view(writer, name, dtype, n_dims, dims, &tensor->view, err));
    writer->n_tensors++;
    return MOSA_OK;
}

static void append_json_string(mosa_buf *buf, const char *text) {
    mosa_buf_append_char(buf, '"');
    for (const char *c = text; *c; c++) {
        if (*c == '"' || *c == '\\')
            mosa_buf_printf(buf, "\\%c", *c);
        else if ((unsigned char)*c < 0x20)
            mosa_buf_printf(buf, "\\u%04x", (unsigned)*c);
        else
            mosa_buf_append_char(buf, *c);
    }
    mosa_buf_append_char(buf, '"');
}

static void append_entry(mosa_buf *json, const mosa_tensor_view *view, uint64_t offset) {
    append_json_string(json, view->name);
    mosa_buf_printf(json, ":{\"dtype\":\"%s\",\"shape\":[", mosa_dtype_traits_of(view->dtype)->st_name);
    for (uint32_t i = 0; i < view->n_dims; i++) mosa_buf_printf(json, "%s%lld", i ? "," : "", (long long)view->dims[i]);
    mosa_buf_printf(json, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)offset,
                    (unsigned long long)(offset + view->bytes));
}

enum { SHARD_NAME_MAX = 128 };

static void shard_name(const mosa_safetensors_writer *writer, size_t shard, char name[SHARD_NAME_MAX]) {
    if (writer->n_shards <= 1)
        snprintf(name, SHARD_NAME_MAX, "%s.safetensors", writer->stem);
    else
        snprintf(name, SHARD_NAME_MAX, "%s-%05zu-of-%05zu.safetensors", writer->stem, shard + 1, writer->n_shards);
}

// The header of the shard that starts at tensor `first`, its length included.
static mosa_status write_header(mosa_safetensors_writer *writer, size_t first, mosa_error *err) {
    mosa_buf json;
    uint64_t offset = 0;
    mosa_buf_init(&json, 0);
    mosa_buf_append_str(&json, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (size_t i = first; i < writer->n_tensors && writer->tensors[i].shard == writer->tensors[first].shard; i++) {
        mosa_buf_append_char(&json, ',');
        append_entry(&json, &writer->tensors[i].view, offset);
        offset += writer->tensors[i].view.bytes;
    }
    mosa_buf_append_char(&json, '}');
    while (json.len % HEADER_ALIGNMENT && !mosa_buf_failed(&json)) mosa_buf_append_char(&json, ' ');
    uint64_t len = json.len;
    mosa_status status = mosa_buf_failed(&json) ? mosa_fail(err, MOSA_ENOMEM, "out of memory for a shard's header")
                                                : mosa_out_file_write(writer->file, &len, sizeof len, err);
    if (status == MOSA_OK) status = mosa_out_file_write(writer->file, json.data, json.len, err);
    mosa_buf_finish(&json);
    return status;
}

static mosa_status close_shard(mosa_safetensors_writer *writer, mosa_error *err) {
    if (!writer->file) return MOSA_OK;
    mosa_status status = mosa_out_file_commit(writer->file, err);
    mosa_out_file_destroy(writer->file);
    writer->file = NULL;
    return status;
}

static mosa_status open_shard(mosa_safetensors_writer *writer, size_t shard, mosa_error *err) {
    char name[SHARD_NAME_MAX];
    mosa_buf path;
    shard_name(writer, shard, name);
    mosa_buf_init(&path, 0);
    mosa_buf_printf(&path, "%s/%s", writer->folder, name);
    mosa_status status = mosa_buf_failed(&path) ? mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", writer->folder)
                                                : mosa_out_file_create(mosa_buf_str(&path), &writer->file, err);
    mosa_buf_finish(&path);
    return status;
}

// Moves past complete (and empty) tensors; opens the shard of the next one when it starts another.
static mosa_status advance(mosa_safetensors_writer *writer, mosa_error *err) {
    while (writer->current < writer->n_tensors) {
        const planned *tensor = &writer->tensors[writer->current];
        bool starts_shard = writer->current == 0 || tensor->shard != tensor[-1].shard;
        if (starts_shard && writer->current_bytes == 0) {
            MOSA_TRY(close_shard(writer, err));
            MOSA_TRY(open_shard(writer, tensor->shard, err));
            MOSA_TRY(write_header(writer, writer->current, err));
        }
        if (writer->current_bytes < tensor->view.bytes) return MOSA_OK;
        writer->current++;
        writer->current_bytes = 0;
    }
    return MOSA_OK;
}

mosa_status mosa_safetensors_writer_begin(mosa_safetensors_writer *writer, mosa_error *err) {
    uint64_t used = 0;
    if (writer->n_tensors == 0) return mosa_fail(err, MOSA_EINVALID, "%s: no tensors to write", writer->folder);
    for (size_t i = 0; i < writer->n_tensors; i++) {
        planned *tensor = &writer->tensors[i];
        if (i == 0 || used + tensor->view.bytes > writer->shard_bytes) {
            writer->n_shards++;
            used = 0;
        }
        used += tensor->view.bytes;
        tensor->shard = writer->n_shards - 1;
    }
    writer->begun = true;
    return advance(writer, err);
}

mosa_status mosa_safetensors_writer_write(mosa_safetensors_writer *writer, const void *data, size_t bytes,
                                          mosa_error *err) {
    if (!writer->begun || writer->current == writer->n_tensors)
        return mosa_fail(err, MOSA_EINVALID, "more tensor bytes than tensors were declared");
    const mosa_tensor_view *view = &writer->tensors[writer->current].view;
    if (bytes > view->bytes - writer->current_bytes)
        return mosa_fail(err, MOSA_EINVALID, "tensor '%s' was declared with %zu bytes, more were given", view->name,
                         view->bytes);
    MOSA_TRY(mosa_out_file_write(writer->file, data, bytes, err));
    writer->current_bytes += bytes;
    if (writer->current_bytes < view->bytes) return MOSA_OK;
    writer->current++;
    writer->current_bytes = 0;
    return advance(writer, err);
}

static mosa_status write_index(const mosa_safetensors_writer *writer, mosa_error *err) {
    mosa_buf json, path;
    uint64_t total = 0;
    mosa_buf_init(&json, 0);
    mosa_buf_init(&path, 0);
    for (size_t i = 0; i < writer->n_tensors; i++) total += writer->tensors[i].view.bytes;
    mosa_buf_printf(&json, "{\n  \"metadata\": {\"total_size\": %llu},\n  \"weight_map\": {",
                    (unsigned long long)total);
    for (size_t i = 0; i < writer->n_tensors; i++) {
        char name[SHARD_NAME_MAX];
        shard_name(writer, writer->tensors[i].shard, name);
        mosa_buf_append_str(&json, i ? ",\n    " : "\n    ");
        append_json_string(&json, writer->tensors[i].view.name);
        mosa_buf_printf(&json, ": \"%s\"", name);
    }
    mosa_buf_append_str(&json, "\n  }\n}\n");
    mosa_buf_printf(&path, "%s/%s.safetensors.index.json", writer->folder, writer->stem);
    mosa_status status = mosa_buf_failed(&json) || mosa_buf_failed(&path)
                             ? mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", writer->folder)
                             : mosa_out_file_save(mosa_buf_str(&path), json.data, json.len, err);
    mosa_buf_finish(&json);
    mosa_buf_finish(&path);
    return status;
}

mosa_status mosa_safetensors_writer_commit(mosa_safetensors_writer *writer, mosa_error *err) {
    if (!writer->begun || writer->current != writer->n_tensors)
        return mosa_fail(err, MOSA_EINVALID, "%zu of %zu tensors were written", writer->current, writer->n_tensors);
    MOSA_TRY(close_shard(writer, err));
    return writer->n_shards > 1 ? write_index(writer, err) : MOSA_OK;
}
