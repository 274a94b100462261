// Packed rows of activations: what QUANTIZE_ROWS makes for LINEAR and EXPERT_LINEAR.
#ifndef MOSA_BACKEND_CUDA_PLUGIN_CUDA_ROWS_H
#define MOSA_BACKEND_CUDA_PLUGIN_CUDA_ROWS_H

#include "backend/cuda/plugin/cuda_kernel.h"

enum { MOSA_CUDA_ROWS_BF16 = 1 }; // attrs.quantize.layout: K bf16, rounded to nearest even, then zeros to 16 bytes

static inline int64_t mosa_cuda_bf16_row_bytes(int64_t k) {
    return (k * 2 + 15) / 16 * 16;
}

#ifdef __cplusplus
extern "C" {
#endif
cudaError_t mosa_cuda_quantize_rows_launch(const mosa_cuda_args *args, cudaStream_t stream); // rows.cu
#ifdef __cplusplus
}
#endif
#endif
