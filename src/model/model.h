// A resident model: config, weights on a backend, and the three plans that run it.
//
// Rows in, rows out: the model knows nothing of requests. The engine decides which rows are in a batch and owns the KV
// pages. Ownership: a model owns its source, weights, plans; it borrows the backend, which must outlive it.
// Thread: one thread at a time runs the forward functions; nothing is allocated in them.
#ifndef MOSA_MODEL_MODEL_H
#define MOSA_MODEL_MODEL_H

#include "backend/backend.h"
#include "model/config.h"
#include "model/profile.h"
#include "model/source.h"

typedef struct mosa_model mosa_model;

enum { MOSA_MODEL_ADAPTER_RANK_MAX = 4096 };

typedef struct mosa_model_options {
    const char *path;
    mosa_dtype quantize;  // matrices of an unquantised model become this at load; MOSA_F32 = keep
    int threads;          // that quantise; 0 = every CPU of this process
    int64_t context;      // longest sequence that will be served, where the files leave a choice (config.h); 0 = the
                          // model's own
    int64_t max_rows;     // T of one body run
    int64_t encoder_rows; // T of an encoder is at least its context, or this if that is less: it runs whole sequences
    int64_t max_outputs;  // R of one head run
    int64_t memory_bytes; // refuse weights that are larger; 0 = load whatever it takes
    int max_adapter_rank; // largest rank of a LoRA adapter; 0 = none can be used
} mosa_model_options;

mosa_status mosa_model_open(mosa_backend *backend, const mosa_model_options *options, mosa_model **out,
                            mosa_error *err);
void mosa_model_close(mosa_model *model); // NULL-safe

int64_t mosa_model_max_rows(const mosa_model *model); // T of one body run
const mosa_model_config *mosa_model_get_config(const mosa_model *model);
const mosa_model_source *mosa_model_get_source(const mosa_model *model);
size_t mosa_model_weight_bytes(const mosa_model *model);  // resident bytes, mapped ones that are read included
size_t mosa_model_scratch_bytes(const mosa_model *model); // activation arenas of all plans

// Runs the body. tokens, positions: i32 [batch->rows]. The hidden rows [batch->rows, D] stay with the model until the
// next run; logits, scores and normed say by number which of them they are about.
mosa_status mosa_model_forward(mosa_model *model, const int32_t *tokens, const int32_t *positions,
                               const mosa_batch *batch, mosa_kv *kv, mosa_error *err);

// Reads a LoRA adapter (a PEFT folder or a GGUF file) and makes it resident for this model. *rank: its largest. Beside
// a running forward; any thread. The caller names it in mosa_batch.adapters and destroys it before the model, when no
// batch names it. MOSA_EINVALID when it is for another model, MOSA_EUNSUPPORTED, MOSA_ELIMIT (rank), and the errors of
// mosa_adapter_file_open; the message names file and tensor.
mosa_status mosa_model_adapter_create(const mosa_model *model, const char *path, mosa_adapter **out, int *rank,
                                      mosa_error *err);
void mosa_model_adapter_destroy(const mosa_model *model, mosa_adapter *adapter); // NULL-safe
size_t mosa_model_adapter_bytes(const mosa_model *model, const mosa_adapter *adapter);

// The same for an encoder, whose segments are whole sequences. types: i32 [batch->rows], each below config->token_types
// (ignored where that is 0).
mosa_status mosa_model_encode(mosa_model *model, const int32_t *tokens, const int32_t *positions, const int32_t *types,
                              const mosa_batch *batch, mosa_error *err);

// Runs the head over hidden rows rows[0..n), n <= max_outputs (NULL: the first n). *logits: f32 [n, V], valid until the
// next call; NULL leaves them on the device, for draw and read_logits.
mosa_status mosa_model_logits(mosa_model *model, const int32_t *rows, int32_t n, const float **logits, mosa_error *err);
bool mosa_model_draws(const mosa_model *model); // whether the device can draw: else draw must not be called
// Draws from the logits of the last head run, as mosa_backend_ops.exec_draw says.
mosa_status mosa_model_draw(mosa_model *model, const mosa_draw *draws, int32_t n, mosa_drawn *drawn, mosa_error *err);
// logits: f32 [V], those of one row of the last head run.
mosa_status mosa_model_read_logits(mosa_model *model, int32_t row, float *logits, mosa_error *err);

// Starts (from zero) or stops adding up the time of every op; what has been added up, valid until the model closes.
void mosa_model_set_profiling(mosa_model *model, bool on);
const mosa_profile *mosa_model_get_profile(const mosa_model *model);

// Scores of an encoder with one label, of n <= max_outputs hidden rows of first tokens. *scores: f32 [n], 0 to 1, valid
// until the next call.
mosa_status mosa_model_scores(mosa_model *model, const int32_t *rows, int32_t n, const float **scores, mosa_error *err);

// normed: f32 [n, D], the hidden rows after the last norm (NULL rows: the first n); an encoder's as they are.
// n <= max_rows.
mosa_status mosa_model_normed(mosa_model *model, const int32_t *rows, int32_t n, float *normed, mosa_error *err);

#endif
