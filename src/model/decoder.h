// Builds the graphs of a decoder-only transformer from pieces that families share.
//
// Three graphs come from one decoder: the body (tokens -> hidden rows), the head (hidden rows -> logits) and the
// embedding end (hidden rows -> normed hidden rows). They share the weight list, so that each tensor is made resident
// once whatever graphs use it.
#ifndef MOSA_MODEL_DECODER_H
#define MOSA_MODEL_DECODER_H

#include "graph/graph.h"
#include "model/config.h"
#include "model/derive.h"
#include "model/source.h"

typedef struct mosa_decoder_weight {
    mosa_tensor_view view;      // borrowed from the source, or computed (rotary frequencies) in the model's arena
    const char *name;           // as the file spells it; in the model's arena
    mosa_dtype dtype;           // resident type: view.dtype, or what it is quantised to at load
    const mosa_derivation *how; // NULL, or how view's data, NULL so far, is made at load; in the model's arena
    unsigned uses;              // MOSA_WEIGHT_* of backend/backend.h, over all graphs
    // Where it comes from, for training:
    mosa_weight_slot slot;          // MOSA_W_COUNT: of no slot (rotary frequencies)
    int layer;                      // -1 for weights of the model
    const mosa_tensor_view *tensor; // of the files, that it is (some rows of); NULL when it is made or computed
    int64_t row;                    // its first row there
    float added;                    // to every element, on top of the file's value
} mosa_decoder_weight;

typedef struct mosa_decoder {
    const mosa_model_config *config;
    const mosa_model_source *source;
    mosa_arena *arena;
    mosa_dtype quantize;          // matrices stored as f32, f16 or bf16 become this type at load; MOSA_F32 = keep
    mosa_decoder_weight *weights; // (n_weights)
    int n_weights, cap_weights;
    // Of the graph under construction:
    mosa_graph *graph;
    int32_t *slot_weight; // (graph->n_weights) index into weights[] of each weight slot
    int cap_slots;
    mosa_value positions, rope_table, rope_local_table, kv;
    bool packed;         // attention over the batch's own rows, for training: no pages
    mosa_dtype kv_dtype; // packed: what pages would hold keys and values as, MOSA_F16 or MOSA_F32
    mosa_error error;    // first fault
} mosa_decoder;

void mosa_decoder_init(mosa_decoder *decoder, const mosa_model_config *config, const mosa_model_source *source,
                       mosa_arena *arena);

// Starts a graph; weights named from here on are its own slots. The graph is handed over by mosa_decoder_end, with the
// index of the resident weight for each of its slots (in the arena).
mosa_status mosa_decoder_begin(mosa_decoder *decoder, mosa_error *err);
mosa_status mosa_decoder_end(mosa_decoder *decoder, mosa_graph **graph, int32_t **slot_weight, mosa_error *err);

// A weight of the file, checked against the shape that the config asks for (but for leading dimensions of 1). Required
// ones fail the decoder when absent; optional ones give MOSA_NO_VALUE.
mosa_value mosa_decoder_weight_of(mosa_decoder *decoder, mosa_weight_slot slot, int layer, mosa_shape shape,
                                  bool required);
// Rows [begin, begin + rows) of such a weight, which is `shape` in the file: a part of a fused matrix, or of its bias.
mosa_value mosa_decoder_weight_rows(mosa_decoder *decoder, mosa_weight_slot slot, int layer, mosa_shape shape,
                                    int64_t begin, int64_t rows, bool required);
// A norm's weight of n columns: 1 is added where the files leave it out (config.norm_plus_one).
mosa_value mosa_decoder_norm_weight(mosa_decoder *decoder, mosa_weight_slot slot, int layer, int64_t n);
// A vector computed at load, such as rotary frequencies. Data is borrowed, and found again by its name.
mosa_value mosa_decoder_constant(mosa_decoder *decoder, const char *name, const float *data, int64_t count);

