// GEMM tiles on AVX2: up to 6 rows by 16 columns in 12 registers. A step of k loads two vectors of the panel once and
// broadcasts one element of each row for two fused multiply-adds.
#include "backend/cpu/attention_grad.h"
#include "backend/cpu/gemm_isa.h"

#include "backend/cpu/avx2/avx2.h"
#include "backend/cpu/avx2/linear_tile.h"

#include <string.h>

enum { ROWS = 6, PANEL = 16 };

// Columns beyond the last are worked out in a copy of c.
INLINE void tile_body(const int rows, const bool by_columns, const mosa_gemm_tile *tile) {
    float edge[ROWS][PANEL] = {{0}};
    bool whole = tile->columns == PANEL;
    float *c = whole ? tile->c : edge[0];
    const int64_t ldc = whole ? tile->ldc : PANEL, lda = tile->lda;
    for (int r = 0; !whole && tile->add && r < rows; r++)
        memcpy(edge[r], tile->c + r * tile->ldc, (size_t)tile->columns * sizeof(float));
    __m256 y[ROWS][2];
    UNROLL for (int r = 0; r < rows; r++) {
        y[r][0] = tile->add ? _mm256_loadu_ps(c + r * ldc) : _mm256_setzero_ps();
        y[r][1] = tile->add ? _mm256_loadu_ps(c + r * ldc + 8) : _mm256_setzero_ps();
    }
    const float *a = tile->a, *b = tile->b;
    for (int64_t p = 0; p < tile->k; p++) {
        __m256 b0 = _mm256_loadu_ps(b), b1 = _mm256_loadu_ps(b + 8);
        UNROLL for (int r = 0; r < rows; r++) {
            __m256 x = _mm256_set1_ps(by_columns ? a[r] : a[r * lda]);
            y[r][0] = _mm256_fmadd_ps(x, b0, y[r][0]);
            y[r][1] = _mm256_fmadd_ps(x, b1, y[r][1]);
        }
        b += PANEL;
        a += by_columns ? ROWS : 1;
    }
    UNROLL for (int r = 0; r < rows; r++) {
        _mm256_storeu_ps(c + r * ldc, y[r][0]);
        _mm256_storeu_ps(c + r * ldc + 8, y[r][1]);
    }
    for (int r = 0; tile->bias && r < rows; r++)
        for (int j = 0; j < tile->columns; j++) c[r * ldc + j] += tile->bias[j];
    for (int r = 0; !whole && r < rows; r++)
        memcpy(tile->c + r * tile->ldc, edge[r], (size_t)tile->columns * sizeof(float));
}

#define TILE(n)                                                                                                        \
    static void rows_##n(const mosa_gemm_tile *tile) {                                                                 \
        tile_body(n, false, tile);                                                                                     \
    }                                                                                                                  \
    static void columns_##n(const mosa_gemm_tile *tile) {                                                              \
        tile_body(n, true, tile);                                                                                      \
    }
TILE(1)
TILE(2)
TILE(3)
TILE(4)
TILE(5)
TILE(6)

static void pack(const float *b, int64_t stride, int64_t k, int columns, float alpha, float *panel) {
    for (int64_t p = 0; p < k; p++, b += stride, panel += PANEL) {
        if (columns < PANEL) {
            for (int i = 0; i < PANEL; i++) panel[i] = i < columns ? alpha * b[i] : 0;
            continue;
        }
        _mm256_storeu_ps(panel, _mm256_mul_ps(_mm256_set1_ps(alpha), _mm256_loadu_ps(b)));
        _mm256_storeu_ps(panel + 8, _mm256_mul_ps(_mm256_set1_ps(alpha), _mm256_loadu_ps(b + 8)));
    }
}

