// Merging. Invariant of both algorithms: symbols cover the word in order, and a pair is merged only if its two symbols
// are adjacent now; entries of the heap that no longer describe such a pair are skipped when they come up.
#include "text/bpe.h"

#include <stdlib.h>

#include "text/bpe_internal.h"
#include "text/unicode.h"

enum { SHORT_MAX = 64 }; // symbols merged in arrays; beyond it the heap wins

// Symbols of user-defined pieces are FROZEN - token: negative, so that no merge is found for them.
enum { FROZEN = -2 };

typedef struct symbol {
    int32_t id;           // -1: no token; still spells bytes
    uint32_t offset, len; // bytes of the word; len 0 = merged into its left neighbour
    uint32_t prev, next;  // indices, NO_SYMBOL at the ends
} symbol;

typedef struct candidate {
    uint32_t rank, at;
    int32_t result;
} candidate;

static const uint32_t NO_SYMBOL = UINT32_MAX;

void mosa_bpe_scratch_finish(mosa_bpe_scratch *scratch) {
    free(scratch->symbols);
    free(scratch->heap);
    *scratch = (mosa_bpe_scratch){0};
}

// --- Output ---------------------------------------------------------------------------------------------------------

static void emit_unknown(const mosa_bpe *bpe, mosa_bpe_scratch *scratch, const char *data, uint32_t len,
                         mosa_token_list *out) {
    bool all = bpe->byte_fallback;
    for (uint32_t i = 0; all && i < len; i++) all = bpe->bytes[(unsigned char)data[i]] >= 0;
    if (all) {
        for (uint32_t i = 0; i < len; i++) mosa_token_list_append(out, bpe->bytes[(unsigned char)data[i]]);
        scratch->last_was_unk = false;
        return;
    }
    if (bpe->unk < 0 || (bpe->fuse_unk && scratch->last_was_unk)) return;
    mosa_token_list_append(out, bpe->unk);
    scratch->last_was_unk = true;
}

static void emit_symbol(const mosa_bpe *bpe, mosa_bpe_scratch *scratch, int32_t id, const char *data, uint32_t len,
                        mosa_token_list *out) {
    if (id <= FROZEN) id = FROZEN - id;
    if (id < 0 || id >= bpe->token_count) {
        emit_unknown(bpe, scratch, data, len, out);
        return;
    }
    mosa_token_list_append(out, id);
    scratch->last_was_unk = false;
}

// --- Symbols of a word ----------------------------------------------------------------------------------------------

// The symbol of the character at `at`, with the prefix or suffix that the vocabulary gives to inner and last ones.
static int32_t decorated_symbol(const mosa_bpe *bpe, mosa_slice word, size_t at, unsigned len) {
    char text[MOSA_UTF8_MAX + 2 * MOSA_BPE_AFFIX_MAX];
    size_t used = 0;
    if (at > 0) {
        memcpy(text, bpe->subword_prefix.data, bpe->subword_prefix.len);
        used = bpe->subword_prefix.len;
    }
    memcpy(text + used, word.data + at, len);
    used += len;
    if (at + len == word.len) {
        memcpy(text + used, bpe->word_suffix.data, bpe->word_suffix.len);
        used += bpe->word_suffix.len;
    }
    return mosa_string_table_find(&bpe->words, text, used);
}

// The unit at byte `at`: its symbol (-1 if none) and its length.
static int32_t unit_at(const mosa_bpe *bpe, mosa_slice word, size_t at, unsigned *len) {
    unsigned char lead = (unsigned char)word.data[at];
    if (bpe->byte_level) {
        *len = 1;
        return bpe->bytes[lead];
    }
    size_t matched;
    int32_t frozen = bpe->verbatim ? mosa_trie_longest(bpe->verbatim, word.data + at, word.len - at, &matched) : -1;
    if (frozen >= 0) {
        *len = (unsigned)matched;
        return FROZEN - frozen;
    }
    *len = mosa_utf8_len(lead);
    if (bpe->subword_prefix.len || bpe->word_suffix.len) return decorated_symbol(bpe, word, at, *len);
    return mosa_string_table_find(&bpe->words, word.data + at, *len);
}

// A character that has no symbol and would leave no trace.
static bool dropped(const mosa_bpe *bpe, mosa_slice word, size_t at, unsigned len) {
    if (bpe->unk >= 0) return false;
    if (!bpe->byte_fallback) return true;
    for (unsigned i = 0; i < len; i++) {
        if (bpe->bytes[(unsigned char)word.data[at + i]] < 0) return true;
    }
    return false;
}

// --- Short words: arrays --------------------------------------------------------------------------------------------

