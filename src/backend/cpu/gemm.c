// Drives the tiles of an instruction set over a product: which thread computes which part, and what is packed when.
//
// A thread takes a rectangle of c. It goes through blocks of columns and, within one, blocks of k: packs that block of
// b into scratch (in L2), then lets every tile of rows pass over all panels of the block. Sums wait in c from one block
// of k to the next, which changes no bit of them.
#include "backend/cpu/gemm_isa.h"

#include "backend/cpu/kernel.h"

#include <assert.h>
#include <string.h>

// Rows of a that are a multiple of ALIASES bytes apart share the sets of L1: they are copied apart.
enum { LINE_FLOATS = 16, ALIASES = 4096, PACKED_ROWS = 16 };
// Decoded at one time: STRETCH elements of each column of a panel, or a block of columns of one row, and the rest of
// the quantised blocks that they begin and end in.
enum { BLOCK_LEN_MAX = 256, STRETCH = 256, DECODED = MOSA_GEMM_PANEL_MAX * (STRETCH + 2 * BLOCK_LEN_MAX) };

typedef struct rectangle {
    int64_t row_begin, row_end, column_begin, column_end;
} rectangle;

// This thread's block: columns [n0, n0 + n) and rows [k0, k0 + k) of b.
typedef struct block {
    int64_t n0, n, k0, k;
    float *panels, *tile, *decoded;
} block;

// Threads stand in a grid of `by_rows` x `by_columns`; the one that leaves the least to the busiest thread, with few
// divisions of rows because each repeats the packing of b.
static rectangle share_of(const mosa_gemm_isa *isa, const mosa_gemm *g, int thread, int n_threads) {
    int64_t panels = (g->n + isa->panel - 1) / isa->panel, tiles = (g->m + isa->tile_rows - 1) / isa->tile_rows;
    int64_t by_rows = 1, by_columns = 1, least = INT64_MAX;
    for (int64_t r = 1; r <= n_threads && r <= tiles; r++) {
        int64_t c = n_threads / r < panels ? n_threads / r : panels;
        int64_t work = ((panels + c - 1) / c) * ((tiles + r - 1) / r);
        if (work >= least) continue;
        least = work;
        by_rows = r;
        by_columns = c;
    }
    rectangle part = {0, 0, 0, 0};
    if (thread >= by_rows * by_columns) return part;
    mosa_cpu_share(g->m, isa->tile_rows, (int)(thread / by_columns), (int)by_rows, &part.row_begin, &part.row_end);
    mosa_cpu_share(g->n, isa->panel, (int)(thread % by_columns), (int)by_columns, &part.column_begin, &part.column_end);
    return part;
}

// Decodes elements [begin, begin + n) of a row, and what shares their blocks, into `out`; returns where `begin` lies.
static const float *decode(const mosa_gemm_isa *isa, const mosa_gemm *g, int64_t row, int64_t begin, int64_t n,
                           float *out) {
    const mosa_dtype_traits *traits = mosa_dtype_traits_of(g->b_dtype);
    int64_t first = begin / traits->block_len, last = (begin + n - 1) / traits->block_len;
    const unsigned char *at = (const unsigned char *)g->b + (size_t)row * g->b_row_bytes;
    isa->decode(g->b_dtype, at + (size_t)first * traits->block_bytes, out, (last - first + 1) * traits->block_len);
    return out + (begin - first * traits->block_len);
}

static int panel_columns(const mosa_gemm_isa *isa, const block *b, int64_t j) {
    return (int)(b->n - j < isa->panel ? b->n - j : isa->panel);
}

static void pack_f32_transposed(const mosa_gemm_isa *isa, const mosa_gemm *g, const block *b) {
    int64_t stride = (int64_t)(g->b_row_bytes / sizeof(float));
    const float *from = (const float *)g->b + b->n0 * stride + b->k0;
    for (int64_t j = 0; j < b->n; j += isa->panel)
        isa->pack_transposed(from + j * stride, stride, b->k, panel_columns(isa, b, j), g->alpha, b->panels + j * b->k);
}

// A few rows at a time, so that memory is read in long pieces and few pages are open at once.
static void pack_f32(const mosa_gemm_isa *isa, const mosa_gemm *g, const block *b) {
    int64_t stride = (int64_t)(g->b_row_bytes / sizeof(float));
    const float *from = (const float *)g->b + b->k0 * stride + b->n0;
    for (int64_t p = 0; p < b->k; p += PACKED_ROWS) {
        int64_t rows = b->k - p < PACKED_ROWS ? b->k - p : PACKED_ROWS;
        for (int64_t j = 0; j < b->n; j += isa->panel)
            isa->pack(from + p * stride + j, stride, rows, panel_columns(isa, b, j), g->alpha,
                      b->panels + j * b->k + p * isa->panel);
    }
}

// Rows of b are decoded one by one; each gives one row of every panel of the block.
static void pack_decoded(const mosa_gemm_isa *isa, const mosa_gemm *g, const block *b) {
    for (int64_t p = 0; p < b->k; p++) {
        const float *row = decode(isa, g, b->k0 + p, b->n0, b->n, b->decoded);
        for (int64_t j = 0; j < b->n; j += isa->panel)
            isa->pack(row + j, 0, 1, panel_columns(isa, b, j), g->alpha, b->panels + j * b->k + p * isa->panel);
    }
}

