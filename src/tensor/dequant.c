// Reference decoders of the block formats: plain C, one formula each, as written in tensor/quant.h.
// Thread: pure functions. Fast kernels live in the backends and are compared with these.
#include "tensor/quant.h"

#include "tensor/half.h"

const int8_t mosa_iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
const int8_t mosa_e2m1_doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

// Blocks may lie unaligned in a mapping, so each is copied out before its fields are read.
#define FOR_EACH_BLOCK(type, len)                                                                                      \
    type block;                                                                                                        \
    for (const unsigned char *at = blocks, *end = at + n / (len) * (int64_t)sizeof block;                              \
         at < end && memcpy(&block, at, sizeof block); at += sizeof block, out += (len))

void mosa_dequant_q4_0(const void *blocks, float *out, int64_t n) {
    FOR_EACH_BLOCK(mosa_block_q4_0, MOSA_QK) {
        float d = mosa_f16_to_f32(block.d);
        for (int j = 0; j < 16; j++) {
            out[j] = d * (float)((block.qs[j] & 15) - 8);
            out[j + 16] = d * (float)((block.qs[j] >> 4) - 8);
        }
    }
}

void mosa_dequant_q4_1(const void *blocks, float *out, int64_t n) {
    FOR_EACH_BLOCK(mosa_block_q4_1, MOSA_QK) {
        float d = mosa_f16_to_f32(block.d), m = mosa_f16_to_f32(block.m);
        for (int j = 0; j < 16; j++) {
            out[j] = d * (float)(block.qs[j] & 15) + m;
            out[j + 16] = d * (float)(block.qs[j] >> 4) + m;
        }
    }
}

// The five-bit value of element j: nibble from qs, fifth bit from qh.
static int five_bits(const uint8_t qh[4], const uint8_t qs[16], int j) {
    int low = j < 16 ? qs[j] & 15 : qs[j - 16] >> 4;
    return low | (qh[j / 8] >> (j % 8) & 1) << 4;
}

void mosa_dequant_q5_0(const void *blocks, float *out, int64_t n) {
    FOR_EACH_BLOCK(mosa_block_q5_0, MOSA_QK) {
        float d = mosa_f16_to_f32(block.d);
        for (int j = 0; j < MOSA_QK; j++) out[j] = d * (float)(five_bits(block.qh, block.qs, j) - 16);
    }
}

void mosa_dequant_q5_1(const void *blocks, float *out, int64_t n) {
    FOR_EACH_BLOCK(mosa_block_q5_1, MOSA_QK) {
        float d = mosa_f16_to_f32(block.d), m = mosa_f16_to_f32(block.m);
        for (int j = 0; j < MOSA_QK; j++) out[j] = d * (float)five_bits(block.qh, block.qs, j) + m;
    }
}

void mosa_dequant_q8_0(const void *blocks, float *out, int64_t n) {
    FOR_EACH_BLOCK(mosa_block_q8_0, MOSA_QK) {
        float d = mosa_f16_to_f32(block.d);
        for (int j = 0; j < MOSA_QK; j++) out[j] = d * (float)block.qs[j];
    }
}

void mosa_dequant_q2_k(const void *blocks, float *out, int64_t n) {
    FOR_EACH_BLOCK(mosa_block_q2_k, MOSA_QK_K) {
        float d = mosa_f16_to_f32(block.d), dmin = mosa_f16_to_f32(block.dmin);
        for (int i = 0; i < MOSA_QK_K; i++) {
            int h = i / 128, s = i / 32 % 4, j = i % 32;
            float scale = d * (float)(block.scales[i / 16] & 15), min = dmin * (float)(block.scales[i / 16] >> 4);
            out[i] = scale * (float)(block.qs[32 * h + j] >> 2 * s & 3) - min;
        }
    }
}

void mosa_dequant_q3_k(const void *blocks, float *out, int64_t n) {
    FOR_EACH_BLOCK(mosa_block_q3_k, MOSA_QK_K) {
        float d = mosa_f16_to_f32(block.d);
        for (int i = 0; i < MOSA_QK_K; i++) {
            int h = i / 128, s = i / 32 % 4, j = i % 32, g = i / 16;
            int low = g < 8 ? block.scales[g] & 15 : block.scales[g - 8] >> 4;
            int high = block.scales[8 + g % 4] >> 2 * (g / 4) & 3;
            float scale = d * (float)((low | high << 4) - 32);
            int q = (block.qs[32 * h + j] >> 2 * s & 3) + 4 * (block.hmask[j] >> (4 * h + s) & 1);
            out[i] = scale * (float)(q - 4);
        }
    }
}

