// Packs full panels with AVX2: the same bytes as the plain packer of pack.c, at the speed of memory.
//
// Everything rests on one move: eight vectors of eight 32-bit units, one vector per row (or pair of rows), become eight
// vectors with one unit of every row each.
#include "backend/cpu/pack_internal.h"
#include "tensor/quant.h"

#include <immintrin.h>
#include <string.h>

static inline __m256i load256(const void *at) {
    return _mm256_loadu_si256((const __m256i *)at);
}
static inline void store256(void *at, __m256i v) {
    _mm256_storeu_si256((__m256i *)at, v);
}
static inline __m128i load128(const void *at) {
    return _mm_loadu_si128((const __m128i *)at);
}
static inline void store128(void *at, __m128i v) {
    _mm_storeu_si128((__m128i *)at, v);
}

// v[r] unit u -> v[u] unit r
static inline void transpose8(__m256i v[8]) {
    __m256i a[8], b[8];
    for (int i = 0; i < 4; i++) {
        a[2 * i] = _mm256_unpacklo_epi32(v[2 * i], v[2 * i + 1]);
        a[2 * i + 1] = _mm256_unpackhi_epi32(v[2 * i], v[2 * i + 1]);
    }
    for (int i = 0; i < 2; i++) {
        b[4 * i] = _mm256_unpacklo_epi64(a[4 * i], a[4 * i + 2]);
        b[4 * i + 1] = _mm256_unpackhi_epi64(a[4 * i], a[4 * i + 2]);
        b[4 * i + 2] = _mm256_unpacklo_epi64(a[4 * i + 1], a[4 * i + 3]);
        b[4 * i + 3] = _mm256_unpackhi_epi64(a[4 * i + 1], a[4 * i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        v[i] = _mm256_permute2x128_si256(b[i], b[i + 4], 0x20);
        v[i + 4] = _mm256_permute2x128_si256(b[i], b[i + 4], 0x31);
    }
}

static inline void transpose8_store(__m256i v[8], unsigned char *to, int step) {
    transpose8(v);
    for (int i = 0; i < 8; i++) store256(to + i * step, v[i]);
}

// 16 rows of 16 units of two bytes become [16 units][16 rows].
static inline void transpose16x16(const unsigned char *from, size_t row_bytes, unsigned char *to) {
    __m256i low[8], high[8]; // row pairs: units 0-3 and 8-11, units 4-7 and 12-15
    for (int i = 0; i < 8; i++) {
        __m256i even = load256(from + (size_t)(2 * i) * row_bytes),
                odd = load256(from + (size_t)(2 * i + 1) * row_bytes);
        low[i] = _mm256_unpacklo_epi16(even, odd);
        high[i] = _mm256_unpackhi_epi16(even, odd);
    }
    transpose8(low);
    transpose8(high);
    for (int i = 0; i < 8; i++) {
        int unit = i < 4 ? i : i + 4;
        store256(to + 32 * unit, low[i]);
        store256(to + 32 * (unit + 4), high[i]);
    }
}

// 16 rows of 16 bytes become [16 bytes][16 rows].
static inline void transpose_bytes(__m128i v[16]) {
    __m128i t[16];
    for (int round = 0; round < 4; round++) { // each round moves one bit of the row number into the byte number
        for (int i = 0; i < 8; i++) {
            t[2 * i] = _mm_unpacklo_epi8(v[i], v[i + 8]);
            t[2 * i + 1] = _mm_unpackhi_epi8(v[i], v[i + 8]);
        }
        memcpy(v, t, sizeof t);
    }
}

static inline void gather_halves(const unsigned char *from, size_t row_bytes, unsigned char *to) {
    for (int r = 0; r < 16; r++) memcpy(to + 2 * r, from + (size_t)r * row_bytes, 2);
}

typedef void (*pack_record_fn)(const unsigned char *block, size_t row_bytes, unsigned char *record);

static void pack_q8_0(const unsigned char *block, size_t row_bytes, unsigned char *record) {
    for (int half = 0; half < 2; half++) {
        __m256i v[8];
        for (int r = 0; r < 8; r++)
            v[r] = load256(block + (size_t)(8 * half + r) * row_bytes + offsetof(mosa_block_q8_0, qs));
        transpose8_store(v, record + 32 * half, 64);
    }
    gather_halves(block, row_bytes, record + MOSA_PANEL_Q8_0_D);
}

static inline __m256i low_nibbles(__m256i v) {
    return _mm256_and_si256(v, _mm256_set1_epi8(15));
}
static inline __m256i high_nibbles(__m256i v) {
    return low_nibbles(_mm256_srli_epi16(v, 4));
}
static inline __m256i pair_nibbles(__m256i row, __m256i row_plus_8) { // both 0..15
    return _mm256_or_si256(row, _mm256_slli_epi16(row_plus_8, 4));
}

// The 32 nibbles of each row in 16 bytes, low nibbles before high ones, to 8 k4 steps.
static inline void pack_nibbles32(const unsigned char *qs, size_t row_bytes, unsigned char *to) {
    __m256i v[16];
    for (int r = 0; r < 16; r++) {
        __m128i both = load128(qs + (size_t)r * row_bytes);
        v[r] = low_nibbles(_mm256_set_m128i(_mm_srli_epi16(both, 4), both));
    }
    for (int r = 0; r < 8; r++) v[r] = pair_nibbles(v[r], v[r + 8]);
    transpose8_store(v, to, 32);
}

static void pack_q4_0(const unsigned char *block, size_t row_bytes, unsigned char *record) {
    pack_nibbles32(block + offsetof(mosa_block_q4_0, qs), row_bytes, record);
    gather_halves(block, row_bytes, record + MOSA_PANEL_Q4_0_D);
}

static void pack_q4_1(const unsigned char *block, size_t row_bytes, unsigned char *record) {
    pack_nibbles32(block + offsetof(mosa_block_q4_1, qs), row_bytes, record);
    gather_halves(block, row_bytes, record + MOSA_PANEL_Q4_0_D);
    gather_halves(block + 2, row_bytes, record + MOSA_PANEL_Q4_1_M);
}

// The 64 levels of each row in 32 bytes, low nibbles before high ones, to 16 k4 steps.
static inline void pack_nibbles64(const unsigned char *qs, size_t row_bytes, unsigned char *low_to,
                                  unsigned char *high_to) {
    __m256i low[8], high[8];
    for (int r = 0; r < 8; r++) {
        __m256i a = load256(qs + (size_t)r * row_bytes), b = load256(qs + (size_t)(r + 8) * row_bytes);
        low[r] = pair_nibbles(low_nibbles(a), low_nibbles(b));
        high[r] = pair_nibbles(high_nibbles(a), high_nibbles(b));
    }
    transpose8_store(low, low_to, 32);
    transpose8_store(high, high_to, 32);
}

// Eight scales, then eight minima of the 12 bytes of q4_k and q5_k.
static inline __m128i six_bit_pairs(const unsigned char *packed) {
    uint32_t a, b, c, out[4];
    memcpy(&a, packed, 4);
    memcpy(&b, packed + 4, 4);
    memcpy(&c, packed + 8, 4);
    out[0] = a & 0x3f3f3f3fu;
    out[1] = (c & 0x0f0f0f0fu) | (a >> 2 & 0x30303030u);
    out[2] = b & 0x3f3f3f3fu;
    out[3] = (c >> 4 & 0x0f0f0f0fu) | (b >> 2 & 0x30303030u);
    return load128(out);
}

static inline void pack_k_scales(const unsigned char *packed, size_t row_bytes, unsigned char *scale,
                                 unsigned char *min) {
    __m128i v[16];
    for (int r = 0; r < 16; r++) v[r] = six_bit_pairs(packed + (size_t)r * row_bytes);
    transpose_bytes(v);
    for (int g = 0; g < 8; g++) store128(scale + 16 * g, v[g]);
    for (int p = 0; p < 4; p++) {
        store128(min + 32 * p, _mm_unpacklo_epi8(v[8 + 2 * p], v[9 + 2 * p]));
        store128(min + 32 * p + 16, _mm_unpackhi_epi8(v[8 + 2 * p], v[9 + 2 * p]));
    }
}

static void pack_q4_k(const unsigned char *block, size_t row_bytes, unsigned char *record) {
    for (int p = 0; p < 4; p++)
        pack_nibbles64(block + offsetof(mosa_block_q4_k, qs) + 32 * p, row_bytes, record + 512 * p,
                       record + 512 * p + 256);
    pack_k_scales(block + offsetof(mosa_block_q4_k, scales), row_bytes, record + MOSA_PANEL_Q4_K_SCALE,
                  record + MOSA_PANEL_Q4_K_MIN);
    gather_halves(block, row_bytes, record + MOSA_PANEL_Q4_K_D);
    gather_halves(block + 2, row_bytes, record + MOSA_PANEL_Q4_K_D + 32);
}

// Bytes 0 or 1 of 32 elements of each row become a plane of single bits for 8 k4 steps.
static inline void pack_bits32(const __m256i ones[16], unsigned char *to) {
    __m256i v[8];
    for (int r = 0; r < 8; r++) v[r] = _mm256_or_si256(ones[r], _mm256_add_epi8(ones[r + 8], ones[r + 8]));
    transpose8(v);
    for (int i = 0; i < 2; i++) {
        __m256i low = _mm256_or_si256(v[4 * i], _mm256_slli_epi16(v[4 * i + 1], 2));
        __m256i high = _mm256_or_si256(v[4 * i + 2], _mm256_slli_epi16(v[4 * i + 3], 2));
        store256(to + 32 * i, _mm256_or_si256(low, _mm256_slli_epi16(high, 4)));
    }
}

// Bit `bit` of every byte of 32 elements per row.
static inline void pack_bit_of_bytes(const __m256i bytes[16], int bit, unsigned char *to) {
    __m256i ones[16];
    for (int r = 0; r < 16; r++)
        ones[r] = _mm256_and_si256(_mm256_srl_epi16(bytes[r], _mm_cvtsi32_si128(bit)), _mm256_set1_epi8(1));
    pack_bits32(ones, to);
}

// The 32 bits of a q5_0 or q5_1 block, one per element.
static inline void pack_bit_field(const unsigned char *qh, size_t row_bytes, unsigned char *to) {
    __m256i spread = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    __m256i select = _mm256_set1_epi64x((long long)0x8040201008040201u), ones[16];
    for (int r = 0; r < 16; r++) {
        int32_t bits;
        memcpy(&bits, qh + (size_t)r * row_bytes, 4);
        __m256i byte = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32(bits), spread), select);
        ones[r] = _mm256_and_si256(_mm256_cmpeq_epi8(byte, select), _mm256_set1_epi8(1));
    }
    pack_bits32(ones, to);
}

