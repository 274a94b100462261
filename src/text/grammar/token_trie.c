// Building the flat tries from a tokenizer: sort the byte strings of each group, then lay nodes out in that order.
#include "text/grammar/token_trie.h"

#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

const uint32_t mosa_trie_group_chars[MOSA_TRIE_PLAIN_GROUPS] = {1, 2, 4, 8, 16, MOSA_TRIE_DEPTH_MAX};

typedef struct entry {
    mosa_slice bytes;
    mosa_token_id token;
} entry;

static int by_bytes(const void *a, const void *b) {
    const entry *x = a, *y = b;
    size_t n = x->bytes.len < y->bytes.len ? x->bytes.len : y->bytes.len;
    int order = memcmp(x->bytes.data, y->bytes.data, n);
    if (order) return order;
    if (x->bytes.len != y->bytes.len) return x->bytes.len < y->bytes.len ? -1 : 1;
    return x->token < y->token ? -1 : 1;
}

mosa_slice mosa_token_trie_bytes(const mosa_token_trie *trie, mosa_token_id token) {
    mosa_token_type type = mosa_tokenizer_token_type(trie->tokenizer, token);
    mosa_slice bytes = mosa_tokenizer_token_bytes(trie->tokenizer, token);
    bool text = type == MOSA_TOKEN_NORMAL || type == MOSA_TOKEN_USER_DEFINED || type == MOSA_TOKEN_BYTE;
    if (!text || bytes.len > MOSA_TRIE_DEPTH_MAX || mosa_token_trie_is_end(trie, token)) return (mosa_slice){"", 0};
    return bytes;
}

bool mosa_token_trie_is_end(const mosa_token_trie *trie, mosa_token_id token) {
    for (size_t i = 0; i < trie->end_count; i++)
        if (trie->ends[i] == token) return true;
    return false;
}

static int group_of(mosa_slice bytes) {
    size_t chars = 0;
    for (size_t i = 0; i < bytes.len; chars++) {
        unsigned char c = (unsigned char)bytes.data[i];
        size_t len = mosa_utf8_len((const unsigned char *)bytes.data + i, bytes.len - i);
        if (len == 0 || c < 0x20 || c == '"' || c == '\\') return MOSA_TRIE_PLAIN_GROUPS;
        i += len;
    }
    int g = 0;
    while (mosa_trie_group_chars[g] < chars) g++;
    return g;
}

static size_t common_prefix(mosa_slice a, mosa_slice b) {
    size_t n = 0;
    while (n < a.len && n < b.len && a.data[n] == b.data[n]) n++;
    return n;
}

// Entries of one group are sorted, so a node's subtree is complete when an entry leaves its prefix.
static void lay_out(mosa_token_trie *t, const entry *entries, size_t count, uint32_t *open) {
    size_t depth = 0;
    for (size_t i = 0; i < count; i++) {
        size_t shared = i ? common_prefix(entries[i - 1].bytes, entries[i].bytes) : 0;
        for (; depth > shared; depth--) t->nodes[open[depth]].end_depth |= t->node_count << 8;
        for (; depth < entries[i].bytes.len; depth++) {
            open[depth + 1] = t->node_count;
            t->nodes[t->node_count++] =
                (mosa_trie_node){(unsigned char)entries[i].bytes.data[depth], (uint32_t)depth + 1};
        }
        mosa_trie_node *last = &t->nodes[open[depth]];
        if (mosa_trie_token(*last) < 0)
            last->token_byte |= (uint32_t)(entries[i].token + 1) << 8;
        else
            t->twins[t->twin_count++] = (mosa_token_twin){mosa_trie_token(*last), entries[i].token};
    }
    for (; depth > 0; depth--) t->nodes[open[depth]].end_depth |= t->node_count << 8;
}

static void fill_group(mosa_token_trie *t, int g, entry *entries, size_t count) {
    uint32_t open[MOSA_TRIE_DEPTH_MAX + 1];
    t->groups[g].begin = t->node_count;
    qsort(entries, count, sizeof *entries, by_bytes);
    lay_out(t, entries, count, open);
    t->groups[g].end = t->node_count;
    for (size_t i = 0; i < count; i++) mosa_mask_set(t->groups[g].bits, entries[i].token);
}

