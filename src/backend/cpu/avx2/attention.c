// ATTENTION on AVX2: how tiles of work are shared among threads. The arithmetic is in attention_tile.c.
//
// The batch is cut into tiles: a few consecutive rows of one segment by one key/value head. Every thread walks the same
// list and takes the tiles whose middle of cost falls into its share, so no thread waits for a queue. When there are
// too few tiles to balance (decoding a few long sequences), the tiles are cut further by split: phase 0 leaves each
// split's (max, sum, values) in scratch, spread over all threads' areas, and phase 1 joins them in order. A tile's
// result is the same either way, because the contract has splits computed apart and joined in order.
#include "backend/cpu/avx2/attention_tile.h"
#include "backend/cpu/avx2/avx2.h"
#include "backend/cpu/ref/ref.h"
#include "backend/cpu/rows.h"

#include <assert.h>
#include <string.h>

enum { PARTIALS_OFFSET = 384 * 1024, PARTIAL_FLOATS = (MOSA_CPU_SCRATCH_BYTES - PARTIALS_OFFSET) / 4 };
static_assert(sizeof(mosa_attention_work) <= PARTIALS_OFFSET, "work and partials share a thread's scratch");

// A pass over the tiles of a batch, in an order that every thread agrees on.
typedef struct walk {
    const mosa_cpu_args *args;
    int group, rows_per_tile;
    int32_t segment, row; // of the next tile
    int kv_head;
} walk;

static walk begin_walk(const mosa_cpu_args *args) {
    int group = args->node->attrs.attention.heads / args->node->attrs.attention.kv_heads;
    int rows = group < MOSA_TILE_TARGET ? MOSA_TILE_TARGET / group : 1;
    return (walk){.args = args, .group = group, .rows_per_tile = rows};
}

// What is known of a tile without its pointers.
typedef struct tile_span {
    int32_t segment, row_begin, row_count;
    int kv_head, n;
    int32_t lo, end; // positions that some vector sees
} tile_span;

