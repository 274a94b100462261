// The kernels of rows.cu, and those of them that also write the bf16 row which a QUANTIZE_ROWS node would make.
#ifndef MOSA_BACKEND_CUDA_PLUGIN_ROWS_H
#define MOSA_BACKEND_CUDA_PLUGIN_ROWS_H

#include "backend/cuda/plugin/cuda_rows.h"

typedef struct mosa_cuda_packed {
    void *rows;     // device: bf16 rows
    int64_t stride; // bytes
    bool keep;      // whether the f32 rows are read by another node too
} mosa_cuda_packed;

#ifdef __cplusplus
extern "C" {
#endif
void mosa_cuda_kernels_rows(mosa_cuda_kernel table[MOSA_OP_COUNT]);

// RMS_NORM, LAYER_NORM, ADD_RMS_NORM or GATED_ACT whose last output a QUANTIZE_ROWS node reads: both at once.
cudaError_t mosa_cuda_packed_launch(const mosa_cuda_args *args, const mosa_cuda_packed *packed, cudaStream_t stream);

// y[r] = x[index[r]], rows of `columns` floats.
cudaError_t mosa_cuda_gather_rows(const float *x, const int32_t *index, float *y, int64_t columns, int rows,
                                  cudaStream_t stream);
#ifdef __cplusplus
}
#endif
#endif
