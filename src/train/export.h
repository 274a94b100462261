// A run's result as files that others read: whole models in the form they came in, PEFT adapters, GGUF adapters.
//
// Whole models are their source's files with the trained tensors in place, of the same types, so that nothing that Mosa
// does not know is lost. merged: LoRA's product is added to the matrix in double and rounded to its type.
// Files appear whole or not at all. Thread: one; the step must rest.
#ifndef MOSA_TRAIN_EXPORT_H
#define MOSA_TRAIN_EXPORT_H

#include "train/step.h"

typedef struct mosa_export {
    mosa_step *step;
    const char *base;      // name or path of the model that an adapter is for
    int rank;              // LoRA
    float alpha;           // LoRA
    bool rslora;           // LoRA
    uint64_t shard_bytes;  // of safetensors; 0 = 5 GB
    const char *tokenizer; // folder whose tokenizer files are taken; NULL = the source's
} mosa_export;

// Whether the run's parameters can be written as whole models. MOSA_EUNSUPPORTED names the tensor that cannot.
MOSA_MUST_USE mosa_status mosa_export_check(const mosa_step *step, bool merged, mosa_error *err);

// A GGUF file at `path` from a GGUF source, else a folder. LoRA is merged.
MOSA_MUST_USE mosa_status mosa_export_model(const mosa_export *how, const char *path, mosa_error *err);
// adapter_config.json and adapter_model.safetensors into `folder`, which must exist.
MOSA_MUST_USE mosa_status mosa_export_peft(const mosa_export *how, const char *folder, mosa_error *err);
// general.type "adapter", adapter.type "lora".
MOSA_MUST_USE mosa_status mosa_export_gguf_lora(const mosa_export *how, const char *path, mosa_error *err);

// The reverse of the two above: an adapter file's matrices into the step's weights, brought to this run's scale.
// MOSA_EINVALID when ranks, shapes or the adapted matrices differ.
MOSA_MUST_USE mosa_status mosa_import_adapter(const mosa_export *how, const char *path, mosa_error *err);

// Copies what a Hugging Face folder holds besides weights (config, tokenizer, templates) into another.
MOSA_MUST_USE mosa_status mosa_export_copy_files(const char *from, const char *to, mosa_error *err);

#endif
