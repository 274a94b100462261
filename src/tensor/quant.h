// Memory layout of the block-quantised types, as GGUF files store them, with the formula of each.
//
// Source: the GGUF specification and the ggml block formats. All fields are little-endian; `d`, `dmin` and `m` are
// IEEE half floats (tensor/half.h). QK = 32 elements per simple block, QK_K = 256 per super-block. The element order
// inside a block is given with each formula: y[i] is element i of the block, computed in f32 exactly as written.
// Blocks carry no alignment beyond 2 bytes and may lie unaligned in a mapping: copy one out before reading its fields.
#ifndef MOSA_TENSOR_QUANT_H
#define MOSA_TENSOR_QUANT_H

#include <assert.h>
#include <stdint.h>

enum { MOSA_QK = 32, MOSA_QK_K = 256 };

// q4_0: y[j] = d * (lo(qs[j]) - 8), y[j+16] = d * (hi(qs[j]) - 8), j in 0..15. 4.5 bits.
typedef struct mosa_block_q4_0 {
    uint16_t d;
    uint8_t qs[16];
} mosa_block_q4_0;
static_assert(sizeof(mosa_block_q4_0) == 18, "q4_0 block");

// q4_1: y[j] = d * lo(qs[j]) + m, y[j+16] = d * hi(qs[j]) + m. 5 bits.
typedef struct mosa_block_q4_1 {
    uint16_t d, m;
    uint8_t qs[16];
} mosa_block_q4_1;
static_assert(sizeof(mosa_block_q4_1) == 20, "q4_1 block");

// q5_0: as q4_0 with a fifth bit: bit j of qh for y[j], bit j+16 for y[j+16]; y = d * (q - 16). 5.5 bits.
typedef struct mosa_block_q5_0 {
    uint16_t d;
    uint8_t qh[4];
    uint8_t qs[16];
} mosa_block_q5_0;
static_assert(sizeof(mosa_block_q5_0) == 22, "q5_0 block");

// q5_1: as q5_0 with y = d * q + m. 6 bits.
typedef struct mosa_block_q5_1 {
    uint16_t d, m;
    uint8_t qh[4];
    uint8_t qs[16];
} mosa_block_q5_1;
static_assert(sizeof(mosa_block_q5_1) == 24, "q5_1 block");

// q8_0: y[j] = d * qs[j]. 8.5 bits.
typedef struct mosa_block_q8_0 {
    uint16_t d;
    int8_t qs[32];
} mosa_block_q8_0;
static_assert(sizeof(mosa_block_q8_0) == 34, "q8_0 block");

// q2_k: 16 groups of 16. Group g: y = (d * lo(scales[g])) * q - (dmin * hi(scales[g])), q in 0..3.
// Element i = 128*h + 32*s + j (h 0..1, s 0..3, j 0..31) is bits 2s..2s+1 of qs[32*h + j]; its group is i / 16.
typedef struct mosa_block_q2_k {
    uint8_t scales[16];
    uint8_t qs[64];
    uint16_t d, dmin;
} mosa_block_q2_k;
static_assert(sizeof(mosa_block_q2_k) == 84, "q2_k block");

// q3_k: 16 groups of 16. Group g: y = (d * (scale6(g) - 32)) * (q - 4), q = 2 low bits of qs (placed as in q2_k) plus
// 4 * bit (4*h + s) of hmask[j]. Six-bit scale g: low nibbles in scales[g % 8] (g < 8 low half, else high half), upper
// two bits at 2 * (g / 4) of scales[8 + g % 4].
typedef struct mosa_block_q3_k {
    uint8_t hmask[32];
    uint8_t qs[64];
    uint8_t scales[12];
    uint16_t d;
} mosa_block_q3_k;
static_assert(sizeof(mosa_block_q3_k) == 110, "q3_k block");

// q4_k: 8 groups of 32. Group g: y = (d * scale6(g)) * q - (dmin * min6(g)), q in 0..15.
// Element i = 64*p + 32*s + j is nibble s (0 low, 1 high) of qs[32*p + j]; its group is i / 32.
// Six-bit pairs: g < 4: scale = scales[g] & 63, min = scales[g+4] & 63;
//   g >= 4: scale = lo(scales[g+4]) | (scales[g-4] >> 6) << 4, min = hi(scales[g+4]) | (scales[g] >> 6) << 4.
typedef struct mosa_block_q4_k {
    uint16_t d, dmin;
    uint8_t scales[12];
    uint8_t qs[128];
} mosa_block_q4_k;
static_assert(sizeof(mosa_block_q4_k) == 144, "q4_k block");

