// QUANTIZE_ROWS, reference: activations to int8 levels with one scale per 32 or 256 elements (rules in pack.h).
#include "backend/cpu/linear.h"
#include "backend/cpu/pack_internal.h"

#include "tensor/half.h"

#include <assert.h>
#include <math.h>

// Levels of one group; returns the scale.
static float quantize_group(const float *x, int n, int16_t *q) {
    uint32_t largest = 0; // magnitudes order as their bits do, NaN above infinity
    for (int i = 0; i < n; i++) {
        uint32_t magnitude = mosa_f32_bits(x[i]) & 0x7fffffffu;
        if (magnitude > largest) largest = magnitude;
    }
    float amax = mosa_f32_from_bits(largest);
    bool finite = largest < 0x7f800000u, zero = largest < 0x0d800000u; // 2^-100
    float inverse = finite && !zero ? 127.0f / amax : 0.0f;
    for (int i = 0; i < n; i++) q[i] = inverse > 0 ? (int16_t)lrintf(x[i] * inverse) : 0;
    return !finite ? NAN : zero ? 0.0f : amax * (1.0f / 127.0f);
}

static int32_t sum_of(const int16_t *q, int n) {
    int32_t sum = 0;
    for (int i = 0; i < n; i++) sum += q[i];
    return sum;
}

static void quantize_s8_32(const float *x, void *out) {
    mosa_act_s8_32 *to = out;
    int16_t q[32];
    to->d = quantize_group(x, 32, q);
    for (int i = 0; i < 32; i++) to->q[i] = (int8_t)q[i];
    to->sum = sum_of(q, 32);
}

static void quantize_s8_256(const float *x, void *out) {
    mosa_act_s8_256 *to = out;
    int16_t q[256];
    to->d = quantize_group(x, 256, q);
    for (int i = 0; i < 256; i++) to->q[i] = (int8_t)q[i];
    for (int g = 0; g < 8; g++) to->sum32[g] = (int16_t)sum_of(q + 32 * g, 32);
    for (int g = 0; g < 16; g++) to->sum16[g] = (int16_t)sum_of(q + 16 * g, 16);
}

static void quantize_u8_256(const float *x, void *out) {
    mosa_act_u8_256 *to = out;
    int16_t q[256];
    to->d = quantize_group(x, 256, q);
    for (int i = 0; i < 256; i++) to->q[i] = (uint8_t)(q[i] + 128);
}

void mosa_ref_quantize_rows(const mosa_cpu_args *args, int thread, int n_threads) {
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
    int64_t records = mosa_cpu_columns(args, 0) / len;
    int64_t record_bytes = mosa_cpu_act_row_bytes(layout, len), begin, end;
    mosa_cpu_share(args->rows, 1, thread, n_threads, &begin, &end); // a rowwise op: kernel.h
    for (int64_t row = begin; row < end; row++) {
        const float *x = mosa_cpu_in_row(args, 0, row);
        char *out = (char *)args->out[0] + row * args->out_stride[0];
        for (int64_t i = 0; i < records; i++) layouts[layout].quantize(x + i * len, out + i * record_bytes);
    }
}
