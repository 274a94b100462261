// GGUF writer: header sections gather in buffers until begin, tensor bytes stream straight to the file.
#include "codec/gguf_writer.h"

#include "base/out_file.h"

#include <stdlib.h>

enum { WRITER_ALIGNMENT = 32, WRITER_VERSION = 3 };

struct mosa_gguf_writer {
    mosa_out_file *file;
    mosa_buf kvs, table; // header sections
    mosa_buf sizes;      // size_t of each tensor's bytes
    uint64_t n_kvs, n_tensors;
    uint64_t data_bytes; // offset of the next tensor added
    bool begun;
    uint64_t current;     // tensor being written
    size_t current_bytes; // of it written so far
};

static size_t size_of_tensor(const mosa_gguf_writer *writer, uint64_t index) {
    size_t bytes;
    memcpy(&bytes, writer->sizes.data + index * sizeof bytes, sizeof bytes);
    return bytes;
}

static uint64_t padding_after(uint64_t bytes) {
    return -bytes & (WRITER_ALIGNMENT - 1);
}

mosa_status mosa_gguf_writer_create(const char *path, mosa_gguf_writer **out, mosa_error *err) {
    mosa_gguf_writer *writer = calloc(1, sizeof *writer);
    if (!writer) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", path);
    mosa_status status = mosa_out_file_create(path, &writer->file, err);
    if (status != MOSA_OK) {
        mosa_gguf_writer_destroy(writer);
        return status;
    }
    *out = writer;
    return MOSA_OK;
}

void mosa_gguf_writer_destroy(mosa_gguf_writer *writer) {
    if (!writer) return;
    mosa_out_file_destroy(writer->file);
    mosa_buf_finish(&writer->kvs);
    mosa_buf_finish(&writer->table);
    mosa_buf_finish(&writer->sizes);
    free(writer);
}

static void append_u32(mosa_buf *buf, uint32_t value) {
    mosa_buf_append(buf, &value, sizeof value);
}
static void append_u64(mosa_buf *buf, uint64_t value) {
    mosa_buf_append(buf, &value, sizeof value);
}

static void append_string(mosa_buf *buf, mosa_slice text) {
    append_u64(buf, text.len);
    mosa_buf_append_slice(buf, text);
}

static mosa_buf *put_head(mosa_gguf_writer *writer, const char *key, mosa_gguf_type type) {
    writer->n_kvs++;
    append_string(&writer->kvs, mosa_slice_of(key));
    append_u32(&writer->kvs, type);
    return &writer->kvs;
}

static mosa_buf *put_array_head(mosa_gguf_writer *writer, const char *key, mosa_gguf_type item, uint64_t count) {
    mosa_buf *buf = put_head(writer, key, MOSA_GGUF_ARRAY);
    append_u32(buf, item);
    append_u64(buf, count);
    return buf;
}

void mosa_gguf_writer_put_u32(mosa_gguf_writer *writer, const char *key, uint32_t value) {
    append_u32(put_head(writer, key, MOSA_GGUF_U32), value);
}

void mosa_gguf_writer_put_u64(mosa_gguf_writer *writer, const char *key, uint64_t value) {
    append_u64(put_head(writer, key, MOSA_GGUF_U64), value);
}

void mosa_gguf_writer_put_f32(mosa_gguf_writer *writer, const char *key, float value) {
    mosa_buf_append(put_head(writer, key, MOSA_GGUF_F32), &value, sizeof value);
}

void mosa_gguf_writer_put_bool(mosa_gguf_writer *writer, const char *key, bool value) {
    mosa_buf_append_char(put_head(writer, key, MOSA_GGUF_BOOL), value ? 1 : 0);
}

void mosa_gguf_writer_put_str(mosa_gguf_writer *writer, const char *key, mosa_slice value) {
    append_string(put_head(writer, key, MOSA_GGUF_STR), value);
}

void mosa_gguf_writer_put_strs(mosa_gguf_writer *writer, const char *key, const mosa_slice *items, size_t count) {
    mosa_buf *buf = put_array_head(writer, key, MOSA_GGUF_STR, count);
    for (size_t i = 0; i < count; i++) append_string(buf, items[i]);
}

void mosa_gguf_writer_put_i32s(mosa_gguf_writer *writer, const char *key, const int32_t *items, size_t count) {
    mosa_buf_append(put_array_head(writer, key, MOSA_GGUF_I32, count), items, count * sizeof *items);
}

void mosa_gguf_writer_put_f32s(mosa_gguf_writer *writer, const char *key, const float *items, size_t count) {
    mosa_buf_append(put_array_head(writer, key, MOSA_GGUF_F32, count), items, count * sizeof *items);
}

void mosa_gguf_writer_put_kv(mosa_gguf_writer *writer, const mosa_gguf_kv *kv) {
    mosa_buf *buf = kv->type == MOSA_GGUF_ARRAY ? put_array_head(writer, kv->key, kv->item_type, kv->count)
                                                : put_head(writer, kv->key, kv->type);
    mosa_buf_append(buf, kv->data, kv->bytes);
}

