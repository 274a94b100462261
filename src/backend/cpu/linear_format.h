// What an instruction set provides for a weight type, and the driver that runs it: cuts panels and rows into tiles.
//
// A tile adds to acc[rows][16] the products of `rows` activation rows with `records` consecutive records of one panel,
// by the formula of pack.h. It reads either the panel itself (direct: unpacking in registers) or a form unpacked in L1
// that all tiles of a row block share.
#ifndef MOSA_BACKEND_CPU_LINEAR_FORMAT_H
#define MOSA_BACKEND_CPU_LINEAR_FORMAT_H

#include "backend/cpu/linear.h"

enum { MOSA_TILE_ROWS_MAX = 8 };

typedef const uint8_t *const *mosa_act_rows; // the activation rows of a tile, which starts `at` bytes into each
typedef void (*mosa_linear_tile_fn)(const uint8_t *w, mosa_act_rows act, int64_t at, float *acc, int64_t records);

typedef struct mosa_linear_format {
    int record_k;       // k of a record
    int record_bytes;   // in the panel
    int act_bytes;      // of the activations of a record
    int tile_rows;      // most rows of one tile
    int direct_rows;    // up to so many rows tiles read the panel itself
    int direct_chunk;   // records that all tiles of a row block pass before the next ones
    int unpacked_bytes; // beyond direct_rows, each record is unpacked to so many bytes in L1 first
    int unpacked_chunk;
    void (*unpack)(const uint8_t *record, uint8_t *out, int64_t records);
    mosa_linear_tile_fn direct[MOSA_TILE_ROWS_MAX + 1];   // by rows; NULL where direct_rows is 0
    mosa_linear_tile_fn unpacked[MOSA_TILE_ROWS_MAX + 1]; // NULL where unpacked_bytes is 0
} mosa_linear_format;

// mosa_linear_rows_fn for a format (linear_format.c).
void mosa_cpu_multiply(const mosa_linear_format *format, const mosa_linear_rows *rows);

#endif
