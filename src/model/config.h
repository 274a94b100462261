// What a decoder-only model is made of, read from its files and checked before anything is built.
#ifndef MOSA_MODEL_CONFIG_H
#define MOSA_MODEL_CONFIG_H

#include "base/status.h"
#include "graph/graph.h"
#include "model/source.h"

#include <stdbool.h>
#include <stdint.h>

// Limits that a real model stays far below; a lying file fails here instead of in an allocation.
enum {
    MOSA_MODEL_LAYERS_MAX = 1024,
    MOSA_MODEL_WIDTH_MAX = 1 << 17,
    MOSA_MODEL_HEADS_MAX = 1024,
    MOSA_MODEL_HEAD_WIDTH_MAX = 1024,
    MOSA_MODEL_CONTEXT_MAX = 1 << 24,
};

// Which hidden rows become an embedding.
typedef enum mosa_pooling { MOSA_POOLING_MEAN, MOSA_POOLING_CLS, MOSA_POOLING_LAST } mosa_pooling;

// The experts of a mixture, for model/moe.h.
typedef struct mosa_model_experts {
    int count;          // E; 0 = none
    int used;           // per token
    int64_t ffn;        // F of an expert
    int64_t shared_ffn; // of the expert that all tokens use, 0 = none
    mosa_scoring scoring;
    bool normalise;
    float scale;
    int groups, top_groups, group_best; // as MOE_ROUTE's
    float swiglu_limit;                 // > 0: the clamped swiglu
} mosa_model_experts;

// Multi-head latent attention (families/deepseek.c): columns of what a row's keys and values come from.
typedef struct mosa_model_latent {
    int64_t query;          // of the latent that queries come from, 0 = they come from the row itself
    int64_t width;          // of the latent of keys and values
    int64_t plain, rotated; // of a head's query and key
    int64_t value;          // of a head's value
} mosa_model_latent;

typedef struct mosa_model_config {
    int layers;
    int64_t width;     // D
    int64_t ffn;       // F
    int64_t vocab;     // V, rows of the embedding table
    int heads;         // H
    int kv_heads;      // G, divides H
    int head_width;    // C
    int value_width;   // of a head's values, 0 = head_width
    bool value_in_key; // values are the first columns of the keys
    int64_t context;   // positions that the model was trained for
    float norm_eps;
    mosa_act act;
    int window;                           // sliding window, 0 = none
    bool sees_all[MOSA_MODEL_LAYERS_MAX]; // layers without the window
    bool qk_norm;                         // RMS norm per head on q and k
    bool norm_plus_one;                   // the files store norm weights less 1
    // Multipliers, 1 where a family has none.
    float embedding_scale; // of token embeddings
    float residual_scale;  // of what attention and feed-forward add to their row
    float logit_scale;
    float attention_scale;   // of scores; 0 = 1/sqrt(C)
    float attention_softcap; // scores become cap * tanh(score / cap); 0 = none
    float logit_softcap;     // likewise
    mosa_rope_style rope_style;
    int rope_width; // rotated columns of a head, even; a family's hook may set it, else the files say
    float rope_mscale;
    bool rope_whole_pairs; // yarn rounds the borders of its ramp to whole pairs; a folder may say otherwise
    mosa_model_experts experts;
    mosa_model_latent latent;
    mosa_pooling pooling; // as the files say; MOSA_POOLING_MEAN where they do not
    // Encoders (model/encoder.h): each row sees all of its sequence, there are no pages and nothing is generated.
    bool encoder;
    bool learned_positions;           // instead of rotary ones
    int position_offset;              // row of the first position in the file's table
    int token_types;                  // rows of the table of token types, 0 = none
    int labels;                       // of the classifier, 0 = none; one label is a score
    const float *rope_inv_freq;       // (rope_width / 2), in the model's arena
    float rope_local_base;            // windowed layers turn by this base, unscaled; 0 = as all others
    const float *rope_local_inv_freq; // (rope_width / 2), when rope_local_base is set
} mosa_model_config;

// Reads what all families share, but rotary frequencies. The family's hook runs next and may change anything.
mosa_status mosa_model_config_read(const mosa_model_source *source, mosa_model_config *out, mosa_error *err);

// The last step: fills the rotary frequencies from the rope scaling that the files name: none, linear, llama3 (also as
// GGUF rope_freqs divisors), yarn, longrope; dynamic counts as none within the trained context. MOSA_EUNSUPPORTED names
// any other. longrope has two sets of divisors: a model served with at most its original context takes the short one,
// any other the long one, whatever the length of a prompt, so that a row never depends on later ones. `context` is what
// is served, 0 = config->context. Arrays are in `arena`.
mosa_status mosa_model_rope_read(const mosa_model_source *source, int64_t context, mosa_arena *arena,
                                 mosa_model_config *config, mosa_error *err);

// The rule of Hugging Face configs that name a window but use it only when use_sliding_window is true, from layer
// max_window_layers upwards. Leaves GGUF models as they are.
mosa_status mosa_model_config_optional_window(const mosa_model_source *source, mosa_model_config *config,
                                              mosa_error *err);

// Which layers see everything: as the file lists them (layer_types), else every `period`-th, where the file may name
// another period (sliding_window_pattern).
mosa_status mosa_model_config_window_pattern(const mosa_model_source *source, int64_t period, mosa_model_config *config,
                                             mosa_error *err);

// MOSA_EUNSUPPORTED when a Hugging Face configuration turns something on that would change every number and is not done
// here: a boolean field. Without the field, and for GGUF models, MOSA_OK.
mosa_status mosa_model_config_refuse(const mosa_model_source *source, const char *field, mosa_error *err);

// A number under a family's own names: a Hugging Face field, or a GGUF key's suffix; `fallback` when absent. Either
// name may be NULL, for none.
mosa_status mosa_model_config_number(const mosa_model_source *source, const char *gguf, const char *hf, double fallback,
                                     float *out, mosa_error *err);

#endif
