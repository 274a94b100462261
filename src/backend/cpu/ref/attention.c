// ATTENTION, reference, and the contract of its float order, which the fast kernels keep bit for bit.
//
// A row at absolute position p of its sequence sees positions [lo, hi]: hi = p when causal, else the end of its
// segment; lo = the first position, or p - window + 1; without causality a window also ends at p + window - 1. For each
// query head:
//   1. Positions are cut into splits [256 i, 256 i + 256) of absolute position. Only visible positions take part; a
//      split without any is left out.
//   2. score(j) = dot(q, k_j) * scale, then softcap * tanh(score / softcap) when softcap > 0. dot: fused multiply-adds
//      over the columns, ascending, from zero. Over q8_0 keys the query is quantised as well, in blocks of 32 columns,
//      and dot is fma((float)I_b * d_b, s_b, dot) over the blocks, ascending, from zero: I_b the integer sum of a
//      block, d_b the query's scale, s_b the key's.
//   3. Within a split: m = max score; e(j) = mosa_expf(score(j) - m); l = sum of e(j) in sixteen lanes, j % 16, j
//      ascending, lanes i and i + 8 added, then mosa_sum8; a[c] = sum of e(j) v_j[c] by fused multiply-add, j ascending
//      from zero. Over q8_0 values the weights become integers, for each set of columns that share scales (all of them;
//      32 where values lie in keys): w(j) = e(j) * s_j, W = max w, n(j) = w(j) * (32767 / W) rounded to nearest even,
//      a[c] = (float)(sum of n(j) v_j[c], an integer) * (W * (1 / 32767)). 32767 * 127 * 256 fits 31 bits.
//   4. Splits join in order of position, the first as it is: M' = max(M, m), f = exp(M - M'), g = exp(m - M'),
//      L = L f + l g, A[c] = A[c] f + a[c] g, every product and sum rounded.
//   5. With a sink s (a logit of the head, neither scaled nor capped), after the last split: M' = max(M, s),
//      f = exp(M - M'), L = L f + exp(s - M'), A[c] = A[c] f.
//   6. y[c] = A[c] * (1 / L).
// Values are rows of mosa_attention_value_width columns: of their own, or the first columns of the keys.
// Nothing here depends on the other rows of the batch, on where a chunk began, or on threads.
#include "backend/cpu/attention_join.h"
#include "backend/cpu/kv_page.h"
#include "backend/cpu/math.h"
#include "backend/cpu/ref/ref.h"
#include "backend/cpu/rows.h"

#include <string.h>

// One query head of one row, and where it finds its keys and values.
typedef struct source {
    const mosa_cpu_args *args;
    const mosa_segment *segment;
    const float *q; // [width]
    int kv_head, width, value_width;
    bool paged, quantized;
    int8_t n[MOSA_HEAD_WIDTH_MAX];                // q8_0: q as integers
    float d[MOSA_HEAD_WIDTH_MAX / MOSA_KV_BLOCK]; // and their scales
} source;

static const unsigned char *group_of(const source *from, int32_t position, bool value) {
    const mosa_cpu_args *args = from->args;
    return mosa_kv_group_at(args->in[1], from->segment, args->node->attrs.attention.layer, from->kv_head, position,
                            value);
}

static float element_at(const unsigned char *group, mosa_dtype dtype, int index) {
    if (dtype == MOSA_F32) return ((const float *)(const void *)group)[index];
    return mosa_f16_to_f32(((const uint16_t *)(const void *)group)[index]);
}

// Column c of the key (value) of a position; not of q8_0 pages.
static float element(const source *from, int32_t position, bool value, int c) {
    const mosa_cpu_args *args = from->args;
    value = value && !args->node->attrs.attention.value_in_key;
    if (!from->paged) {
        int32_t row = from->segment->row_begin + (position - from->segment->pos_begin);
        return mosa_cpu_in_row(args, value ? 2 : 1, row)[from->kv_head * (value ? from->value_width : from->width) + c];
    }
    int lane = position % MOSA_KV_GROUP;
    return element_at(group_of(from, position, value), ((const mosa_kv *)args->in[1])->spec.dtype,
                      value ? lane * from->value_width + c : c * MOSA_KV_GROUP + lane);
}

