// ATTENTION_DX and ATTENTION_DSINKS over packed segments, reference.
//
// With p = softmax of a row's scores (a sink takes part in the sum), dp_j = dy . v_j and delta = sum of p_j dp_j:
//   dv_j += p_j dy;   ds_j = p_j (dp_j - delta), through the cap: ds_j (1 - (s_j / cap)^2);
//   dq += scale ds_j k_j;   dk_j += scale ds_j q;   dsink += -p_sink delta.
// An item is one key/value head of one segment: its thread alone adds to its keys and values, head by head of the group
// and over rows in order, so nothing depends on the number of threads. Probabilities are computed again.
// Order: dots and the sums dq, dk, dv are chains of fused multiply-adds over columns or rows, ascending, from zero;
// sums over keys run in the 32 lanes of mosa_sum32 by their distance from the first of the segment.
#include "backend/cpu/math.h"
#include "backend/cpu/ref/ref.h"
#include "backend/cpu/rows.h"

#include <string.h>

// One query head of one row. Operands: dy, q, k, (v), (sinks).
typedef struct query {
    const mosa_cpu_args *args;
    const mosa_segment *segment;
    const float *dy, *q; // [value_width], [width]
    const float *sink;   // or NULL
    int kv_head, width, value_width;
    int32_t lo, end; // visible positions
    float *p, *ds;   // (end - lo)
    float p_sink, delta;
} query;

static const float *key_at(const query *u, int32_t position) {
    int32_t row = u->segment->row_begin + (position - u->segment->pos_begin);
    return mosa_cpu_in_row(u->args, 2, row) + (int64_t)u->kv_head * u->width;
}

static const float *value_at(const query *u, int32_t position) {
    if (u->args->node->attrs.attention.value_in_key) return key_at(u, position);
    int32_t row = u->segment->row_begin + (position - u->segment->pos_begin);
    return mosa_cpu_in_row(u->args, 3, row) + (int64_t)u->kv_head * u->value_width;
}

static float dot(const float *a, const float *b, int n) {
    float sum = 0;
    for (int i = 0; i < n; i++) sum = fmaf(a[i], b[i], sum);
    return sum;
}

// The lane of sums over keys that key j of the query is in.
static int lane_of(const query *u, int32_t j) {
    return (u->lo + j - u->segment->pos_begin) % 32;
}

// p: the probabilities, by way of the scores, which leave the cap's slope in ds.
static void soften(query *u) {
    const mosa_attrs *attrs = &u->args->node->attrs;
    float cap = attrs->attention.softcap, max = u->sink ? *u->sink : -INFINITY, lane[32] = {0};
    int32_t n = u->end - u->lo;
    for (int32_t j = 0; j < n; j++) {
        float s = dot(u->q, key_at(u, u->lo + j), u->width) * attrs->attention.scale, t = 0;
        if (cap > 0) {
            t = mosa_tanhf(s / cap);
            s = cap * t;
        }
        u->p[j] = s;
        u->ds[j] = 1 - t * t;
        max = s > max ? s : max;
    }
    for (int32_t j = 0; j < n; j++) lane[lane_of(u, j)] += u->p[j] = mosa_expf(u->p[j] - max);
    u->p_sink = u->sink ? mosa_expf(*u->sink - max) : 0;
    float inverse = 1.0f / (mosa_sum32(lane) + u->p_sink);
    for (int32_t j = 0; j < n; j++) u->p[j] *= inverse;
    u->p_sink *= inverse;
}

// ds, and delta.
static void differentiate(query *u) {
    int32_t n = u->end - u->lo;
    float lane[32] = {0};
    soften(u);
    for (int32_t j = 0; j < n; j++) {
        float *sum = &lane[lane_of(u, j)];
        *sum = fmaf(u->p[j], dot(u->dy, value_at(u, u->lo + j), u->value_width), *sum);
    }
    u->delta = mosa_sum32(lane);
    for (int32_t j = 0; j < n; j++)
        u->ds[j] *= u->p[j] * (dot(u->dy, value_at(u, u->lo + j), u->value_width) - u->delta) *
                    u->args->node->attrs.attention.scale;
}

