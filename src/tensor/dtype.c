// The dtype table, its lookups, and the codecs of the plain floating types.
#include "tensor/dtype.h"

#include "tensor/half.h"
#include "tensor/quant.h"

#include <assert.h>
#include <string.h>
#include <strings.h>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "weight files are mapped and read in place");

static void copy_f32(const void *blocks, float *out, int64_t n) {
    memcpy(out, blocks, (size_t)n * sizeof *out);
}
static void store_f32(const float *in, void *blocks, int64_t n) {
    memcpy(blocks, in, (size_t)n * sizeof *in);
}

static void widen_f16(const void *blocks, float *out, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        uint16_t half;
        memcpy(&half, (const unsigned char *)blocks + 2 * i, 2);
        out[i] = mosa_f16_to_f32(half);
    }
}

static void narrow_f16(const float *in, void *blocks, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        uint16_t half = mosa_f16_from_f32(in[i]);
        memcpy((unsigned char *)blocks + 2 * i, &half, 2);
    }
}

static void widen_bf16(const void *blocks, float *out, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        uint16_t half;
        memcpy(&half, (const unsigned char *)blocks + 2 * i, 2);
        out[i] = mosa_bf16_to_f32(half);
    }
}

static void narrow_bf16(const float *in, void *blocks, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        uint16_t half = mosa_bf16_from_f32(in[i]);
        memcpy((unsigned char *)blocks + 2 * i, &half, 2);
    }
}

// name, safetensors name, ggml id, elements and bytes per block, quantised, decoder, encoder
static const mosa_dtype_traits traits_table[MOSA_DTYPE_COUNT] = {
    [MOSA_F32] = {"f32", "F32", 0, 1, 4, false, copy_f32, store_f32},
    [MOSA_F16] = {"f16", "F16", 1, 1, 2, false, widen_f16, narrow_f16},
    [MOSA_BF16] = {"bf16", "BF16", 30, 1, 2, false, widen_bf16, narrow_bf16},
    [MOSA_F64] = {"f64", "F64", 28, 1, 8, false, NULL, NULL},
    [MOSA_I8] = {"i8", "I8", 24, 1, 1, false, NULL, NULL},
    [MOSA_I16] = {"i16", "I16", 25, 1, 2, false, NULL, NULL},
    [MOSA_I32] = {"i32", "I32", 26, 1, 4, false, NULL, NULL},
    [MOSA_I64] = {"i64", "I64", 27, 1, 8, false, NULL, NULL},
    [MOSA_U8] = {"u8", "U8", -1, 1, 1, false, NULL, NULL},
    [MOSA_BOOL] = {"bool", "BOOL", -1, 1, 1, false, NULL, NULL},
    [MOSA_Q4_0] = {"q4_0", NULL, 2, 32, 18, true, mosa_dequant_q4_0, mosa_quant_q4_0},
    [MOSA_Q4_1] = {"q4_1", NULL, 3, 32, 20, true, mosa_dequant_q4_1, NULL},
    [MOSA_Q5_0] = {"q5_0", NULL, 6, 32, 22, true, mosa_dequant_q5_0, NULL},
    [MOSA_Q5_1] = {"q5_1", NULL, 7, 32, 24, true, mosa_dequant_q5_1, NULL},
    [MOSA_Q8_0] = {"q8_0", NULL, 8, 32, 34, true, mosa_dequant_q8_0, mosa_quant_q8_0},
    [MOSA_Q2_K] = {"q2_k", NULL, 10, 256, 84, true, mosa_dequant_q2_k, NULL},
    [MOSA_Q3_K] = {"q3_k", NULL, 11, 256, 110, true, mosa_dequant_q3_k, NULL},
    [MOSA_Q4_K] = {"q4_k", NULL, 12, 256, 144, true, mosa_dequant_q4_k, mosa_quant_q4_k},
    [MOSA_Q5_K] = {"q5_k", NULL, 13, 256, 176, true, mosa_dequant_q5_k, mosa_quant_q5_k},
    [MOSA_Q6_K] = {"q6_k", NULL, 14, 256, 210, true, mosa_dequant_q6_k, mosa_quant_q6_k},
    [MOSA_IQ4_NL] = {"iq4_nl", NULL, 20, 32, 18, true, mosa_dequant_iq4_nl, NULL},
    [MOSA_IQ4_XS] = {"iq4_xs", NULL, 23, 256, 136, true, mosa_dequant_iq4_xs, NULL},
    [MOSA_MXFP4] = {"mxfp4", NULL, 39, 32, 17, true, mosa_dequant_mxfp4, NULL},
    [MOSA_IQ1_S] = {"iq1_s", NULL, 19, 256, 50, true, NULL, NULL},
    [MOSA_IQ1_M] = {"iq1_m", NULL, 29, 256, 56, true, NULL, NULL},
    [MOSA_IQ2_XXS] = {"iq2_xxs", NULL, 16, 256, 66, true, NULL, NULL},
    [MOSA_IQ2_XS] = {"iq2_xs", NULL, 17, 256, 74, true, NULL, NULL},
    [MOSA_IQ2_S] = {"iq2_s", NULL, 22, 256, 82, true, NULL, NULL},
    [MOSA_IQ3_XXS] = {"iq3_xxs", NULL, 18, 256, 98, true, NULL, NULL},
    [MOSA_IQ3_S] = {"iq3_s", NULL, 21, 256, 110, true, NULL, NULL},
    [MOSA_TQ1_0] = {"tq1_0", NULL, 34, 256, 54, true, NULL, NULL},
    [MOSA_TQ2_0] = {"tq2_0", NULL, 35, 256, 66, true, NULL, NULL},
    [MOSA_NVFP4] = {"nvfp4", NULL, 40, 64, 36, true, NULL, NULL},
    [MOSA_F8_E4M3] = {"f8_e4m3", "F8_E4M3", -1, 1, 1, false, NULL, NULL},
    [MOSA_F8_E5M2] = {"f8_e5m2", "F8_E5M2", -1, 1, 1, false, NULL, NULL},
};

