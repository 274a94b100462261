// The prefix tree: full KV pages, found again by the tokens that lead to them.
//
// A node is one full page; its key is its parent and its page_tokens token ids, so a path from the root spells a
// prompt.
//   root ── page "Once upon a time" ── page " there was a king"
//                                  └── page " there lived two"
// Trees of different salts share nothing: pages that an adapter computed are found by its sequences alone.
// Because a page's bits depend on its prefix alone, a sequence that reaches the same tokens can use the same page.
//
// Invariants: a node with references has a parent with references (a sequence refers to its whole path). A node without
// references and children is a leaf on the LRU list, and only such nodes are evicted. Node i describes page i, so the
// tree is as large as the pool and allocates nothing after init. Thread: the engine's.
#ifndef MOSA_ENGINE_PREFIX_TREE_H
#define MOSA_ENGINE_PREFIX_TREE_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct mosa_prefix_node mosa_prefix_node;

typedef struct mosa_prefix_tree {
    mosa_prefix_node *nodes;    // (n_pages), by page id
    int32_t *tokens;            // (n_pages, page_tokens)
    mosa_prefix_node **buckets; // (n_buckets) chains by hash
    mosa_prefix_node *lru_oldest, *lru_newest;
    int32_t n_pages, page_tokens, n_buckets; // n_buckets is a power of two
    int32_t n_unreferenced;                  // nodes that no sequence refers to: what eviction can free in the end
} mosa_prefix_tree;

mosa_status mosa_prefix_tree_init(mosa_prefix_tree *tree, int32_t pages, int32_t page_tokens, mosa_error *err);
void mosa_prefix_tree_finish(mosa_prefix_tree *tree);

// The child of `parent` (NULL = the root of `salt`) with exactly these page_tokens tokens; NULL when absent. Below the
// root the salt is the parent's.
mosa_prefix_node *mosa_prefix_tree_find(const mosa_prefix_tree *tree, uint64_t salt, const mosa_prefix_node *parent,
                                        const int32_t *tokens);

// Adds a full page under `parent` and refers to it once. The page becomes the tree's. There must be no such child yet.
mosa_prefix_node *mosa_prefix_tree_insert(mosa_prefix_tree *tree, uint64_t salt, mosa_prefix_node *parent,
                                          const int32_t *tokens, int32_t page);

void mosa_prefix_tree_ref(mosa_prefix_tree *tree, mosa_prefix_node *node);   // the parent must be referred to already
void mosa_prefix_tree_unref(mosa_prefix_tree *tree, mosa_prefix_node *node); // children first

int32_t mosa_prefix_node_page(const mosa_prefix_tree *tree, const mosa_prefix_node *node);
mosa_prefix_node *mosa_prefix_node_parent(const mosa_prefix_node *node);
bool mosa_prefix_node_is_used(const mosa_prefix_node *node); // some sequence refers to it

// Drops the leaf that was released longest ago and returns its page, now the caller's; -1 when nothing can go.
int32_t mosa_prefix_tree_evict(mosa_prefix_tree *tree);

#endif
