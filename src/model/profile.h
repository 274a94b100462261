// Where a model's time goes, op by op: what exec_times says of each run, added up by op and weight type.
//
// Operations and bytes come from the op table (graph/op.h); attention's, which depend on the sequences and not on the
// rows alone, from the batch. Thread: the one that runs the model. Nothing is allocated.
#ifndef MOSA_MODEL_PROFILE_H
#define MOSA_MODEL_PROFILE_H

#include "backend/backend.h"

#include <stdbool.h>
#include <stdint.h>

enum { MOSA_PROFILE_OPS_MAX = 64, MOSA_PROFILE_OP_NAME_MAX = 48 };

typedef struct mosa_op_time {
    char name[MOSA_PROFILE_OP_NAME_MAX]; // op, and the type of its matrix: "linear q4_k"
    uint64_t calls, ns;
    double flops, bytes; // operations (a multiply-add is two), bytes of operands read and results written
} mosa_op_time;

typedef struct mosa_profile {
    bool on;
    int n_ops;
    mosa_op_time ops[MOSA_PROFILE_OPS_MAX]; // (n_ops) in order of first appearance
} mosa_profile;

// Adds the last run of a lowered graph. kv_element_bytes: of one cached key or value; 0 without a KV state.
void mosa_profile_add(mosa_profile *profile, const mosa_graph *graph, const mosa_batch *batch, const int64_t *times,
                      double kv_element_bytes);

#endif
