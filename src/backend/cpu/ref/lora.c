// LORA, reference. The contract, for a row x with adapter (A, B, s) of rank r:
//   u[j]  = s * fold over k ascending of acc = fma(x[k], A[j,k], acc), from 0
//   y'[n] = fold over j ascending of acc = fma(u[j], B[n,j], acc), from y[n]
// A row without an adapter, or whose adapter leaves this target alone, is copied. So a row depends on itself alone.
#include "backend/cpu/ref/ref.h"

#include <math.h>
#include <string.h>

static float element(const mosa_cpu_lora *lora, const void *matrix, int64_t i) {
    float value;
    size_t bytes = lora->dtype == MOSA_F32 ? 4 : 2;
    mosa_dtype_traits_of(lora->dtype)->to_f32((const char *)matrix + (size_t)i * bytes, &value, 1);
    return value;
}

static void shrink(const mosa_cpu_lora *lora, const float *x, float *u) {
    for (int32_t j = 0; j < lora->rank; j++) {
        float acc = 0;
        for (int64_t k = 0; k < lora->k; k++) acc = fmaf(x[k], element(lora, lora->a, k * lora->rank_padded + j), acc);
        u[j] = lora->scale * acc;
    }
}

static void expand(const mosa_cpu_lora *lora, const float *u, float *y) {
    for (int64_t n = 0; n < lora->n; n++)
        for (int32_t j = 0; j < lora->rank; j++) y[n] = fmaf(u[j], element(lora, lora->b, j * lora->n + n), y[n]);
}

void mosa_ref_lora(const mosa_cpu_args *args, int thread, int n_threads) {
    size_t columns = (size_t)mosa_cpu_columns(args, 0);
    int64_t begin, end;
    mosa_cpu_share(args->rows, 1, thread, n_threads, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        int32_t group = args->lora->group_of[t];
        const mosa_cpu_lora *lora = group < 0 ? NULL : mosa_cpu_lora_of(args, &args->lora->groups[group]);
        float *u = mosa_cpu_out_row(args, 1, t), *y = mosa_cpu_out_row(args, 0, t);
        if (args->phase == 0) {
            if (lora) shrink(lora, mosa_cpu_in_row(args, 1, t), u);
            continue;
        }
        memcpy(y, mosa_cpu_in_row(args, 0, t), columns * sizeof *y);
        if (lora) expand(lora, u, y);
    }
}
