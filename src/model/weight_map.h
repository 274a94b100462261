// Names of weights: one table from canonical slots to their GGUF and Hugging Face spellings.
//
// Used both by the model loaders and by `mosa convert`, so that a name is written down once. A per-layer slot has one
// name for each layer; a stack of experts is one tensor in GGUF and mostly one tensor per expert in Hugging Face files.
// Some architectures spell a slot in a way of their own: names are looked up for an architecture. Shapes are row-major
// (tensor/view.h) with D model width, H query heads, K key/value heads, d head width, F feed-forward width, V
// vocabulary. Thread: the table is constant; all functions are pure.
#ifndef MOSA_MODEL_WEIGHT_MAP_H
#define MOSA_MODEL_WEIGHT_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum mosa_weight_slot {
    // Once per model.
    MOSA_W_TOKEN_EMBD,  // (V, D)
    MOSA_W_OUTPUT_NORM, // (D)
    MOSA_W_OUTPUT,      // (V, D); absent when tied to MOSA_W_TOKEN_EMBD
    MOSA_W_ROPE_FREQS, // (d/2) f32 divisors of the rotary frequencies; GGUF only, Hugging Face has rope_scaling instead
    MOSA_W_ROPE_SHORT, // (rot/2) likewise: longrope within the original context
    MOSA_W_ROPE_LONG,  // (rot/2) likewise: longrope beyond it
    // Once per layer.
    MOSA_W_ATTN_NORM,     // (D)
    MOSA_W_ATTN_Q,        // (H*d, D)
    MOSA_W_ATTN_K,        // (K*d, D)
    MOSA_W_ATTN_V,        // (K*d, D)
    MOSA_W_ATTN_OUT,      // (D, H*d)
    MOSA_W_ATTN_Q_BIAS,   // (H*d)
    MOSA_W_ATTN_K_BIAS,   // (K*d)
    MOSA_W_ATTN_V_BIAS,   // (K*d)
    MOSA_W_ATTN_OUT_BIAS, // (D)
    MOSA_W_ATTN_Q_NORM,   // (d)
    MOSA_W_ATTN_K_NORM,   // (d)
    MOSA_W_FFN_NORM,      // (D)
    MOSA_W_FFN_GATE,      // (F, D)
    MOSA_W_FFN_UP,        // (F, D)
    MOSA_W_FFN_DOWN,      // (D, F)
    MOSA_W_FFN_GATE_BIAS, // (F)
    MOSA_W_FFN_UP_BIAS,   // (F)
    MOSA_W_FFN_DOWN_BIAS, // (D)
    // Matrices below each other, and norms of what is added to a row.
    MOSA_W_ATTN_QKV,       // ((H + 2K)*d, D): Q, K, V
    MOSA_W_ATTN_QKV_BIAS,  // ((H + 2K)*d)
    MOSA_W_FFN_GATE_UP,    // (2F, D): gate, then up
    MOSA_W_ATTN_POST_NORM, // (D)
    MOSA_W_FFN_POST_NORM,  // (D)
    // Encoders: P learned positions, Y types of tokens, N labels.
    MOSA_W_POSITION_EMBD,         // (P, D)
    MOSA_W_TOKEN_TYPES,           // (Y, D)
    MOSA_W_EMBD_NORM,             // (D)
    MOSA_W_EMBD_NORM_BIAS,        // (D)
    MOSA_W_ATTN_OUT_NORM,         // (D) of a row and what attention adds to it
    MOSA_W_ATTN_OUT_NORM_BIAS,    // (D)
    MOSA_W_LAYER_OUT_NORM,        // (D) of a row and what the feed-forward adds to it
    MOSA_W_LAYER_OUT_NORM_BIAS,   // (D)
    MOSA_W_CLASSIFIER_DENSE,      // (D, D), before a tanh
    MOSA_W_CLASSIFIER_DENSE_BIAS, // (D)
    MOSA_W_CLASSIFIER,            // (N, D)
    MOSA_W_CLASSIFIER_BIAS,       // (N)
    // Mixture of experts: E experts, F their width.
    MOSA_W_ROUTER,           // (E, D)
    MOSA_W_ROUTER_BIAS,      // (E)
    MOSA_W_ROUTER_CHOICE,    // (E) added to scores for choosing only
    MOSA_W_EXPERT_GATE,      // (E, F, D)
    MOSA_W_EXPERT_UP,        // (E, F, D)
    MOSA_W_EXPERT_DOWN,      // (E, D, F)
    MOSA_W_EXPERT_GATE_BIAS, // (E, F)
    MOSA_W_EXPERT_UP_BIAS,   // (E, F)
    MOSA_W_EXPERT_DOWN_BIAS, // (E, D)
    MOSA_W_SHARED_ROUTER,    // (1, D) or (D) gate of the shared expert
    MOSA_W_SHARED_GATE,      // (S, D) the shared expert
    MOSA_W_SHARED_UP,        // (S, D)
    MOSA_W_SHARED_DOWN,      // (D, S)
    // Multi-head latent attention: c the width of the latent, n and r the columns of a head without and with rotation.
    MOSA_W_ATTN_Q_A,       // (q, D)
    MOSA_W_ATTN_Q_A_NORM,  // (q)
    MOSA_W_ATTN_Q_B,       // (H*(n+r), q)
    MOSA_W_ATTN_KV_A,      // (c+r, D)
    MOSA_W_ATTN_KV_A_NORM, // (c)
    MOSA_W_ATTN_KV_B,      // (H*(n+v), c)
    MOSA_W_ATTN_K_B,       // (H, c, n); GGUF only, as is V_B
    MOSA_W_ATTN_V_B,       // (H, v, c)
    // gpt-oss. Gate and up rows alternate in Hugging Face files; F and D of 32 columns are one MXFP4 block.
    MOSA_W_ATTN_SINKS,             // (H)
    MOSA_W_EXPERT_GATE_UP,         // (E, D, 2F) transposed
    MOSA_W_EXPERT_GATE_UP_BIAS,    // (E, 2F)
    MOSA_W_EXPERT_GATE_UP_BLOCKS,  // (E, 2F, D/32, 16)
    MOSA_W_EXPERT_GATE_UP_SCALES,  // (E, 2F, D/32)
    MOSA_W_EXPERT_DOWN_TRANSPOSED, // (E, F, D)
    MOSA_W_EXPERT_DOWN_BLOCKS,     // (E, D, F/32, 16)
    MOSA_W_EXPERT_DOWN_SCALES,     // (E, D, F/32)
    MOSA_W_COUNT
} mosa_weight_slot;

