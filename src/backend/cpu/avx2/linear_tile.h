// Tiles of LINEAR on AVX2: the inside of the product for one weight type, and what the driver needs to know of it.
//
// A tile adds to acc[rows][16] the products of `rows` activation rows with `records` consecutive records of one panel,
// by the formula of pack.h. The file of each activation layout holds its tiles; ../linear_format.c drives them.
//
// The tile bodies are written once with a constant row count and forced inline, so that every loop over rows unrolls
// and all sums stay in registers. KEEP pins a sum where it is computed: without it gcc moves all multiplications of a
// step ahead of the additions and spills half of them (measured: 41 against 22 multiply-adds per cycle).
#ifndef MOSA_BACKEND_CPU_AVX2_LINEAR_TILE_H
#define MOSA_BACKEND_CPU_AVX2_LINEAR_TILE_H

#include "backend/cpu/linear_format.h"
#include "backend/cpu/pack_internal.h"

#include <immintrin.h>

#define INLINE      static inline __attribute__((always_inline))
#define KEEP(value) __asm__("" : "+x"(value))
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

enum { PREFETCH_BYTES = 4096 };

const mosa_linear_format *mosa_avx2_linear_f32(mosa_dtype dtype);       // linear_f32.c: f32, f16, bf16
const mosa_linear_format *mosa_avx2_linear_s8_32(mosa_dtype dtype);     // linear_s8_32.c
const mosa_linear_format *mosa_avx2_linear_signed_32(mosa_dtype dtype); // linear_signed_32.c
const mosa_linear_format *mosa_avx2_linear_s8_256(mosa_dtype dtype);    // linear_s8_256.c
const mosa_linear_format *mosa_avx2_linear_u8_256(mosa_dtype dtype);    // linear_u8_256.c

typedef struct tile_sums {
    __m256 v[MOSA_TILE_ROWS_MAX][2];
} tile_sums;
typedef struct tile_ints {
    __m256i v[MOSA_TILE_ROWS_MAX][2];
} tile_ints;
typedef struct two_vectors {
    __m256i v[2];
} two_vectors; // rows 0-7 and 8-15 of a panel

INLINE void tile_load(const int rows, tile_sums *y, const float *acc) {
    UNROLL for (int r = 0; r < rows; r++) {
        y->v[r][0] = _mm256_loadu_ps(acc + 16 * r);
        y->v[r][1] = _mm256_loadu_ps(acc + 16 * r + 8);
    }
}

INLINE void tile_store(const int rows, const tile_sums *y, float *acc) {
    UNROLL for (int r = 0; r < rows; r++) {
        _mm256_storeu_ps(acc + 16 * r, y->v[r][0]);
        _mm256_storeu_ps(acc + 16 * r + 8, y->v[r][1]);
    }
}

INLINE __m256i load256(const void *at) {
    return _mm256_loadu_si256((const __m256i *)at);
}
INLINE void store256(void *at, __m256i v) {
    _mm256_storeu_si256((__m256i *)at, v);
}
INLINE __m128i load128(const void *at) {
    return _mm_loadu_si128((const __m128i *)at);
}

INLINE __m256i broadcast32(const void *at) {
    int32_t value;
    __builtin_memcpy(&value, at, 4);
    return _mm256_set1_epi32(value);
}

INLINE __m256 broadcast_f32(const void *at) {
    float value;
    __builtin_memcpy(&value, at, 4);
    return _mm256_set1_ps(value);
}

INLINE __m256 load_half8(const void *at) {
    return _mm256_cvtph_ps(load128(at));
}

INLINE void prefetch_ahead(const uint8_t *at) {
    _mm_prefetch((const char *)at + PREFETCH_BYTES, _MM_HINT_NTA);
}

// Both nibble halves of the 32 bytes of a k4 step.
INLINE two_vectors nibbles(const uint8_t *at) {
    __m256i mask = _mm256_set1_epi8(15), both = load256(at);
    return (two_vectors){{_mm256_and_si256(both, mask), _mm256_and_si256(_mm256_srli_epi16(both, 4), mask)}};
}

// Puts the fifth bits of k4 step `step` (a constant 0..3 within its plane) into levels of four bits.
INLINE two_vectors with_fifth_bits(two_vectors w, __m256i plane, const int step) {
    __m256i bit = _mm256_set1_epi8(16);
    __m256i b0 = step < 2 ? _mm256_slli_epi16(plane, 4 - 2 * step) : _mm256_srli_epi16(plane, 2 * step - 4);
    __m256i b1 = step < 2 ? _mm256_slli_epi16(plane, 3 - 2 * step) : _mm256_srli_epi16(plane, 2 * step - 3);
    w.v[0] = _mm256_or_si256(w.v[0], _mm256_and_si256(b0, bit));
    w.v[1] = _mm256_or_si256(w.v[1], _mm256_and_si256(b1, bit));
    return w;
}

