// One training step's forward and backward: a family's graph over packed rows, its gradients added to an arena.
//
// A step owns the model's weights and three things that the caller works on:
//   params   the table of what is trained, named as the model's files name it (LoRA: "<tensor>.lora_a" [rank,in] and
//            "<tensor>.lora_b" [out,rank], <tensor> without its ".weight")
//   weights  an arena of the table: at open the files' values; LoRA's A uniform in +-1/sqrt(in) by the seed, B zero
//   grads    an arena of the table: mosa_step_run adds to it; the caller clears it (memset) and divides by its tokens
// After the caller has changed the weights arena (an optimiser's step, a checkpoint), mosa_step_refresh makes the new
// values those that are computed with.
//
// The loss is a sum: sum over rows of coef[t] * -logp[t], logp of labels[t] behind the tokens of the row's segment up
// to t. Any loss that is a function of log-probabilities is trained by two calls: mosa_step_forward, then mosa_step_run
// with coef[t] = -dL/dlogp[t].
//
// What is computed is what is served: log-probabilities equal those of the engine over the same files bit for bit, as
// keys and values are rounded to options.kv on their way to attention (the gradient passes straight through).
// Ownership: the step owns everything that it hands out. Thread: one thread at a time; kernels run on the backend's.
#ifndef MOSA_TRAIN_STEP_H
#define MOSA_TRAIN_STEP_H

#include "backend/backend.h"
#include "model/config.h"
#include "model/source.h"
#include "train/params.h"

typedef struct mosa_step mosa_step;

typedef enum mosa_step_train {
    MOSA_STEP_FULL,  // every weight of the files; they must be f32, f16 or bf16
    MOSA_STEP_LORA,  // low-rank pairs beside the matrices that `targets` names; the base may be of any type
    MOSA_STEP_NAMED, // the weights that `targets` names
} mosa_step_train;

typedef struct mosa_step_options {
    const char *model; // a GGUF file or a Hugging Face folder
    mosa_step_train train;
    const char *const
        *targets; // (n_targets) names as in the files with or without ".weight", or a part of one
                  // between dots ("q_proj", "attn_q", "mlp"), or "all-linear"; LORA without any: all-linear
    size_t n_targets;
    int lora_rank;            // LORA: 1 to 4096
    float lora_alpha;         // y += alpha/rank B A x
    bool lora_rslora;         // alpha/sqrt(rank) instead
    uint64_t seed;            // of A
    mosa_dtype quantize;      // LORA: matrices of an unquantised base become this; MOSA_F32 = keep
    mosa_dtype compute;       // trained weights are computed with as MOSA_F32 or MOSA_BF16; the arena is the master
    mosa_dtype kv;            // MOSA_F16 (the engine's default) or MOSA_F32 keys and values
    int64_t context;          // longest segment, for files that leave a choice (longrope); 0 = the model's own
    int32_t max_rows;         // rows of a batch
    int64_t activation_bytes; // budget for saved activations: beyond it, layers are recomputed; 0 = keep all
    bool reference;           // LORA: also make ready mosa_step_reference
} mosa_step_options;

// Rows [row_begin, row_begin + row_count) of a batch are one example; it sees itself alone, from position 0 on.
typedef struct mosa_step_segment {
    int32_t row_begin, row_count;
} mosa_step_segment;

// Segments follow each other and cover all rows. Everything is borrowed for the call.
typedef struct mosa_step_batch {
    int32_t rows;          // 1 to max_rows
    const int32_t *tokens; // (rows)
    const int32_t *labels; // (rows) the token that should follow, -1 = the row does not count
    const float *coef;     // (rows) weight of the row's -logp in the loss; NULL in mosa_step_forward
    int32_t n_segments;
    const mosa_step_segment *segments; // (n_segments)
} mosa_step_batch;

// What is known of a row whose label is not -1; zeros otherwise.
typedef struct mosa_step_stats {
    float logp;    // of the label
    float log_sum; // log of the sum of exp(logits)
    float entropy; // of the distribution, in nats
    float correct; // 1 when the label is the likeliest token (the first of equals)
} mosa_step_stats;

typedef struct mosa_step_memory { // bytes, all known before the first step
    size_t base;                  // frozen weights, mapped ones that are read included
    size_t trained;               // resident forms of trained weights, without the arenas
    size_t arenas;                // weights and grads
    size_t activations;           // of forward and backward, scratch included
    int recomputed;               // layers whose activations are computed again on the way back
} mosa_step_memory;

// `backend` must outlive the step. MOSA_EINVALID for a target that names nothing (with a hint) and for options that do
// not go together, MOSA_EUNSUPPORTED for what has no derivative (encoders, full training of quantised files),
// MOSA_ELIMIT when not even recomputing everything fits the budget, and the errors of the model's files.
MOSA_MUST_USE mosa_status mosa_step_open(mosa_backend *backend, const mosa_step_options *options, mosa_step **out,
                                         mosa_error *err);
void mosa_step_close(mosa_step *step); // NULL-safe

const mosa_params *mosa_step_params(const mosa_step *step);
float *mosa_step_weights(mosa_step *step); // (params->elements)
float *mosa_step_grads(mosa_step *step);   // (params->elements)
const mosa_model_config *mosa_step_config(const mosa_step *step);
const mosa_model_source *mosa_step_source(const mosa_step *step);
mosa_step_memory mosa_step_memory_of(const mosa_step *step);
double mosa_step_flops(const mosa_step *step, int32_t rows); // of forward and backward over so many rows of one segment

// Makes the arena's values the ones that are computed with. With options.compute MOSA_BF16 they are rounded to nearest,
// or stochastically by (seed, step) when `stochastic`.
MOSA_MUST_USE mosa_status mosa_step_refresh(mosa_step *step, bool stochastic, uint64_t seed, uint64_t number,
                                            mosa_error *err);

// Forward and backward: adds the gradient of sum coef * -logp to the grads arena. *stats: (rows), valid until the next
// call. MOSA_EINVALID for tokens or labels beyond the vocabulary and segments that do not cover the rows; the arena is
// untouched then.
MOSA_MUST_USE mosa_status mosa_step_run(mosa_step *step, const mosa_step_batch *batch, const mosa_step_stats **stats,
                                        mosa_error *err);
// Forward alone.
MOSA_MUST_USE mosa_status mosa_step_forward(mosa_step *step, const mosa_step_batch *batch,
                                            const mosa_step_stats **stats, mosa_error *err);
// Forward of the base without its adapter. MOSA_EINVALID when options.reference was not set.
MOSA_MUST_USE mosa_status mosa_step_reference(mosa_step *step, const mosa_step_batch *batch,
                                              const mosa_step_stats **stats, mosa_error *err);

// How a parameter came from the files, for exporters.
typedef struct mosa_step_origin {
    const char *tensor; // of the files; LoRA: the matrix beside which it stands
    float added;        // the arena holds the file's value; what is computed with is that plus this (Gemma's norms: 1)
    bool derived; // the tensor is made of others at load (experts in parts, MLA heads) and has no place of its own
    int lora;     // 0 = a weight; 1 = A, 2 = B
} mosa_step_origin;
mosa_step_origin mosa_step_origin_of(const mosa_step *step, size_t param);

#endif