typedef enum mosa_naming {
    MOSA_NAMING_GGUF,    // "blk.3.attn_q.weight"
    MOSA_NAMING_HF,      // "model.layers.3.self_attn.q_proj.weight"
    MOSA_NAMING_HF_BASE, // "layers.3.self_attn.q_proj.weight": saved without the language-model head
    MOSA_NAMING_COUNT
} mosa_naming;

enum { MOSA_WEIGHT_NAME_MAX = 96, MOSA_WEIGHT_LAYERS_MAX = 4096 }; // experts have the bound of layers

typedef struct mosa_weight_info {
    const char *label; // "attn_q": for messages
    const char *gguf;  // pattern with one %d for the layer when per_layer; NULL when GGUF has no such tensor
    const char *hf;    // likewise for Hugging Face; with a second %d where each expert has a tensor of its own
    bool per_layer;
    bool is_matrix;   // two dims or three, and worth quantising
    bool rotary_rows; // rows are rotary pairs: ordered differently in llama-family GGUF and Hugging Face files
} mosa_weight_info;

const mosa_weight_info *mosa_weight_info_of(mosa_weight_slot slot); // asserts on an invalid slot

// Writes the NUL-terminated name into `name` (of MOSA_WEIGHT_NAME_MAX bytes); layer is ignored for slots of the model.
// `arch` is the architecture as the scheme calls it ("gpt_oss", "gpt-oss"), or NULL for the common spelling. False when
// the scheme has no such tensor, has one per expert, or layer is out of [0, MOSA_WEIGHT_LAYERS_MAX).
bool mosa_weight_name(mosa_naming naming, const char *arch, mosa_weight_slot slot, int layer,
                      char name[MOSA_WEIGHT_NAME_MAX]);
// The name of one expert's tensor; false when the scheme has none for each expert.
bool mosa_weight_expert_name(mosa_naming naming, const char *arch, mosa_weight_slot slot, int layer, int expert,
                             char name[MOSA_WEIGHT_NAME_MAX]);

// The reverse: true and *slot, *layer (-1 for slots of the model), *expert (-1 for tensors of no single expert) when
// `name` is in the table.
bool mosa_weight_parse(mosa_naming naming, const char *arch, const char *name, mosa_weight_slot *slot, int *layer,
                       int *expert);

// Tensors that a file may carry and that mean nothing to us (rotary buffers computed from the configuration).
bool mosa_weight_ignored(mosa_naming naming, const char *name);

// Llama-family Q and K rows: Hugging Face pairs row i with i + d/2 of a head, GGUF pairs rows 2i and 2i+1. Gives the
// row of the source (Hugging Face when to_gguf, else GGUF) from which row `row` of the destination is taken.
int64_t mosa_weight_rotary_row(int64_t row, int64_t head_dim, bool to_gguf);

#endif
