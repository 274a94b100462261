// MOE_COMBINE on AVX2: eight columns at a time, the last few by the scalar form; the order of ref/moe.c.
#include "backend/cpu/avx2/avx2.h"

#include <immintrin.h>
#include <math.h>

static void combine_row(const float *x, const float *weight, int64_t slots, int64_t width, float *y) {
    int64_t i = 0;
    for (; i + 8 <= width; i += 8) {
        __m256 acc = _mm256_setzero_ps();
        for (int64_t s = 0; s < slots; s++)
            acc = _mm256_fmadd_ps(_mm256_broadcast_ss(weight + s), _mm256_loadu_ps(x + s * width + i), acc);
        _mm256_storeu_ps(y + i, acc);
    }
    for (; i < width; i++) {
        float acc = 0;
        for (int64_t s = 0; s < slots; s++) acc = fmaf(weight[s], x[s * width + i], acc);
        y[i] = acc;
    }
}

void mosa_avx2_moe_combine(const mosa_cpu_args *args, int thread, int n_threads) {
    int64_t slots = mosa_cpu_columns(args, 1), width = mosa_cpu_columns(args, 0) / slots, begin, end;
    mosa_cpu_share(args->rows, 1, thread, n_threads, &begin, &end);
    for (int64_t t = begin; t < end; t++)
        combine_row(mosa_cpu_in_row(args, 0, t), mosa_cpu_in_row(args, 1, t), slots, width,
                    mosa_cpu_out_row(args, 0, t));
}