// Four elements of 8 rows, transposed.
INLINE void transpose4(const float *const *rows, int64_t at, __m256 scale, float *panel) {
    __m256 v[4], t[4];
    UNROLL for (int r = 0; r < 4; r++) {
        __m256 low = _mm256_castps128_ps256(_mm_loadu_ps(rows[r] + at));
        v[r] = _mm256_mul_ps(scale, _mm256_insertf128_ps(low, _mm_loadu_ps(rows[r + 4] + at), 1));
    }
    t[0] = _mm256_unpacklo_ps(v[0], v[1]);
    t[1] = _mm256_unpacklo_ps(v[2], v[3]);
    t[2] = _mm256_unpackhi_ps(v[0], v[1]);
    t[3] = _mm256_unpackhi_ps(v[2], v[3]);
    UNROLL for (int i = 0; i < 2; i++) {
        _mm256_storeu_ps(panel + (2 * i) * PANEL, _mm256_shuffle_ps(t[2 * i], t[2 * i + 1], 0x44));
        _mm256_storeu_ps(panel + (2 * i + 1) * PANEL, _mm256_shuffle_ps(t[2 * i], t[2 * i + 1], 0xee));
    }
}

static void pack_transposed(const float *b, int64_t stride, int64_t k, int columns, float alpha, float *panel) {
    const float *rows[PANEL];
    int64_t whole = k / 4 * 4;
    for (int r = 0; r < PANEL; r++) rows[r] = b + (r < columns ? r : 0) * stride;
    for (int64_t p = 0; p < whole; p += 4)
        for (int half = 0; half < PANEL; half += 8)
            transpose4(rows + half, p, _mm256_set1_ps(alpha), panel + p * PANEL + half);
    for (int64_t p = whole; p < k; p++)
        for (int r = 0; r < PANEL; r++) panel[p * PANEL + r] = alpha * rows[r][p];
    for (int64_t p = 0; columns < PANEL && p < k; p++) // rows beyond the last were read as the first
        for (int r = columns; r < PANEL; r++) panel[p * PANEL + r] = 0;
}

static void pack_columns(const float *a, int64_t lda, int64_t k, int rows, float *tile) {
    for (int64_t p = 0; p < k; p++, a += lda, tile += ROWS)
        for (int r = 0; r < rows; r++) tile[r] = a[r];
}

static void decode(mosa_dtype dtype, const void *blocks, float *out, int64_t n) {
    mosa_dtype_traits_of(dtype)->to_f32(blocks, out, n);
}

void mosa_avx2_gemm(const mosa_gemm *g, int thread, int n_threads) {
    static const mosa_gemm_isa isa = {
        .tile_rows = ROWS,
        .panel = PANEL,
        .block_k = 256,
        .block_n = 384,
        .block_k_sums = 256,
        .block_n_sums = 384,
        .rows = {NULL, rows_1, rows_2, rows_3, rows_4, rows_5, rows_6},
        .columns = {NULL, columns_1, columns_2, columns_3, columns_4, columns_5, columns_6},
        .pack = pack,
        .pack_transposed = pack_transposed,
        .pack_columns = pack_columns,
        .decode = decode,
    };
    mosa_cpu_gemm(&isa, g, thread, n_threads);
}

void mosa_avx2_linear_dx(const mosa_cpu_args *args, int thread, int n_threads) {
    mosa_cpu_linear_dx(args, thread, n_threads, mosa_avx2_gemm);
}

void mosa_avx2_linear_dw(const mosa_cpu_args *args, int thread, int n_threads) {
    mosa_cpu_linear_dw(args, thread, n_threads, mosa_avx2_gemm);
}

void mosa_avx2_lora_add(const mosa_cpu_args *args, int thread, int n_threads) {
    mosa_cpu_lora_add(args, thread, n_threads, mosa_avx2_gemm);
}

void mosa_avx2_attention_dx(const mosa_cpu_args *args, int thread, int n_threads) {
    static const mosa_attention_grad_isa isa = {mosa_avx2_gemm, mosa_avx2_attention_slopes};
    mosa_cpu_attention_dx(args, thread, n_threads, &isa);
}
