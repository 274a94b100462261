// The operands of EXPERT_LINEAR as its kernels walk them: which matrix and which input a slot of a row uses.
#ifndef MOSA_BACKEND_CPU_EXPERTS_H
#define MOSA_BACKEND_CPU_EXPERTS_H

#include "backend/cpu/kernel.h"
#include "backend/cpu/pack.h"

typedef struct mosa_cpu_experts {
    const char *input;
    int64_t row_stride, slot_stride; // bytes; slot_stride 0: the slots share their row's input
    const char *index;               // i32 [T,k], or NULL: slot s uses matrix s
    int64_t index_stride;
    int64_t slots;
} mosa_cpu_experts;

static inline mosa_cpu_experts mosa_cpu_experts_of(const mosa_cpu_args *args) {
    const mosa_tensor_view *stack = &((const mosa_weight *)args->in[1])->view;
    bool indexed = args->node->n_in > 2;
    mosa_cpu_experts x = {.input = args->in[0], .row_stride = args->in_stride[0]};
    x.index = indexed ? args->in[2] : NULL;
    x.index_stride = indexed ? args->in_stride[2] : 0;
    x.slots = indexed ? mosa_cpu_columns(args, 2) : stack->dims[0];
    int64_t input_bytes = mosa_cpu_act_row_bytes(mosa_cpu_act_layout(stack->dtype, stack->dims[2]), stack->dims[2]);
    bool quantised = mosa_graph_value(args->graph, args->node->in[0])->dtype != MOSA_F32;
    int64_t columns_bytes = mosa_cpu_columns(args, 0) * (quantised ? 1 : (int64_t)sizeof(float));
    x.slot_stride = columns_bytes > input_bytes ? input_bytes : 0;
    return x;
}

static inline int32_t mosa_cpu_expert_at(const mosa_cpu_experts *x, int64_t row, int64_t slot) {
    return x->index ? ((const int32_t *)(x->index + row * x->index_stride))[slot] : (int32_t)slot;
}

static inline const void *mosa_cpu_expert_input(const mosa_cpu_experts *x, int64_t row, int64_t slot) {
    return x->input + row * x->row_stride + slot * x->slot_stride;
}

#endif
