// LINEAR and EXPERT_LINEAR on AVX-512: the tiles of each weight type under the common driver.
#include "backend/cpu/gemm.h"
#include "backend/cpu/linear_ce.h"

#include "backend/cpu/avx512/linear_tile.h"

static const mosa_linear_format *format_of(mosa_dtype dtype, int64_t k) {
    switch (mosa_cpu_act_layout(dtype, k)) {
    case MOSA_ACT_F32:
        return mosa_avx512_linear_f32(dtype);
    case MOSA_ACT_S8_32:
        return mosa_avx512_linear_s8_32(dtype);
    case MOSA_ACT_S8_256:
        return mosa_avx512_linear_s8_256(dtype);
    default:
        return mosa_avx512_linear_u8_256(dtype);
    }
}

void mosa_avx512_linear_rows(const mosa_linear_rows *rows) {
    mosa_cpu_multiply(format_of(rows->dtype, rows->k), rows);
}

void mosa_avx512_linear(const mosa_cpu_args *args, int thread, int n_threads) {
    if (((const mosa_weight *)args->in[1])->packed)
        mosa_cpu_linear(args, thread, n_threads, mosa_avx512_linear_rows);
    else
        mosa_cpu_linear_unpacked(args, thread, n_threads, mosa_avx512_gemm);
}

void mosa_avx512_expert_linear(const mosa_cpu_args *args, int thread, int n_threads) {
    mosa_cpu_expert_linear(args, thread, n_threads, mosa_avx512_linear_rows);
}

void mosa_avx512_linear_ce(const mosa_cpu_args *args, int thread, int n_threads) {
    static const mosa_linear_ce_isa isa = {mosa_avx512_linear_rows, mosa_avx512_gemm, mosa_avx2_linear_ce_row};
    mosa_cpu_linear_ce(args, thread, n_threads, &isa);
}
