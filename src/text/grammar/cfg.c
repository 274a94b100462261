// Building a grammar: growing arrays, lexemes by their term, and the least fixed points that finish it.
#include "text/grammar/cfg.h"

#include <stdlib.h>
#include <string.h>

bool mosa_cfg_init(mosa_cfg *cfg) {
    *cfg = (mosa_cfg){0};
    if (!mosa_rx_pool_init(&cfg->pool)) return false;
    cfg->pool.budget = MOSA_GRAMMAR_STEPS_MAX;
    return true;
}

void mosa_cfg_destroy(mosa_cfg *cfg) {
    if (cfg->pool.nodes) mosa_rx_pool_finish(&cfg->pool);
    free(cfg->lexemes);
    free(cfg->rules);
    free(cfg->symbols);
    free(cfg->alternatives);
    free(cfg->lexeme_slots);
    *cfg = (mosa_cfg){0};
}

static void hit_limit(mosa_cfg *cfg, const char *what, int value) {
    if (!cfg->limit) {
        cfg->limit = what;
        cfg->limit_value = value;
    }
}

bool mosa_cfg_failed(const mosa_cfg *cfg) {
    return cfg->out_of_memory || cfg->limit || cfg->pool.failed;
}

mosa_status mosa_cfg_report(const mosa_cfg *cfg, mosa_error *err) {
    if (cfg->out_of_memory) return mosa_fail(err, MOSA_ENOMEM, "out of memory for a grammar");
    if (cfg->limit)
        return mosa_fail(err, MOSA_ELIMIT, "the grammar needs more than %d %s", cfg->limit_value, cfg->limit);
    if (cfg->pool.failed)
        return mosa_fail(err, MOSA_ELIMIT, "the grammar's expressions need more than %d states or %d steps",
                         MOSA_RX_NODES_MAX, MOSA_GRAMMAR_STEPS_MAX);
    return MOSA_OK;
}

// Room for one more element of an array.
static bool grow(mosa_cfg *cfg, void **array, size_t count, size_t *capacity, size_t size) {
    if (count < *capacity) return true;
    size_t wanted = *capacity ? *capacity * 2 : 64;
    void *more = realloc(*array, wanted * size);
    if (!more) {
        cfg->out_of_memory = true;
        return false;
    }
    *array = more;
    *capacity = wanted;
    return true;
}

uint32_t mosa_cfg_rule(mosa_cfg *cfg) {
    if (cfg->rule_count >= MOSA_GRAMMAR_RULES_MAX) hit_limit(cfg, "rules", MOSA_GRAMMAR_RULES_MAX);
    if (mosa_cfg_failed(cfg) ||
        !grow(cfg, (void **)&cfg->rules, cfg->rule_count, &cfg->rule_capacity, sizeof *cfg->rules))
        return 0;
    cfg->rules[cfg->rule_count] = (mosa_rule){0};
    return (uint32_t)cfg->rule_count++;
}

static void add_symbol(mosa_cfg *cfg, mosa_symbol symbol) {
    if (cfg->symbol_count >= MOSA_GRAMMAR_SYMBOLS_MAX) hit_limit(cfg, "symbols", MOSA_GRAMMAR_SYMBOLS_MAX);
    if (mosa_cfg_failed(cfg) ||
        !grow(cfg, (void **)&cfg->symbols, cfg->symbol_count, &cfg->symbol_capacity, sizeof *cfg->symbols))
        return;
    cfg->symbols[cfg->symbol_count++] = symbol;
}

void mosa_cfg_add(mosa_cfg *cfg, uint32_t rule, const mosa_symbol *symbols, size_t count) {
    if (mosa_cfg_failed(cfg) || !grow(cfg, (void **)&cfg->alternatives, cfg->alternative_count,
                                      &cfg->alternative_capacity, sizeof *cfg->alternatives))
        return;
    cfg->alternatives[cfg->alternative_count++] = (mosa_alternative){rule, (uint32_t)cfg->symbol_count, false};
    for (size_t i = 0; i < count; i++) add_symbol(cfg, symbols[i]);
    add_symbol(cfg, MOSA_SYMBOL_END | rule);
}

// --- lexemes

