// Masks: which tokens may come next.
//
// The mask of a place is the union over its threads. For one thread most tokens stay inside its lexeme: a walk over the
// trie with the lexer's table alone finds them, gives the same bits wherever the lexer is in this state, and is kept in
// the grammar's cache when it was long. Left are the nodes at which the lexeme can end while some token below goes on
// differently ("pending"): their subtrees are walked with the parser.
#include "text/grammar/grammar_internal.h"

#include <string.h>

// --- inside one lexeme

typedef struct walk {
    mosa_grammar *grammar;
    uint64_t *mask;
    uint32_t states[MOSA_TRIE_DEPTH_MAX + 1]; // behind each byte of the path
    uint32_t nodes[MOSA_TRIE_DEPTH_MAX + 1];
    uint8_t flags[MOSA_TRIE_DEPTH_MAX + 1]; // of the cell that led here
    uint8_t noted[MOSA_TRIE_DEPTH_MAX + 1];
    uint8_t open[MOSA_TRIE_DEPTH_MAX + 1]; // open cells up to this depth
    uint32_t pending_count;
    uint32_t visited;
    bool failed; // too many pending nodes
} walk;

static void note_pending(walk *w, uint32_t depth) {
    if (w->noted[depth]) return;
    w->noted[depth] = 1;
    if (w->pending_count == MOSA_PENDING_MAX)
        w->failed = true;
    else
        w->grammar->pending[w->pending_count++] = (mosa_pending){w->nodes[depth], w->states[depth]};
}

// A subtree below `depth` does not fit into the lexeme. It may fit behind an end of the lexeme: at its parent, or, for
// lexemes that are not greedy, at any ancestor.
static void note_skip(walk *w, uint32_t depth) {
    if (depth > 0 && (w->flags[depth] & MOSA_CELL_ACCEPTS)) note_pending(w, depth);
    if (!w->open[depth]) return;
    for (uint32_t d = depth; d > 0; d--)
        if (w->flags[d] & MOSA_CELL_OPEN) note_pending(w, d);
}

static void walk_lexeme(walk *w, uint32_t begin, uint32_t end) {
    const mosa_trie_node *nodes = w->grammar->trie->nodes;
    mosa_lexer *lexer = &w->grammar->lexer;
    for (uint32_t i = begin; i < end;) {
        mosa_trie_node node = nodes[i];
        uint32_t depth = mosa_trie_depth(node);
        uint32_t cell = mosa_lexer_cell(lexer, w->states[depth - 1], mosa_trie_byte(node));
        w->visited++;
        if (cell >> MOSA_CELL_SHIFT == MOSA_LEXER_DEAD + 1) {
            if (lexer->full) return;
            if (w->open[depth - 1] || (w->flags[depth - 1] & MOSA_CELL_ACCEPTS)) note_skip(w, depth - 1);
            i = mosa_trie_end(node);
            continue;
        }
        w->states[depth] = (cell >> MOSA_CELL_SHIFT) - 1;
        w->nodes[depth] = i;
        w->flags[depth] = cell & (MOSA_CELL_ACCEPTS | MOSA_CELL_OPEN);
        w->open[depth] = (uint8_t)(w->open[depth - 1] + (cell & MOSA_CELL_OPEN ? 1 : 0));
        w->noted[depth] = 0;
        int32_t token = mosa_trie_token(node);
        if (token >= 0) mosa_mask_set(w->mask, token);
        i++;
    }
}

static void walk_state(walk *w, uint32_t state) {
    const mosa_token_trie *trie = w->grammar->trie;
    uint32_t plain = w->grammar->lexer.states[state].plain_chars;
    w->states[0] = state;
    w->flags[0] = w->noted[0] = w->open[0] = 0; // an end right here is a thread of its own
    for (int g = 0; g < MOSA_TRIE_GROUPS; g++) {
        const mosa_trie_group *group = &trie->groups[g];
        if (g < MOSA_TRIE_PLAIN_GROUPS && plain >= mosa_trie_group_chars[g])
            for (size_t i = 0; i < trie->mask_words; i++) w->mask[i] |= group->bits[i];
        else
            walk_lexeme(w, group->begin, group->end);
    }
}

// --- cache

static void clear_cache(mosa_grammar *g) {
    for (uint32_t s = MOSA_LEXER_START; s < g->lexer.state_count; s++) g->lexer.states[s].cached = 0;
    g->cache_count = g->cache_pending_count = 0;
    g->cache_epoch = g->lexer.epoch;
}

static void keep(mosa_grammar *g, uint32_t state, const walk *w) {
    bool full =
        g->cache_count == MOSA_MASK_CACHE_MAX || g->cache_pending_count + w->pending_count > 4 * MOSA_PENDING_MAX;
    if (full || g->cache_epoch != g->lexer.epoch) clear_cache(g);
    size_t words = g->trie->mask_words;
    memcpy(g->cache_bits + g->cache_count * words, w->mask, words * sizeof *w->mask);
    memcpy(g->cache_pending + g->cache_pending_count, g->pending, w->pending_count * sizeof *g->pending);
    g->cache[g->cache_count] = (mosa_cached_mask){g->cache_pending_count, w->pending_count};
    g->cache_pending_count += w->pending_count;
    g->lexer.states[state].cached = ++g->cache_count;
}

