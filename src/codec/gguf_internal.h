// Shared by the GGUF reader's files: the object and one part's header. Not for other modules.
#ifndef MOSA_CODEC_GGUF_INTERNAL_H
#define MOSA_CODEC_GGUF_INTERNAL_H

#include "base/file.h"
#include "codec/gguf.h"

struct mosa_gguf {
    mosa_arena arena; // names, tables; everything but the mappings
    char *path;
    uint32_t version, alignment;
    mosa_file_map *mappings; // n_mappings of them; none over borrowed bytes
    size_t n_mappings;
    mosa_gguf_kv *kvs; // file order
    size_t n_kvs;
    const mosa_gguf_kv **kvs_by_key; // sorted
    mosa_tensor_view *tensors;       // file order, part after part
    size_t n_tensors;
    const mosa_tensor_view **tensors_by_name; // sorted
};

// What one file's header says; arrays live in the arena given to gguf_read_header.
typedef struct gguf_header {
    uint32_t version, alignment;
    mosa_gguf_kv *kvs;
    size_t n_kvs;
    mosa_tensor_view *tensors;
    size_t n_tensors;
} gguf_header;

// Checks and indexes one file's bytes. Messages name key or tensor, not the file.
mosa_status gguf_read_header(const void *data, size_t len, mosa_arena *arena, gguf_header *out, mosa_error *err);

// Bytes of one value of a fixed-size type; 0 for strings and arrays.
size_t gguf_type_bytes(mosa_gguf_type type);

#endif
