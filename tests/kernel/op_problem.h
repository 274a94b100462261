// One op to run outside an executor: a graph of one node, operands, outputs behind guards. Shared by the kernel tests,
// which compare a fast kernel with its reference bit for bit and time it with --bench.
#ifndef MOSA_TESTS_KERNEL_OP_PROBLEM_H
#define MOSA_TESTS_KERNEL_OP_PROBLEM_H

#include "backend/cpu/kernel.h"

enum { OP_THREADS_MAX = 8 };

typedef enum op_isa { OP_REF, OP_AVX2, OP_AVX512 } op_isa; // each over the one before it

typedef struct op_problem {
    mosa_graph *graph;
    mosa_cpu_args args;
    mosa_batch batch;
    uint64_t seed;                        // moved on by every random draw
    void *data[MOSA_NODE_INPUTS_MAX * 2]; // buffers of operands
    int n_data;
    mosa_weight weights[MOSA_NODE_INPUTS_MAX];
    const void *bound[MOSA_NODE_INPUTS_MAX * 2]; // (n_values) what args->in points to
    float *out[MOSA_NODE_OUTPUTS_MAX];           // (rows, columns), a guard row before and after
    int64_t out_columns[MOSA_NODE_OUTPUTS_MAX];
    unsigned char *scratch; // of OP_THREADS_MAX threads
} op_problem;

void op_begin(op_problem *p, int32_t rows, uint64_t seed); // one segment of `rows` rows at position 0
void op_end(op_problem *p);

double op_uniform(op_problem *p);           // [0, 1)
int64_t op_below(op_problem *p, int64_t n); // [0, n)
void op_fill(op_problem *p, float *x, int64_t n, float scale);

mosa_value op_rows(op_problem *p, int64_t columns, float scale); // f32 [T, columns], random in [-scale, scale)
mosa_value op_vector(op_problem *p, int64_t n, float scale);     // a weight
mosa_value op_positions(op_problem *p, int32_t begin);           // i32 [T]
mosa_value op_state(op_problem *p, mosa_kv *kv);
float *op_data(op_problem *p, mosa_value value); // of op_rows, to change it
void op_apply(op_problem *p, mosa_op op, const mosa_value *in, int n_in, const mosa_attrs *attrs,
              const mosa_attrs *attrs2);

// Runs all phases as n_threads threads would, one after another, into fresh outputs; fails the test when a guard was
// overwritten, or when a kernel of a rowwise op wrote rows that are not its thread's.
void op_run(op_problem *p, const mosa_cpu_kernel *kernel, int n_threads);
float *op_take_output(op_problem *p, int number); // a copy, to free
void op_assert_same(const op_problem *p, int number, const float *expected, const char *what);

// Compares the fast kernels with the reference in all outputs, with 1, 2, 3 and 8 threads: those that this processor
// runs.
void op_compare(op_problem *p);

op_isa op_best_isa(void); // that this processor runs
bool op_has_avx2(void);
// Seconds of one call of a kernel by one thread, the best of many.
double op_time(op_problem *p, const mosa_cpu_kernel *kernel);
mosa_cpu_kernel op_kernel(mosa_op op, op_isa isa);

// KV pages with random contents, and a page list for a segment.
mosa_kv *op_kv_create(op_problem *p, const mosa_kv_spec *spec);
void op_kv_destroy(mosa_kv *kv);

#endif
