// Stacks of expert matrices [E,N,K] and of their biases [E,N], whatever way the files hold them.
#ifndef MOSA_MODEL_EXPERTS_H
#define MOSA_MODEL_EXPERTS_H

#include "base/arena.h"
#include "model/derive.h"
#include "model/source.h"

typedef struct mosa_expert_stack {
    bool found;            // whether the file has it at all; only then is the rest written
    mosa_tensor_view view; // of the file's own tensor; of the tensors of the experts, which stay where they are
                           // (view.parts, in the arena); or of what `how` makes, with data NULL
    mosa_derivation how;   // make NULL: the file's bytes are what is wanted
} mosa_expert_stack;

// The stack of a slot and layer. Experts that differ in type or shape, or some of which are missing, are an error that
// names the tensor.
mosa_status mosa_experts_find(const mosa_model_source *source, mosa_arena *arena, mosa_weight_slot slot, int layer,
                              int experts, mosa_expert_stack *out, mosa_error *err);

// The matrices of each head of latent attention out of the one matrix [H*(plain+value), c] that a file may have for
// both: keys [H,c,plain], made, and values [H,value,c], in place. Not found when there is no such matrix.
mosa_status mosa_head_matrices_find(const mosa_model_source *source, mosa_arena *arena, int layer, int64_t heads,
                                    int64_t plain, int64_t value, mosa_expert_stack *keys, mosa_expert_stack *values,
                                    mosa_error *err);

#endif
