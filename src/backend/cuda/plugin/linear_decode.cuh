// Device side of linear_layout.cuh: each format's registers of a step, and the operands made of them.
#ifndef MOSA_BACKEND_CUDA_PLUGIN_LINEAR_DECODE_CUH
#define MOSA_BACKEND_CUDA_PLUGIN_LINEAR_DECODE_CUH

#if defined(__CUDACC__) || defined(LINEAR_EMULATE)

// The few instructions below have a host form, so that a test without a device runs the decoders.
__host__ __device__ static __forceinline__ float linear_float(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

// bf16 pair, `low` in the lower half (the smaller k).
__host__ __device__ static __forceinline__ uint32_t linear_bf16x2(float low, float high) {
    uint32_t r;
#ifdef __CUDA_ARCH__
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
#else
    uint32_t bits[2];
    memcpy(&bits[0], &low, sizeof low);
    memcpy(&bits[1], &high, sizeof high);
    r = linear_round_bf16(bits[0]) | linear_round_bf16(bits[1]) << 16;
#endif
    return r;
}

__host__ __device__ static __forceinline__ float2 linear_half2(uint32_t bits) {
    __half2 h;
    memcpy(&h, &bits, sizeof h);
    return __half22float2(h);
}

// 2^15 + byte I of word, exactly.
template <int I> __host__ __device__ static __forceinline__ float linear_byte15(uint32_t word) {
#ifdef __CUDA_ARCH__
    return linear_float(__byte_perm(word, 0x47000000u, 0x7604 | I << 4));
#else
    return linear_float(0x47000000u | (word >> 8 * I & 255u) << 8);
#endif
}

// (v & MASK) | with in one instruction; of two constants it wants one in a register, which only asm keeps there.
template <uint32_t MASK> __host__ __device__ static __forceinline__ uint32_t linear_bits(uint32_t v, uint32_t with) {
#ifdef __CUDA_ARCH__
    uint32_t r;
    asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(r) : "r"(v), "n"(MASK), "r"(with));
    return r;
#else
    return (v & MASK) | with;
#endif
}

// Four nibbles of a row for half S of a block, as two bf16 pairs: q * scale + offset. A nibble or'ed into the mantissa
// of 2^(23-b) at bit b is the number 2^(23-b) + q, so one multiply-add decodes it: offset12 = offset - 2048 scale for
// nibbles at bit 12, offset16 = offset - 128 scale for those at bit 16.
template <int S>
__host__ __device__ static __forceinline__ void linear_nibbles(uint32_t word, float scale, float offset12,
                                                               float offset16, uint32_t *low, uint32_t *high) {
    uint32_t near = S ? word >> 4 : word << 12, far = S ? word >> 12 : word << 4;
    float q0 = linear_float(linear_bits<0x0000f000u>(near, 0x45000000u));
    float q1 = linear_float(linear_bits<0x000f0000u>(near, 0x43000000u));
    float q2 = linear_float(linear_bits<0x0000f000u>(far, 0x45000000u));
    float q3 = linear_float(linear_bits<0x000f0000u>(far, 0x43000000u));
    *low = linear_bf16x2(fmaf(q0, scale, offset12), fmaf(q1, scale, offset16));
    *high = linear_bf16x2(fmaf(q2, scale, offset12), fmaf(q3, scale, offset16));
}

struct linear_bf16 {
    enum { KIND = MOSA_LINEAR_BF16, UNIT_K = 64, HEAD = 0, STEP = 2048 };
    uint4 v[4];
    __host__ __device__ __forceinline__ void load(const char *step, const char *, int, int lane) {
#pragma unroll
        for (int i = 0; i < 4; i++) v[i] = *(const uint4 *)(step + i * 512 + lane * 16);
    }
    template <int B, int S> __host__ __device__ __forceinline__ void fragment(uint32_t a[4]) const {
        a[0] = v[2 * B + S].x, a[1] = v[2 * B + S].y, a[2] = v[2 * B + S].z, a[3] = v[2 * B + S].w;
    }
};