static void pack_q5_0(const unsigned char *block, size_t row_bytes, unsigned char *record) {
    pack_nibbles32(block + offsetof(mosa_block_q5_0, qs), row_bytes, record);
    pack_bit_field(block + offsetof(mosa_block_q5_0, qh), row_bytes, record + MOSA_PANEL_32_HIGH);
    gather_halves(block, row_bytes, record + MOSA_PANEL_Q5_0_D);
}

static void pack_q5_1(const unsigned char *block, size_t row_bytes, unsigned char *record) {
    pack_nibbles32(block + offsetof(mosa_block_q5_1, qs), row_bytes, record);
    pack_bit_field(block + offsetof(mosa_block_q5_1, qh), row_bytes, record + MOSA_PANEL_32_HIGH);
    gather_halves(block, row_bytes, record + MOSA_PANEL_Q5_0_D);
    gather_halves(block + 2, row_bytes, record + MOSA_PANEL_Q5_1_M);
}

static void pack_mxfp4(const unsigned char *block, size_t row_bytes, unsigned char *record) {
    pack_nibbles32(block + offsetof(mosa_block_mxfp4, qs), row_bytes, record);
    for (int i = 0; i < 8; i++) { // the two zeros become one: code 8 is -0
        __m256i v = load256(record + 32 * i), low = low_nibbles(v), high = _mm256_xor_si256(v, low);
        low = _mm256_andnot_si256(_mm256_cmpeq_epi8(low, _mm256_set1_epi8(8)), low);
        high = _mm256_andnot_si256(_mm256_cmpeq_epi8(high, _mm256_set1_epi8(-128)), high);
        store256(record + 32 * i, _mm256_or_si256(low, high));
    }
    for (int r = 0; r < 16; r++) record[MOSA_PANEL_MXFP4_E + r] = block[(size_t)r * row_bytes];
}

