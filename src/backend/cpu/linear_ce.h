// LINEAR_CE on the CPU: logits by the LINEAR of an instruction set, so that they are those that are served, bit for
// bit; what follows is shared.
#ifndef MOSA_BACKEND_CPU_LINEAR_CE_H
#define MOSA_BACKEND_CPU_LINEAR_CE_H

#include "backend/cpu/linear.h"

// Three phases for each chunk of rows: its logits; their statistics and derivatives; dh and dw. `fn` NULL: the
// reference LINEAR. Rows whose label is -1 cost nothing, rows whose coef is 0 no gradient.
void mosa_cpu_linear_ce(const mosa_cpu_args *args, int thread, int n_threads, mosa_linear_rows_fn fn);
int mosa_cpu_linear_ce_phases(const mosa_cpu_args *args);

// Logits z[V] of a row become scale, cap and then dz = coef (softmax - onehot) back to the raw logits; stats[4].
void mosa_cpu_linear_ce_row(const mosa_attrs *attrs, float *z, int64_t vocab, int32_t label, float coef, float *stats);

void mosa_ref_linear_ce(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_avx2_linear_ce(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_avx512_linear_ce(const mosa_cpu_args *args, int thread, int n_threads);

#endif
