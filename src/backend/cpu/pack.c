// Repacks weights into panels of 16 output rows: plain C, and the same bytes faster where avx2/pack.c can.
// Thread: pure functions over the caller's memory; different row ranges may be packed at the same time.
#include "backend/cpu/pack.h"

#include "backend/cpu/kernel.h"
#include "backend/cpu/pack_internal.h"
#include "tensor/quant.h"

#include <assert.h>
#include <string.h>

static void put_u16(unsigned char *at, uint16_t value) {
    memcpy(at, &value, 2);
}

// Byte of element i of row r where k4 steps of 8 row pairs lie side by side: [i / 4][r % 8][i % 4].
static int k4_byte(int i, int r) {
    return i / 4 * 32 + r % 8 * 4 + i % 4;
}

static void put_nibble(unsigned char *nibbles, int i, int r, int q) {
    nibbles[k4_byte(i, r)] |= (unsigned char)((q & 15) << (r < 8 ? 0 : 4));
}

static void put_bit(unsigned char *bits, int i, int r, int bit) {
    bits[k4_byte(i / 16 * 4 + i % 4, r)] |= (unsigned char)(bit << (2 * (i / 4 % 4) + r / 8));
}

static void put_bit_pair(unsigned char *pairs, int i, int r, int pair) {
    pairs[k4_byte(i / 8 * 4 + i % 4, r)] |= (unsigned char)(pair << 2 * (2 * (i / 4 % 2) + r / 8));
}

static void put_nibbles32(unsigned char *record, int r, const mosa_levels *l, int zero) {
    for (int i = 0; i < 32; i++) put_nibble(record, i, r, l->q[i] + zero);
}

static void put_five_bits32(unsigned char *record, int r, const mosa_levels *l, int zero) {
    put_nibbles32(record, r, l, zero);
    for (int i = 0; i < 32; i++) put_bit(record + MOSA_PANEL_32_HIGH, i, r, (l->q[i] + zero) >> 4);
}

static void put_row_q4_0(unsigned char *record, int r, const mosa_levels *l) {
    put_nibbles32(record, r, l, 8);
    put_u16(record + MOSA_PANEL_Q4_0_D + 2 * r, l->d_bits);
}

static void put_row_q4_1(unsigned char *record, int r, const mosa_levels *l) {
    put_nibbles32(record, r, l, 0);
    put_u16(record + MOSA_PANEL_Q4_0_D + 2 * r, l->d_bits);
    put_u16(record + MOSA_PANEL_Q4_1_M + 2 * r, l->dmin_bits);
}

static void put_row_q5_0(unsigned char *record, int r, const mosa_levels *l) {
    put_five_bits32(record, r, l, 16);
    put_u16(record + MOSA_PANEL_Q5_0_D + 2 * r, l->d_bits);
}

static void put_row_q5_1(unsigned char *record, int r, const mosa_levels *l) {
    put_five_bits32(record, r, l, 0);
    put_u16(record + MOSA_PANEL_Q5_0_D + 2 * r, l->d_bits);
    put_u16(record + MOSA_PANEL_Q5_1_M + 2 * r, l->dmin_bits);
}

// The index of a level in its code book (the first, where two codes mean the same level).
static int code_of(const int8_t book[16], int level) {
    int code = 0;
    while (book[code] != level) code++;
    return code;
}

static void put_row_mxfp4(unsigned char *record, int r, const mosa_levels *l) {
    for (int i = 0; i < 32; i++) put_nibble(record, i, r, code_of(mosa_e2m1_doubled, l->q[i]));
    record[MOSA_PANEL_MXFP4_E + r] = (unsigned char)l->d_bits;
}

static void put_row_q8_0(unsigned char *record, int r, const mosa_levels *l) {
    for (int i = 0; i < 32; i++) record[i / 4 * 64 + r * 4 + i % 4] = (unsigned char)l->q[i];
    put_u16(record + MOSA_PANEL_Q8_0_D + 2 * r, l->d_bits);
}

