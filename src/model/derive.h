// Weights that no file holds as they are needed, made from what it holds while a model is loaded: expert matrices that
// lie transposed, interleaved or in parts of their own, and the key matrices of latent attention.
#ifndef MOSA_MODEL_DERIVE_H
#define MOSA_MODEL_DERIVE_H

#include "tensor/view.h"

typedef struct mosa_derivation mosa_derivation;
struct mosa_derivation {
    // Fills out[to->bytes] with the tensor that `to` describes. Reads the mapped file; no errors.
    void (*make)(const mosa_derivation *how, const mosa_tensor_view *to, unsigned char *out);
    mosa_tensor_view from;
    mosa_tensor_view scales; // of derive_mxfp4
    int64_t first, step;     // which rows (columns) of every matrix of `from` are taken
};

// to [E,N,K] mxfp4: row n is row first + step * n of from [E,M,K/32,16] (two levels a byte, the earlier one low) and of
// scales [E,M,K/32] (exponent bytes): Open Compute's MX format as gpt-oss stores it.
void mosa_derive_mxfp4(const mosa_derivation *how, const mosa_tensor_view *to, unsigned char *out);
// to [E,N,K] of a plain type: row n is column first + step * n of from [E,K,M] of that type.
void mosa_derive_transposed(const mosa_derivation *how, const mosa_tensor_view *to, unsigned char *out);
// to [E,N] of a plain type: columns first + step * n of from [E,M] of that type.
void mosa_derive_columns(const mosa_derivation *how, const mosa_tensor_view *to, unsigned char *out);
// to [H,c,n] of a plain type: of from [H*step, c] of any type, the first n rows of every `step`, transposed.
void mosa_derive_head_keys(const mosa_derivation *how, const mosa_tensor_view *to, unsigned char *out);

#endif