static size_t slot_of(const mosa_cfg *cfg, const mosa_lexeme *l) {
    uint64_t h = ((uint64_t)l->rx << 32 ^ (uint64_t)(uint32_t)l->token << 1 ^ l->greedy) * 0x9e3779b97f4a7c15u;
    size_t slot = (size_t)(h >> 32) & (cfg->lexeme_slot_count - 1);
    for (; cfg->lexeme_slots[slot]; slot = (slot + 1) & (cfg->lexeme_slot_count - 1)) {
        const mosa_lexeme *x = &cfg->lexemes[cfg->lexeme_slots[slot] - 1];
        if (x->rx == l->rx && x->token == l->token && x->greedy == l->greedy) break;
    }
    return slot;
}

static mosa_symbol intern(mosa_cfg *cfg, mosa_lexeme lexeme) {
    if (!cfg->lexeme_slots) {
        cfg->lexeme_slot_count = 2 * MOSA_GRAMMAR_LEXEMES_MAX;
        cfg->lexeme_slots = calloc(cfg->lexeme_slot_count, sizeof *cfg->lexeme_slots);
        if (!cfg->lexeme_slots) {
            cfg->out_of_memory = true;
            return MOSA_SYMBOL_LEXEME;
        }
    }
    size_t slot = slot_of(cfg, &lexeme);
    if (cfg->lexeme_slots[slot]) return MOSA_SYMBOL_LEXEME | (cfg->lexeme_slots[slot] - 1);
    if (cfg->lexeme_count == MOSA_GRAMMAR_LEXEMES_MAX) hit_limit(cfg, "terminals", MOSA_GRAMMAR_LEXEMES_MAX);
    if (mosa_cfg_failed(cfg) ||
        !grow(cfg, (void **)&cfg->lexemes, cfg->lexeme_count, &cfg->lexeme_capacity, sizeof *cfg->lexemes))
        return MOSA_SYMBOL_LEXEME;
    cfg->lexemes[cfg->lexeme_count++] = lexeme;
    cfg->lexeme_slots[slot] = (uint32_t)cfg->lexeme_count;
    return MOSA_SYMBOL_LEXEME | (uint32_t)(cfg->lexeme_count - 1);
}

mosa_symbol mosa_cfg_lexeme(mosa_cfg *cfg, mosa_rx rx, bool greedy) {
    bool empty = mosa_rx_nullable(&cfg->pool, rx);
    if (rx == MOSA_RX_EPS || empty) {
        uint32_t rule = mosa_cfg_rule(cfg);
        mosa_cfg_add(cfg, rule, NULL, 0);
        if (rx == MOSA_RX_EPS) return MOSA_SYMBOL_RULE | rule;
        mosa_rx some = mosa_rx_and(&cfg->pool, rx, mosa_rx_not(&cfg->pool, MOSA_RX_EPS));
        mosa_symbol lexeme = mosa_cfg_lexeme(cfg, some, greedy);
        mosa_cfg_add(cfg, rule, &lexeme, 1);
        return MOSA_SYMBOL_RULE | rule;
    }
    rx = mosa_rx_prune(&cfg->pool, rx);
    if (rx == MOSA_RX_NONE) return MOSA_SYMBOL_RULE | mosa_cfg_rule(cfg); // no alternative: nothing matches
    return intern(cfg, (mosa_lexeme){rx, MOSA_TOKEN_NONE, greedy});
}

mosa_symbol mosa_cfg_token(mosa_cfg *cfg, mosa_token_id token) {
    return intern(cfg, (mosa_lexeme){MOSA_RX_NONE, token, false});
}

// --- repetition

enum { NO_SEPARATOR = UINT32_MAX };

static void add3(mosa_cfg *cfg, uint32_t rule, mosa_symbol a, mosa_symbol separator, mosa_symbol b) {
    if (separator == NO_SEPARATOR)
        mosa_cfg_add(cfg, rule, (mosa_symbol[]){a, b}, 2);
    else
        mosa_cfg_add(cfg, rule, (mosa_symbol[]){a, separator, b}, 3);
}

// A list of at least one: left-recursive, so that its parse stays flat however long it grows.
static mosa_symbol one_or_more(mosa_cfg *cfg, mosa_symbol inner, mosa_symbol separator) {
    uint32_t list = mosa_cfg_rule(cfg);
    mosa_cfg_add(cfg, list, &inner, 1);
    add3(cfg, list, MOSA_SYMBOL_RULE | list, separator, inner);
    return MOSA_SYMBOL_RULE | list;
}

