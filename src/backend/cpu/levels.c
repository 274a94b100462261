// File blocks as integers: the one scalar decoder behind the reference LINEAR and the reference packer.
// Independent of tensor/dequant.c, so that tests compare the two.
#include "backend/cpu/pack_internal.h"

#include "tensor/half.h"
#include "tensor/quant.h"

#include <assert.h>
#include <string.h>

static void start(mosa_levels *l, int count, int group, uint16_t d_bits) {
    l->count = count;
    l->group = group;
    l->d_bits = d_bits;
    l->dmin_bits = 0;
    l->d = mosa_f16_to_f32(d_bits);
    l->dmin = 0;
    for (int g = 0; g < 16; g++) {
        l->scale[g] = 1;
        l->min[g] = 0;
    }
}

// y = d * q + m is the general form with dmin = -m and min = 1.
static void set_offset(mosa_levels *l, uint16_t m_bits) {
    l->dmin_bits = m_bits;
    l->dmin = -mosa_f16_to_f32(m_bits);
    l->min[0] = 1;
}

static void nibbles32(mosa_levels *l, const uint8_t qs[16], int zero) {
    for (int j = 0; j < 16; j++) {
        l->q[j] = (int16_t)((qs[j] & 15) - zero);
        l->q[j + 16] = (int16_t)((qs[j] >> 4) - zero);
    }
}

static void fifth_bits32(mosa_levels *l, const uint8_t qh[4]) {
    for (int j = 0; j < 32; j++) l->q[j] = (int16_t)(l->q[j] + 16 * (qh[j / 8] >> j % 8 & 1));
}

static void code_book32(mosa_levels *l, const uint8_t qs[16], const int8_t book[16]) {
    for (int j = 0; j < 16; j++) {
        l->q[j] = book[qs[j] & 15];
        l->q[j + 16] = book[qs[j] >> 4];
    }
}

static void decode_legacy(mosa_dtype dtype, const void *at, mosa_levels *l) {
    union {
        mosa_block_q4_0 q4_0;
        mosa_block_q4_1 q4_1;
        mosa_block_q5_0 q5_0;
        mosa_block_q5_1 q5_1;
        mosa_block_q8_0 q8_0;
        mosa_block_iq4_nl iq4_nl;
        mosa_block_mxfp4 mxfp4;
    } b;
    memcpy(&b, at, mosa_dtype_traits_of(dtype)->block_bytes);
    start(l, 32, 32, dtype == MOSA_MXFP4 ? 0 : b.q4_0.d);
    switch (dtype) {
    case MOSA_Q4_0:
        nibbles32(l, b.q4_0.qs, 8);
        break;
    case MOSA_Q4_1:
        nibbles32(l, b.q4_1.qs, 0);
        set_offset(l, b.q4_1.m);
        break;
    case MOSA_Q5_0:
        nibbles32(l, b.q5_0.qs, 16);
        fifth_bits32(l, b.q5_0.qh);
        break;
    case MOSA_Q5_1:
        nibbles32(l, b.q5_1.qs, 0);
        fifth_bits32(l, b.q5_1.qh);
        set_offset(l, b.q5_1.m);
        break;
    case MOSA_Q8_0:
        for (int j = 0; j < 32; j++) l->q[j] = b.q8_0.qs[j];
        break;
    case MOSA_IQ4_NL:
        code_book32(l, b.iq4_nl.qs, mosa_iq4_values);
        break;
    default: // MXFP4: 2^(e-128), of which the two smallest are subnormal
        l->d_bits = b.mxfp4.e;
        l->d = mosa_f32_from_bits(b.mxfp4.e < 2 ? 0x00200000u << b.mxfp4.e : (uint32_t)(b.mxfp4.e - 1) << 23);
        code_book32(l, b.mxfp4.qs, mosa_e2m1_doubled);
    }
}

static void decode_iq4_xs(const void *at, int part, mosa_levels *l) {
    mosa_block_iq4_xs b;
    memcpy(&b, at, sizeof b);
    start(l, 32, 32, b.d);
    int low = b.scales_l[part / 2] >> 4 * (part % 2) & 15, high = b.scales_h >> 2 * part & 3;
    l->scale[1] = (int16_t)((low | high << 4) - 32); // for the packer; the formulas see one product
    l->d *= (float)l->scale[1];
    code_book32(l, b.qs + 16 * part, mosa_iq4_values);
}

