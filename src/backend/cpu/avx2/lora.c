// LORA on AVX2: two thin products over the rows of one adapter at a time, the order of ref/lora.c in every lane.
//
// Phase 0, u = s * x A^T: lanes are eight of the rank, four rows share each vector of A. Phase 1, y' = y + u B^T: lanes
// are outputs, four rows share each vector of B. Threads divide (rows, rank) in the first phase and outputs in the
// second, so that one decoding row still occupies all of them.
#include "backend/cpu/avx2/avx2.h"

#include <immintrin.h>
#include <math.h>
#include <string.h>

enum { ROWS = 4, COLUMNS = 16 }; // of one tile

// Eight elements at index i.
static inline __attribute__((always_inline)) __m256 load8(const void *matrix, int64_t i, mosa_dtype dtype) {
    if (dtype == MOSA_F32) return _mm256_loadu_ps((const float *)matrix + i);
    __m128i half = _mm_loadu_si128((const __m128i *)(const void *)((const uint16_t *)matrix + i));
    if (dtype == MOSA_F16) return _mm256_cvtph_ps(half);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}

static inline float load1(const void *matrix, int64_t i, mosa_dtype dtype) {
    float value;
    size_t bytes = dtype == MOSA_F32 ? 4 : 2;
    mosa_dtype_traits_of(dtype)->to_f32((const char *)matrix + (size_t)i * bytes, &value, 1);
    return value;
}

// --- phase 0 --------------------------------------------------------------------------------------------------------

// Elements [j, j + 8) of u for `rows` rows; missing rows repeat the first.
static inline __attribute__((always_inline)) void shrink_tile(const mosa_cpu_lora *lora, const float *const *x,
                                                              __m256 *u, int32_t j, mosa_dtype dtype) {
    __m256 acc[ROWS] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
    for (int64_t k = 0; k < lora->k; k++) {
        __m256 a = load8(lora->a, k * lora->rank_padded + j, dtype);
        for (int i = 0; i < ROWS; i++) acc[i] = _mm256_fmadd_ps(_mm256_broadcast_ss(x[i] + k), a, acc[i]);
    }
    for (int i = 0; i < ROWS; i++) u[i] = _mm256_mul_ps(_mm256_set1_ps(lora->scale), acc[i]);
}

static inline __attribute__((always_inline)) void shrink_one(const mosa_cpu_lora *lora, const float *x, __m256 *u,
                                                             int32_t j, mosa_dtype dtype) {
    __m256 acc = _mm256_setzero_ps();
    for (int64_t k = 0; k < lora->k; k++)
        acc = _mm256_fmadd_ps(_mm256_broadcast_ss(x + k), load8(lora->a, k * lora->rank_padded + j, dtype), acc);
    *u = _mm256_mul_ps(_mm256_set1_ps(lora->scale), acc);
}

static void shrink(const mosa_cpu_lora *lora, const float *const *x, int n, __m256 *u, int32_t j) {
    bool one = n == 1;
    if (lora->dtype == MOSA_F32)
        one ? shrink_one(lora, x[0], u, j, MOSA_F32) : shrink_tile(lora, x, u, j, MOSA_F32);
    else if (lora->dtype == MOSA_F16)
        one ? shrink_one(lora, x[0], u, j, MOSA_F16) : shrink_tile(lora, x, u, j, MOSA_F16);
    else
        one ? shrink_one(lora, x[0], u, j, MOSA_BF16) : shrink_tile(lora, x, u, j, MOSA_BF16);
}

// One item is a block of rows and eight of the rank.
static void shrink_item(const mosa_cpu_args *args, const mosa_cpu_lora *lora, const int32_t *rows, int n, int32_t j) {
    const float *x[ROWS];
    __m256 u[ROWS];
    for (int i = 0; i < ROWS; i++) x[i] = mosa_cpu_in_row(args, 1, rows[i < n ? i : 0]);
    shrink(lora, x, n, u, j);
    size_t columns = (size_t)(lora->rank - j < MOSA_LORA_LANES ? lora->rank - j : MOSA_LORA_LANES);
    for (int i = 0; i < n; i++) memcpy(mosa_cpu_out_row(args, 1, rows[i]) + j, &u[i], columns * sizeof(float));
}

static void shrink_group(const mosa_cpu_args *args, const mosa_cpu_lora_group *group, int thread, int n_threads) {
    const mosa_cpu_lora *lora = mosa_cpu_lora_of(args, group);
    int64_t blocks = (group->count + ROWS - 1) / ROWS, parts = lora->rank_padded / MOSA_LORA_LANES, begin, end;
    mosa_cpu_share(blocks * parts, 1, thread, n_threads, &begin, &end);
    for (int64_t item = begin; item < end; item++) {
        int32_t first = (int32_t)(item / parts) * ROWS, left = group->count - first;
        shrink_item(args, lora, args->lora->rows + group->begin + first, left < ROWS ? left : ROWS,
                    (int32_t)(item % parts) * MOSA_LORA_LANES);
    }
}