static int key_integer(const unsigned char *group, int lane, int c) {
    return group[c / 4 * 64 + lane * 4 + c % 4] - 128;
}

static float key_scale(const source *from, const unsigned char *group, int lane, int block) {
    const uint16_t *scales = (const uint16_t *)(const void *)(group + mosa_kv_key_scales(from->width));
    return mosa_f16_to_f32(scales[block * MOSA_KV_GROUP + lane]);
}

static float quantized_dot(const source *from, int32_t position) {
    const unsigned char *group = group_of(from, position, false);
    int lane = position % MOSA_KV_GROUP;
    float dot = 0;
    for (int b = 0; b * MOSA_KV_BLOCK < from->width; b++) {
        int32_t sum = 0;
        for (int c = b * MOSA_KV_BLOCK; c < from->width && c < (b + 1) * MOSA_KV_BLOCK; c++)
            sum += from->n[c] * key_integer(group, lane, c);
        dot = fmaf((float)sum * from->d[b], key_scale(from, group, lane, b), dot);
    }
    return dot;
}

static float score(const source *from, int32_t position) {
    const mosa_attrs *attrs = &from->args->node->attrs;
    float dot = 0, cap = attrs->attention.softcap;
    if (from->quantized)
        dot = quantized_dot(from, position);
    else
        for (int c = 0; c < from->width; c++) dot = fmaf(from->q[c], element(from, position, false, c), dot);
    dot *= attrs->attention.scale;
    return cap > 0 ? cap * mosa_tanhf(dot / cap) : dot;
}

// The scale of q8_0 values from column c on at a position; column c's integer.
static float value_scale(const source *from, int32_t position, int c) {
    int lane = position % MOSA_KV_GROUP;
    if (from->args->node->attrs.attention.value_in_key)
        return key_scale(from, group_of(from, position, false), lane, c / MOSA_KV_BLOCK);
    const unsigned char *scales = group_of(from, position, true) + mosa_kv_value_scales(from->value_width);
    return ((const float *)(const void *)scales)[lane];
}

static int value_integer(const source *from, int32_t position, int c) {
    int lane = position % MOSA_KV_GROUP;
    if (from->args->node->attrs.attention.value_in_key) return key_integer(group_of(from, position, false), lane, c);
    const unsigned char *group = group_of(from, position, true);
    return (int8_t)group[lane / 2 * from->value_width * 2 + 2 * c + lane % 2];
}

// a[c] over q8_0 values for the columns [c_begin, c_end) that share scales. e: of positions [begin, end).
static void add_quantized(const source *from, const float *e, int32_t begin, int32_t end, int c_begin, int c_end,
                          float *acc) {
    int32_t n[MOSA_ATTENTION_SPLIT];
    float w[MOSA_ATTENTION_SPLIT], largest = 0;
    for (int32_t j = begin; j < end; j++) {
        w[j - begin] = e[j - begin] * value_scale(from, j, c_begin);
        largest = w[j - begin] > largest ? w[j - begin] : largest;
    }
    float up = mosa_attention_weight_scale(largest);
    for (int32_t j = begin; j < end; j++) n[j - begin] = mosa_attention_weight(w[j - begin], up);
    for (int c = c_begin; c < c_end; c++) {
        int32_t sum = 0;
        for (int32_t j = begin; j < end; j++) sum += n[j - begin] * value_integer(from, j, c);
        acc[c] = (float)sum * (largest * MOSA_ATTENTION_UNIT);
    }
}

static void add_values(const source *from, const float *e, int32_t begin, int32_t end, float *acc) {
    if (!from->quantized) {
        for (int c = 0; c < from->value_width; c++) {
            acc[c] = 0;
            for (int32_t j = begin; j < end; j++) acc[c] = fmaf(e[j - begin], element(from, j, true, c), acc[c]);
        }
        return;
    }
    int shared = from->args->node->attrs.attention.value_in_key ? MOSA_KV_BLOCK : from->value_width;
    for (int c = 0; c < from->value_width; c += shared)
        add_quantized(from, e, begin, end, c, c + shared < from->value_width ? c + shared : from->value_width, acc);
}