static void pack_iq4_nl(const unsigned char *block, size_t row_bytes, unsigned char *record) {
    pack_nibbles32(block + offsetof(mosa_block_iq4_nl, qs), row_bytes, record);
    gather_halves(block, row_bytes, record + MOSA_PANEL_IQ4_NL_D);
}

static void pack_iq4_xs(const unsigned char *block, size_t row_bytes, unsigned char *record) {
    for (int g = 0; g < 8; g++)
        pack_nibbles32(block + offsetof(mosa_block_iq4_xs, qs) + 16 * g, row_bytes, record + 256 * g);
    for (int r = 0; r < 16; r++) {
        mosa_block_iq4_xs b;
        memcpy(&b, block + (size_t)r * row_bytes, offsetof(mosa_block_iq4_xs, qs));
        for (int g = 0; g < 8; g++) {
            int low = b.scales_l[g / 2] >> 4 * (g % 2) & 15, high = b.scales_h >> 2 * g & 3;
            record[MOSA_PANEL_IQ4_XS_SCALE + 16 * g + r] = (unsigned char)((low | high << 4) - 32);
        }
    }
    gather_halves(block, row_bytes, record + MOSA_PANEL_IQ4_XS_D);
}

static void pack_q5_k(const unsigned char *block, size_t row_bytes, unsigned char *record) {
    for (int p = 0; p < 4; p++)
        pack_nibbles64(block + offsetof(mosa_block_q5_k, qs) + 32 * p, row_bytes, record + 512 * p,
                       record + 512 * p + 256);
    __m256i qh[16];
    for (int r = 0; r < 16; r++) qh[r] = load256(block + (size_t)r * row_bytes + offsetof(mosa_block_q5_k, qh));
    for (int g = 0; g < 8; g++) pack_bit_of_bytes(qh, g, record + MOSA_PANEL_Q5_K_HIGH + 64 * g);
    pack_k_scales(block + offsetof(mosa_block_q5_k, scales), row_bytes, record + MOSA_PANEL_Q5_K_SCALE,
                  record + MOSA_PANEL_Q5_K_MIN);
    gather_halves(block, row_bytes, record + MOSA_PANEL_Q5_K_D);
    gather_halves(block + 2, row_bytes, record + MOSA_PANEL_Q5_K_D + 32);
}