// Lists of exactly `count`, by halves.
static mosa_symbol exactly(mosa_cfg *cfg, mosa_symbol inner, mosa_symbol separator, uint32_t count) {
    if (count == 1) return inner;
    mosa_symbol half = exactly(cfg, inner, separator, count / 2);
    uint32_t rule = mosa_cfg_rule(cfg), whole = rule;
    add3(cfg, rule, half, separator, half);
    if (count % 2) {
        whole = mosa_cfg_rule(cfg);
        add3(cfg, whole, MOSA_SYMBOL_RULE | rule, separator, inner);
    }
    return MOSA_SYMBOL_RULE | whole;
}

// `count` or fewer further elements, each behind its separator: nothing, or one and then count - 1 or fewer.
static mosa_symbol at_most(mosa_cfg *cfg, mosa_symbol inner, mosa_symbol separator, uint32_t count) {
    uint32_t next = mosa_cfg_rule(cfg);
    mosa_cfg_add(cfg, next, NULL, 0);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t rule = mosa_cfg_rule(cfg);
        mosa_cfg_add(cfg, rule, NULL, 0);
        if (separator == NO_SEPARATOR)
            mosa_cfg_add(cfg, rule, (mosa_symbol[]){inner, MOSA_SYMBOL_RULE | next}, 2);
        else
            mosa_cfg_add(cfg, rule, (mosa_symbol[]){separator, inner, MOSA_SYMBOL_RULE | next}, 3);
        next = rule;
    }
    return MOSA_SYMBOL_RULE | next;
}

static mosa_symbol at_least_one(mosa_cfg *cfg, mosa_symbol inner, mosa_symbol separator, uint32_t min, uint32_t max) {
    if (max == MOSA_RX_FOREVER) {
        mosa_symbol list = one_or_more(cfg, inner, separator);
        if (min <= 1) return list;
        uint32_t rule = mosa_cfg_rule(cfg);
        add3(cfg, rule, exactly(cfg, inner, separator, min - 1), separator, list);
        return MOSA_SYMBOL_RULE | rule;
    }
    mosa_symbol head = exactly(cfg, inner, separator, min);
    if (max == min) return head;
    uint32_t rule = mosa_cfg_rule(cfg);
    mosa_cfg_add(cfg, rule, (mosa_symbol[]){head, at_most(cfg, inner, separator, max - min)}, 2);
    return MOSA_SYMBOL_RULE | rule;
}

mosa_symbol mosa_cfg_repeat(mosa_cfg *cfg, mosa_symbol inner, mosa_symbol separator, uint32_t min, uint32_t max) {
    if (min > MOSA_GRAMMAR_ITEMS_MAX || (max != MOSA_RX_FOREVER && max > MOSA_GRAMMAR_ITEMS_MAX))
        hit_limit(cfg, "items (minItems, maxItems, repetitions of a rule)", MOSA_GRAMMAR_ITEMS_MAX);
    if (mosa_cfg_failed(cfg)) return MOSA_SYMBOL_RULE;
    if (min > 0) return at_least_one(cfg, inner, separator, min, max);
    uint32_t rule = mosa_cfg_rule(cfg);
    mosa_cfg_add(cfg, rule, NULL, 0);
    if (max > 0) {
        mosa_symbol some = at_least_one(cfg, inner, separator, 1, max);
        mosa_cfg_add(cfg, rule, &some, 1);
    }
    return MOSA_SYMBOL_RULE | rule;
}

// --- finishing

static int by_rule(const void *a, const void *b) {
    const mosa_alternative *x = a, *y = b;
    if (x->rule != y->rule) return x->rule < y->rule ? -1 : 1;
    return x->begin < y->begin ? -1 : x->begin > y->begin;
}

// Which alternatives use a rule: users[first[rule]..first[rule + 1]), an alternative as often as it names the rule.
typedef struct uses {
    uint32_t *first, *users, *missing, *queue;
} uses;

static void finish_uses(uses *u) {
    free(u->first);
    free(u->users);
    free(u->missing);
    free(u->queue);
}

