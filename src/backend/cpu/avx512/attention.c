// ATTENTION on AVX-512: the table of its arithmetic.
#include "backend/cpu/avx512/attention.h"

#include "backend/cpu/avx2/attention_query.h"
#include "backend/cpu/avx512/avx512.h"

static void quantize(mosa_attention_work *work, int vector) {
    int width = work->tile.width, padded = (width + 3) / 4 * 4, blocks = mosa_kv_key_blocks(width);
    quantize_query(work->q + (int64_t)vector * width, width, work->q8 + (int64_t)vector * padded,
                   work->q_scale + (int64_t)vector * blocks, work->q_start + (int64_t)vector * blocks);
}

static void join(float *max, float *sum, float *total, float m, float l, const float *a, int width) {
    mosa_attention_join(max, sum, total, m, l, a, width);
}

static void finish(const float *total, float sum, int width, float *y) {
    mosa_attention_finish(total, sum, width, y);
}

void mosa_avx512_attention(const mosa_cpu_args *args, int thread, int n_threads) {
    static const mosa_attention_math math = {
        .quantize = quantize,
        .scores = mosa_avx512_attention_scores,
        .soften = mosa_avx512_attention_soften,
        .values = mosa_avx512_attention_values,
        .weigh = mosa_avx512_attention_weigh,
        .values_q8 = mosa_avx512_attention_values_q8,
        .join = join,
        .finish = finish,
    };
    mosa_attention_run(args, &math, thread, n_threads);
}
