// Weight panels and packed activations: the layouts that LINEAR works in.
//
// A matrix w[N,K] is repacked at load into panels of 16 output rows, at its own bit width. Quantised weights multiply
// int8 activations (QUANTIZE_ROWS, one scale per group); the integer sums of a group are exact and the float
// accumulation over groups runs in order of k, so reference and fast kernels, one row or many, agree bit for bit.
// F32, F16 and BF16 weights multiply f32 rows with one fused multiply-add per k, in order of k, per output.
#ifndef MOSA_BACKEND_CPU_PACK_H
#define MOSA_BACKEND_CPU_PACK_H

#include "backend/backend.h"

// Bytes of the packed form of w[n,k] of a dtype; 0 when LINEAR does not take this dtype or k is not a multiple of its
// block length.
size_t mosa_cpu_packed_bytes(mosa_dtype dtype, int64_t n, int64_t k);

// Packs rows [row_begin, row_end) (row_begin a multiple of 16) of the view into `packed`, so that threads can share
// the work of loading.
void mosa_cpu_pack_rows(const mosa_tensor_view *view, void *packed, int64_t row_begin, int64_t row_end);

// Activation layout for a weight dtype: -1 = f32 rows; else a layout number for QUANTIZE_ROWS.
int mosa_cpu_act_layout(mosa_dtype weight_dtype, int64_t k);
int64_t mosa_cpu_act_row_bytes(int layout, int64_t k);

#endif
