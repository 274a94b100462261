// Making rows: scan the sources, then predict and complete until nothing is added.
#include "text/grammar/parser.h"

#include "text/grammar/reserve.h"

#include <stdlib.h>
#include <string.h>

enum { HEADS = 1 << 12, SLOTS = 2 * MOSA_PARSER_ROW_ITEMS_MAX };

bool mosa_row_scratch_init(mosa_row_scratch *s, const mosa_cfg *cfg) {
    *s = (mosa_row_scratch){0};
    s->rule_stamps = calloc(cfg->rule_count + 1, sizeof *s->rule_stamps);
    s->lexeme_stamps = calloc(cfg->lexeme_count + 1, sizeof *s->lexeme_stamps);
    s->lexemes = calloc(cfg->lexeme_count + 1, sizeof *s->lexemes);
    s->slots = calloc(SLOTS, sizeof *s->slots);
    s->slot_stamps = calloc(SLOTS, sizeof *s->slot_stamps);
    return s->rule_stamps && s->lexeme_stamps && s->lexemes && s->slots && s->slot_stamps;
}

void mosa_row_scratch_finish(mosa_row_scratch *s) {
    free(s->rule_stamps);
    free(s->lexeme_stamps);
    free(s->lexemes);
    free(s->slots);
    free(s->slot_stamps);
    *s = (mosa_row_scratch){0};
}

void mosa_parser_finish(mosa_parser *p) {
    mosa_unreserve(p->rows, MOSA_PARSER_ROWS_MAX, sizeof *p->rows);
    mosa_unreserve(p->items, MOSA_PARSER_ITEMS_MAX, sizeof *p->items);
    mosa_unreserve(p->sources, MOSA_PARSER_SOURCES_MAX, sizeof *p->sources);
    mosa_unreserve(p->heads, HEADS, sizeof *p->heads);
    *p = (mosa_parser){0};
}

// --- one row

static void add_item(mosa_parser *p, uint32_t dot, uint32_t origin) {
    mosa_row_scratch *s = p->scratch;
    uint64_t h = ((uint64_t)dot << 32 | origin) * 0x9e3779b97f4a7c15u;
    uint32_t slot = (uint32_t)(h >> 40) & (SLOTS - 1);
    for (; s->slot_stamps[slot] == s->stamp; slot = (slot + 1) & (SLOTS - 1))
        if (s->slots[slot].dot == dot && s->slots[slot].origin == origin) return;
    const mosa_row *row = &p->rows[p->row_count];
    if (p->item_count == MOSA_PARSER_ITEMS_MAX || p->item_count - row->items == MOSA_PARSER_ROW_ITEMS_MAX) {
        p->full = true;
        return;
    }
    s->slot_stamps[slot] = s->stamp;
    s->slots[slot] = p->items[p->item_count++] = (mosa_item){dot, origin};
}

static void scan(mosa_parser *p, const mosa_row_source *source) {
    const mosa_lexer *l = p->lexer;
    const mosa_lexeme_list *list = &l->lists[source->lexemes];
    // A stamp of its own: the lists of several sources must not mix.
    uint32_t stamp = ++p->scratch->stamp;
    for (uint32_t i = 0; i < list->count; i++) p->scratch->lexeme_stamps[l->list_items[list->begin + i]] = stamp;
    const mosa_row row = p->rows[source->row];
    for (uint32_t i = 0; i < row.item_count; i++) {
        mosa_item item = p->items[row.items + i];
        mosa_symbol symbol = l->cfg->symbols[item.dot];
        if (mosa_symbol_kind(symbol) == MOSA_SYMBOL_LEXEME &&
            p->scratch->lexeme_stamps[mosa_symbol_index(symbol)] == stamp) {
            p->items[p->item_count] = (mosa_item){item.dot + 1, item.origin};
            if (++p->item_count == MOSA_PARSER_ITEMS_MAX) p->full = true;
        }
        if (p->full) return;
    }
}

static void predict(mosa_parser *p, uint32_t rule) {
    const mosa_cfg *cfg = p->lexer->cfg;
    if (p->scratch->rule_stamps[rule] == p->scratch->stamp) return;
    p->scratch->rule_stamps[rule] = p->scratch->stamp;
    const mosa_rule *r = &cfg->rules[rule];
    for (uint32_t i = 0; i < r->alternative_count; i++)
        add_item(p, cfg->alternatives[r->first_alternative + i].begin, p->row_count);
}

static void complete(mosa_parser *p, uint32_t rule, uint32_t origin) {
    const mosa_cfg *cfg = p->lexer->cfg;
    if (origin == p->row_count) return; // an empty rule: its users moved over it when it was predicted
    const mosa_row row = p->rows[origin];
    for (uint32_t i = 0; i < row.item_count; i++) {
        mosa_item item = p->items[row.items + i];
        if (cfg->symbols[item.dot] == (MOSA_SYMBOL_RULE | rule)) add_item(p, item.dot + 1, item.origin);
    }
}