// q5_k: as q4_k with a fifth bit worth 16: bit 2p + s of qh[j].
typedef struct mosa_block_q5_k {
    uint16_t d, dmin;
    uint8_t scales[12];
    uint8_t qh[32];
    uint8_t qs[128];
} mosa_block_q5_k;
static_assert(sizeof(mosa_block_q5_k) == 176, "q5_k block");

// q6_k: 16 groups of 16. Group g: y = (d * scales[g]) * (q - 32), q in 0..63.
// Element i = 128*h + 32*s + j: low nibble is (s < 2 ? low : high) half of ql[64*h + 32*(s % 2) + j], upper two bits
// are bits 2s..2s+1 of qh[32*h + j]; its group is i / 16.
typedef struct mosa_block_q6_k {
    uint8_t ql[128];
    uint8_t qh[64];
    int8_t scales[16];
    uint16_t d;
} mosa_block_q6_k;
static_assert(sizeof(mosa_block_q6_k) == 210, "q6_k block");

// iq4_nl: y[j] = d * iq4_values[lo(qs[j])], y[j+16] = d * iq4_values[hi(qs[j])]. 4.5 bits.
typedef struct mosa_block_iq4_nl {
    uint16_t d;
    uint8_t qs[16];
} mosa_block_iq4_nl;
static_assert(sizeof(mosa_block_iq4_nl) == 18, "iq4_nl block");

// iq4_xs: 8 groups of 32, each laid out as an iq4_nl block in qs[16*g..]: y = (d * (scale6(g) - 32)) * iq4_values[q].
// scale6(g) = nibble g % 2 of scales_l[g / 2] | (scales_h >> 2g & 3) << 4.
typedef struct mosa_block_iq4_xs {
    uint16_t d;
    uint16_t scales_h;
    uint8_t scales_l[4];
    uint8_t qs[128];
} mosa_block_iq4_xs;
static_assert(sizeof(mosa_block_iq4_xs) == 136, "iq4_xs block");

// mxfp4 (OCP microscaling): y[j] = 2^(e-128) * e2m1x2[lo(qs[j])], y[j+16] likewise from hi; e2m1x2 holds the doubled
// FP4 values, hence 128 and not 127. 4.25 bits.
typedef struct mosa_block_mxfp4 {
    uint8_t e;
    uint8_t qs[16];
} mosa_block_mxfp4;
static_assert(sizeof(mosa_block_mxfp4) == 17, "mxfp4 block");

// The 16 levels of iq4_nl and iq4_xs, and the doubled FP4 (E2M1) values of mxfp4.
extern const int8_t mosa_iq4_values[16];
extern const int8_t mosa_e2m1_doubled[16];

// Reference decoders: n elements, a multiple of the block length; `blocks` needs no alignment.
void mosa_dequant_q4_0(const void *blocks, float *out, int64_t n);
void mosa_dequant_q4_1(const void *blocks, float *out, int64_t n);
void mosa_dequant_q5_0(const void *blocks, float *out, int64_t n);
void mosa_dequant_q5_1(const void *blocks, float *out, int64_t n);
void mosa_dequant_q8_0(const void *blocks, float *out, int64_t n);
void mosa_dequant_q2_k(const void *blocks, float *out, int64_t n);
void mosa_dequant_q3_k(const void *blocks, float *out, int64_t n);
void mosa_dequant_q4_k(const void *blocks, float *out, int64_t n);
void mosa_dequant_q5_k(const void *blocks, float *out, int64_t n);
void mosa_dequant_q6_k(const void *blocks, float *out, int64_t n);
void mosa_dequant_iq4_nl(const void *blocks, float *out, int64_t n);
void mosa_dequant_iq4_xs(const void *blocks, float *out, int64_t n);
void mosa_dequant_mxfp4(const void *blocks, float *out, int64_t n);

// Quantisers: round to nearest for q8_0 (bit-exact to the format's reference), a deterministic search for the scale of
// least squared error for the others. Inputs must be finite.
void mosa_quant_q8_0(const float *in, void *blocks, int64_t n);
void mosa_quant_q4_0(const float *in, void *blocks, int64_t n);
void mosa_quant_q4_k(const float *in, void *blocks, int64_t n);
void mosa_quant_q5_k(const float *in, void *blocks, int64_t n);
void mosa_quant_q6_k(const float *in, void *blocks, int64_t n);

// Six-bit scale and minimum of group g (0..7) in the 12 packed bytes of q4_k and q5_k.
static inline void mosa_unpack_k4_scale(const uint8_t packed[12], int g, uint8_t *scale, uint8_t *min) {
    if (g < 4) {
        *scale = packed[g] & 63u;
        *min = packed[g + 4] & 63u;
    } else {
        *scale = (uint8_t)((packed[g + 4] & 15u) | (packed[g - 4] >> 6) << 4);
        *min = (uint8_t)((packed[g + 4] >> 4) | (packed[g] >> 6) << 4);
    }
}

#endif