static query open_query(const mosa_cpu_args *args, const mosa_segment *segment, int32_t row, int head,
                        const float *sinks) {
    const mosa_attrs *attrs = &args->node->attrs;
    query u = {.args = args, .segment = segment, .width = attrs->attention.head_width};
    u.value_width = mosa_attention_value_width(attrs);
    u.kv_head = head / (attrs->attention.heads / attrs->attention.kv_heads);
    u.dy = mosa_cpu_in_row(args, 0, row) + (int64_t)head * u.value_width;
    u.q = mosa_cpu_in_row(args, 1, row) + (int64_t)head * u.width;
    u.sink = sinks ? sinks + head : NULL;
    mosa_cpu_visible(args, segment, segment->pos_begin + (row - segment->row_begin), &u.lo, &u.end);
    u.p = args->scratch;
    u.ds = u.p + MOSA_ATTENTION_DX_ROWS_MAX;
    return u;
}

static void add_row(float *to, float factor, const float *from, int n) {
    for (int i = 0; i < n; i++) to[i] = fmaf(factor, from[i], to[i]);
}

// Adds what one query head gives; its dq is written.
static void run_query(query *u, int32_t row, int head) {
    bool in_key = u->args->node->attrs.attention.value_in_key;
    float *dq = mosa_cpu_out_row(u->args, 0, row) + (int64_t)head * u->width;
    differentiate(u);
    memset(dq, 0, (size_t)u->width * sizeof *dq);
    for (int32_t j = u->lo; j < u->end; j++) {
        int32_t other = u->segment->row_begin + (j - u->segment->pos_begin);
        float *dk = mosa_cpu_out_row(u->args, 1, other) + (int64_t)u->kv_head * u->width;
        float *dv = in_key ? dk : mosa_cpu_out_row(u->args, 2, other) + (int64_t)u->kv_head * u->value_width;
        add_row(dq, u->ds[j - u->lo], key_at(u, j), u->width);
        add_row(dk, u->ds[j - u->lo], u->q, u->width);
        add_row(dv, u->p[j - u->lo], u->dy, u->value_width);
    }
}

static void clear_item(const mosa_cpu_args *args, const mosa_segment *segment, int kv_head) {
    const mosa_attrs *attrs = &args->node->attrs;
    size_t width = (size_t)attrs->attention.head_width, value_width = (size_t)mosa_attention_value_width(attrs);
    for (int32_t t = segment->row_begin; t < segment->row_begin + segment->row_count; t++) {
        memset(mosa_cpu_out_row(args, 1, t) + kv_head * (int64_t)width, 0, width * sizeof(float));
        if (attrs->attention.value_in_key)
            mosa_cpu_out_row(args, 2, t)[0] = 0;
        else
            memset(mosa_cpu_out_row(args, 2, t) + kv_head * (int64_t)value_width, 0, value_width * sizeof(float));
    }
}

void mosa_ref_attention_dx(const mosa_cpu_args *args, int thread, int n_threads) {
    const mosa_attrs *attrs = &args->node->attrs;
    int kv_heads = attrs->attention.kv_heads, group = attrs->attention.heads / kv_heads;
    int operands = attrs->attention.value_in_key ? 3 : 4;
    const float *sinks = args->node->n_in > operands ? mosa_cpu_vector(args, operands) : NULL;
    for (int64_t item = thread; item < (int64_t)args->batch->n_segments * kv_heads; item += n_threads) {
        const mosa_segment *segment = &args->batch->segments[item / kv_heads];
        int kv_head = (int)(item % kv_heads);
        clear_item(args, segment, kv_head);
        for (int head = kv_head * group; head < (kv_head + 1) * group; head++)
            for (int32_t t = segment->row_begin; t < segment->row_begin + segment->row_count; t++) {
                query u = open_query(args, segment, t, head, sinks);
                run_query(&u, t, head);
            }
    }
}

// A thread takes heads, over all rows in order.
void mosa_ref_attention_dsinks(const mosa_cpu_args *args, int thread, int n_threads) {
    int heads = args->node->attrs.attention.heads, operands = args->node->attrs.attention.value_in_key ? 3 : 4;
    const float *sinks = mosa_cpu_vector(args, operands);
    float *grad = mosa_cpu_grad(args, operands + 1);
    for (int head = thread; head < heads; head += n_threads) {
        int32_t s = 0;
        for (int32_t t = 0; t < args->rows; t++) {
            s = mosa_cpu_segment_of(args->batch, t, s);
            query u = open_query(args, &args->batch->segments[s], t, head, sinks);
            differentiate(&u);
            grad[head] -= u.p_sink * u.delta;
        }
    }
}
