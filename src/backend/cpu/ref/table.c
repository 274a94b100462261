// The reference table: one line per op.
#include "backend/cpu/linear.h"
#include "backend/cpu/ref/ref.h"

void mosa_cpu_kernels_ref(mosa_cpu_kernels *table) {
    static const mosa_cpu_kernels kernels = {{
        [MOSA_OP_EMBED] = {mosa_ref_embed, 1, "ref"},
        [MOSA_OP_GATHER_ROWS] = {mosa_ref_gather_rows, 1, "ref"},
        [MOSA_OP_LINEAR] = {mosa_ref_linear, 1, "ref"},
        [MOSA_OP_LORA] = {mosa_ref_lora, 2, "ref"},
        [MOSA_OP_RMS_NORM] = {mosa_ref_rms_norm, 1, "ref"},
        [MOSA_OP_LAYER_NORM] = {mosa_ref_layer_norm, 1, "ref"},
        [MOSA_OP_L2_NORM] = {mosa_ref_l2_norm, 1, "ref"},
        [MOSA_OP_ADD] = {mosa_ref_add, 1, "ref"},
        [MOSA_OP_MUL] = {mosa_ref_mul, 1, "ref"},
        [MOSA_OP_SCALE] = {mosa_ref_scale, 1, "ref"},
        [MOSA_OP_ACT] = {mosa_ref_act, 1, "ref"},
        [MOSA_OP_SLICE] = {mosa_ref_slice, 1, "ref"},
        [MOSA_OP_JOIN] = {mosa_ref_join, 1, "ref"},
        [MOSA_OP_MOE_ROUTE] = {mosa_ref_moe_route, 1, "ref"},
        [MOSA_OP_EXPERT_LINEAR] = {mosa_ref_expert_linear, 1, "ref"},
        [MOSA_OP_MOE_COMBINE] = {mosa_ref_moe_combine, 1, "ref"},
        [MOSA_OP_ROPE_TABLE] = {mosa_ref_rope_table, 1, "ref"},
        [MOSA_OP_ROPE] = {mosa_ref_rope, 1, "ref"},
        [MOSA_OP_KV_WRITE] = {mosa_ref_kv_write, 1, "ref"},
        [MOSA_OP_ATTENTION] = {mosa_ref_attention, 1, "ref"},
        [MOSA_OP_ADD_RMS_NORM] = {mosa_ref_add_rms_norm, 1, "ref"},
        [MOSA_OP_GATED_ACT] = {mosa_ref_gated_act, 1, "ref"},
        [MOSA_OP_ROPE_KV_WRITE] = {mosa_ref_rope_kv_write, 1, "ref"},
        [MOSA_OP_QUANTIZE_ROWS] = {mosa_ref_quantize_rows, 1, "ref"},
    }};
    *table = kernels;
}