static bool allocate(mosa_token_trie *t, size_t nodes, size_t tokens, size_t ends) {
    t->nodes = calloc(nodes + 1, sizeof *t->nodes);
    t->twins = calloc(tokens + 1, sizeof *t->twins);
    t->ends = calloc(ends + 1, sizeof *t->ends);
    bool ok = t->nodes && t->twins && t->ends;
    for (int g = 0; g < MOSA_TRIE_GROUPS; g++) {
        t->groups[g].bits = calloc(t->mask_words + 1, sizeof(uint64_t));
        ok = ok && t->groups[g].bits;
    }
    return ok;
}

// Gathers the tokens with bytes, sorted into groups by a counting sort; starts[g] is where group g begins.
static void gather(const mosa_token_trie *t, entry *entries, size_t starts[MOSA_TRIE_GROUPS + 1]) {
    size_t tokens = mosa_tokenizer_size(t->tokenizer), at[MOSA_TRIE_GROUPS];
    memset(starts, 0, (MOSA_TRIE_GROUPS + 1) * sizeof *starts);
    for (size_t i = 0; i < tokens; i++) {
        mosa_slice bytes = mosa_token_trie_bytes(t, (mosa_token_id)i);
        if (bytes.len) starts[group_of(bytes) + 1]++;
    }
    for (int g = 0; g < MOSA_TRIE_GROUPS; g++) starts[g + 1] += starts[g];
    memcpy(at, starts, sizeof at);
    for (size_t i = 0; i < tokens; i++) {
        mosa_slice bytes = mosa_token_trie_bytes(t, (mosa_token_id)i);
        if (bytes.len) entries[at[group_of(bytes)]++] = (entry){bytes, (mosa_token_id)i};
    }
}

static int by_first(const void *a, const void *b) {
    const mosa_token_twin *x = a, *y = b;
    return x->first != y->first ? (x->first < y->first ? -1 : 1) : x->other < y->other ? -1 : 1;
}

mosa_status mosa_token_trie_create(const mosa_tokenizer *tokenizer, const mosa_token_id *end_ids, size_t end_count,
                                   size_t vocab, mosa_token_trie **out, mosa_error *err) {
    size_t tokens = mosa_tokenizer_size(tokenizer), bytes = 0, starts[MOSA_TRIE_GROUPS + 1];
    mosa_token_trie *t = calloc(1, sizeof *t);
    entry *entries = calloc(tokens + 1, sizeof *entries);
    if (!t || !entries) goto fail;
    t->tokenizer = tokenizer;
    t->vocab = vocab > tokens ? vocab : tokens;
    t->mask_words = (t->vocab + 63) / 64;
    for (size_t i = 0; i < tokens; i++) bytes += mosa_tokenizer_token_bytes(tokenizer, (mosa_token_id)i).len;
    if (bytes >= (size_t)1 << 24 || !allocate(t, bytes, tokens, end_count)) goto fail;
    t->end_count = end_count;
    if (end_count) memcpy(t->ends, end_ids, end_count * sizeof *t->ends);
    gather(t, entries, starts);
    for (int g = 0; g < MOSA_TRIE_GROUPS; g++) fill_group(t, g, entries + starts[g], starts[g + 1] - starts[g]);
    qsort(t->twins, t->twin_count, sizeof *t->twins, by_first);
    free(entries);
    *out = t;
    return MOSA_OK;
fail:
    free(entries);
    mosa_token_trie_destroy(t);
    return mosa_fail(err, MOSA_ENOMEM, "out of memory for the trie of a vocabulary of %zu tokens", tokens);
}

void mosa_token_trie_destroy(mosa_token_trie *t) {
    if (!t) return;
    for (int g = 0; g < MOSA_TRIE_GROUPS; g++) free(t->groups[g].bits);
    free(t->nodes);
    free(t->twins);
    free(t->ends);
    free(t);
}

size_t mosa_token_trie_mask_words(const mosa_token_trie *trie) {
    return trie->mask_words;
}

bool mosa_token_trie_extends(const mosa_token_trie *t, mosa_slice bytes) {
    for (int g = 0; g < MOSA_TRIE_GROUPS; g++) {
        uint32_t at = t->groups[g].begin, end = t->groups[g].end;
        size_t depth = 0;
        while (depth < bytes.len && at < end) {
            mosa_trie_node node = t->nodes[at];
            if (mosa_trie_byte(node) != (unsigned char)bytes.data[depth]) {
                at = mosa_trie_end(node);
                continue;
            }
            end = mosa_trie_end(node);
            at++;
            depth++;
        }
        if (depth == bytes.len && at < end) return true;
    }
    return false;
}
