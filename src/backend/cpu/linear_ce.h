// LINEAR_CE on the CPU: logits by the LINEAR of an instruction set, so that they are those that are served, bit for
// bit; what follows is shared.
#ifndef MOSA_BACKEND_CPU_LINEAR_CE_H
#define MOSA_BACKEND_CPU_LINEAR_CE_H

#include "backend/cpu/gemm.h"
#include "backend/cpu/linear.h"

// What an instruction set provides. Products read the matrix as its file holds it; `rows` serves where it is packed.
typedef struct mosa_linear_ce_isa {
    mosa_linear_rows_fn rows;
    mosa_gemm_fn gemm;
    void (*row)(const mosa_attrs *attrs, float *z, int64_t vocab, int32_t label, float coef, float *stats);
} mosa_linear_ce_isa;

// Three phases for each chunk of rows: its logits; their statistics and derivatives; dh and dw. `isa` NULL: the
// reference. Rows whose label is -1, or whose coef is 0, cost little beside the others.
void mosa_cpu_linear_ce(const mosa_cpu_args *args, int thread, int n_threads, const mosa_linear_ce_isa *isa);
int mosa_cpu_linear_ce_phases(const mosa_cpu_args *args);

// Logits z[V] of a row become scale, cap and then dz = coef (softmax - onehot) back to the raw logits; stats[4].
void mosa_cpu_linear_ce_row(const mosa_attrs *attrs, float *z, int64_t vocab, int32_t label, float coef, float *stats);

void mosa_avx2_linear_ce_row(const mosa_attrs *attrs, float *z, int64_t vocab, int32_t label, float coef, float *stats);

void mosa_ref_linear_ce(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_avx2_linear_ce(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_avx512_linear_ce(const mosa_cpu_args *args, int thread, int n_threads);

#endif
