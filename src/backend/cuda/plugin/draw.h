// Drawing tokens from rows of logits on the device (draw.cu), for cuda_draw.c.
#ifndef MOSA_BACKEND_CUDA_PLUGIN_DRAW_H
#define MOSA_BACKEND_CUDA_PLUGIN_DRAW_H

#include "backend/cuda/plugin/cuda_kernel.h"

#ifdef __cplusplus
extern "C" {
#endif
// draws, drawn: device (n). logits: device rows of `vocabulary` floats; draws name rows of it.
cudaError_t mosa_cuda_draw_launch(const float *logits, int vocabulary, const mosa_draw *draws, int n, mosa_drawn *drawn,
                                  cudaStream_t stream);
#ifdef __cplusplus
}
#endif
#endif
