// Regular expressions over bytes as hash-consed terms, and their derivatives.
//
// A term is a number. Equal terms are one number, so that the derivatives of a term are finitely many and a lexer state
// is a list of numbers. Intersection and complement are ordinary terms: "matches the pattern, has 3 to 10 characters,
// is none of these keys" is one term. Source: Owens, Reppy, Turon, "Regular-expression derivatives re-examined" (2009).
//
// A pool is bounded: when it is full every constructor returns MOSA_RX_NONE and pool->failed is set, until the pool is
// cut back. Not thread-safe.
#ifndef MOSA_TEXT_GRAMMAR_RX_H
#define MOSA_TEXT_GRAMMAR_RX_H

#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

typedef uint32_t mosa_rx;
enum {
    MOSA_RX_NONE = 0, // matches nothing
    MOSA_RX_EPS = 1,  // the empty string
    MOSA_RX_ALL = 2,  // any bytes
    MOSA_RX_FOREVER = UINT32_MAX,
    MOSA_RX_NODES_MAX = 1 << 19,
    MOSA_RX_ARGS_MAX = 1 << 21,
    MOSA_RX_SETS_MAX = 1 << 13,
};

typedef struct mosa_byte_set {
    uint64_t words[4];
} mosa_byte_set;
static inline void mosa_byte_set_add(mosa_byte_set *set, unsigned lo, unsigned hi) {
    for (unsigned b = lo; b <= hi; b++) set->words[b >> 6] |= (uint64_t)1 << (b & 63);
}
static inline bool mosa_byte_set_has(const mosa_byte_set *set, unsigned b) {
    return (set->words[b >> 6] >> (b & 63)) & 1;
}

typedef enum mosa_rx_kind {
    MOSA_RX_KIND_NONE,
    MOSA_RX_KIND_EPS,
    MOSA_RX_KIND_ALL,
    MOSA_RX_KIND_SET,      // a: set
    MOSA_RX_KIND_CAT,      // a, then b; a is no CAT
    MOSA_RX_KIND_OR,       // args[a..a+b), sorted
    MOSA_RX_KIND_AND,      // args[a..a+b), sorted
    MOSA_RX_KIND_NOT,      // a
    MOSA_RX_KIND_REPEAT,   // a, b to c times; MOSA_RX_FOREVER
    MOSA_RX_KIND_MULTIPLE, // rest of a decimal whose value is to be a multiple; see mosa_rx_multiple
} mosa_rx_kind;

typedef struct mosa_rx_node {
    uint32_t a, b, c;
    uint32_t next;   // in its hash chain
    uint8_t kind;    // mosa_rx_kind
    bool nullable;   // matches the empty string
    bool logical;    // holds AND, NOT or MULTIPLE: may match nothing although it is not NONE
    uint8_t known;   // 1: matches something, 2: matches nothing; 0: not asked yet
    uint32_t marked; // of the last search that saw it
} mosa_rx_node;

typedef struct mosa_rx_memo {
    uint64_t key; // node << 8 | byte, plus 1
    mosa_rx value;
} mosa_rx_memo;

typedef struct mosa_rx_pool {
    mosa_rx_node *nodes; // (MOSA_RX_NODES_MAX) reserved
    uint32_t node_count;
    mosa_rx *args; // (MOSA_RX_ARGS_MAX) reserved
    uint32_t arg_count;
    mosa_byte_set *sets; // (MOSA_RX_SETS_MAX) reserved
    uint32_t *set_next;  // (MOSA_RX_SETS_MAX) reserved; chains of equal hash, numbers plus 1
    uint32_t set_heads[256];
    uint32_t set_count;
    uint32_t *heads;    // (HEADS) reserved; hash chains
    mosa_rx_memo *memo; // (MEMO) reserved; derivatives, direct-mapped
    uint32_t *stack;    // (MOSA_RX_NODES_MAX) reserved; of the search for a match
    mosa_rx *spine;     // (MOSA_RX_NODES_MAX) reserved; scratch of concatenation
    uint32_t search;
    bool failed;
    int64_t
        budget; // derivations left; the pool fails when they are used up, so that work is bounded the same everywhere
    uint32_t classed_sets; // the sets that classes were made of
    uint8_t class_of[256];
    uint8_t class_byte[256]; // one byte of each class
    int class_count;
} mosa_rx_pool;

bool mosa_rx_pool_init(mosa_rx_pool *pool); // false when out of memory
void mosa_rx_pool_finish(mosa_rx_pool *pool);
// Forgets the nodes from `node_count` and args from `arg_count` on. Sets stay.
void mosa_rx_pool_cut(mosa_rx_pool *pool, uint32_t node_count, uint32_t arg_count);
// Bytes that no set tells apart share a class. Up to date after every call.
void mosa_rx_classes(mosa_rx_pool *pool);

static inline bool mosa_rx_nullable(const mosa_rx_pool *pool, mosa_rx r) {
    return pool->nodes[r].nullable;
}

mosa_rx mosa_rx_set(mosa_rx_pool *pool, const mosa_byte_set *set);
mosa_rx mosa_rx_byte(mosa_rx_pool *pool, unsigned char byte);
mosa_rx mosa_rx_range(mosa_rx_pool *pool, unsigned char lo, unsigned char hi);
mosa_rx mosa_rx_literal(mosa_rx_pool *pool, mosa_slice bytes);
mosa_rx mosa_rx_cat(mosa_rx_pool *pool, mosa_rx a, mosa_rx b);
mosa_rx mosa_rx_or(mosa_rx_pool *pool, mosa_rx a, mosa_rx b);
mosa_rx mosa_rx_or_all(mosa_rx_pool *pool, const mosa_rx *args, size_t count); // args may be in any order
mosa_rx mosa_rx_and(mosa_rx_pool *pool, mosa_rx a, mosa_rx b);
mosa_rx mosa_rx_not(mosa_rx_pool *pool, mosa_rx a);
mosa_rx mosa_rx_repeat(mosa_rx_pool *pool, mosa_rx a, uint32_t min, uint32_t max);
static inline mosa_rx mosa_rx_star(mosa_rx_pool *pool, mosa_rx a) {
    return mosa_rx_repeat(pool, a, 0, MOSA_RX_FOREVER);
}
static inline mosa_rx mosa_rx_maybe(mosa_rx_pool *pool, mosa_rx a) {
    return mosa_rx_or(pool, MOSA_RX_EPS, a);
}
// One of the strings, as a term that shares their prefixes. Sorts `strings`.
mosa_rx mosa_rx_one_of(mosa_rx_pool *pool, mosa_slice *strings, size_t count);
// Decimals "digits" or "digits.digits" (no sign, no exponent) whose value is a multiple of step * 10^-scale;
// 1 <= step < 2^31, 0 <= scale <= 15.
mosa_rx mosa_rx_multiple(mosa_rx_pool *pool, uint32_t step, uint32_t scale);
// The same after some digits: `remainder` of their value, `point` 0 before the point, 1 + fraction digits behind it.
mosa_rx mosa_rx_multiple_after(mosa_rx_pool *pool, uint32_t step, uint32_t scale, uint32_t remainder, uint32_t point);

// What may follow `byte` in a string of r.
mosa_rx mosa_rx_derive(mosa_rx_pool *pool, mosa_rx r, uint8_t byte);
// r, or MOSA_RX_NONE when nothing matches r. Exact; a search that grows too large sets pool->failed.
mosa_rx mosa_rx_prune(mosa_rx_pool *pool, mosa_rx r);
bool mosa_rx_matches(mosa_rx_pool *pool, mosa_rx r, mosa_slice text);

#endif
