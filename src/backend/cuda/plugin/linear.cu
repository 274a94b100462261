// LINEAR and EXPERT_LINEAR of the graph: the launchers of cuda_kernel.h over linear.h, and the packing of weights.
//
// A weight is uploaded as the file has it, a stretch of rows at a time, into a buffer that the stream allocates, and
// repacked from there; the device never holds both whole. When the weight is also a table, its rows are there already.
#include "backend/cuda/plugin/cuda_kernel.h"
#include "backend/cuda/plugin/linear.h"
#include "backend/cuda/plugin/linear_layout.cuh"

extern "C" {
#include "backend/cuda/plugin/cuda_upload.h"
#include "base/status.h"
}

enum { STRETCH_BYTES = 64 << 20 };

// mosa_weight.layout: kind, and the number of chunks above.
static int layout_of(int kind, int splits) {
    return kind | splits << 8;
}
static linear_matrix matrix_of(const mosa_weight *w) {
    return linear_matrix{(const char *)w->packed, w->layout & 255, w->layout >> 8, w->n, w->k, w->experts};
}

static bool kind_of(mosa_dtype dtype, int *kind, linear_source_type *from) {
    static const struct {
        mosa_dtype dtype;
        int kind;
        linear_source_type from;
    } known[] = {{MOSA_BF16, MOSA_LINEAR_BF16, LINEAR_FROM_BF16}, {MOSA_F16, MOSA_LINEAR_BF16, LINEAR_FROM_F16},
                 {MOSA_F32, MOSA_LINEAR_BF16, LINEAR_FROM_F32},   {MOSA_Q8_0, MOSA_LINEAR_Q8_0, LINEAR_FROM_Q8_0},
                 {MOSA_Q4_0, MOSA_LINEAR_Q4_0, LINEAR_FROM_Q4_0}, {MOSA_Q4_K, MOSA_LINEAR_Q4_K, LINEAR_FROM_Q4_K},
                 {MOSA_Q5_K, MOSA_LINEAR_Q5_K, LINEAR_FROM_Q5_K}, {MOSA_Q6_K, MOSA_LINEAR_Q6_K, LINEAR_FROM_Q6_K}};
    for (const auto &k : known)
        if (k.dtype == dtype) {
            *kind = k.kind, *from = k.from;
            return true;
        }
    return false;
}

static mosa_status fail_cuda(mosa_error *err, cudaError_t e, const mosa_tensor_view *view) {
    return mosa_fail(err, e == cudaErrorMemoryAllocation ? MOSA_ENOMEM : MOSA_EINTERNAL, "cuda: %.200s: %s",
                     view->name ? view->name : "matrix", cudaGetErrorString(e));
}

// Packs one matrix whose rows begin at `host`, or lie on the device at `table`.
static mosa_status pack_matrix(const mosa_tensor_view *view, const uint8_t *host, const uint8_t *table, int kind,
                               linear_source source, char *to, uint8_t *buffer, int64_t stretch, cudaStream_t stream,
                               mosa_error *err) {
    const int64_t n = source.n, tiles = linear_tiles(n);
    for (int64_t row = 0; row < n; row += stretch) {
        source.n = n - row < stretch ? n - row : stretch;
        source.rows = table ? table + row * source.row_bytes : buffer;
        if (!table)
            MOSA_TRY(mosa_cuda_upload(buffer, host + row * source.row_bytes, (size_t)(source.n * source.row_bytes),
                                      stream, err));
        int64_t tile = row / LINEAR_TILE, end = row + stretch >= n ? tiles : (row + stretch) / LINEAR_TILE;
        cudaError_t e = linear_repack(&source, kind, tile, end - tile, to, stream);
        if (e) return fail_cuda(err, e, view);
    }
    return MOSA_OK;
}

static mosa_status pack_all(const mosa_tensor_view *view, mosa_weight *w, int kind, linear_source_type from,
                            uint8_t *buffer, int64_t stretch, cudaStream_t stream, mosa_error *err) {
    int64_t row_bytes = (int64_t)view->bytes / (w->n * w->experts), matrix_bytes = row_bytes * w->n;
    for (int64_t e = 0; e < w->experts; e++) {
        const uint8_t *host = (const uint8_t *)view->data + e * matrix_bytes;
        if (view->parts) host = (const uint8_t *)view->parts[e];
        const uint8_t *table = w->table ? (const uint8_t *)w->table + e * matrix_bytes : nullptr;
        linear_source source = {nullptr, from, w->n, w->k, row_bytes};
        MOSA_TRY(pack_matrix(view, host, table, kind, source,
                             (char *)w->packed + e * linear_matrix_bytes(kind, w->n, w->k), buffer, stretch, stream,
                             err));
    }
    return MOSA_OK;
}

