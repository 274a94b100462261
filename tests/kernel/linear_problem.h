// A LINEAR to run outside a graph: weight in file and panel form, activations in both forms, outputs.
// Shared by the comparison (linear_test.c) and the timing (linear_bench.c) of the LINEAR kernels.
#ifndef MOSA_TESTS_KERNEL_LINEAR_PROBLEM_H
#define MOSA_TESTS_KERNEL_LINEAR_PROBLEM_H

#include "backend/cpu/linear.h"
#include "backend/cpu/pack.h"

typedef struct problem {
    mosa_dtype dtype;
    int64_t n, k;
    int rows;
    unsigned char *file;   // (n rows of blocks) unaligned on purpose
    unsigned char *packed; // panels; the executor's alignment
    size_t file_bytes, packed_bytes;
    float *x;           // (rows, k)
    float *bias;        // (n) or NULL
    unsigned char *act; // (rows) of act_stride bytes
    int64_t act_stride;
    float *y;         // (rows, n) with a guard word after each row
    int64_t y_stride; // floats
    void *scratch[8]; // one per thread
    mosa_weight weight;
} problem;

typedef enum weights_kind {
    WEIGHTS_NORMAL, // normal deviates through the dtype's encoder, or tame random blocks where there is none
    WEIGHTS_BITS,   // any bits at all: extreme, infinite and NaN scales, levels at their limits
} weights_kind;

uint32_t random_bits(uint64_t *state);
float random_normal(uint64_t *state);
extern const float GUARD;

// Dies with a message when memory runs out. x holds normal deviates.
problem *problem_create(mosa_dtype dtype, int64_t n, int64_t k, int rows, weights_kind kind, uint64_t *seed);
void problem_destroy(problem *p);

// Runs a kernel as n_threads threads would, one after another.
void problem_quantize(problem *p, mosa_cpu_kernel_fn kernel, int n_threads);
void problem_linear(problem *p, mosa_cpu_kernel_fn kernel, int n_threads);
// One thread's share of either; what linear_bench runs on real threads.
void problem_run(problem *p, mosa_op op, mosa_cpu_kernel_fn kernel, int thread, int n_threads);

// The kernels of an instruction set.
typedef struct isa {
    const char *name;
    mosa_cpu_kernel_fn linear, quantize;
    mosa_linear_rows_fn rows;
} isa;

// The best first; *count is how many of them this processor runs.
const isa *fast_isas(int *count);

int linear_bench(int argc, char **argv);

#endif
