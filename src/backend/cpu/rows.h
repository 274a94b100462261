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

// The positions [*lo, *end) that a row at `position` attends to (the contract of ref/attention.c). Both grow with it.
static inline void mosa_cpu_visible(const mosa_cpu_args *args, const mosa_segment *segment, int32_t position,
                                    int32_t *lo, int32_t *end) {
    const mosa_node *node = args->node;
    int window = node->attrs.attention.window;
    *lo = mosa_attention_paged(args->graph, node)
              ? 0
              : segment->pos_begin; // a state knows the sequence from its first position
    *end = node->attrs.attention.causal ? position + 1 : segment->pos_begin + segment->row_count;
    if (window == 0) return;
    if (position - window + 1 > *lo) *lo = position - window + 1;
    if (window <= *end - position) *end = position + window;
}

// Address of the head's key (value) at a position.
static inline unsigned char *mosa_cpu_kv_at(const mosa_kv *kv, const mosa_segment *segment, int layer, int kv_head,
                                            int32_t position, bool value) {
    size_t element = kv->spec.dtype == MOSA_F16 ? 2 : 4;
    int width = value ? mosa_kv_value_width(&kv->spec) : kv->spec.head_width;
    int32_t page = segment->pages[position / kv->spec.page_tokens];
    size_t in_page = (size_t)(position % kv->spec.page_tokens) * (size_t)width * element;
    return mosa_kv_head(kv, layer, page, kv_head) + (value ? kv->v_offset : 0) + in_page;
}

#endif
