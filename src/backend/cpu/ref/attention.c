// ATTENTION, reference, and the contract of its float order, which the fast kernels keep bit for bit.
//
// A row at absolute position p of its sequence sees positions [lo, hi]: hi = p when causal, else the end of its
// segment; lo = the first position, or p - window + 1; without causality a window also ends at p + window - 1. For each
// query head:
//   1. Positions are cut into splits [256 i, 256 i + 256) of absolute position. Only visible positions take part; a
//      split without any is left out.
//   2. score(j) = dot(q, k_j) * scale, then softcap * tanh(score / softcap) when softcap > 0. dot: eight lanes, column
//      c in lane c % 8 by fused multiply-add, c ascending from zero; lanes added as in mosa_sum8.
//   3. Within a split: m = max score; e(j) = mosa_expf(score(j) - m); l = sum of e(j) in eight lanes, j % 8, j
//   ascending,
//      added as in mosa_sum8; a[c] = sum of e(j) v_j[c] by fused multiply-add, j ascending from zero.
//   4. Splits join in order of position, the first as it is: M' = max(M, m), f = exp(M - M'), g = exp(m - M'),
//      L = L f + l g, A[c] = A[c] f + a[c] g, every product and sum rounded.
//   5. With a sink s (a logit of the head, neither scaled nor capped), after the last split: M' = max(M, s),
//      f = exp(M - M'), L = L f + exp(s - M'), A[c] = A[c] f.
//   6. y[c] = A[c] * (1 / L).
// Values are rows of mosa_attention_value_width columns: of their own, or the first columns of the keys.
// Nothing here depends on the other rows of the batch, on where a chunk began, or on threads.
#include "backend/cpu/math.h"
#include "backend/cpu/ref/ref.h"
#include "backend/cpu/rows.h"

#include <string.h>

// Where one query head of one row finds its keys and values.
typedef struct source {
    const mosa_cpu_args *args;
    const mosa_segment *segment;
    int kv_head, width, value_width;
} source;

// The key (value) of a position as f32; `buffer` is used for F16 pages.
static const float *key_or_value(const source *from, int32_t position, bool value, float *buffer) {
    const mosa_cpu_args *args = from->args;
    value = value && !args->node->attrs.attention.value_in_key;
    int width = value ? from->value_width : from->width;
    if (!mosa_attention_paged(args->graph, args->node)) {
        int32_t row = from->segment->row_begin + (position - from->segment->pos_begin);
        return mosa_cpu_in_row(args, value ? 2 : 1, row) + (int64_t)from->kv_head * width;
    }
    const mosa_kv *kv = args->in[1];
    const unsigned char *at =
        mosa_cpu_kv_at(kv, from->segment, args->node->attrs.attention.layer, from->kv_head, position, value);
    if (kv->spec.dtype == MOSA_F32) return (const float *)(const void *)at;
    const uint16_t *half = (const uint16_t *)(const void *)at;
    for (int c = 0; c < width; c++) buffer[c] = mosa_f16_to_f32(half[c]);
    return buffer;
}

static float score(const mosa_attrs *attrs, const float *q, const float *k, int width) {
    float lane[8] = {0};
    for (int c = 0; c < width; c++) lane[c % 8] = fmaf(q[c], k[c], lane[c % 8]);
    float s = mosa_sum8(lane) * attrs->attention.scale;
    float cap = attrs->attention.softcap;
    return cap > 0 ? cap * mosa_tanhf(s / cap) : s;
}

// Steps 2 and 3 over the visible positions [begin, end) of one split. acc: [value_width].
static void run_split(const source *from, const float *q, int32_t begin, int32_t end, float *max, float *sum,
                      float *acc) {
    float e[MOSA_ATTENTION_SPLIT], buffer[MOSA_HEAD_WIDTH_MAX], lane[8] = {0};
    float m = -INFINITY;
    for (int32_t j = begin; j < end; j++) {
        const float *k = key_or_value(from, j, false, buffer);
        e[j - begin] = score(&from->args->node->attrs, q, k, from->width);
        m = e[j - begin] > m ? e[j - begin] : m;
    }
    memset(acc, 0, (size_t)from->value_width * sizeof *acc);
    for (int32_t j = begin; j < end; j++) {
        float p = mosa_expf(e[j - begin] - m);
        lane[j % 8] += p;
        const float *v = key_or_value(from, j, true, buffer);
        for (int c = 0; c < from->value_width; c++) acc[c] = fmaf(p, v[c], acc[c]);
    }
    *max = m;
    *sum = mosa_sum8(lane);
}

static void attend(const source *from, int32_t position, const float *q, const float *sink, float *y) {
    float split_acc[MOSA_HEAD_WIDTH_MAX], acc[MOSA_HEAD_WIDTH_MAX];
    float max = 0, sum = 0;
    int32_t lo, end;
    bool first = true;
    mosa_cpu_visible(from->args, from->segment, position, &lo, &end);
    for (int32_t at = lo; at < end;) {
        int32_t next = at - at % MOSA_ATTENTION_SPLIT + MOSA_ATTENTION_SPLIT;
        if (next > end) next = end;
        float m, l;
        run_split(from, q, at, next, &m, &l, split_acc);
        float joint = first || m > max ? m : max;
        float f = first ? 0 : mosa_expf(max - joint), g = first ? 1 : mosa_expf(m - joint);
        sum = first ? l : sum * f + l * g;
        for (int c = 0; c < from->value_width; c++) acc[c] = first ? split_acc[c] : acc[c] * f + split_acc[c] * g;
        max = joint;
        first = false;
        at = next;
    }
    if (sink) {
        float joint = *sink > max ? *sink : max, f = mosa_expf(max - joint);
        sum = sum * f + mosa_expf(*sink - joint);
        for (int c = 0; c < from->value_width; c++) acc[c] *= f;
    }
    float inverse = 1.0f / sum;
    for (int c = 0; c < from->value_width; c++) y[c] = acc[c] * inverse;
}

void mosa_ref_attention(const mosa_cpu_args *args, int thread, int n_threads) {
    const mosa_attrs *attrs = &args->node->attrs;
    int heads = attrs->attention.heads, group = heads / attrs->attention.kv_heads;
    int width = attrs->attention.head_width, value_width = mosa_attention_value_width(attrs);
    int sinks = mosa_attention_sinks(args->graph, args->node);
    const float *sink = sinks < 0 ? NULL : mosa_cpu_vector(args, sinks);
    int64_t begin, end;
    mosa_cpu_share((int64_t)args->rows * heads, 1, thread, n_threads, &begin, &end);
    int32_t s = 0;
    for (int64_t item = begin; item < end; item++) {
        int32_t row = (int32_t)(item / heads);
        int head = (int)(item % heads);
        s = mosa_cpu_segment_of(args->batch, row, s);
        const mosa_segment *segment = &args->batch->segments[s];
        source from = {args, segment, head / group, width, value_width};
        attend(&from, segment->pos_begin + (row - segment->row_begin),
               mosa_cpu_in_row(args, 0, row) + (int64_t)head * width, sink ? sink + head : NULL,
               mosa_cpu_out_row(args, 0, row) + (int64_t)head * value_width);
    }
}