struct linear_q8_0 {
    enum { KIND = MOSA_LINEAR_Q8_0, UNIT_K = 128, HEAD = 128, STEP = 1024 };
    uint4 v[2];
    uint2 d;
    __host__ __device__ __forceinline__ void load(const char *step, const char *head, int j, int lane) {
        v[0] = *(const uint4 *)(step + lane * 16);
        v[1] = *(const uint4 *)(step + 512 + lane * 16);
        d = *(const uint2 *)(head + j * 64 + (lane >> 2) * 8);
    }
    __host__ __device__ static __forceinline__ void bytes(uint32_t word, float scale, uint32_t *low, uint32_t *high) {
        float offset = -32896.0f * scale; // 2^15 + 128
        *low = linear_bf16x2(fmaf(linear_byte15<0>(word), scale, offset), fmaf(linear_byte15<1>(word), scale, offset));
        *high = linear_bf16x2(fmaf(linear_byte15<2>(word), scale, offset), fmaf(linear_byte15<3>(word), scale, offset));
    }
    template <int B, int S> __host__ __device__ __forceinline__ void fragment(uint32_t a[4]) const {
        float2 scale = linear_half2(B ? d.y : d.x);
        bytes(S ? v[B].y : v[B].x, scale.x, &a[0], &a[2]);
        bytes(S ? v[B].w : v[B].z, scale.y, &a[1], &a[3]);
    }
};

struct linear_q4_0 {
    enum { KIND = MOSA_LINEAR_Q4_0, UNIT_K = 128, HEAD = 128, STEP = 512 };
    uint4 v;
    uint2 d;
    __host__ __device__ __forceinline__ void load(const char *step, const char *head, int j, int lane) {
        v = *(const uint4 *)(step + lane * 16);
        d = *(const uint2 *)(head + j * 64 + (lane >> 2) * 8);
    }
    template <int B, int S> __host__ __device__ __forceinline__ void fragment(uint32_t a[4]) const {
        float2 scale = linear_half2(B ? d.y : d.x);
        linear_nibbles<S>(B ? v.z : v.x, scale.x, -2056.0f * scale.x, -136.0f * scale.x, &a[0], &a[2]);
        linear_nibbles<S>(B ? v.w : v.y, scale.y, -2056.0f * scale.y, -136.0f * scale.y, &a[1], &a[3]);
    }
};

// Scales of a step of q4_k and q5_k: of each block scale(g), min(g), scale(g+8), min(g+8); d, dmin of both rows.
struct linear_k4_scales {
    uint2 s, d;
    __host__ __device__ __forceinline__ void load(const char *head, int j, int lane) {
        s = *(const uint2 *)(head + j * 64 + (lane >> 2) * 8);
        d = *(const uint2 *)(head + 256 + (lane >> 2) * 8);
    }
    // R: 0 = row g, 1 = row g + 8. The products are exact.
    template <int B, int R> __host__ __device__ __forceinline__ float2 get() const {
        uint32_t word = B ? s.y : s.x;
        float2 both = linear_half2(R ? d.y : d.x);
        return make_float2(fmaf(linear_byte15<2 * R>(word), both.x, -32768.0f * both.x),
                           fmaf(linear_byte15<2 * R + 1>(word), both.y, -32768.0f * both.y));
    }
};

struct linear_q4_k {
    enum { KIND = MOSA_LINEAR_Q4_K, UNIT_K = 256, HEAD = 320, STEP = 512 };
    uint4 v;
    linear_k4_scales s;
    __host__ __device__ __forceinline__ void load(const char *step, const char *head, int j, int lane) {
        v = *(const uint4 *)(step + lane * 16);
        s.load(head, j, lane);
    }
    template <int S>
    __host__ __device__ static __forceinline__ void row(uint32_t word, float2 sm, uint32_t *low, uint32_t *high) {
        linear_nibbles<S>(word, sm.x, fmaf(-2048.0f, sm.x, -sm.y), fmaf(-128.0f, sm.x, -sm.y), low, high);
    }
    template <int B, int S> __host__ __device__ __forceinline__ void fragment(uint32_t a[4]) const {
        row<S>(B ? v.z : v.x, s.get<B, 0>(), &a[0], &a[2]);
        row<S>(B ? v.w : v.y, s.get<B, 1>(), &a[1], &a[3]);
    }
};

