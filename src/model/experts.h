// Stacks of expert matrices [E,N,K], whatever way the files hold them.
#ifndef MOSA_MODEL_EXPERTS_H
#define MOSA_MODEL_EXPERTS_H

#include "base/arena.h"
#include "model/source.h"

// *out: the stack of a slot and layer: the file's own tensor, or the tensors of the experts, which stay where they are
// (view.parts, in the arena). *found: whether the file has it at all; only then is *out written. Experts that differ in
// type or shape, or some of which are missing, are an error that names the tensor.
mosa_status mosa_experts_find(const mosa_model_source *source, mosa_arena *arena, mosa_weight_slot slot, int layer,
                              int experts, mosa_tensor_view *out, bool *found, mosa_error *err);

#endif
