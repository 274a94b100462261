// Pairs, a heap of candidates, and words that shrink as their symbols are merged.
//
// Invariants. counts of `pairs` are exact for every pair but the merged one itself, which no word holds any more. A
// heap entry's count may be too high: it is corrected when the entry comes up (counts of an entry only fall, unless two
// merges share a token). An entry lists the words in which its pair was seen when it was made; words that have lost it
// since are passed over.
#include "text/bpe_train.h"

#include "text/byte_level.h"
#include "text/tokenizer_spec.h"

#include <stdlib.h>

enum { BYTES = 256, MAP_FIRST = 1 << 16, PROGRESS_EVERY = 256 };
#define NO_LIST UINT32_MAX

typedef struct word {
    uint32_t *symbols; // in trainer.symbols
    uint32_t len;
    int64_t count;
} word;

typedef struct word_list {
    uint32_t *items;
    uint32_t len, capacity;
} word_list;

typedef struct pair {
    mosa_bpe_pair ids;
    int64_t count;
    uint32_t fresh; // list being filled in this merge, or NO_LIST
} pair;

typedef struct candidate {
    uint64_t count;
    mosa_bpe_pair ids;
    uint32_t pair; // index
    uint32_t list; // index of its word_list
} candidate;

typedef struct trainer {
    const mosa_bpe_train_options *options;
    mosa_bpe_vocab *out;
    size_t cap_tokens, cap_merges;
    mosa_word_counts token_ids; // bytes of a token; count = id + 1
    uint32_t *symbols;
    word *words;
    size_t n_words;
    pair *pairs;
    size_t n_pairs, cap_pairs;
    uint32_t *pair_slots; // open addressing, index + 1
    size_t n_pair_slots;
    word_list *lists;
    size_t n_lists, cap_lists;
    candidate *heap;
    size_t n_heap, cap_heap;
    uint32_t *touched; // pairs with a fresh list
    size_t n_touched, cap_touched;
    bool failed; // out of memory
} trainer;

// --- growing --------------------------------------------------------------------------------------------------------

static bool grow(trainer *t, void *items_pointer, size_t *capacity, size_t need, size_t item_bytes) {
    void **items = items_pointer;
    if (need <= *capacity) return true;
    size_t n = *capacity ? *capacity * 2 : 1024;
    if (n < need) n = need;
    void *moved = realloc(*items, n * item_bytes);
    if (!moved) {
        t->failed = true;
        return false;
    }
    *items = moved;
    *capacity = n;
    return true;
}

static uint64_t pair_hash(mosa_bpe_pair ids) {
    uint64_t h = ((uint64_t)ids.left << 32 | ids.right) * UINT64_C(0x9E3779B97F4A7C15);
    return h ^ h >> 29;
}

static bool grow_pair_slots(trainer *t) {
    size_t n = t->n_pair_slots ? t->n_pair_slots * 2 : MAP_FIRST;
    uint32_t *slots = calloc(n, sizeof *slots);
    if (!slots) return false;
    for (size_t i = 0; i < t->n_pairs; i++) {
        size_t at = pair_hash(t->pairs[i].ids) & (n - 1);
        while (slots[at]) at = (at + 1) & (n - 1);
        slots[at] = (uint32_t)i + 1;
    }
    free(t->pair_slots);
    t->pair_slots = slots;
    t->n_pair_slots = n;
    return true;
}

// Index of a pair, which is added with count 0 when it is new; NO_LIST when out of memory.
static uint32_t pair_of(trainer *t, mosa_bpe_pair ids) {
    if (t->n_pairs * 2 >= t->n_pair_slots && !grow_pair_slots(t)) t->failed = true;
    if (t->failed) return NO_LIST;
    size_t at = pair_hash(ids) & (t->n_pair_slots - 1);
    for (; t->pair_slots[at]; at = (at + 1) & (t->n_pair_slots - 1)) {
        mosa_bpe_pair known = t->pairs[t->pair_slots[at] - 1].ids;
        if (known.left == ids.left && known.right == ids.right) return t->pair_slots[at] - 1;
    }
    if (!grow(t, &t->pairs, &t->cap_pairs, t->n_pairs + 1, sizeof *t->pairs)) return NO_LIST;
    t->pairs[t->n_pairs] = (pair){ids, 0, NO_LIST};
    t->pair_slots[at] = (uint32_t)++t->n_pairs;
    return (uint32_t)t->n_pairs - 1;
}