typedef struct short_word {
    int32_t id[SHORT_MAX];
    uint32_t offset[SHORT_MAX + 1]; // offset[count] is the end
    uint32_t rank[SHORT_MAX];       // of the pair (i, i+1); UINT32_MAX = does not merge
    int32_t result[SHORT_MAX];
    uint32_t count;
} short_word;

static void rank_pair(const mosa_bpe *bpe, short_word *w, uint32_t i) {
    const mosa_bpe_merge *merge = i + 1 < w->count ? mosa_bpe_find_merge(bpe, w->id[i], w->id[i + 1]) : NULL;
    w->rank[i] = merge ? merge->rank : UINT32_MAX;
    w->result[i] = merge ? merge->result : -1;
}

static void merge_short(const mosa_bpe *bpe, short_word *w) {
    for (uint32_t i = 0; i < w->count; i++) rank_pair(bpe, w, i);
    for (;;) {
        uint32_t best = 0;
        for (uint32_t i = 1; i + 1 < w->count; i++) {
            if (w->rank[i] < w->rank[best]) best = i;
        }
        if (w->count < 2 || w->rank[best] == UINT32_MAX) return;
        w->id[best] = w->result[best];
        uint32_t tail = w->count - best - 2;
        memmove(w->id + best + 1, w->id + best + 2, tail * sizeof *w->id);
        memmove(w->offset + best + 1, w->offset + best + 2, (tail + 1) * sizeof *w->offset);
        memmove(w->rank + best + 1, w->rank + best + 2, tail * sizeof *w->rank);
        memmove(w->result + best + 1, w->result + best + 2, tail * sizeof *w->result);
        w->count--;
        rank_pair(bpe, w, best);
        if (best > 0) rank_pair(bpe, w, best - 1);
    }
}

// --- Long words: linked list and heap -------------------------------------------------------------------------------

static bool before(candidate a, candidate b) {
    return a.rank < b.rank || (a.rank == b.rank && a.at < b.at);
}