// The columns of a panel are decoded side by side, in stretches of k.
static void pack_decoded_transposed(const mosa_gemm_isa *isa, const mosa_gemm *g, const block *b) {
    const int64_t stride = STRETCH + 2 * BLOCK_LEN_MAX;
    for (int64_t j = 0; j < b->n; j += isa->panel)
        for (int64_t p = 0; p < b->k; p += STRETCH) {
            int64_t n = b->k - p < STRETCH ? b->k - p : STRETCH;
            const float *first = NULL; // blocks begin at the same k in every column
            for (int i = 0; i < panel_columns(isa, b, j); i++) {
                const float *row = decode(isa, g, b->n0 + j + i, b->k0 + p, n, b->decoded + i * stride);
                if (i == 0) first = row;
            }
            isa->pack_transposed(first, stride, n, panel_columns(isa, b, j), g->alpha,
                                 b->panels + j * b->k + p * isa->panel);
        }
}

static void pack_block(const mosa_gemm_isa *isa, const mosa_gemm *g, const block *b) {
    if (g->b_dtype == MOSA_F32)
        (g->b_transposed ? pack_f32_transposed : pack_f32)(isa, g, b);
    else
        (g->b_transposed ? pack_decoded_transposed : pack_decoded)(isa, g, b);
}

// What the next tile starts from is brought near while this one is computed.
static void prefetch_c(const float *c, int64_t ldc, int rows, int columns) {
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < columns; j += LINE_FLOATS) __builtin_prefetch(c + r * ldc + j, 1);
}

// Rows [row, row + rows) of a over all panels of the block.
static void run_tile(const mosa_gemm_isa *isa, const mosa_gemm *g, const block *b, int64_t row, int rows) {
    mosa_gemm_tile tile = {.k = b->k, .lda = g->lda, .ldc = g->ldc, .add = g->add || b->k0 > 0};
    const mosa_gemm_tile_fn *fn = g->a_transposed ? isa->columns : isa->rows;
    tile.a = g->a + row * g->lda + b->k0;
    if (g->a_transposed) {
        isa->pack_columns(g->a + b->k0 * g->lda + row, g->lda, b->k, rows, b->tile);
        tile.a = b->tile;
    } else if (g->lda * (int64_t)sizeof(float) % ALIASES == 0) {
        tile.lda = b->k + LINE_FLOATS;
        for (int r = 0; r < rows; r++)
            memcpy(b->tile + r * tile.lda, tile.a + r * g->lda, (size_t)b->k * sizeof(float));
        tile.a = b->tile;
    }
    for (int64_t j = 0; j < b->n; j += isa->panel) {
        tile.b = b->panels + j * b->k;
        tile.columns = panel_columns(isa, b, j);
        tile.c = g->c + row * g->ldc + b->n0 + j;
        if (g->bias && b->k0 + b->k == g->k) tile.bias = g->bias + b->n0 + j;
        if (tile.add && j + isa->panel < b->n) prefetch_c(tile.c + isa->panel, g->ldc, rows, isa->panel);
        if (tile.add && j == 0) prefetch_c(tile.c + rows * g->ldc, g->ldc, rows, isa->panel);
        fn[rows](&tile);
    }
}

void mosa_cpu_gemm(const mosa_gemm_isa *isa, const mosa_gemm *g, int thread, int n_threads) {
    int64_t block_k = g->a_transposed ? isa->block_k_sums : isa->block_k;
    int64_t block_n = g->a_transposed ? isa->block_n_sums : isa->block_n;
    rectangle part = share_of(isa, g, thread, n_threads);
    int64_t rows = part.row_end - part.row_begin, tiles = (rows + isa->tile_rows - 1) / isa->tile_rows;
    block b = {.panels = g->scratch};
    b.tile = b.panels + block_k * block_n;
    b.decoded = b.tile + (block_k + LINE_FLOATS) * MOSA_GEMM_TILE_ROWS_MAX;
    assert((size_t)(b.decoded + DECODED - b.panels) * sizeof(float) <= MOSA_GEMM_SCRATCH_BYTES);
    assert(g->a_transposed || block_n + 2 * BLOCK_LEN_MAX <= DECODED);
    for (b.n0 = part.column_begin; b.n0 < part.column_end; b.n0 += block_n)
        for (b.k0 = 0; b.k0 < g->k; b.k0 += block_k) {
            b.n = part.column_end - b.n0 < block_n ? part.column_end - b.n0 : block_n;
            b.k = g->k - b.k0 < block_k ? g->k - b.k0 : block_k;
            pack_block(isa, g, &b);
            for (int64_t t = 0; t < tiles; t++) {
                int64_t begin = rows * t / tiles, end = rows * (t + 1) / tiles;
                run_tile(isa, g, &b, part.row_begin + begin, (int)(end - begin));
            }
        }
}
