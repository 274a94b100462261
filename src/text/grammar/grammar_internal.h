// What a grammar and a matcher hold; shared by grammar.c, matcher.c, mask.c and forced.c.
//
// Invariants. (1) Only who holds grammar->mutex touches lexer, scratch, cache or a parser. (2) A configuration stands
// for the set of all ways to read the bytes so far: threads in the middle of a lexeme, and the row at this very place,
// if some way ends here. (3) History entry n is the configuration behind n tokens; what lies behind the newest one in
// the pools is scratch. (4) State numbers of the lexer are valid while matcher->epoch equals lexer.epoch; older ones
// are found again by reading the thread's bytes.
#ifndef MOSA_TEXT_GRAMMAR_GRAMMAR_INTERNAL_H
#define MOSA_TEXT_GRAMMAR_GRAMMAR_INTERNAL_H

#include "text/grammar/parser.h"
#include "text/grammar/token_trie.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
    MOSA_MASK_CACHE_MAX = 256,        // masks kept per grammar
    MOSA_MASK_CACHE_NODES_MIN = 2048, // walks shorter than this are not worth a slot
    MOSA_PENDING_MAX = 1 << 16,
    MOSA_THREADS_MAX = 256, // of one configuration
    MOSA_MATCHER_THREADS_MAX = 1 << 20,
    MOSA_MATCHER_TOKENS_MAX = 1 << 18,
    MOSA_MATCHER_BYTES_MAX = 1 << 22,
};

// A node of the trie at which a lexeme can end although its subtree holds tokens which do not fit into the lexeme.
typedef struct mosa_pending {
    uint32_t node, state;
} mosa_pending;

typedef struct mosa_cached_mask {
    uint32_t pending, pending_count; // in cache_pending
} mosa_cached_mask;

struct mosa_grammar {
    const mosa_token_trie *trie;
    atomic_int references;
    mosa_cfg cfg;
    pthread_mutex_t mutex; // guards all below
    mosa_lexer lexer;
    mosa_row_scratch scratch;
    uint64_t *work;        // (mask words)
    mosa_pending *pending; // (MOSA_PENDING_MAX) reserved
    uint64_t *cache_bits;  // (MOSA_MASK_CACHE_MAX, mask words) reserved
    mosa_cached_mask cache[MOSA_MASK_CACHE_MAX];
    uint32_t cache_count;
    mosa_pending *cache_pending; // (4 * MOSA_PENDING_MAX) reserved
    uint32_t cache_pending_count;
    uint32_t cache_epoch;
};

typedef struct mosa_thread_at {
    uint32_t row;   // before the lexeme
    uint32_t state; // of the lexer
    uint32_t begin; // byte at which the lexeme began
} mosa_thread_at;

enum { MOSA_ROW_UNKNOWN = UINT32_MAX - 1 }; // of mosa_place.row: not worked out yet

typedef struct mosa_place {
    uint32_t threads, thread_count; // in matcher->threads
    uint32_t row;                   // here, MOSA_ROW_NONE or MOSA_ROW_UNKNOWN
} mosa_place;

typedef struct mosa_history {
    mosa_place place;
    uint32_t row_count, byte_count;
    bool ended; // behind an end token
} mosa_history;

struct mosa_matcher {
    mosa_grammar *grammar;
    mosa_parser parser;
    mosa_thread_at *threads; // (MOSA_MATCHER_THREADS_MAX) reserved
    uint8_t *bytes;          // (MOSA_MATCHER_BYTES_MAX) reserved
    mosa_history *history;   // (MOSA_MATCHER_TOKENS_MAX + 1) reserved
    mosa_token_id *tokens;   // (MOSA_MATCHER_TOKENS_MAX) reserved
    uint32_t token_count;
    uint32_t epoch;
};

static inline mosa_history *mosa_matcher_now(mosa_matcher *m) {
    return &m->history[m->token_count];
}
static inline bool mosa_matcher_is_full(const mosa_matcher *m) {
    return m->grammar->lexer.full || m->parser.full;
}
// Every public function works between these two; unlock cuts scratch off.
void mosa_matcher_lock(mosa_matcher *matcher);
void mosa_matcher_unlock(mosa_matcher *matcher);
void mosa_matcher_forget(mosa_matcher *matcher); // rows behind the newest place
size_t mosa_matcher_check_locked(mosa_matcher *matcher, const mosa_token_id *tokens, size_t count);
// The row at the place, working it out when some thread completes a lexeme there.
uint32_t mosa_place_row(mosa_matcher *matcher, mosa_place *place);
// The place behind `byte`; its threads go to matcher->threads[top..]. False when nothing can go on.
bool mosa_place_step(mosa_matcher *matcher, mosa_place *from, uint8_t byte, uint32_t position, uint32_t top,
                     mosa_place *to);
// Makes the newest place's states valid again after a reset of the lexer; refills the step budget.
void mosa_matcher_refresh(mosa_matcher *matcher);
// Forgets the lexer and starts over; for a mask or a token that filled it.
void mosa_matcher_reset_lexer(mosa_matcher *matcher);

#endif
