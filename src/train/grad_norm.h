// The gradient's 2-norm, for all parameters and for each, by a reduction whose order depends on the table alone.
//
// A chunk's squares are summed in double over 8 lanes and the lanes joined in order; a parameter adds its chunks in
// order, the total adds the parameters in order. Equal for any number of threads. Squares of finite f32 cannot overflow
// a double, so a sum that is not finite says that a gradient is not.
#ifndef MOSA_TRAIN_GRAD_NORM_H
#define MOSA_TRAIN_GRAD_NORM_H

#include "train/params.h"

typedef struct mosa_grad_norm {
    double total;      // norm over all parameters
    double *per_param; // (params->count) norms
    double *chunk;     // (params->n_chunks) sums of squares
} mosa_grad_norm;

// The caller's storage; finish frees. MOSA_ENOMEM.
MOSA_MUST_USE mosa_status mosa_grad_norm_init(mosa_grad_norm *norm, const mosa_params *params, mosa_error *err);
void mosa_grad_norm_finish(mosa_grad_norm *norm); // safe on a zeroed struct

// Norms of scale * grads; grads is an arena of `params`. scale is 1 / (the number of tokens that the loss sums over).
void mosa_grad_norm_compute(mosa_grad_norm *norm, const mosa_params *params, mosa_pool *pool, const float *grads,
                            double scale);

// What to multiply the gradient with so that its norm is at most max_norm: as torch.nn.utils.clip_grad_norm_,
// min(1, max_norm / (norm + 1e-6)). max_norm 0 = no clipping, 1.
float mosa_clip_factor(double norm, double max_norm);

#endif