static int by_number(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void close_row(mosa_parser *p) {
    const mosa_cfg *cfg = p->lexer->cfg;
    mosa_row_scratch *s = p->scratch;
    mosa_row *row = &p->rows[p->row_count];
    uint32_t n_lexemes = 0;
    for (uint32_t i = row->items; i < p->item_count && !p->full; i++) {
        mosa_item item = p->items[i];
        mosa_symbol symbol = cfg->symbols[item.dot];
        uint32_t index = mosa_symbol_index(symbol);
        if (mosa_symbol_kind(symbol) == MOSA_SYMBOL_END) {
            row->ends |= index == cfg->start && item.origin == 0;
            complete(p, index, item.origin);
        } else if (mosa_symbol_kind(symbol) == MOSA_SYMBOL_RULE) {
            predict(p, index);
            if (cfg->rules[index].nullable) add_item(p, item.dot + 1, item.origin);
        } else if (s->lexeme_stamps[index] != s->stamp) {
            s->lexeme_stamps[index] = s->stamp;
            s->lexemes[n_lexemes++] = index;
            row->has_tokens |= cfg->lexemes[index].token != MOSA_TOKEN_NONE;
        }
    }
    row->item_count = p->item_count - row->items;
    qsort(s->lexemes, n_lexemes, sizeof *s->lexemes, by_number);
    row->lexemes = mosa_lexer_list(p->lexer, s->lexemes, n_lexemes);
}

// The items that scanning left are put through the hash again, so that equal ones merge.
static void merge_scanned(mosa_parser *p) {
    uint32_t begin = p->rows[p->row_count].items, end = p->item_count;
    p->scratch->stamp++;
    p->item_count = begin;
    for (uint32_t i = begin; i < end; i++) add_item(p, p->items[i].dot, p->items[i].origin);
}

static uint32_t push_row(mosa_parser *p, uint32_t hash, const mosa_row_source *sources, uint32_t count) {
    if (p->row_count == MOSA_PARSER_ROWS_MAX || p->source_count + count > MOSA_PARSER_SOURCES_MAX) p->full = true;
    if (p->full) return MOSA_ROW_NONE;
    mosa_row *row = &p->rows[p->row_count];
    *row = (mosa_row){.items = p->item_count,
                      .sources = p->source_count,
                      .source_count = count,
                      .hash = hash,
                      .next = p->heads[hash],
                      .begin_epoch = UINT32_MAX};
    if (count) memcpy(p->sources + p->source_count, sources, count * sizeof *sources);
    for (uint32_t i = 0; i < count && !p->full; i++) scan(p, &sources[i]);
    if (!p->full) merge_scanned(p);
    if (count == 0) predict(p, p->lexer->cfg->start);
    if (!p->full) close_row(p);
    if (p->full || p->lexer->full) {
        p->item_count = row->items;
        return MOSA_ROW_NONE;
    }
    p->source_count += count;
    p->heads[hash] = p->row_count + 1;
    return p->row_count++;
}

uint32_t mosa_parser_row(mosa_parser *p, const mosa_row_source *sources, uint32_t count) {
    uint32_t hash = (uint32_t)mosa_hash_bytes(sources, count * sizeof *sources, 0) & (HEADS - 1);
    for (uint32_t i = p->heads[hash]; i; i = p->rows[i - 1].next) {
        const mosa_row *row = &p->rows[i - 1];
        if (row->source_count == count && memcmp(p->sources + row->sources, sources, count * sizeof *sources) == 0)
            return i - 1;
    }
    return push_row(p, hash, sources, count);
}

bool mosa_parser_init(mosa_parser *p, mosa_lexer *lexer, mosa_row_scratch *scratch) {
    *p = (mosa_parser){.lexer = lexer, .scratch = scratch};
    p->rows = mosa_reserve(MOSA_PARSER_ROWS_MAX, sizeof *p->rows);
    p->items = mosa_reserve(MOSA_PARSER_ITEMS_MAX, sizeof *p->items);
    p->sources = mosa_reserve(MOSA_PARSER_SOURCES_MAX, sizeof *p->sources);
    p->heads = mosa_reserve(HEADS, sizeof *p->heads);
    return p->rows && p->items && p->sources && p->heads && push_row(p, 0, NULL, 0) == 0;
}

void mosa_parser_cut(mosa_parser *p, uint32_t row_count) {
    while (p->row_count > row_count) {
        const mosa_row *row = &p->rows[--p->row_count];
        p->heads[row->hash] = row->next;
        p->item_count = row->items;
        p->source_count = row->sources;
    }
}

uint32_t mosa_parser_begin(mosa_parser *p, uint32_t row) {
    mosa_row *r = &p->rows[row];
    if (r->begin_epoch != p->lexer->epoch) {
        const mosa_lexeme_list *list = &p->lexer->lists[r->lexemes];
        r->begin = mosa_lexer_begin(p->lexer, p->lexer->list_items + list->begin, list->count);
        if (!p->lexer->full) r->begin_epoch = p->lexer->epoch;
    }
    return r->begin;
}
