// KV_WRITE and ROPE_KV_WRITE, reference: keys and values of each row into the pages of its segment, in the layout and
// by the rounding of kv_page.h.
#include "backend/cpu/kv_page.h"
#include "backend/cpu/ref/ref.h"
#include "backend/cpu/ref/rope_row.h"
#include "backend/cpu/rows.h"

// Where row t of the batch is stored.
typedef struct place {
    const mosa_kv *kv;
    const mosa_segment *segment;
    int layer;
    int32_t position;
} place;

static place place_of(const mosa_cpu_args *args, const mosa_kv *kv, int layer, int32_t t, int32_t *segment) {
    *segment = mosa_cpu_segment_of(args->batch, t, *segment);
    const mosa_segment *s = &args->batch->segments[*segment];
    return (place){kv, s, layer, s->pos_begin + (t - s->row_begin)};
}

static void store_key(const place *at, int kv_head, const float *x) {
    unsigned char *group = mosa_kv_group_at(at->kv, at->segment, at->layer, kv_head, at->position, false);
    mosa_kv_store_key(at->kv, group, at->position % MOSA_KV_GROUP, x);
}

static void store_value(const place *at, int kv_head, const float *x) {
    unsigned char *group = mosa_kv_group_at(at->kv, at->segment, at->layer, kv_head, at->position, true);
    mosa_kv_store_value(at->kv, group, at->position % MOSA_KV_GROUP, x);
}

void mosa_ref_kv_write(const mosa_cpu_args *args, int thread, int n_threads) {
    const mosa_attrs *attention = &args->node->attrs;
    bool in_key = attention->attention.value_in_key;
    const mosa_kv *kv = args->in[in_key ? 1 : 2];
    int64_t begin, end, width = kv->spec.head_width, value_width = mosa_kv_value_width(&kv->spec);
    mosa_cpu_share(args->rows, 1, thread, n_threads, &begin, &end);
    int32_t s = 0;
    for (int32_t t = (int32_t)begin; t < end; t++) {
        place at = place_of(args, kv, attention->attention.layer, t, &s);
        for (int g = 0; g < attention->attention.kv_heads; g++) {
            store_key(&at, g, mosa_cpu_in_row(args, 0, t) + g * width);
            if (!in_key) store_value(&at, g, mosa_cpu_in_row(args, 1, t) + g * value_width);
        }
    }
}

void mosa_ref_rope_kv_write(const mosa_cpu_args *args, int thread, int n_threads) {
    const mosa_kv *kv = args->in[4];
    const mosa_attrs *rope = &args->node->attrs, *attention = &args->node->attrs2;
    int64_t q_columns = mosa_cpu_columns(args, 0), width = rope->rope.head_width, begin, end;
    int64_t value_width = mosa_kv_value_width(&kv->spec);
    mosa_cpu_share(args->rows, 1, thread, n_threads, &begin, &end);
    int32_t s = 0;
    for (int32_t t = (int32_t)begin; t < end; t++) {
        const float *table = mosa_cpu_in_row(args, 3, t);
        for (int64_t c = 0; c < q_columns; c += width)
            mosa_ref_rope_head(rope, mosa_cpu_in_row(args, 0, t) + c, table, mosa_cpu_out_row(args, 0, t) + c);
        place at = place_of(args, kv, attention->attention.layer, t, &s);
        for (int g = 0; g < attention->attention.kv_heads; g++) {
            float rotated[MOSA_HEAD_WIDTH_MAX];
            mosa_ref_rope_head(rope, mosa_cpu_in_row(args, 1, t) + g * width, table, rotated);
            store_key(&at, g, rotated);
            store_value(&at, g, mosa_cpu_in_row(args, 2, t) + g * value_width);
        }
    }
}
