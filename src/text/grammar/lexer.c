// Building lexer states from derivatives.
#include "text/grammar/lexer.h"

#include "text/grammar/charset.h"
#include "text/grammar/reserve.h"

#include <stdlib.h>
#include <string.h>

enum { STATE_HEADS = 1 << 14, LIST_HEADS = 1 << 12 };

bool mosa_lexer_init(mosa_lexer *l, mosa_cfg *cfg) {
    *l = (mosa_lexer){.cfg = cfg};
    l->json_char = mosa_any_char_rx(&cfg->pool, MOSA_SPELL_JSON);
    l->text_char = mosa_any_char_rx(&cfg->pool, MOSA_SPELL_UTF8);
    mosa_rx_classes(&cfg->pool);
    l->base_nodes = cfg->pool.node_count;
    l->base_args = cfg->pool.arg_count;
    l->states = mosa_reserve(MOSA_LEXER_STATES_MAX, sizeof *l->states);
    l->pairs = mosa_reserve(MOSA_LEXER_PAIRS_MAX, sizeof *l->pairs);
    l->cells = mosa_reserve(MOSA_LEXER_CELLS_MAX, sizeof *l->cells);
    l->state_heads = mosa_reserve(STATE_HEADS, sizeof *l->state_heads);
    l->lists = mosa_reserve(MOSA_LEXER_LISTS_MAX, sizeof *l->lists);
    l->list_items = mosa_reserve(MOSA_LEXER_LIST_ITEMS_MAX, sizeof *l->list_items);
    l->list_heads = mosa_reserve(LIST_HEADS, sizeof *l->list_heads);
    l->scratch = calloc(cfg->lexeme_count + 1, sizeof *l->scratch);
    l->scratch_list = calloc(cfg->lexeme_count + 1, sizeof *l->scratch_list);
    l->list_count = 1;
    l->state_count = MOSA_LEXER_START;
    return l->states && l->pairs && l->cells && l->state_heads && l->lists && l->list_items && l->list_heads &&
           l->scratch && l->scratch_list && !cfg->pool.failed;
}

void mosa_lexer_finish(mosa_lexer *l) {
    mosa_unreserve(l->states, MOSA_LEXER_STATES_MAX, sizeof *l->states);
    mosa_unreserve(l->pairs, MOSA_LEXER_PAIRS_MAX, sizeof *l->pairs);
    mosa_unreserve(l->cells, MOSA_LEXER_CELLS_MAX, sizeof *l->cells);
    mosa_unreserve(l->state_heads, STATE_HEADS, sizeof *l->state_heads);
    mosa_unreserve(l->lists, MOSA_LEXER_LISTS_MAX, sizeof *l->lists);
    mosa_unreserve(l->list_items, MOSA_LEXER_LIST_ITEMS_MAX, sizeof *l->list_items);
    mosa_unreserve(l->list_heads, LIST_HEADS, sizeof *l->list_heads);
    free(l->scratch);
    free(l->scratch_list);
    *l = (mosa_lexer){0};
}

void mosa_lexer_reset(mosa_lexer *l) {
    size_t classes = (size_t)l->cfg->pool.class_count;
    memset(l->cells, 0, l->state_count * classes * sizeof *l->cells);
    memset(l->state_heads, 0, STATE_HEADS * sizeof *l->state_heads);
    l->state_count = MOSA_LEXER_START;
    l->pair_count = 0;
    l->full = false;
    l->epoch++;
    mosa_rx_pool_cut(&l->cfg->pool, l->base_nodes, l->base_args);
}

// --- lists of lexemes

uint32_t mosa_lexer_list(mosa_lexer *l, const uint32_t *items, uint32_t count) {
    if (count == 0) return 0;
    uint32_t *head = &l->list_heads[mosa_hash_bytes(items, count * sizeof *items, 0) & (LIST_HEADS - 1)];
    for (uint32_t i = *head; i; i = l->lists[i].next)
        if (l->lists[i].count == count && memcmp(l->list_items + l->lists[i].begin, items, count * sizeof *items) == 0)
            return i;
    if (l->list_count == MOSA_LEXER_LISTS_MAX || l->list_item_count + count > MOSA_LEXER_LIST_ITEMS_MAX) {
        l->full = true;
        return 0;
    }
    memcpy(l->list_items + l->list_item_count, items, count * sizeof *items);
    l->lists[l->list_count] = (mosa_lexeme_list){l->list_item_count, count, *head};
    l->list_item_count += count;
    *head = l->list_count;
    return l->list_count++;
}

// --- states

// How many plain characters the rest certainly takes: it begins with a repetition of "any character".
static uint32_t plain_chars(const mosa_lexer *l, mosa_rx rest) {
    const mosa_rx_node *n = &l->cfg->pool.nodes[rest];
    if (n->kind == MOSA_RX_KIND_CAT) {
        if (n->logical) return 0; // what follows might match nothing
        n = &l->cfg->pool.nodes[n->a];
    }
    if (n->kind != MOSA_RX_KIND_REPEAT || (n->a != l->json_char && n->a != l->text_char)) return 0;
    return n->c;
}

