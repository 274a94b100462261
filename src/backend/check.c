// Checks that the backends share. Invariant: no kernel sees an index, a position or a page that was not checked.
#include "backend/check.h"

#include "graph/op.h"

static mosa_status check_segment(const mosa_segment *segment, int32_t number, int32_t row, int32_t rows,
                                 mosa_error *err) {
    if (segment->row_begin != row || segment->row_count <= 0 || segment->row_count > rows - row)
        return mosa_fail(err, MOSA_EINVALID, "batch: segment %d does not continue at row %d", number, row);
    if (segment->pos_begin < 0 || segment->pos_begin > INT32_MAX - segment->row_count - MOSA_ATTENTION_SPLIT)
        return mosa_fail(err, MOSA_EINVALID, "batch: segment %d begins at position %d", number, segment->pos_begin);
    return MOSA_OK;
}

mosa_status mosa_check_batch(const mosa_batch *batch, int64_t max_rows, bool segments, mosa_error *err) {
    if (batch->rows <= 0 || batch->rows > max_rows)
        return mosa_fail(err, MOSA_EINVALID, "batch: %d rows, the plan takes 1 to %lld", batch->rows,
                         (long long)max_rows);
    if (!segments) return MOSA_OK;
    int32_t row = 0;
    for (int32_t s = 0; s < batch->n_segments; s++) {
        MOSA_TRY(check_segment(&batch->segments[s], s, row, batch->rows, err));
        row += batch->segments[s].row_count;
    }
    if (row != batch->rows)
        return mosa_fail(err, MOSA_EINVALID, "batch: segments cover %d of %d rows", row, batch->rows);
    return MOSA_OK;
}

mosa_status mosa_check_pages(const mosa_kv_spec *spec, const mosa_batch *batch, mosa_error *err) {
    for (int32_t s = 0; s < batch->n_segments; s++) {
        const mosa_segment *segment = &batch->segments[s];
        int64_t end = (int64_t)segment->pos_begin + segment->row_count;
        if (!segment->pages || (int64_t)segment->n_pages * spec->page_tokens < end)
            return mosa_fail(err, MOSA_EINVALID, "batch: segment %d has %d pages for %lld positions", s,
                             segment->n_pages, (long long)end);
        for (int32_t i = 0; i < segment->n_pages; i++)
            if (segment->pages[i] < 0 || segment->pages[i] >= spec->pages)
                return mosa_fail(err, MOSA_EINVALID, "batch: segment %d names page %d of %lld", s, segment->pages[i],
                                 (long long)spec->pages);
    }
    return MOSA_OK;
}

mosa_status mosa_check_state(const mosa_node *node, const mosa_kv_spec *spec, int slot, mosa_error *err) {
    const mosa_attrs *attrs = node->op == MOSA_OP_ROPE_KV_WRITE ? &node->attrs2 : &node->attrs;
    bool fits = attrs->attention.layer < spec->layers && attrs->attention.kv_heads == spec->kv_heads &&
                attrs->attention.head_width == spec->head_width &&
                attrs->attention.value_in_key == spec->value_in_key &&
                (spec->value_in_key || mosa_attention_value_width(attrs) == mosa_kv_value_width(spec));
    if (fits) return MOSA_OK;
    return mosa_fail(err, MOSA_EINVALID, "state %d does not fit layer %d of the graph", slot, attrs->attention.layer);
}

bool mosa_index_check_of(const mosa_graph *graph, const mosa_node *node, mosa_index_check *out) {
    const mosa_value_info *operand[3] = {NULL};
    for (int i = 0; i < 3 && i < node->n_in; i++) operand[i] = &graph->values[node->in[i]];
    const mosa_value_info *index = operand[node->op == MOSA_OP_EMBED ? 0 : node->op == MOSA_OP_LINEAR_CE ? 2 : 1];
    *out = (mosa_index_check){.op = node->op};
    switch (node->op) {
    case MOSA_OP_EMBED:
    case MOSA_OP_LINEAR_CE:
        out->bound = operand[1]->shape.dim[0];
        break;
    case MOSA_OP_GATHER_ROWS:
        out->bound = operand[0]->shape.dim[0];
        break;
    case MOSA_OP_SCATTER_ROWS:
        out->bound = node->attrs.scatter.rows;
        break;
    case MOSA_OP_EMBED_DW:
        out->bound = node->attrs2.grad.elements / operand[0]->shape.dim[1];
        break;
    default:
        return false;
    }
    out->first = node->op == MOSA_OP_LINEAR_CE ? -1 : 0;
    out->slot = index->slot;
    out->count = index->shape.dim[0];
    return true;
}

