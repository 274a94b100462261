// Shared by the safetensors reader's files. Not for other modules.
#ifndef MOSA_CODEC_SAFETENSORS_INTERNAL_H
#define MOSA_CODEC_SAFETENSORS_INTERNAL_H

#include "codec/safetensors.h"

typedef struct st_metadata {
    const char *key, *value;
} st_metadata;

// What one file's header says. The arrays grow on the heap; strings live in the arena given to st_read_header.
typedef struct st_header {
    mosa_tensor_view *tensors;
    size_t n_tensors, tensor_capacity;
    st_metadata *metadata;
    size_t n_metadata, metadata_capacity;
} st_header;

// Checks one file's bytes and appends its tensors and metadata to `header`. Messages name the tensor, not the file.
mosa_status st_read_header(const void *data, size_t len, mosa_arena *arena, st_header *header, mosa_error *err);
void st_header_finish(st_header *header);

#endif
