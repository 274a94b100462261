// The kernels of training in grad.cu: all but attention's (attention_backward.cu) and those of experts, which are not
// there yet.
#ifndef MOSA_BACKEND_CUDA_PLUGIN_GRAD_H
#define MOSA_BACKEND_CUDA_PLUGIN_GRAD_H

#include "backend/cuda/plugin/cuda_kernel.h"

#ifdef __cplusplus
extern "C" {
#endif
void mosa_cuda_kernels_grad(mosa_cuda_kernel table[MOSA_OP_COUNT]);
#ifdef __cplusplus
}
#endif
#endif
