// Resident LoRA adapters, and the rows of a batch by adapter.
//
// Both matrices are copied so that the products of LORA run along memory: A with its rank innermost, padded to whole
// vectors, and B with its outputs innermost. They keep 16-bit types, which halves what a decoding step reads.
#include "backend/cpu/cpu_backend.h"

#include "tensor/half.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGN = 64 };

static mosa_dtype kept_dtype(const mosa_lora_pair *pair) {
    bool half = pair->a->dtype == pair->b->dtype && (pair->a->dtype == MOSA_F16 || pair->a->dtype == MOSA_BF16);
    return half ? pair->a->dtype : MOSA_F32;
}

static size_t align_up(size_t bytes) {
    return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

// Shape and place of one target: offsets while the total is counted, turned to pointers afterwards.
static mosa_status measure(const mosa_lora_pair *pair, mosa_cpu_lora *lora, size_t *a_at, size_t *b_at, size_t *total,
                           mosa_error *err) {
    const mosa_tensor_view *a = pair->a, *b = pair->b;
    if (a->n_dims != 2 || b->n_dims != 2 || a->dims[0] != b->dims[1] || a->dims[0] <= 0 || a->dims[0] > INT32_MAX / 2)
        return mosa_fail(err, MOSA_EINVALID, "adapter: %.200s is no low-rank pair", a->name ? a->name : "(unnamed)");
    *lora = (mosa_cpu_lora){.rank = (int32_t)a->dims[0], .scale = pair->scale, .dtype = kept_dtype(pair)};
    lora->rank_padded = (lora->rank + MOSA_LORA_LANES - 1) / MOSA_LORA_LANES * MOSA_LORA_LANES;
    lora->k = a->dims[1];
    lora->n = b->dims[0];
    size_t element = lora->dtype == MOSA_F32 ? 4 : 2;
    *a_at = *total;
    *b_at = *a_at + align_up((size_t)lora->k * (size_t)lora->rank_padded * element);
    *total = *b_at + align_up((size_t)lora->rank * (size_t)lora->n * element);
    return MOSA_OK;
}

// to[column * stride + row] = view[row, column]. One row is decoded at a time.
static mosa_status transpose(const mosa_tensor_view *view, mosa_dtype dtype, int64_t stride, unsigned char *to,
                             mosa_error *err) {
    const mosa_dtype_traits *traits = mosa_dtype_traits_of(view->dtype);
    int64_t rows = view->dims[0], columns = view->dims[1];
    size_t row_bytes;
    if (!traits->to_f32 || !mosa_dtype_bytes(view->dtype, columns, &row_bytes))
        return mosa_fail(err, MOSA_EUNSUPPORTED, "adapter: %.200s has type %s, which is not supported",
                         view->name ? view->name : "(unnamed)", traits->name);
    MOSA_AUTO_FREE float *row = malloc((size_t)columns * sizeof *row);
    if (!row) return mosa_fail(err, MOSA_ENOMEM, "adapter: out of memory");
    for (int64_t r = 0; r < rows; r++) {
        const unsigned char *from = (const unsigned char *)view->data + (size_t)r * row_bytes;
        if (dtype == MOSA_F32) {
            traits->to_f32(from, row, columns);
            for (int64_t c = 0; c < columns; c++) memcpy(to + 4 * (size_t)(c * stride + r), &row[c], 4);
        } else {
            for (int64_t c = 0; c < columns; c++) memcpy(to + 2 * (size_t)(c * stride + r), from + 2 * c, 2);
        }
    }
    return MOSA_OK;
}

static mosa_status fill(mosa_adapter *adapter, const mosa_lora_pair *pairs, int n_pairs, mosa_error *err) {
    MOSA_AUTO_FREE size_t *at = calloc(2 * (size_t)n_pairs + 1, sizeof *at);
    if (!at || !adapter->targets) return mosa_fail(err, MOSA_ENOMEM, "adapter: out of memory");
    for (int i = 0; i < n_pairs; i++) {
        if (pairs[i].target < 0 || pairs[i].target >= adapter->n_targets || adapter->targets[pairs[i].target].rank)
            return mosa_fail(err, MOSA_EINVALID, "adapter: target %d is unknown or given twice", pairs[i].target);
        MOSA_TRY(
            measure(&pairs[i], &adapter->targets[pairs[i].target], &at[2 * i], &at[2 * i + 1], &adapter->bytes, err));
    }
    adapter->memory = mosa_cpu_alloc(adapter->bytes);
    if (!adapter->memory)
        return mosa_fail(err, MOSA_ENOMEM, "adapter: %.1f MB are not to be had", (double)adapter->bytes / 1e6);
    for (int i = 0; i < n_pairs; i++) {
        mosa_cpu_lora *lora = &adapter->targets[pairs[i].target];
        lora->a = adapter->memory + at[2 * i];
        lora->b = adapter->memory + at[2 * i + 1];
        MOSA_TRY(transpose(pairs[i].a, lora->dtype, lora->rank_padded, adapter->memory + at[2 * i], err));
        MOSA_TRY(transpose(pairs[i].b, lora->dtype, lora->n, adapter->memory + at[2 * i + 1], err));
    }
    return MOSA_OK;
}

mosa_status mosa_cpu_adapter_create(mosa_backend *backend, const mosa_lora_pair *pairs, int n_pairs, int n_targets,
                                    mosa_adapter **out, mosa_error *err) {
    mosa_adapter *adapter = calloc(1, sizeof *adapter);
    if (!adapter) return mosa_fail(err, MOSA_ENOMEM, "adapter: out of memory");
    adapter->n_targets = n_targets;
    adapter->targets = calloc((size_t)n_targets + 1, sizeof *adapter->targets);
    mosa_status status = fill(adapter, pairs, n_pairs, err);
    if (status == MOSA_OK)
        *out = adapter;
    else
        mosa_cpu_adapter_destroy(backend, adapter);
    return status;
}

void mosa_cpu_adapter_destroy(mosa_backend *backend, mosa_adapter *adapter) {
    (void)backend;
    if (!adapter) return;
    mosa_cpu_free(adapter->memory, adapter->bytes);
    free(adapter->targets);
    free(adapter);
}

size_t mosa_cpu_adapter_bytes(const mosa_adapter *adapter) {
    return adapter->bytes;
}

// --- rows by adapter ------------------------------------------------------------------------------------------------

mosa_status mosa_cpu_lora_rows_init(mosa_cpu_lora_rows *lora, int64_t max_rows, mosa_error *err) {
    lora->groups = calloc((size_t)max_rows, sizeof *lora->groups);
    lora->rows = calloc((size_t)max_rows, sizeof *lora->rows);
    lora->group_of = calloc((size_t)max_rows, sizeof *lora->group_of);
    if (lora->groups && lora->rows && lora->group_of) return MOSA_OK;
    return mosa_fail(err, MOSA_ENOMEM, "cpu: out of memory for %lld rows", (long long)max_rows);
}

void mosa_cpu_lora_rows_finish(mosa_cpu_lora_rows *lora) {
    free(lora->groups);
    free(lora->rows);
    free(lora->group_of);
}

void mosa_cpu_lora_rows_set(mosa_cpu_lora_rows *lora, const mosa_batch *batch) {
    lora->n_groups = batch->n_adapters;
    for (int32_t g = 0; g < batch->n_adapters; g++)
        lora->groups[g] = (mosa_cpu_lora_group){.adapter = batch->adapters[g]};
    for (int32_t s = 0; s < batch->n_segments; s++)
        if (batch->segments[s].adapter)
            lora->groups[batch->segments[s].adapter - 1].count += batch->segments[s].row_count;
    for (int32_t g = 0, begin = 0; g < lora->n_groups; g++) {
        lora->groups[g].begin = begin;
        begin += lora->groups[g].count;
        lora->groups[g].count = 0;
    }
    for (int32_t s = 0; s < batch->n_segments; s++) {
        const mosa_segment *segment = &batch->segments[s];
        mosa_cpu_lora_group *group = segment->adapter ? &lora->groups[segment->adapter - 1] : NULL;
        for (int32_t r = segment->row_begin; r < segment->row_begin + segment->row_count; r++) {
            lora->group_of[r] = segment->adapter - 1;
            if (group) lora->rows[group->begin + group->count++] = r;
        }
    }
}