// Bits 2s..2s+1 of every byte of 32 elements per row become a plane of bit pairs for 8 k4 steps.
static inline void pack_bit_pairs(const __m256i qh[16], int s, unsigned char *to) {
    __m256i v[8], three = _mm256_set1_epi8(3);
    for (int r = 0; r < 8; r++) {
        __m256i a = _mm256_and_si256(_mm256_srl_epi16(qh[r], _mm_cvtsi32_si128(2 * s)), three);
        __m256i b = _mm256_and_si256(_mm256_srl_epi16(qh[r + 8], _mm_cvtsi32_si128(2 * s)), three);
        v[r] = _mm256_or_si256(a, _mm256_slli_epi16(b, 2));
    }
    transpose8(v);
    for (int i = 0; i < 4; i++) store256(to + 32 * i, _mm256_or_si256(v[2 * i], _mm256_slli_epi16(v[2 * i + 1], 4)));
}

// Sum over a q6_k block of scale * level: with the stored levels 0..63, less 32 times 16 elements per scale.
static int32_t scaled_sum_q6_k(const mosa_block_q6_k *b) {
    __m256i sum = _mm256_setzero_si256(), ones = _mm256_set1_epi16(1), three = _mm256_set1_epi8(3);
    __m256i scales = _mm256_broadcastsi128_si256(load128(b->scales));
    for (int i = 0; i < 8; i++) { // 32 levels, two scales
        int h = i / 4, s = i % 4;
        __m256i ql = load256(b->ql + 64 * h + 32 * (s % 2));
        __m256i upper = _mm256_and_si256(_mm256_srl_epi16(load256(b->qh + 32 * h), _mm_cvtsi32_si128(2 * s)), three);
        __m256i q = _mm256_or_si256(s < 2 ? low_nibbles(ql) : high_nibbles(ql), _mm256_slli_epi16(upper, 4));
        __m256i pick = _mm256_set_m128i(_mm_set1_epi8((char)(2 * i + 1)), _mm_set1_epi8((char)(2 * i)));
        __m256i pairs = _mm256_maddubs_epi16(q, _mm256_shuffle_epi8(scales, pick));
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, ones));
    }
    int32_t lanes[8], total = 0;
    store256(lanes, sum);
    for (int i = 0; i < 8; i++) total += lanes[i];
    for (int g = 0; g < 16; g++) total -= 512 * b->scales[g];
    return total;
}