static bool collect_uses(const mosa_cfg *cfg, uses *u) {
    u->first = calloc(cfg->rule_count + 2, sizeof *u->first);
    u->users = calloc(cfg->symbol_count + 1, sizeof *u->users);
    u->missing = calloc(cfg->alternative_count + 1, sizeof *u->missing);
    u->queue = calloc(cfg->rule_count + 1, sizeof *u->queue);
    if (!u->first || !u->users || !u->missing || !u->queue) return false;
    for (int pass = 0; pass < 2; pass++) {
        for (size_t a = 0; a < cfg->alternative_count; a++)
            for (uint32_t i = cfg->alternatives[a].begin; mosa_symbol_kind(cfg->symbols[i]) != MOSA_SYMBOL_END; i++) {
                if (mosa_symbol_kind(cfg->symbols[i]) != MOSA_SYMBOL_RULE) continue;
                uint32_t rule = mosa_symbol_index(cfg->symbols[i]);
                if (pass == 0)
                    u->first[rule + 2]++;
                else
                    u->users[u->first[rule + 1]++] = (uint32_t)a;
            }
        for (size_t r = 0; pass == 0 && r < cfg->rule_count; r++) u->first[r + 2] += u->first[r + 1];
    }
    return true;
}

static bool has_lexeme(const mosa_cfg *cfg, const mosa_alternative *a) {
    for (uint32_t i = a->begin; mosa_symbol_kind(cfg->symbols[i]) != MOSA_SYMBOL_END; i++)
        if (mosa_symbol_kind(cfg->symbols[i]) == MOSA_SYMBOL_LEXEME) return true;
    return false;
}

static void settle(mosa_cfg *cfg, uses *u, mosa_alternative *a, bool nullable, size_t *queued) {
    mosa_rule *rule = &cfg->rules[a->rule];
    bool *flag = nullable ? &rule->nullable : &rule->productive;
    a->productive = true;
    if (*flag) return;
    *flag = true;
    u->queue[(*queued)++] = a->rule;
}

// The least fixed point of "a rule has the property when all rules of one of its alternatives have it"; lexemes have
// the property "productive" and not "nullable". Linear in the grammar.
static bool spread(mosa_cfg *cfg, bool nullable) {
    uses u = {0};
    bool ok = collect_uses(cfg, &u);
    size_t queued = 0;
    for (size_t r = 0; ok && r < cfg->rule_count; r++)
        for (uint32_t i = u.first[r]; i < u.first[r + 1]; i++) u.missing[u.users[i]]++;
    for (size_t a = 0; ok && a < cfg->alternative_count; a++)
        if (u.missing[a] == 0 && !(nullable && has_lexeme(cfg, &cfg->alternatives[a])))
            settle(cfg, &u, &cfg->alternatives[a], nullable, &queued);
    for (size_t next = 0; next < queued; next++)
        for (uint32_t i = u.first[u.queue[next]]; i < u.first[u.queue[next] + 1]; i++) {
            mosa_alternative *a = &cfg->alternatives[u.users[i]];
            if (--u.missing[u.users[i]] == 0 && !(nullable && has_lexeme(cfg, a)))
                settle(cfg, &u, a, nullable, &queued);
        }
    finish_uses(&u);
    return ok;
}

mosa_status mosa_cfg_finish_rules(mosa_cfg *cfg, uint32_t start, mosa_error *err) {
    MOSA_TRY(mosa_cfg_report(cfg, err));
    if (!spread(cfg, false)) return mosa_fail(err, MOSA_ENOMEM, "out of memory for a grammar");
    if (!cfg->rules[start].productive)
        return mosa_fail(err, MOSA_EINVALID, "nothing matches: the conditions contradict each other");
    size_t kept = 0;
    for (size_t i = 0; i < cfg->alternative_count; i++)
        if (cfg->alternatives[i].productive) cfg->alternatives[kept++] = cfg->alternatives[i];
    cfg->alternative_count = kept;
    qsort(cfg->alternatives, kept, sizeof *cfg->alternatives, by_rule);
    for (size_t i = kept; i > 0; i--) {
        mosa_rule *rule = &cfg->rules[cfg->alternatives[i - 1].rule];
        rule->first_alternative = (uint32_t)(i - 1);
        rule->alternative_count++;
    }
    if (!spread(cfg, true)) return mosa_fail(err, MOSA_ENOMEM, "out of memory for a grammar");
    cfg->start = start;
    return MOSA_OK;
}
