// GEMM, reference: the chain of gemm.h as it is written there.
#include "backend/cpu/gemm.h"

#include "backend/cpu/kernel.h"

#include <math.h>
#include <string.h>

// Element `at` of a row: its block is decoded whole, as files hold it.
static float element(mosa_dtype dtype, const unsigned char *row, int64_t at) {
    const mosa_dtype_traits *traits = mosa_dtype_traits_of(dtype);
    float block[256];
    traits->to_f32(row + at / traits->block_len * traits->block_bytes, block, traits->block_len);
    return block[at % traits->block_len];
}

static float element_b(const mosa_gemm *g, int64_t p, int64_t j) {
    const unsigned char *row = (const unsigned char *)g->b + (size_t)(g->b_transposed ? j : p) * g->b_row_bytes;
    return g->alpha * element(g->b_dtype, row, g->b_transposed ? p : j);
}

void mosa_ref_gemm(const mosa_gemm *g, int thread, int n_threads) {
    int64_t begin, end;
    mosa_cpu_share(g->n, 1, thread, n_threads, &begin, &end);
    for (int64_t i = 0; !g->add && i < g->m; i++)
        if (begin < end) memset(g->c + i * g->ldc + begin, 0, (size_t)(end - begin) * sizeof(float));
    for (int64_t j = begin; j < end; j++)
        for (int64_t p = 0; p < g->k; p++) {
            float b = element_b(g, p, j);
            for (int64_t i = 0; i < g->m; i++) {
                float *c = &g->c[i * g->ldc + j];
                *c = fmaf(g->a_transposed ? g->a[p * g->lda + i] : g->a[i * g->lda + p], b, *c);
            }
        }
    for (int64_t i = 0; g->bias && i < g->m; i++)
        for (int64_t j = begin; j < end; j++) g->c[i * g->ldc + j] += g->bias[j];
}
