// A small model that guesses what the large one will say.
//
// It has keys and values of its own under the same page ids: page p of the engine's pool is a slot in both, so a
// sequence carries one list of pages. They lag behind: positions [0, n_mirrored) of a sequence have the draft's keys
// and values, and only when it is to guess are the rest caught up, several sequences in one batch. Which whole pages
// have them the scheduler knows (`mirrored`), so that a shared prefix is caught up once.
//
// It draws its guesses as the sequence itself will draw, with the same seed, penalties and filters: the closer the two
// distributions, the more guesses stand.
// Thread: the engine's. Nothing is allocated after open.
#ifndef MOSA_ENGINE_ENGINE_DRAFT_H
#define MOSA_ENGINE_ENGINE_DRAFT_H

#include "engine/sequence.h"
#include "model/model.h"

typedef struct mosa_draft {
    mosa_model *model; // NULL without one
    mosa_kv *kv;
    int max_rows, max_outputs, vocab; // vocab: of its output; the engine's may be padded to another size
    int32_t vocab_engine;
    int64_t context_tokens;  // it does not guess beyond
    float cost;              // of one of its passes, as a share of the engine's own
    int32_t *row_tokens;     // (max_rows)
    int32_t *row_positions;  // (max_rows)
    mosa_segment *segments;  // (max_running)
    mosa_sequence **guesses; // (max_running) whose last row in the batch gives a guess
    int32_t *guess_rows;     // (max_running) that row
    float *logits;           // (vocab_engine) one row, widened
} mosa_draft;

struct mosa_engine;

// Opens the model on the engine's backend. MOSA_EINVALID when its vocabulary is another than the engine's.
mosa_status mosa_draft_open(struct mosa_engine *engine, const mosa_engine_options *options, mosa_error *err);
mosa_status mosa_draft_create_kv(struct mosa_engine *engine, const mosa_kv_spec *spec, mosa_error *err);
void mosa_draft_close(struct mosa_engine *engine);

// After the plan: writes tokens[n_tokens..n_tokens+n_draft) of every running sequence that guesses. Those that may
// (mosa_sequence.wants_mirror) are caught up as far as a batch reaches; n_draft is set only where that suffices.
mosa_status mosa_draft_run(struct mosa_engine *engine, mosa_error *err);

#endif
