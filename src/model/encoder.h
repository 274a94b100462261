// Builds the graphs of an encoder: every row attends to all rows of its sequence, in one run, without KV pages.
//
// The body's inputs are slot 0 tokens, slot 1 positions and, where the model tells types of tokens apart, slot 2 types,
// each i32 [T]; its output is hidden f32 [T,D], which no norm follows. Rows of a batch belong together by segment.
#ifndef MOSA_MODEL_ENCODER_H
#define MOSA_MODEL_ENCODER_H

#include "model/decoder.h"

// Reads what encoders share into `config`: eps, context, position and type tables, labels. position_offset is set.
mosa_status mosa_encoder_config_read(const mosa_model_source *source, mosa_model_config *config, mosa_error *err);

void mosa_encoder_build_body(mosa_decoder *decoder, mosa_decoder_block_fn block);
// hidden f32 [R,D] of first tokens -> sigmoid of the classifier, f32 [R, labels].
void mosa_encoder_build_score(mosa_decoder *decoder);

// x = norm(x + attention(x)), then norm(x + ffn(x)): the post-norm block of BERT, with a plain feed-forward part, or a
// gated one where the file has a gate.
mosa_value mosa_encoder_block(mosa_decoder *decoder, mosa_value x, int layer);

#endif
