// GGUF writer (version 3): metadata first, then the tensor table, then tensor bytes as a stream.
//
//   create -> put_* and add_tensor in any order -> begin -> write (the tensors' bytes, in the order added) -> commit
//
// The file grows under a temporary name beside `path` and appears there only by commit, after fsync, by one rename.
// destroy before commit removes it. Put functions remember an out-of-memory, which begin reports.
// Ownership: names, keys and values are copied. Thread: one at a time.
#ifndef MOSA_CODEC_GGUF_WRITER_H
#define MOSA_CODEC_GGUF_WRITER_H

#include "codec/gguf.h"

typedef struct mosa_gguf_writer mosa_gguf_writer;

MOSA_MUST_USE mosa_status mosa_gguf_writer_create(const char *path, mosa_gguf_writer **out, mosa_error *err);
void mosa_gguf_writer_destroy(mosa_gguf_writer *writer); // NULL-safe

// Metadata. Keys must be distinct and 1 to MOSA_GGUF_NAME_MAX bytes. general.alignment is left at its default.
void mosa_gguf_writer_put_u32(mosa_gguf_writer *writer, const char *key, uint32_t value);
void mosa_gguf_writer_put_u64(mosa_gguf_writer *writer, const char *key, uint64_t value);
void mosa_gguf_writer_put_f32(mosa_gguf_writer *writer, const char *key, float value);
void mosa_gguf_writer_put_bool(mosa_gguf_writer *writer, const char *key, bool value);
void mosa_gguf_writer_put_str(mosa_gguf_writer *writer, const char *key, mosa_slice value);
void mosa_gguf_writer_put_strs(mosa_gguf_writer *writer, const char *key, const mosa_slice *items, size_t count);
void mosa_gguf_writer_put_i32s(mosa_gguf_writer *writer, const char *key, const int32_t *items, size_t count);
void mosa_gguf_writer_put_f32s(mosa_gguf_writer *writer, const char *key, const float *items, size_t count);
void mosa_gguf_writer_put_kv(mosa_gguf_writer *writer, const mosa_gguf_kv *kv); // a pair of another file, as it is

// Declares a tensor; dims are row-major (tensor/view.h). MOSA_EINVALID for a bad name, dims that are no whole blocks,
// more than four dims, or a dtype that GGUF does not have.
MOSA_MUST_USE mosa_status mosa_gguf_writer_add_tensor(mosa_gguf_writer *writer, const char *name, mosa_dtype dtype,
                                                      uint32_t n_dims, const int64_t *dims, mosa_error *err);

// Writes metadata and table; after it, only write, commit and destroy.
MOSA_MUST_USE mosa_status mosa_gguf_writer_begin(mosa_gguf_writer *writer, mosa_error *err);

// Appends bytes to the tensor that is not yet complete; a call may not cross from one tensor into the next.
MOSA_MUST_USE mosa_status mosa_gguf_writer_write(mosa_gguf_writer *writer, const void *data, size_t bytes,
                                                 mosa_error *err);

// MOSA_EINVALID when a tensor is incomplete; otherwise makes the file durable and visible.
MOSA_MUST_USE mosa_status mosa_gguf_writer_commit(mosa_gguf_writer *writer, mosa_error *err);

#endif
