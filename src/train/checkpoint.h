// Checkpoints of a run, read: a folder per step that holds everything needed to continue bit for bit.
//
//   <run>/checkpoint-<step>/
//     model.safetensors      weights (f32 masters), under the parameters' names
//     optimizer.safetensors  moments, as mosa_optimizer_tensor_at names them; absent without state
//     state.json             counters, data position, seeds: the trainer's own
//     index.json             written last: each tensor's name, type, shape and SHA-256, each file's size and SHA-256
//     (further files)        trainer_state.json, config.json, ... as the trainer wishes
//
// Tensors are whole and carry no layout: another number of ranks or another arena may read them. A folder appears under
// its name by one rename after all of it is durable, so one that is there is whole unless the disk is at fault, which
// the checksums tell. Ownership: the object owns mappings and texts. Thread: immutable after open.
#ifndef MOSA_TRAIN_CHECKPOINT_H
#define MOSA_TRAIN_CHECKPOINT_H

#include "train/params.h"

#include <jansson.h>

typedef struct mosa_checkpoint mosa_checkpoint;

// Reads the folder of one checkpoint and checks every sum. MOSA_ENOTFOUND, MOSA_ECORRUPT naming the tensor or file,
// MOSA_EUNSUPPORTED (a later version), MOSA_EIO, MOSA_ENOMEM.
MOSA_MUST_USE mosa_status mosa_checkpoint_open(const char *folder, mosa_checkpoint **out, mosa_error *err);
void mosa_checkpoint_close(mosa_checkpoint *checkpoint); // NULL-safe

// The newest checkpoint of a run that passes its checks; broken ones are passed over with a warning in the log.
// MOSA_ENOTFOUND when there is none.
MOSA_MUST_USE mosa_status mosa_checkpoint_open_latest(const char *run, mosa_checkpoint **out, mosa_error *err);

const char *mosa_checkpoint_path(const mosa_checkpoint *checkpoint);
int64_t mosa_checkpoint_step(const mosa_checkpoint *checkpoint);
double mosa_checkpoint_metric(const mosa_checkpoint *checkpoint); // what keep-best goes by; NaN when there was none
const json_t *mosa_checkpoint_state(const mosa_checkpoint *checkpoint);

// Copies the weight or moment of the tensor's name into tensor->data. MOSA_ENOTFOUND, or MOSA_EINVALID when type or
// shape differ from those given.
MOSA_MUST_USE mosa_status mosa_checkpoint_read(const mosa_checkpoint *checkpoint, const mosa_train_tensor *tensor,
                                               mosa_error *err);
size_t mosa_checkpoint_tensor_count(const mosa_checkpoint *checkpoint); // weights and moments

// Steps of a run's checkpoints, ascending; *steps is the caller's to free. A run without any gives 0.
MOSA_MUST_USE mosa_status mosa_checkpoint_list(const char *run, int64_t **steps, size_t *count, mosa_error *err);

// Removes all checkpoints of a run.
MOSA_MUST_USE mosa_status mosa_checkpoint_clear(const char *run, mosa_error *err);

// What a checkpoint of these tensors takes on the disk, but for the files: to be checked before a run begins.
uint64_t mosa_checkpoint_bytes(const mosa_params *params, size_t moment_bytes);

#endif
