// safetensors writer: a folder with model.safetensors, or shards and their index when the model is larger than one.
//
//   create -> add_tensor for each -> begin -> write (the tensors' bytes, in the order added) -> commit
//
// A shard appears only whole. The index is written last, so that a folder without it is visibly incomplete.
// Ownership: names are copied. Thread: one at a time.
#ifndef MOSA_CODEC_SAFETENSORS_WRITER_H
#define MOSA_CODEC_SAFETENSORS_WRITER_H

#include "codec/safetensors.h"

typedef struct mosa_safetensors_writer mosa_safetensors_writer;

// `folder` must exist. A shard is closed before it would pass shard_bytes (0 = 5 GB); a larger tensor has its own.
MOSA_MUST_USE mosa_status mosa_safetensors_writer_create(const char *folder, uint64_t shard_bytes,
                                                         mosa_safetensors_writer **out, mosa_error *err);
void mosa_safetensors_writer_destroy(mosa_safetensors_writer *writer); // NULL-safe; an open shard is removed

// The files are then called <stem>.safetensors and so on instead of model.safetensors. Before begin. MOSA_ENOMEM.
MOSA_MUST_USE mosa_status mosa_safetensors_writer_set_stem(mosa_safetensors_writer *writer, const char *stem,
                                                           mosa_error *err);

// Declares a tensor; names must be distinct. MOSA_EINVALID for a dtype that the format does not have or bad dims.
MOSA_MUST_USE mosa_status mosa_safetensors_writer_add_tensor(mosa_safetensors_writer *writer, const char *name,
                                                             mosa_dtype dtype, uint32_t n_dims, const int64_t *dims,
                                                             mosa_error *err);

// Fixes the shards; after it, only write, commit and destroy.
MOSA_MUST_USE mosa_status mosa_safetensors_writer_begin(mosa_safetensors_writer *writer, mosa_error *err);

// Appends bytes to the tensor that is not yet complete; a call may not cross from one tensor into the next.
MOSA_MUST_USE mosa_status mosa_safetensors_writer_write(mosa_safetensors_writer *writer, const void *data, size_t bytes,
                                                        mosa_error *err);

// MOSA_EINVALID when a tensor is incomplete; otherwise makes the last shard and the index visible.
MOSA_MUST_USE mosa_status mosa_safetensors_writer_commit(mosa_safetensors_writer *writer, mosa_error *err);

#endif
