// Parts of `mosa convert`: what is read, what is written, and the tensors between. Private to the convert_*.c files.
//
// A conversion gathers a list of tensors (source view, new name, new dtype, row order), declares them to a sink (GGUF
// or safetensors writer), and streams them through. Metadata goes straight from source to sink, one file per direction.
// Thread: one.
#ifndef MOSA_CLI_CONVERT_H
#define MOSA_CLI_CONVERT_H

#include "base/arena.h"
#include "base/status.h"
#include "codec/gguf_writer.h"
#include "codec/safetensors_writer.h"
#include "model/experts.h"
#include "model/source.h"

#include <jansson.h>

typedef struct convert_tensor {
    const char *name;             // in the output
    const mosa_tensor_view *view; // borrowed from the source while it is open
    int64_t n_elements;
    mosa_dtype dtype; // in the output
    // Rotary rows: head width when they change order, 0 when rows stay. The direction is the job's.
    int64_t head_width;
    const mosa_derivation *how; // NULL, or how the bytes of `view`, NULL until then, are made when they are written
} convert_tensor;

typedef struct convert_job {
    const char *in, *out;
    bool to_gguf;
    bool has_type;
    mosa_dtype type;         // wanted for matrices, when has_type
    const char *pre;         // pre-tokenizer name given by the user, or NULL
    uint64_t shard_bytes;    // of safetensors; 0 = the writer's default
    mosa_arena *arena;       // lives as long as the job
    convert_tensor *tensors; // (n_tensors)
    size_t n_tensors, capacity;
    mosa_gguf_writer *gguf; // one of the two sinks is open
    mosa_safetensors_writer *safetensors;
} convert_job;

// --- tensors (convert_tensors.c) ----------------------------------------------------------------------------------

// Appends a tensor under its new name (copied into the arena); the dtype is decided by the job's type and the tensor's
// place (convert_tensors.c). `slot` is MOSA_W_COUNT for tensors that the weight map does not know.
mosa_status convert_add(convert_job *job, const char *name, const mosa_tensor_view *view, mosa_weight_slot slot,
                        bool tied, int64_t head_width, mosa_error *err);
// The same for a stack; experts that have no bytes yet are made when they are written. Copied into the arena.
mosa_status convert_add_stack(convert_job *job, const char *name, const mosa_expert_stack *stack, mosa_weight_slot slot,
                              mosa_error *err);
// Declares all tensors to the sink, begins, streams, commits. Shows progress when stderr is a terminal.
mosa_status convert_write(convert_job *job, mosa_error *err);
// general.file_type of a GGUF file whose matrices have this dtype.
uint32_t convert_file_type(mosa_dtype dtype);
mosa_dtype convert_main_dtype(const convert_job *job); // the one that most elements of the output have

// --- directions ---------------------------------------------------------------------------------------------------

mosa_status convert_hf_to_gguf(convert_job *job, const mosa_model_source *source, mosa_error *err);
mosa_status convert_gguf_to_hf(convert_job *job, const mosa_model_source *source, mosa_error *err);
mosa_status convert_gguf_to_gguf(convert_job *job, const mosa_model_source *source, mosa_error *err);
mosa_status convert_hf_to_hf(convert_job *job, const mosa_model_source *source, mosa_error *err);
// A checkpoint of llama2.c (version 0 or 1) and its tokenizer file to GGUF.
mosa_status convert_llama2c(convert_job *job, const char *tokenizer, mosa_error *err);

// --- to GGUF: renaming, experts, latent attention (convert_experts.c) ---------------------------------------------

typedef struct convert_renaming {
    const char *arch; // of the output
    bool tied;
    int64_t rotary_width;
    int experts; // 0 = none
} convert_renaming;

// arch.suffix
void convert_put_u32(convert_job *job, const char *arch, const char *suffix, int64_t value);
// Hyperparameters of experts, and to->experts, for families that have them; of the heads of latent attention.
mosa_status convert_put_experts(convert_job *job, const mosa_model_source *source, convert_renaming *to,
                                mosa_error *err);
mosa_status convert_put_latent(convert_job *job, const mosa_model_source *source, const char *arch, mosa_error *err);
// Adds a source tensor under the name that GGUF gives it; rotary rows change order in the llama family. The tensors of
// a layer's experts become one, added when the first of them comes; fused ones become several.
mosa_status convert_add_renamed(convert_job *job, const mosa_model_source *source, const convert_renaming *to,
                                const mosa_tensor_view *view, mosa_weight_slot slot, int layer, int expert,
                                mosa_error *err);

// --- vocabulary ---------------------------------------------------------------------------------------------------

// tokenizer.json, tokenizer_config.json and chat_template.jinja of a folder to tokenizer.* keys. `rows` is the number
// of rows of the embedding: ids beyond the vocabulary become unused tokens.
mosa_status convert_vocab_to_gguf(convert_job *job, const mosa_model_source *source, int64_t rows, mosa_error *err);
// The reverse: writes tokenizer.json, tokenizer_config.json and generation_config.json.
mosa_status convert_vocab_to_hf(convert_job *job, const mosa_gguf *gguf, mosa_error *err);

// Pre-tokenizers that both formats can name (convert_pre.c). NULL when not in the table.
const char *convert_pre_name(const json_t *pre_tokenizer); // name that GGUF gives to tokenizer.json's object
json_t *convert_pre_json(const char *name);                // the reverse; a new tree

// --- rope scaling (convert_rope.c) --------------------------------------------------------------------------------

// Config's rope_scaling to rope.scaling.* keys, or to the divisors of llama3 scaling: *freqs (head width / 2) in the
// arena, NULL when there are none.
mosa_status convert_rope_to_gguf(convert_job *job, const mosa_model_source *source, const char *arch,
                                 int64_t head_width, const float **freqs, mosa_error *err);
// The reverse: a new rope_scaling object, or NULL when there is no scaling.
mosa_status convert_rope_to_hf(const mosa_model_source *source, int64_t head_width, json_t **out, mosa_error *err);

// Writes a JSON file into the job's output folder.
mosa_status convert_save_json(const convert_job *job, const char *name, const json_t *value, mosa_error *err);

#endif
