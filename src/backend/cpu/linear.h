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

// What LINEAR and EXPERT_LINEAR share: rows that may lie anywhere times a range of one matrix's panels. Row r of the
// result is y[r][16 * panel_begin ..] up to 16 * panel_end or n; nothing else is written. Rows may repeat and may be
// handed over in any order and grouping: each is computed alone.
typedef struct mosa_linear_rows {
    mosa_dtype dtype; // of the matrix
    int64_t n, k;
    const void *packed; // by mosa_cpu_pack_rows
    const float *bias;  // (n) or NULL
    int64_t panel_begin, panel_end;
    int32_t rows;
    const uint8_t *const *act; // (rows) rows in the activation layout of dtype
    float *const *y;           // (rows) each (n)
    void *scratch;             // MOSA_LINEAR_SCRATCH_BYTES, 64-byte aligned
} mosa_linear_rows;
typedef void (*mosa_linear_rows_fn)(const mosa_linear_rows *job);

enum { MOSA_LINEAR_BLOCK = 128 }; // more rows than this are multiplied in blocks: a block's activations stay in L2
enum { MOSA_LINEAR_SCRATCH_BYTES = 768 * 1024 };

// LINEAR (linear.c) and EXPERT_LINEAR (expert_linear.c) by means of such a function.
void mosa_cpu_linear(const mosa_cpu_args *args, int thread, int n_threads, mosa_linear_rows_fn fn);
void mosa_cpu_expert_linear(const mosa_cpu_args *args, int thread, int n_threads, mosa_linear_rows_fn fn);

void mosa_ref_linear(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_ref_quantize_rows(const mosa_cpu_args *args, int thread, int n_threads);

// y[n_begin..n_end) of one row of activations; bias f32 [N] or NULL.
void mosa_ref_linear_row(const mosa_tensor_view *w, const void *act, const float *bias, int64_t n_begin, int64_t n_end,
                         float *y);

void mosa_ref_expert_linear(const mosa_cpu_args *args, int thread, int n_threads);

void mosa_avx2_linear(const mosa_cpu_args *args, int thread, int n_threads); // needs AVX2, FMA and F16C
void mosa_avx2_expert_linear(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_avx2_linear_rows(const mosa_linear_rows *job);
void mosa_avx2_quantize_rows(const mosa_cpu_args *args, int thread, int n_threads);

void mosa_avx512_linear(const mosa_cpu_args *args, int thread, int n_threads); // needs AVX-512 F, BW, DQ, VL, VNNI
void mosa_avx512_expert_linear(const mosa_cpu_args *args, int thread, int n_threads);
void mosa_avx512_linear_rows(const mosa_linear_rows *job);
void mosa_avx512_quantize_rows(const mosa_cpu_args *args, int thread, int n_threads);

#endif
