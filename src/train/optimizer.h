// Optimisers over parameter arenas. Each is one pass over weights, gradient and state, cut by the table's chunks: the
// result is the same, bit for bit, for any number of threads.
//
//   adamw       as torch.optim.AdamW: w *= 1 - lr wd; m += (g - m)(1 - b1); v = b2 v + (1 - b2) g g;
//               w -= lr / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps)
//   adamw_8bit  the same with m and v as one byte per element: codes of the dynamic map of Dettmers et al. ("8-bit
//               Optimizers via Block-wise Quantization", 2022) times a f32 scale per 256 elements; parameters below
//               4096 elements keep f32 moments, as in bitsandbytes
//   sgd         as torch.optim.SGD: g += wd w; b = momentum b + g (b = g at first); nesterov: g += momentum b, else b
//   muon        as torch.optim.Muon for parameters that are a `matrix`: b += (g - b)(1 - momentum), u = Newton-Schulz
//   of
//               b (nesterov: of g + (b - g) momentum), w -= lr sqrt(max(1, rows / columns)) u; AdamW for the others
// The gradient used is grad_scale * grads: division by the token count and clipping cost no pass of their own.
// Thread: one at a time; the pool works inside a call.
#ifndef MOSA_TRAIN_OPTIMIZER_H
#define MOSA_TRAIN_OPTIMIZER_H

#include "train/params.h"

typedef enum mosa_optimizer_kind {
    MOSA_OPTIMIZER_ADAMW,
    MOSA_OPTIMIZER_ADAMW_8BIT,
    MOSA_OPTIMIZER_SGD,
    MOSA_OPTIMIZER_MUON,
    MOSA_OPTIMIZER_COUNT
} mosa_optimizer_kind;

typedef struct mosa_optimizer_options {
    mosa_optimizer_kind kind;
    float beta1, beta2, eps; // AdamW
    float weight_decay;      // of parameters with `decay`
    float momentum;          // SGD and Muon
    bool nesterov;           // SGD and Muon
    int newton_schulz_steps; // Muon, 1 .. 99
    float muon_lr_factor;    // Muon's learning rate as a multiple of the one passed (that AdamW takes as it is)
    bool muon_match_adamw;   // Muon's rate is scaled by 0.2 sqrt(max(rows, columns)) instead
} mosa_optimizer_options;

typedef struct mosa_optimizer mosa_optimizer;

// The usual values of a kind: betas 0.9 and 0.999, eps 1e-8, momentum 0.95 and nesterov for Muon, and so on.
mosa_optimizer_options mosa_optimizer_defaults(mosa_optimizer_kind kind);
const char *mosa_optimizer_name(mosa_optimizer_kind kind); // "adamw"
// Also transformers' names: adamw_torch, adamw_torch_fused, adamw_hf, adamw_8bit, adamw_bnb_8bit. False leaves *out.
bool mosa_optimizer_from_name(const char *name, mosa_optimizer_kind *out);

// `params` and `pool` must outlive the optimiser. State is zero. MOSA_EINVALID for options out of range, MOSA_ENOMEM.
MOSA_MUST_USE mosa_status mosa_optimizer_create(const mosa_optimizer_options *options, const mosa_params *params,
                                                mosa_pool *pool, mosa_optimizer **out, mosa_error *err);
void mosa_optimizer_destroy(mosa_optimizer *optimizer); // NULL-safe

// One step on `weights` with grad_scale * grads, both arenas of the table.
void mosa_optimizer_step(mosa_optimizer *optimizer, float *weights, const float *grads, float lr, float grad_scale);

int64_t mosa_optimizer_steps(const mosa_optimizer *optimizer); // taken so far
void mosa_optimizer_set_steps(mosa_optimizer *optimizer, int64_t steps);
size_t mosa_optimizer_state_bytes(const mosa_optimizer *optimizer);

// The state as tensors named "<parameter>.exp_avg" and so on, for checkpoints; data may be written to restore it.
size_t mosa_optimizer_tensor_count(const mosa_optimizer *optimizer);
const mosa_train_tensor *mosa_optimizer_tensor_at(const mosa_optimizer *optimizer, size_t index);

#endif
