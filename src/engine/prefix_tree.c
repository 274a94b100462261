// Hash-chained prefix tree over pages with least-recently-released eviction of leaves.
#include "engine/prefix_tree.h"

#include "base/str.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct mosa_prefix_node {
    mosa_prefix_node *parent; // NULL at the root's level
    mosa_prefix_node *hash_next;
    mosa_prefix_node *older, *newer; // LRU list, only while evictable
    uint64_t hash, salt;
    int32_t refs, children;
    bool used;      // holds a page
    bool evictable; // on the LRU list
};

mosa_status mosa_prefix_tree_init(mosa_prefix_tree *tree, int32_t pages, int32_t page_tokens, mosa_error *err) {
    *tree = (mosa_prefix_tree){.n_pages = pages, .page_tokens = page_tokens, .n_buckets = 16};
    while (tree->n_buckets < pages) tree->n_buckets *= 2;
    tree->nodes = calloc((size_t)pages, sizeof *tree->nodes);
    tree->tokens = calloc((size_t)pages * (size_t)page_tokens, sizeof *tree->tokens);
    tree->buckets = calloc((size_t)tree->n_buckets, sizeof(mosa_prefix_node *));
    if (tree->nodes && tree->tokens && tree->buckets) return MOSA_OK;
    mosa_prefix_tree_finish(tree);
    return mosa_fail(err, MOSA_ENOMEM, "out of memory for a prefix tree of %d pages", pages);
}

void mosa_prefix_tree_finish(mosa_prefix_tree *tree) {
    free(tree->nodes);
    free(tree->tokens);
    free(tree->buckets);
    *tree = (mosa_prefix_tree){0};
}

int32_t mosa_prefix_node_page(const mosa_prefix_tree *tree, const mosa_prefix_node *node) {
    return (int32_t)(node - tree->nodes);
}

mosa_prefix_node *mosa_prefix_node_parent(const mosa_prefix_node *node) {
    return node->parent;
}

bool mosa_prefix_node_is_used(const mosa_prefix_node *node) {
    return node->refs > 0;
}

static int32_t *node_tokens(const mosa_prefix_tree *tree, const mosa_prefix_node *node) {
    return tree->tokens + (size_t)(node - tree->nodes) * (size_t)tree->page_tokens;
}

// The parent's page id stands for the whole path: a parent cannot be evicted before its children.
static uint64_t hash_of(const mosa_prefix_tree *tree, uint64_t salt, const mosa_prefix_node *parent,
                        const int32_t *tokens) {
    uint64_t seed = (parent ? (uint64_t)(parent - tree->nodes) + 1 : 0) ^ salt << 32;
    return mosa_hash_bytes(tokens, (size_t)tree->page_tokens * sizeof *tokens, seed);
}

static mosa_prefix_node **bucket_of(const mosa_prefix_tree *tree, uint64_t hash) {
    return &tree->buckets[hash & (uint64_t)(tree->n_buckets - 1)];
}

mosa_prefix_node *mosa_prefix_tree_find(const mosa_prefix_tree *tree, uint64_t salt, const mosa_prefix_node *parent,
                                        const int32_t *tokens) {
    uint64_t hash = hash_of(tree, salt, parent, tokens);
    size_t bytes = (size_t)tree->page_tokens * sizeof *tokens;
    for (mosa_prefix_node *node = *bucket_of(tree, hash); node; node = node->hash_next)
        if (node->hash == hash && node->parent == parent && node->salt == salt &&
            memcmp(node_tokens(tree, node), tokens, bytes) == 0)
            return node;
    return NULL;
}

static void lru_add_newest(mosa_prefix_tree *tree, mosa_prefix_node *node) {
    node->older = tree->lru_newest;
    node->newer = NULL;
    if (tree->lru_newest)
        tree->lru_newest->newer = node;
    else
        tree->lru_oldest = node;
    tree->lru_newest = node;
    node->evictable = true;
}

// A parent was released no later than its child, which has just been evicted: it goes next.
static void lru_add_oldest(mosa_prefix_tree *tree, mosa_prefix_node *node) {
    node->newer = tree->lru_oldest;
    node->older = NULL;
    if (tree->lru_oldest)
        tree->lru_oldest->older = node;
    else
        tree->lru_newest = node;
    tree->lru_oldest = node;
    node->evictable = true;
}

static void lru_remove(mosa_prefix_tree *tree, mosa_prefix_node *node) {
    if (node->older)
        node->older->newer = node->newer;
    else
        tree->lru_oldest = node->newer;
    if (node->newer)
        node->newer->older = node->older;
    else
        tree->lru_newest = node->older;
    node->older = node->newer = NULL;
    node->evictable = false;
}

mosa_prefix_node *mosa_prefix_tree_insert(mosa_prefix_tree *tree, uint64_t salt, mosa_prefix_node *parent,
                                          const int32_t *tokens, int32_t page) {
    mosa_prefix_node *node = &tree->nodes[page];
    assert(!node->used && (!parent || parent->refs > 0));
    uint64_t hash = hash_of(tree, salt, parent, tokens);
    mosa_prefix_node **bucket = bucket_of(tree, hash);
    *node =
        (mosa_prefix_node){.parent = parent, .hash_next = *bucket, .hash = hash, .salt = salt, .refs = 1, .used = true};
    *bucket = node;
    if (parent) parent->children++;
    memcpy(node_tokens(tree, node), tokens, (size_t)tree->page_tokens * sizeof *tokens);
    return node;
}

void mosa_prefix_tree_ref(mosa_prefix_tree *tree, mosa_prefix_node *node) {
    assert(node->used && (!node->parent || node->parent->refs > 0));
    if (node->refs++ > 0) return;
    tree->n_unreferenced--;
    if (node->evictable) lru_remove(tree, node);
}

void mosa_prefix_tree_unref(mosa_prefix_tree *tree, mosa_prefix_node *node) {
    assert(node->used && node->refs > 0);
    if (--node->refs > 0) return;
    tree->n_unreferenced++;
    if (node->children == 0) lru_add_newest(tree, node);
}

static void unchain(mosa_prefix_tree *tree, mosa_prefix_node *node) {
    mosa_prefix_node **link = bucket_of(tree, node->hash);
    while (*link != node) link = &(*link)->hash_next;
    *link = node->hash_next;
}

int32_t mosa_prefix_tree_evict(mosa_prefix_tree *tree) {
    mosa_prefix_node *node = tree->lru_oldest;
    if (!node) return -1;
    lru_remove(tree, node);
    unchain(tree, node);
    mosa_prefix_node *parent = node->parent;
    if (parent && --parent->children == 0 && parent->refs == 0) lru_add_oldest(tree, parent);
    tree->n_unreferenced--;
    *node = (mosa_prefix_node){0};
    return (int32_t)(node - tree->nodes);
}
