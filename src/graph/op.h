// The op table: one descriptor per op, defined in graph/ops/<name>.c and listed in graph/op.c.
//
// To add an op: an enumerator in graph.h, one file with its descriptor, one line in op.c, and a kernel per backend
// (backend/cpu/ref/ first). The descriptor is const and shared by all threads.
#ifndef MOSA_GRAPH_OP_H
#define MOSA_GRAPH_OP_H

#include "graph/graph.h"

typedef struct mosa_vjp mosa_vjp;

typedef struct mosa_op_info {
    const char *name; // "rms_norm"
    int n_in_min, n_in_max;
    int n_out;
    const char *operands[MOSA_NODE_INPUTS_MAX]; // "x", "w": for messages
    bool stateful; // reads or writes a state: never merged; a node that writes one is never dropped
    bool rowwise;  // output row r reads row r of its row operands only, and kernels split the work by rows. Nodes of
                   // this kind that feed each other share a stage: the thread that made a row goes on with it
    // Checks inputs (already in node->in) and sets dtype and shape of every output: outs[0..n_out).
    // Fault: fills err, naming the op, the operand and both shapes.
    mosa_status (*infer)(const mosa_graph *graph, const mosa_node *node, mosa_value_info *outs, mosa_error *err);
    // For fused ops: rebuilds the node's effect from simpler ops in `to` (inputs already mapped into in[]), writes the
    // values that replace its outputs. NULL for primitive ops. Tests run both forms; backends without a kernel use it.
    mosa_status (*decompose)(mosa_graph *to, const mosa_node *node, const mosa_value *in, mosa_value *out);
    // Operations and bytes per run for the roofline table: flops and bytes touched by activations and weights.
    void (*cost)(const mosa_graph *graph, const mosa_node *node, int64_t rows, double *flops, double *bytes);
    // The derivative: from the gradients of the outputs, nodes that make those of the inputs (graph/vjp.h). NULL: has
    // none.
    mosa_status (*vjp)(mosa_vjp *vjp, mosa_error *err);
} mosa_op_info;

// The operand that is a matrix (or a stack of them) to multiply with, -1 for ops that have none.
static inline int mosa_op_matrix_operand(mosa_op op) {
    return op == MOSA_OP_LINEAR || op == MOSA_OP_EXPERT_LINEAR || op == MOSA_OP_LINEAR_CE ? 1 : -1;
}

// The operand that is a weight read row by row in the type of its file, -1 for ops that have none. LINEAR_CE's is both.
static inline int mosa_op_table_operand(mosa_op op) {
    switch (op) {
    case MOSA_OP_EMBED:
    case MOSA_OP_LINEAR_CE:
    case MOSA_OP_LINEAR_DX:
    case MOSA_OP_EXPERT_LINEAR_DX:
        return 1;
    case MOSA_OP_LORA_ADD:
        return 2;
    default:
        return -1;
    }
}

// Whether an operand is the state of gradients.
bool mosa_op_adds_gradients(mosa_op op);

const mosa_op_info *mosa_op_get(mosa_op op); // never NULL for op < MOSA_OP_COUNT

#endif