// Two bits of k4 step `step` (a constant 0..1 within its plane) as levels 0..3.
INLINE two_vectors bit_pairs(__m256i plane, const int step) {
    __m256i mask = _mm256_set1_epi8(3);
    return (two_vectors){{_mm256_and_si256(_mm256_srli_epi16(plane, 4 * step), mask),
                          _mm256_and_si256(_mm256_srli_epi16(plane, 4 * step + 2), mask)}};
}

INLINE two_vectors load_two(const uint8_t *at) {
    return (two_vectors){{load256(at), load256(at + 32)}};
}

INLINE void store_two(uint8_t *at, two_vectors w) {
    store256(at, w.v[0]);
    store256(at + 32, w.v[1]);
}

// One k4 step: sums (int16) of unsigned weight bytes with signed activations, four k as two pairs.
INLINE void step_weight_unsigned(const int rows, tile_ints *c, two_vectors w, mosa_act_rows act, int64_t at,
                                 const int first) {
    UNROLL for (int r = 0; r < rows; r++) {
        __m256i a = broadcast32(act[r] + at);
        __m256i low = _mm256_maddubs_epi16(w.v[0], a), high = _mm256_maddubs_epi16(w.v[1], a);
        c->v[r][0] = first ? low : _mm256_add_epi16(c->v[r][0], low);
        c->v[r][1] = first ? high : _mm256_add_epi16(c->v[r][1], high);
        KEEP(c->v[r][0]);
        KEEP(c->v[r][1]);
    }
}

// The same with signed weights and unsigned activations.
INLINE void step_weight_signed(const int rows, tile_ints *c, two_vectors w, mosa_act_rows act, int64_t at,
                               const int first) {
    UNROLL for (int r = 0; r < rows; r++) {
        __m256i a = broadcast32(act[r] + at);
        __m256i low = _mm256_maddubs_epi16(a, w.v[0]), high = _mm256_maddubs_epi16(a, w.v[1]);
        c->v[r][0] = first ? low : _mm256_add_epi16(c->v[r][0], low);
        c->v[r][1] = first ? high : _mm256_add_epi16(c->v[r][1], high);
        KEEP(c->v[r][0]);
        KEEP(c->v[r][1]);
    }
}

// sum (int32) += c (int16 pairs) * scale (int16 pairs)
INLINE void add_scaled(const int rows, tile_ints *sum, const tile_ints *c, two_vectors scale) {
    UNROLL for (int r = 0; r < rows; r++) {
        sum->v[r][0] = _mm256_add_epi32(sum->v[r][0], _mm256_madd_epi16(c->v[r][0], scale.v[0]));
        sum->v[r][1] = _mm256_add_epi32(sum->v[r][1], _mm256_madd_epi16(c->v[r][1], scale.v[1]));
    }
}

// y = fma(d, da * (float)sum, y)
INLINE void add_product(const int rows, tile_sums *y, const tile_ints *sum, __m256 d0, __m256 d1, mosa_act_rows act,
                        int64_t at) {
    UNROLL for (int r = 0; r < rows; r++) {
        __m256 scale = broadcast_f32(act[r] + at);
        y->v[r][0] = _mm256_fmadd_ps(d0, _mm256_mul_ps(scale, _mm256_cvtepi32_ps(sum->v[r][0])), y->v[r][0]);
        y->v[r][1] = _mm256_fmadd_ps(d1, _mm256_mul_ps(scale, _mm256_cvtepi32_ps(sum->v[r][1])), y->v[r][1]);
    }
}

// Names the tiles of 1..4 rows of a body: name_1 .. name_4.
#define TILES_1_TO_4(name, body, ...)                                                                                  \
    TILE_OF(name, 1, body, __VA_ARGS__)                                                                                \
    TILE_OF(name, 2, body, __VA_ARGS__) TILE_OF(name, 3, body, __VA_ARGS__) TILE_OF(name, 4, body, __VA_ARGS__)
#define TILE_OF(name, rows, body, ...)                                                                                 \
    static void name##_##rows(const uint8_t *w, mosa_act_rows act, int64_t at, float *acc, int64_t records) {          \
        body(rows, __VA_ARGS__, w, act, at, acc, records);                                                             \
    }
#define TILE_TABLE_4(name)                                                                                             \
    { NULL, name##_1, name##_2, name##_3, name##_4 }

#endif
