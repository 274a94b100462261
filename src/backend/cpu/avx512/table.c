// The AVX-512 table: over the AVX2 table, one line per op that has a faster kernel still.
#include "backend/cpu/avx512/avx512.h"
#include "backend/cpu/linear_ce.h"

void mosa_cpu_kernels_avx512(mosa_cpu_kernels *table) {
    table->op[MOSA_OP_ATTENTION] = (mosa_cpu_kernel){mosa_avx512_attention, 2, "avx512"};
    table->op[MOSA_OP_LINEAR] = (mosa_cpu_kernel){mosa_avx512_linear, 1, "avx512"};
    table->op[MOSA_OP_LINEAR_CE] = (mosa_cpu_kernel){mosa_avx512_linear_ce, 1, "avx512", mosa_cpu_linear_ce_phases};
    table->op[MOSA_OP_EXPERT_LINEAR] = (mosa_cpu_kernel){mosa_avx512_expert_linear, 1, "avx512"};
    table->op[MOSA_OP_QUANTIZE_ROWS] = (mosa_cpu_kernel){mosa_avx512_quantize_rows, 1, "avx512"};
    table->op[MOSA_OP_LINEAR_DX] = (mosa_cpu_kernel){mosa_avx512_linear_dx, 1, "avx512"};
    table->op[MOSA_OP_LINEAR_DW] = (mosa_cpu_kernel){mosa_avx512_linear_dw, 1, "avx512"};
    table->op[MOSA_OP_LORA_ADD] = (mosa_cpu_kernel){mosa_avx512_lora_add, 1, "avx512"};
    table->op[MOSA_OP_ATTENTION_DX] = (mosa_cpu_kernel){mosa_avx512_attention_dx, 1, "avx512"};
}