static void put_codes32(unsigned char *nibbles, int r, const mosa_levels *l) {
    for (int i = 0; i < 32; i++) put_nibble(nibbles, i, r, code_of(mosa_iq4_values, l->q[i]));
}

static void put_row_iq4_nl(unsigned char *record, int r, const mosa_levels *l) {
    put_codes32(record, r, l);
    put_u16(record + MOSA_PANEL_IQ4_NL_D + 2 * r, l->d_bits);
}

static void put_part_iq4_xs(unsigned char *record, int r, int part, const mosa_levels *l) {
    put_codes32(record + 256 * part, r, l);
    record[MOSA_PANEL_IQ4_XS_SCALE + 16 * part + r] = (unsigned char)l->scale[1];
    put_u16(record + MOSA_PANEL_IQ4_XS_D + 2 * r, l->d_bits);
}

static void put_k_scales(unsigned char *scale, unsigned char *min, unsigned char *d, int r, const mosa_levels *l) {
    for (int g = 0; g < 8; g++) {
        scale[g * 16 + r] = (unsigned char)l->scale[g];
        min[g / 2 * 32 + r * 2 + g % 2] = (unsigned char)l->min[g];
    }
    put_u16(d + 2 * r, l->d_bits);
    put_u16(d + 32 + 2 * r, l->dmin_bits);
}

static void put_row_q4_k(unsigned char *record, int r, const mosa_levels *l) {
    for (int i = 0; i < 256; i++) put_nibble(record, i, r, l->q[i]);
    put_k_scales(record + MOSA_PANEL_Q4_K_SCALE, record + MOSA_PANEL_Q4_K_MIN, record + MOSA_PANEL_Q4_K_D, r, l);
}

static void put_row_q5_k(unsigned char *record, int r, const mosa_levels *l) {
    for (int i = 0; i < 256; i++) {
        put_nibble(record, i, r, l->q[i]);
        put_bit(record + MOSA_PANEL_Q5_K_HIGH, i, r, l->q[i] >> 4);
    }
    put_k_scales(record + MOSA_PANEL_Q5_K_SCALE, record + MOSA_PANEL_Q5_K_MIN, record + MOSA_PANEL_Q5_K_D, r, l);
}

static void put_row_q6_k(unsigned char *record, int r, const mosa_levels *l) {
    int32_t sum = 0;
    for (int i = 0; i < 256; i++) {
        put_nibble(record, i, r, l->q[i] + 32);
        put_bit_pair(record + MOSA_PANEL_Q6_K_HIGH, i, r, (l->q[i] + 32) >> 4);
        sum += l->scale[i / 16] * l->q[i];
    }
    for (int g = 0; g < 16; g++) record[MOSA_PANEL_Q6_K_SCALE + g * 16 + r] = (unsigned char)l->scale[g];
    put_u16(record + MOSA_PANEL_Q6_K_D + 2 * r, l->d_bits);
    int32_t start = -128 * sum;
    memcpy(record + MOSA_PANEL_Q6_K_START + 4 * r, &start, 4);
}

static void put_row_q2_k(unsigned char *record, int r, const mosa_levels *l) {
    for (int i = 0; i < 256; i++) put_bit_pair(record, i, r, l->q[i]);
    for (int g = 0; g < 16; g++)
        record[MOSA_PANEL_Q2_K_SCALE + g * 16 + r] = (unsigned char)(l->scale[g] | l->min[g] << 4);
    put_u16(record + MOSA_PANEL_Q2_K_D + 2 * r, l->d_bits);
    put_u16(record + MOSA_PANEL_Q2_K_D + 32 + 2 * r, l->dmin_bits);
}

