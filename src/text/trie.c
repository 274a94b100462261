// Edges in an open-addressed table that doubles when half full.
#include "text/trie.h"

#include <stdlib.h>

static uint32_t hash_edge(uint32_t node, unsigned char byte) {
    uint64_t key = ((uint64_t)node << 8 | byte) * 0x9E3779B97F4A7C15u;
    return (uint32_t)(key >> 32);
}

static mosa_trie_edge *new_edges(size_t count) {
    mosa_trie_edge *edges = malloc(count * sizeof *edges);
    if (!edges) return NULL;
    for (size_t i = 0; i < count; i++) edges[i].parent = MOSA_TRIE_NONE;
    return edges;
}

bool mosa_trie_init(mosa_trie *trie) {
    *trie = (mosa_trie){.node_capacity = 64, .edge_mask = 127};
    trie->edges = new_edges(trie->edge_mask + 1);
    trie->values = malloc(trie->node_capacity * sizeof *trie->values);
    if (!trie->edges || !trie->values) {
        mosa_trie_finish(trie);
        return false;
    }
    trie->values[MOSA_TRIE_ROOT] = -1;
    trie->node_count = 1;
    return true;
}

void mosa_trie_finish(mosa_trie *trie) {
    free(trie->edges);
    free(trie->values);
    *trie = (mosa_trie){0};
}

static mosa_trie_edge *find_edge(const mosa_trie *trie, uint32_t node, unsigned char byte) {
    uint32_t at = hash_edge(node, byte) & trie->edge_mask;
    for (;; at = (at + 1) & trie->edge_mask) {
        mosa_trie_edge *edge = &trie->edges[at];
        if (edge->parent == MOSA_TRIE_NONE || (edge->parent == node && edge->byte == byte)) return edge;
    }
}

uint32_t mosa_trie_step(const mosa_trie *trie, uint32_t node, unsigned char byte) {
    const mosa_trie_edge *edge = find_edge(trie, node, byte);
    return edge->parent == MOSA_TRIE_NONE ? MOSA_TRIE_NONE : edge->child;
}

static bool grow_edges(mosa_trie *trie) {
    mosa_trie old = *trie;
    size_t count = (size_t)old.edge_mask + 1;
    if (count > UINT32_MAX / 4) return false;
    trie->edges = new_edges(count * 2);
    if (!trie->edges) {
        trie->edges = old.edges;
        return false;
    }
    trie->edge_mask = (uint32_t)(count * 2 - 1);
    for (size_t i = 0; i < count; i++) {
        if (old.edges[i].parent != MOSA_TRIE_NONE) {
            *find_edge(trie, old.edges[i].parent, old.edges[i].byte) = old.edges[i];
        }
    }
    free(old.edges);
    return true;
}

static bool add_node(mosa_trie *trie, uint32_t *node) {
    if (trie->node_count == trie->node_capacity) {
        int32_t *values = realloc(trie->values, 2 * (size_t)trie->node_capacity * sizeof *values);
        if (!values) return false;
        trie->values = values;
        trie->node_capacity *= 2;
    }
    *node = trie->node_count++;
    trie->values[*node] = -1;
    return true;
}

bool mosa_trie_add(mosa_trie *trie, mosa_slice key, int32_t value) {
    uint32_t node = MOSA_TRIE_ROOT;
    trie->first_bytes[(unsigned char)key.data[0]] = true;
    for (size_t i = 0; i < key.len; i++) {
        unsigned char byte = (unsigned char)key.data[i];
        mosa_trie_edge *edge = find_edge(trie, node, byte);
        if (edge->parent == MOSA_TRIE_NONE) {
            uint32_t child;
            if (trie->node_count > trie->edge_mask / 2) {
                if (!grow_edges(trie)) return false;
                edge = find_edge(trie, node, byte);
            }
            if (!add_node(trie, &child)) return false;
            *edge = (mosa_trie_edge){.parent = node, .child = child, .byte = byte};
        }
        node = edge->child;
    }
    if (trie->values[node] < 0) trie->values[node] = value;
    return true;
}

int32_t mosa_trie_longest(const mosa_trie *trie, const char *data, size_t len, size_t *matched) {
    int32_t best = -1;
    uint32_t node = MOSA_TRIE_ROOT;
    for (size_t i = 0; i < len; i++) {
        node = mosa_trie_step(trie, node, (unsigned char)data[i]);
        if (node == MOSA_TRIE_NONE) break;
        if (trie->values[node] < 0) continue;
        best = trie->values[node];
        *matched = i + 1;
    }
    return best;
}
