// ROPE, KV_WRITE and ROPE_KV_WRITE on AVX2. Storing is the code of kv_page.h, compiled for AVX2.
#include "backend/cpu/avx2/avx2.h"
#include "backend/cpu/avx2/rope_row.h"
#include "backend/cpu/kv_page.h"
#include "backend/cpu/rows.h"

void mosa_avx2_rope(const mosa_cpu_args *args, int thread, int n_threads) {
    const mosa_attrs *attrs = &args->node->attrs;
    int64_t columns = mosa_cpu_columns(args, 0), begin, end;
    mosa_cpu_share(args->rows, 1, thread, n_threads, &begin, &end);
    for (int64_t t = begin; t < end; t++)
        for (int64_t c = 0; c < columns; c += attrs->rope.head_width)
            rope_head(attrs, mosa_cpu_in_row(args, 0, t) + c, mosa_cpu_in_row(args, 1, t),
                      mosa_cpu_out_row(args, 0, t) + c);
}

// Keys and values of row t into its segment's pages; k is rotated on the way when rope is not NULL; v is NULL where
// values are part of the keys.
static void store_row(const mosa_cpu_args *args, const mosa_kv *kv, const mosa_attrs *attention, int32_t segment,
                      int32_t t, const float *k, const float *v, const mosa_attrs *rope, const float *table) {
    const mosa_segment *s = &args->batch->segments[segment];
    int32_t position = s->pos_begin + (t - s->row_begin);
    int lane = position % MOSA_KV_GROUP;
    int width = kv->spec.head_width, value_width = mosa_kv_value_width(&kv->spec), layer = attention->attention.layer;
    for (int g = 0; g < attention->attention.kv_heads; g++) {
        float rotated[MOSA_HEAD_WIDTH_MAX];
        if (rope) rope_head(rope, k + (int64_t)g * width, table, rotated);
        mosa_kv_store_key(kv, mosa_kv_group_at(kv, s, layer, g, position, false), lane,
                          rope ? rotated : k + (int64_t)g * width);
        if (v)
            mosa_kv_store_value(kv, mosa_kv_group_at(kv, s, layer, g, position, true), lane,
                                v + (int64_t)g * value_width);
    }
}

void mosa_avx2_kv_write(const mosa_cpu_args *args, int thread, int n_threads) {
    bool in_key = args->node->attrs.attention.value_in_key;
    int64_t begin, end;
    mosa_cpu_share(args->rows, 1, thread, n_threads, &begin, &end);
    int32_t s = 0;
    for (int32_t t = (int32_t)begin; t < end; t++) {
        s = mosa_cpu_segment_of(args->batch, t, s);
        store_row(args, args->in[in_key ? 1 : 2], &args->node->attrs, s, t, mosa_cpu_in_row(args, 0, t),
                  in_key ? NULL : mosa_cpu_in_row(args, 1, t), NULL, NULL);
    }
}

void mosa_avx2_rope_kv_write(const mosa_cpu_args *args, int thread, int n_threads) {
    const mosa_attrs *rope = &args->node->attrs;
    int64_t columns = mosa_cpu_columns(args, 0), begin, end;
    mosa_cpu_share(args->rows, 1, thread, n_threads, &begin, &end);
    int32_t s = 0;
    for (int32_t t = (int32_t)begin; t < end; t++) {
        const float *table = mosa_cpu_in_row(args, 3, t);
        for (int64_t c = 0; c < columns; c += rope->rope.head_width)
            rope_head(rope, mosa_cpu_in_row(args, 0, t) + c, table, mosa_cpu_out_row(args, 0, t) + c);
        s = mosa_cpu_segment_of(args->batch, t, s);
        store_row(args, args->in[4], &args->node->attrs2, s, t, mosa_cpu_in_row(args, 1, t),
                  mosa_cpu_in_row(args, 2, t), rope, table);
    }
}
