// The AVX2+FMA+F16C kernels, for the kernel table and the kernel tests. LINEAR and QUANTIZE_ROWS are in
// backend/cpu/linear.h. Every kernel agrees with its reference bit for bit.
#ifndef MOSA_BACKEND_CPU_AVX2_AVX2_H
#define MOSA_BACKEND_CPU_AVX2_AVX2_H

#include "backend/cpu/kernel.h"

void mosa_avx2_rms_norm(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_avx2_layer_norm(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_avx2_l2_norm(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_avx2_add_rms_norm(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_avx2_add(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_avx2_mul(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_avx2_scale(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_avx2_act(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_avx2_gated_act(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_avx2_moe_combine(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_avx2_lora(const mosa_cpu_args *args, int thread, int n_threads); // two phases
void mosa_avx2_rope(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_avx2_kv_write(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_avx2_rope_kv_write(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_avx2_attention(const mosa_cpu_args *args, int thread, int n_threads); // two phases

// Training.
void mosa_avx2_linear_dx(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_avx2_linear_dw(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_avx2_lora_add(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_avx2_attention_dx(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_avx2_rows_sum(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_avx2_rms_norm_dx(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_avx2_rms_norm_dw(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_avx2_layer_norm_dx(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_avx2_layer_norm_dw(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_avx2_act_dx(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_avx2_round(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_avx2_gated_act_dx(const mosa_cpu_args *args, int thread, int n_threads);

#endif
