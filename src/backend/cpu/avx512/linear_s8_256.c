// LINEAR tiles for super-blocks of 256 with unsigned levels, integer scales and integer minima: q4_k, q5_k, q2_k.
//
// The sum of a group meets its scale by vpmulld; minima meet the activations' sums two groups at a time, by vpdpwssd.
#include "backend/cpu/avx512/linear_tile.h"

// Unpacked record: u8 [64 k4][16][4], then what follows the levels in the panel record.
enum { UNPACKED_BYTES = 4096 + 320 };

// Where the parts of a record lie, and how many groups it has.
typedef struct record_parts {
    int levels, d, bytes, groups;
} record_parts;

INLINE record_parts parts_of(const mosa_dtype dtype) {
    if (dtype == MOSA_Q4_K) return (record_parts){MOSA_PANEL_Q4_K_SCALE, MOSA_PANEL_Q4_K_D, MOSA_PANEL_Q4_K, 8};
    if (dtype == MOSA_Q5_K) return (record_parts){MOSA_PANEL_Q5_K_SCALE, MOSA_PANEL_Q5_K_D, MOSA_PANEL_Q5_K, 8};
    return (record_parts){MOSA_PANEL_Q2_K_SCALE, MOSA_PANEL_Q2_K_D, MOSA_PANEL_Q2_K, 16};
}

// Levels of k4 step `k` (a constant) of group g.
INLINE __m512i panel_levels(const mosa_dtype dtype, const uint8_t *w, int g, const int k) {
    if (dtype == MOSA_Q2_K) {
        __m512i plane = load256_twice(w + 64 * g + k / 2 * 32);
        return _mm512_and_si512(plane_pair(plane, k % 2, 0), _mm512_set1_epi8(3));
    }
    __m512i levels = nibbles(w + 256 * g + 32 * k);
    if (dtype == MOSA_Q4_K) return levels;
    __m512i plane = load256_twice(w + MOSA_PANEL_Q5_K_HIGH + 64 * g + k / 4 * 32);
    return OR_IF(levels, plane_bit(plane, k % 4, 4), _mm512_set1_epi8(16));
}

INLINE __m512i group_scale(const mosa_dtype dtype, const uint8_t *w, int g) {
    int at = dtype == MOSA_Q4_K   ? MOSA_PANEL_Q4_K_SCALE
             : dtype == MOSA_Q5_K ? MOSA_PANEL_Q5_K_SCALE
                                  : MOSA_PANEL_Q2_K_SCALE;
    __m128i scale = load128(w + at + 16 * g);
    if (dtype == MOSA_Q2_K) scale = _mm_and_si128(scale, _mm_set1_epi8(15));
    return _mm512_cvtepu8_epi32(scale);
}

// Minima of groups 2p and 2p + 1 as int16 pairs.
INLINE __m512i min_pairs(const mosa_dtype dtype, const uint8_t *w, int p) {
    if (dtype != MOSA_Q2_K) {
        int at = dtype == MOSA_Q4_K ? MOSA_PANEL_Q4_K_MIN : MOSA_PANEL_Q5_K_MIN;
        return _mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i *)(w + at + 32 * p)));
    }
    const uint8_t *both = w + MOSA_PANEL_Q2_K_SCALE + 32 * p;
    __m512i even = _mm512_cvtepu8_epi32(load128(both)), odd = _mm512_cvtepu8_epi32(load128(both + 16));
    even = _mm512_srli_epi32(even, 4);
    return _mm512_or_si512(even, _mm512_slli_epi32(_mm512_srli_epi32(odd, 4), 16));
}

// sum += scale * (levels * activations) of group g.
INLINE void add_group(const int rows, const mosa_dtype dtype, const int direct, __m512i scale, tile_ints *sum,
                      const uint8_t *w, int g, mosa_act_rows act, int64_t at) {
    const int steps = dtype == MOSA_Q2_K ? 4 : 8, parts = rows <= 2 ? 4 : rows <= 4 ? 2 : 1;
    tile_ints c;
    UNROLL for (int i = 0; i < rows * parts; i++) c.v[i] = _mm512_setzero_si512();
    UNROLL for (int k = 0; k < steps; k++) {
        __m512i levels = direct ? panel_levels(dtype, w, g, k) : load512(w + 64 * steps * g + 64 * k);
        UNROLL for (int r = 0; r < rows; r++) {
            __m512i *part = &c.v[r + k % parts * rows];
            *part = _mm512_dpbusd_epi32(*part, levels, broadcast32(act[r] + at + 4 * steps * g + 4 * k));
            KEEP(*part);
        }
    }
    UNROLL for (int r = 0; r < rows; r++) sum->v[r] =
        _mm512_add_epi32(sum->v[r], _mm512_mullo_epi32(sum_of_parts(rows, parts, &c, r), scale));
}

