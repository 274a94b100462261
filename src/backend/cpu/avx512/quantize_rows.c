// QUANTIZE_ROWS on AVX-512: the same levels and scales as ref/quantize_rows.c, 16 elements at a time.
#include "backend/cpu/linear.h"
#include "backend/cpu/pack_internal.h"

#include <assert.h>
#include <immintrin.h>
#include <math.h>

// What n (a multiple of 32) elements are multiplied by to give levels; *scale is what levels are multiplied by. A group
// that is not finite gets the factor 0 and the scale NaN.
static inline float level_factor(const float *x, int n, float *scale) {
    __m512i most[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()}, magnitude = _mm512_set1_epi32(0x7fffffff);
    for (int i = 0; i < n; i += 32)
        for (int j = 0; j < 2; j++)
            most[j] = _mm512_max_epu32(most[j], _mm512_and_si512(_mm512_loadu_si512(x + i + 16 * j), magnitude));
    uint32_t bits = _mm512_reduce_max_epu32(_mm512_max_epu32(most[0], most[1]));
    bool finite = bits < 0x7f800000u, zero = bits < 0x0d800000u; // 2^-100
    float amax;
    __builtin_memcpy(&amax, &bits, sizeof amax);
    *scale = !finite ? NAN : zero ? 0.0f : amax * (1.0f / 127.0f);
    return finite && !zero ? 127.0f / amax : 0.0f;
}

// 16 levels. The product with a zero factor may be NaN; those lanes are never taken.
static inline __m128i levels16(const float *x, __m512 factor, __mmask16 used) {
    return _mm512_cvtsepi32_epi8(_mm512_maskz_cvtps_epi32(used, _mm512_mul_ps(_mm512_loadu_ps(x), factor)));
}

// 64 levels (or 32, twice), in order.
static inline __m512i levels64(const float *x, int second, __m512 factor, __mmask16 used) {
    __m256i low = _mm256_set_m128i(levels16(x + 16, factor, used), levels16(x, factor, used));
    x += second;
    __m256i high = _mm256_set_m128i(levels16(x + 16, factor, used), levels16(x, factor, used));
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

static inline __mmask16 mask_of(float factor) {
    return factor > 0 ? 0xffff : 0;
}

// Sums of four consecutive bytes each, as 16 int32.
static inline __m512i sums_of_four(__m512i bytes) {
    return _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_set1_epi8(1), bytes);
}

static void quantize_s8_32(const float *x, void *out) {
    mosa_act_s8_32 *to = out;
    float factor = level_factor(x, 32, &to->d);
    __m256i levels = _mm512_castsi512_si256(levels64(x, 0, _mm512_set1_ps(factor), mask_of(factor)));
    _mm256_storeu_si256((__m256i *)to->q, levels);
    to->sum = _mm512_reduce_add_epi32(sums_of_four(_mm512_zextsi256_si512(levels)));
}

static void quantize_s8_256(const float *x, void *out) {
    mosa_act_s8_256 *to = out;
    float factor = level_factor(x, 256, &to->d);
    for (int g = 0; g < 4; g++) { // 64 elements: four sums of 16, two of 32
        __m512i levels = levels64(x + 64 * g, 32, _mm512_set1_ps(factor), mask_of(factor));
        _mm512_storeu_si512(to->q + 64 * g, levels);
        __m512i sum = sums_of_four(levels); // lanes 4i..4i+3 make sum16 i
        sum = _mm512_add_epi32(sum, _mm512_shuffle_epi32(sum, _MM_PERM_CDAB));
        sum = _mm512_add_epi32(sum, _mm512_shuffle_epi32(sum, _MM_PERM_BADC));
        int32_t lane[16];
        _mm512_storeu_si512(lane, sum);
        for (int i = 0; i < 4; i++) to->sum16[4 * g + i] = (int16_t)lane[4 * i];
        for (int i = 0; i < 2; i++) to->sum32[2 * g + i] = (int16_t)(lane[8 * i] + lane[8 * i + 4]);
    }
}

static void quantize_u8_256(const float *x, void *out) {
    mosa_act_u8_256 *to = out;
    float factor = level_factor(x, 256, &to->d);
    for (int g = 0; g < 4; g++) {
        __m512i levels = levels64(x + 64 * g, 32, _mm512_set1_ps(factor), mask_of(factor));
        _mm512_storeu_si512(to->q + 64 * g, _mm512_xor_si512(levels, _mm512_set1_epi8(-128)));
    }
}

void mosa_avx512_quantize_rows(const mosa_cpu_args *args, int thread, int n_threads) {
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
