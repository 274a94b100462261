// What reference and fast kernels share about rows: the walk from a row of the batch to its segment, and what a row
// sees.
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

#endif
