// Constrained sequences: the grammar's place in each, masks made beside the forward pass, tokens that are certain.
//
// A constrained sequence is ahead of its matcher by nothing: the matcher has taken every token of the output and the
// `forced` ones behind it. Forced tokens are those that the grammar leaves no choice about. They run as guesses that
// need no drawing, so a step computes their rows together with the row that draws the next free token.
//
// Threads. mosa_constraints_open: any thread that submits; the vocabulary's trie is built at the first one, behind a
// lock that a step never takes. Everything else: the engine's thread, but for the masks of one step, which a thread of
// their own computes between _begin and _join while the model runs; it touches nothing but those sequences' matchers.
// Memory: a matcher and a mask are made at submission; a step calls the allocator for forced tokens only (the tokenizer
// does), and only in constrained sequences.
#ifndef MOSA_ENGINE_CONSTRAINT_H
#define MOSA_ENGINE_CONSTRAINT_H

#include "base/thread.h"
#include "mosa/mosa.h"
#include "text/grammar/grammar.h"
#include "text/model_text.h"

enum {
    MOSA_FORCED_MAX = 32,          // certain tokens that are held at a time
    MOSA_CONSTRAINT_CACHE_MAX = 64 // compiled grammars that are kept
};

typedef struct mosa_constrained {
    mosa_matcher *matcher;
    uint64_t *mask; // of the next token to draw; valid while has_mask
    bool has_mask;
    mosa_error error;                // status MOSA_OK, or why there can be no mask
    int32_t forced[MOSA_FORCED_MAX]; // [forced_at, n_forced) are certain; the matcher has taken them
    int forced_at, n_forced;
} mosa_constrained;

typedef struct mosa_constraints {
    const mosa_model_text *text;
    size_t vocab;
    pthread_mutex_t making; // guards trie and grammars while they are made; afterwards they are constant
    mosa_token_trie *trie;
    mosa_grammar_cache *grammars;
    // The thread of masks.
    mosa_thread thread;
    pthread_mutex_t mutex; // guards what follows
    pthread_cond_t changed;
    mosa_constrained **jobs; // (capacity)
    int n_jobs, capacity;
    bool busy, stopping;
} mosa_constraints;

// `text` is borrowed. `capacity`: sequences of one step.
MOSA_MUST_USE mosa_status mosa_constraints_init(mosa_constraints *constraints, const mosa_model_text *text,
                                                size_t vocab, int capacity, mosa_error *err);
void mosa_constraints_finish(mosa_constraints *constraints); // safe on a zeroed struct; no sequence may be left

// Compiles (or finds) the grammar. MOSA_EINVALID, MOSA_EUNSUPPORTED, MOSA_ELIMIT as text/grammar/grammar.h;
// MOSA_ENOMEM.
MOSA_MUST_USE mosa_status mosa_constraints_open(mosa_constraints *constraints, const mosa_constraint *constraint,
                                                mosa_constrained **out, mosa_error *err);
void mosa_constrained_close(mosa_constrained *constrained); // NULL-safe

// Masks for this step's sequences, computed from _begin on; _join returns when all are there.
void mosa_constraints_add(mosa_constraints *constraints, mosa_constrained *constrained); // before _begin
void mosa_constraints_begin(mosa_constraints *constraints);
void mosa_constraints_join(mosa_constraints *constraints);

// Bits of the tokens that may be drawn now, computed here when the thread has not; NULL when the grammar has outgrown
// its memory (constrained->error).
const uint64_t *mosa_constrained_mask(mosa_constrained *constrained);
// The next token when it is certain, else -1.
static inline int32_t mosa_constrained_next(const mosa_constrained *c) {
    return c->forced_at < c->n_forced ? c->forced[c->forced_at] : -1;
}
// Moves behind a token that was certain or drawn from the mask, and finds out what is certain then. False for a token
// that the grammar does not allow.
bool mosa_constrained_take(mosa_constrained *constrained, int32_t token);
// True when the output is complete and nothing may follow.
bool mosa_constrained_is_over(const mosa_constrained *constrained);
// How many of the guesses the grammar allows.
int32_t mosa_constrained_check(mosa_constrained *constrained, const int32_t *tokens, int32_t count);

#endif