// --- counts and where they come from --------------------------------------------------------------------------------

// Notes that word `w` has gained the pair; words come in rising order within one merge, so equal ones are neighbours.
static void note_word(trainer *t, uint32_t index, uint32_t w) {
    if (t->pairs[index].fresh == NO_LIST) {
        if (!grow(t, &t->lists, &t->cap_lists, t->n_lists + 1, sizeof *t->lists) ||
            !grow(t, &t->touched, &t->cap_touched, t->n_touched + 1, sizeof *t->touched))
            return;
        t->lists[t->n_lists] = (word_list){0};
        t->pairs[index].fresh = (uint32_t)t->n_lists++;
        t->touched[t->n_touched++] = index;
    }
    word_list *list = &t->lists[t->pairs[index].fresh];
    if (list->len && list->items[list->len - 1] == w) return;
    if (list->len == list->capacity) {
        uint32_t n = list->capacity ? list->capacity * 2 : 4;
        uint32_t *items = realloc(list->items, n * sizeof *items);
        if (!items) {
            t->failed = true;
            return;
        }
        list->items = items;
        list->capacity = n;
    }
    list->items[list->len++] = w;
}

static void change(trainer *t, uint32_t left, uint32_t right, int sign, uint32_t w) {
    uint32_t index = pair_of(t, (mosa_bpe_pair){left, right});
    if (index == NO_LIST) return;
    t->pairs[index].count += sign * t->words[w].count;
    if (sign > 0) note_word(t, index, w);
}

// --- the heap: highest count first, then smallest ids ---------------------------------------------------------------

static bool before(const candidate *a, const candidate *b) {
    if (a->count != b->count) return a->count > b->count;
    if (a->ids.left != b->ids.left) return a->ids.left < b->ids.left;
    return a->ids.right < b->ids.right;
}

static void push(trainer *t, candidate c) {
    if (!grow(t, &t->heap, &t->cap_heap, t->n_heap + 1, sizeof *t->heap)) return;
    size_t at = t->n_heap++;
    for (; at > 0 && before(&c, &t->heap[(at - 1) / 2]); at = (at - 1) / 2) t->heap[at] = t->heap[(at - 1) / 2];
    t->heap[at] = c;
}

static candidate pop(trainer *t) {
    candidate top = t->heap[0], last = t->heap[--t->n_heap];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= t->n_heap) break;
        if (child + 1 < t->n_heap && before(&t->heap[child + 1], &t->heap[child])) child++;
        if (!before(&t->heap[child], &last)) break;
        t->heap[at] = t->heap[child];
        at = child;
    }
    if (t->n_heap) t->heap[at] = last;
    return top;
}

// Pairs that gained words become candidates.
static void push_touched(trainer *t) {
    for (size_t i = 0; i < t->n_touched; i++) {
        pair *p = &t->pairs[t->touched[i]];
        if (p->count > 0) push(t, (candidate){(uint64_t)p->count, p->ids, t->touched[i], p->fresh});
        p->fresh = NO_LIST;
    }
    t->n_touched = 0;
}

// --- tokens ---------------------------------------------------------------------------------------------------------

static uint32_t find_token(const trainer *t, mosa_slice bytes) {
    const mosa_word_counts *ids = &t->token_ids;
    uint64_t hash = mosa_hash_bytes(bytes.data, bytes.len, 0);
    for (size_t at = hash & (ids->n_slots - 1); ids->slots[at]; at = (at + 1) & (ids->n_slots - 1)) {
        const mosa_word_count *known = &ids->words[ids->slots[at] - 1];
        if (known->hash == hash && mosa_slice_eq(known->word, bytes)) return (uint32_t)(known->count - 1);
    }
    return NO_LIST;
}

// Adds a token that spells `bytes`; `text` is what the vocabulary lists.
static void add_token(trainer *t, mosa_slice text, mosa_slice bytes) {
    mosa_bpe_vocab *out = t->out;
    char *copy = mosa_arena_strndup(&out->arena, text.data, text.len);
    if (!copy || !grow(t, &out->tokens, &t->cap_tokens, out->n_tokens + 1, sizeof *out->tokens)) {
        t->failed = true;
        return;
    }
    out->tokens[out->n_tokens++] = (mosa_slice){copy, text.len};
    mosa_word_counts_add(&t->token_ids, bytes, out->n_tokens);
    t->failed |= t->token_ids.failed;
}

