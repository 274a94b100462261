// Open addressing over a list of words.
#include "text/word_counts.h"

#include "text/unicode.h"

#include <stdlib.h>

enum { SLOTS_FIRST = 1 << 12, WORDS_MAX = UINT32_MAX - 1 };

void mosa_word_counts_init(mosa_word_counts *c) {
    *c = (mosa_word_counts){0};
    mosa_arena_init(&c->arena, 0, 0);
}

void mosa_word_counts_finish(mosa_word_counts *c) {
    free(c->words);
    free(c->slots);
    mosa_arena_finish(&c->arena);
    *c = (mosa_word_counts){0};
}

static bool grow_slots(mosa_word_counts *c) {
    size_t n = c->n_slots ? c->n_slots * 2 : SLOTS_FIRST;
    uint32_t *slots = calloc(n, sizeof *slots);
    if (!slots) return false;
    for (size_t i = 0; i < c->n_words; i++) {
        size_t at = c->words[i].hash & (n - 1);
        while (slots[at]) at = (at + 1) & (n - 1);
        slots[at] = (uint32_t)i + 1;
    }
    free(c->slots);
    c->slots = slots;
    c->n_slots = n;
    return true;
}

static bool grow_words(mosa_word_counts *c) {
    size_t n = c->cap_words ? c->cap_words * 2 : SLOTS_FIRST / 2;
    mosa_word_count *words = n <= WORDS_MAX ? realloc(c->words, n * sizeof *words) : NULL;
    if (!words) return false;
    c->words = words;
    c->cap_words = n;
    return true;
}

static void add_new(mosa_word_counts *c, mosa_slice word, uint64_t hash, uint64_t times, size_t slot) {
    char *copy = mosa_arena_strndup(&c->arena, word.data, word.len);
    if (!copy || (c->n_words == c->cap_words && !grow_words(c))) {
        c->failed = true;
        return;
    }
    c->words[c->n_words++] = (mosa_word_count){{copy, word.len}, hash, times};
    c->slots[slot] = (uint32_t)c->n_words;
}

static void add_hashed(mosa_word_counts *c, mosa_slice word, uint64_t hash, uint64_t times) {
    if (c->failed || word.len == 0) return;
    if (c->n_words * 2 >= c->n_slots && !grow_slots(c)) {
        c->failed = true;
        return;
    }
    size_t at = hash & (c->n_slots - 1);
    for (; c->slots[at]; at = (at + 1) & (c->n_slots - 1)) {
        mosa_word_count *known = &c->words[c->slots[at] - 1];
        if (known->hash == hash && mosa_slice_eq(known->word, word)) {
            known->count += times;
            return;
        }
    }
    add_new(c, word, hash, times, at);
}

void mosa_word_counts_add(mosa_word_counts *c, mosa_slice word, uint64_t times) {
    add_hashed(c, word, mosa_hash_bytes(word.data, word.len, 0), times);
}

void mosa_word_counts_add_all(mosa_word_counts *c, const mosa_word_counts *other) {
    for (size_t i = 0; i < other->n_words; i++)
        add_hashed(c, other->words[i].word, other->words[i].hash, other->words[i].count);
    c->failed |= other->failed;
}

void mosa_word_counts_add_text(mosa_word_counts *c, mosa_scan_fn scan, mosa_slice text) {
    const char *end = text.data + text.len, *gap = text.data;
    for (const char *at = text.data; at < end;) {
        size_t len = scan(at, end);
        if (len == 0) {
            at += mosa_utf8_len((unsigned char)*at);
            continue;
        }
        if (at > gap) mosa_word_counts_add(c, (mosa_slice){gap, (size_t)(at - gap)}, 1);
        mosa_word_counts_add(c, (mosa_slice){at, len}, 1);
        gap = at += len;
    }
    if (end > gap) mosa_word_counts_add(c, (mosa_slice){gap, (size_t)(end - gap)}, 1);
}
