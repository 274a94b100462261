// The vocabulary as flat tries: what a mask walks over.
//
// Nodes lie in depth-first order; a subtree that dies is skipped by one jump. Tokens are split into groups, each with
// its own trie: group g < MOSA_TRIE_PLAIN_GROUPS holds tokens of 1 to mosa_trie_group_chars[g] whole characters that a
// JSON string shows as they are (no quote, backslash or control), the last group everything else. A lexer state in
// which any n such characters may follow takes the bits of every group up to n characters without a walk.
//
// Control tokens have no bytes here: a grammar names them. Several tokens with the same bytes are twins: the trie holds
// the first, and a mask copies its bit. Immutable after creation.
#ifndef MOSA_TEXT_GRAMMAR_TOKEN_TRIE_H
#define MOSA_TEXT_GRAMMAR_TOKEN_TRIE_H

#include "text/grammar/grammar.h"

enum {
    MOSA_TRIE_PLAIN_GROUPS = 6,
    MOSA_TRIE_GROUPS = MOSA_TRIE_PLAIN_GROUPS + 1,
    MOSA_TRIE_DEPTH_MAX = 250, // bytes; longer tokens are never allowed
};
extern const uint32_t mosa_trie_group_chars[MOSA_TRIE_PLAIN_GROUPS];

typedef struct mosa_trie_node {
    uint32_t token_byte; // (token + 1) << 8 | byte; token -1: no token ends here
    uint32_t end_depth;  // end << 8 | depth: first node behind the subtree, bytes up to here (root's children: 1)
} mosa_trie_node;

static inline int32_t mosa_trie_token(mosa_trie_node n) {
    return (int32_t)(n.token_byte >> 8) - 1;
}
static inline uint8_t mosa_trie_byte(mosa_trie_node n) {
    return (uint8_t)n.token_byte;
}
static inline uint32_t mosa_trie_end(mosa_trie_node n) {
    return n.end_depth >> 8;
}
static inline uint32_t mosa_trie_depth(mosa_trie_node n) {
    return n.end_depth & 255;
}

typedef struct mosa_trie_group {
    uint32_t begin, end; // nodes
    uint64_t *bits;      // (mask words) its tokens, twins included
} mosa_trie_group;

typedef struct mosa_token_twin {
    mosa_token_id first, other;
} mosa_token_twin;

struct mosa_token_trie {
    const mosa_tokenizer *tokenizer;
    size_t vocab, mask_words;
    mosa_trie_node *nodes;
    uint32_t node_count;
    mosa_trie_group groups[MOSA_TRIE_GROUPS];
    mosa_token_twin *twins; // (twin_count) sorted by first
    size_t twin_count;
    mosa_token_id *ends; // (end_count)
    size_t end_count;
};

// Bytes that `token` adds to the text; empty for tokens that only a grammar's <name> can ask for.
mosa_slice mosa_token_trie_bytes(const mosa_token_trie *trie, mosa_token_id token);
bool mosa_token_trie_is_end(const mosa_token_trie *trie, mosa_token_id token);
// True when some token's bytes begin with `bytes` and go on.
bool mosa_token_trie_extends(const mosa_token_trie *trie, mosa_slice bytes);

static inline void mosa_mask_set(uint64_t *mask, int32_t token) {
    mask[token >> 6] |= (uint64_t)1 << (token & 63);
}
static inline bool mosa_mask_has(const uint64_t *mask, int32_t token) {
    return (mask[token >> 6] >> (token & 63)) & 1;
}

#endif
