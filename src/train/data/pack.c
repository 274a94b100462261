// Best-fit decreasing. Open bins are kept by the room that is left in them: a stack for each amount, and a bitmap of
// two levels that finds the next amount that has one. Lengths are sorted by counting.
#include "train/data/pack.h"

#include <stdlib.h>
#include <string.h>

enum { NO_BIN = UINT32_MAX, WORD_BITS = 64 };

struct mosa_packer {
    size_t capacity, max_items, max_units;
    size_t *counts;    // (capacity + 2) of lengths, then where each begins in `order`
    uint32_t *order;   // (max_items) indices, longest first
    uint32_t *stacks;  // (capacity + 1) the top bin with this room, or NO_BIN
    uint32_t *below;   // (max_items) of a bin: the one under it
    uint32_t *units;   // (max_items) of a bin: its items
    uint32_t *names;   // (max_items) of a bin: its number in order of first item
    uint64_t *bits[2]; // amounts of room that have a bin; words of bits[0] that are not 0
    size_t n_words[2];
};

void mosa_packer_destroy(mosa_packer *packer) {
    if (!packer) return;
    free(packer->counts);
    free(packer->order);
    free(packer->stacks);
    free(packer->below);
    free(packer->units);
    free(packer->names);
    free(packer->bits[0]);
    free(packer->bits[1]);
    free(packer);
}

mosa_status mosa_packer_create(int32_t capacity, size_t max_items, int32_t max_units, mosa_packer **out,
                               mosa_error *err) {
    mosa_packer *p = calloc(1, sizeof *p);
    if (!p) return mosa_fail(err, MOSA_ENOMEM, "out of memory for packing");
    p->capacity = (size_t)capacity;
    p->max_items = max_items;
    p->max_units = max_units > 0 ? (size_t)max_units : SIZE_MAX;
    p->n_words[0] = p->capacity / WORD_BITS + 1;
    p->n_words[1] = p->n_words[0] / WORD_BITS + 1;
    p->counts = calloc(p->capacity + 2, sizeof *p->counts);
    p->order = calloc(max_items + 1, sizeof *p->order);
    p->stacks = calloc(p->capacity + 1, sizeof *p->stacks);
    p->below = calloc(max_items + 1, sizeof *p->below);
    p->units = calloc(max_items + 1, sizeof *p->units);
    p->names = calloc(max_items + 1, sizeof *p->names);
    for (int i = 0; i < 2; i++) p->bits[i] = calloc(p->n_words[i], sizeof **p->bits);
    if (p->counts && p->order && p->stacks && p->below && p->units && p->names && p->bits[0] && p->bits[1]) {
        *out = p;
        return MOSA_OK;
    }
    mosa_packer_destroy(p);
    return mosa_fail(err, MOSA_ENOMEM, "out of memory for packing");
}

// Longest first; of equal lengths the first.
static void sort_lengths(mosa_packer *p, const int32_t *lengths, size_t n) {
    memset(p->counts, 0, (p->capacity + 2) * sizeof *p->counts);
    for (size_t i = 0; i < n; i++) p->counts[p->capacity - (size_t)lengths[i] + 1]++;
    for (size_t i = 1; i < p->capacity + 2; i++) p->counts[i] += p->counts[i - 1];
    for (size_t i = 0; i < n; i++) p->order[p->counts[p->capacity - (size_t)lengths[i]]++] = (uint32_t)i;
}

static void push(mosa_packer *p, uint32_t bin, size_t room) {
    p->below[bin] = p->stacks[room];
    p->stacks[room] = bin;
    p->bits[0][room / WORD_BITS] |= 1ull << room % WORD_BITS;
    size_t word = room / WORD_BITS;
    p->bits[1][word / WORD_BITS] |= 1ull << word % WORD_BITS;
}

static uint32_t pop(mosa_packer *p, size_t room) {
    uint32_t bin = p->stacks[room];
    p->stacks[room] = p->below[bin];
    if (p->stacks[room] != NO_BIN) return bin;
    size_t word = room / WORD_BITS;
    p->bits[0][word] &= ~(1ull << room % WORD_BITS);
    if (p->bits[0][word] == 0) p->bits[1][word / WORD_BITS] &= ~(1ull << word % WORD_BITS);
    return bin;
}

// The first set bit from `from` on, or SIZE_MAX.
static size_t next_bit(const uint64_t *bits, size_t n_words, size_t from) {
    for (size_t word = from / WORD_BITS; word < n_words; word++) {
        uint64_t value = bits[word];
        if (word == from / WORD_BITS) value &= ~0ull << from % WORD_BITS;
        if (value) return word * WORD_BITS + (size_t)__builtin_ctzll(value);
    }
    return SIZE_MAX;
}

// The smallest room of at least `length` that an open bin has, or SIZE_MAX.
static size_t find_room(const mosa_packer *p, size_t length) {
    size_t word = length / WORD_BITS;
    uint64_t here = p->bits[0][word] & ~0ull << length % WORD_BITS;
    if (here) return word * WORD_BITS + (size_t)__builtin_ctzll(here);
    size_t next = word + 1 < p->n_words[0] ? next_bit(p->bits[1], p->n_words[1], word + 1) : SIZE_MAX;
    return next == SIZE_MAX ? SIZE_MAX : next * WORD_BITS + (size_t)__builtin_ctzll(p->bits[0][next]);
}

// Numbers bins by their first item.
static void rename_bins(mosa_packer *p, size_t n, uint32_t *bins, size_t n_bins) {
    uint32_t next = 0;
    for (size_t i = 0; i < n_bins; i++) p->names[i] = NO_BIN;
    for (size_t i = 0; i < n; i++) {
        if (p->names[bins[i]] == NO_BIN) p->names[bins[i]] = next++;
        bins[i] = p->names[bins[i]];
    }
}

size_t mosa_packer_run(mosa_packer *packer, const int32_t *lengths, size_t n, uint32_t *bins) {
    mosa_packer *p = packer;
    size_t n_bins = 0;
    sort_lengths(p, lengths, n);
    for (size_t i = 0; i <= p->capacity; i++) p->stacks[i] = NO_BIN;
    for (int i = 0; i < 2; i++) memset(p->bits[i], 0, p->n_words[i] * sizeof **p->bits);
    for (size_t k = 0; k < n; k++) {
        uint32_t item = p->order[k];
        size_t length = (size_t)lengths[item], room = find_room(p, length);
        uint32_t bin = room == SIZE_MAX ? (uint32_t)n_bins++ : pop(p, room);
        if (room == SIZE_MAX) {
            room = p->capacity;
            p->units[bin] = 0;
        }
        bins[item] = bin;
        room -= length;
        if (++p->units[bin] < p->max_units && room > 0) push(p, bin, room);
    }
    rename_bins(p, n, bins, n_bins);
    return n_bins;
}
