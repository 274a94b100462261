// Byte trie: all keys that are prefixes of a text, in one walk.
//
// Nodes are numbers; edges live in one hash table keyed by (node, byte), so that a step is one probe whatever the
// fan-out. Built by one thread, then immutable. Owns its memory (finish).
#ifndef MOSA_TEXT_TRIE_H
#define MOSA_TEXT_TRIE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

typedef struct mosa_trie_edge {
    uint32_t parent; // UINT32_MAX when free
    uint32_t child;
    uint8_t byte;
} mosa_trie_edge;

typedef struct mosa_trie {
    mosa_trie_edge *edges;
    int32_t *values;    // per node, -1 when no key ends there
    uint32_t edge_mask; // slot count - 1
    uint32_t node_count, node_capacity;
    bool first_bytes[256]; // which bytes start a key
} mosa_trie;

enum { MOSA_TRIE_ROOT = 0, MOSA_TRIE_NONE = UINT32_MAX };

bool mosa_trie_init(mosa_trie *trie);   // false when out of memory
void mosa_trie_finish(mosa_trie *trie); // safe on a zeroed struct
// Adds a non-empty key with a value >= 0; a key that is there keeps its first value. False when out of memory.
bool mosa_trie_add(mosa_trie *trie, mosa_slice key, int32_t value);
// The node behind `byte`, or MOSA_TRIE_NONE.
uint32_t mosa_trie_step(const mosa_trie *trie, uint32_t node, unsigned char byte);
static inline int32_t mosa_trie_value(const mosa_trie *trie, uint32_t node) {
    return trie->values[node];
}
// Longest key at the start of data: its value and length, or -1.
int32_t mosa_trie_longest(const mosa_trie *trie, const char *data, size_t len, size_t *matched);

#endif
