// Packing a step: what changes from step to step, into one pinned block.
#include "backend/cuda/plugin/cuda_exec.h"

#include <string.h>

static size_t align_up(size_t bytes) {
    return (bytes + 255) / 256 * 256;
}

static size_t input_bytes(const mosa_value_info *input, int64_t rows) {
    int64_t elements = mosa_shape_row_elements(&input->shape);
    if (input->shape.ndim > 0 && input->shape.dim[0] == MOSA_ROWS) elements *= rows;
    size_t bytes = 0;
    (void)mosa_dtype_bytes(input->dtype, elements, &bytes); // the plan has sized it before
    return align_up(bytes);
}

static size_t batch_bytes(int64_t rows, int64_t n_segments, int64_t n_adapters) {
    return align_up((size_t)n_segments * sizeof(mosa_cuda_segment)) + align_up((size_t)rows * sizeof(int32_t)) +
           align_up((size_t)n_adapters * sizeof(void *));
}

size_t mosa_cuda_step_bytes_max(const mosa_graph *graph, int64_t max_rows) {
    size_t bytes = batch_bytes(max_rows, max_rows, max_rows);
    for (int v = 0; v < graph->n_values; v++)
        if (graph->values[v].kind == MOSA_VALUE_INPUT) bytes += input_bytes(&graph->values[v], max_rows);
    return bytes;
}

// Segments, the segment of each row, adapters: set in the block and in exec->batch. Returns the offset behind them.
static size_t fill_batch(mosa_exec *exec, const mosa_batch *batch) {
    mosa_cuda_batch *to = &exec->batch;
    *to = (mosa_cuda_batch){.rows = batch->rows, .max_position = -1};
    if (!exec->uses_segments) return 0;
    to->n_segments = batch->n_segments;
    mosa_cuda_segment *segments = (mosa_cuda_segment *)(void *)exec->host_step;
    size_t at = align_up((size_t)batch->n_segments * sizeof *segments);
    int32_t *row_segment = (int32_t *)(void *)(exec->host_step + at);
    to->segments = (const mosa_cuda_segment *)(const void *)exec->step;
    to->row_segment = (const int32_t *)(const void *)(exec->step + at);
    at += align_up((size_t)batch->rows * sizeof *row_segment);
    int32_t page_begin = 0;
    for (int32_t s = 0; s < batch->n_segments; s++) {
        const mosa_segment *from = &batch->segments[s];
        segments[s] = (mosa_cuda_segment){from->row_begin, from->row_count, from->pos_begin, page_begin, from->adapter};
        if (from->pages) page_begin += from->n_pages;
        for (int32_t r = 0; r < from->row_count; r++) row_segment[from->row_begin + r] = s;
        if (from->row_count > to->max_rows_of_segment) to->max_rows_of_segment = from->row_count;
        int32_t last = from->pos_begin + from->row_count - 1;
        if (last > to->max_position) to->max_position = last;
    }
    if (exec->adapter_slot < 0) return at;
    to->n_adapters = batch->n_adapters;
    to->adapters = (const mosa_cuda_lora *const *)(const void *)(exec->step + at);
    for (int32_t a = 0; a < batch->n_adapters; a++)
        memcpy(exec->host_step + at + (size_t)a * sizeof(void *), &batch->adapters[a]->memory, sizeof(void *));
    return at + align_up((size_t)batch->n_adapters * sizeof(void *));
}

// Of rows that another exec left only the numbers are sent. Those without an index are the first ones.
static size_t fill_index(mosa_exec *exec, const mosa_batch *batch, const mosa_rows *rows, size_t at) {
    int32_t *index = (int32_t *)(void *)(exec->host_step + at);
    for (int32_t r = 0; r < batch->rows; r++) index[r] = rows->index ? rows->index[r] : r;
    return at + align_up((size_t)batch->rows * sizeof *index);
}

static size_t fill_inputs(mosa_exec *exec, const mosa_batch *batch, const mosa_bindings *bindings, size_t at) {
    const mosa_graph *graph = exec->plan->graph;
    for (int v = 0; v < graph->n_values; v++) {
        const mosa_value_info *value = &graph->values[v];
        if (value->kind != MOSA_VALUE_INPUT) continue;
        exec->input_at[value->slot] = at;
        if (exec->gathers[value->slot].from) {
            at = fill_index(exec, batch, &bindings->rows[value->slot], at);
            continue;
        }
        size_t bytes = 0;
        int64_t elements = mosa_shape_row_elements(&value->shape);
        if (value->shape.ndim > 0 && value->shape.dim[0] == MOSA_ROWS) elements *= batch->rows;
        (void)mosa_dtype_bytes(value->dtype, elements, &bytes);
        memcpy(exec->host_step + at, bindings->inputs[value->slot], bytes);
        at += align_up(bytes);
    }
    return at;
}

static size_t count_pages(const mosa_exec *exec, const mosa_batch *batch) {
    size_t pages = 0;
    for (int32_t s = 0; exec->uses_segments && s < batch->n_segments; s++)
        if (batch->segments[s].pages) pages += (size_t)batch->segments[s].n_pages;
    return pages;
}

static size_t fill_pages(mosa_exec *exec, const mosa_batch *batch, size_t at) {
    exec->batch.pages = (const int32_t *)(const void *)(exec->step + at);
    for (int32_t s = 0; s < exec->batch.n_segments; s++) {
        if (!batch->segments[s].pages) continue;
        size_t bytes = (size_t)batch->segments[s].n_pages * sizeof(int32_t);
        memcpy(exec->host_step + at, batch->segments[s].pages, bytes);
        at += bytes;
    }
    return at;
}

static void set_pointers(mosa_exec *exec, const mosa_bindings *bindings) {
    const mosa_graph *graph = exec->plan->graph;
    for (int n = 0; n < graph->n_nodes; n++)
        exec->args[n].rows = mosa_node_rows(graph, &graph->nodes[n], exec->batch.rows);
    for (int i = 0; i < exec->n_patches; i++) {
        const mosa_cuda_patch *p = &exec->patches[i];
        mosa_cuda_args *args = &exec->args[p->node];
        if (p->kind == MOSA_VALUE_INPUT) {
            const mosa_cuda_gather *gather = &exec->gathers[p->slot];
            args->in[p->operand] = gather->from ? (const char *)gather->to : exec->step + exec->input_at[p->slot];
            continue;
        }
        if (p->slot == exec->grads_slot) {
            args->in[p->operand] = mosa_cuda_exec_grad(exec, args->node);
            continue;
        }
        args->in[p->operand] = bindings->states[p->slot];
        for (int o = 0; o < args->node->n_out; o++)
            if (graph->values[args->node->out[o]].kind == MOSA_VALUE_STATE) args->out[o] = bindings->states[p->slot];
    }
}

mosa_status mosa_cuda_step_fill(mosa_exec *exec, const mosa_batch *batch, const mosa_bindings *bindings, size_t *bytes,
                                mosa_error *err) {
    size_t pages = count_pages(exec, batch);
    if (pages > INT32_MAX) return mosa_fail(err, MOSA_ELIMIT, "batch: %zu pages are too many", pages);
    MOSA_TRY(mosa_cuda_exec_reserve_step(
        exec, mosa_cuda_step_bytes_max(exec->plan->graph, exec->plan->max_rows) + pages * sizeof(int32_t), err));
    size_t at = fill_inputs(exec, batch, bindings, fill_batch(exec, batch));
    *bytes = fill_pages(exec, batch, at);
    set_pointers(exec, bindings);
    return MOSA_OK;
}
