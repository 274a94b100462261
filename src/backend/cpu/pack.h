// Weight panels and packed activations: the layouts that LINEAR works in, and what LINEAR means to the last bit.
//
// A matrix w[N,K] is repacked at load into panels of 16 output rows, at its own bit width (at most 3 % more bytes than
// in the file); rows beyond N in the last panel are zero. Activations of quantised weights are int8 levels with one
// scale `da` per 32 or 256 elements (QUANTIZE_ROWS): da = amax * (1/127), a = nearest-even(x * (127 / amax)). Where
// amax < 2^-100 all is zero; where an element is NaN or infinite all a are 0 and da is NaN, so that the row's outputs
// become NaN.
//
// LINEAR, per output and row, starting from acc = +0 and going through k in order (fma: one rounding):
//   f32 f16 bf16            acc = fma(x[k], w[k], acc)                                  every k
//   q4_0 q5_0 q8_0 iq4_nl iq4_xs mxfp4
//                           acc = fma(d, da * (float)S, acc)                            every 32 k
//   q4_1 q5_1               the same, then acc = fma(m, da * (float)A, acc)             every 32 k
//   q4_k q5_k q2_k          acc = fma(da, fma(d, (float)S, -(dmin * (float)M)), acc)    every 256 k
//   q6_k q3_k               acc = fma(d, da * (float)S, acc)                            every 256 k
// y = acc + bias. The integers are exact: S = sum of scale * (sum of q * a) over the groups of the block, q signed
// (zero point taken off), scale 1 for the types of 32; M = sum of min * (sum of a); A = sum of a. For iq4_xs, d is the
// product of block scale and group scale. Nothing else depends on rows, threads or instruction set, so one row or many,
// reference or fast, agree bit for bit (a NaN stays a NaN, but which of its bit patterns is not promised).
#ifndef MOSA_BACKEND_CPU_PACK_H
#define MOSA_BACKEND_CPU_PACK_H

#include "backend/backend.h"

// Bytes of the packed form of w[n,k] of a dtype; 0 when LINEAR does not take this dtype, when k is not a multiple of
// its block length, or when the product overflows.
size_t mosa_cpu_packed_bytes(mosa_dtype dtype, int64_t n, int64_t k);

// Packs rows [row_begin, row_end) (row_begin a multiple of 16; row_end too, or the last row) of the view into `packed`,
// so that threads can share the work of loading. `packed` is 32-byte aligned.
void mosa_cpu_pack_rows(const mosa_tensor_view *view, void *packed, int64_t row_begin, int64_t row_end);

// Activation layout for a weight dtype: -1 = f32 rows; else a layout number for QUANTIZE_ROWS. Types that share a
// layout can share quantised rows. k is the width of the row.
int mosa_cpu_act_layout(mosa_dtype weight_dtype, int64_t k);
int64_t mosa_cpu_act_row_bytes(int layout, int64_t k); // a multiple of 4; rows need 4-byte alignment

#endif
