// The reference kernels, for the kernel table and for the tests that compare with them. LINEAR, EXPERT_LINEAR and
// QUANTIZE_ROWS are in
// backend/cpu/linear.h.
#ifndef MOSA_BACKEND_CPU_REF_REF_H
#define MOSA_BACKEND_CPU_REF_REF_H

#include "backend/cpu/kernel.h"

void mosa_ref_embed(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_ref_gather_rows(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_ref_rms_norm(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_ref_layer_norm(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_ref_l2_norm(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_ref_add_rms_norm(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_ref_add(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_ref_mul(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_ref_scale(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_ref_act(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_ref_slice(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_ref_gated_act(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_ref_join(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_ref_moe_route(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_ref_moe_combine(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_ref_lora(const mosa_cpu_args *args, int thread, int n_threads); // two phases
void mosa_ref_rope_table(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_ref_rope(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_ref_kv_write(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_ref_rope_kv_write(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_ref_attention(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_ref_round(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_ref_lora_add(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_ref_linear_dx(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_ref_linear_dw(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_ref_rows_sum(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_ref_embed_dw(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_ref_scatter_rows(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_ref_rms_norm_dx(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_ref_rms_norm_dw(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_ref_layer_norm_dx(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_ref_layer_norm_dw(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_ref_l2_norm_dx(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_ref_act_dx(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_ref_gated_act_dx(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_ref_unslice(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_ref_rope_dx(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_ref_attention_dx(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_ref_attention_dsinks(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_ref_moe_route_dx(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_ref_expert_linear_dx(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_ref_expert_linear_dw(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_ref_expert_rows_sum(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_ref_moe_combine_dx(const mosa_cpu_args *args, int thread, int n_threads);

float mosa_cpu_act_slope(mosa_act kind, float x); // act'(x), of ACT's kinds

#endif
