// The AVX-512 kernels (F, BW, DQ, VL, VNNI), for the kernel table and the kernel tests. Every kernel agrees with its
// reference bit for bit.
#ifndef MOSA_BACKEND_CPU_AVX512_AVX512_H
#define MOSA_BACKEND_CPU_AVX512_AVX512_H

#include "backend/cpu/kernel.h"

void mosa_avx512_attention(const mosa_cpu_args *args, int thread, int n_threads); // two phases

// Training.
void mosa_avx512_linear_dx(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_avx512_linear_dw(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_avx512_lora_add(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_avx512_attention_dx(const mosa_cpu_args *args, int thread, int n_threads);

#endif