void mosa_dequant_q4_k(const void *blocks, float *out, int64_t n) {
    FOR_EACH_BLOCK(mosa_block_q4_k, MOSA_QK_K) {
        float d = mosa_f16_to_f32(block.d), dmin = mosa_f16_to_f32(block.dmin);
        for (int g = 0; g < 8; g++) {
            uint8_t scale6, min6;
            mosa_unpack_k4_scale(block.scales, g, &scale6, &min6);
            float scale = d * (float)scale6, min = dmin * (float)min6;
            const uint8_t *qs = block.qs + 32 * (g / 2);
            for (int j = 0; j < 32; j++) out[32 * g + j] = scale * (float)(qs[j] >> 4 * (g % 2) & 15) - min;
        }
    }
}

void mosa_dequant_q5_k(const void *blocks, float *out, int64_t n) {
    FOR_EACH_BLOCK(mosa_block_q5_k, MOSA_QK_K) {
        float d = mosa_f16_to_f32(block.d), dmin = mosa_f16_to_f32(block.dmin);
        for (int g = 0; g < 8; g++) {
            uint8_t scale6, min6;
            mosa_unpack_k4_scale(block.scales, g, &scale6, &min6);
            float scale = d * (float)scale6, min = dmin * (float)min6;
            const uint8_t *qs = block.qs + 32 * (g / 2);
            for (int j = 0; j < 32; j++) {
                int q = (qs[j] >> 4 * (g % 2) & 15) | (block.qh[j] >> g & 1) << 4;
                out[32 * g + j] = scale * (float)q - min;
            }
        }
    }
}

void mosa_dequant_q6_k(const void *blocks, float *out, int64_t n) {
    FOR_EACH_BLOCK(mosa_block_q6_k, MOSA_QK_K) {
        float d = mosa_f16_to_f32(block.d);
        for (int i = 0; i < MOSA_QK_K; i++) {
            int h = i / 128, s = i / 32 % 4, j = i % 32;
            int low = block.ql[64 * h + 32 * (s % 2) + j] >> (s < 2 ? 0 : 4) & 15;
            int high = block.qh[32 * h + j] >> 2 * s & 3;
            float scale = d * (float)block.scales[i / 16];
            out[i] = scale * (float)((low | high << 4) - 32);
        }
    }
}

void mosa_dequant_iq4_nl(const void *blocks, float *out, int64_t n) {
    FOR_EACH_BLOCK(mosa_block_iq4_nl, MOSA_QK) {
        float d = mosa_f16_to_f32(block.d);
        for (int j = 0; j < 16; j++) {
            out[j] = d * (float)mosa_iq4_values[block.qs[j] & 15];
            out[j + 16] = d * (float)mosa_iq4_values[block.qs[j] >> 4];
        }
    }
}

void mosa_dequant_iq4_xs(const void *blocks, float *out, int64_t n) {
    FOR_EACH_BLOCK(mosa_block_iq4_xs, MOSA_QK_K) {
        float d = mosa_f16_to_f32(block.d);
        for (int g = 0; g < 8; g++) {
            int low = block.scales_l[g / 2] >> 4 * (g % 2) & 15, high = block.scales_h >> 2 * g & 3;
            float scale = d * (float)((low | high << 4) - 32);
            const uint8_t *qs = block.qs + 16 * g;
            for (int j = 0; j < 16; j++) {
                out[32 * g + j] = scale * (float)mosa_iq4_values[qs[j] & 15];
                out[32 * g + j + 16] = scale * (float)mosa_iq4_values[qs[j] >> 4];
            }
        }
    }
}

// 2^(e-128); the two smallest are subnormal.
static float half_power_of_two(uint8_t e) {
    return mosa_f32_from_bits(e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23);
}

void mosa_dequant_mxfp4(const void *blocks, float *out, int64_t n) {
    FOR_EACH_BLOCK(mosa_block_mxfp4, MOSA_QK) {
        float d = half_power_of_two(block.e);
        for (int j = 0; j < 16; j++) {
            out[j] = d * (float)mosa_e2m1_doubled[block.qs[j] & 15];
            out[j + 16] = d * (float)mosa_e2m1_doubled[block.qs[j] >> 4];
        }
    }
}
