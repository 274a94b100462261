// QUANTIZE_ROWS on AVX2: the same levels and scales as ref/quantize_rows.c, eight elements at a time.
#include "backend/cpu/linear.h"
#include "backend/cpu/pack_internal.h"

#include <assert.h>
#include <immintrin.h>
#include <math.h>

static uint32_t largest_lane(__m256i v) {
    __m128i m = _mm_max_epu32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0x4e));
    m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0xb1));
    return (uint32_t)_mm_cvtsi128_si32(m);
}

// What n (a multiple of 32) elements are multiplied by to give levels; *scale is what levels are multiplied by. A group
// that is not finite gets the factor 0 and the scale NaN.
static float level_factor(const float *x, int n, float *scale) {
    __m256i most = _mm256_setzero_si256(), magnitude = _mm256_set1_epi32(0x7fffffff);
    for (int i = 0; i < n; i += 8)
        most = _mm256_max_epu32(most, _mm256_and_si256(_mm256_loadu_si256((const __m256i *)(x + i)), magnitude));
    uint32_t bits = largest_lane(most);
    bool finite = bits < 0x7f800000u, zero = bits < 0x0d800000u; // 2^-100
    float amax;
    __builtin_memcpy(&amax, &bits, sizeof amax);
    *scale = !finite ? NAN : zero ? 0.0f : amax * (1.0f / 127.0f);
    return finite && !zero ? 127.0f / amax : 0.0f;
}

// Eight levels. The product with a zero factor may be NaN; those lanes are cleared before they become integers.
static inline __m256i levels8(const float *x, __m256 factor) {
    __m256 used = _mm256_cmp_ps(factor, _mm256_setzero_ps(), _CMP_NEQ_OQ);
    return _mm256_cvtps_epi32(_mm256_and_ps(_mm256_mul_ps(_mm256_loadu_ps(x), factor), used));
}

static inline int32_t sum_lanes(__m256i v) {
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1));
    return _mm_cvtsi128_si32(s);
}

typedef struct levels32 {
    __m256i bytes; // in order
    int32_t sum16[2];
} levels32;

static inline levels32 quantize32(const float *x, __m256 factor) {
    __m256i a = levels8(x, factor), b = levels8(x + 8, factor), c = levels8(x + 16, factor),
            d = levels8(x + 24, factor);
    levels32 out = {.sum16 = {sum_lanes(_mm256_add_epi32(a, b)), sum_lanes(_mm256_add_epi32(c, d))}};
    __m256i packed = _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
    out.bytes = _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    return out;
}

static void quantize_s8_32(const float *x, void *out) {
    mosa_act_s8_32 *to = out;
    levels32 levels = quantize32(x, _mm256_set1_ps(level_factor(x, 32, &to->d)));
    _mm256_storeu_si256((__m256i *)to->q, levels.bytes);
    to->sum = levels.sum16[0] + levels.sum16[1];
}

static void quantize_s8_256(const float *x, void *out) {
    mosa_act_s8_256 *to = out;
    __m256 factor = _mm256_set1_ps(level_factor(x, 256, &to->d));
    for (int g = 0; g < 8; g++) {
        levels32 levels = quantize32(x + 32 * g, factor);
        _mm256_storeu_si256((__m256i *)(to->q + 32 * g), levels.bytes);
        to->sum16[2 * g] = (int16_t)levels.sum16[0];
        to->sum16[2 * g + 1] = (int16_t)levels.sum16[1];
        to->sum32[g] = (int16_t)(levels.sum16[0] + levels.sum16[1]);
    }
}

static void quantize_u8_256(const float *x, void *out) {
    mosa_act_u8_256 *to = out;
    __m256 factor = _mm256_set1_ps(level_factor(x, 256, &to->d));
    for (int g = 0; g < 8; g++) {
        levels32 levels = quantize32(x + 32 * g, factor);
        _mm256_storeu_si256((__m256i *)(to->q + 32 * g), _mm256_xor_si256(levels.bytes, _mm256_set1_epi8(-128)));
    }
}

void mosa_avx2_quantize_rows(const mosa_cpu_args *args, int thread, int n_threads) {
    static const struct {
        int len;
        void (*quantize)(const float *x, void *out);
    } layouts[MOSA_ACT_LAYOUTS] = {
        [MOSA_ACT_S8_32] = {32, quantize_s8_32},
        [MOSA_ACT_S8_256] = {256, quantize_s8_256},
        [MOSA_ACT_U8_256] = {256, quantize_u8_256},
    };
    int layout = args->node->attrs.quantize.layout;
    assert(layout >= 0 && layout < MOSA_ACT_LAYOUTS);
    int len = layouts[layout].len;
    int64_t records = mosa_cpu_columns(args, 0) / len, record_bytes = mosa_cpu_act_row_bytes(layout, len), begin, end;
    mosa_cpu_share(args->rows, 1, thread, n_threads, &begin, &end); // a rowwise op: kernel.h
    for (int64_t row = begin; row < end; row++) {
        const float *x = mosa_cpu_in_row(args, 0, row);
        char *out = (char *)args->out[0] + row * args->out_stride[0];
        for (int64_t i = 0; i < records; i++) layouts[layout].quantize(x + i * len, out + i * record_bytes);
    }
}