// Steps 2 and 3 over the visible positions [begin, end) of one split. acc: [value_width].
static void run_split(const source *from, int32_t begin, int32_t end, float *max, float *sum, float *acc) {
    float e[MOSA_ATTENTION_SPLIT], lane[16] = {0};
    float m = -INFINITY;
    for (int32_t j = begin; j < end; j++) {
        e[j - begin] = score(from, j);
        m = e[j - begin] > m ? e[j - begin] : m;
    }
    for (int32_t j = begin; j < end; j++) {
        e[j - begin] = mosa_expf(e[j - begin] - m);
        lane[j % 16] += e[j - begin];
    }
    for (int i = 0; i < 8; i++) lane[i] += lane[i + 8];
    add_values(from, e, begin, end, acc);
    *max = m;
    *sum = mosa_sum8(lane);
}

static void attend(const source *from, int32_t position, const float *sink, float *y) {
    float split_acc[MOSA_HEAD_WIDTH_MAX], acc[MOSA_HEAD_WIDTH_MAX];
    float max = 0, sum = 0;
    int32_t lo, end;
    bool first = true;
    mosa_cpu_visible(from->args, from->segment, position, &lo, &end);
    for (int32_t at = lo; at < end;) {
        int32_t next = at - at % MOSA_ATTENTION_SPLIT + MOSA_ATTENTION_SPLIT;
        if (next > end) next = end;
        float m, l;
        run_split(from, at, next, first ? &max : &m, first ? &sum : &l, first ? acc : split_acc);
        if (!first) mosa_attention_join(&max, &sum, acc, m, l, split_acc, from->value_width);
        first = false;
        at = next;
    }
    if (sink) mosa_attention_join_sink(&max, &sum, acc, *sink, from->value_width);
    mosa_attention_finish(acc, sum, from->value_width, y);
}

static void open_source(source *from, const mosa_cpu_args *args, int32_t row, int head, int32_t *segment) {
    const mosa_attrs *attrs = &args->node->attrs;
    *segment = mosa_cpu_segment_of(args->batch, row, *segment);
    from->args = args;
    from->segment = &args->batch->segments[*segment];
    from->width = attrs->attention.head_width;
    from->value_width = mosa_attention_value_width(attrs);
    from->kv_head = head / (attrs->attention.heads / attrs->attention.kv_heads);
    from->q = mosa_cpu_in_row(args, 0, row) + (int64_t)head * from->width;
    from->paged = mosa_attention_paged(args->graph, args->node);
    from->quantized = from->paged && ((const mosa_kv *)args->in[1])->spec.dtype == MOSA_Q8_0;
    if (from->quantized) mosa_attention_quantize_query(from->q, from->width, from->n, from->d);
}

void mosa_ref_attention(const mosa_cpu_args *args, int thread, int n_threads) {
    const mosa_attrs *attrs = &args->node->attrs;
    int heads = attrs->attention.heads, sinks = mosa_attention_sinks(args->graph, args->node);
    int value_width = mosa_attention_value_width(attrs);
    const float *sink = sinks < 0 ? NULL : mosa_cpu_vector(args, sinks);
    int64_t begin, end;
    mosa_cpu_share((int64_t)args->rows * heads, 1, thread, n_threads, &begin, &end);
    int32_t s = 0;
    for (int64_t item = begin; item < end; item++) {
        int32_t row = (int32_t)(item / heads);
        int head = (int)(item % heads);
        source from;
        open_source(&from, args, row, head, &s);
        attend(&from, from.segment->pos_begin + (row - from.segment->row_begin), sink ? sink + head : NULL,
               mosa_cpu_out_row(args, 0, row) + (int64_t)head * value_width);
    }
}
