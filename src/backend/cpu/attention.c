// ATTENTION of the fast kernels: how tiles of work are shared among threads. The steps of a tile are in
// attention_view.c, their arithmetic in the folders of the instruction sets.
//
// The batch is cut into tiles: a few consecutive rows of one segment by the heads of one key/value head. Every thread
// walks the same list and takes the tiles whose middle of cost falls into its share, so no thread waits for a queue.
// When there are too few tiles to balance (decoding a few long sequences), the tiles are cut further by split: phase 0
// leaves each split's (max, sum, values) in scratch, spread over all threads' areas, and phase 1 joins them in order. A
// tile's result is the same either way, because the contract has splits computed apart and joined in order.
#include "backend/cpu/attention.h"

#include "backend/cpu/ref/ref.h"
#include "backend/cpu/rows.h"

#include <assert.h>
#include <string.h>

enum { PARTIALS_OFFSET = 640 * 1024, PARTIAL_FLOATS = (MOSA_CPU_SCRATCH_BYTES - PARTIALS_OFFSET) / 4 };
static_assert(sizeof(mosa_attention_work) <= PARTIALS_OFFSET, "work and partials share a thread's scratch");

// A pass over the tiles of a batch, in an order that every thread agrees on.
typedef struct walk {
    const mosa_cpu_args *args;
    int group, heads_per_tile, rows_per_tile;
    int32_t segment, row; // of the next tile
    int kv_head, head;    // likewise; head within the group
} walk;

static int widest(const mosa_attrs *attrs) {
    int value_width = mosa_attention_value_width(attrs);
    return attrs->attention.head_width > value_width ? attrs->attention.head_width : value_width;
}

static walk begin_walk(const mosa_cpu_args *args) {
    const mosa_attrs *attrs = &args->node->attrs;
    int group = attrs->attention.heads / attrs->attention.kv_heads, most = MOSA_TILE_FLOATS / (widest(attrs) + 3);
    if (most > MOSA_TILE_TARGET) most = MOSA_TILE_TARGET;
    int tiles = (group + most - 1) / most;
    return (walk){.args = args,
                  .group = group,
                  .heads_per_tile = (group + tiles - 1) / tiles,
                  .rows_per_tile = group < most ? most / group : 1};
}

// What is known of a tile without its pointers.
typedef struct tile_span {
    int32_t segment, row_begin, row_count;
    int kv_head, head, heads, n; // head: of the batch's rows
    int32_t lo, end;             // positions that some vector sees
} tile_span;

static void step_walk(walk *w, const tile_span *span, const mosa_segment *s) {
    // Heads first: neighbours in the list read the same rows of q.
    w->head += span->heads;
    if (w->head < w->group) return;
    w->head = 0;
    if (++w->kv_head < w->args->node->attrs.attention.kv_heads) return;
    w->kv_head = 0;
    w->row += span->row_count;
    if (w->row < s->row_count) return;
    w->row = 0;
    w->segment++;
}

static bool next_span(walk *w, tile_span *span) {
    const mosa_batch *batch = w->args->batch;
    if (w->segment == batch->n_segments) return false;
    const mosa_segment *s = &batch->segments[w->segment];
    int32_t left = s->row_count - w->row;
    *span = (tile_span){.segment = w->segment, .row_begin = s->row_begin + w->row, .kv_head = w->kv_head};
    span->row_count = left < w->rows_per_tile ? left : w->rows_per_tile;
    span->head = w->kv_head * w->group + w->head;
    span->heads = w->group - w->head < w->heads_per_tile ? w->group - w->head : w->heads_per_tile;
    span->n = span->row_count * span->heads;
    int32_t position = s->pos_begin + w->row, ignored;
    mosa_cpu_visible(w->args, s, position, &span->lo, &ignored);
    mosa_cpu_visible(w->args, s, position + span->row_count - 1, &ignored, &span->end);
    step_walk(w, span, s);
    return true;
}

static int32_t first_split(const tile_span *span) {
    return span->lo - span->lo % MOSA_ATTENTION_SPLIT;
}

static int32_t count_splits(const tile_span *span) {
    return (span->end - 1 - first_split(span)) / MOSA_ATTENTION_SPLIT + 1;
}

// Reading a key and a value costs about as much as four vectors' work on them.
static int64_t cost_of(const tile_span *span) {
    return (int64_t)(span->end - span->lo) * (span->n + 4) + 64;
}

static void open_vector(mosa_attention_work *work, const mosa_attention_math *math, int vector) {
    mosa_attention_tile *tile = &work->tile;
    int32_t row = tile->row_begin + vector / tile->heads;
    int head = tile->head + vector % tile->heads;
    memcpy(work->q + (int64_t)vector * tile->width, mosa_cpu_in_row(tile->args, 0, row) + (int64_t)head * tile->width,
           (size_t)tile->width * sizeof(float));
    mosa_cpu_visible(tile->args, tile->segment, tile->segment->pos_begin + (row - tile->segment->row_begin),
                     &tile->lo[vector], &tile->end[vector]);
    if (tile->dtype == MOSA_Q8_0) math->quantize(work, vector);
}

