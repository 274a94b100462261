// What an instruction set provides for gemm.h, and the driver that runs it (gemm.c).
//
// b is packed into panels of `panel` columns, [p][panel], columns beyond n zero; a tile multiplies up to `tile_rows`
// rows of a with one panel. Rows of a are read where they lie; those of a transposed a are packed to [p][tile_rows].
#ifndef MOSA_BACKEND_CPU_GEMM_ISA_H
#define MOSA_BACKEND_CPU_GEMM_ISA_H

#include "backend/cpu/gemm.h"

enum { MOSA_GEMM_TILE_ROWS_MAX = 16, MOSA_GEMM_PANEL_MAX = 32 };

typedef struct mosa_gemm_tile {
    int64_t k;
    const float *a; // of the first row; see mosa_gemm_isa
    int64_t lda;
    const float *b; // panel
    float *c;
    int64_t ldc;
    const float *bias; // of the panel's columns, added at the end; or NULL
    int columns; // of the panel that exist: 1 to `panel`
    bool add;    // start from c, not from +0
} mosa_gemm_tile;
typedef void (*mosa_gemm_tile_fn)(const mosa_gemm_tile *tile);

typedef struct mosa_gemm_isa {
    int tile_rows, panel;
    int64_t block_k, block_n;           // of b that are packed at one time; block_n a multiple of panel
    int64_t block_k_sums, block_n_sums; // the same when a is transposed
    mosa_gemm_tile_fn rows[MOSA_GEMM_TILE_ROWS_MAX + 1];    // by rows: a(r,p) = a[r * lda + p]
    mosa_gemm_tile_fn columns[MOSA_GEMM_TILE_ROWS_MAX + 1]; // a(r,p) = a[p * tile_rows + r]
    // One panel of f32: from k rows of `columns` elements, or (transposed) from `columns` rows of k elements; `stride`
    // elements from row to row.
    void (*pack)(const float *b, int64_t stride, int64_t k, int columns, float alpha, float *panel);
    void (*pack_transposed)(const float *b, int64_t stride, int64_t k, int columns, float alpha, float *panel);
    // `rows` columns of a transposed a, `lda` apart from k to k, as [k][tile_rows]; may write 15 elements beyond.
    void (*pack_columns)(const float *a, int64_t lda, int64_t k, int rows, float *tile);
    void (*decode)(mosa_dtype dtype, const void *blocks, float *out, int64_t n); // whole blocks to f32
} mosa_gemm_isa;

void mosa_cpu_gemm(const mosa_gemm_isa *isa, const mosa_gemm *g, int thread, int n_threads);

#endif
