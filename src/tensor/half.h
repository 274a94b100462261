// Exact scalar conversions between f32 and the 16-bit floats (IEEE 754 binary16 and bfloat16).
//
// Narrowing rounds to nearest even. Infinities, signed zeros and subnormals are kept; a NaN stays a NaN (made quiet,
// sign and upper payload kept). Pure integer arithmetic, so results never depend on the floating-point environment.
#ifndef MOSA_TENSOR_HALF_H
#define MOSA_TENSOR_HALF_H

#include <stdint.h>
#include <string.h>

static inline uint32_t mosa_f32_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float mosa_f32_from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline float mosa_bf16_to_f32(uint16_t half) {
    return mosa_f32_from_bits((uint32_t)half << 16);
}

static inline uint16_t mosa_bf16_from_f32(float value) {
    uint32_t bits = mosa_f32_bits(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

static inline float mosa_f16_to_f32(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    uint32_t exponent = half >> 10 & 0x1fu;
    uint32_t mantissa = half & 0x3ffu;
    if (exponent == 0x1fu) // infinity or NaN; a signalling NaN is made quiet as the hardware does
        return mosa_f32_from_bits(sign | 0x7f800000u | mantissa << 13 | (mantissa ? 0x400000u : 0u));
    if (exponent) return mosa_f32_from_bits(sign | (exponent + 112u) << 23 | mantissa << 13);
    if (!mantissa) return mosa_f32_from_bits(sign);
    unsigned shift = (unsigned)__builtin_clz(mantissa) - 21u; // brings the leading one to bit 10
    return mosa_f32_from_bits(sign | (113u - shift) << 23 | (mantissa << shift & 0x3ffu) << 13);
}

static inline uint16_t mosa_f16_from_f32(float value) {
    uint32_t bits = mosa_f32_bits(value);
    uint32_t sign = bits >> 16 & 0x8000u;
    uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return (uint16_t)(sign | 0x7e00u | (magnitude >> 13 & 0x3ffu));
    if (magnitude >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u); // rounds to 65536 or more
    if (magnitude >= 0x38800000u) {                                  // normal half
        uint32_t rounded = magnitude + 0xfffu + (magnitude >> 13 & 1u);
        return (uint16_t)(sign | (rounded - 0x38000000u) >> 13);
    }
    if (magnitude < 0x33000000u) return (uint16_t)sign; // below half of the least subnormal
    // Subnormal half: value = mantissa * 2^-24, so drop (126 - exponent) bits of the 24-bit significand.
    uint32_t significand = (magnitude & 0x7fffffu) | 0x800000u;
    unsigned drop = 126u - (magnitude >> 23);
    uint32_t kept = significand >> drop;
    uint32_t rest = significand & ((1u << drop) - 1u);
    uint32_t half_way = 1u << (drop - 1u);
    if (rest > half_way || (rest == half_way && (kept & 1u))) kept++;
    return (uint16_t)(sign | kept);
}

#endif
