// Attention of the fast kernels: what is shared between instruction sets. attention.c cuts a batch into tiles and
// shares them among threads; the arithmetic on a tile comes as a table of functions (mosa_attention_math) from the
// instruction set's folder, and keeps the float order of ref/attention.c.
//
// A tile holds query vectors that share a key/value head: some or all heads of its group for a few consecutive rows of
// one segment. It is computed split by split. A split's keys and values are seen as groups of 16 positions in the
// layouts of kv_page.h, straight from the pages; keys of packed rows, and values that are part of keys, are turned into
// such groups first (attention_view.c).
#ifndef MOSA_BACKEND_CPU_ATTENTION_H
#define MOSA_BACKEND_CPU_ATTENTION_H

#include "backend/cpu/attention_join.h"

enum {
    MOSA_TILE_VECTORS = 64,   // most query vectors of a tile
    MOSA_TILE_TARGET = 48,    // rows are added until a tile has about as many: a multiple of what kernels take at once
    MOSA_TILE_FLOATS = 16384, // most vectors * columns of a tile
    MOSA_TILE_GROUPS = MOSA_ATTENTION_SPLIT / MOSA_KV_GROUP,
    MOSA_TILE_SCORES = MOSA_ATTENTION_SPLIT + 16, // row stride: a power of two would crowd a few cache sets
    MOSA_TILE_TURNED = 128 * 1024,                // bytes for keys or values that are turned around
};

// Groups [0, 16) of a split; those without a visible position are not set.
typedef struct mosa_attention_view {
    int32_t split;                     // its first position, a multiple of 256
    int from, to;                      // positions of the split that some vector sees
    mosa_dtype key_dtype, value_dtype; // MOSA_F32, MOSA_F16 or MOSA_Q8_0
    const unsigned char *key[MOSA_TILE_GROUPS], *value[MOSA_TILE_GROUPS];
    int64_t value_stride; // f32, f16: elements from one position to the next; q8_0: columns of a group
} mosa_attention_view;

typedef struct mosa_attention_tile {
    const mosa_cpu_args *args;
    const mosa_segment *segment;
    int kv_head, head, heads; // the tile's query heads are [head, head + heads) of every row
    int width, value_width;
    int32_t row_begin, row_count;
    int n;                                                 // row_count * heads vectors, row by row
    int32_t lo[MOSA_TILE_VECTORS], end[MOSA_TILE_VECTORS]; // (n) visible positions, both ascending
    bool paged, in_key;
    mosa_dtype dtype; // of the pages; MOSA_F32 over packed rows
} mosa_attention_tile;

// One thread's working memory; lies in its scratch.
typedef struct mosa_attention_work {
    float score[MOSA_TILE_VECTORS][MOSA_TILE_SCORES];    // dots, then exponentials
    int16_t weight[MOSA_TILE_VECTORS][MOSA_TILE_SCORES]; // q8_0: the exponentials times the values' scales
    float unit[MOSA_TILE_VECTORS];                       // q8_0: what a weight of 1 stands for
    float scale[MOSA_ATTENTION_SPLIT];                   // q8_0: the values' scales
    float q[MOSA_TILE_FLOATS];                           // (n, width)
    int8_t q8[MOSA_TILE_FLOATS];                         // q8_0: (n, width up to a multiple of 4), zeros behind width
    int16_t q16[MOSA_TILE_FLOATS];                       // q8_0: the same as 16 bits, columns 0 2 1 3 of each four
    float q_scale[MOSA_TILE_VECTORS * MOSA_HEAD_WIDTH_MAX / MOSA_KV_BLOCK];   // q8_0: (n, blocks)
    int32_t q_start[MOSA_TILE_VECTORS * MOSA_HEAD_WIDTH_MAX / MOSA_KV_BLOCK]; // q8_0: -128 * the sum of each block
    float acc[MOSA_TILE_FLOATS];                                              // (n, value_width) of the split
    float total[MOSA_TILE_FLOATS];                                            // (n, value_width) of the splits so far
    float max[MOSA_TILE_VECTORS], sum[MOSA_TILE_VECTORS];
    mosa_attention_tile tile;
    mosa_attention_view view;
    unsigned char turned[MOSA_TILE_TURNED];
} mosa_attention_work;

// All work on vectors [begin, end) of work->tile and the groups [g0, g1) of work->view.
typedef struct mosa_attention_math {
    // q8_0: q8 or q16, whichever scores reads, q_scale and q_start of one vector from its q.
    void (*quantize)(mosa_attention_work *work, int vector);
    // score[i][16 g + lane] = dot of vector i with the key there. Lanes that i does not see may hold anything.
    void (*scores)(mosa_attention_work *work, int begin, int end, int g0, int g1);
    // Step 3 up to l for one vector, which sees [from, to) of the split: scale, cap, max, exponentials; score becomes 0
    // in the groups [g0, g1) where it sees nothing.
    void (*soften)(mosa_attention_work *work, int vector, int from, int to, int g0, int g1);
    // acc += exponentials * f32 or f16 values, each vector over what it sees.
    void (*values)(mosa_attention_work *work, int begin, int end, int g0, int g1);
    // q8_0: weight and unit from score and work->scale.
    void (*weigh)(mosa_attention_work *work, int begin, int end, int g0, int g1);
    // q8_0: acc = unit * sum of weights * integers for columns [column, column + count) of the view's values.
    void (*values_q8)(mosa_attention_work *work, int begin, int end, int g0, int g1, int column, int count);
    void (*join)(float *max, float *sum, float *total, float m, float l, const float *a, int width);
    void (*finish)(const float *total, float sum, int width, float *y);
} mosa_attention_math;

// The kernel: two phases. Nodes that tiles do not fit are left to the reference in phase 0.
void mosa_attention_run(const mosa_cpu_args *args, const mosa_attention_math *math, int thread, int n_threads);

// attention_view.c, for attention.c alone: turns what the tile's vectors [begin, end) see of a split into
// work->max, sum and acc.
void mosa_attention_split(mosa_attention_work *work, const mosa_attention_math *math, int32_t split, int begin,
                          int end);

// How many of `left` query vectors a kernel takes next, at most `most`: as even as can be.
static inline int mosa_attention_take(int left, int most) {
    int blocks = (left + most - 1) / most;
    return (left + blocks - 1) / blocks;
}

static inline int mosa_attention_clamp(int32_t x, int32_t lo, int32_t hi) {
    return (int)(x < lo ? lo : x > hi ? hi : x);
}

#endif
