// A context-free grammar over lexemes: what every front end writes and the parser reads.
//
// A symbol is a rule, a lexeme (a term of rx.h) or the end of an alternative. Alternatives lie in one flat array, so
// that a place in a rule (a dot) is an index. Built by one thread; mosa_cfg_finish_rules makes it immutable.
#ifndef MOSA_TEXT_GRAMMAR_CFG_H
#define MOSA_TEXT_GRAMMAR_CFG_H

#include "base/status.h"
#include "text/grammar/grammar.h"
#include "text/grammar/rx.h"

typedef uint32_t mosa_symbol;
enum {
    MOSA_SYMBOL_RULE = 0u << 30,
    MOSA_SYMBOL_LEXEME = 1u << 30,
    MOSA_SYMBOL_END = 2u << 30, // of an alternative of the rule
    MOSA_SYMBOL_MASK = (1u << 30) - 1,
};
static inline uint32_t mosa_symbol_kind(mosa_symbol s) {
    return s & ~(uint32_t)MOSA_SYMBOL_MASK;
}
static inline uint32_t mosa_symbol_index(mosa_symbol s) {
    return s & MOSA_SYMBOL_MASK;
}

typedef struct mosa_lexeme {
    mosa_rx rx;          // never matches the empty string; MOSA_RX_NONE for a token
    mosa_token_id token; // a token without bytes, or MOSA_TOKEN_NONE
    // What may stand behind this lexeme never begins like a continuation of it, so the longest match is the only one
    // that can go on; saves the parser from looking at the others.
    bool greedy;
} mosa_lexeme;

typedef struct mosa_rule {
    uint32_t first_alternative, alternative_count; // in alternatives
    bool nullable, productive;
} mosa_rule;

typedef struct mosa_alternative {
    uint32_t rule;
    uint32_t begin; // in symbols, up to an END
    bool productive;
} mosa_alternative;

typedef struct mosa_cfg {
    mosa_rx_pool pool;
    mosa_lexeme *lexemes;
    size_t lexeme_count, lexeme_capacity;
    mosa_rule *rules;
    size_t rule_count, rule_capacity;
    mosa_symbol *symbols;
    size_t symbol_count, symbol_capacity;
    mosa_alternative *alternatives; // sorted by rule once finished
    size_t alternative_count, alternative_capacity;
    uint32_t *lexeme_slots; // hash of lexemes; (lexeme_slot_count), numbers plus 1
    size_t lexeme_slot_count;
    uint32_t start;
    bool out_of_memory;
    const char *limit; // the first bound that was hit, or NULL
    int limit_value;
} mosa_cfg;

bool mosa_cfg_init(mosa_cfg *cfg); // false when out of memory
void mosa_cfg_destroy(mosa_cfg *cfg);

// Building never fails at once: the first problem is kept and reported by mosa_cfg_finish_rules.
uint32_t mosa_cfg_rule(mosa_cfg *cfg); // a new rule without alternatives
void mosa_cfg_add(mosa_cfg *cfg, uint32_t rule, const mosa_symbol *symbols, size_t count);
// The symbol for a term: a lexeme, or, when the term matches the empty string, a rule "lexeme or nothing".
mosa_symbol mosa_cfg_lexeme(mosa_cfg *cfg, mosa_rx rx, bool greedy);
mosa_symbol mosa_cfg_token(mosa_cfg *cfg, mosa_token_id token);
bool mosa_cfg_failed(const mosa_cfg *cfg); // building on is pointless
mosa_status mosa_cfg_report(const mosa_cfg *cfg, mosa_error *err) MOSA_MUST_USE;
// inner repeated min to max times (MOSA_RX_FOREVER) with `separator` between (UINT32_MAX: none), as a rule. A bound
// over MOSA_GRAMMAR_ITEMS_MAX is a limit.
mosa_symbol mosa_cfg_repeat(mosa_cfg *cfg, mosa_symbol inner, mosa_symbol separator, uint32_t min, uint32_t max);

// Drops alternatives that can produce nothing, sorts the others, works out which rules may be empty.
// MOSA_EINVALID when nothing matches the start rule; MOSA_ELIMIT, MOSA_ENOMEM.
mosa_status mosa_cfg_finish_rules(mosa_cfg *cfg, uint32_t start, mosa_error *err) MOSA_MUST_USE;

#endif