static bool heap_push(mosa_bpe_scratch *scratch, size_t *count, candidate item) {
    if (*count == scratch->heap_capacity) {
        size_t capacity = scratch->heap_capacity ? scratch->heap_capacity * 2 : 1024;
        void *grown = realloc(scratch->heap, capacity * sizeof(candidate));
        if (!grown) return false;
        scratch->heap = grown;
        scratch->heap_capacity = capacity;
    }
    candidate *heap = scratch->heap;
    size_t at = (*count)++;
    while (at > 0 && before(item, heap[(at - 1) / 2])) {
        heap[at] = heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap[at] = item;
    return true;
}

static candidate heap_pop(candidate *heap, size_t *count) {
    candidate top = heap[0], last = heap[--*count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= *count) break;
        if (child + 1 < *count && before(heap[child + 1], heap[child])) child++;
        if (!before(heap[child], last)) break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = last;
    return top;
}

static bool push_pair(const mosa_bpe *bpe, mosa_bpe_scratch *scratch, const symbol *s, uint32_t at, size_t *count) {
    if (at == NO_SYMBOL || s[at].next == NO_SYMBOL) return true;
    const mosa_bpe_merge *merge = mosa_bpe_find_merge(bpe, s[at].id, s[s[at].next].id);
    return !merge || heap_push(scratch, count, (candidate){merge->rank, at, merge->result});
}

static bool merge_long(const mosa_bpe *bpe, mosa_bpe_scratch *scratch, symbol *s, uint32_t symbol_count) {
    size_t count = 0;
    for (uint32_t i = 0; i < symbol_count; i++) {
        if (!push_pair(bpe, scratch, s, i, &count)) return false;
    }
    while (count > 0) {
        candidate top = heap_pop(scratch->heap, &count);
        symbol *left = &s[top.at];
        if (left->len == 0 || left->next == NO_SYMBOL) continue;
        symbol *right = &s[left->next];
        const mosa_bpe_merge *merge = mosa_bpe_find_merge(bpe, left->id, right->id);
        if (!merge || merge->result != top.result) continue;
        left->id = top.result;
        left->len += right->len;
        left->next = right->next;
        right->len = 0;
        if (left->next != NO_SYMBOL) s[left->next].prev = top.at;
        if (!push_pair(bpe, scratch, s, left->prev, &count) || !push_pair(bpe, scratch, s, top.at, &count))
            return false;
    }
    return true;
}

static symbol *reserve_symbols(mosa_bpe_scratch *scratch, size_t count) {
    if (count > scratch->symbol_capacity) {
        free(scratch->symbols);
        scratch->symbol_capacity = 0;
        scratch->symbols = malloc(count * sizeof(symbol));
        if (!scratch->symbols) return NULL;
        scratch->symbol_capacity = count;
    }
    return scratch->symbols;
}

static bool encode_long(const mosa_bpe *bpe, mosa_bpe_scratch *scratch, mosa_slice word, mosa_token_list *out) {
    symbol *s = reserve_symbols(scratch, word.len);
    if (!s) return false;
    uint32_t count = 0;
    unsigned len;
    for (size_t at = 0; at < word.len; at += len) {
        int32_t id = unit_at(bpe, word, at, &len);
        if (id == -1 && dropped(bpe, word, at, len)) continue;
        s[count] = (symbol){id, (uint32_t)at, len, count ? count - 1 : NO_SYMBOL, count + 1};
        count++;
    }
    if (count == 0) return true;
    s[count - 1].next = NO_SYMBOL;
    if (!merge_long(bpe, scratch, s, count)) return false;
    for (uint32_t i = 0; i != NO_SYMBOL; i = s[i].next) {
        emit_symbol(bpe, scratch, s[i].id, word.data + s[i].offset, s[i].len, out);
    }
    return true;
}

// --- Words ----------------------------------------------------------------------------------------------------------

enum { MEMO_UNKNOWN, MEMO_ITSELF, MEMO_OTHER }; // what merging a token's own text gives

static bool encode_merged(const mosa_bpe *bpe, mosa_bpe_scratch *scratch, mosa_slice word, int32_t token,
                          mosa_token_list *out) {
    short_word w;
    w.count = 0;
    unsigned len;
    for (size_t at = 0; at < word.len; at += len) {
        int32_t id = unit_at(bpe, word, at, &len);
        if (id == -1 && dropped(bpe, word, at, len)) continue;
        if (w.count == SHORT_MAX) return encode_long(bpe, scratch, word, out);
        w.id[w.count] = id;
        w.offset[w.count++] = (uint32_t)at;
        w.offset[w.count] = (uint32_t)(at + len);
    }
    merge_short(bpe, &w);
    if (token >= 0) {
        bool itself = w.count == 1 && w.id[0] == token;
        __atomic_store_n(&bpe->memo[token], itself ? MEMO_ITSELF : MEMO_OTHER, __ATOMIC_RELAXED);
    }
    for (uint32_t i = 0; i < w.count; i++) {
        emit_symbol(bpe, scratch, w.id[i], word.data + w.offset[i], w.offset[i + 1] - w.offset[i], out);
    }
    return true;
}

static bool encode_word(const mosa_bpe *bpe, mosa_bpe_scratch *scratch, mosa_slice word, mosa_token_list *out) {
    if (!bpe->fuse_across_words) scratch->last_was_unk = false;
    int32_t token = -1;
    // With affixes the word's own spelling differs from its symbols', so the shortcut does not apply.
    if (bpe->ignore_merges || (!bpe->subword_prefix.len && !bpe->word_suffix.len)) {
        token = mosa_string_table_find(&bpe->words, word.data, word.len);
        if (token >= bpe->token_count) token = -1;
    }
    if (token >= 0 && (bpe->ignore_merges || __atomic_load_n(&bpe->memo[token], __ATOMIC_RELAXED) == MEMO_ITSELF)) {
        emit_symbol(bpe, scratch, token, word.data, (uint32_t)word.len, out);
        return true;
    }
    return encode_merged(bpe, scratch, word, token, out);
}

// Cutting where no merge can reach across keeps words short: SentencePiece hands over whole texts.
static bool encode_cut(const mosa_bpe *bpe, mosa_bpe_scratch *scratch, mosa_slice text, mosa_token_list *out) {
    static const char marker[] = "\xE2\x96\x81";
    size_t start = 0;
    bool after_marker = true;
    for (size_t at = 0; at < text.len;) {
        bool is_marker = text.len - at >= 3 && memcmp(text.data + at, marker, 3) == 0;
        if (is_marker && !after_marker) {
            if (!encode_word(bpe, scratch, (mosa_slice){text.data + start, at - start}, out)) return false;
            start = at;
        }
        after_marker = is_marker;
        at += mosa_utf8_len((unsigned char)text.data[at]);
    }
    return encode_word(bpe, scratch, (mosa_slice){text.data + start, text.len - start}, out);
}

bool mosa_bpe_encode(const mosa_bpe *bpe, mosa_bpe_scratch *scratch, mosa_slice word, mosa_token_list *out) {
    if (word.len == 0) return true;
    if (bpe->fuse_across_words) scratch->last_was_unk = false;
    return bpe->cut_at_marker ? encode_cut(bpe, scratch, word, out) : encode_word(bpe, scratch, word, out);
}