// A matrix [out,in] of the file, and x times it (plus the bias where the file has one; MOSA_W_COUNT = never).
mosa_value mosa_decoder_matrix(mosa_decoder *decoder, mosa_weight_slot slot, int layer, int64_t out, int64_t in);
mosa_value mosa_decoder_linear(mosa_decoder *decoder, mosa_value x, mosa_weight_slot slot, mosa_weight_slot bias_slot,
                               int layer, int64_t out, int64_t in);
// A stack of matrices [E,out,in], or of their biases [E,out], however the file holds it (model/experts.h).
mosa_value mosa_decoder_stack(mosa_decoder *decoder, mosa_weight_slot slot, int layer, mosa_shape shape, bool required);

// The stacks [H,width,plain] and [H,value,width] of latent attention: two of the file's, or both from its one matrix.
void mosa_decoder_latent_heads(mosa_decoder *decoder, int layer, mosa_value *keys, mosa_value *values);

// Pieces of graphs (decoder_pieces.c).
mosa_attrs mosa_decoder_attention_attrs(const mosa_decoder *decoder, int layer);
mosa_value mosa_decoder_use(mosa_decoder *decoder, mosa_value weight,
                            unsigned use);                                      // notes a MOSA_WEIGHT_*; same value
void mosa_decoder_rope_tables(mosa_decoder *decoder);                           // of decoder->positions
mosa_value mosa_decoder_embed_tokens(mosa_decoder *decoder, mosa_value tokens); // [T] ids -> [T, D], scaled
// Rows of Q [T, H*C], K and V [T, G*C] of x, not yet normed or rotated. Q, K and V (below: gate and up) are three
// matrices (two), or one of the file's cut into rows.
void mosa_decoder_project_qkv(mosa_decoder *decoder, mosa_value x, int layer, mosa_value *q, mosa_value *k,
                              mosa_value *v);

// Attention of q [T,H*C] over keys and values (v MOSA_NO_VALUE with value_in_key): written to pages and read from
// there, or of the batch's own rows. sinks may be MOSA_NO_VALUE.
mosa_value mosa_decoder_attend(mosa_decoder *decoder, mosa_value q, mosa_value k, mosa_value v, mosa_value sinks,
                               const mosa_attrs *attrs);

// Pieces of a block. Each takes and returns rows [T, D].
mosa_value mosa_decoder_attention(mosa_decoder *decoder, mosa_value x, int layer); // q,k,v, rope, pages, output matrix
mosa_value mosa_decoder_gated_ffn(mosa_decoder *decoder, mosa_value x, int layer); // down(act(gate x) * up x)
mosa_value mosa_decoder_norm(mosa_decoder *decoder, mosa_value x, mosa_weight_slot slot, int layer); // RMS
mosa_value mosa_decoder_add(mosa_decoder *decoder, mosa_value x, mosa_value y); // x + residual_scale * y

// x + attention(norm(x)), then + ffn(norm(.)): the pre-norm block of the llama lineage.
mosa_value mosa_decoder_prenorm_block(mosa_decoder *decoder, mosa_value x, int layer);
// The same with a second norm on what is added, as in Gemma.
mosa_value mosa_decoder_sandwich_block(mosa_decoder *decoder, mosa_value x, int layer);

// Whole graphs. Inputs of the body: slot 0 tokens i32 [T], slot 1 positions i32 [T]; state 0: the KV pages; output:
// hidden [T,D] before the last norm. Input of the others: slot 0 hidden f32 [R,D].
typedef mosa_value (*mosa_decoder_block_fn)(mosa_decoder *decoder, mosa_value x, int layer);
void mosa_decoder_build_body(mosa_decoder *decoder, mosa_decoder_block_fn block);
void mosa_decoder_build_head(mosa_decoder *decoder);  // output: logits f32 [R,V]
void mosa_decoder_build_embed(mosa_decoder *decoder); // output: normed hidden f32 [R,D]
// From tokens to the loss, for a decoder that is `packed`. Inputs: tokens, positions, labels i32 [T], coef f32 [T,1];
// state 0: gradients; output: LINEAR_CE's stats [T,4].
void mosa_decoder_build_training(mosa_decoder *decoder, mosa_decoder_block_fn block);

#endif
