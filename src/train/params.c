// The parameter table: offsets, chunks and arenas.
#include "train/params.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

void mosa_params_init(mosa_params *params) {
    *params = (mosa_params){0};
    mosa_arena_init(&params->arena, 0, 0);
}

void mosa_params_finish(mosa_params *params) {
    free(params->items);
    free(params->chunks);
    mosa_arena_finish(&params->arena);
    *params = (mosa_params){0};
}

static mosa_status count_elements(mosa_param *param, mosa_error *err) {
    if (param->n_dims == 0 || param->n_dims > MOSA_PARAM_DIMS_MAX)
        return mosa_fail(err, MOSA_EINVALID, "%s: has %u dimensions, 1 to %d are possible", param->name, param->n_dims,
                         MOSA_PARAM_DIMS_MAX);
    param->n = 1;
    for (uint32_t d = 0; d < param->n_dims; d++)
        if (param->dims[d] <= 0 || __builtin_mul_overflow(param->n, param->dims[d], &param->n) ||
            param->n > INT64_MAX / 64)
            return mosa_fail(err, MOSA_EINVALID, "%s: dimension %u is %lld", param->name, d, (long long)param->dims[d]);
    if (param->matrix && param->n_dims != 2)
        return mosa_fail(err, MOSA_EINVALID, "%s: a matrix has 2 dimensions, this has %u", param->name, param->n_dims);
    return MOSA_OK;
}

mosa_status mosa_params_add(mosa_params *params, const mosa_param *spec, mosa_error *err) {
    if (params->chunks) return mosa_fail(err, MOSA_EINVALID, "%s: added after the layout was fixed", spec->name);
    if (mosa_params_find(params, spec->name) >= 0)
        return mosa_fail(err, MOSA_EINVALID, "%s: a parameter of this name is there already", spec->name);
    if (params->count == params->capacity) {
        size_t capacity = params->capacity ? 2 * params->capacity : 64;
        mosa_param *items = realloc(params->items, capacity * sizeof *items);
        if (!items) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", spec->name);
        params->items = items;
        params->capacity = capacity;
    }
    mosa_param param = *spec;
    MOSA_TRY(count_elements(&param, err));
    param.name = mosa_arena_strdup(&params->arena, spec->name);
    if (!param.name) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", spec->name);
    params->items[params->count++] = param;
    params->n_trained += param.n;
    return MOSA_OK;
}

static size_t chunks_of(const mosa_param *param) {
    return ((size_t)param->n + MOSA_PARAM_CHUNK - 1) / MOSA_PARAM_CHUNK;
}

mosa_status mosa_params_finish_layout(mosa_params *params, mosa_error *err) {
    size_t n_chunks = 0, offset = 0, at = 0;
    for (size_t p = 0; p < params->count; p++) n_chunks += chunks_of(&params->items[p]);
    params->chunks = calloc(n_chunks + 1, sizeof *params->chunks);
    if (!params->chunks) return mosa_fail(err, MOSA_ENOMEM, "out of memory for %zu chunks of parameters", n_chunks);
    for (size_t p = 0; p < params->count; p++) {
        mosa_param *param = &params->items[p];
        param->offset = offset;
        offset += ((size_t)param->n + MOSA_PARAM_ALIGN - 1) / MOSA_PARAM_ALIGN * MOSA_PARAM_ALIGN;
        for (int64_t begin = 0; begin < param->n; begin += MOSA_PARAM_CHUNK) {
            int64_t left = param->n - begin;
            params->chunks[at++] =
                (mosa_param_chunk){.param = (uint32_t)p,
                                   .count = (uint32_t)(left < MOSA_PARAM_CHUNK ? left : MOSA_PARAM_CHUNK),
                                   .begin = begin};
        }
    }
    params->n_chunks = n_chunks;
    params->elements = offset;
    return MOSA_OK;
}

int64_t mosa_params_find(const mosa_params *params, const char *name) {
    for (size_t p = 0; p < params->count; p++)
        if (strcmp(params->items[p].name, name) == 0) return (int64_t)p;
    return -1;
}

enum { HUGE_AT_LEAST = 4 << 20, HUGE_PAGE = 2 << 20 };

mosa_status mosa_params_alloc(const mosa_params *params, float **out, mosa_error *err) {
    size_t bytes = (params->elements ? params->elements : MOSA_PARAM_ALIGN) * sizeof(float); // a multiple of 64
    bool large = bytes >= HUGE_AT_LEAST;
    float *arena =
        aligned_alloc(large ? HUGE_PAGE : 64, large ? (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE : bytes);
    if (!arena) return mosa_fail(err, MOSA_ENOMEM, "out of memory for %zu bytes of parameters", bytes);
    if (large) (void)madvise(arena, bytes, MADV_HUGEPAGE); // a wish: products of matrices read rows far apart
    memset(arena, 0, bytes);
    *out = arena;
    return MOSA_OK;
}

mosa_train_tensor mosa_params_tensor(const mosa_params *params, size_t index, float *arena) {
    const mosa_param *param = &params->items[index];
    mosa_train_tensor tensor = {.name = param->name,
                                .dtype = MOSA_F32,
                                .n_dims = param->n_dims,
                                .data = arena + param->offset,
                                .bytes = (size_t)param->n * sizeof(float)};
    memcpy(tensor.dims, param->dims, sizeof tensor.dims);
    return tensor;
}