static void decode_q2_k(const void *at, mosa_levels *l) {
    mosa_block_q2_k b;
    memcpy(&b, at, sizeof b);
    start(l, 256, 16, b.d);
    l->dmin_bits = b.dmin;
    l->dmin = mosa_f16_to_f32(b.dmin);
    for (int g = 0; g < 16; g++) {
        l->scale[g] = b.scales[g] & 15;
        l->min[g] = b.scales[g] >> 4;
    }
    for (int i = 0; i < 256; i++) l->q[i] = b.qs[32 * (i / 128) + i % 32] >> 2 * (i / 32 % 4) & 3;
}

static void decode_q3_k(const void *at, mosa_levels *l) {
    mosa_block_q3_k b;
    memcpy(&b, at, sizeof b);
    start(l, 256, 16, b.d);
    for (int g = 0; g < 16; g++) {
        int low = g < 8 ? b.scales[g] & 15 : b.scales[g - 8] >> 4;
        l->scale[g] = (int16_t)((low | (b.scales[8 + g % 4] >> 2 * (g / 4) & 3) << 4) - 32);
    }
    for (int i = 0; i < 256; i++) {
        int low = b.qs[32 * (i / 128) + i % 32] >> 2 * (i / 32 % 4) & 3;
        l->q[i] = (int16_t)(low + 4 * (b.hmask[i % 32] >> i / 32 & 1) - 4);
    }
}

static void k4_scales(mosa_levels *l, const uint8_t scales[12], uint16_t dmin_bits) {
    l->dmin_bits = dmin_bits;
    l->dmin = mosa_f16_to_f32(dmin_bits);
    for (int g = 0; g < 8; g++) {
        uint8_t scale, min;
        mosa_unpack_k4_scale(scales, g, &scale, &min);
        l->scale[g] = scale;
        l->min[g] = min;
    }
}

static void decode_q4_k(const void *at, mosa_levels *l) {
    mosa_block_q4_k b;
    memcpy(&b, at, sizeof b);
    start(l, 256, 32, b.d);
    k4_scales(l, b.scales, b.dmin);
    for (int i = 0; i < 256; i++) l->q[i] = b.qs[32 * (i / 64) + i % 32] >> 4 * (i / 32 % 2) & 15;
}

static void decode_q5_k(const void *at, mosa_levels *l) {
    mosa_block_q5_k b;
    memcpy(&b, at, sizeof b);
    start(l, 256, 32, b.d);
    k4_scales(l, b.scales, b.dmin);
    for (int i = 0; i < 256; i++)
        l->q[i] =
            (int16_t)((b.qs[32 * (i / 64) + i % 32] >> 4 * (i / 32 % 2) & 15) + 16 * (b.qh[i % 32] >> i / 32 & 1));
}

static void decode_q6_k(const void *at, mosa_levels *l) {
    mosa_block_q6_k b;
    memcpy(&b, at, sizeof b);
    start(l, 256, 16, b.d);
    for (int g = 0; g < 16; g++) l->scale[g] = b.scales[g];
    for (int i = 0; i < 256; i++) {
        int h = i / 128, s = i / 32 % 4, j = i % 32;
        int low = b.ql[64 * h + 32 * (s % 2) + j] >> (s < 2 ? 0 : 4) & 15;
        l->q[i] = (int16_t)((low | (b.qh[32 * h + j] >> 2 * s & 3) << 4) - 32);
    }
}

void mosa_levels_decode(mosa_dtype dtype, const void *block, int part, mosa_levels *levels) {
    switch (dtype) {
    case MOSA_Q2_K:
        decode_q2_k(block, levels);
        break;
    case MOSA_Q3_K:
        decode_q3_k(block, levels);
        break;
    case MOSA_Q4_K:
        decode_q4_k(block, levels);
        break;
    case MOSA_Q5_K:
        decode_q5_k(block, levels);
        break;
    case MOSA_Q6_K:
        decode_q6_k(block, levels);
        break;
    case MOSA_IQ4_XS:
        decode_iq4_xs(block, part, levels);
        break;
    default:
        decode_legacy(dtype, block, levels);
    }
}
