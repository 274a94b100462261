// The kernel table: the plain kernels, overridden by what this plugin was built with.
#include "backend/cuda/plugin/cuda_backend.h"
#include "backend/cuda/plugin/cuda_rows.h"
#include "backend/cuda/plugin/grad.h"

#ifdef MOSA_CUDA_LINEAR
// A matrix of a type that linear*.cu has no layout for is read as the file has it.
static bool packed(const mosa_cuda_args *args) {
    return ((const mosa_weight *)args->in[1])->packed != NULL;
}

static cudaError_t linear(const mosa_cuda_args *args, cudaStream_t stream) {
    return packed(args) ? mosa_cuda_linear_launch(args, stream) : mosa_cuda_generic_linear_launch(args, stream);
}

static cudaError_t expert_linear(const mosa_cuda_args *args, cudaStream_t stream) {
    return packed(args) ? mosa_cuda_expert_linear_launch(args, stream)
                        : mosa_cuda_generic_expert_linear_launch(args, stream);
}
#endif

void mosa_cuda_kernels(mosa_cuda_kernel table[MOSA_OP_COUNT]) {
    mosa_cuda_kernels_generic(table);
    mosa_cuda_kernels_grad(table);
    table[MOSA_OP_QUANTIZE_ROWS] = (mosa_cuda_kernel){mosa_cuda_quantize_rows_launch, NULL};
#ifdef MOSA_CUDA_LINEAR
    table[MOSA_OP_LINEAR] = (mosa_cuda_kernel){linear, mosa_cuda_linear_scratch_bytes};
    table[MOSA_OP_EXPERT_LINEAR] = (mosa_cuda_kernel){expert_linear, mosa_cuda_linear_scratch_bytes};
#endif
#ifdef MOSA_CUDA_ATTENTION
    table[MOSA_OP_KV_WRITE] = (mosa_cuda_kernel){mosa_cuda_kv_write_launch, NULL};
    table[MOSA_OP_ROPE_KV_WRITE] = (mosa_cuda_kernel){mosa_cuda_rope_kv_write_launch, NULL};
    table[MOSA_OP_ATTENTION] = (mosa_cuda_kernel){mosa_cuda_attention_launch, mosa_cuda_attention_scratch_bytes};
    table[MOSA_OP_ATTENTION_DX] =
        (mosa_cuda_kernel){mosa_cuda_attention_dx_launch, mosa_cuda_attention_dx_scratch_bytes};
#endif
}
