// ROPE, KV_WRITE and ROPE_KV_WRITE on AVX2.
#include "backend/cpu/avx2/avx2.h"
#include "backend/cpu/avx2/rope_row.h"
#include "backend/cpu/math.h"
#include "backend/cpu/rows.h"

#include <string.h>

void mosa_avx2_rope(const mosa_cpu_args *args, int thread, int n_threads) {
    const mosa_attrs *attrs = &args->node->attrs;
    int64_t columns = mosa_cpu_columns(args, 0), begin, end;
    mosa_cpu_share(args->rows, 1, thread, n_threads, &begin, &end);
    for (int64_t t = begin; t < end; t++)
        for (int64_t c = 0; c < columns; c += attrs->rope.head_width)
            rope_head(attrs, mosa_cpu_in_row(args, 0, t) + c, mosa_cpu_in_row(args, 1, t),
                      mosa_cpu_out_row(args, 0, t) + c);
}

// Operand order keeps a NaN a NaN.
static inline __m256 clamp_half(__m256 x) {
    return _mm256_max_ps(_mm256_set1_ps(-65504.0f), _mm256_min_ps(_mm256_set1_ps(65504.0f), x));
}

static void store_head(mosa_dtype dtype, const float *x, int width, unsigned char *to) {
    if (dtype == MOSA_F32) {
        memcpy(to, x, (size_t)width * sizeof *x);
        return;
    }
    int i = 0;
    for (; i + 8 <= width; i += 8) {
        __m128i half = _mm256_cvtps_ph(clamp_half(_mm256_loadu_ps(x + i)), _MM_FROUND_TO_NEAREST_INT);
        _mm_storeu_si128((__m128i *)(void *)(to + 2 * i), half);
    }
    for (; i < width; i++) {
        float v = x[i] > 65504.0f ? 65504.0f : x[i] < -65504.0f ? -65504.0f : x[i];
        uint16_t half = mosa_f16_from_f32(v);
        memcpy(to + 2 * i, &half, sizeof half);
    }
}

// Keys and values of row t into its segment's pages; k is rotated on the way when rope is not NULL; v is NULL where
// values are part of the keys.
static void store_row(const mosa_cpu_args *args, const mosa_kv *kv, const mosa_attrs *attention, int32_t segment,
                      int32_t t, const float *k, const float *v, const mosa_attrs *rope, const float *table) {
    const mosa_segment *s = &args->batch->segments[segment];
    int32_t position = s->pos_begin + (t - s->row_begin);
    int width = kv->spec.head_width, value_width = mosa_kv_value_width(&kv->spec), layer = attention->attention.layer;
    for (int g = 0; g < attention->attention.kv_heads; g++) {
        unsigned char *to = mosa_cpu_kv_at(kv, s, layer, g, position, false);
        float rotated[MOSA_HEAD_WIDTH_MAX];
        if (rope) rope_head(rope, k + (int64_t)g * width, table, rotated);
        store_head(kv->spec.dtype, rope ? rotated : k + (int64_t)g * width, width, to);
        if (!v) continue;
        store_head(kv->spec.dtype, v + (int64_t)g * value_width, value_width,
                   mosa_cpu_kv_at(kv, s, layer, g, position, true));
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
