// A sequence: one request from submission to its last event.
//
// States and the function of each transition:
//   QUEUED --scheduler_admit--> RUNNING --step--> FINISHED
//     ^                            |
//     +-----scheduler_preempt------+   pages given back; tokens kept, so that nothing is sampled twice
//
// Positions: tokens[0..n_computed) have their keys and values in pages; tokens[n_computed..n_tokens) are the rows still
// to run. A decoding sequence has one such row, or a few after tokens that came without a row each. When all are
// computed, the last row's logits give the next token. tokens[n_tokens..n_tokens+n_draft) are guesses that run in the
// same step behind them; whoever guesses sets n_draft before the plan, the plan cuts it to what fits, and after the
// step it is 0.
//
// All memory is allocated at submission, by the submitting thread; afterwards the engine's thread owns the sequence.
#ifndef MOSA_ENGINE_SEQUENCE_H
#define MOSA_ENGINE_SEQUENCE_H

#include "base/arena.h"
#include "engine/adapters.h"
#include "engine/constraint.h"
#include "engine/prefix_tree.h"
#include "engine/stop_matcher.h"
#include "model/config.h"
#include "mosa/mosa.h"
#include "text/tokenizer.h"

typedef enum mosa_sequence_state {
    MOSA_SEQUENCE_QUEUED,
    MOSA_SEQUENCE_RUNNING,
    MOSA_SEQUENCE_FINISHED
} mosa_sequence_state;

typedef struct mosa_sequence mosa_sequence;
struct mosa_sequence {
    mosa_sequence *next;  // inbox chain, or the list of finished sequences
    uint64_t id;          // rises with arrival
    mosa_request request; // its pointers point into the arena
    mosa_arena arena;
    mosa_engine_adapter *adapter;  // referred to; NULL = the model itself
    mosa_constrained *constrained; // owned; NULL = any text
    mosa_sequence_state state;
    bool cancelled;
    bool waits;   // the engine's n_waiting counts it
    bool counted; // its first admission is in the statistics

    int32_t *tokens;                                  // (capacity) prompt, then output
    int32_t n_prompt, n_tokens, n_computed, capacity; // capacity = prompt + what may be generated
    int32_t n_cached;                                 // prompt tokens that came from the prefix tree at first admission
    int32_t n_reported;                               // positions whose hidden rows were scored or summed up
    bool admitted_before;
    bool waits_for_prefix; // in this step: another sequence is computing the page that it needs first
    int32_t caller;        // slot in the scheduler's callers

    int32_t *pages; // (ceil(capacity / page_tokens)) of positions in order
    int32_t n_pages;
    int32_t n_tree_pages;  // the first ones belong to the prefix tree
    mosa_prefix_node *tip; // the tree node of the last of them, NULL when none

    mosa_detokenizer detokenizer;
    mosa_stop_matcher stop;
    double *embedding_sum; // (width) MOSA_EMBED_*: running sum, in order of position
    float *embedding;      // (width)

    int32_t n_draft;          // guessed tokens behind the last one, of which n_tokens + n_draft < capacity
    int32_t n_mirrored;       // positions that the draft model has read (engine_draft.h)
    int32_t n_guess_mirrored; // end of the guesses that it has read in this step
    bool wants_mirror;        // in this step: it guesses, or would if the draft model had caught up
    float hope;               // estimated chance that a guess stands; 0 = none made yet
    int32_t rows;             // of this step, guesses included
    int32_t row_begin;
};

// What a sequence must know of its engine to be made.
typedef struct mosa_sequence_limits {
    int64_t context_tokens;
    int page_tokens, vocab, width;
    mosa_pooling pooling;   // that MOSA_EMBED stands for
    bool generates, scores; // what the model can do
    int token_types;        // that it tells apart; below 2 the second of two texts is of the first type too
    const mosa_tokenizer *tokenizer;
} mosa_sequence_limits;

// Copies and checks a request. MOSA_ECONTEXT, MOSA_EINVALID (unknown token, bad option, contradiction), MOSA_ENOMEM.
mosa_status mosa_sequence_create(const mosa_request *request, const mosa_sequence_limits *limits, mosa_sequence **out,
                                 mosa_error *err);
void mosa_sequence_destroy(mosa_sequence *sequence); // NULL-safe; pages must have been given back

// Reads its prompt and generates nothing: embeddings and scores.
static inline bool mosa_sequence_embeds(const mosa_sequence *s) {
    return s->request.kind != MOSA_GENERATE;
}
// What keeps its pages apart from those of other adapters (prefix_tree.h).
static inline uint64_t mosa_sequence_salt(const mosa_sequence *s) {
    return s->adapter ? s->adapter->id : 0;
}
static inline int32_t mosa_sequence_generated(const mosa_sequence *s) {
    return s->n_tokens - s->n_prompt;
}

#endif