static mosa_status check_tensor(const char *name, mosa_dtype dtype, uint32_t n_dims, const int64_t *dims, size_t *bytes,
                                mosa_error *err) {
    int64_t elements = 1;
    size_t len = strlen(name);
    if (len == 0 || len > MOSA_GGUF_NAME_MAX)
        return mosa_fail(err, MOSA_EINVALID, "tensor name '%.80s' has %zu bytes, 1 to %d are allowed", name, len,
                         MOSA_GGUF_NAME_MAX);
    const mosa_dtype_traits *traits = mosa_dtype_traits_of(dtype);
    if (traits->ggml_type < 0)
        return mosa_fail(err, MOSA_EINVALID, "tensor '%s': GGUF has no type %s", name, traits->name);
    if (n_dims > MOSA_GGUF_DIMS_MAX)
        return mosa_fail(err, MOSA_EINVALID, "tensor '%s': %u dims, GGUF allows %d", name, n_dims, MOSA_GGUF_DIMS_MAX);
    for (uint32_t i = 0; i < n_dims; i++)
        if (dims[i] <= 0 || __builtin_mul_overflow(elements, dims[i], &elements))
            return mosa_fail(err, MOSA_EINVALID, "tensor '%s': dims are not positive or overflow", name);
    int64_t inner = n_dims ? dims[n_dims - 1] : 1;
    if (inner % traits->block_len != 0 || !mosa_dtype_bytes(dtype, elements, bytes))
        return mosa_fail(err, MOSA_EINVALID, "tensor '%s': rows of %lld are not whole blocks of %u (%s)", name,
                         (long long)inner, traits->block_len, traits->name);
    return MOSA_OK;
}

mosa_status mosa_gguf_writer_add_tensor(mosa_gguf_writer *writer, const char *name, mosa_dtype dtype, uint32_t n_dims,
                                        const int64_t *dims, mosa_error *err) {
    size_t bytes;
    MOSA_TRY(check_tensor(name, dtype, n_dims, dims, &bytes, err));
    append_string(&writer->table, mosa_slice_of(name));
    append_u32(&writer->table, n_dims);
    for (uint32_t i = n_dims; i-- > 0;) append_u64(&writer->table, (uint64_t)dims[i]); // innermost first in the file
    append_u32(&writer->table, (uint32_t)mosa_dtype_traits_of(dtype)->ggml_type);
    append_u64(&writer->table, writer->data_bytes);
    mosa_buf_append(&writer->sizes, &bytes, sizeof bytes);
    writer->data_bytes += bytes + padding_after(bytes);
    writer->n_tensors++;
    return MOSA_OK;
}

static mosa_status write_padding(mosa_gguf_writer *writer, mosa_error *err) {
    static const unsigned char zeros[WRITER_ALIGNMENT];
    return mosa_out_file_write(writer->file, zeros, padding_after(mosa_out_file_size(writer->file)), err);
}

mosa_status mosa_gguf_writer_begin(mosa_gguf_writer *writer, mosa_error *err) {
    if (mosa_buf_failed(&writer->kvs) || mosa_buf_failed(&writer->table) || mosa_buf_failed(&writer->sizes))
        return mosa_fail(err, MOSA_ENOMEM, "out of memory for the GGUF header");
    uint32_t version = WRITER_VERSION;
    MOSA_TRY(mosa_out_file_write(writer->file, "GGUF", 4, err));
    MOSA_TRY(mosa_out_file_write(writer->file, &version, sizeof version, err));
    MOSA_TRY(mosa_out_file_write(writer->file, &writer->n_tensors, sizeof writer->n_tensors, err));
    MOSA_TRY(mosa_out_file_write(writer->file, &writer->n_kvs, sizeof writer->n_kvs, err));
    MOSA_TRY(mosa_out_file_write(writer->file, writer->kvs.data, writer->kvs.len, err));
    MOSA_TRY(mosa_out_file_write(writer->file, writer->table.data, writer->table.len, err));
    writer->begun = true;
    return write_padding(writer, err);
}

mosa_status mosa_gguf_writer_write(mosa_gguf_writer *writer, const void *data, size_t bytes, mosa_error *err) {
    if (!writer->begun || writer->current >= writer->n_tensors)
        return mosa_fail(err, MOSA_EINVALID, "more tensor bytes than tensors were declared");
    size_t total = size_of_tensor(writer, writer->current);
    if (bytes > total - writer->current_bytes)
        return mosa_fail(err, MOSA_EINVALID, "tensor %llu was declared with %zu bytes, more were given",
                         (unsigned long long)writer->current, total);
    MOSA_TRY(mosa_out_file_write(writer->file, data, bytes, err));
    writer->current_bytes += bytes;
    if (writer->current_bytes < total) return MOSA_OK;
    writer->current++;
    writer->current_bytes = 0;
    return write_padding(writer, err);
}

mosa_status mosa_gguf_writer_commit(mosa_gguf_writer *writer, mosa_error *err) {
    if (!writer->begun || writer->current != writer->n_tensors)
        return mosa_fail(err, MOSA_EINVALID, "%llu of %llu tensors were written", (unsigned long long)writer->current,
                         (unsigned long long)writer->n_tensors);
    return mosa_out_file_commit(writer->file, err);
}