// Adds the tokens that stay inside the lexeme to mask; *pending lists what is left. False when a bound was hit.
static bool lexeme_mask(mosa_grammar *g, uint32_t state, uint64_t *mask, const mosa_pending **pending,
                        uint32_t *count) {
    size_t words = g->trie->mask_words;
    uint32_t cached = g->cache_epoch == g->lexer.epoch ? g->lexer.states[state].cached : 0;
    if (cached) {
        const uint64_t *bits = g->cache_bits + (cached - 1) * words;
        for (size_t i = 0; i < words; i++) mask[i] |= bits[i];
        *pending = g->cache_pending + g->cache[cached - 1].pending;
        *count = g->cache[cached - 1].pending_count;
        return true;
    }
    walk w;
    w.grammar = g;
    w.mask = g->work;
    w.pending_count = w.visited = 0;
    w.failed = false;
    memset(g->work, 0, words * sizeof *g->work);
    walk_state(&w, state);
    if (g->lexer.full || w.failed) return false;
    for (size_t i = 0; i < words; i++) mask[i] |= g->work[i];
    if (w.visited >= MOSA_MASK_CACHE_NODES_MIN) keep(g, state, &w);
    *pending = g->pending;
    *count = w.pending_count;
    return true;
}

// --- across lexemes

// Walks the subtree of a pending node from the thread that came to it.
static bool walk_pending(mosa_matcher *m, mosa_thread_at thread, mosa_pending pending, uint32_t top, uint64_t *mask) {
    const mosa_trie_node *nodes = m->grammar->trie->nodes;
    mosa_place places[MOSA_TRIE_DEPTH_MAX + 1];
    uint32_t base = mosa_trie_depth(nodes[pending.node]), end = mosa_trie_end(nodes[pending.node]);
    m->threads[top] = (mosa_thread_at){thread.row, pending.state, thread.begin};
    places[base] = (mosa_place){top, 1, MOSA_ROW_UNKNOWN};
    for (uint32_t i = pending.node + 1; i < end;) {
        mosa_trie_node node = nodes[i];
        uint32_t depth = mosa_trie_depth(node);
        mosa_place *from = &places[depth - 1];
        uint32_t free_from = from->threads + from->thread_count;
        if (free_from + MOSA_THREADS_MAX > MOSA_MATCHER_THREADS_MAX) m->parser.full = true;
        if (m->parser.full || !mosa_place_step(m, from, mosa_trie_byte(node), 0, free_from, &places[depth])) {
            if (mosa_matcher_is_full(m)) return false;
            i = mosa_trie_end(node);
            continue;
        }
        int32_t token = mosa_trie_token(node);
        if (token >= 0) mosa_mask_set(mask, token);
        i++;
    }
    return true;
}

static bool thread_mask(mosa_matcher *m, mosa_thread_at thread, uint32_t top, uint64_t *mask) {
    const mosa_pending *pending;
    uint32_t count;
    if (!lexeme_mask(m->grammar, thread.state, mask, &pending, &count)) return false;
    for (uint32_t i = 0; i < count; i++)
        if (!walk_pending(m, thread, pending[i], top, mask)) return false;
    return true;
}

static void add_row_tokens(mosa_matcher *m, const mosa_row *row, uint64_t *mask) {
    const mosa_grammar *g = m->grammar;
    const mosa_lexeme_list *list = &g->lexer.lists[row->lexemes];
    for (uint32_t i = 0; row->has_tokens && i < list->count; i++) {
        mosa_token_id token = g->cfg.lexemes[g->lexer.list_items[list->begin + i]].token;
        if (token != MOSA_TOKEN_NONE) mosa_mask_set(mask, token);
    }
    for (size_t i = 0; row->ends && i < g->trie->end_count; i++)
        if ((size_t)g->trie->ends[i] < g->trie->vocab) mosa_mask_set(mask, g->trie->ends[i]);
}

static bool mask_now(mosa_matcher *m, uint64_t *mask) {
    const mosa_token_trie *trie = m->grammar->trie;
    mosa_place *place = &mosa_matcher_now(m)->place;
    uint32_t top = place->threads + place->thread_count;
    memset(mask, 0, trie->mask_words * sizeof *mask);
    if (mosa_matcher_now(m)->ended) return true;
    uint32_t row = mosa_place_row(m, place);
    if (mosa_matcher_is_full(m) || top + MOSA_THREADS_MAX > MOSA_MATCHER_THREADS_MAX) return false;
    for (uint32_t i = 0; i < place->thread_count; i++)
        if (!thread_mask(m, m->threads[place->threads + i], top, mask)) return false;
    if (row != MOSA_ROW_NONE) {
        uint32_t begin = mosa_parser_begin(&m->parser, row);
        if (m->grammar->lexer.full) return false;
        if (begin != MOSA_LEXER_DEAD && !thread_mask(m, (mosa_thread_at){row, begin, 0}, top, mask)) return false;
        add_row_tokens(m, &m->parser.rows[row], mask);
    }
    for (size_t i = 0; i < trie->twin_count; i++)
        if (mosa_mask_has(mask, trie->twins[i].first)) mosa_mask_set(mask, trie->twins[i].other);
    return true;
}

mosa_status mosa_matcher_mask(mosa_matcher *m, uint64_t *mask, mosa_error *err) {
    mosa_matcher_lock(m);
    bool ok = mask_now(m, mask);
    if (!ok) { // once more with all of the lexer's memory
        mosa_matcher_reset_lexer(m);
        ok = mask_now(m, mask);
    }
    mosa_matcher_unlock(m);
    if (ok) return MOSA_OK;
    return mosa_fail(err, MOSA_ELIMIT, "the grammar's automaton needs more than %d states, %d steps or %d items here",
                     MOSA_LEXER_STATES_MAX, MOSA_GRAMMAR_STEPS_MAX, MOSA_PARSER_ITEMS_MAX);
}