// --- phase 1 --------------------------------------------------------------------------------------------------------

// Outputs [n, n + 8 * vectors) of up to four rows; pointers of missing rows repeat the first, which is stored alike.
static inline __attribute__((always_inline)) void expand_tile(const mosa_cpu_lora *lora, const float *const *u,
                                                              float *const *y, int64_t n, int rows, int vectors,
                                                              mosa_dtype dtype) {
    __m256 acc[ROWS][2];
    for (int i = 0; i < rows; i++)
        for (int v = 0; v < vectors; v++) acc[i][v] = _mm256_loadu_ps(y[i] + n + 8 * v);
    for (int32_t j = 0; j < lora->rank; j++)
        for (int v = 0; v < vectors; v++) {
            __m256 b = load8(lora->b, j * lora->n + n + 8 * v, dtype);
            for (int i = 0; i < rows; i++) acc[i][v] = _mm256_fmadd_ps(_mm256_broadcast_ss(u[i] + j), b, acc[i][v]);
        }
    for (int i = 0; i < rows; i++)
        for (int v = 0; v < vectors; v++) _mm256_storeu_ps(y[i] + n + 8 * v, acc[i][v]);
}

static inline __attribute__((always_inline)) void expand_columns(const mosa_cpu_lora *lora, const float *const *u,
                                                                 float *const *y, int64_t begin, int64_t end, int rows,
                                                                 mosa_dtype dtype) {
    int64_t n = begin;
    for (; n + COLUMNS <= end; n += COLUMNS) expand_tile(lora, u, y, n, rows, 2, dtype);
    for (; n + 8 <= end; n += 8) expand_tile(lora, u, y, n, rows, 1, dtype);
    for (; n < end; n++)
        for (int i = 0; i < rows; i++)
            for (int32_t j = 0; j < lora->rank; j++)
                y[i][n] = fmaf(u[i][j], load1(lora->b, j * lora->n + n, dtype), y[i][n]);
}

static inline __attribute__((always_inline)) void expand_rows(const mosa_cpu_lora *lora, const float *const *u,
                                                              float *const *y, int64_t begin, int64_t end, int rows) {
    if (lora->dtype == MOSA_F32)
        expand_columns(lora, u, y, begin, end, rows, MOSA_F32);
    else if (lora->dtype == MOSA_F16)
        expand_columns(lora, u, y, begin, end, rows, MOSA_F16);
    else
        expand_columns(lora, u, y, begin, end, rows, MOSA_BF16);
}

static void expand_group(const mosa_cpu_args *args, const mosa_cpu_lora_group *group, int64_t begin, int64_t end) {
    const mosa_cpu_lora *lora = mosa_cpu_lora_of(args, group);
    const int32_t *rows = args->lora->rows + group->begin;
    const float *u[ROWS];
    float *y[ROWS];
    int32_t t = 0;
    for (; t + ROWS <= group->count; t += ROWS) {
        for (int i = 0; i < ROWS; i++) u[i] = mosa_cpu_out_row(args, 1, rows[t + i]);
        for (int i = 0; i < ROWS; i++) y[i] = mosa_cpu_out_row(args, 0, rows[t + i]);
        expand_rows(lora, u, y, begin, end, ROWS);
    }
    for (; t < group->count; t++) {
        u[0] = mosa_cpu_out_row(args, 1, rows[t]);
        y[0] = mosa_cpu_out_row(args, 0, rows[t]);
        expand_rows(lora, u, y, begin, end, 1);
    }
}

void mosa_avx2_lora(const mosa_cpu_args *args, int thread, int n_threads) {
    const mosa_cpu_lora_rows *lora = args->lora;
    if (args->phase == 0) {
        for (int32_t g = 0; g < lora->n_groups; g++) shrink_group(args, &lora->groups[g], thread, n_threads);
        return;
    }
    int64_t begin, end;
    mosa_cpu_share(mosa_cpu_columns(args, 0), COLUMNS, thread, n_threads, &begin, &end);
    for (int32_t t = 0; t < args->rows; t++)
        memcpy(mosa_cpu_out_row(args, 0, t) + begin, mosa_cpu_in_row(args, 0, t) + begin,
               (size_t)(end - begin) * sizeof(float));
    for (int32_t g = 0; g < lora->n_groups; g++) expand_group(args, &lora->groups[g], begin, end);
}
