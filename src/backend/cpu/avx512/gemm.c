// GEMM tiles on AVX-512: up to 12 rows by 32 columns in 24 registers. A step of k loads two vectors of the panel once
// and broadcasts one element of each row for two fused multiply-adds.
#include "backend/cpu/attention_grad.h"
#include "backend/cpu/gemm_isa.h"

#include "backend/cpu/avx512/avx512.h"
#include "backend/cpu/avx512/linear_tile.h"
#include "tensor/half.h"
#include "tensor/quant.h"

enum { ROWS = 12, PANEL = 32 };

// Mask of the first n of 16 lanes; any n.
INLINE __mmask16 first16(int n) {
    return (__mmask16)(n >= 16 ? 0xffff : n > 0 ? (1 << n) - 1 : 0);
}

INLINE void tile_body(const int rows, const bool by_columns, const mosa_gemm_tile *tile) {
    const __mmask16 m0 = first16(tile->columns), m1 = first16(tile->columns - 16);
    __m512 y[ROWS][2];
    UNROLL for (int r = 0; r < rows; r++) {
        const float *c = tile->c + r * tile->ldc;
        y[r][0] = tile->add ? _mm512_maskz_loadu_ps(m0, c) : _mm512_setzero_ps();
        y[r][1] = tile->add ? _mm512_maskz_loadu_ps(m1, c + 16) : _mm512_setzero_ps();
    }
    const float *a = tile->a, *b = tile->b;
    const int64_t lda = tile->lda;
    for (int64_t p = 0; p < tile->k; p++) {
        __m512 b0 = _mm512_loadu_ps(b), b1 = _mm512_loadu_ps(b + 16);
        UNROLL for (int r = 0; r < rows; r++) {
            __m512 x = _mm512_set1_ps(by_columns ? a[r] : a[r * lda]);
            y[r][0] = _mm512_fmadd_ps(x, b0, y[r][0]);
            y[r][1] = _mm512_fmadd_ps(x, b1, y[r][1]);
        }
        b += PANEL;
        a += by_columns ? ROWS : 1;
    }
    if (tile->bias) {
        __m512 b0 = _mm512_maskz_loadu_ps(m0, tile->bias), b1 = _mm512_maskz_loadu_ps(m1, tile->bias + 16);
        UNROLL for (int r = 0; r < rows; r++) {
            y[r][0] = _mm512_add_ps(y[r][0], b0);
            y[r][1] = _mm512_add_ps(y[r][1], b1);
        }
    }
    UNROLL for (int r = 0; r < rows; r++) {
        float *c = tile->c + r * tile->ldc;
        _mm512_mask_storeu_ps(c, m0, y[r][0]);
        _mm512_mask_storeu_ps(c + 16, m1, y[r][1]);
    }
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
TILE(3) TILE(4) TILE(5) TILE(6) TILE(7) TILE(8) TILE(9) TILE(10) TILE(11) TILE(12)

    static void pack(const float *b, int64_t stride, int64_t k, int columns, float alpha, float *panel) {
    const __mmask16 m0 = first16(columns), m1 = first16(columns - 16);
    const __m512 scale = _mm512_set1_ps(alpha);
    for (int64_t p = 0; p < k; p++, b += stride, panel += PANEL) {
        _mm512_storeu_ps(panel, _mm512_mul_ps(scale, _mm512_maskz_loadu_ps(m0, b)));
        _mm512_storeu_ps(panel + 16, _mm512_mul_ps(scale, _mm512_maskz_loadu_ps(m1, b + 16)));
    }
}

// Lane i of the result is rows[4 * i]'s elements [at, at + 4).
INLINE __m512 four_rows(const float *const *rows, int64_t at) {
    __m512 v = _mm512_castps128_ps512(_mm_loadu_ps(rows[0] + at));
    v = _mm512_insertf32x4(v, _mm_loadu_ps(rows[4] + at), 1);
    v = _mm512_insertf32x4(v, _mm_loadu_ps(rows[8] + at), 2);
    return _mm512_insertf32x4(v, _mm_loadu_ps(rows[12] + at), 3);
}

// Four elements of 16 rows, transposed.
INLINE void transpose4(const float *const *rows, int64_t at, __m512 scale, float *panel) {
    __m512 v[4], t[4];
    UNROLL for (int r = 0; r < 4; r++) v[r] = _mm512_mul_ps(scale, four_rows(rows + r, at));
    t[0] = _mm512_unpacklo_ps(v[0], v[1]);
    t[1] = _mm512_unpacklo_ps(v[2], v[3]);
    t[2] = _mm512_unpackhi_ps(v[0], v[1]);
    t[3] = _mm512_unpackhi_ps(v[2], v[3]);
    UNROLL for (int i = 0; i < 2; i++) {
        __m512d low = _mm512_castps_pd(t[2 * i]), high = _mm512_castps_pd(t[2 * i + 1]);
        _mm512_storeu_ps(panel + (2 * i) * PANEL, _mm512_castpd_ps(_mm512_unpacklo_pd(low, high)));
        _mm512_storeu_ps(panel + (2 * i + 1) * PANEL, _mm512_castpd_ps(_mm512_unpackhi_pd(low, high)));
    }
}

static void pack_transposed(const float *b, int64_t stride, int64_t k, int columns, float alpha, float *panel) {
    const __m512 scale = _mm512_set1_ps(alpha);
    int64_t whole = k / 4 * 4;
    for (int half = 0; half < 2; half++, panel += 16) {
        int n = columns - 16 * half < 16 ? columns - 16 * half : 16;
        if (n <= 0) {
            for (int64_t p = 0; p < k; p++) _mm512_storeu_ps(panel + p * PANEL, _mm512_setzero_ps());
            continue;
        }
        const float *rows[16];
        for (int r = 0; r < 16; r++) rows[r] = b + (16 * half + (r < n ? r : 0)) * stride;
        for (int64_t p = 0; p < whole; p += 4) transpose4(rows, p, scale, panel + p * PANEL);
        for (int64_t p = whole; p < k; p++)
            for (int r = 0; r < 16; r++) panel[p * PANEL + r] = alpha * rows[r][p];
        for (int64_t p = 0; n < 16 && p < k; p++) // rows beyond the last were read as the first
            for (int r = n; r < 16; r++) panel[p * PANEL + r] = 0;
    }
}

static void pack_columns(const float *a, int64_t lda, int64_t k, int rows, float *tile) {
    const __mmask16 mask = first16(rows);
    for (int64_t p = 0; p < k; p++, a += lda, tile += ROWS) _mm512_storeu_ps(tile, _mm512_maskz_loadu_ps(mask, a));
}

static void decode_q8_0(const mosa_block_q8_0 *block, float *out, int64_t n) {
    for (const float *end = out + n; out < end; out += MOSA_QK, block++) {
        __m512 d = _mm512_set1_ps(mosa_f16_to_f32(block->d));
        for (int i = 0; i < MOSA_QK; i += 16) {
            __m512i q = _mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)(block->qs + i)));
            _mm512_storeu_ps(out + i, _mm512_mul_ps(d, _mm512_cvtepi32_ps(q)));
        }
    }
}