const mosa_dtype_traits *mosa_dtype_traits_of(mosa_dtype dtype) {
    assert((unsigned)dtype < MOSA_DTYPE_COUNT);
    return &traits_table[dtype];
}

bool mosa_dtype_from_name(const char *name, mosa_dtype *out) {
    for (unsigned i = 0; i < MOSA_DTYPE_COUNT; i++) {
        if (strcasecmp(traits_table[i].name, name) != 0) continue;
        *out = (mosa_dtype)i;
        return true;
    }
    return false;
}

bool mosa_dtype_from_ggml(uint32_t ggml_type, mosa_dtype *out) {
    for (unsigned i = 0; i < MOSA_DTYPE_COUNT; i++) {
        if (traits_table[i].ggml_type < 0 || (uint32_t)traits_table[i].ggml_type != ggml_type) continue;
        *out = (mosa_dtype)i;
        return true;
    }
    return false;
}

bool mosa_dtype_from_st_name(const char *name, mosa_dtype *out) {
    for (unsigned i = 0; i < MOSA_DTYPE_COUNT; i++) {
        if (!traits_table[i].st_name || strcmp(traits_table[i].st_name, name) != 0) continue;
        *out = (mosa_dtype)i;
        return true;
    }
    return false;
}

bool mosa_dtype_bytes(mosa_dtype dtype, int64_t n, size_t *out) {
    const mosa_dtype_traits *traits = mosa_dtype_traits_of(dtype);
    if (n < 0 || n % traits->block_len != 0) return false;
    return !__builtin_mul_overflow((size_t)(n / traits->block_len), (size_t)traits->block_bytes, out);
}

double mosa_dtype_bits(mosa_dtype dtype) {
    const mosa_dtype_traits *traits = mosa_dtype_traits_of(dtype);
    return 8.0 * traits->block_bytes / traits->block_len;
}
