// LoRA adapter files: a PEFT folder or a GGUF adapter, as pairs of matrices by the weight that they change.
//
// PEFT: adapter_config.json and adapter_model.safetensors. GGUF: general.type "adapter", adapter.type "lora", tensors
// X.lora_a and X.lora_b. What plain LoRA does not cover (DoRA, trained biases, whole modules, embeddings) is refused by
// name. Whether a pair fits a base model is for model.h to say.
// Ownership: the object owns mappings, names and views; pointers live until mosa_adapter_file_close.
// Thread: immutable after open.
#ifndef MOSA_MODEL_ADAPTER_FILE_H
#define MOSA_MODEL_ADAPTER_FILE_H

#include "base/str.h"
#include "model/weight_map.h"
#include "tensor/view.h"

#include "base/status.h"

enum { MOSA_ADAPTER_TENSORS_MAX = 1 << 16, MOSA_ADAPTER_RANK_MAX = 4096 };

typedef struct mosa_adapter_pair {
    mosa_weight_slot slot;
    int layer;   // -1 for weights of the model
    float scale; // alpha / r, or alpha / sqrt(r) for rsLoRA; finite
    // A [r, in], B [out, r] of a type that has to_f32; r is 1 to MOSA_ADAPTER_RANK_MAX. Their names are the file's.
    const mosa_tensor_view *a, *b;
} mosa_adapter_pair;

typedef struct mosa_adapter_file mosa_adapter_file;

// `path` is a GGUF file, a PEFT folder, or a file inside one. `base_type` is the base's architecture as Hugging Face
// calls it, for the names of PEFT's modules; NULL for the common ones. MOSA_ENOTFOUND, MOSA_EIO, MOSA_ECORRUPT,
// MOSA_EINVALID, MOSA_EUNSUPPORTED, MOSA_ELIMIT, MOSA_ENOMEM, naming file and field or tensor.
MOSA_MUST_USE mosa_status mosa_adapter_file_open(const char *path, const char *base_type, mosa_adapter_file **out,
                                                 mosa_error *err);
// As open over bytes in memory, which must outlive the object; `name` is for messages.
MOSA_MUST_USE mosa_status mosa_adapter_file_parse_gguf(const void *data, size_t len, const char *name,
                                                       mosa_adapter_file **out, mosa_error *err);
MOSA_MUST_USE mosa_status mosa_adapter_file_parse_peft(mosa_slice config, const void *tensors, size_t len,
                                                       const char *name, mosa_adapter_file **out, mosa_error *err);
void mosa_adapter_file_close(mosa_adapter_file *file); // NULL-safe

const char *mosa_adapter_file_path(const mosa_adapter_file *file);
bool mosa_adapter_file_is_gguf(const mosa_adapter_file *file);
const char *mosa_adapter_file_arch(const mosa_adapter_file *file); // general.architecture of a GGUF file, else NULL
size_t mosa_adapter_file_count(const mosa_adapter_file *file);     // at least 1
const mosa_adapter_pair *mosa_adapter_file_at(const mosa_adapter_file *file, size_t index);

#endif
