// Single elements of the file's own block types, on the device: the formulas of tensor/quant.h, bit for bit.
//
// For EMBED and for the plain LINEAR; fast kernels decode whole blocks in registers instead.
#ifndef MOSA_BACKEND_CUDA_PLUGIN_DEQUANT_CUH
#define MOSA_BACKEND_CUDA_PLUGIN_DEQUANT_CUH

#include "backend/cuda/plugin/cuda_kernel.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

__constant__ const int8_t mosa_cuda_iq4[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                               1,    13,   25,  38,  53,  69,  89,  113};
__constant__ const int8_t mosa_cuda_e2m1[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

static __device__ inline float half_at(const unsigned char *p) { // 2-byte aligned
    return __half2float(*reinterpret_cast<const __half *>(p));
}

// A nibble of a block of 32 whose bytes hold element j and j + 16.
static __device__ inline int nibble32(const unsigned char *qs, int j) {
    return j < 16 ? qs[j] & 15 : qs[j - 16] >> 4;
}

static __device__ inline int fifth_bit(const unsigned char *qh, int j) {
    return (qh[j / 8] >> j % 8 & 1) << 4;
}

static __device__ inline void k4_scale(const unsigned char *s, int g, int *scale, int *min) {
    *scale = g < 4 ? s[g] & 63 : (s[g + 4] & 15) | (s[g - 4] >> 6) << 4;
    *min = g < 4 ? s[g + 4] & 63 : (s[g + 4] >> 4) | (s[g] >> 6) << 4;
}

static __device__ inline float scale_min(float d, int scale, float dmin, int min, int q) {
    return __fsub_rn(__fmul_rn(__fmul_rn(d, (float)scale), (float)q), __fmul_rn(dmin, (float)min));
}

static __device__ inline float q2_k(const unsigned char *b, int i) {
    int h = i / 128, s = i / 32 % 4, j = i % 32, sc = b[i / 16];
    return scale_min(half_at(b + 80), sc & 15, half_at(b + 82), sc >> 4, b[16 + 32 * h + j] >> 2 * s & 3);
}

static __device__ inline float q3_k(const unsigned char *b, int i) {
    const unsigned char *hmask = b, *qs = b + 32, *scales = b + 96;
    int h = i / 128, s = i / 32 % 4, j = i % 32, g = i / 16;
    int low = g < 8 ? scales[g] & 15 : scales[g - 8] >> 4, high = scales[8 + g % 4] >> 2 * (g / 4) & 3;
    int q = (qs[32 * h + j] >> 2 * s & 3) + 4 * (hmask[j] >> (4 * h + s) & 1) - 4;
    return __fmul_rn(__fmul_rn(half_at(b + 108), (float)((low | high << 4) - 32)), (float)q);
}

static __device__ inline float q4_k(const unsigned char *b, int i) {
    int g = i / 32, scale, min;
    k4_scale(b + 4, g, &scale, &min);
    return scale_min(half_at(b), scale, half_at(b + 2), min, b[16 + 32 * (g / 2) + i % 32] >> 4 * (g % 2) & 15);
}

static __device__ inline float q5_k(const unsigned char *b, int i) {
    int g = i / 32, scale, min;
    k4_scale(b + 4, g, &scale, &min);
    int q = (b[48 + 32 * (g / 2) + i % 32] >> 4 * (g % 2) & 15) | (b[16 + i % 32] >> g & 1) << 4;
    return scale_min(half_at(b), scale, half_at(b + 2), min, q);
}

static __device__ inline float q6_k(const unsigned char *b, int i) {
    int h = i / 128, s = i / 32 % 4, j = i % 32;
    int low = b[64 * h + 32 * (s % 2) + j] >> (s < 2 ? 0 : 4) & 15, high = b[128 + 32 * h + j] >> 2 * s & 3;
    int scale = reinterpret_cast<const signed char *>(b)[192 + i / 16];
    return __fmul_rn(__fmul_rn(half_at(b + 208), (float)scale), (float)((low | high << 4) - 32));
}

static __device__ inline float iq4_xs(const unsigned char *b, int i) {
    int g = i / 32, low = b[4 + g / 2] >> 4 * (g % 2) & 15;
    int high = (b[2] | b[3] << 8) >> 2 * g & 3;
    float d = __fmul_rn(half_at(b), (float)((low | high << 4) - 32));
    return __fmul_rn(d, (float)mosa_cuda_iq4[nibble32(b + 8 + 16 * g, i % 32)]);
}

static __device__ inline float mxfp4(const unsigned char *b, int i) {
    int e = b[0];
    float d = __uint_as_float(e < 2 ? 0x00200000u << e : (unsigned)(e - 1) << 23);
    return __fmul_rn(d, (float)mosa_cuda_e2m1[nibble32(b + 1, i)]);
}

// Element i of a row.
template <int Type> static __device__ inline float element(const unsigned char *row, int64_t i) {
    const int64_t b32 = i / 32, b256 = i / 256;
    const int i32 = (int)(i % 32), i256 = (int)(i % 256);
    switch (Type) {
    case MOSA_F32:
        return reinterpret_cast<const float *>(row)[i];
    case MOSA_F16:
        return __half2float(reinterpret_cast<const __half *>(row)[i]);
    case MOSA_BF16:
        return __bfloat162float(reinterpret_cast<const __nv_bfloat16 *>(row)[i]);
    case MOSA_Q4_0:
        row += b32 * 18;
        return __fmul_rn(half_at(row), (float)(nibble32(row + 2, i32) - 8));
    case MOSA_Q4_1:
        row += b32 * 20;
        return __fadd_rn(__fmul_rn(half_at(row), (float)nibble32(row + 4, i32)), half_at(row + 2));
    case MOSA_Q5_0:
        row += b32 * 22;
        return __fmul_rn(half_at(row), (float)((nibble32(row + 6, i32) | fifth_bit(row + 2, i32)) - 16));
    case MOSA_Q5_1:
        row += b32 * 24;
        return __fadd_rn(__fmul_rn(half_at(row), (float)(nibble32(row + 8, i32) | fifth_bit(row + 4, i32))),
                         half_at(row + 2));
    case MOSA_Q8_0:
        row += b32 * 34;
        return __fmul_rn(half_at(row), (float)reinterpret_cast<const signed char *>(row)[2 + i32]);
    case MOSA_Q2_K:
        return q2_k(row + b256 * 84, i256);
    case MOSA_Q3_K:
        return q3_k(row + b256 * 110, i256);
    case MOSA_Q4_K:
        return q4_k(row + b256 * 144, i256);
    case MOSA_Q5_K:
        return q5_k(row + b256 * 176, i256);
    case MOSA_Q6_K:
        return q6_k(row + b256 * 210, i256);
    case MOSA_IQ4_NL:
        row += b32 * 18;
        return __fmul_rn(half_at(row), (float)mosa_cuda_iq4[nibble32(row + 2, i32)]);
    case MOSA_IQ4_XS:
        return iq4_xs(row + b256 * 136, i256);
    default:
        return mxfp4(row + b32 * 17, i32);
    }
}

// Calls `body<type>()` for the type of a weight: MOSA_CUDA_BY_TYPE(dtype, { kernel<Type><<<...>>>(...); }).
#define MOSA_CUDA_CASE(type, ...)                                                                                      \
    case type: {                                                                                                       \
        constexpr int Type = type;                                                                                     \
        __VA_ARGS__                                                                                                    \
        break;                                                                                                         \
    }
#define MOSA_CUDA_BY_TYPE(dtype, ...)                                                                                  \
    switch (dtype) {                                                                                                   \
        MOSA_CUDA_CASE(MOSA_F32, __VA_ARGS__)                                                                          \
        MOSA_CUDA_CASE(MOSA_F16, __VA_ARGS__)                                                                          \
        MOSA_CUDA_CASE(MOSA_BF16, __VA_ARGS__)                                                                         \
        MOSA_CUDA_CASE(MOSA_Q4_0, __VA_ARGS__)                                                                         \
        MOSA_CUDA_CASE(MOSA_Q4_1, __VA_ARGS__)                                                                         \
        MOSA_CUDA_CASE(MOSA_Q5_0, __VA_ARGS__)                                                                         \
        MOSA_CUDA_CASE(MOSA_Q5_1, __VA_ARGS__)                                                                         \
        MOSA_CUDA_CASE(MOSA_Q8_0, __VA_ARGS__)                                                                         \
        MOSA_CUDA_CASE(MOSA_Q2_K, __VA_ARGS__)                                                                         \
        MOSA_CUDA_CASE(MOSA_Q3_K, __VA_ARGS__)                                                                         \
        MOSA_CUDA_CASE(MOSA_Q4_K, __VA_ARGS__)                                                                         \
        MOSA_CUDA_CASE(MOSA_Q5_K, __VA_ARGS__)                                                                         \
        MOSA_CUDA_CASE(MOSA_Q6_K, __VA_ARGS__)                                                                         \
        MOSA_CUDA_CASE(MOSA_IQ4_NL, __VA_ARGS__)                                                                       \
        MOSA_CUDA_CASE(MOSA_IQ4_XS, __VA_ARGS__)                                                                       \
        MOSA_CUDA_CASE(MOSA_MXFP4, __VA_ARGS__)                                                                        \
    default:                                                                                                           \
        return cudaErrorNotSupported;                                                                                  \
    }

#endif
