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

// a * b + c of bf16 pairs, each rounded once.
#ifndef __CUDA_ARCH__
static inline uint32_t linear_fma_host(uint32_t a, uint32_t b, uint32_t c) {
    double exact = (double)linear_float(a << 16) * linear_float(b << 16) + linear_float(c << 16);
    float f = (float)exact; // then to odd, so that rounding again does no harm
    uint32_t bits;
    if (fabs((double)f) > fabs(exact)) f = nextafterf(f, 0.0f);
    memcpy(&bits, &f, sizeof bits);
    if ((double)f != exact) bits |= 1;
    return linear_round_bf16(bits);
}
#endif
__host__ __device__ static __forceinline__ uint32_t linear_fma2(uint32_t a, uint32_t b, uint32_t c) {
    uint32_t r;
#ifdef __CUDA_ARCH__
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(c));
#else
    r = linear_fma_host(a & 0xffff, b & 0xffff, c & 0xffff) | linear_fma_host(a >> 16, b >> 16, c >> 16) << 16;
#endif
    return r;
}

// Pairs of small numbers: each lies in the lower bits of a half, or'ed into the mantissa of the bf16 128, from which
// `zero` (negative, a whole number below 256) is then taken off exactly; what comes out is q * scale + offset, scale
// and offset rounded to bf16 beforehand, the result rounded once.
static constexpr uint32_t LINEAR_ONE = 0x3f803f80u, LINEAR_NO_OFFSET = 0x80008000u;
__host__ __device__ static __forceinline__ uint32_t linear_pair(uint32_t biased, uint32_t zero, uint32_t scale,
                                                                uint32_t offset) {
    return linear_fma2(linear_fma2(biased, LINEAR_ONE, zero), scale, offset);
}
__host__ __device__ static __forceinline__ uint32_t linear_both(float v) {
    return linear_bf16x2(v, v);
}

// Operands of half S of a row: nibbles of `word`, pair i of which (0..3) is at bits 4i of the halves.
template <int S>
__host__ __device__ static __forceinline__ void linear_nibbles(uint32_t word, uint32_t zero, uint32_t scale,
                                                               uint32_t offset, uint32_t *low, uint32_t *high) {
    *low = linear_pair(linear_bits<0x000f000fu>(S ? word >> 8 : word, 0x43004300u), zero, scale, offset);
    *high = linear_pair(linear_bits<0x000f000fu>(S ? word >> 12 : word >> 4, 0x43004300u), zero, scale, offset);
}

// As linear_nibbles for values of 4 + WIDTH bits; the upper bits of pair i are at bits AT + WIDTH * i of the halves.
template <int S, int WIDTH, int AT, int PAIR>
__host__ __device__ static __forceinline__ uint32_t linear_wide(uint32_t low, uint32_t upper) {
    constexpr int I = 2 * S + PAIR, FROM = AT + WIDTH * I;
    constexpr uint32_t MASK = WIDTH == 2 ? 0x00300030u : 0x00100010u;
    uint32_t h = FROM <= 4 ? upper << (4 - FROM) % 32 : upper >> (FROM - 4) % 32;
    return linear_bits<MASK>(h, linear_bits<0x000f000fu>(low >> 4 * I, 0x43004300u));
}
template <int S, int WIDTH, int AT>
__host__ __device__ static __forceinline__ void
linear_wides(uint32_t low, uint32_t upper, uint32_t zero, uint32_t scale, uint32_t offset, uint32_t *a, uint32_t *b) {
    *a = linear_pair(linear_wide<S, WIDTH, AT, 0>(low, upper), zero, scale, offset);
    *b = linear_pair(linear_wide<S, WIDTH, AT, 1>(low, upper), zero, scale, offset);
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
        linear_nibbles<S>(B ? v.z : v.x, 0xc308c308u, linear_both(scale.x), LINEAR_NO_OFFSET, &a[0], &a[2]);
        linear_nibbles<S>(B ? v.w : v.y, 0xc308c308u, linear_both(scale.y), LINEAR_NO_OFFSET, &a[1], &a[3]);
    }
};

// Scales of a step of q4_k and q5_k: of each block scale(g), min(g), scale(g+8), min(g+8); d, dmin of both rows.
struct linear_k4_scales {
    uint2 s, d;
    __host__ __device__ __forceinline__ void load(const char *head, int j, int lane) {
        s = *(const uint2 *)(head + j * 64 + (lane >> 2) * 8);
        d = *(const uint2 *)(head + 256 + (lane >> 2) * 8);
    }
    // scale and -minimum of row g (R 0) or g + 8 (R 1), rounded from exact products.
    template <int B, int R> __host__ __device__ __forceinline__ uint2 get() const {
        uint32_t word = B ? s.y : s.x;
        float2 both = linear_half2(R ? d.y : d.x);
        return make_uint2(linear_both(fmaf(linear_byte15<2 * R>(word), both.x, -32768.0f * both.x)),
                          linear_both(fmaf(linear_byte15<2 * R + 1>(word), -both.y, 32768.0f * both.y)));
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
    __host__ __device__ static __forceinline__ void row(uint32_t word, uint2 sm, uint32_t *low, uint32_t *high) {
        linear_nibbles<S>(word, 0xc300c300u, sm.x, sm.y, low, high);
    }
    template <int B, int S> __host__ __device__ __forceinline__ void fragment(uint32_t a[4]) const {
        row<S>(B ? v.z : v.x, s.get<B, 0>(), &a[0], &a[2]);
        row<S>(B ? v.w : v.y, s.get<B, 1>(), &a[1], &a[3]);
    }
};

struct linear_q5_k {
    enum { KIND = MOSA_LINEAR_Q5_K, UNIT_K = 256, HEAD = 320, STEP = 640 };
    uint4 v;
    uint32_t upper; // fifth bits: four of each half for each B, R
    linear_k4_scales s;
    __host__ __device__ __forceinline__ void load(const char *step, const char *head, int j, int lane) {
        v = *(const uint4 *)(step + lane * 16);
        upper = *(const uint32_t *)(step + 512 + lane * 4);
        s.load(head, j, lane);
    }
    template <int S, int AT>
    __host__ __device__ __forceinline__ void row(uint32_t word, uint2 sm, uint32_t *low, uint32_t *high) const {
        linear_wides<S, 1, AT>(word, upper, 0xc300c300u, sm.x, sm.y, low, high);
    }
    template <int B, int S> __host__ __device__ __forceinline__ void fragment(uint32_t a[4]) const {
        row<S, 8 * B>(B ? v.z : v.x, s.get<B, 0>(), &a[0], &a[2]);
        row<S, 8 * B + 4>(B ? v.w : v.y, s.get<B, 1>(), &a[1], &a[3]);
    }
};

struct linear_q6_k {
    enum { KIND = MOSA_LINEAR_Q6_K, UNIT_K = 256, HEAD = 288, STEP = 768 };
    uint4 v;
    uint2 upper; // a word a block: of each half the lower byte for row g, the upper for g + 8
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
        uint32_t s0 = linear_both(scale0), s1 = linear_both(scale1);
        linear_wides<S, 2, 0>(B ? v.z : v.x, bits, 0xc320c320u, s0, LINEAR_NO_OFFSET, &a[0], &a[2]);
        linear_wides<S, 2, 8>(B ? v.w : v.y, bits, 0xc320c320u, s1, LINEAR_NO_OFFSET, &a[1], &a[3]);
    }
};

#endif
#endif