static void open_tile(const mosa_cpu_args *args, const mosa_attention_math *math, const tile_span *span,
                      mosa_attention_work *work) {
    const mosa_attrs *attrs = &args->node->attrs;
    bool paged = mosa_attention_paged(args->graph, args->node);
    work->tile = (mosa_attention_tile){.args = args,
                                       .segment = &args->batch->segments[span->segment],
                                       .kv_head = span->kv_head,
                                       .head = span->head,
                                       .heads = span->heads,
                                       .width = attrs->attention.head_width,
                                       .value_width = mosa_attention_value_width(attrs),
                                       .row_begin = span->row_begin,
                                       .row_count = span->row_count,
                                       .n = span->n,
                                       .paged = paged,
                                       .in_key = attrs->attention.value_in_key,
                                       .dtype = paged ? ((const mosa_kv *)args->in[1])->spec.dtype : MOSA_F32};
    for (int i = 0; i < span->n; i++) open_vector(work, math, i);
}

// Vectors [*begin, *end) of the tile see something of the split; returns whether any does.
static bool find_active(const mosa_attention_tile *tile, int32_t split, int *begin, int *end) {
    int a = 0, b = tile->n;
    while (a < b && tile->end[a] <= split) a++;
    while (a < b && tile->lo[b - 1] >= split + MOSA_ATTENTION_SPLIT) b--;
    *begin = a;
    *end = b;
    return a < b;
}

// Steps 5 and 6 for a vector whose splits are joined in (max, sum, total).
static void finish_vector(const mosa_attention_tile *tile, const mosa_attention_math *math, int vector, float max,
                          float sum, float *total) {
    const mosa_cpu_args *args = tile->args;
    int sinks = mosa_attention_sinks(args->graph, args->node), head = tile->head + vector % tile->heads;
    if (sinks >= 0) mosa_attention_join_sink(&max, &sum, total, mosa_cpu_vector(args, sinks)[head], tile->value_width);
    float *y = mosa_cpu_out_row(args, 0, tile->row_begin + vector / tile->heads) + (int64_t)head * tile->value_width;
    math->finish(total, sum, tile->value_width, y);
}

// A whole tile by one thread.
static void run_tile(mosa_attention_work *work, const mosa_attention_math *math) {
    const mosa_attention_tile *tile = &work->tile;
    int width = tile->value_width;
    bool started[MOSA_TILE_VECTORS] = {false};
    float max[MOSA_TILE_VECTORS], sum[MOSA_TILE_VECTORS];
    int32_t split = tile->lo[0] - tile->lo[0] % MOSA_ATTENTION_SPLIT;
    for (; split < tile->end[tile->n - 1]; split += MOSA_ATTENTION_SPLIT) {
        int begin, end;
        if (!find_active(tile, split, &begin, &end)) continue;
        mosa_attention_split(work, math, split, begin, end);
        for (int i = begin; i < end; i++) {
            float *total = work->total + (int64_t)i * width, *acc = work->acc + (int64_t)i * width;
            if (started[i]) {
                math->join(&max[i], &sum[i], total, work->max[i], work->sum[i], acc, width);
                continue;
            }
            started[i] = true;
            max[i] = work->max[i];
            sum[i] = work->sum[i];
            memcpy(total, acc, (size_t)width * sizeof *acc);
        }
    }
    for (int i = 0; i < tile->n; i++) finish_vector(tile, math, i, max[i], sum[i], work->total + (int64_t)i * width);
}

// How a batch is shared; the same on every thread.
typedef struct sharing {
    int64_t cost;       // of all tiles
    int64_t items;      // (tile, split) pairs
    int slot_floats;    // of one pair's partial result
    int64_t slots_each; // partial results in one thread's scratch
    bool by_split;
} sharing;

static sharing share_batch(const mosa_cpu_args *args, int n_threads) {
    sharing s = {0};
    int64_t tiles = 0;
    int largest = 0;
    walk w = begin_walk(args);
    for (tile_span span; next_span(&w, &span); tiles++) {
        s.cost += cost_of(&span);
        s.items += count_splits(&span);
        largest = span.n > largest ? span.n : largest;
    }
    s.slot_floats = largest * (mosa_attention_value_width(&args->node->attrs) + 2);
    s.slots_each = PARTIAL_FLOATS / s.slot_floats;
    s.by_split =
        n_threads > 1 && tiles < 4 * (int64_t)n_threads && s.items > tiles && s.items <= s.slots_each * n_threads;
    return s;
}