static void put_row_q3_k(unsigned char *record, int r, const mosa_levels *l) {
    unsigned char *scale = record + MOSA_PANEL_Q3_K_SCALE + r;
    for (int i = 0; i < 256; i++) {
        put_bit_pair(record, i, r, (l->q[i] + 4) & 3);
        put_bit(record + MOSA_PANEL_Q3_K_HIGH, i, r, (l->q[i] + 4) >> 2);
    }
    for (int g = 0; g < 16; g++) {
        int six = l->scale[g] + 32;
        scale[16 * (g % 8)] |= (unsigned char)((six & 15) << (g < 8 ? 0 : 4));
        scale[16 * (8 + g % 4)] |= (unsigned char)((six >> 4) << 2 * (g / 4));
    }
    put_u16(record + MOSA_PANEL_Q3_K_D + 2 * r, l->d_bits);
}

// How a dtype is packed.
typedef struct format {
    int act;          // layout of its activations
    int record_bytes; // of a block length of k; 0: LINEAR does not take the dtype
    void (*put_row)(unsigned char *record, int r, const mosa_levels *levels); // NULL: plain elements, or in parts
} format;

static const format formats[MOSA_DTYPE_COUNT] = {
    [MOSA_F32] = {MOSA_ACT_F32, 16 * 4, NULL},
    [MOSA_F16] = {MOSA_ACT_F32, 16 * 2, NULL},
    [MOSA_BF16] = {MOSA_ACT_F32, 16 * 2, NULL},
    [MOSA_Q4_0] = {MOSA_ACT_S8_32, MOSA_PANEL_Q4_0, put_row_q4_0},
    [MOSA_Q4_1] = {MOSA_ACT_S8_32, MOSA_PANEL_Q4_1, put_row_q4_1},
    [MOSA_Q5_0] = {MOSA_ACT_S8_32, MOSA_PANEL_Q5_0, put_row_q5_0},
    [MOSA_Q5_1] = {MOSA_ACT_S8_32, MOSA_PANEL_Q5_1, put_row_q5_1},
    [MOSA_MXFP4] = {MOSA_ACT_S8_32, MOSA_PANEL_MXFP4, put_row_mxfp4},
    [MOSA_Q8_0] = {MOSA_ACT_S8_32, MOSA_PANEL_Q8_0, put_row_q8_0},
    [MOSA_IQ4_NL] = {MOSA_ACT_S8_32, MOSA_PANEL_IQ4_NL, put_row_iq4_nl},
    [MOSA_IQ4_XS] = {MOSA_ACT_S8_32, MOSA_PANEL_IQ4_XS, NULL},
    [MOSA_Q2_K] = {MOSA_ACT_S8_256, MOSA_PANEL_Q2_K, put_row_q2_k},
    [MOSA_Q4_K] = {MOSA_ACT_S8_256, MOSA_PANEL_Q4_K, put_row_q4_k},
    [MOSA_Q5_K] = {MOSA_ACT_S8_256, MOSA_PANEL_Q5_K, put_row_q5_k},
    [MOSA_Q3_K] = {MOSA_ACT_U8_256, MOSA_PANEL_Q3_K, put_row_q3_k},
    [MOSA_Q6_K] = {MOSA_ACT_U8_256, MOSA_PANEL_Q6_K, put_row_q6_k},
};

// Elements of the rows become [k][16].
static void interleave(const mosa_panel_source *source, int64_t k_begin, int64_t k, unsigned char *panel) {
    size_t unit = mosa_dtype_traits_of(source->dtype)->block_bytes;
    for (int r = 0; r < source->n_rows; r++) {
        const unsigned char *row = source->rows + (size_t)r * source->row_bytes;
        for (int64_t i = k_begin; i < k; i++) memcpy(panel + (size_t)(i * 16 + r) * unit, row + (size_t)i * unit, unit);
    }
}

static void put_block(mosa_dtype dtype, const unsigned char *block, int r, unsigned char *record) {
    mosa_levels levels;
    for (int part = 0; part < (dtype == MOSA_IQ4_XS ? 8 : 1); part++) {
        mosa_levels_decode(dtype, block, part, &levels);
        if (dtype == MOSA_IQ4_XS)
            put_part_iq4_xs(record, r, part, &levels);
        else
            formats[dtype].put_row(record, r, &levels);
    }
}

