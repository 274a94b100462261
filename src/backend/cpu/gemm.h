// Products of matrices for training: what LINEAR_DX, LINEAR_DW and LINEAR over unpacked weights are made of.
//
// c(i,j) = start(i,j), then for p = 0 .. k-1 in order: c(i,j) = fma(a(i,p), alpha * b(p,j), c(i,j)), where start is
// +0, or the c that is there when `add`. Every element is one such chain, whatever m, n, the threads or the
// instruction set: all implementations agree bit for bit, a row does not depend on its neighbours, and sums over rows
// of a batch (`add`, k = rows) are the same whether the batch comes at once or in parts. With alpha = 1 this is LINEAR
// of pack.h for f32, f16 and bf16 weights.
//
// b may be of any type that decodes to f32 (a frozen quantised weight): it is decoded while panels are packed, each
// element to the same bits as mosa_dtype_traits.to_f32.
//
// Thread: every thread of a pool calls it with the same matrices and a scratch of its own; it writes its share of c.
// No call waits for another. a and b may not overlap c.
#ifndef MOSA_BACKEND_CPU_GEMM_H
#define MOSA_BACKEND_CPU_GEMM_H

#include "backend/cpu/kernel.h"

enum { MOSA_GEMM_SCRATCH_BYTES = 544 * 1024 };

typedef struct mosa_gemm {
    int64_t m, n, k;
    const float *a; // a(i,p) = a[i * lda + p], or a[p * lda + i] when a_transposed
    int64_t lda;    // elements from row to row of memory, as ldc
    const void *b;  // b(p,j) = element j of row p, or element p of row j when b_transposed
    size_t b_row_bytes;
    mosa_dtype b_dtype; // rows begin at a block; a row is whole blocks
    bool a_transposed, b_transposed;
    bool add;
    float alpha;
    const float *bias; // (n) added to the finished chains; or NULL
    float *c;          // c(i,j) = c[i * ldc + j]
    int64_t ldc;
    void *scratch; // this thread's MOSA_GEMM_SCRATCH_BYTES, 64-byte aligned
} mosa_gemm;

typedef void (*mosa_gemm_fn)(const mosa_gemm *g, int thread, int n_threads);

// Ops that are products, by such a function. Operands as graph.h says; weights are read as their files hold them.
void mosa_cpu_linear_unpacked(const mosa_cpu_args *args, int thread, int n_threads, mosa_gemm_fn fn); // LINEAR
void mosa_cpu_linear_dx(const mosa_cpu_args *args, int thread, int n_threads, mosa_gemm_fn fn);
void mosa_cpu_linear_dw(const mosa_cpu_args *args, int thread, int n_threads, mosa_gemm_fn fn);
void mosa_cpu_lora_add(const mosa_cpu_args *args, int thread, int n_threads, mosa_gemm_fn fn);

void mosa_ref_gemm(const mosa_gemm *g, int thread, int n_threads);
void mosa_avx2_gemm(const mosa_gemm *g, int thread, int n_threads);   // needs AVX2, FMA and F16C
void mosa_avx512_gemm(const mosa_gemm *g, int thread, int n_threads); // needs AVX-512 F, BW, DQ, VL

#endif
