// Compiling: one front end writes the rules, the lexer and the scratch of its matchers are made for them.
#include "text/grammar/grammar.h"

#include "codec/json.h"
#include "text/grammar/front.h"
#include "text/grammar/grammar_internal.h"
#include "text/grammar/pattern.h"
#include "text/grammar/reserve.h"

#include <stdlib.h>

mosa_status mosa_front_regex(mosa_front *front, mosa_slice text, mosa_symbol *start, mosa_error *err) {
    mosa_rx rx;
    MOSA_TRY(mosa_pattern_rx(&front->cfg->pool, text, 0, &rx, err));
    *start = mosa_cfg_lexeme(front->cfg, rx, false);
    return MOSA_OK;
}

static mosa_status choice_strings(const json_t *list, mosa_slice *strings, mosa_error *err) {
    size_t i;
    json_t *item;
    json_array_foreach(list, i, item) {
        if (!json_is_string(item) || json_string_length(item) == 0)
            return mosa_fail(err, MOSA_EINVALID, "choice %zu is no string, or empty", i);
        strings[i] = (mosa_slice){json_string_value(item), json_string_length(item)};
    }
    return MOSA_OK;
}

mosa_status mosa_front_choice(mosa_front *front, mosa_slice text, mosa_symbol *start, mosa_error *err) {
    MOSA_AUTO_JSON json_t *list = NULL;
    MOSA_TRY(mosa_json_parse(text, NULL, &list, err));
    size_t count = json_array_size(list);
    if (count == 0) return mosa_fail(err, MOSA_EINVALID, "a choice is an array of at least one string");
    MOSA_AUTO_FREE mosa_slice *strings = calloc(count, sizeof *strings);
    if (!strings) return mosa_fail(err, MOSA_ENOMEM, "out of memory for %zu choices", count);
    MOSA_TRY(choice_strings(list, strings, err));
    *start = mosa_cfg_lexeme(front->cfg, mosa_rx_one_of(&front->cfg->pool, strings, count), false);
    return MOSA_OK;
}

static mosa_status run_front(mosa_front *front, mosa_grammar_kind kind, mosa_slice text, mosa_symbol *start,
                             mosa_error *err) {
    switch (kind) {
    case MOSA_GRAMMAR_JSON_OBJECT:
        return mosa_front_schema(front, MOSA_SLICE("{\"type\":\"object\"}"), start, err);
    case MOSA_GRAMMAR_JSON_SCHEMA:
        return mosa_front_schema(front, text, start, err);
    case MOSA_GRAMMAR_REGEX:
        return mosa_front_regex(front, text, start, err);
    case MOSA_GRAMMAR_CHOICE:
        return mosa_front_choice(front, text, start, err);
    case MOSA_GRAMMAR_TEXT:
        return mosa_front_is_gbnf(text) ? mosa_front_gbnf(front, text, start, err)
                                        : mosa_front_lark(front, text, start, err);
    default:
        return mosa_fail(err, MOSA_EINVALID, "no such kind of grammar: %d", (int)kind);
    }
}

static bool allocate(mosa_grammar *g) {
    size_t words = g->trie->mask_words;
    g->work = calloc(words + 1, sizeof *g->work);
    g->pending = mosa_reserve(MOSA_PENDING_MAX, sizeof *g->pending);
    g->cache_bits = mosa_reserve(MOSA_MASK_CACHE_MAX, words * sizeof *g->cache_bits);
    g->cache_pending = mosa_reserve(4 * MOSA_PENDING_MAX, sizeof *g->cache_pending);
    return g->work && g->pending && g->cache_bits && g->cache_pending && mosa_lexer_init(&g->lexer, &g->cfg) &&
           mosa_row_scratch_init(&g->scratch, &g->cfg);
}

static mosa_status compile_into(mosa_grammar *g, mosa_grammar_kind kind, mosa_slice text, mosa_json_spacing spacing,
                                mosa_error *err) {
    mosa_front front = {&g->cfg, g->trie->tokenizer, spacing};
    mosa_symbol start;
    MOSA_TRY(run_front(&front, kind, text, &start, err));
    uint32_t rule = mosa_cfg_rule(&g->cfg);
    mosa_cfg_add(&g->cfg, rule, &start, 1);
    MOSA_TRY(mosa_cfg_finish_rules(&g->cfg, rule, err));
    if (allocate(g)) return MOSA_OK;
    MOSA_TRY(mosa_cfg_report(&g->cfg, err));
    return mosa_fail(err, MOSA_ENOMEM, "out of memory for a grammar");
}

mosa_status mosa_grammar_compile(const mosa_token_trie *trie, mosa_grammar_kind kind, mosa_slice text,
                                 mosa_json_spacing spacing, mosa_grammar **out, mosa_error *err) {
    if (text.len > MOSA_GRAMMAR_BYTES_MAX)
        return mosa_fail(err, MOSA_ELIMIT, "the grammar has %zu bytes, at most %d", text.len, MOSA_GRAMMAR_BYTES_MAX);
    if (spacing > MOSA_JSON_FLEXIBLE) return mosa_fail(err, MOSA_EINVALID, "no such JSON spacing: %d", (int)spacing);
    mosa_grammar *g = calloc(1, sizeof *g);
    if (!g || !mosa_cfg_init(&g->cfg)) {
        free(g);
        return mosa_fail(err, MOSA_ENOMEM, "out of memory for a grammar");
    }
    g->trie = trie;
    atomic_init(&g->references, 1);
    pthread_mutex_init(&g->mutex, NULL);
    mosa_status status = compile_into(g, kind, text, spacing, err);
    if (status == MOSA_OK)
        *out = g;
    else
        mosa_grammar_unref(g);
    return status;
}

mosa_grammar *mosa_grammar_ref(mosa_grammar *g) {
    atomic_fetch_add(&g->references, 1);
    return g;
}

void mosa_grammar_unref(mosa_grammar *g) {
    if (!g || atomic_fetch_sub(&g->references, 1) != 1) return;
    size_t words = g->trie->mask_words;
    if (g->lexer.cfg) mosa_lexer_finish(&g->lexer);
    mosa_row_scratch_finish(&g->scratch);
    mosa_unreserve(g->pending, MOSA_PENDING_MAX, sizeof *g->pending);
    mosa_unreserve(g->cache_bits, MOSA_MASK_CACHE_MAX, words * sizeof *g->cache_bits);
    mosa_unreserve(g->cache_pending, 4 * MOSA_PENDING_MAX, sizeof *g->cache_pending);
    free(g->work);
    mosa_cfg_destroy(&g->cfg);
    pthread_mutex_destroy(&g->mutex);
    free(g);
}