// sum of min * (sum of activations) over the groups of a record
INLINE void dot_mins(const int rows, const mosa_dtype dtype, tile_ints *mins, const uint8_t *w, mosa_act_rows act,
                     int64_t at) {
    at += dtype == MOSA_Q2_K ? offsetof(mosa_act_s8_256, sum16) : offsetof(mosa_act_s8_256, sum32);
    UNROLL for (int r = 0; r < rows; r++) mins->v[r] = _mm512_setzero_si512();
    UNROLL for (int p = 0; p < parts_of(dtype).groups / 2; p++) {
        __m512i pairs = min_pairs(dtype, w, p);
        UNROLL for (int r = 0; r < rows; r++) {
            mins->v[r] = _mm512_dpwssd_epi32(mins->v[r], pairs, broadcast32(act[r] + at + 4 * p));
            KEEP(mins->v[r]);
        }
    }
}

// y = fma(da, fma(d, (float)sum, -(dmin * (float)mins)), y)
INLINE void add_record(const int rows, tile_sums *y, const tile_ints *sum, const tile_ints *mins, const uint8_t *d,
                       mosa_act_rows act, int64_t at) {
    __m512 scale = load_half16(d), min = load_half16(d + 32);
    UNROLL for (int r = 0; r < rows; r++) {
        __m512 offset = _mm512_mul_ps(min, _mm512_cvtepi32_ps(mins->v[r]));
        __m512 dot = _mm512_fmsub_ps(scale, _mm512_cvtepi32_ps(sum->v[r]), offset);
        y->v[r] = _mm512_fmadd_ps(broadcast_f32(act[r] + at + offsetof(mosa_act_s8_256, d)), dot, y->v[r]);
    }
}

INLINE void body_k(const int rows, const mosa_dtype dtype, const int direct, const uint8_t *w, mosa_act_rows act,
                   int64_t at, float *acc, int64_t records) {
    const record_parts part = parts_of(dtype);
    tile_sums y;
    tile_load(rows, &y, acc);
    for (; records > 0; records--) {
        tile_ints sum, mins;
        const uint8_t *rest = direct ? w : w + 4096 - part.levels; // what is not levels, at its panel offsets
        UNROLL for (int r = 0; r < rows; r++) sum.v[r] = _mm512_setzero_si512();
        for (int g = 0; g < part.groups; g++) {
            if (direct) prefetch_piece(w, part.bytes, part.groups, g);
            add_group(rows, dtype, direct, group_scale(dtype, rest, g), &sum, w, g, act, at);
        }
        dot_mins(rows, dtype, &mins, rest, act, at);
        add_record(rows, &y, &sum, &mins, rest + part.d, act, at);
        w += direct ? part.bytes : UNPACKED_BYTES;
        at += sizeof(mosa_act_s8_256);
    }
    tile_store(rows, &y, acc);
}

INLINE void unpack_k(const mosa_dtype dtype, const uint8_t *record, uint8_t *out, int64_t records) {
    const record_parts part = parts_of(dtype);
    const int steps = 64 / part.groups;
    for (; records > 0; records--, record += part.bytes, out += UNPACKED_BYTES) {
        for (int g = 0; g < part.groups; g++)
            UNROLL for (int k = 0; k < steps; k++)
                _mm512_storeu_si512(out + 64 * (steps * g + k), panel_levels(dtype, record, g, k));
        __builtin_memcpy(out + 4096, record + part.levels, (size_t)(part.bytes - part.levels));
    }
}

// Beyond these rows a type is unpacked to L1 first; for q4_k that never pays.
enum { DIRECT_ROWS = 16 };

#define UNPACKING(name, dtype)                                                                                         \
    TILES(name##_unpacked, body_k, dtype, 0)                                                                           \
    static void name##_unpack(const uint8_t *record, uint8_t *out, int64_t records) {                                  \
        unpack_k(dtype, record, out, records);                                                                         \
    }

TILES(q4_k_direct, body_k, MOSA_Q4_K, 1)
TILES(q5_k_direct, body_k, MOSA_Q5_K, 1)
TILES(q2_k_direct, body_k, MOSA_Q2_K, 1)
UNPACKING(q5_k, MOSA_Q5_K)
UNPACKING(q2_k, MOSA_Q2_K)

#define COMMON(name, bytes)                                                                                            \
    .record_k = 256, .record_bytes = bytes, .act_bytes = sizeof(mosa_act_s8_256), .tile_rows = 8, .direct_chunk = 4,   \
    .direct = TILE_TABLE(name##_direct)
#define UNPACKED(name)                                                                                                 \
    .direct_rows = DIRECT_ROWS, .unpacked_bytes = UNPACKED_BYTES, .unpacked_chunk = 1, .unpack = name##_unpack,        \
    .unpacked = TILE_TABLE(name##_unpacked)

static const mosa_linear_format q4_k_format = {COMMON(q4_k, MOSA_PANEL_Q4_K), .direct_rows = INT32_MAX};
static const mosa_linear_format q5_k_format = {COMMON(q5_k, MOSA_PANEL_Q5_K), UNPACKED(q5_k)};
static const mosa_linear_format q2_k_format = {COMMON(q2_k, MOSA_PANEL_Q2_K), UNPACKED(q2_k)};

const mosa_linear_format *mosa_avx512_linear_s8_256(mosa_dtype dtype) {
    return dtype == MOSA_Q4_K   ? &q4_k_format
           : dtype == MOSA_Q5_K ? &q5_k_format
           : dtype == MOSA_Q2_K ? &q2_k_format
                                : NULL;
}
