// A model's files, GGUF or Hugging Face folder, behind one face: hyperparameters and weights by canonical name.
//
// Hyperparameters are named by mosa_hparam; the table in source.c gives each its GGUF key and Hugging Face field.
// Ownership: the source owns the mappings; views and strings live until mosa_model_source_close.
// Errors name the file and the key or tensor. Thread: immutable after open.
#ifndef MOSA_MODEL_SOURCE_H
#define MOSA_MODEL_SOURCE_H

#include "base/status.h"
#include "codec/gguf.h"
#include "codec/hf_config.h"
#include "codec/safetensors.h"
#include "model/weight_map.h"
#include "tensor/view.h"

typedef enum mosa_hparam {
    MOSA_H_LAYERS,
    MOSA_H_WIDTH,
    MOSA_H_FFN,
    MOSA_H_HEADS,
    MOSA_H_KV_HEADS,
    MOSA_H_HEAD_WIDTH,
    MOSA_H_CONTEXT,
    MOSA_H_WINDOW,
    MOSA_H_NORM_EPS,
    MOSA_H_ROPE_BASE,
    MOSA_H_EXPERTS,
    MOSA_H_EXPERTS_USED, // per token
    MOSA_H_EXPERT_FFN,
    MOSA_H_EXPERT_GROUPS,
    MOSA_H_EXPERT_TOP_GROUPS,
    MOSA_H_EXPERT_SCALE,
    MOSA_H_SHARED_FFN,
    MOSA_H_SHARED_EXPERTS,
    MOSA_H_DENSE_LAYERS, // first layers without experts
    MOSA_H_VALUE_WIDTH,
    MOSA_H_LATENT_QUERY, // of multi-head latent attention: mosa_model_latent
    MOSA_H_LATENT,
    MOSA_H_LATENT_ROTATED,
    MOSA_H_LATENT_KEY, // Hugging Face: the columns without rotation; GGUF: all
    MOSA_H_LATENT_VALUE,
    MOSA_H_COUNT
} mosa_hparam;

typedef struct mosa_model_source mosa_model_source;

// `path` is a GGUF file, a Hugging Face folder, or a file inside one (config.json, *.safetensors).
mosa_status mosa_model_source_open(const char *path, mosa_model_source **out, mosa_error *err);
void mosa_model_source_close(mosa_model_source *source); // NULL-safe

const char *mosa_model_source_path(const mosa_model_source *source);
const char *mosa_model_source_arch(const mosa_model_source *source); // "llama": general.architecture or model_type
const char *mosa_model_source_name(const mosa_model_source *source); // general.name, or the path's last part
bool mosa_model_source_is_gguf(const mosa_model_source *source);
const mosa_gguf *mosa_model_source_gguf(const mosa_model_source *source);           // NULL for a folder
const mosa_hf_config *mosa_model_source_hf_config(const mosa_model_source *source); // NULL for GGUF

bool mosa_model_source_has(const mosa_model_source *source, mosa_hparam which);

// Integer and real hyperparameters with inclusive bounds. The _or forms take `fallback` when the field is absent.
mosa_status mosa_model_source_i64(const mosa_model_source *source, mosa_hparam which, int64_t min, int64_t max,
                                  int64_t *out, mosa_error *err);
mosa_status mosa_model_source_i64_or(const mosa_model_source *source, mosa_hparam which, int64_t min, int64_t max,
                                     int64_t fallback, int64_t *out, mosa_error *err);
mosa_status mosa_model_source_f64_or(const mosa_model_source *source, mosa_hparam which, double min, double max,
                                     double fallback, double *out, mosa_error *err);

// GGUF key of this architecture: "llama." + suffix, in the caller's buffer of MOSA_GGUF_NAME_MAX + 1 bytes.
const char *mosa_model_source_key(const mosa_model_source *source, const char *suffix, char *buffer);

// The weight of a slot, or NULL when the file has none. layer is ignored for slots of the model.
const mosa_tensor_view *mosa_model_source_weight(const mosa_model_source *source, mosa_weight_slot slot, int layer);
// The matrix of one expert where the file has a tensor for each, or NULL.
const mosa_tensor_view *mosa_model_source_expert(const mosa_model_source *source, mosa_weight_slot slot, int layer,
                                                 int expert);
// How the file spells that weight, for messages; in the caller's buffer.
const char *mosa_model_source_weight_name(const mosa_model_source *source, mosa_weight_slot slot, int layer,
                                          char buffer[MOSA_WEIGHT_NAME_MAX]);

// All tensors, in file order (shard after shard), by the names that the file gives them.
size_t mosa_model_source_tensor_count(const mosa_model_source *source);
const mosa_tensor_view *mosa_model_source_tensor_at(const mosa_model_source *source, size_t index);

// Sums over all tensors of the file.
int64_t mosa_model_source_parameters(const mosa_model_source *source);
mosa_dtype mosa_model_source_main_dtype(const mosa_model_source *source); // the one that most elements have

#endif