static void describe(mosa_lexer *l, mosa_lexer_state *s) {
    uint32_t accepted = 0;
    s->greedy = true;
    s->forced = -3;
    for (uint32_t i = 0; i < s->pair_count; i++) {
        mosa_lexer_pair pair = l->pairs[s->pairs + i];
        uint32_t plain = plain_chars(l, pair.rest);
        if (plain > s->plain_chars) s->plain_chars = plain;
        s->goes_on |= pair.rest != MOSA_RX_EPS;
        if (!mosa_rx_nullable(&l->cfg->pool, pair.rest)) continue;
        l->scratch_list[accepted++] = pair.lexeme;
        s->greedy &= l->cfg->lexemes[pair.lexeme].greedy;
    }
    s->accepts = mosa_lexer_list(l, l->scratch_list, accepted);
}

// The state of scratch[0..count), sorted by lexeme.
static uint32_t intern_state(mosa_lexer *l, uint32_t count) {
    if (count == 0) return MOSA_LEXER_DEAD;
    uint32_t *head = &l->state_heads[mosa_hash_bytes(l->scratch, count * sizeof *l->scratch, 0) & (STATE_HEADS - 1)];
    for (uint32_t i = *head; i; i = l->states[i].next)
        if (l->states[i].pair_count == count &&
            memcmp(l->pairs + l->states[i].pairs, l->scratch, count * sizeof *l->scratch) == 0)
            return i;
    size_t cells = ((size_t)l->state_count + 1) * (size_t)l->cfg->pool.class_count;
    if (l->state_count == MOSA_LEXER_STATES_MAX || l->pair_count + count > MOSA_LEXER_PAIRS_MAX ||
        cells > MOSA_LEXER_CELLS_MAX) {
        l->full = true;
        return MOSA_LEXER_DEAD;
    }
    mosa_lexer_state *s = &l->states[l->state_count];
    *s = (mosa_lexer_state){.pairs = l->pair_count, .pair_count = count, .next = *head};
    memcpy(l->pairs + l->pair_count, l->scratch, count * sizeof *l->scratch);
    l->pair_count += count;
    describe(l, s);
    if (l->full) return MOSA_LEXER_DEAD;
    *head = l->state_count;
    return l->state_count++;
}

uint32_t mosa_lexer_begin(mosa_lexer *l, const uint32_t *lexemes, uint32_t count) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++)
        if (l->cfg->lexemes[lexemes[i]].token == MOSA_TOKEN_NONE)
            l->scratch[kept++] = (mosa_lexer_pair){lexemes[i], l->cfg->lexemes[lexemes[i]].rx};
    return intern_state(l, kept);
}

uint32_t mosa_lexer_step_slow(mosa_lexer *l, uint32_t state, uint8_t byte) {
    mosa_rx_pool *pool = &l->cfg->pool;
    const mosa_lexer_state s = l->states[state];
    uint32_t count = 0;
    for (uint32_t i = 0; i < s.pair_count; i++) {
        mosa_lexer_pair pair = l->pairs[s.pairs + i];
        pair.rest = mosa_rx_prune(pool, mosa_rx_derive(pool, pair.rest, byte));
        if (pair.rest != MOSA_RX_NONE) l->scratch[count++] = pair;
    }
    if (pool->failed) l->full = true;
    uint32_t next = l->full ? MOSA_LEXER_DEAD : intern_state(l, count);
    uint32_t cell = (next + 1) << MOSA_CELL_SHIFT;
    if (l->full) return (MOSA_LEXER_DEAD + 1) << MOSA_CELL_SHIFT;
    const mosa_lexer_state *to = &l->states[next];
    if (next != MOSA_LEXER_DEAD && to->accepts) cell |= MOSA_CELL_ACCEPTS | (to->greedy ? 0 : MOSA_CELL_OPEN);
    l->cells[state * (uint32_t)pool->class_count + pool->class_of[byte]] = cell;
    return cell;
}

int mosa_lexer_forced(mosa_lexer *l, uint32_t state) {
    mosa_rx_pool *pool = &l->cfg->pool;
    if (l->states[state].forced != -3) return l->states[state].forced;
    int members[256] = {0}, found = -2;
    for (int b = 0; b < 256; b++) members[pool->class_of[b]]++;
    for (int c = 0; c < pool->class_count && found != -1; c++) {
        if (mosa_lexer_step(l, state, pool->class_byte[c]) == MOSA_LEXER_DEAD) continue;
        found = found == -2 && members[c] == 1 ? pool->class_byte[c] : -1;
    }
    if (!l->full) l->states[state].forced = (int16_t)found;
    return l->full ? -1 : found;
}