mosa_status mosa_check_index(const mosa_index_check *check, int32_t rows, const int32_t *index, mosa_error *err) {
    int64_t count = check->count == MOSA_ROWS ? rows : check->count;
    int64_t bound = check->bound == MOSA_ROWS ? rows : check->bound;
    for (int64_t i = 0; i < count; i++)
        if (index[i] < check->first || index[i] >= bound)
            return mosa_fail(err, MOSA_EINVALID, "%s: index %d of row %lld is not in [%d, %lld)",
                             mosa_op_get(check->op)->name, index[i], (long long)i, check->first, (long long)bound);
    return MOSA_OK;
}

mosa_status mosa_check_adapter_numbers(const mosa_batch *batch, int64_t max_rows, mosa_error *err) {
    if (batch->n_adapters < 0 || batch->n_adapters > max_rows)
        return mosa_fail(err, MOSA_EINVALID, "batch: %d adapters", batch->n_adapters);
    for (int32_t s = 0; s < batch->n_segments; s++)
        if (batch->segments[s].adapter < 0 || batch->segments[s].adapter > batch->n_adapters)
            return mosa_fail(err, MOSA_EINVALID, "batch: segment %d names adapter %d of %d", s,
                             batch->segments[s].adapter, batch->n_adapters);
    return MOSA_OK;
}

mosa_status mosa_check_view(const mosa_tensor_view *view, unsigned uses, mosa_error *err) {
    const char *name = view->name ? view->name : "weight";
    size_t bytes = 0;
    int64_t elements = 1;
    bool valid = view->n_dims >= 1 && view->n_dims <= MOSA_TENSOR_DIMS_MAX;
    for (uint32_t i = 0; valid && i < view->n_dims; i++)
        valid = view->dims[i] > 0 && !__builtin_mul_overflow(elements, view->dims[i], &elements);
    if (!valid || elements != view->n_elements || !mosa_dtype_bytes(view->dtype, elements, &bytes) ||
        bytes != view->bytes || !view->data || (view->parts && (view->n_dims != 3 || (uses & MOSA_WEIGHT_VECTOR))) ||
        view->dims[view->n_dims - 1] % mosa_dtype_traits_of(view->dtype)->block_len)
        return mosa_fail(err, MOSA_ECORRUPT, "%.200s: its shape and its bytes do not agree", name);
    if (!mosa_dtype_traits_of(view->dtype)->to_f32)
        return mosa_fail(err, MOSA_EUNSUPPORTED, "%.200s: %s cannot be computed with", name,
                         mosa_dtype_name(view->dtype));
    return MOSA_OK;
}

mosa_status mosa_check_kv_spec(const mosa_kv_spec *spec, mosa_error *err) {
    if (spec->layers <= 0 || spec->layers > 1 << 16 || spec->kv_heads <= 0 || spec->kv_heads > 1 << 16 ||
        spec->head_width <= 0 || spec->head_width > MOSA_HEAD_WIDTH_MAX)
        return mosa_fail(err, MOSA_EINVALID, "kv: %d layers of %d heads of %d columns are out of range", spec->layers,
                         spec->kv_heads, spec->head_width);
    if (spec->value_width < 0 || spec->value_width > MOSA_HEAD_WIDTH_MAX ||
        (spec->value_in_key && spec->value_width > spec->head_width))
        return mosa_fail(err, MOSA_EINVALID, "kv: values of %d columns are out of range", spec->value_width);
    if (spec->page_tokens <= 0 || spec->page_tokens % 16 || MOSA_ATTENTION_SPLIT % spec->page_tokens)
        return mosa_fail(err, MOSA_EINVALID, "kv: %d positions per page, must be a multiple of 16 that divides %d",
                         spec->page_tokens, (int)MOSA_ATTENTION_SPLIT);
    if (spec->pages <= 0 || spec->pages > INT32_MAX)
        return mosa_fail(err, MOSA_EINVALID, "kv: %lld pages are out of range", (long long)spec->pages);
    return MOSA_OK;
}

mosa_status mosa_check_weight_view(const mosa_graph *graph, const mosa_node *node, int operand,
                                   const mosa_tensor_view *view, mosa_error *err) {
    const mosa_value_info *value = &graph->values[node->in[operand]];
    bool vector = operand != mosa_op_table_operand(node->op) && operand != mosa_op_matrix_operand(node->op);
    bool same = (view->dtype == value->dtype || vector) && (int)view->n_dims == value->shape.ndim;
    for (int i = 0; same && i < value->shape.ndim; i++) same = view->dims[i] == value->shape.dim[i];
    if (same) return MOSA_OK;
    return mosa_fail(err, MOSA_EINVALID, "weight %.200s is not of the graph's type and shape",
                     value->name ? value->name : "(unnamed)");
}

int32_t mosa_node_rows(const mosa_graph *graph, const mosa_node *node, int32_t rows) {
    const mosa_value_info *value = &graph->values[node->out[0]];
    if (value->kind == MOSA_VALUE_STATE) value = &graph->values[node->in[0]];
    return value->shape.dim[0] == MOSA_ROWS ? rows : (int32_t)value->shape.dim[0];
}
