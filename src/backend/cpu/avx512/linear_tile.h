// Tiles of LINEAR on AVX-512 with VNNI: what the tiles of all weight types are made of.
//
// One vector holds the 16 outputs of a panel. vpdpbusd adds four products of unsigned and signed bytes to an int32
// lane, exactly; the activation bytes of a row come as a broadcast from memory. Tiles have up to eight rows, so that
// eight sums hide the latency of four cycles; with fewer rows a sum is kept in parts. KEEP pins a sum where it is
// computed, as in the AVX2 tiles.
#ifndef MOSA_BACKEND_CPU_AVX512_LINEAR_TILE_H
#define MOSA_BACKEND_CPU_AVX512_LINEAR_TILE_H

#include "backend/cpu/linear_format.h"
#include "backend/cpu/pack_internal.h"

#include <immintrin.h>

#define INLINE      static inline __attribute__((always_inline))
#define KEEP(value) __asm__("" : "+v"(value))
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

enum { PREFETCH_BYTES = 4096 };

const mosa_linear_format *mosa_avx512_linear_f32(mosa_dtype dtype);    // linear_f32.c: f32, f16, bf16
const mosa_linear_format *mosa_avx512_linear_s8_32(mosa_dtype dtype);  // linear_s8_32.c
const mosa_linear_format *mosa_avx512_linear_s8_256(mosa_dtype dtype); // linear_s8_256.c
const mosa_linear_format *mosa_avx512_linear_u8_256(mosa_dtype dtype); // linear_u8_256.c

typedef struct tile_sums {
    __m512 v[MOSA_TILE_ROWS_MAX];
} tile_sums;
typedef struct tile_ints {
    __m512i v[MOSA_TILE_ROWS_MAX];
} tile_ints;

INLINE void tile_load(const int rows, tile_sums *y, const float *acc) {
    UNROLL for (int r = 0; r < rows; r++) y->v[r] = _mm512_loadu_ps(acc + 16 * r);
}

INLINE void tile_store(const int rows, const tile_sums *y, float *acc) {
    UNROLL for (int r = 0; r < rows; r++) _mm512_storeu_ps(acc + 16 * r, y->v[r]);
}

INLINE __m512i load512(const void *at) {
    return _mm512_loadu_si512(at);
}
INLINE __m128i load128(const void *at) {
    return _mm_loadu_si128((const __m128i *)at);
}
INLINE __m512i load256_twice(const void *at) {
    return _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)at));
}

INLINE __m512i broadcast32(const void *at) {
    int32_t value;
    __builtin_memcpy(&value, at, 4);
    return _mm512_set1_epi32(value);
}

INLINE __m512 broadcast_f32(const void *at) {
    float value;
    __builtin_memcpy(&value, at, 4);
    return _mm512_set1_ps(value);
}

INLINE __m512 load_half16(const void *at) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)at));
}

// Fetches part `piece` of `pieces` of what lies PREFETCH_BYTES beyond a record of `bytes`. Every line is fetched: one
// that is missed costs as much as a dozen that are not.
INLINE void prefetch_piece(const uint8_t *record, const int bytes, const int pieces, int piece) {
    const int lines = ((bytes + 63) / 64 + pieces - 1) / pieces;
    const char *at = (const char *)record + PREFETCH_BYTES + 64 * lines * piece;
    UNROLL for (int i = 0; i < lines; i++) _mm_prefetch(at + 64 * i, _MM_HINT_NTA);
}

// `low` in each qword of rows 0-7, `high` in those of rows 8-15.
INLINE __m512i by_half(const int low, const int high) {
    return _mm512_setr_epi64(low, low, low, low, high, high, high, high);
}

// (a | b) & c and a | (b & c)
#define OR_AND(a, b, c) _mm512_ternarylogic_epi64(a, b, c, 0xa8)
#define OR_IF(a, b, c)  _mm512_ternarylogic_epi64(a, b, c, 0xf8)

// The 16 x 4 nibbles of a k4 step from its 32 bytes.
INLINE __m512i nibbles(const uint8_t *at) {
    __m512i both = _mm512_srlv_epi64(load256_twice(at), by_half(0, 4));
    return _mm512_and_si512(both, _mm512_set1_epi8(15));
}

// Moves bit plane bits of k4 step `step` (a constant 0..3 within the plane) to bit `to` of each byte; other bits are
// anything.
INLINE __m512i plane_bit(__m512i plane, const int step, const int to) {
    return _mm512_rolv_epi64(plane, by_half((64 + to - 2 * step) % 64, (63 + to - 2 * step) % 64));
}

// The same for bit pairs of step `step` (a constant 0..1).
INLINE __m512i plane_pair(__m512i plane, const int step, const int to) {
    return _mm512_rolv_epi64(plane, by_half((64 + to - 4 * step) % 64, (62 + to - 4 * step) % 64));
}

// sum of `parts` vectors that stand `rows` apart
INLINE __m512i sum_of_parts(const int rows, const int parts, const tile_ints *c, const int r) {
    __m512i sum = c->v[r];
    UNROLL for (int p = 1; p < parts; p++) sum = _mm512_add_epi32(sum, c->v[r + p * rows]);
    return sum;
}

// Names the tiles of 1..8 rows of a body: name_1 .. name_8.
#define TILES(name, body, ...)                                                                                         \
    TILE_OF(name, 1, body, __VA_ARGS__)                                                                                \
    TILE_OF(name, 2, body, __VA_ARGS__)                                                                                \
    TILE_OF(name, 3, body, __VA_ARGS__)                                                                                \
    TILE_OF(name, 4, body, __VA_ARGS__)                                                                                \
    TILE_OF(name, 5, body, __VA_ARGS__)                                                                                \
    TILE_OF(name, 6, body, __VA_ARGS__) TILE_OF(name, 7, body, __VA_ARGS__) TILE_OF(name, 8, body, __VA_ARGS__)
#define TILE_OF(name, rows, body, ...)                                                                                 \
    static void name##_##rows(const uint8_t *w, mosa_act_rows act, int64_t at, float *acc, int64_t records) {          \
        body(rows, __VA_ARGS__, w, act, at, acc, records);                                                             \
    }
#define TILE_TABLE(name)                                                                                               \
    { NULL, name##_1, name##_2, name##_3, name##_4, name##_5, name##_6, name##_7, name##_8 }

#endif
