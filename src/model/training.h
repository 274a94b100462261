// What training takes from a model: its graph from tokens to the loss over packed rows, and the weights that it names.
//
// The graph is the family's own, with attention over the batch's rows instead of pages; nothing of it is resident yet.
// Ownership: the object owns source, graph and lists. Thread: immutable after open.
#ifndef MOSA_MODEL_TRAINING_H
#define MOSA_MODEL_TRAINING_H

#include "base/pool.h"
#include "model/decoder.h"

typedef struct mosa_model_training_options {
    const char *path;
    int64_t context;     // as mosa_model_options
    mosa_dtype quantize; // likewise
    mosa_dtype kv_dtype; // what keys and values are rounded to: MOSA_F16 or MOSA_F32
} mosa_model_training_options;

typedef struct mosa_model_training {
    mosa_arena arena;
    mosa_model_source *source;
    mosa_model_config config;
    mosa_graph *graph;    // mosa_decoder_build_training
    int32_t *slot_weight; // (graph->n_weights) index into weights
    const mosa_decoder_weight *weights;
    int n_weights;
} mosa_model_training;

// MOSA_EUNSUPPORTED for encoders, and the errors of the files. The caller's storage; finish is safe on a zeroed struct.
MOSA_MUST_USE mosa_status mosa_model_training_init(mosa_model_training *training,
                                                   const mosa_model_training_options *options, mosa_error *err);
void mosa_model_training_finish(mosa_model_training *training);

// The data of a weight as it will be resident: the file's, made of it, or quantised (when `pool` is given). *owned:
// memory that the view points into and the caller frees, or NULL.
MOSA_MUST_USE mosa_status mosa_model_training_data(const mosa_decoder_weight *weight, mosa_pool *pool,
                                                   mosa_tensor_view *view, void **owned, mosa_error *err);

// Whether `target` names the weight: its name in the files or, of either kind of file, its usual one, whole, without
// ".weight", or a part of it between dots.
bool mosa_model_training_named(const mosa_model_training *training, const mosa_decoder_weight *weight,
                               const char *target);

#endif
