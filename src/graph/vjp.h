// What an op's derivative sees: its node, copied, and the gradients that have reached it.
//
// A callback (mosa_op_info.vjp) emits ordinary nodes into `to`: for each operand i with needs[i], din[i] when it is an
// activation, or for a weight a node that adds its gradient to *grads. Gradients of outputs that nobody uses are
// MOSA_NO_VALUE in dout. Errors: those of the builder stay in `to`; a callback fails for what it cannot differentiate.
#ifndef MOSA_GRAPH_VJP_H
#define MOSA_GRAPH_VJP_H

#include "graph/graph.h"

struct mosa_vjp {
    mosa_graph *to;
    const mosa_node *node; // of `to`: operands and outputs are values of it
    mosa_value dout[MOSA_NODE_OUTPUTS_MAX];
    bool needs[MOSA_NODE_INPUTS_MAX];
    mosa_value din[MOSA_NODE_INPUTS_MAX];
    mosa_value *grads; // the state's current version; MOSA_NO_VALUE before the first gradient is added
};

#endif