static float *slot_at(const mosa_cpu_args *args, const sharing *s, int64_t item, int thread) {
    unsigned char *scratch_0 = (unsigned char *)args->scratch - (size_t)thread * MOSA_CPU_SCRATCH_BYTES;
    unsigned char *scratch = scratch_0 + (size_t)(item / s->slots_each) * MOSA_CPU_SCRATCH_BYTES;
    return (float *)(void *)(scratch + PARTIALS_OFFSET) + item % s->slots_each * s->slot_floats;
}

// Partial result of a pair: max[n], sum[n], values[n][value_width].
static void run_pair(mosa_attention_work *work, const mosa_attention_math *math, int32_t split, float *slot) {
    const mosa_attention_tile *tile = &work->tile;
    int begin, end;
    if (!find_active(tile, split, &begin, &end)) return;
    mosa_attention_split(work, math, split, begin, end);
    size_t count = (size_t)(end - begin);
    memcpy(slot + begin, work->max + begin, count * sizeof(float));
    memcpy(slot + tile->n + begin, work->sum + begin, count * sizeof(float));
    int64_t width = tile->value_width;
    memcpy(slot + 2 * tile->n + begin * width, work->acc + begin * width, count * (size_t)width * sizeof(float));
}

static void run_pairs(const mosa_cpu_args *args, const mosa_attention_math *math, const sharing *s, int thread,
                      int n_threads) {
    mosa_attention_work *work = args->scratch;
    int64_t item = 0, begin, end;
    mosa_cpu_share(s->items, 1, thread, n_threads, &begin, &end);
    walk w = begin_walk(args);
    for (tile_span span; item < end && next_span(&w, &span);) {
        int32_t splits = count_splits(&span);
        if (item + splits > begin) open_tile(args, math, &span, work);
        for (int32_t i = 0; i < splits; i++, item++)
            if (item >= begin && item < end)
                run_pair(work, math, first_split(&span) + i * MOSA_ATTENTION_SPLIT, slot_at(args, s, item, thread));
    }
}

// Joins the partial results of a tile, whose first pair is `item`.
static void join_tile(mosa_attention_work *work, const mosa_attention_math *math, const tile_span *span,
                      const sharing *s, int64_t item, int thread) {
    const mosa_attention_tile *tile = &work->tile;
    for (int v = 0; v < tile->n; v++) {
        float max = 0, sum = 0;
        bool started = false;
        for (int32_t i = 0; i < count_splits(span); i++) {
            int32_t split = first_split(span) + i * MOSA_ATTENTION_SPLIT;
            if (tile->end[v] <= split || tile->lo[v] >= split + MOSA_ATTENTION_SPLIT) continue;
            const float *slot = slot_at(tile->args, s, item + i, thread);
            const float *values = slot + 2 * tile->n + (int64_t)v * tile->value_width;
            if (started) {
                math->join(&max, &sum, work->total, slot[v], slot[tile->n + v], values, tile->value_width);
                continue;
            }
            started = true;
            max = slot[v];
            sum = slot[tile->n + v];
            memcpy(work->total, values, (size_t)tile->value_width * sizeof(float));
        }
        finish_vector(tile, math, v, max, sum, work->total);
    }
}

static void join_pairs(const mosa_cpu_args *args, const mosa_attention_math *math, const sharing *s, int thread,
                       int n_threads) {
    mosa_attention_work *work = args->scratch;
    int64_t item = 0, number = 0;
    walk w = begin_walk(args);
    for (tile_span span; next_span(&w, &span); number++) {
        if (number % n_threads == thread) {
            open_tile(args, math, &span, work);
            join_tile(work, math, &span, s, item, thread);
        }
        item += count_splits(&span);
    }
}

static void run_tiles(const mosa_cpu_args *args, const mosa_attention_math *math, const sharing *s, int thread,
                      int n_threads) {
    mosa_attention_work *work = args->scratch;
    int64_t before = 0;
    walk w = begin_walk(args);
    for (tile_span span; next_span(&w, &span);) {
        int64_t cost = cost_of(&span);
        if ((before + cost / 2) * n_threads / s->cost == thread) {
            open_tile(args, math, &span, work);
            run_tile(work, math);
        }
        before += cost;
    }
}

// What tiles are made for: whole vectors of values, and room to turn values around.
static bool fits(const mosa_cpu_args *args) {
    const mosa_attrs *attrs = &args->node->attrs;
    int value_width = mosa_attention_value_width(attrs);
    return value_width % 8 == 0 && (!attrs->attention.value_in_key || value_width <= 512);
}

void mosa_attention_run(const mosa_cpu_args *args, const mosa_attention_math *math, int thread, int n_threads) {
    if (!fits(args)) {
        if (args->phase == 0) mosa_ref_attention(args, thread, n_threads);
        return;
    }
    sharing s = share_batch(args, n_threads);
    if (args->phase == 0 && s.by_split)
        run_pairs(args, math, &s, thread, n_threads);
    else if (args->phase == 0)
        run_tiles(args, math, &s, thread, n_threads);
    else if (s.by_split)
        join_pairs(args, math, &s, thread, n_threads);
}