static bool next_span(walk *w, tile_span *span) {
    const mosa_batch *batch = w->args->batch;
    if (w->segment == batch->n_segments) return false;
    const mosa_segment *s = &batch->segments[w->segment];
    int32_t left = s->row_count - w->row;
    *span = (tile_span){.segment = w->segment, .row_begin = s->row_begin + w->row, .kv_head = w->kv_head};
    span->row_count = left < w->rows_per_tile ? left : w->rows_per_tile;
    span->n = span->row_count * w->group;
    int32_t position = s->pos_begin + w->row, ignored;
    mosa_cpu_visible(w->args, s, position, &span->lo, &ignored);
    mosa_cpu_visible(w->args, s, position + span->row_count - 1, &ignored, &span->end);
    // Heads first: neighbours in the list read the same rows of q.
    if (++w->kv_head < w->args->node->attrs.attention.kv_heads) return true;
    w->kv_head = 0;
    w->row += span->row_count;
    if (w->row == s->row_count) {
        w->row = 0;
        w->segment++;
    }
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

static void open_tile(const mosa_cpu_args *args, const tile_span *span, mosa_attention_work *work) {
    mosa_attention_tile *tile = &work->tile;
    const mosa_attrs *attrs = &args->node->attrs;
    int group = attrs->attention.heads / attrs->attention.kv_heads, width = attrs->attention.head_width;
    const mosa_segment *segment = &args->batch->segments[span->segment];
    tile->args = args;
    tile->segment = segment;
    tile->kv_head = span->kv_head;
    tile->width = width;
    tile->row_begin = span->row_begin;
    tile->row_count = span->row_count;
    tile->n = span->n;
    tile->q = work->q;
    for (int i = 0; i < tile->n; i++) {
        int32_t row = span->row_begin + i / group;
        memcpy(work->q + (int64_t)i * width,
               mosa_cpu_in_row(args, 0, row) + (int64_t)(span->kv_head * group + i % group) * width,
               (size_t)width * sizeof(float));
        mosa_cpu_visible(args, segment, segment->pos_begin + (row - segment->row_begin), &tile->lo[i], &tile->end[i]);
    }
}

static float *output_of(const mosa_attention_tile *tile, int vector) {
    const mosa_attrs *attrs = &tile->args->node->attrs;
    int group = attrs->attention.heads / attrs->attention.kv_heads;
    return mosa_cpu_out_row(tile->args, 0, tile->row_begin + vector / group) +
           (int64_t)(tile->kv_head * group + vector % group) * tile->width;
}

// A whole tile by one thread.
static void run_tile(mosa_attention_work *work) {
    const mosa_attention_tile *tile = &work->tile;
    size_t row_bytes = (size_t)tile->width * sizeof(float);
    bool started[MOSA_TILE_VECTORS] = {false};
    float max[MOSA_TILE_VECTORS], sum[MOSA_TILE_VECTORS];
    int32_t split = tile->lo[0] - tile->lo[0] % MOSA_ATTENTION_SPLIT;
    for (; split < tile->end[tile->n - 1]; split += MOSA_ATTENTION_SPLIT) {
        int begin, end;
        if (!mosa_attention_active(tile, split, &begin, &end)) continue;
        mosa_attention_split(tile, work, split, begin, end);
        for (int i = begin; i < end; i++) {
            float *total = work->total + (int64_t)i * tile->width, *acc = work->acc + (int64_t)i * tile->width;
            if (started[i]) {
                mosa_attention_join(&max[i], &sum[i], total, work->max[i], work->sum[i], acc, tile->width);
                continue;
            }
            started[i] = true;
            max[i] = work->max[i];
            sum[i] = work->sum[i];
            memcpy(total, acc, row_bytes);
        }
    }
    for (int i = 0; i < tile->n; i++)
        mosa_attention_finish(work->total + (int64_t)i * tile->width, sum[i], tile->width, output_of(tile, i));
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
    s.slot_floats = largest * (args->node->attrs.attention.head_width + 2);
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

// Partial result of a pair: max[n], sum[n], values[n][width].
static void run_pair(mosa_attention_work *work, int32_t split, float *slot) {
    const mosa_attention_tile *tile = &work->tile;
    int begin, end;
    if (!mosa_attention_active(tile, split, &begin, &end)) return;
    mosa_attention_split(tile, work, split, begin, end);
    size_t count = (size_t)(end - begin);
    memcpy(slot + begin, work->max + begin, count * sizeof(float));
    memcpy(slot + tile->n + begin, work->sum + begin, count * sizeof(float));
    memcpy(slot + 2 * tile->n + (int64_t)begin * tile->width, work->acc + (int64_t)begin * tile->width,
           count * (size_t)tile->width * sizeof(float));
}

static void run_pairs(const mosa_cpu_args *args, const sharing *s, int thread, int n_threads) {
    mosa_attention_work *work = args->scratch;
    int64_t item = 0, begin, end;
    mosa_cpu_share(s->items, 1, thread, n_threads, &begin, &end);
    walk w = begin_walk(args);
    for (tile_span span; item < end && next_span(&w, &span);) {
        int32_t splits = count_splits(&span);
        if (item + splits > begin) open_tile(args, &span, work);
        for (int32_t i = 0; i < splits; i++, item++)
            if (item >= begin && item < end)
                run_pair(work, first_split(&span) + i * MOSA_ATTENTION_SPLIT, slot_at(args, s, item, thread));
    }
}

// Joins the partial results of a tile, whose first pair is `item`.
static void join_tile(mosa_attention_work *work, const tile_span *span, const sharing *s, int64_t item, int thread) {
    const mosa_attention_tile *tile = &work->tile;
    for (int v = 0; v < tile->n; v++) {
        float max = 0, sum = 0;
        bool started = false;
        for (int32_t i = 0; i < count_splits(span); i++) {
            int32_t split = first_split(span) + i * MOSA_ATTENTION_SPLIT;
            if (tile->end[v] <= split || tile->lo[v] >= split + MOSA_ATTENTION_SPLIT) continue;
            const float *slot = slot_at(tile->args, s, item + i, thread);
            const float *values = slot + 2 * tile->n + (int64_t)v * tile->width;
            if (started) {
                mosa_attention_join(&max, &sum, work->total, slot[v], slot[tile->n + v], values, tile->width);
                continue;
            }
            started = true;
            max = slot[v];
            sum = slot[tile->n + v];
            memcpy(work->total, values, (size_t)tile->width * sizeof(float));
        }
        mosa_attention_finish(work->total, sum, tile->width, output_of(tile, v));
    }
}

static void join_pairs(const mosa_cpu_args *args, const sharing *s, int thread, int n_threads) {
    mosa_attention_work *work = args->scratch;
    int64_t item = 0, number = 0;
    walk w = begin_walk(args);
    for (tile_span span; next_span(&w, &span); number++) {
        if (number % n_threads == thread) {
            open_tile(args, &span, work);
            join_tile(work, &span, s, item, thread);
        }
        item += count_splits(&span);
    }
}

static void run_tiles(const mosa_cpu_args *args, const sharing *s, int thread, int n_threads) {
    mosa_attention_work *work = args->scratch;
    int64_t before = 0;
    walk w = begin_walk(args);
    for (tile_span span; next_span(&w, &span);) {
        int64_t cost = cost_of(&span);
        if ((before + cost / 2) * n_threads / s->cost == thread) {
            open_tile(args, &span, work);
            run_tile(work);
        }
        before += cost;
    }
}

void mosa_avx2_attention(const mosa_cpu_args *args, int thread, int n_threads) {
    const mosa_attrs *attrs = &args->node->attrs;
    int width = attrs->attention.head_width, group = attrs->attention.heads / attrs->attention.kv_heads;
    bool plain = mosa_attention_value_width(attrs) == width && !attrs->attention.value_in_key &&
                 mosa_attention_sinks(args->graph, args->node) < 0;
    if (!plain || width % 8 || width > MOSA_TILE_WIDTH || group > MOSA_TILE_VECTORS) {
        if (args->phase == 0) mosa_ref_attention(args, thread, n_threads);
        return;
    }
    sharing s = share_batch(args, n_threads);
    if (args->phase == 0 && s.by_split)
        run_pairs(args, &s, thread, n_threads);
    else if (args->phase == 0)
        run_tiles(args, &s, thread, n_threads);
    else if (s.by_split)
        join_pairs(args, &s, thread, n_threads);
}
