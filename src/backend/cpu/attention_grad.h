// ATTENTION_DX as products of matrices, in the order of ref/attention_grad.c, bit for bit.
#ifndef MOSA_BACKEND_CPU_ATTENTION_GRAD_H
#define MOSA_BACKEND_CPU_ATTENTION_GRAD_H

#include "backend/cpu/gemm.h"

// One query head of one row over `n` keys, of which it sees [begin, end). Key 0 lies a multiple of 32 keys behind the
// first of its segment. Arrays have room for n rounded up to 16 and are 64-byte aligned.
typedef struct mosa_attention_slopes {
    float *s;     // in: q . k; out: the probability, 0 where the row does not see
    float *d;     // in: dy . v; out: the derivative of q . k, 0 where the row does not see
    float *slope; // room
    int32_t n, begin, end;
    float scale, cap;
    const float *sink; // or NULL
} mosa_attention_slopes;

typedef struct mosa_attention_grad_isa {
    mosa_gemm_fn gemm;
    void (*slopes)(const mosa_attention_slopes *row);
} mosa_attention_grad_isa;

void mosa_cpu_attention_dx(const mosa_cpu_args *args, int thread, int n_threads, const mosa_attention_grad_isa *isa);

void mosa_avx2_attention_slopes(const mosa_attention_slopes *row);

#endif
