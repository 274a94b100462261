// KV_WRITE and ROPE_KV_WRITE, reference: keys and values of each row into the pages of its segment.
//
// F16 pages take the nearest half float; what would overflow becomes the largest one, so that a page never holds an
// infinity that a finite model did not produce.
#include "backend/cpu/math.h"
#include "backend/cpu/ref/ref.h"
#include "backend/cpu/ref/rope_row.h"
#include "backend/cpu/rows.h"

#include <string.h>

static void store_head(mosa_dtype dtype, const float *x, int width, unsigned char *to) {
    if (dtype == MOSA_F32) {
        memcpy(to, x, (size_t)width * sizeof *x);
        return;
    }
    uint16_t *half = (uint16_t *)(void *)to;
    for (int i = 0; i < width; i++) {
        float v = x[i] > 65504.0f ? 65504.0f : x[i] < -65504.0f ? -65504.0f : x[i];
        half[i] = mosa_f16_from_f32(v);
    }
}

static void store_row(const mosa_kv *kv, const mosa_attrs *attention, const mosa_segment *segment, int32_t position,
                      bool value, const float *x) {
    int width = value ? mosa_kv_value_width(&kv->spec) : kv->spec.head_width;
    for (int g = 0; g < attention->attention.kv_heads; g++) {
        unsigned char *to = mosa_cpu_kv_at(kv, segment, attention->attention.layer, g, position, value);
        store_head(kv->spec.dtype, x + (int64_t)g * width, width, to);
    }
}

void mosa_ref_kv_write(const mosa_cpu_args *args, int thread, int n_threads) {
    bool in_key = args->node->attrs.attention.value_in_key;
    const mosa_kv *kv = args->in[in_key ? 1 : 2];
    int64_t begin, end;
    mosa_cpu_share(args->rows, 1, thread, n_threads, &begin, &end);
    int32_t s = 0;
    for (int32_t t = (int32_t)begin; t < end; t++) {
        s = mosa_cpu_segment_of(args->batch, t, s);
        const mosa_segment *segment = &args->batch->segments[s];
        int32_t position = segment->pos_begin + (t - segment->row_begin);
        store_row(kv, &args->node->attrs, segment, position, false, mosa_cpu_in_row(args, 0, t));
        if (!in_key) store_row(kv, &args->node->attrs, segment, position, true, mosa_cpu_in_row(args, 1, t));
    }
}

void mosa_ref_rope_kv_write(const mosa_cpu_args *args, int thread, int n_threads) {
    const mosa_kv *kv = args->in[4];
    const mosa_attrs *rope = &args->node->attrs, *attention = &args->node->attrs2;
    int64_t q_columns = mosa_cpu_columns(args, 0), width = rope->rope.head_width, begin, end;
    mosa_cpu_share(args->rows, 1, thread, n_threads, &begin, &end);
    int32_t s = 0;
    for (int32_t t = (int32_t)begin; t < end; t++) {
        const float *table = mosa_cpu_in_row(args, 3, t);
        for (int64_t c = 0; c < q_columns; c += width)
            mosa_ref_rope_head(rope, mosa_cpu_in_row(args, 0, t) + c, table, mosa_cpu_out_row(args, 0, t) + c);
        s = mosa_cpu_segment_of(args->batch, t, s);
        const mosa_segment *segment = &args->batch->segments[s];
        int32_t position = segment->pos_begin + (t - segment->row_begin);
        for (int g = 0; g < attention->attention.kv_heads; g++) {
            float rotated[MOSA_HEAD_WIDTH_MAX];
            mosa_ref_rope_head(rope, mosa_cpu_in_row(args, 1, t) + g * width, table, rotated);
            store_head(kv->spec.dtype, rotated, (int)width,
                       mosa_cpu_kv_at(kv, segment, attention->attention.layer, g, position, false));
        }
        store_row(kv, attention, segment, position, true, mosa_cpu_in_row(args, 2, t));
    }
}
