// Drives the tiles of a weight type over a range of panels: the same for every instruction set.
//
// Few rows: one tile reads a whole panel, unpacking in registers; weights stream from memory once. More rows: blocks of
// at most MOSA_LINEAR_BLOCK rows; a panel is worked through in chunks that stay in L1 (unpacked there first when that
// pays) while all tiles of the block pass over them, their sums in scratch. A row's sums are the same numbers either
// way.
#include "backend/cpu/linear_format.h"

#include "backend/cpu/pack_internal.h"

#include <assert.h>
#include <string.h>

// From LARGE_BLOCK rows on, longer chunks pay: sums are moved in and out of scratch less often.
enum { LARGE_BLOCK = 32, UNPACKED_MAX = 16 * 1024 };

// This thread's scratch.
typedef struct workspace {
    float sums[MOSA_LINEAR_BLOCK * MOSA_PANEL_ROWS];
    uint8_t unpacked[UNPACKED_MAX];
} workspace;
static_assert(sizeof(workspace) <= MOSA_LINEAR_SCRATCH_BYTES, "scratch");

typedef struct job {
    const mosa_linear_format *format;
    int64_t n, records;
    const float *bias; // (n) or NULL
    int rows;          // of the block
    mosa_act_rows act; // (rows)
    float *const *y;   // (rows)
    workspace *work;
} job;

// `bytes` of the panel that come next, to be brought nearer while tiles are busy.
typedef struct upcoming {
    const uint8_t *at;
    int64_t bytes;
} upcoming;

static void prefetch_range(const uint8_t *at, int64_t bytes) {
    for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(at + i);
}

// Passes all tiles of the block over `records` records. Tiles are as even as can be: 5 rows are 3 + 2.
static void run_tiles(const job *j, const mosa_linear_tile_fn *tiles, const uint8_t *w, int64_t first, int64_t records,
                      upcoming next) {
    int n_tiles = (j->rows + j->format->tile_rows - 1) / j->format->tile_rows;
    int64_t slice = (next.bytes / n_tiles + 63) / 64 * 64;
    for (int t = 0; t < n_tiles; t++) {
        int begin = j->rows * t / n_tiles, rows = j->rows * (t + 1) / n_tiles - begin;
        if (t * slice < next.bytes) prefetch_range(next.at + t * slice, slice);
        tiles[rows](w, j->act + begin, first * j->format->act_bytes, j->work->sums + begin * MOSA_PANEL_ROWS, records);
    }
}

static void run_panel(const job *j, const uint8_t *panel) {
    const mosa_linear_format *f = j->format;
    bool direct = j->rows <= f->direct_rows;
    int64_t chunk = direct ? f->direct_chunk : f->unpacked_chunk;
    if (direct && j->rows <= f->tile_rows) chunk = j->records;
    if (!direct && j->rows >= LARGE_BLOCK) chunk *= 2;
    memset(j->work->sums, 0, (size_t)j->rows * MOSA_PANEL_ROWS * sizeof(float));
    for (int64_t first = 0; first < j->records; first += chunk) {
        int64_t records = j->records - first < chunk ? j->records - first : chunk;
        const uint8_t *w = panel + first * f->record_bytes;
        if (direct) { // these tiles fetch ahead themselves
            run_tiles(j, f->direct, w, first, records, (upcoming){w, 0});
            continue;
        }
        upcoming next = {w + records * f->record_bytes, chunk * f->record_bytes};
        f->unpack(w, j->work->unpacked, records);
        run_tiles(j, f->unpacked, j->work->unpacked, first, records, next);
    }
}

static void store_panel(const job *j, int64_t n_begin) {
    int64_t count = j->n - n_begin < MOSA_PANEL_ROWS ? j->n - n_begin : MOSA_PANEL_ROWS;
    for (int r = 0; r < j->rows; r++) {
        const float *sums = j->work->sums + r * MOSA_PANEL_ROWS;
        float *y = j->y[r] + n_begin;
        if (!j->bias)
            memcpy(y, sums, (size_t)count * sizeof *y);
        else
            for (int64_t i = 0; i < count; i++) y[i] = sums[i] + j->bias[n_begin + i];
    }
}

void mosa_cpu_multiply(const mosa_linear_format *format, const mosa_linear_rows *rows) {
    assert(format && 2 * format->unpacked_chunk * format->unpacked_bytes <= UNPACKED_MAX);
    job j = {.format = format, .n = rows->n, .records = rows->k / format->record_k, .bias = rows->bias};
    int64_t panel_bytes = j.records * format->record_bytes;
    j.work = rows->scratch;
    int blocks = (rows->rows + MOSA_LINEAR_BLOCK - 1) / MOSA_LINEAR_BLOCK;
    for (int b = 0; b < blocks; b++) {
        int64_t first = (int64_t)rows->rows * b / blocks;
        j.rows = (int)((int64_t)rows->rows * (b + 1) / blocks - first);
        j.act = rows->act + first;
        j.y = rows->y + first;
        for (int64_t panel = rows->panel_begin; panel < rows->panel_end; panel++) {
            run_panel(&j, (const uint8_t *)rows->packed + panel * panel_bytes);
            store_panel(&j, panel * MOSA_PANEL_ROWS);
        }
    }
}
