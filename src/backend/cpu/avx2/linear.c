// LINEAR and EXPERT_LINEAR on AVX2: drives the tiles of a weight type over this thread's panels.
//
// Few rows: one tile reads a whole panel, unpacking in registers; weights stream from memory once. More rows: blocks of
// at most ROW_BLOCK rows; a panel is worked through in chunks that stay in L1 (unpacked there first when that pays)
// while all tiles of the block pass over them, their sums in scratch. A row's sums are the same numbers either way.
#include "backend/cpu/linear.h"

#include "backend/cpu/avx2/linear_tile.h"

#include <assert.h>
#include <string.h>

// From LARGE_BLOCK rows on, longer chunks pay: sums are moved in and out of scratch less often.
enum { ROW_BLOCK = 128, LARGE_BLOCK = 32, UNPACKED_MAX = 16 * 1024, GATHERED_MAX = 704 * 1024 };

// This thread's scratch.
typedef struct workspace {
    float sums[ROW_BLOCK * MOSA_PANEL_ROWS];
    uint8_t unpacked[UNPACKED_MAX];
    uint8_t gathered[GATHERED_MAX]; // rows that lie apart, side by side
} workspace;
static_assert(sizeof(workspace) <= MOSA_LINEAR_SCRATCH_BYTES, "scratch");

typedef struct job {
    const linear_format *format;
    const uint8_t *panels;
    int64_t n, records, panel_bytes;
    const uint8_t *act; // first row of the block
    int64_t act_stride;
    float *y;           // first row of the block
    int64_t y_stride;   // bytes
    float *const *outs; // (rows) where rows go instead of y, or NULL
    const float *bias;  // (n) or NULL
    int rows;           // of the block
    workspace *work;
} job;

static const linear_format *format_of(mosa_dtype dtype, int64_t k) {
    switch (mosa_cpu_act_layout(dtype, k)) {
    case MOSA_ACT_F32:
        return mosa_avx2_linear_f32(dtype);
    case MOSA_ACT_S8_32:
        return mosa_avx2_linear_s8_32(dtype);
    case MOSA_ACT_S16_32:
        return mosa_avx2_linear_s16_32(dtype);
    case MOSA_ACT_S8_256:
        return mosa_avx2_linear_s8_256(dtype);
    default:
        return mosa_avx2_linear_u8_256(dtype);
    }
}

// `bytes` of the panel that come next, to be brought nearer while tiles are busy.
typedef struct upcoming {
    const uint8_t *at;
    int64_t bytes;
} upcoming;

static void prefetch_range(const uint8_t *at, int64_t bytes) {
    for (int64_t i = 0; i < bytes; i += 64) _mm_prefetch((const char *)at + i, _MM_HINT_T0);
}

// Passes all tiles of the block over `records` records. Tiles are as even as can be: 5 rows are 3 + 2.
static void run_tiles(const job *j, const linear_tile_fn *tiles, const uint8_t *w, int64_t first, int64_t records,
                      upcoming next) {
    int n_tiles = (j->rows + j->format->tile_rows - 1) / j->format->tile_rows;
    int64_t slice = (next.bytes / n_tiles + 63) / 64 * 64;
    for (int t = 0; t < n_tiles; t++) {
        int begin = j->rows * t / n_tiles, rows = j->rows * (t + 1) / n_tiles - begin;
        const uint8_t *act = j->act + begin * j->act_stride + first * j->format->act_bytes;
        if (t * slice < next.bytes) prefetch_range(next.at + t * slice, slice);
        tiles[rows](w, act, j->act_stride, j->work->sums + begin * MOSA_PANEL_ROWS, records);
    }
}

static void run_panel(const job *j, const uint8_t *panel) {
    const linear_format *f = j->format;
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
        float *y = (j->outs ? j->outs[r] : (float *)((char *)j->y + r * j->y_stride)) + n_begin;
        if (!j->bias)
            memcpy(y, sums, (size_t)count * sizeof *y);
        else
            for (int64_t i = 0; i < count; i++) y[i] = sums[i] + j->bias[n_begin + i];
    }
}

static job job_of(const linear_format *format, const void *panels, int64_t n, int64_t k, void *scratch) {
    assert(2 * format->unpacked_chunk * format->unpacked_bytes <= UNPACKED_MAX);
    job j = {.format = format, .panels = panels, .n = n, .records = k / format->record_k, .work = scratch};
    j.panel_bytes = j.records * format->record_bytes;
    return j;
}

static void run_panels(const job *j, int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end && row < j->n; row += MOSA_PANEL_ROWS) {
        run_panel(j, j->panels + row / MOSA_PANEL_ROWS * j->panel_bytes);
        store_panel(j, row);
    }
}

void mosa_avx2_linear(const mosa_cpu_args *args, int thread, int n_threads) {
    const mosa_weight *weight = args->in[1];
    int64_t n = weight->view.dims[0], k = weight->view.dims[1], begin, end;
    const linear_format *format = format_of(weight->view.dtype, k);
    if (!format) {
        mosa_ref_linear(args, thread, n_threads);
        return;
    }
    job j = job_of(format, weight->packed, n, k, args->scratch);
    j.act_stride = args->in_stride[0];
    j.y_stride = args->out_stride[0];
    j.bias = args->node->n_in > 2 ? mosa_cpu_vector(args, 2) : NULL;
    mosa_cpu_share(n, MOSA_PANEL_ROWS, thread, n_threads, &begin, &end);
    int blocks = (args->rows + ROW_BLOCK - 1) / ROW_BLOCK;
    for (int b = 0; b < blocks; b++) {
        int64_t first = (int64_t)args->rows * b / blocks;
        j.rows = (int)((int64_t)args->rows * (b + 1) / blocks - first);
        j.act = (const uint8_t *)args->in[0] + first * j.act_stride;
        j.y = (float *)((char *)args->out[0] + first * j.y_stride);
        run_panels(&j, begin, end);
    }
}

void mosa_avx2_linear_rows(const mosa_linear_rows *rows) {
    job j = job_of(format_of(rows->dtype, rows->k), rows->packed, rows->n, rows->k, rows->scratch);
    j.act_stride = j.records * j.format->act_bytes;
    j.bias = rows->bias;
    // A row that is too long to gather is worked on by itself, where it lies.
    int64_t fit = GATHERED_MAX / j.act_stride, most = fit < 1 ? 1 : fit < ROW_BLOCK ? fit : ROW_BLOCK;
    int64_t blocks = (rows->rows + most - 1) / most;
    for (int64_t b = 0; b < blocks; b++) {
        int64_t first = rows->rows * b / blocks;
        j.rows = (int)(rows->rows * (b + 1) / blocks - first);
        j.outs = rows->y + first;
        j.act = j.rows == 1 ? rows->act[first] : j.work->gathered;
        for (int r = 0; j.rows > 1 && r < j.rows; r++)
            memcpy(j.work->gathered + r * j.act_stride, rows->act[first + r], (size_t)j.act_stride);
        run_panels(&j, MOSA_PANEL_ROWS * rows->panel_begin, MOSA_PANEL_ROWS * rows->panel_end);
    }
}

void mosa_avx2_expert_linear(const mosa_cpu_args *args, int thread, int n_threads) {
    const mosa_tensor_view *stack = &((const mosa_weight *)args->in[1])->view;
    if (format_of(stack->dtype, stack->dims[2]))
        mosa_cpu_expert_linear(args, thread, n_threads, mosa_avx2_linear_rows);
    else
        mosa_ref_expert_linear(args, thread, n_threads);
}
