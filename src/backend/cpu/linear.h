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

// The product of a packed matrix [n,k] with rows given one by one: what LINEAR and EXPERT_LINEAR are made of.
typedef struct mosa_linear_rows {
    mosa_dtype dtype;
    int64_t n, k;
    const void *panels;   // of the whole matrix
    const float *bias;    // (n), or NULL
    const void *const *x; // (rows) each in the layout of mosa_cpu_act_layout(dtype, k)
    float *const *y;      // (rows) each f32 (n)
    int rows;             // at most MOSA_LINEAR_ROWS_MAX
} mosa_linear_rows;

enum { MOSA_LINEAR_ROWS_MAX = 128, MOSA_LINEAR_SCRATCH_BYTES = 768 * 1024 };

// Writes y[.][n_begin .. n_end); n_begin is a multiple of 16, n_end likewise or n. `scratch` is 64-byte aligned.
typedef void (*mosa_linear_rows_fn)(const mosa_linear_rows *job, int64_t n_begin, int64_t n_end, void *scratch);

// EXPERT_LINEAR by means of such a function (expert_linear.c).
void mosa_cpu_expert_linear(const mosa_cpu_args *args, int thread, int n_threads, mosa_linear_rows_fn fn);

void mosa_ref_linear(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_ref_quantize_rows(const mosa_cpu_args *args, int thread, int n_threads);

void mosa_ref_expert_linear(const mosa_cpu_args *args, int thread, int n_threads);

void mosa_avx2_linear(const mosa_cpu_args *args, int thread, int n_threads); // needs AVX2, FMA and F16C
void mosa_avx2_expert_linear(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_avx2_linear_rows(const mosa_linear_rows *job, int64_t n_begin, int64_t n_end, void *scratch);
void mosa_avx2_quantize_rows(const mosa_cpu_args *args, int thread, int n_threads);

#endif
