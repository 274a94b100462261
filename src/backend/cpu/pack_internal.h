// The bytes behind pack.h: activation records, panel records, and file blocks as integers.
//
// Shared by the packer, the reference kernels and the fast kernels; nothing else needs it. To add a block type: decode
// it in levels.c, give it a record here and a line in the table of pack.c, a formula in pack.h if none fits, and a tile
// (or an unpacking into an existing tile) in the avx2/ file of its activation layout; linear_test.c holds them
// together. Panel records are given as byte offsets because fast kernels address them so. "k4" is a step of four
// consecutive k: the four bytes of one output row lie together, 16 (or 2 x 8) rows side by side, so that one broadcast
// of four activation bytes meets them.
#ifndef MOSA_BACKEND_CPU_PACK_INTERNAL_H
#define MOSA_BACKEND_CPU_PACK_INTERNAL_H

#include "backend/cpu/pack.h"

#include <stddef.h>
#include <stdint.h>

enum { MOSA_PANEL_ROWS = 16 };

// Activation layouts (mosa_cpu_act_layout). A row is k / 32 or k / 256 of these records.
enum { MOSA_ACT_F32 = -1, MOSA_ACT_S8_32, MOSA_ACT_S8_256, MOSA_ACT_U8_256, MOSA_ACT_LAYOUTS };

typedef struct mosa_act_s8_32 { // q4_0, q4_1, q5_0, q5_1, mxfp4, q8_0, iq4_nl, iq4_xs
    int8_t q[32];
    float d;
    int32_t sum; // of q
} mosa_act_s8_32;

typedef struct mosa_act_s8_256 { // q4_k, q5_k, q2_k
    int8_t q[256];
    int16_t sum32[8];  // of q, by 32
    int16_t sum16[16]; // of q, by 16
    float d;
} mosa_act_s8_256;

typedef struct mosa_act_u8_256 { // q6_k, q3_k
    uint8_t q[256];              // 128 + level, so that the weight may be the signed operand of vpmaddubsw
    float d;
} mosa_act_u8_256;

// Panel records: one per panel and per 32 or 256 consecutive k, records of a panel in order of k. f16 fields hold the
// file's own bits. The planes that levels are cut into, for k4 steps (a step is i / 4 of element i):
//   nibbles    [step][8][4]     low nibble row r, high nibble row r + 8
//   bits       [step / 4][8][4] bit 2 * (step % 4) + r / 8 is row r's
//   bit pairs  [step / 2][8][4] bits 2 * (2 * (step % 2) + r / 8) and the next are row r's
enum {
    // q4_0 q4_1 q5_0 q5_1 mxfp4, per 32: nibbles[8], (bits[2],) f16 d[16] or u8 e[16], (f16 m[16])
    MOSA_PANEL_32_HIGH = 256,
    MOSA_PANEL_Q4_0_D = 256,
    MOSA_PANEL_Q4_0 = 288,
    MOSA_PANEL_Q4_1_M = 288,
    MOSA_PANEL_Q4_1 = 320,
    MOSA_PANEL_Q5_0_D = 320,
    MOSA_PANEL_Q5_0 = 352,
    MOSA_PANEL_Q5_1_M = 352,
    MOSA_PANEL_Q5_1 = 384,
    MOSA_PANEL_MXFP4_E = 256,
    MOSA_PANEL_MXFP4 = 272,
    // q8_0, per 32: s8 [8 steps][16][4], f16 d[16]
    MOSA_PANEL_Q8_0_D = 512,
    MOSA_PANEL_Q8_0 = 544,
    // iq4_nl, per 32: nibbles[8], f16 d[16]
    MOSA_PANEL_IQ4_NL_D = 256,
    MOSA_PANEL_IQ4_NL = 288,
    // iq4_xs, per 256: nibbles[64], s8 scale[8 groups][16], f16 d[16]
    MOSA_PANEL_IQ4_XS_SCALE = 2048,
    MOSA_PANEL_IQ4_XS_D = 2176,
    MOSA_PANEL_IQ4_XS = 2208,
    // q4_k, per 256: nibbles[64], u8 scale[8 groups][16], u8 min[4 pairs][16][2], f16 d[16], f16 dmin[16]
    MOSA_PANEL_Q4_K_SCALE = 2048,
    MOSA_PANEL_Q4_K_MIN = 2176,
    MOSA_PANEL_Q4_K_D = 2304,
    MOSA_PANEL_Q4_K = 2368,
    // q5_k, per 256: as q4_k with bits[16] after the nibbles
    MOSA_PANEL_Q5_K_HIGH = 2048,
    MOSA_PANEL_Q5_K_SCALE = 2560,
    MOSA_PANEL_Q5_K_MIN = 2688,
    MOSA_PANEL_Q5_K_D = 2816,
    MOSA_PANEL_Q5_K = 2880,
    // q6_k, per 256: nibbles[64], bit pairs[32], s8 scale[16 groups][16], f16 d[16], and the constant i32 start[16] =
    // -128 * (sum over groups of scale * sum of levels), which takes the activations' +128 off again
    MOSA_PANEL_Q6_K_HIGH = 2048,
    MOSA_PANEL_Q6_K_SCALE = 3072,
    MOSA_PANEL_Q6_K_D = 3328,
    MOSA_PANEL_Q6_K_START = 3360,
    MOSA_PANEL_Q6_K = 3424,
    // q2_k, per 256: bit pairs[32], u8 scale | min << 4 [16 groups][16], f16 d[16], f16 dmin[16]
    MOSA_PANEL_Q2_K_SCALE = 1024,
    MOSA_PANEL_Q2_K_D = 1280,
    MOSA_PANEL_Q2_K = 1344,
    // q3_k, per 256: bit pairs[32], bits[16], the file's 12 scale bytes [12][16], f16 d[16]
    MOSA_PANEL_Q3_K_HIGH = 1024,
    MOSA_PANEL_Q3_K_SCALE = 1536,
    MOSA_PANEL_Q3_K_D = 1728,
    MOSA_PANEL_Q3_K = 1760,
};

// A block of the file as integers: y = d * scale[g] * q - dmin * min[g], g = element / group.
typedef struct mosa_levels {
    int count;      // elements: 32 or 256
    int group;      // elements per scale
    int16_t q[256]; // signed, zero point taken off
    int16_t scale[16];
    int16_t min[16];
    float d, dmin;
    uint16_t d_bits, dmin_bits; // as stored; for mxfp4 the exponent byte
} mosa_levels;

// Decodes part `part` (block_len / levels->count parts; 0 but for iq4_xs) of one file block.
void mosa_levels_decode(mosa_dtype dtype, const void *block, int part, mosa_levels *levels);

// Up to 16 rows of a matrix, row_bytes apart; rows of the panel beyond n_rows become zero.
typedef struct mosa_panel_source {
    mosa_dtype dtype;
    const unsigned char *rows;
    size_t row_bytes;
    int n_rows;
} mosa_panel_source;

// Packs columns [k_begin, k) of a panel (k_begin a multiple of the block length).
void mosa_ref_pack_panel(const mosa_panel_source *source, int64_t k_begin, int64_t k, unsigned char *panel);

// Packs the columns from 0 on that it can, a multiple of the block length; returns how many. Needs AVX2.
int64_t mosa_avx2_pack_panel(const mosa_panel_source *source, int64_t k, unsigned char *panel);

#endif