static void pack_q6_k(const unsigned char *block, size_t row_bytes, unsigned char *record) {
    for (int i = 0; i < 4; i++) { // ql bytes 32i.. hold groups of 32: 4h + s and, in the high nibbles, 4h + s + 2
        int group = 4 * (i / 2) + i % 2;
        pack_nibbles64(block + 32 * i, row_bytes, record + 256 * group, record + 256 * (group + 2));
    }
    __m256i qh[16];
    for (int h = 0; h < 2; h++) {
        for (int r = 0; r < 16; r++)
            qh[r] = load256(block + (size_t)r * row_bytes + offsetof(mosa_block_q6_k, qh) + 32 * h);
        for (int s = 0; s < 4; s++) pack_bit_pairs(qh, s, record + MOSA_PANEL_Q6_K_HIGH + 128 * (4 * h + s));
    }
    __m128i scales[16];
    for (int r = 0; r < 16; r++) {
        mosa_block_q6_k b;
        memcpy(&b, block + (size_t)r * row_bytes, sizeof b);
        scales[r] = load128(b.scales);
        int32_t start = -128 * scaled_sum_q6_k(&b);
        memcpy(record + MOSA_PANEL_Q6_K_START + 4 * r, &start, 4);
    }
    transpose_bytes(scales);
    for (int g = 0; g < 16; g++) store128(record + MOSA_PANEL_Q6_K_SCALE + 16 * g, scales[g]);
    gather_halves(block + offsetof(mosa_block_q6_k, d), row_bytes, record + MOSA_PANEL_Q6_K_D);
}

// Low two bits of q2_k and q3_k levels.
static inline void pack_two_bit_levels(const unsigned char *qs, size_t row_bytes, unsigned char *to) {
    __m256i bytes[16];
    for (int h = 0; h < 2; h++) {
        for (int r = 0; r < 16; r++) bytes[r] = load256(qs + (size_t)r * row_bytes + 32 * h);
        for (int s = 0; s < 4; s++) pack_bit_pairs(bytes, s, to + 128 * (4 * h + s));
    }
}

static void pack_q2_k(const unsigned char *block, size_t row_bytes, unsigned char *record) {
    __m128i scales[16];
    pack_two_bit_levels(block + offsetof(mosa_block_q2_k, qs), row_bytes, record);
    for (int r = 0; r < 16; r++) scales[r] = load128(block + (size_t)r * row_bytes);
    transpose_bytes(scales);
    for (int g = 0; g < 16; g++) store128(record + MOSA_PANEL_Q2_K_SCALE + 16 * g, scales[g]);
    gather_halves(block + offsetof(mosa_block_q2_k, d), row_bytes, record + MOSA_PANEL_Q2_K_D);
    gather_halves(block + offsetof(mosa_block_q2_k, dmin), row_bytes, record + MOSA_PANEL_Q2_K_D + 32);
}