// The most common type by itself, the others by the reference.
static void decode(mosa_dtype dtype, const void *blocks, float *out, int64_t n) {
    if (dtype == MOSA_Q8_0 && (uintptr_t)blocks % _Alignof(mosa_block_q8_0) == 0)
        decode_q8_0(blocks, out, n);
    else
        mosa_dtype_traits_of(dtype)->to_f32(blocks, out, n);
}

#define TABLE(name)                                                                                                    \
    {                                                                                                                  \
        NULL, name##_1, name##_2, name##_3, name##_4, name##_5, name##_6, name##_7, name##_8, name##_9, name##_10,     \
            name##_11, name##_12                                                                                       \
    }

void mosa_avx512_gemm(const mosa_gemm *g, int thread, int n_threads) {
    static const mosa_gemm_isa isa = {
        .tile_rows = ROWS,
        .panel = PANEL,
        .block_k = 384,
        .block_n = 256,
        .block_k_sums = 256,
        .block_n_sums = 384,
        .rows = TABLE(rows),
        .columns = TABLE(columns),
        .pack = pack,
        .pack_transposed = pack_transposed,
        .pack_columns = pack_columns,
        .decode = decode,
    };
    mosa_cpu_gemm(&isa, g, thread, n_threads);
}

void mosa_avx512_linear_dx(const mosa_cpu_args *args, int thread, int n_threads) {
    mosa_cpu_linear_dx(args, thread, n_threads, mosa_avx512_gemm);
}

void mosa_avx512_linear_dw(const mosa_cpu_args *args, int thread, int n_threads) {
    mosa_cpu_linear_dw(args, thread, n_threads, mosa_avx512_gemm);
}

void mosa_avx512_lora_add(const mosa_cpu_args *args, int thread, int n_threads) {
    mosa_cpu_lora_add(args, thread, n_threads, mosa_avx512_gemm);
}

void mosa_avx512_attention_dx(const mosa_cpu_args *args, int thread, int n_threads) {
    static const mosa_attention_grad_isa isa = {mosa_avx512_gemm, mosa_avx2_attention_slopes};
    mosa_cpu_attention_dx(args, thread, n_threads, &isa);
}
