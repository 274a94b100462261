// Products of bf16 matrices on Hopper (compute capability 9.0), f32 sums: host side of matmul_wgmma.cuh.
#ifndef MOSA_BACKEND_CUDA_PLUGIN_MATMUL_WGMMA_H
#define MOSA_BACKEND_CUDA_PLUGIN_MATMUL_WGMMA_H

#include <cuda_runtime_api.h>
#include <stdint.h>

enum { MOSA_CUDA_MATMUL_F32, MOSA_CUDA_MATMUL_ADD_F32, MOSA_CUDA_MATMUL_BF16 }; // C =, C +=, C = rounded

// C[m,n] = or += sum over k of A(m,k) B(n,k). All pointers are on the device, 16-byte aligned; strides are bytes
// between rows and multiples of 16; n is even, for bf16 a multiple of 8. The sum's order is ascending k, whatever the
// shape.
//   y = x w^T: a = x [T,K], b = w [N,K]      dx = dy w: a = dy [T,N], b = w, transposed
//   dw += dy^T x: a = dy, b = x, both transposed
typedef struct mosa_cuda_matmul {
    const void *a, *b; // bf16 [m,k] and [n,k], or when transposed [k,m] and [k,n]
    int64_t a_stride, b_stride;
    int a_transposed, b_transposed;
    void *c;
    int64_t c_stride;
    int out; // MOSA_CUDA_MATMUL_*
    int32_t m, n, k;
} mosa_cuda_matmul;

#ifdef __cplusplus
extern "C" {
#endif

// Puts the work on the stream. cudaErrorNotSupported: not this device, driver, alignment or pair of layouts (a
// transposed with b as it is); nothing was launched. tile: 0 chooses by shape, 1 = 128x128, 2 = 256x256: the same bits.
cudaError_t mosa_cuda_matmul_launch(const mosa_cuda_matmul *g, int tile, cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