static void pack_q3_k(const unsigned char *block, size_t row_bytes, unsigned char *record) {
    __m256i bytes[16];
    pack_two_bit_levels(block + offsetof(mosa_block_q3_k, qs), row_bytes, record);
    for (int r = 0; r < 16; r++) bytes[r] = load256(block + (size_t)r * row_bytes);
    for (int g = 0; g < 8; g++) pack_bit_of_bytes(bytes, g, record + MOSA_PANEL_Q3_K_HIGH + 64 * g);
    for (int r = 0; r < 16; r++)
        for (int i = 0; i < 12; i++)
            record[MOSA_PANEL_Q3_K_SCALE + 16 * i + r] =
                block[(size_t)r * row_bytes + offsetof(mosa_block_q3_k, scales) + (size_t)i];
    gather_halves(block + offsetof(mosa_block_q3_k, d), row_bytes, record + MOSA_PANEL_Q3_K_D);
}

static void pack_f32(const unsigned char *block, size_t row_bytes, unsigned char *record) {
    for (int half = 0; half < 2; half++) {
        __m256i v[8];
        for (int r = 0; r < 8; r++) v[r] = load256(block + (size_t)(8 * half + r) * row_bytes);
        transpose8_store(v, record + 32 * half, 64);
    }
}

static void pack_16_bits(const unsigned char *block, size_t row_bytes, unsigned char *record) {
    transpose16x16(block, row_bytes, record);
}

int64_t mosa_avx2_pack_panel(const mosa_panel_source *source, int64_t k, unsigned char *panel) {
    static const struct {
        int k, from_bytes, to_bytes;
        pack_record_fn pack;
    } records[MOSA_DTYPE_COUNT] = {
        [MOSA_F32] = {8, 32, 512, pack_f32},
        [MOSA_F16] = {16, 32, 512, pack_16_bits},
        [MOSA_BF16] = {16, 32, 512, pack_16_bits},
        [MOSA_Q8_0] = {32, sizeof(mosa_block_q8_0), MOSA_PANEL_Q8_0, pack_q8_0},
        [MOSA_Q4_0] = {32, sizeof(mosa_block_q4_0), MOSA_PANEL_Q4_0, pack_q4_0},
        [MOSA_Q4_1] = {32, sizeof(mosa_block_q4_1), MOSA_PANEL_Q4_1, pack_q4_1},
        [MOSA_Q5_0] = {32, sizeof(mosa_block_q5_0), MOSA_PANEL_Q5_0, pack_q5_0},
        [MOSA_Q5_1] = {32, sizeof(mosa_block_q5_1), MOSA_PANEL_Q5_1, pack_q5_1},
        [MOSA_MXFP4] = {32, sizeof(mosa_block_mxfp4), MOSA_PANEL_MXFP4, pack_mxfp4},
        [MOSA_IQ4_NL] = {32, sizeof(mosa_block_iq4_nl), MOSA_PANEL_IQ4_NL, pack_iq4_nl},
        [MOSA_IQ4_XS] = {256, sizeof(mosa_block_iq4_xs), MOSA_PANEL_IQ4_XS, pack_iq4_xs},
        [MOSA_Q2_K] = {256, sizeof(mosa_block_q2_k), MOSA_PANEL_Q2_K, pack_q2_k},
        [MOSA_Q3_K] = {256, sizeof(mosa_block_q3_k), MOSA_PANEL_Q3_K, pack_q3_k},
        [MOSA_Q4_K] = {256, sizeof(mosa_block_q4_k), MOSA_PANEL_Q4_K, pack_q4_k},
        [MOSA_Q5_K] = {256, sizeof(mosa_block_q5_k), MOSA_PANEL_Q5_K, pack_q5_k},
        [MOSA_Q6_K] = {256, sizeof(mosa_block_q6_k), MOSA_PANEL_Q6_K, pack_q6_k},
    };
    if (!records[source->dtype].pack || source->n_rows < MOSA_PANEL_ROWS) return 0;
    int64_t count = k / records[source->dtype].k;
    for (int64_t i = 0; i < count; i++)
        records[source->dtype].pack(source->rows + i * records[source->dtype].from_bytes, source->row_bytes,
                                    panel + i * records[source->dtype].to_bytes);
    return count * records[source->dtype].k;
}
