// A read-only view of a tensor that somebody else owns: what a weight file hands out.
//
// dims are row-major, outermost first: a linear weight is [out, in], an embedding [vocab, width]; dims[n_dims - 1] is
// contiguous in memory and a multiple of the dtype's block length. (GGUF stores dims the other way round; its reader
// turns them.) `data` lies in a read-only mapping that lives as long as the file is open, and may be unaligned.
#ifndef MOSA_TENSOR_VIEW_H
#define MOSA_TENSOR_VIEW_H

#include "tensor/dtype.h"

enum { MOSA_TENSOR_DIMS_MAX = 8 };

typedef struct mosa_tensor_view {
    const char *name; // NUL-terminated, owned by the file object
    mosa_dtype dtype;
    uint32_t n_dims;                    // 0 for a scalar
    int64_t dims[MOSA_TENSOR_DIMS_MAX]; // each > 0 (safetensors allows 0); unused ones are 1
    int64_t n_elements;                 // product of dims
    const void *data;
    size_t bytes;             // of the whole tensor
    const void *const *parts; // NULL, or (dims[0]) where each slice of dimension 0 lies; `data` is then the first
} mosa_tensor_view;

#endif