// As linear_nibbles for values of 4 + WIDTH bits. The upper bits of the row begin at bit AT of `upper`; see
// linear_upper_bit for their order, in which those of a pair lie four bits apart, as its nibbles do.
template <int S, int WIDTH, int AT, int PAIR>
__host__ __device__ static __forceinline__ uint32_t linear_wide_pair(uint32_t low, uint32_t upper, float scale,
                                                                     float offset12, float offset16) {
    constexpr int POSITION = AT + (WIDTH == 2 ? 8 * S + 2 * PAIR : 2 * S + PAIR);
    constexpr uint32_t MASK = WIDTH == 2 ? 3u : 1u;
    uint32_t l = S ? low >> (PAIR ? 12 : 4) : low << (PAIR ? 4 : 12);
    uint32_t h = POSITION <= 16 ? upper << (16 - POSITION) % 32 : upper >> (POSITION - 16) % 32;
    uint32_t q0 = linear_bits<MASK << 16>(h, linear_bits<0x0000f000u>(l, 0x45000000u));
    uint32_t q1 = linear_bits<MASK << 20>(h, linear_bits<0x000f0000u>(l, 0x43000000u));
    return linear_bf16x2(fmaf(linear_float(q0), scale, offset12), fmaf(linear_float(q1), scale, offset16));
}
template <int S, int WIDTH, int AT>
__host__ __device__ static __forceinline__ void linear_wides(uint32_t low, uint32_t upper, float scale, float offset12,
                                                             float offset16, uint32_t *a, uint32_t *b) {
    *a = linear_wide_pair<S, WIDTH, AT, 0>(low, upper, scale, offset12, offset16);
    *b = linear_wide_pair<S, WIDTH, AT, 1>(low, upper, scale, offset12, offset16);
}

struct linear_q5_k {
    enum { KIND = MOSA_LINEAR_Q5_K, UNIT_K = 256, HEAD = 320, STEP = 640 };
    uint4 v;
    uint32_t upper; // fifth bits: byte 2B + R
    linear_k4_scales s;
    __host__ __device__ __forceinline__ void load(const char *step, const char *head, int j, int lane) {
        v = *(const uint4 *)(step + lane * 16);
        upper = *(const uint32_t *)(step + 512 + lane * 4);
        s.load(head, j, lane);
    }
    template <int S, int AT>
    __host__ __device__ __forceinline__ void row(uint32_t word, float2 sm, uint32_t *low, uint32_t *high) const {
        linear_wides<S, 1, AT>(word, upper, sm.x, fmaf(-2048.0f, sm.x, -sm.y), fmaf(-128.0f, sm.x, -sm.y), low, high);
    }
    template <int B, int S> __host__ __device__ __forceinline__ void fragment(uint32_t a[4]) const {
        row<S, 16 * B>(B ? v.z : v.x, s.get<B, 0>(), &a[0], &a[2]);
        row<S, 16 * B + 8>(B ? v.w : v.y, s.get<B, 1>(), &a[1], &a[3]);
    }
};

struct linear_q6_k {
    enum { KIND = MOSA_LINEAR_Q6_K, UNIT_K = 256, HEAD = 288, STEP = 768 };
    uint4 v;
    uint2 upper; // a word a block: row g in the lower half, row g + 8 in the upper
    uint2 s;     // a word a block: byte 2R + S is a scale + 128
    uint32_t d;
    __host__ __device__ __forceinline__ void load(const char *step, const char *head, int j, int lane) {
        v = *(const uint4 *)(step + lane * 16);
        upper = *(const uint2 *)(step + 512 + lane * 8);
        s = *(const uint2 *)(head + j * 64 + (lane >> 2) * 8);
        d = *(const uint32_t *)(head + 256 + (lane >> 2) * 4);
    }
    template <int B, int S> __host__ __device__ __forceinline__ void fragment(uint32_t a[4]) const {
        float2 both = linear_half2(d);
        uint32_t word = B ? s.y : s.x, bits = B ? upper.y : upper.x;
        float scale0 = fmaf(linear_byte15<S>(word), both.x, -32896.0f * both.x); // exact
        float scale1 = fmaf(linear_byte15<2 + S>(word), both.y, -32896.0f * both.y);
        linear_wides<S, 2, 0>(B ? v.z : v.x, bits, scale0, -2080.0f * scale0, -160.0f * scale0, &a[0], &a[2]);
        linear_wides<S, 2, 16>(B ? v.w : v.y, bits, scale1, -2080.0f * scale1, -160.0f * scale1, &a[1], &a[3]);
    }
};

#endif
#endif
