// A vocabulary, and texts run through grammars over it.
#ifndef MOSA_TESTS_UNIT_GRAMMAR_FIXTURE_H
#define MOSA_TESTS_UNIT_GRAMMAR_FIXTURE_H

#include "base/rng.h"
#include "codec/json.h"
#include "text/grammar/grammar.h"
#include "text/tokenizer.h"

#include <math.h>
#include <stdlib.h>

typedef struct grammar_fixture {
    mosa_tokenizer *tokenizer;
    mosa_token_trie *trie;
    size_t words;
} grammar_fixture;

static inline bool grammar_fixture_open(grammar_fixture *f, const char *path) {
    size_t n;
    mosa_error err;
    if (mosa_tokenizer_load(path, &f->tokenizer, &err) != MOSA_OK) {
        printf("%s\n", err.message);
        return false;
    }
    const mosa_token_id *ends = mosa_tokenizer_end_ids(f->tokenizer, &n);
    if (mosa_token_trie_create(f->tokenizer, ends, n, 0, &f->trie, NULL) != MOSA_OK) return false;
    f->words = mosa_token_trie_mask_words(f->trie);
    return true;
}

static inline void grammar_fixture_close(grammar_fixture *f) {
    mosa_token_trie_destroy(f->trie);
    mosa_tokenizer_destroy(f->tokenizer);
}

// Whether the text is a whole output of the grammar.
static inline bool grammar_accepts(const grammar_fixture *f, mosa_grammar *grammar, mosa_slice text) {
    mosa_matcher *matcher;
    mosa_token_list list;
    mosa_token_list_init(&list, 0);
    if (mosa_matcher_create(grammar, &matcher, NULL) != MOSA_OK) return false;
    bool ok = mosa_tokenizer_encode(f->tokenizer, text, 0, &list, NULL) == MOSA_OK;
    for (size_t i = 0; ok && i < list.len; i++) ok = mosa_matcher_accept(matcher, list.ids[i]);
    ok = ok && mosa_matcher_can_end(matcher);
    mosa_token_list_finish(&list);
    mosa_matcher_destroy(matcher);
    return ok;
}

// JSON as a grammar with MOSA_JSON_COMPACT spells it. Keys of each object are put in the order number `order` of all
// orders; whole numbers are written as integers.
static inline void grammar_spell(mosa_buf *out, json_t *value, unsigned order) {
    if (json_is_real(value) && floor(json_real_value(value)) == json_real_value(value) &&
        fabs(json_real_value(value)) < 1e60) {
        mosa_buf_printf(out, "%.0f", json_real_value(value));
    } else if (json_is_array(value)) {
        mosa_buf_append_char(out, '[');
        for (size_t i = 0; i < json_array_size(value); i++) {
            if (i) mosa_buf_append_char(out, ',');
            grammar_spell(out, json_array_get(value, i), order);
        }
        mosa_buf_append_char(out, ']');
    } else if (json_is_object(value)) {
        const char *keys[32], *key;
        json_t *item;
        size_t n = 0;
        json_object_foreach(value, key, item) if (n < 32) keys[n++] = key;
        mosa_buf_append_char(out, '{');
        for (size_t left = n; left > 0; left--) {
            size_t at = order % left;
            order /= (unsigned)left;
            if (left < n) mosa_buf_append_char(out, ',');
            mosa_json_append_string(out, mosa_slice_of(keys[at]));
            mosa_buf_append_char(out, ':');
            grammar_spell(out, json_object_get(value, keys[at]), order);
            for (size_t k = at; k + 1 < left; k++) keys[k] = keys[k + 1];
        }
        mosa_buf_append_char(out, '}');
    } else
        mosa_json_append(out, value);
}

// One random output: a token of the mask at a time. Returns its length, or -1 when it did not end within `most` tokens;
// -2 when the mask was empty before the end.
static inline int grammar_walk(const grammar_fixture *f, mosa_grammar *grammar, uint64_t seed, int most,
                               mosa_buf *out) {
    mosa_matcher *matcher;
    uint64_t *mask = calloc(f->words, sizeof *mask);
    int result = -1;
    if (!mask || mosa_matcher_create(grammar, &matcher, NULL) != MOSA_OK) abort();
    for (int i = 0; i < most && result == -1; i++) {
        uint32_t count = 0;
        if (mosa_matcher_mask(matcher, mask, NULL) != MOSA_OK) abort();
        for (size_t w = 0; w < f->words; w++) count += (uint32_t)__builtin_popcountll(mask[w]);
        if (count == 0) result = -2;
        if (count == 0 || (i > most / 3 && mosa_matcher_can_end(matcher))) {
            if (count) result = i;
            break;
        }
        uint32_t pick = (uint32_t)mosa_rng_below(seed, (uint64_t)i, count);
        int32_t token = -1;
        for (size_t w = 0; token < 0; w++) {
            uint32_t here = (uint32_t)__builtin_popcountll(mask[w]);
            if (pick >= here) {
                pick -= here;
                continue;
            }
            uint64_t bits = mask[w];
            while (pick--) bits &= bits - 1;
            token = (int32_t)(w * 64) + __builtin_ctzll(bits);
        }
        if (!mosa_matcher_accept(matcher, token)) abort();
        if (mosa_tokenizer_is_end(f->tokenizer, token))
            result = i;
        else
            mosa_buf_append_slice(out, mosa_tokenizer_token_bytes(f->tokenizer, token));
    }
    free(mask);
    mosa_matcher_destroy(matcher);
    return result;
}

#endif
