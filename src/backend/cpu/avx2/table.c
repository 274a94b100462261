// The AVX2 table: one line per op that has a fast kernel; the others stay as the reference left them.
#include "backend/cpu/linear.h"

void mosa_cpu_kernels_avx2(mosa_cpu_kernels *table) {
    table->op[MOSA_OP_LINEAR] = (mosa_cpu_kernel){mosa_avx2_linear, 1, "avx2"};
    table->op[MOSA_OP_QUANTIZE_ROWS] = (mosa_cpu_kernel){mosa_avx2_quantize_rows, 1, "avx2"};
}
