// One graph to run on a device and on the reference: weights, inputs and pages made from noise that depends on the
// sequence and the position alone, so that any way of cutting sequences into batches must give the same rows.
#ifndef MOSA_TESTS_GPU_OPS_CASE_H
#define MOSA_TESTS_GPU_OPS_CASE_H

#include "backend/backend.h"

enum { OPS_WEIGHTS_MAX = 64, OPS_INPUTS_MAX = 4, OPS_SEQUENCES = 4, OPS_ROWS = 37 + 5 + 300 + 1, OPS_PAGE = 16 };

typedef enum ops_input_kind { OPS_NOISE, OPS_IDS, OPS_POSITIONS, OPS_REVERSED } ops_input_kind;

typedef struct ops_input {
    ops_input_kind kind;
    int64_t columns; // of NOISE
    float scale;
    int32_t bound; // of IDS
} ops_input;

typedef struct ops_weight {
    mosa_tensor_view view; // of the type under test, or f32 with the same values when `plain`
    void *data;
    float *values;
} ops_weight;

typedef struct ops_build {
    mosa_graph *graph;
    bool plain; // weights are f32: what the reference runs
    bool exact; // floats are rounded to bf16, so that a device that multiplies bf16 makes no error by that
    ops_weight weights[OPS_WEIGHTS_MAX];
    int n_weights;
    ops_input inputs[OPS_INPUTS_MAX];
    int n_inputs;
    mosa_kv_spec kv; // layers 0: no state
    mosa_dtype reference_kv;
    int adapter_rank;     // > 0: LORA behind every LINEAR, and adapters on two of the sequences
    bool whole_only;      // all rows in one run alone
    bool whole_sequences; // sequences are not cut
    bool has_grads;       // gradients of all weights are kept, added to noise
} ops_build;

typedef struct ops_case {
    const char *name;
    void (*build)(ops_build *b, const void *config);
    const void *config;
    double limit; // of the largest error over the root mean square of the reference
    int strays;   // rows that may be beyond it: rounding may send a row to another expert
} ops_case;

mosa_value ops_rows(ops_build *b, int64_t columns, float scale); // f32 [T, columns]
mosa_value ops_ids(ops_build *b, int32_t bound);
mosa_value ops_positions(ops_build *b);
mosa_value ops_reversed(ops_build *b); // the rows of the run, last first
mosa_value ops_state(ops_build *b, const mosa_kv_spec *spec);
mosa_value ops_grads(ops_build *b); // the state of gradients
mosa_value ops_weight_of(ops_build *b, mosa_dtype dtype, mosa_shape shape, float scale, float offset);

typedef struct ops_totals {
    int passed, failed, skipped;
} ops_totals;

// Runs a case on both, prints one line (and what differs) and counts it.
void ops_check(mosa_backend *device, mosa_backend *reference, const ops_case *c, ops_totals *totals);

#endif