void mosa_ref_pack_panel(const mosa_panel_source *source, int64_t k_begin, int64_t k, unsigned char *panel) {
    const mosa_dtype_traits *traits = mosa_dtype_traits_of(source->dtype);
    int record_bytes = formats[source->dtype].record_bytes;
    int64_t begin = k_begin / traits->block_len, end = k / traits->block_len;
    memset(panel + begin * record_bytes, 0, (size_t)((end - begin) * record_bytes));
    if (!traits->quantised) {
        interleave(source, k_begin, k, panel);
        return;
    }
    for (int64_t i = begin; i < end; i++) {
        const unsigned char *block = source->rows + i * traits->block_bytes;
        for (int r = 0; r < source->n_rows; r++)
            put_block(source->dtype, block + (size_t)r * source->row_bytes, r, panel + i * record_bytes);
    }
}

size_t mosa_cpu_packed_bytes(mosa_dtype dtype, int64_t n, int64_t k) {
    int64_t record_bytes = formats[dtype].record_bytes, block_len = mosa_dtype_traits_of(dtype)->block_len;
    if (record_bytes == 0 || n <= 0 || k <= 0 || k % block_len != 0) return 0;
    size_t panel, all;
    if (__builtin_mul_overflow(k / block_len, record_bytes, &panel)) return 0;
    if (__builtin_mul_overflow((n - 1) / MOSA_PANEL_ROWS + 1, panel, &all)) return 0;
    return all;
}

static int64_t pack_fast(const mosa_panel_source *source, int64_t k, unsigned char *panel) {
#if defined(__x86_64__)
    return mosa_avx2_pack_panel(source, k, panel);
#else
    (void)source, (void)k, (void)panel;
    return 0;
#endif
}

void mosa_cpu_pack_rows(const mosa_tensor_view *view, void *packed, int64_t row_begin, int64_t row_end) {
    int64_t n = view->dims[0], k = view->dims[1];
    size_t panel_bytes = mosa_cpu_packed_bytes(view->dtype, MOSA_PANEL_ROWS, k);
    assert(row_begin % MOSA_PANEL_ROWS == 0 && row_end <= n && panel_bytes > 0);
    mosa_panel_source source = {view->dtype, view->data, view->bytes / (size_t)n, MOSA_PANEL_ROWS};
    bool fast = mosa_cpu_detect().avx2;
    for (int64_t row = row_begin; row < row_end; row += MOSA_PANEL_ROWS) {
        unsigned char *panel = (unsigned char *)packed + (size_t)(row / MOSA_PANEL_ROWS) * panel_bytes;
        source.rows = (const unsigned char *)view->data + (size_t)row * source.row_bytes;
        if (row_end - row < MOSA_PANEL_ROWS) source.n_rows = (int)(row_end - row);
        mosa_ref_pack_panel(&source, fast ? pack_fast(&source, k, panel) : 0, k, panel);
    }
}

int mosa_cpu_act_layout(mosa_dtype weight_dtype, int64_t k) {
    (void)k;
    return formats[weight_dtype].act;
}

int64_t mosa_cpu_act_row_bytes(int layout, int64_t k) {
    static const struct {
        int len, bytes;
    } record[MOSA_ACT_LAYOUTS] = {
        [MOSA_ACT_S8_32] = {32, sizeof(mosa_act_s8_32)},
        [MOSA_ACT_S8_256] = {256, sizeof(mosa_act_s8_256)},
        [MOSA_ACT_U8_256] = {256, sizeof(mosa_act_u8_256)},
    };
    if (layout == MOSA_ACT_F32) return k * (int64_t)sizeof(float);
    return k / record[layout].len * record[layout].bytes;
}
