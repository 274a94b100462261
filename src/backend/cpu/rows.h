// Row pieces that reference and fast kernels share: rotation of one head, storing a head into its page, and the walk
// from a row of the batch to its segment.
#ifndef MOSA_BACKEND_CPU_ROWS_H
#define MOSA_BACKEND_CPU_ROWS_H

#include "backend/cpu/kernel.h"

// The segment that holds `row`; `from` is a segment number at or before it.
static inline int32_t mosa_cpu_segment_of(const mosa_batch *batch, int32_t row, int32_t from) {
    while (row >= batch->segments[from].row_begin + batch->segments[from].row_count) from++;
    return from;
}

// Address of the head's key at a position; its value is kv->v_offset further.
static inline unsigned char *mosa_cpu_kv_at(const mosa_kv *kv, const mosa_segment *segment, int layer, int kv_head,
                                            int32_t position) {
    size_t element = kv->spec.dtype == MOSA_F16 ? 2 : 4;
    int32_t page = segment->pages[position / kv->spec.page_tokens];
    size_t in_page = (size_t)(position % kv->spec.page_tokens) * (size_t)kv->spec.head_width * element;
    return mosa_kv_head(kv, layer, page, kv_head) + in_page;
}

#endif
