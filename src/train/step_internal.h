// Private to the step: what it is made of. step.c runs it, step_params.c chooses what is trained and lays it out,
// step_weights.c keeps weights resident.
#ifndef MOSA_TRAIN_STEP_INTERNAL_H
#define MOSA_TRAIN_STEP_INTERNAL_H

#include "graph/plan.h"
#include "model/training.h"
#include "train/step.h"

// One weight slot of the graphs: a listed weight of the model, or one matrix of a LoRA pair.
typedef struct step_slot {
    const mosa_decoder_weight *weight; // LoRA: the matrix beside which the pair stands
    int lora;                          // 0, 1 = A, 2 = B
    int64_t param;                     // index into params, -1 = frozen
    int64_t begin;                     // its first element within the parameter
    int32_t resident;                  // index into step->resident
} step_slot;

// A weight in the backend's memory. Slots of one weight share it.
typedef struct step_resident {
    mosa_weight *weight;
    mosa_tensor_view view;
    void *owned;  // what the view points into, when that is neither the file nor the arena
    int32_t slot; // one of its slots
    bool trained;
    unsigned uses;
} step_resident;

// A graph with what runs it.
typedef struct step_part {
    mosa_graph *graph; // lowered
    mosa_plan *plan;
    mosa_exec *exec;
} step_part;

enum { STEP_TRAIN, STEP_FORWARD, STEP_REFERENCE, STEP_PARTS };

struct mosa_step {
    mosa_backend *backend;
    mosa_step_options options; // its strings are not kept
    mosa_model_training model;
    mosa_graph *adapted; // LoRA: model.graph with pairs
    step_slot *slots;    // (n_slots) of the graph that is trained; those of the model come first
    int n_slots;
    bool *trained; // (n_slots)
    mosa_params params;
    mosa_step_origin *origins; // (params.count)
    float *weights, *grads;    // arenas
    int64_t *grad_offset;      // (n_slots)
    mosa_grads state;
    step_resident *resident; // (n_resident)
    int n_resident;
    mosa_pool *pool; // that rounds
    step_part parts[STEP_PARTS];
    mosa_step_memory memory;
    // Of a run:
    mosa_segment *segments; // (max_rows)
    int32_t *positions;     // (max_rows)
    float *zeros;           // (max_rows)
    mosa_step_stats *stats; // (max_rows)
};

// Chooses what is trained, makes the table, the arenas with the files' values and, for LoRA, the graph.
mosa_status mosa_step_make_params(mosa_step *step, const mosa_step_options *options, mosa_error *err);
// Makes the weights of all parts resident.
mosa_status mosa_step_make_resident(mosa_step *step, mosa_error *err);
void mosa_step_free_resident(mosa_step *step);

static inline const mosa_graph *mosa_step_graph(const mosa_step *step) { // forward, before derivatives
    return step->adapted ? step->adapted : step->model.graph;
}

#endif
