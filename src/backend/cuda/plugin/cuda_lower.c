// Lowering: fusions that have kernels; where linear*.cu is built in, one bf16 copy of each input that LINEARs share.
#include "backend/cuda/plugin/cuda_backend.h"

#include "backend/cuda/plugin/cuda_rows.h"
#include "graph/pass.h"

static bool supports(mosa_op op, const void *context) {
    return ((const mosa_cuda_backend *)context)->kernels[op].launch != NULL;
}

#ifdef MOSA_CUDA_LINEAR
static int layout_of(mosa_dtype weight_dtype, int64_t k, const void *context) {
    (void)weight_dtype, (void)context;
    // Inputs of their own lie slot after slot: where K does not fill 16 bytes, LINEAR makes its copies itself.
    return k % 8 == 0 ? MOSA_CUDA_ROWS_BF16 : -1;
}

static int64_t row_bytes(int layout, int64_t k, const void *context) {
    (void)layout, (void)context;
    return mosa_cuda_bf16_row_bytes(k);
}
#endif

mosa_status mosa_cuda_lower(mosa_backend *backend, const mosa_graph *graph, mosa_graph **out, mosa_error *err) {
    mosa_graph *clean = NULL, *fused = NULL, *quantized = NULL;
    mosa_status status;
    MOSA_TRY_GOTO(mosa_pass_clean(graph, &clean, err), done);
    MOSA_TRY_GOTO(mosa_pass_fuse(clean, supports, backend, &fused, err), done);
#ifdef MOSA_CUDA_LINEAR
    MOSA_TRY_GOTO(mosa_pass_quantize(fused, layout_of, row_bytes, backend, &quantized, err), done);
#endif
    status = mosa_pass_clean(quantized ? quantized : fused, out, err);
done:
    mosa_graph_destroy(clean);
    mosa_graph_destroy(fused);
    mosa_graph_destroy(quantized);
    return status;
}
