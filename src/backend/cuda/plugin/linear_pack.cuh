// What lies where in a packed matrix: word `i` (32 bits) of a unit, made from the file's own rows. Host and device.
#ifndef MOSA_BACKEND_CUDA_PLUGIN_LINEAR_PACK_CUH
#define MOSA_BACKEND_CUDA_PLUGIN_LINEAR_PACK_CUH

// Where the rows come from. Rows are contiguous, block formats as tensor/quant.h has them; nothing is aligned.
enum linear_source_type {
    LINEAR_FROM_BF16,
    LINEAR_FROM_F16,
    LINEAR_FROM_F32,
    LINEAR_FROM_Q8_0,
    LINEAR_FROM_Q4_0,
    LINEAR_FROM_Q4_K,
    LINEAR_FROM_Q5_K,
    LINEAR_FROM_Q6_K
};

typedef struct linear_source {
    const uint8_t *rows;
    enum linear_source_type type;
    int64_t n, k, row_bytes;
} linear_source;

__host__ __device__ static inline uint32_t linear_u16(const uint8_t *p) {
    return p[0] | (uint32_t)p[1] << 8;
}

__host__ __device__ static inline uint32_t linear_round_bf16(uint32_t f32) {
    if ((f32 & 0x7fffffffu) > 0x7f800000u) return (f32 >> 16 | 0x40u) & 0xffffu;
    return (f32 + 0x7fffu + (f32 >> 16 & 1u)) >> 16;
}

__host__ __device__ static inline uint32_t linear_source_bf16(const linear_source *s, int64_t row, int64_t col) {
    if (row >= s->n || col >= s->k) return 0;
    const uint8_t *p = s->rows + row * s->row_bytes + col * (s->type == LINEAR_FROM_F32 ? 4 : 2);
    if (s->type == LINEAR_FROM_BF16) return linear_u16(p);
    uint32_t bits = linear_u16(p);
    if (s->type == LINEAR_FROM_F32) return linear_round_bf16(bits | linear_u16(p + 2) << 16);
    __half_raw raw;
    raw.x = (unsigned short)bits;
    float f = __half2float(__half(raw));
    memcpy(&bits, &f, sizeof bits);
    return linear_round_bf16(bits);
}

// Block of `len` columns and `bytes` bytes that holds (row, col), or NULL in the padding.
__host__ __device__ static inline const uint8_t *linear_block(const linear_source *s, int64_t row, int64_t col, int len,
                                                              int bytes) {
    if (row >= s->n || col >= s->k) return nullptr;
    return s->rows + row * s->row_bytes + col / len * bytes;
}

// Low nibble of a value; and what lies above it, the upper bits.
__host__ __device__ static inline uint32_t linear_value_low(const linear_source *s, int64_t row, int64_t col) {
    if (s->type == LINEAR_FROM_Q4_0) {
        const uint8_t *p = linear_block(s, row, col, 32, 18);
        int i = (int)(col % 32);
        return p ? p[2 + i % 16] >> 4 * (i / 16) & 15u : 0;
    }
    int i = (int)(col % 256);
    if (s->type == LINEAR_FROM_Q6_K) {
        const uint8_t *p = linear_block(s, row, col, 256, 210);
        int h = i / 128, part = i / 32 % 4, j = i % 32;
        return p ? p[64 * h + 32 * (part % 2) + j] >> 4 * (part / 2) & 15u : 0;
    }
    bool q5 = s->type == LINEAR_FROM_Q5_K;
    const uint8_t *p = linear_block(s, row, col, 256, q5 ? 176 : 144);
    return p ? p[(q5 ? 48 : 16) + 32 * (i / 64) + i % 32] >> 4 * (i / 32 % 2) & 15u : 0;
}
__host__ __device__ static inline uint32_t linear_value_high(const linear_source *s, int64_t row, int64_t col) {
    int i = (int)(col % 256);
    if (s->type == LINEAR_FROM_Q6_K) {
        const uint8_t *p = linear_block(s, row, col, 256, 210);
        return p ? p[128 + 32 * (i / 128) + i % 32] >> 2 * (i / 32 % 4) & 3u : 0;
    }
    const uint8_t *p = linear_block(s, row, col, 256, 176);
    return p ? p[16 + i % 32] >> (i / 32) & 1u : 0;
}

// Column, in its block of 32, of nibble x (0..7) of lane column c.
__host__ __device__ static inline int linear_nibble_column(int x, int c) {
    return 16 * (x / 4) + 8 * (x / 2 % 2) + 2 * c + x % 2;
}

// f16 scales of rows r and r + 8.
__host__ __device__ static inline uint32_t linear_scale_pair(const linear_source *s, int64_t row, int64_t col, int len,
                                                             int bytes, int at) {
    const uint8_t *p = linear_block(s, row, col, len, bytes), *q = linear_block(s, row + 8, col, len, bytes);
    return (p ? linear_u16(p + at) : 0) | (q ? linear_u16(q + at) : 0) << 16;
}

// Six-bit scale and minimum of group g in 12 bytes: scale | minimum << 8.
__host__ __device__ static inline uint32_t linear_k4_pair(const uint8_t *p, int g) {
    if (g < 4) return (p[g] & 63u) | (p[g + 4] & 63u) << 8;
    return (p[g + 4] & 15u) | (uint32_t)(p[g - 4] >> 6) << 4 | (p[g + 4] >> 4 | (uint32_t)(p[g] >> 6) << 4) << 8;
}

