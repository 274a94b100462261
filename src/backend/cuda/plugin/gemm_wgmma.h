// LINEAR for many rows on Hopper (compute capability 9.0): host side. Kernels and design: gemm_wgmma.cuh.
#ifndef MOSA_BACKEND_CUDA_PLUGIN_GEMM_WGMMA_H
#define MOSA_BACKEND_CUDA_PLUGIN_GEMM_WGMMA_H

#ifndef LINEAR_EMULATE
#include <cuda_runtime_api.h>
#endif
#include <stddef.h>
#include <stdint.h>

// Sorted pairs [begin, begin + count) of a stack use matrix `expert`; -1: nothing to do.
typedef struct mosa_cuda_gemm_group {
    int32_t expert, begin, count;
} mosa_cuda_gemm_group;

// out[rows,n] f32 = x[rows,k] w[n,k]^T + bias, the sums in the order of linear_layout.cuh, so that a row has the same
// bits as from any other kernel of LINEAR.
typedef struct mosa_cuda_gemm {
    const char *packed; // device: w in the layout of `kind` (enum mosa_linear_kind)
    int kind, splits;
    int64_t n, k;
    const void *x;      // device: bf16 rows, 16-byte aligned
    int64_t x_stride;   // bytes, a multiple of 16
    int64_t x_columns;  // columns that may be read, at least k; beyond it zeros are used
    const float *bias;  // device (n), or NULL
    float *out;         // device
    int64_t out_stride; // bytes
    int32_t rows;
    // Stacks (packed: the matrices one behind the other; bias [experts,n]): rows of x are pairs of a row and a slot,
    // sorted by matrix, `rows` of them; groups (device, n_groups) of at most mosa_cuda_gemm_tokens(variant) pairs;
    // order (device, rows): pair i is order[i] = row * slots + slot and goes to columns [slot * n, (slot + 1) * n) of
    // that row of out. groups NULL: a plain matrix. variant must not be 0.
    const mosa_cuda_gemm_group *groups;
    const int32_t *order;
    int32_t n_groups, slots;
    // Room for chunks of K in blocks of their own, which is faster when rows are few: device, 256-byte aligned,
    // splits * rows * (n rounded up to 4) f32; less, or NULL: chunks are added in one block.
    void *scratch;
    size_t scratch_bytes;
    int32_t separate; // 0 by shape, 1 never, 2 whenever scratch suffices: the same bits
} mosa_cuda_gemm;

#ifdef __cplusplus
extern "C" {
#endif

// Puts the work on the stream. cudaErrorNotSupported: not this device, driver or kind; nothing was launched.
// variant: 0 chooses by shape, others (1 <= variant < mosa_cuda_gemm_variants) are for tests; all give the same bits.
cudaError_t mosa_cuda_gemm_launch(const mosa_cuda_gemm *g, int variant, cudaStream_t stream);
int mosa_cuda_gemm_variants(void);
const char *mosa_cuda_gemm_variant_name(int variant);
int mosa_cuda_gemm_tokens(int variant);

#ifdef __cplusplus
}
#endif

#endif
