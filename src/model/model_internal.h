// Private to model/: what an open model is made of.
#ifndef MOSA_MODEL_MODEL_INTERNAL_H
#define MOSA_MODEL_MODEL_INTERNAL_H

#include "base/pool.h"
#include "model/family.h"
#include "model/model.h"
#include "model/profile.h"

// One of the graphs with everything that runs it.
typedef struct mosa_model_part {
    const char *name;
    mosa_graph *graph;   // as built
    mosa_graph *lowered; // as the backend runs it; weight slots are those of `graph`
    mosa_plan *plan;
    mosa_exec *exec;
    int32_t *slot_weight; // (graph->n_weights) index into model->weights; in the model's arena
} mosa_model_part;

// An encoder's HEAD gives scores, where it has a classifier, and it has no EMBED. ADAPTED is the body with LORA nodes;
// it has the body's weights and is empty without adapters.
enum { MOSA_PART_BODY, MOSA_PART_HEAD, MOSA_PART_EMBED, MOSA_PART_ADAPTED, MOSA_PART_COUNT };

struct mosa_model {
    mosa_backend *backend;
    mosa_arena arena;
    mosa_model_source *source;
    const mosa_family *family;
    mosa_model_config config;
    int max_adapter_rank; // 0 = no adapters
    int64_t max_rows;     // T of one body run
    mosa_model_part parts[MOSA_PART_COUNT];
    const mosa_decoder_weight *listed; // (n_weights) what they were made from, in the arena
    mosa_weight **weights;             // (n_weights), in the arena
    void **quantized;                  // (n_weights) bytes quantised at load, or NULL; owned
    int n_weights;
    size_t weight_bytes;
    mosa_exec *body; // the one of the last forward: its rows are what head and embed read
    mosa_profile profile;
};

// Family and configuration of a source; rotary frequencies in `arena`.
mosa_status mosa_model_describe(const mosa_model_source *source, int64_t context, mosa_arena *arena,
                                const mosa_family **family, mosa_model_config *config, mosa_error *err);
// The data of a listed weight as it will be resident: the file's, made, or (with a pool) quantised. *owned: memory that
// the view points into and the caller frees, or NULL.
mosa_status mosa_model_weight_data(mosa_pool *pool, const mosa_decoder_weight *weight, mosa_tensor_view *view,
                                   void **owned, mosa_error *err);

#endif
