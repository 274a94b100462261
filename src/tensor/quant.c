// Quantisers: f32 to the block formats that `mosa convert` and quantise-at-load write.
//
// q8_0 follows the format's reference to the bit. The others try a fixed list of scales near the obvious one, solve
// each for the scale (and offset) of least squared error, and keep the best; block scales are then rounded as stored
// and the elements quantised against the rounded ones. Sums run over eight lanes in a fixed order, so results do not
// depend on the compiler's vector width.
// Inputs: finite, magnitude at most 65504 (the largest half float); the caller checks.
#include "tensor/quant.h"

#include "tensor/half.h"

#include <math.h>

enum { LANES = 8, SEARCH_STEPS = 9 };

// Nearest integer, ties to even, for |v| < 2^22: adding 1.5 * 2^23 leaves the integer in the low mantissa bits.
static inline int nearest(float v) {
    return (int)(mosa_f32_bits(v + 12582912.0f) & 0x7fffffu) - 0x400000;
}

// Nearest level; clamped first, so that v may be of any size.
static inline int level(float v, int low, int high) {
    v = v > (float)low ? v : (float)low;
    v = v < (float)high ? v : (float)high;
    return nearest(v);
}

static inline float sum_lanes(const float lane[LANES]) {
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

// 1/v, or 0 where that is no finite number: a block that small decodes to zero.
static inline float inverse_or_zero(float v) {
    float inverse = 1.0f / v;
    return isfinite(inverse) ? inverse : 0.0f;
}

static float largest_magnitude(const float *x, int n) { // signed
    float largest = 0;
    for (int i = 0; i < n; i++)
        if (fabsf(x[i]) > fabsf(largest)) largest = x[i];
    return largest;
}

void mosa_quant_q8_0(const float *in, void *blocks, int64_t n) {
    for (unsigned char *at = blocks; n >= MOSA_QK; n -= MOSA_QK, in += MOSA_QK, at += sizeof(mosa_block_q8_0)) {
        mosa_block_q8_0 block;
        float d = fabsf(largest_magnitude(in, MOSA_QK)) / 127.0f;
        float inverse = inverse_or_zero(d);
        block.d = mosa_f16_from_f32(d);
        for (int j = 0; j < MOSA_QK; j++) block.qs[j] = (int8_t)roundf(in[j] * inverse);
        memcpy(at, &block, sizeof block);
    }
}

// Scale s of least squared error for x[i] = s * q[i], q in [-levels, levels - 1], among grids near the one whose end
// meets the largest element. Maximises (sum xq)^2 / (sum qq), which is what the best s takes off the error.
static float search_symmetric(const float *x, int n, int levels) {
    float largest = largest_magnitude(x, n), best_scale = 0, best_gain = 0;
    for (int step = -SEARCH_STEPS; step <= SEARCH_STEPS; step++) {
        float inverse = -((float)levels + 0.1f * (float)step) * inverse_or_zero(largest);
        float xq[LANES] = {0};
        int qq = 0;
        for (int i = 0; i < n; i += LANES) {
            for (int k = 0; k < LANES; k++) {
                int q = level(x[i + k] * inverse, -levels, levels - 1);
                xq[k] += x[i + k] * (float)q;
                qq += q * q;
            }
        }
        float dot = sum_lanes(xq);
        if (qq == 0 || dot * dot / (float)qq <= best_gain) continue;
        best_gain = dot * dot / (float)qq;
        best_scale = dot / (float)qq;
    }
    return best_scale;
}

void mosa_quant_q4_0(const float *in, void *blocks, int64_t n) {
    for (unsigned char *at = blocks; n >= MOSA_QK; n -= MOSA_QK, in += MOSA_QK, at += sizeof(mosa_block_q4_0)) {
        mosa_block_q4_0 block;
        block.d = mosa_f16_from_f32(search_symmetric(in, MOSA_QK, 8));
        float inverse = inverse_or_zero(mosa_f16_to_f32(block.d));
        for (int j = 0; j < 16; j++) {
            int low = level(in[j] * inverse, -8, 7) + 8, high = level(in[j + 16] * inverse, -8, 7) + 8;
            block.qs[j] = (uint8_t)(low | high << 4);
        }
        memcpy(at, &block, sizeof block);
    }
}

// Squared error of 16 or 32 elements against y = scale * q - min with q in [low, high] rounded to nearest.
static float error_of(const float *x, int n, float scale, float min, int low, int high) {
    float inverse = inverse_or_zero(scale), error[LANES] = {0};
    for (int i = 0; i < n; i += LANES) {
        for (int k = 0; k < LANES; k++) {
            int q = level((x[i + k] + min) * inverse, low, high);
            float miss = x[i + k] - (scale * (float)q - min);
            error[k] += miss * miss;
        }
    }
    return sum_lanes(error);
}

typedef struct affine { // y = scale * q - min, both >= 0
    float scale, min;
} affine;

typedef struct group_sums { // over one group: elements, and elements against one candidate's levels
    double n, x, q, qq, xq;
} group_sums;

// Least squares for scale and min given the levels; min is kept >= 0. Returns what the fit takes off the sum of x^2.
static double fit_affine(const group_sums *s, affine *fit) {
    double determinant = s->n * s->qq - s->q * s->q;
    double scale = 0, offset = s->x / s->n; // all levels equal: only the offset counts
    if (determinant > 0) {
        scale = (s->n * s->xq - s->x * s->q) / determinant;
        offset = (s->qq * s->x - s->q * s->xq) / determinant;
    }
    if (offset > 0) {
        offset = 0;
        scale = s->qq > 0 ? s->xq / s->qq : 0;
    }
    *fit = (affine){(float)scale, (float)-offset};
    return 2 * scale * s->xq + 2 * offset * s->x - scale * scale * s->qq - 2 * scale * offset * s->q -
           offset * offset * s->n;
}

// Scale and min of least squared error for 32 elements and levels 0..q_max.
static affine search_affine(const float *x, int q_max) {
    float low = 0, high = x[0], lane[LANES] = {0};
    for (int i = 0; i < 32; i++) {
        if (x[i] < low) low = x[i];
        if (x[i] > high) high = x[i];
        lane[i % LANES] += x[i];
    }
    group_sums sums = {.n = 32, .x = sum_lanes(lane)};
    affine best = {0, -low};
    double best_gain = -INFINITY;
    for (int step = -SEARCH_STEPS; step <= SEARCH_STEPS; step++) {
        float inverse = ((float)q_max + 0.1f * (float)step) * inverse_or_zero(high - low);
        float xq[LANES] = {0};
        int q_sum = 0, qq = 0;
        for (int i = 0; i < 32; i += LANES) {
            for (int k = 0; k < LANES; k++) {
                int q = level((x[i + k] - low) * inverse, 0, q_max);
                xq[k] += x[i + k] * (float)q;
                q_sum += q;
                qq += q * q;
            }
        }
        sums.q = q_sum, sums.qq = qq, sums.xq = sum_lanes(xq);
        affine fit;
        double gain = fit_affine(&sums, &fit);
        if (gain > best_gain) best_gain = gain, best = fit;
    }
    return best;
}

// The stored form of eight groups: two half floats and a six-bit pair for each group.
typedef struct affine_groups {
    uint16_t d, dmin;
    uint8_t scale[8], min[8];
} affine_groups;

// Rounding scale and min apart is not best for their pair: the nine neighbours are tried.
static void round_pair(const float *x, affine want, float d, float dmin, int q_max, uint8_t *scale, uint8_t *min) {
    int scale_mid = nearest(want.scale * inverse_or_zero(d)), min_mid = nearest(want.min * inverse_or_zero(dmin));
    float best = error_of(x, 32, 0, 0, 0, 0); // where d or dmin is too small for a half float, zeros may be better
    *scale = *min = 0;
    for (int s = scale_mid - 1; s <= scale_mid + 1; s++) {
        for (int m = min_mid - 1; m <= min_mid + 1; m++) {
            if (s < 0 || s > 63 || m < 0 || m > 63) continue;
            float error = error_of(x, 32, d * (float)s, dmin * (float)m, 0, q_max);
            if (error >= best) continue;
            best = error;
            *scale = (uint8_t)s;
            *min = (uint8_t)m;
        }
    }
}

static affine_groups quantise_groups(const float *x, int q_max) {
    affine want[8];
    affine_groups groups = {0};
    float scale_max = 0, min_max = 0;
    for (int g = 0; g < 8; g++) {
        want[g] = search_affine(x + 32 * g, q_max);
        scale_max = fmaxf(scale_max, want[g].scale);
        min_max = fmaxf(min_max, want[g].min);
    }
    groups.d = mosa_f16_from_f32(scale_max / 63.0f);
    groups.dmin = mosa_f16_from_f32(min_max / 63.0f);
    float d = mosa_f16_to_f32(groups.d), dmin = mosa_f16_to_f32(groups.dmin);
    for (int g = 0; g < 8; g++) round_pair(x + 32 * g, want[g], d, dmin, q_max, &groups.scale[g], &groups.min[g]);
    return groups;
}

// The reverse of mosa_unpack_k4_scale, all eight groups.
static void pack_k4_scales(const affine_groups *groups, uint8_t packed[12]) {
    for (int g = 0; g < 4; g++) {
        packed[g] = (uint8_t)(groups->scale[g] | groups->scale[g + 4] >> 4 << 6);
        packed[g + 4] = (uint8_t)(groups->min[g] | groups->min[g + 4] >> 4 << 6);
        packed[g + 8] = (uint8_t)((groups->scale[g + 4] & 15) | (groups->min[g + 4] & 15) << 4);
    }
}

static void levels_of_group(const float *x, const affine_groups *groups, int g, int q_max, uint8_t levels[32]) {
    float scale = mosa_f16_to_f32(groups->d) * (float)groups->scale[g];
    float min = mosa_f16_to_f32(groups->dmin) * (float)groups->min[g], inverse = inverse_or_zero(scale);
    for (int j = 0; j < 32; j++) levels[j] = (uint8_t)level((x[j] + min) * inverse, 0, q_max);
}

void mosa_quant_q4_k(const float *in, void *blocks, int64_t n) {
    for (unsigned char *at = blocks; n >= MOSA_QK_K; n -= MOSA_QK_K, in += MOSA_QK_K, at += sizeof(mosa_block_q4_k)) {
        affine_groups groups = quantise_groups(in, 15);
        mosa_block_q4_k block = {.d = groups.d, .dmin = groups.dmin};
        pack_k4_scales(&groups, block.scales);
        for (int g = 0; g < 8; g++) {
            uint8_t levels[32];
            levels_of_group(in + 32 * g, &groups, g, 15, levels);
            for (int j = 0; j < 32; j++) block.qs[32 * (g / 2) + j] |= (uint8_t)(levels[j] << 4 * (g % 2));
        }
        memcpy(at, &block, sizeof block);
    }
}

void mosa_quant_q5_k(const float *in, void *blocks, int64_t n) {
    for (unsigned char *at = blocks; n >= MOSA_QK_K; n -= MOSA_QK_K, in += MOSA_QK_K, at += sizeof(mosa_block_q5_k)) {
        affine_groups groups = quantise_groups(in, 31);
        mosa_block_q5_k block = {.d = groups.d, .dmin = groups.dmin};
        pack_k4_scales(&groups, block.scales);
        for (int g = 0; g < 8; g++) {
            uint8_t levels[32];
            levels_of_group(in + 32 * g, &groups, g, 31, levels);
            for (int j = 0; j < 32; j++) {
                block.qs[32 * (g / 2) + j] |= (uint8_t)((levels[j] & 15) << 4 * (g % 2));
                block.qh[j] |= (uint8_t)(levels[j] >> 4 << g);
            }
        }
        memcpy(at, &block, sizeof block);
    }
}

// Signed 8-bit group scales under one half float; the best of three neighbours for each.
static uint16_t quantise_scales_q6(const float *x, int8_t scales[16]) {
    float want[16];
    for (int g = 0; g < 16; g++) want[g] = search_symmetric(x + 16 * g, 16, 32);
    uint16_t half = mosa_f16_from_f32(largest_magnitude(want, 16) / -128.0f);
    float d = mosa_f16_to_f32(half), inverse = inverse_or_zero(d);
    for (int g = 0; g < 16; g++) {
        int mid = nearest(want[g] * inverse);
        float best = INFINITY;
        for (int s = mid - 1; s <= mid + 1; s++) {
            if (s < -128 || s > 127) continue;
            float error = error_of(x + 16 * g, 16, d * (float)s, 0, -32, 31);
            if (error >= best) continue;
            best = error;
            scales[g] = (int8_t)s;
        }
    }
    return half;
}

void mosa_quant_q6_k(const float *in, void *blocks, int64_t n) {
    for (unsigned char *at = blocks; n >= MOSA_QK_K; n -= MOSA_QK_K, in += MOSA_QK_K, at += sizeof(mosa_block_q6_k)) {
        mosa_block_q6_k block = {0};
        block.d = quantise_scales_q6(in, block.scales);
        float d = mosa_f16_to_f32(block.d);
        for (int i = 0; i < MOSA_QK_K; i++) {
            int h = i / 128, s = i / 32 % 4, j = i % 32;
            float inverse = inverse_or_zero(d * (float)block.scales[i / 16]);
            int q = level(in[i] * inverse, -32, 31) + 32;
            block.ql[64 * h + 32 * (s % 2) + j] |= (uint8_t)((q & 15) << (s < 2 ? 0 : 4));
            block.qh[32 * h + j] |= (uint8_t)(q >> 4 << 2 * s);
        }
        memcpy(at, &block, sizeof block);
    }
}