// Word i of the head of the unit that begins at column k0 of the tile that begins at row n0.
__host__ __device__ static inline uint32_t linear_head_word(const linear_source *s, int64_t n0, int64_t k0, int i) {
    int j = i / 16, g = i / 2 % 8, b = i % 2;
    int64_t col = k0 + 64 * j + 32 * b;
    if (s->type == LINEAR_FROM_Q8_0) return linear_scale_pair(s, n0 + g, col, 32, 34, 0);
    if (s->type == LINEAR_FROM_Q4_0) return linear_scale_pair(s, n0 + g, col, 32, 18, 0);
    if (s->type == LINEAR_FROM_Q6_K) {
        if (i >= 64) return linear_scale_pair(s, n0 + i - 64, k0, 256, 210, 208);
        const uint8_t *p = linear_block(s, n0 + g, col, 256, 210), *q = linear_block(s, n0 + g + 8, col, 256, 210);
        int at = 192 + 2 * (2 * j + b);
        uint32_t word =
            (p ? p[at] | (uint32_t)p[at + 1] << 8 : 0) | (q ? (uint32_t)q[at] << 16 | (uint32_t)q[at + 1] << 24 : 0);
        return word ^ 0x80808080u;
    }
    int bytes = s->type == LINEAR_FROM_Q5_K ? 176 : 144;
    if (i >= 64) { // d and dmin of one row
        const uint8_t *p = linear_block(s, n0 + (i - 64) / 2 + 8 * (i % 2), k0, 256, bytes);
        return p ? linear_u16(p) | linear_u16(p + 2) << 16 : 0;
    }
    const uint8_t *p = linear_block(s, n0 + g, col, 256, bytes), *q = linear_block(s, n0 + g + 8, col, 256, bytes);
    return (p ? linear_k4_pair(p + 4, 2 * j + b) : 0) | (q ? linear_k4_pair(q + 4, 2 * j + b) << 16 : 0);
}

__host__ __device__ static inline uint32_t linear_nibble_word(const linear_source *s, int64_t n0, int64_t k0, int i) {
    int lane = i / 4, b = i % 4 / 2;
    int64_t row = n0 + lane / 4 + 8 * (i % 2), col = k0 + 32 * b;
    uint32_t word = 0;
    for (int x = 0; x < 8; x++)
        word |= linear_value_low(s, row, col + linear_nibble_column(x, lane % 4)) << (4 * (x / 2) + 16 * (x % 2));
    return word;
}

// Of q6_k a word is a block, with the rows g and g + 8; of q5_k it is both blocks of a step.
__host__ __device__ static inline uint32_t linear_upper_word(const linear_source *s, int64_t n0, int64_t k0, int i) {
    bool q6 = s->type == LINEAR_FROM_Q6_K;
    int lane = q6 ? i / 2 : i, width = q6 ? 2 : 1;
    uint32_t word = 0;
    for (int y = 0; y < 32 / width; y++) {
        int x = y % 8, r = y / 8 % 2, b = q6 ? i % 2 : y / 16;
        int64_t col = k0 + 32 * b + linear_nibble_column(x, lane % 4);
        word |= linear_value_high(s, n0 + lane / 4 + 8 * r, col)
                << (16 * (x % 2) + y / 8 * 4 * width + width * (x / 2));
    }
    return word;
}

// Word i of the step that begins at column k0.
__host__ __device__ static inline uint32_t linear_step_word(const linear_source *s, int64_t n0, int64_t k0, int i) {
    int lane = i / 4 % 32, g = lane / 4, c = lane % 4, r = i % 4;
    if (s->type <= LINEAR_FROM_F32) {
        int64_t row = n0 + g + 8 * (r % 2), col = k0 + 16 * (i / 128) + 2 * c + 8 * (r / 2);
        return linear_source_bf16(s, row, col) | linear_source_bf16(s, row, col + 1) << 16;
    }
    if (s->type == LINEAR_FROM_Q8_0) {
        int64_t row = n0 + g + 8 * (r / 2), col = k0 + 32 * (i / 128);
        const uint8_t *p = linear_block(s, row, col, 32, 34);
        uint32_t word = 0;
        for (int e = 0; e < 4; e++) {
            uint32_t byte = p ? p[2 + linear_nibble_column(4 * (r % 2) + e, c)] : 0;
            word |= (byte ^ 0x80u) << 8 * e;
        }
        return word;
    }
    return i < 128 ? linear_nibble_word(s, n0, k0, i) : linear_upper_word(s, n0, k0, i - 128);
}

__host__ __device__ static inline uint32_t linear_pack_word(const linear_source *s, int kind, int64_t tile,
                                                            int64_t unit, int i) {
    linear_format f = linear_format_of(kind);
    int64_t n0 = tile * LINEAR_TILE, k0 = unit * f.unit_k;
    if (i < f.head / 4) return linear_head_word(s, n0, k0, i);
    i -= f.head / 4;
    return linear_step_word(s, n0, k0 + i / (f.step / 4) * LINEAR_STEP, i % (f.step / 4));
}

#endif
