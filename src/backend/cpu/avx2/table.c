// The AVX2 table: one line per op that has a fast kernel; the others stay as the reference left them. EMBED,
// GATHER_ROWS, SLICE, JOIN, MOE_ROUTE and ROPE_TABLE move or make so little that a fast form would not show.
#include "backend/cpu/avx2/avx2.h"
#include "backend/cpu/linear_ce.h"

void mosa_cpu_kernels_avx2(mosa_cpu_kernels *table) {
    table->op[MOSA_OP_LINEAR] = (mosa_cpu_kernel){mosa_avx2_linear, 1, "avx2"};
    table->op[MOSA_OP_LINEAR_CE] = (mosa_cpu_kernel){mosa_avx2_linear_ce, 1, "avx2", mosa_cpu_linear_ce_phases};
    table->op[MOSA_OP_EXPERT_LINEAR] = (mosa_cpu_kernel){mosa_avx2_expert_linear, 1, "avx2"};
    table->op[MOSA_OP_QUANTIZE_ROWS] = (mosa_cpu_kernel){mosa_avx2_quantize_rows, 1, "avx2"};
    table->op[MOSA_OP_LORA] = (mosa_cpu_kernel){mosa_avx2_lora, 2, "avx2"};
    table->op[MOSA_OP_RMS_NORM] = (mosa_cpu_kernel){mosa_avx2_rms_norm, 1, "avx2"};
    table->op[MOSA_OP_LAYER_NORM] = (mosa_cpu_kernel){mosa_avx2_layer_norm, 1, "avx2"};
    table->op[MOSA_OP_L2_NORM] = (mosa_cpu_kernel){mosa_avx2_l2_norm, 1, "avx2"};
    table->op[MOSA_OP_ADD_RMS_NORM] = (mosa_cpu_kernel){mosa_avx2_add_rms_norm, 1, "avx2"};
    table->op[MOSA_OP_ADD] = (mosa_cpu_kernel){mosa_avx2_add, 1, "avx2"};
    table->op[MOSA_OP_MUL] = (mosa_cpu_kernel){mosa_avx2_mul, 1, "avx2"};
    table->op[MOSA_OP_SCALE] = (mosa_cpu_kernel){mosa_avx2_scale, 1, "avx2"};
    table->op[MOSA_OP_ACT] = (mosa_cpu_kernel){mosa_avx2_act, 1, "avx2"};
    table->op[MOSA_OP_GATED_ACT] = (mosa_cpu_kernel){mosa_avx2_gated_act, 1, "avx2"};
    table->op[MOSA_OP_MOE_COMBINE] = (mosa_cpu_kernel){mosa_avx2_moe_combine, 1, "avx2"};
    table->op[MOSA_OP_ROPE] = (mosa_cpu_kernel){mosa_avx2_rope, 1, "avx2"};
    table->op[MOSA_OP_KV_WRITE] = (mosa_cpu_kernel){mosa_avx2_kv_write, 1, "avx2"};
    table->op[MOSA_OP_ROPE_KV_WRITE] = (mosa_cpu_kernel){mosa_avx2_rope_kv_write, 1, "avx2"};
    table->op[MOSA_OP_ATTENTION] = (mosa_cpu_kernel){mosa_avx2_attention, 2, "avx2"};
    table->op[MOSA_OP_ROUND] = (mosa_cpu_kernel){mosa_avx2_round, 1, "avx2"};
    table->op[MOSA_OP_LINEAR_DX] = (mosa_cpu_kernel){mosa_avx2_linear_dx, 1, "avx2"};
    table->op[MOSA_OP_LINEAR_DW] = (mosa_cpu_kernel){mosa_avx2_linear_dw, 1, "avx2"};
    table->op[MOSA_OP_LORA_ADD] = (mosa_cpu_kernel){mosa_avx2_lora_add, 1, "avx2"};
    table->op[MOSA_OP_ATTENTION_DX] = (mosa_cpu_kernel){mosa_avx2_attention_dx, 1, "avx2"};
    table->op[MOSA_OP_ROWS_SUM] = (mosa_cpu_kernel){mosa_avx2_rows_sum, 1, "avx2"};
    table->op[MOSA_OP_RMS_NORM_DX] = (mosa_cpu_kernel){mosa_avx2_rms_norm_dx, 1, "avx2"};
    table->op[MOSA_OP_RMS_NORM_DW] = (mosa_cpu_kernel){mosa_avx2_rms_norm_dw, 1, "avx2"};
    table->op[MOSA_OP_LAYER_NORM_DX] = (mosa_cpu_kernel){mosa_avx2_layer_norm_dx, 1, "avx2"};
    table->op[MOSA_OP_LAYER_NORM_DW] = (mosa_cpu_kernel){mosa_avx2_layer_norm_dw, 1, "avx2"};
    table->op[MOSA_OP_ACT_DX] = (mosa_cpu_kernel){mosa_avx2_act_dx, 1, "avx2"};
    table->op[MOSA_OP_GATED_ACT_DX] = (mosa_cpu_kernel){mosa_avx2_gated_act_dx, 1, "avx2"};
}