extern "C" mosa_status mosa_cuda_linear_pack(const mosa_tensor_view *view, mosa_weight *w, cudaStream_t stream,
                                             mosa_error *err) {
    int kind;
    linear_source_type from;
    if (!kind_of(view->dtype, &kind, &from) || (view->n_dims != 2 && view->n_dims != 3)) return MOSA_OK;
    w->experts = view->n_dims == 3 ? view->dims[0] : 1;
    w->n = view->dims[view->n_dims - 2], w->k = view->dims[view->n_dims - 1];
    if (w->n <= 0 || w->k <= 0 || w->n > INT32_MAX / 4 || w->k > INT32_MAX / 4) return MOSA_OK;
    size_t bytes = (size_t)(linear_matrix_bytes(kind, w->n, w->k) * w->experts);
    int64_t row_bytes = (int64_t)view->bytes / (w->n * w->experts);
    int64_t stretch = STRETCH_BYTES / row_bytes / LINEAR_ROWS * LINEAR_ROWS;
    if (stretch < LINEAR_ROWS) stretch = LINEAR_ROWS;
    int64_t most = w->n < stretch ? w->n : stretch;
    cudaError_t e = cudaMalloc(&w->packed, bytes);
    if (e) {
        (void)cudaGetLastError();
        w->packed = nullptr;
        return fail_cuda(err, e, view);
    }
    uint8_t *buffer = nullptr;
    if (!w->table && (e = cudaMallocAsync((void **)&buffer, (size_t)(most * row_bytes) + 16, stream))) {
        (void)cudaGetLastError();
        return fail_cuda(err, e, view); // the caller frees w->packed with the weight
    }
    w->packed_bytes = bytes;
    w->layout = layout_of(kind, linear_splits(kind, w->n, w->k));
    mosa_status status = pack_all(view, w, kind, from, buffer, stretch, stream, err);
    if (buffer && (e = cudaFreeAsync(buffer, stream)) && status == MOSA_OK) status = fail_cuda(err, e, view);
    return status;
}

// ---- launchers

static linear_call call_of(const mosa_cuda_args *args, const linear_matrix *m, int bias) {
    linear_call c = {};
    c.matrix = m, c.x = args->in[0], c.x_stride = args->in_stride[0], c.rows = args->rows;
    c.x_bf16 = mosa_graph_value(args->graph, args->node->in[0])->dtype != MOSA_F32;
    c.out = (float *)args->out[0], c.out_stride = args->out_stride[0];
    c.scratch = args->scratch, c.scratch_bytes = args->scratch_bytes;
    if (args->node->n_in > bias) {
        bool weight = mosa_graph_value(args->graph, args->node->in[bias])->kind == MOSA_VALUE_WEIGHT;
        c.bias = weight ? ((const mosa_weight *)args->in[bias])->vector : (const float *)args->in[bias];
    }
    return c;
}

extern "C" cudaError_t mosa_cuda_linear_launch(const mosa_cuda_args *args, cudaStream_t stream) {
    linear_matrix m = matrix_of((const mosa_weight *)args->in[1]);
    linear_call c = call_of(args, &m, 2);
    return linear_run(&c, stream);
}

extern "C" cudaError_t mosa_cuda_linear_launch_together(const mosa_cuda_args *const *args, int n, cudaStream_t stream) {
    enum { SOME = 4 };
    linear_matrix m[SOME];
    linear_call c[SOME];
    for (int i = 0; i < n; i += SOME) {
        int some = n - i < SOME ? n - i : SOME;
        for (int j = 0; j < some; j++) {
            m[j] = matrix_of((const mosa_weight *)args[i + j]->in[1]);
            c[j] = call_of(args[i + j], &m[j], 2);
        }
        cudaError_t e = linear_run_together(c, some, stream);
        if (e) return e;
    }
    return cudaSuccess;
}

extern "C" cudaError_t mosa_cuda_expert_linear_launch(const mosa_cuda_args *args, cudaStream_t stream) {
    linear_matrix m = matrix_of((const mosa_weight *)args->in[1]);
    linear_call c = call_of(args, &m, 3);
    bool indexed = args->node->n_in > 2;
    c.slots = (int32_t)m.experts;
    if (indexed) {
        c.index = (const int32_t *)args->in[2], c.index_stride = args->in_stride[2];
        c.slots = (int32_t)mosa_shape_row_elements(&mosa_graph_value(args->graph, args->node->in[2])->shape);
    }
    // An input of one K is shared by the slots; a packed row may be longer than its K by what fills it up.
    int64_t one = m.k * (c.x_bf16 ? 2 : 4);
    if (c.slots > 1 && c.x_stride >= c.slots * one) c.x_slot_stride = one;
    return linear_run_stack(&c, stream);
}

extern "C" size_t mosa_cuda_linear_scratch_bytes(const mosa_graph *graph, const mosa_node *node, int64_t max_rows,
                                                 int64_t) {
    const mosa_shape *w = &mosa_graph_value(graph, node->in[1])->shape;
    int64_t n = w->dim[w->ndim - 2], k = w->dim[w->ndim - 1], slots = 0;
    if (node->op == MOSA_OP_EXPERT_LINEAR) {
        slots = w->dim[0];
        if (node->n_in > 2) slots = mosa_shape_row_elements(&mosa_graph_value(graph, node->in[2])->shape);
    }
    return linear_scratch_bytes(n, k, w->ndim == 3 ? w->dim[0] : 1, slots, max_rows);
}
