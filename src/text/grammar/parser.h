// An Earley parser whose rows lie between lexemes.
//
// A row is a set of items (a place in a rule, the row where the rule began). It is made from its sources, pairs of
// (row, lexemes that are complete there), and equal sources give the same row: two ways to cut the same bytes into
// lexemes meet again. Rows are a stack; cutting it back undoes them. Source: Earley (1970), with the treatment of empty
// rules of Aycock and Horspool (2002).
#ifndef MOSA_TEXT_GRAMMAR_PARSER_H
#define MOSA_TEXT_GRAMMAR_PARSER_H

#include "text/grammar/lexer.h"

enum {
    MOSA_PARSER_ROWS_MAX = 1 << 18,
    MOSA_PARSER_ITEMS_MAX = 1 << 22,
    MOSA_PARSER_SOURCES_MAX = 1 << 19,
    MOSA_PARSER_ROW_ITEMS_MAX = 1 << 14,
    MOSA_ROW_NONE = UINT32_MAX,
};

typedef struct mosa_item {
    uint32_t dot;    // in cfg->symbols
    uint32_t origin; // row
} mosa_item;

typedef struct mosa_row_source {
    uint32_t row, lexemes; // list of the lexer
} mosa_row_source;

typedef struct mosa_row {
    uint32_t items, item_count;
    uint32_t sources, source_count;
    uint32_t hash, next;
    uint32_t lexemes;            // list of those that may come next
    uint32_t begin, begin_epoch; // the lexer's state for them, while the epoch lasts
    bool ends;                   // the start rule is complete
    bool has_tokens;             // tokens without bytes may come next
} mosa_row;

// Scratch of making one row, shared by the matchers of a grammar under its lock.
typedef struct mosa_row_scratch {
    uint32_t stamp;
    uint32_t *rule_stamps, *lexeme_stamps; // (rules), (lexemes)
    uint32_t *lexemes;                     // (lexemes)
    mosa_item *slots;                      // hash of the row's items
    uint32_t *slot_stamps;
} mosa_row_scratch;
bool mosa_row_scratch_init(mosa_row_scratch *scratch, const mosa_cfg *cfg);
void mosa_row_scratch_finish(mosa_row_scratch *scratch);

typedef struct mosa_parser {
    mosa_lexer *lexer;
    mosa_row_scratch *scratch;
    mosa_row *rows;
    uint32_t row_count;
    mosa_item *items;
    uint32_t item_count;
    mosa_row_source *sources;
    uint32_t source_count;
    uint32_t *heads;
    bool full; // a bound was hit
} mosa_parser;

bool mosa_parser_init(mosa_parser *parser, mosa_lexer *lexer, mosa_row_scratch *scratch); // makes row 0
void mosa_parser_finish(mosa_parser *parser);
// The row behind `count` sources, sorted by row. MOSA_ROW_NONE when a bound is hit (parser->full).
uint32_t mosa_parser_row(mosa_parser *parser, const mosa_row_source *sources, uint32_t count);
void mosa_parser_cut(mosa_parser *parser, uint32_t row_count);
uint32_t mosa_parser_begin(mosa_parser *parser, uint32_t row); // the lexer's state for what may come next

#endif
