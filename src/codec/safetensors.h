// safetensors reader: one file, or the sharded form with model.safetensors.index.json, over read-only mappings.
//
// Checked while opening: header cap of 100 MB, tensors contiguous, non-overlapping and covering the data section,
// shape * dtype == bytes, duplicate names, shard names that are plain file names, missing shards, tensors of the index
// that no shard holds. Errors name the file and the tensor.
// Ownership: the object owns mappings, names and table; pointers live until mosa_safetensors_close.
// Thread: immutable after open; any number of threads may read.
// Source: the safetensors format description.
#ifndef MOSA_CODEC_SAFETENSORS_H
#define MOSA_CODEC_SAFETENSORS_H

#include "base/arena.h"
#include "base/status.h"
#include "base/str.h"
#include "tensor/view.h"

enum {
    MOSA_SAFETENSORS_HEADER_MAX = 100 * 1000 * 1000, // bytes of the JSON header
    MOSA_SAFETENSORS_TENSORS_MAX = 1 << 20,
    MOSA_SAFETENSORS_SHARDS_MAX = 4096,
    MOSA_SAFETENSORS_NAME_MAX = 1023 // bytes of a tensor name
};

typedef struct mosa_safetensors mosa_safetensors;

// Opens a .safetensors file, an index (.index.json), or a folder: its model.safetensors.index.json if there, else its
// model.safetensors. MOSA_ENOTFOUND, MOSA_EIO, MOSA_ECORRUPT, MOSA_EUNSUPPORTED (unknown dtype), MOSA_ELIMIT,
// MOSA_ENOMEM.
MOSA_MUST_USE mosa_status mosa_safetensors_open(const char *path, mosa_safetensors **out, mosa_error *err);

// One file's bytes, borrowed; they must outlive the object. `name` is for messages.
MOSA_MUST_USE mosa_status mosa_safetensors_parse(const void *data, size_t len, const char *name, mosa_safetensors **out,
                                                 mosa_error *err);
void mosa_safetensors_close(mosa_safetensors *st); // NULL-safe

size_t mosa_safetensors_shard_count(const mosa_safetensors *st); // files mapped

// Tensors in file order, shard after shard; find returns NULL when absent. A dtype whose traits have no to_f32 may be
// listed but not used.
size_t mosa_safetensors_tensor_count(const mosa_safetensors *st);
const mosa_tensor_view *mosa_safetensors_tensor_at(const mosa_safetensors *st, size_t index);
const mosa_tensor_view *mosa_safetensors_tensor_find(const mosa_safetensors *st, const char *name);

// The __metadata__ strings of all shards, in order. find returns false when absent.
size_t mosa_safetensors_metadata_count(const mosa_safetensors *st);
void mosa_safetensors_metadata_at(const mosa_safetensors *st, size_t index, const char **key, const char **value);
bool mosa_safetensors_metadata_find(const mosa_safetensors *st, const char *key, const char **value);

#endif
