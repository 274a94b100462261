// Trainable parameters as flat arenas: one table of names, shapes and groups, and any number of arenas laid out by it.
//
// Weights, gradients and masters are arenas of `params->elements` f32 each, 64-byte aligned. Parameter p owns elements
// [offset, offset + n); offsets are multiples of MOSA_PARAM_ALIGN and the gaps stay zero. Work is cut into chunks of at
// most MOSA_PARAM_CHUNK elements of one parameter: the cut depends on the table alone, so that what is computed chunk
// by chunk does not depend on the number of threads. Ownership: the table owns names. Thread: immutable after
// mosa_params_finish_layout; any number of threads may read.
#ifndef MOSA_TRAIN_PARAMS_H
#define MOSA_TRAIN_PARAMS_H

#include "base/arena.h"
#include "base/pool.h"
#include "base/status.h"
#include "tensor/dtype.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MOSA_PARAM_DIMS_MAX = 4, MOSA_PARAM_ALIGN = 256, MOSA_PARAM_CHUNK = 4096 };

typedef struct mosa_param {
    const char *name;
    uint32_t n_dims;
    int64_t dims[MOSA_PARAM_DIMS_MAX]; // row-major, outermost first: a linear weight is [out, in]
    int64_t n;                         // product of dims
    size_t offset;                     // first element in every arena
    bool decay;                        // weight decay applies
    bool matrix;                       // Muon may orthogonalise it: a hidden linear weight, n_dims 2
    float lr_factor;                   // multiplies the learning rate
} mosa_param;

typedef struct mosa_param_chunk {
    uint32_t param;
    uint32_t count; // elements, 1 .. MOSA_PARAM_CHUNK
    int64_t begin;  // within the parameter, a multiple of MOSA_PARAM_CHUNK
} mosa_param_chunk;

typedef struct mosa_params {
    mosa_arena arena;
    mosa_param *items; // (count)
    size_t count, capacity;
    size_t elements;          // of an arena; set by finish_layout
    int64_t n_trained;        // sum of n
    mosa_param_chunk *chunks; // (n_chunks) in order of offset
    size_t n_chunks;
} mosa_params;

void mosa_params_init(mosa_params *params);   // the caller's storage
void mosa_params_finish(mosa_params *params); // frees

// Adds a parameter; `spec` is copied, its n and offset are computed. MOSA_EINVALID for bad dims or a name that is there
// already, MOSA_ENOMEM.
MOSA_MUST_USE mosa_status mosa_params_add(mosa_params *params, const mosa_param *spec, mosa_error *err);
// Sets offsets and chunks. After it nothing may be added.
MOSA_MUST_USE mosa_status mosa_params_finish_layout(mosa_params *params, mosa_error *err);

// Index of a name, or -1.
int64_t mosa_params_find(const mosa_params *params, const char *name);

// A zeroed arena of params->elements values; free() it. MOSA_ENOMEM.
MOSA_MUST_USE mosa_status mosa_params_alloc(const mosa_params *params, float **out, mosa_error *err);

// One tensor of a training state, whole: what checkpoints store. `data` is borrowed.
typedef struct mosa_train_tensor {
    const char *name;
    mosa_dtype dtype;
    uint32_t n_dims;
    int64_t dims[MOSA_PARAM_DIMS_MAX];
    void *data;
    size_t bytes;
} mosa_train_tensor;

// Parameter `index` of `arena` (f32). Borrows both.
mosa_train_tensor mosa_params_tensor(const mosa_params *params, size_t index, float *arena);

#endif
