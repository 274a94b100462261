// The engine's insides, shared by its .c files and its tests.
//
// Threads. Submitters push to `inbox` and `cancels`, lock-free stacks that the engine's thread empties at the start of
// a step. Everything below "engine thread" belongs to the thread that calls mosa_engine_step. Statistics are relaxed
// atomics that anybody reads. A sleeping engine waits on `wake_fd`; `sleeping` saves the submitters a system call
// while it is awake.
#ifndef MOSA_ENGINE_ENGINE_INTERNAL_H
#define MOSA_ENGINE_ENGINE_INTERNAL_H

#include "backend/backend.h"
#include "engine/adapters.h"
#include "engine/engine_draft.h"
#include "engine/sampler.h"
#include "engine/scheduler.h"
#include "model/model.h"
#include "mosa/mosa.h"
#include "text/model_text.h"

#include <stdatomic.h>

enum { MOSA_PAGE_TOKENS = 32 };

typedef enum mosa_speculation { MOSA_SPECULATE_OFF, MOSA_SPECULATE_NGRAM, MOSA_SPECULATE_DRAFT } mosa_speculation;

typedef struct mosa_cancel mosa_cancel;
struct mosa_cancel {
    mosa_cancel *next;
    uint64_t id;
};

// A hidden row that is turned into logits in this step.
typedef struct mosa_wanted_row {
    mosa_sequence *sequence;
    int32_t row;      // in the body's output
    int32_t position; // in the sequence
    bool samples;     // it draws the token of position + 1
} mosa_wanted_row;

typedef struct mosa_engine_counters {
    _Atomic uint64_t steps, prompt_tokens, cached_tokens, generated_tokens, finished, cancelled, failed, preemptions;
    _Atomic uint64_t drafted, accepted;
    _Atomic uint64_t step_ns_last, step_ns_total;
    _Atomic int64_t running, waiting, pages_used, pages_cached;
} mosa_engine_counters;

struct mosa_engine {
    // Constant after open.
    mosa_engine_info info;
    mosa_backend *backend;
    mosa_model *model;
    mosa_model_text *text;
    mosa_kv *kv;
    mosa_sequence_limits limits;
    int max_rows, max_outputs, max_queued;
    mosa_speculation speculation;
    int draft_tokens; // guesses of one sequence in a step at most
    mosa_draft draft; // its buffers belong to the engine thread

    // Any thread.
    _Atomic(mosa_sequence *) inbox;
    _Atomic(mosa_cancel *) cancels;
    _Atomic uint64_t next_id;
    _Atomic int64_t n_waiting; // in the inbox or queued, as of the last plan; a submission needs it below max_queued
    _Atomic bool sleeping;
    int wake_fd;
    mosa_engine_counters counters;
    mosa_adapter_table adapters;  // has its own lock, which a step never takes
    mosa_constraints constraints; // likewise, but for the hand-over of masks

    // Engine thread.
    mosa_scheduler scheduler;
    mosa_sampler sampler;
    mosa_sequence *finished;            // destroyed at the start of the next step
    int32_t *row_tokens;                // (max_rows)
    int32_t *row_positions;             // (max_rows)
    int32_t *row_types;                 // (max_rows) of an encoder: which of two texts a row is of
    mosa_segment *segments;             // (max_running)
    const mosa_adapter **step_adapters; // (max_running) those of this step's segments
    mosa_wanted_row *wanted;            // (max_rows)
    int32_t *picked;                    // (max_outputs) hidden rows that head or embed are asked for
    float *normed;                      // (max_outputs, D) rows of embeddings
    mosa_draw *draws;                   // (max_outputs) what the device draws
    mosa_drawn *drawn;                  // (max_outputs)
    float *row_logits;                  // (V) a row that the device cannot draw from
    mosa_event *events;                 // (max_events)
    size_t *text_offsets;               // (max_events) start of each event's text in step_text
    mosa_logprob *tops;                 // (max_events, MOSA_TOP_LOGPROBS_MAX)
    int n_events, max_events;
    mosa_buf step_text; // texts of this step's events, one after another
    mosa_buf piece;     // scratch of one detokenized token
    mosa_error failure; // what MOSA_FINISH_ERROR events point at
};

// Called by mosa_engine_step (engine_step.c) and by open/close (engine.c).
void mosa_engine_drain_inbox(mosa_engine *engine);
void mosa_engine_wait(mosa_engine *engine, int timeout_ms);

// engine_output.c
mosa_event *mosa_engine_add_event(mosa_engine *engine, const mosa_sequence *sequence);
void mosa_engine_finish(mosa_engine *engine, mosa_sequence *sequence, mosa_event *event, mosa_finish reason);
void mosa_engine_finish_cancelled(mosa_engine *engine);
// The token at position n_tokens of `q`, which may lie behind guesses, from `logits` (V). -1 when none is finite.
int32_t mosa_engine_draw(mosa_engine *engine, const mosa_sequence *q, int32_t n_tokens, const float *logits);
// Head and draws over the body's rows. Sequences may end, several tokens of one may come out.
mosa_status mosa_engine_sample(mosa_engine *engine, mosa_error *err);
// Gives the events their texts, which move while the buffer grows: once, after the last event.
void mosa_engine_attach_texts(mosa_engine *engine);

// engine_constrain.c
void mosa_engine_begin_masks(mosa_engine *engine); // after the plan: masks of the sequences that will draw
// Puts what is certain behind a constrained sequence as guesses; how many.
int32_t mosa_engine_guess_certain(mosa_engine *engine, mosa_sequence *sequence);
// The token of a row: certain, or drawn from what the grammar allows. -1 with engine->failure.
int32_t mosa_engine_draw_constrained(mosa_engine *engine, mosa_sequence *sequence, const float *logits);

// engine_guess.c
void mosa_engine_guess(mosa_engine *engine); // before the plan: how many tokens each sequence guesses, and which
void mosa_engine_count_guesses(mosa_engine *engine); // after the plan has cut them
void mosa_engine_judge_guess(mosa_engine *engine, mosa_sequence *sequence, bool stands);

// engine_memory.c: pages of both pools, and what info says of them. *draft_spec is for the draft model, if there is
// one.
// An encoder has none, but a scheduler of one page.
mosa_status mosa_engine_size_memory(mosa_engine *engine, const mosa_engine_options *options, mosa_kv_spec *spec,
                                    mosa_kv_spec *draft_spec, mosa_error *err);

// engine_embed.c: adds up the rows of embedding requests and ends those that are complete.
mosa_status mosa_engine_pool_embeddings(mosa_engine *engine, mosa_error *err);
mosa_status mosa_engine_score(mosa_engine *engine, mosa_error *err);

#endif
