// The kernels of LINEAR and QUANTIZE_ROWS, for the kernel tables. Formulas and layouts: pack.h.
//
// EXPERT_LINEAR: in[1] a stack of matrices, each packed as a LINEAR's; in[2] an optional index, in[3] an optional bias
// (f32 [E,N]). Slot s of a row is what LINEAR gives for the slot's matrix and input.
//
// LINEAR: in[0] rows in the layout of mosa_cpu_act_layout(w), in[1] the packed weight, in[2] an optional bias (f32
// vector); out[0] f32 rows. Threads take ranges of panels. QUANTIZE_ROWS: in[0] f32 rows, out[0] packed rows; threads
// take rows (a rowwise op: its input's producer and it may share a stage). Both have one phase and may be split into
// any number of threads without changing a bit.
#ifndef MOSA_BACKEND_CPU_LINEAR_H
#define MOSA_BACKEND_CPU_LINEAR_H

#include "backend/cpu/kernel.h"

void mosa_ref_linear(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_ref_quantize_rows(const mosa_cpu_args *args, int thread, int n_threads);

void mosa_ref_expert_linear(const mosa_cpu_args *args, int thread, int n_threads);

void mosa_avx2_linear(const mosa_cpu_args *args, int thread, int n_threads); // needs AVX2, FMA and F16C
void mosa_avx2_quantize_rows(const mosa_cpu_args *args, int thread, int n_threads);

#endif
