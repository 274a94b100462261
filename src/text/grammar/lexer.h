// The lexer: lazily built deterministic automata over bytes, one state for all lexemes that may come next.
//
// A state is a list of (lexeme, what is left of its term). States and transitions are made when first reached and kept
// within fixed bounds; mosa_lexer_reset forgets them all and raises `epoch`, after which state numbers are meaningless.
// Lists of lexemes (mosa_lexeme_list) survive a reset: the parser keeps their numbers.
#ifndef MOSA_TEXT_GRAMMAR_LEXER_H
#define MOSA_TEXT_GRAMMAR_LEXER_H

#include "text/grammar/cfg.h"

enum {
    MOSA_LEXER_DEAD = 0,  // no lexeme can go on
    MOSA_LEXER_START = 1, // first real state
    MOSA_LEXER_STATES_MAX = 1 << 15,
    MOSA_LEXER_PAIRS_MAX = 1 << 21,
    MOSA_LEXER_CELLS_MAX = 1 << 22, // transitions
    MOSA_LEXER_LISTS_MAX = 1 << 14,
    MOSA_LEXER_LIST_ITEMS_MAX = 1 << 21,
};

typedef struct mosa_lexer_pair {
    uint32_t lexeme;
    mosa_rx rest;
} mosa_lexer_pair;

typedef struct mosa_lexer_state {
    uint32_t pairs, pair_count; // sorted by lexeme
    uint32_t next;              // in its hash chain
    uint32_t accepts;           // list of lexemes that are complete here; 0: none
    uint32_t plain_chars;       // any so many characters that JSON strings show as they are may follow
    uint32_t cached;            // number of its mask in the cache, plus 1
    int16_t forced;             // the one byte that can follow; -1: several, -2: none, -3: not asked yet
    bool greedy;                // all complete lexemes are
    bool goes_on;               // some lexeme can take another byte
} mosa_lexer_state;

typedef struct mosa_lexeme_list {
    uint32_t begin, count; // in list_items
    uint32_t next;
} mosa_lexeme_list;

typedef struct mosa_lexer {
    mosa_cfg *cfg; // owned by the grammar
    mosa_rx json_char, text_char;
    uint32_t base_nodes, base_args; // of the pool, before any derivative
    mosa_lexer_state *states;
    uint32_t state_count;
    mosa_lexer_pair *pairs;
    uint32_t pair_count;
    uint32_t *cells; // [state * classes + class]: a cell as below, or 0 when not computed
    uint32_t *state_heads;
    mosa_lexeme_list *lists; // [0] is empty
    uint32_t *list_items;
    uint32_t list_count, list_item_count;
    uint32_t *list_heads;
    mosa_lexer_pair *scratch; // (lexemes)
    uint32_t *scratch_list;   // (lexemes)
    uint32_t epoch;
    bool full; // a bound was hit since the last reset
} mosa_lexer;

bool mosa_lexer_init(mosa_lexer *lexer, mosa_cfg *cfg); // after the rules are finished; false when out of memory
void mosa_lexer_finish(mosa_lexer *lexer);
void mosa_lexer_reset(mosa_lexer *lexer);

// The number of a sorted list of lexemes; 0 for the empty one, and when the lexer is full.
uint32_t mosa_lexer_list(mosa_lexer *lexer, const uint32_t *items, uint32_t count);
// The state in which the lexemes of the list (sorted) may begin. Token lexemes are skipped.
uint32_t mosa_lexer_begin(mosa_lexer *lexer, const uint32_t *lexemes, uint32_t count);
uint32_t mosa_lexer_step_slow(mosa_lexer *lexer, uint32_t state, uint8_t byte);

// A cell: state + 1 behind the byte, whether it completes a lexeme, and whether one that is not greedy.
enum { MOSA_CELL_ACCEPTS = 1, MOSA_CELL_OPEN = 2, MOSA_CELL_SHIFT = 2 };

static inline uint32_t mosa_lexer_cell(mosa_lexer *lexer, uint32_t state, uint8_t byte) {
    const mosa_rx_pool *pool = &lexer->cfg->pool;
    uint32_t cell = lexer->cells[state * (uint32_t)pool->class_count + pool->class_of[byte]];
    return cell ? cell : mosa_lexer_step_slow(lexer, state, byte);
}
// The state behind `byte`; MOSA_LEXER_DEAD also when the lexer is full.
static inline uint32_t mosa_lexer_step(mosa_lexer *lexer, uint32_t state, uint8_t byte) {
    return (mosa_lexer_cell(lexer, state, byte) >> MOSA_CELL_SHIFT) - 1;
}
int mosa_lexer_forced(mosa_lexer *lexer, uint32_t state); // mosa_lexer_state.forced, computed

#endif