static mosa_status add_specials(trainer *t, mosa_error *err) {
    mosa_buf spelled = {0};
    for (size_t i = 0; i < t->options->n_special && !t->failed; i++) {
        mosa_slice text = t->options->special[i];
        for (size_t j = 0; j < i; j++)
            if (mosa_slice_eq(text, t->options->special[j])) {
                mosa_buf_finish(&spelled);
                return mosa_fail(err, MOSA_EINVALID, "special token %.*s is given twice", (int)text.len, text.data);
            }
        // A merge may spell a special token's text; both are then the same entry of the vocabulary.
        mosa_buf_clear(&spelled);
        bool bytes = mosa_byte_level_decode(text, &spelled);
        add_token(t, text, bytes ? mosa_buf_slice(&spelled) : text);
    }
    mosa_buf_finish(&spelled);
    t->out->n_special = t->out->n_tokens;
    return MOSA_OK;
}

// Bytes in the order of their visible characters: those that are printable by themselves, then the others.
static bool is_printable(int byte) {
    return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

static void add_bytes(trainer *t, uint32_t id_of_byte[BYTES]) {
    for (int pass = 0; pass < 2; pass++) {
        for (int byte = 0; byte < BYTES; byte++) {
            if (is_printable(byte) != (pass == 0)) continue;
            char c = (char)byte;
            uint32_t known = t->token_ids.n_slots ? find_token(t, (mosa_slice){&c, 1}) : NO_LIST;
            id_of_byte[byte] = known != NO_LIST ? known : (uint32_t)t->out->n_tokens;
            if (known == NO_LIST) add_token(t, (mosa_slice){&c, 1}, (mosa_slice){&c, 1});
        }
    }
}

// Id of the token that the pair makes: a known one with the same bytes, or a new one.
static uint32_t token_of_merge(trainer *t, mosa_bpe_pair ids, mosa_buf *bytes) {
    mosa_buf_clear(bytes);
    mosa_buf_append_slice(bytes, t->out->tokens[ids.left]);
    mosa_buf_append_slice(bytes, t->out->tokens[ids.right]);
    t->failed |= mosa_buf_failed(bytes);
    if (t->failed) return NO_LIST;
    uint32_t known = find_token(t, mosa_buf_slice(bytes));
    if (known != NO_LIST) return known;
    add_token(t, mosa_buf_slice(bytes), mosa_buf_slice(bytes));
    return (uint32_t)t->out->n_tokens - 1;
}

// --- merging --------------------------------------------------------------------------------------------------------

static void load_words(trainer *t, const mosa_word_counts *words, const uint32_t id_of_byte[BYTES]) {
    size_t bytes = 0;
    for (size_t i = 0; i < words->n_words; i++) bytes += words->words[i].word.len;
    t->n_words = words->n_words;
    t->words = calloc(t->n_words + 1, sizeof *t->words);
    t->symbols = calloc(bytes + 1, sizeof *t->symbols);
    if (!t->words || !t->symbols) {
        t->failed = true;
        return;
    }
    uint32_t *at = t->symbols;
    for (size_t i = 0; i < t->n_words; i++) {
        const mosa_word_count *from = &words->words[i];
        t->words[i] = (word){at, (uint32_t)from->word.len, (int64_t)from->count};
        for (size_t b = 0; b < from->word.len; b++) *at++ = id_of_byte[(unsigned char)from->word.data[b]];
    }
    for (uint32_t w = 0; w < t->n_words && !t->failed; w++)
        for (uint32_t i = 0; i + 1 < t->words[w].len; i++)
            change(t, t->words[w].symbols[i], t->words[w].symbols[i + 1], 1, w);
    push_touched(t);
}

// Replaces the pair in one word, from left to right, and books what its neighbours lose and gain.
static void merge_in_word(trainer *t, uint32_t w, mosa_bpe_pair ids, uint32_t token) {
    word *q = &t->words[w];
    uint32_t to = 0;
    for (uint32_t from = 0; from < q->len; from++) {
        uint32_t symbol = q->symbols[from];
        if (symbol != ids.left || from + 1 == q->len || q->symbols[from + 1] != ids.right) {
            q->symbols[to++] = symbol;
            continue;
        }
        if (to > 0) {
            change(t, q->symbols[to - 1], ids.left, -1, w);
            change(t, q->symbols[to - 1], token, 1, w);
        }
        if (from + 2 < q->len) {
            change(t, ids.right, q->symbols[from + 2], -1, w);
            change(t, token, q->symbols[from + 2], 1, w);
        }
        q->symbols[to++] = token;
        from++;
    }
    q->len = to;
}

static void merge_best(trainer *t, const candidate *best, mosa_buf *bytes) {
    uint32_t token = token_of_merge(t, best->ids, bytes);
    mosa_bpe_vocab *out = t->out;
    if (t->failed || !grow(t, &out->merges, &t->cap_merges, out->n_merges + 1, sizeof *out->merges)) return;
    out->merges[out->n_merges++] = best->ids;
    word_list list = t->lists[best->list];
    t->lists[best->list] = (word_list){0};
    for (uint32_t i = 0; i < list.len && !t->failed; i++) merge_in_word(t, list.items[i], best->ids, token);
    free(list.items);
    push_touched(t);
}

static void merge_all(trainer *t) {
    const mosa_bpe_train_options *o = t->options;
    uint64_t least = o->min_frequency ? o->min_frequency : 1;
    mosa_buf bytes = {0};
    while (!t->failed && t->out->n_tokens < o->vocab_size && t->n_heap) {
        candidate best = pop(t);
        int64_t count = t->pairs[best.pair].count;
        if (best.count != (uint64_t)count) {
            best.count = count > 0 ? (uint64_t)count : 0;
            if (count > 0) push(t, best);
            continue;
        }
        if (best.count < least) break;
        merge_best(t, &best, &bytes);
        if (o->progress && t->out->n_tokens % PROGRESS_EVERY == 0) o->progress(o->user, t->out->n_tokens);
    }
    mosa_buf_finish(&bytes);
}

// A pair that was merged twice keeps its last place, as in a map from pairs to ranks.
static void drop_repeated_merges(trainer *t) {
    mosa_bpe_vocab *out = t->out;
    for (size_t i = 0; i < t->n_pairs; i++) t->pairs[i].count = 0;
    for (size_t i = 0; i < out->n_merges; i++) t->pairs[pair_of(t, out->merges[i])].count = (int64_t)i;
    size_t to = 0;
    for (size_t i = 0; i < out->n_merges; i++)
        if (t->pairs[pair_of(t, out->merges[i])].count == (int64_t)i) out->merges[to++] = out->merges[i];
    out->n_merges = to;
}

static void finish(trainer *t) {
    for (size_t i = 0; i < t->n_lists; i++) free(t->lists[i].items);
    free(t->lists);
    free(t->pairs);
    free(t->pair_slots);
    free(t->heap);
    free(t->touched);
    free(t->words);
    free(t->symbols);
    mosa_word_counts_finish(&t->token_ids);
}

void mosa_bpe_vocab_finish(mosa_bpe_vocab *vocab) {
    free(vocab->tokens);
    free(vocab->merges);
    mosa_arena_finish(&vocab->arena);
    *vocab = (mosa_bpe_vocab){0};
}

mosa_status mosa_bpe_train(const mosa_word_counts *words, const mosa_bpe_train_options *options, mosa_bpe_vocab *out,
                           mosa_error *err) {
    if (options->vocab_size < options->n_special + BYTES || options->vocab_size > MOSA_VOCAB_MAX)
        return mosa_fail(err, MOSA_EINVALID, "a vocabulary of %zu tokens: must be %zu (bytes and special tokens) to %d",
                         options->vocab_size, options->n_special + BYTES, MOSA_VOCAB_MAX);
    mosa_bpe_vocab vocab = {0};
    mosa_arena_init(&vocab.arena, 0, 0);
    trainer t = {.options = options, .out = &vocab};
    mosa_word_counts_init(&t.token_ids);
    uint32_t id_of_byte[BYTES];
    mosa_status status = add_specials(&t, err);
    if (status == MOSA_OK) {
        add_bytes(&t, id_of_byte);
        if (!t.failed) load_words(&t, words, id_of_byte);
        if (!t.failed) merge_all(&t);
        if (!t.failed) drop_repeated_merges(&t);
        if (t.failed || words->failed) status = mosa_fail(err, MOSA_ENOMEM, "out of memory for the vocabulary");
    }
    finish(&t);
    if (status == MOSA_OK)
        *out = vocab;
    else
        mosa_bpe_vocab_finish(&vocab);
    return status;
}
