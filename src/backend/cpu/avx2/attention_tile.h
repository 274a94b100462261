// The arithmetic of attention on AVX2: one tile of query vectors against the positions of one split.
//
// A tile holds query vectors that share a key/value head: the heads of its group for a few consecutive rows. Keys and
// values come in blocks of 16 positions as f32 rows (mosa_attention_block), so that a block is fetched, and converted
// from F16, once for all vectors of the tile. The float order is that of ref/attention.c.
#ifndef MOSA_BACKEND_CPU_AVX2_ATTENTION_TILE_H
#define MOSA_BACKEND_CPU_AVX2_ATTENTION_TILE_H

#include "backend/cpu/kernel.h"

enum {
    MOSA_TILE_VECTORS = 64, // most query vectors of a tile: largest group
    MOSA_TILE_TARGET = 32,  // rows are added until a tile has about as many
    MOSA_TILE_WIDTH = 256,  // widest head
    MOSA_TILE_BLOCK = 16,
    MOSA_TILE_SCORES = MOSA_ATTENTION_SPLIT + 16 // row stride: a power of two would crowd a few cache sets
};

typedef struct mosa_attention_tile {
    const mosa_cpu_args *args;
    const mosa_segment *segment;
    int kv_head, width;
    int32_t row_begin, row_count;                          // of the batch
    int n;                                                 // row_count * group query vectors, row by row
    const float *q;                                        // (n, width), a copy in `work`
    int32_t lo[MOSA_TILE_VECTORS], end[MOSA_TILE_VECTORS]; // (n) visible positions, both ascending
} mosa_attention_tile;

// One thread's working memory; lies in its scratch.
typedef struct mosa_attention_work {
    float score[MOSA_TILE_VECTORS][MOSA_TILE_SCORES];
    float block[MOSA_TILE_BLOCK * MOSA_TILE_WIDTH];
    float q[MOSA_TILE_VECTORS * MOSA_TILE_WIDTH];     // (n, width)
    float acc[MOSA_TILE_VECTORS * MOSA_TILE_WIDTH];   // (n, width) of the split
    float total[MOSA_TILE_VECTORS * MOSA_TILE_WIDTH]; // (n, width) of the splits so far
    float max[MOSA_TILE_VECTORS], sum[MOSA_TILE_VECTORS];
    mosa_attention_tile tile;
} mosa_attention_work;

// Vectors [*begin, *end) of the tile see something of the split; returns whether any does.
bool mosa_attention_active(const mosa_attention_tile *tile, int32_t split, int *begin, int *end);

// Scores, exponentials and weighted values of vectors [begin, end) over the split: work->max, sum, acc.
void mosa_attention_split(const mosa_attention_tile *tile, mosa_attention_work *work, int32_t split, int begin,
                          int end);

// Joins a split's (m, l, a[width]) to what came before it: step 4 of the contract.
void mosa_attention_join(float *max, float *sum, float *total, float m, float l, const float *a, int width);

// y = total / sum: step 5.
void mosa_attention_finish(const float *total, float sum, int width, float *y);

#endif
