// The prefix tree: found by tokens, kept by reference, evicted oldest leaf first. Checked also against a plain model.
#include "engine/page_pool.h"
#include "engine/prefix_tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const int32_t page_a[4] = {1, 2, 3, 4}, page_b[4] = {5, 6, 7, 8}, page_c[4] = {5, 6, 7, 9};

static mosa_prefix_tree new_tree(int32_t pages) {
    mosa_prefix_tree tree;
    assert_int_equal(mosa_prefix_tree_init(&tree, pages, 4, NULL), MOSA_OK);
    return tree;
}

static void a_page_is_found_under_its_parent_only(void **state) {
    (void)state;
    mosa_prefix_tree tree = new_tree(8);
    mosa_prefix_node *a = mosa_prefix_tree_insert(&tree, 0, NULL, page_a, 3);
    mosa_prefix_node *b = mosa_prefix_tree_insert(&tree, 0, a, page_b, 5);
    assert_ptr_equal(mosa_prefix_tree_find(&tree, 0, NULL, page_a), a);
    assert_ptr_equal(mosa_prefix_tree_find(&tree, 0, a, page_b), b);
    assert_null(mosa_prefix_tree_find(&tree, 0, NULL, page_b));
    assert_null(mosa_prefix_tree_find(&tree, 0, a, page_c));
    assert_null(mosa_prefix_tree_find(&tree, 7, NULL, page_a)); // an adapter's root is another
    mosa_prefix_node *other = mosa_prefix_tree_insert(&tree, 7, NULL, page_a, 1);
    assert_ptr_equal(mosa_prefix_tree_find(&tree, 7, NULL, page_a), other);
    assert_ptr_equal(mosa_prefix_tree_find(&tree, 0, NULL, page_a), a);
    assert_int_equal(mosa_prefix_node_page(&tree, b), 5);
    mosa_prefix_tree_finish(&tree);
}

static void referenced_pages_are_never_evicted(void **state) {
    (void)state;
    mosa_prefix_tree tree = new_tree(8);
    mosa_prefix_node *a = mosa_prefix_tree_insert(&tree, 0, NULL, page_a, 0);
    mosa_prefix_node *b = mosa_prefix_tree_insert(&tree, 0, a, page_b, 1);
    assert_int_equal(mosa_prefix_tree_evict(&tree), -1);
    mosa_prefix_tree_unref(&tree, b);
    assert_int_equal(mosa_prefix_tree_evict(&tree), 1);
    assert_int_equal(mosa_prefix_tree_evict(&tree), -1);
    mosa_prefix_tree_unref(&tree, a);
    assert_int_equal(mosa_prefix_tree_evict(&tree), 0);
    assert_int_equal(tree.n_unreferenced, 0);
    mosa_prefix_tree_finish(&tree);
}

static void leaves_go_in_order_of_release_and_parents_after_them(void **state) {
    (void)state;
    mosa_prefix_tree tree = new_tree(8);
    mosa_prefix_node *a = mosa_prefix_tree_insert(&tree, 0, NULL, page_a, 0);
    mosa_prefix_node *b = mosa_prefix_tree_insert(&tree, 0, a, page_b, 1);
    mosa_prefix_tree_ref(&tree, a);
    mosa_prefix_node *c = mosa_prefix_tree_insert(&tree, 0, a, page_c, 2);
    mosa_prefix_tree_unref(&tree, c);
    mosa_prefix_tree_unref(&tree, b);
    mosa_prefix_tree_unref(&tree, a);
    mosa_prefix_tree_unref(&tree, a);
    assert_int_equal(tree.n_unreferenced, 3);
    assert_int_equal(mosa_prefix_tree_evict(&tree), 2);
    assert_int_equal(mosa_prefix_tree_evict(&tree), 1);
    assert_int_equal(mosa_prefix_tree_evict(&tree), 0);
    mosa_prefix_tree_finish(&tree);
}

static void a_new_reference_takes_a_page_off_the_eviction_list(void **state) {
    (void)state;
    mosa_prefix_tree tree = new_tree(8);
    mosa_prefix_node *a = mosa_prefix_tree_insert(&tree, 0, NULL, page_a, 0);
    mosa_prefix_tree_unref(&tree, a);
    mosa_prefix_tree_ref(&tree, a);
    assert_int_equal(mosa_prefix_tree_evict(&tree), -1);
    mosa_prefix_tree_unref(&tree, a);
    assert_int_equal(mosa_prefix_tree_evict(&tree), 0);
    assert_null(mosa_prefix_tree_find(&tree, 0, NULL, page_a));
    mosa_prefix_tree_finish(&tree);
}

// Random walks: sequences come, extend, and leave; pages are conserved and every path stays findable while it is held.
enum { WALK_PAGES = 24, WALK_SEQUENCES = 6, WALK_DEPTH = 5 };

typedef struct walker {
    mosa_prefix_node *path[WALK_DEPTH];
    int depth;
} walker;

static void release(mosa_prefix_tree *tree, walker *w) {
    while (w->depth > 0) mosa_prefix_tree_unref(tree, w->path[--w->depth]);
}

static void extend(mosa_prefix_tree *tree, mosa_page_pool *pool, walker *w, int32_t choice) {
    int32_t tokens[4] = {choice, choice + 1, w->depth, 7};
    mosa_prefix_node *parent = w->depth ? w->path[w->depth - 1] : NULL;
    mosa_prefix_node *node = mosa_prefix_tree_find(tree, 0, parent, tokens);
    if (node) {
        mosa_prefix_tree_ref(tree, node);
    } else {
        int32_t page = mosa_page_pool_take(pool);
        if (page == MOSA_NO_PAGE) page = mosa_prefix_tree_evict(tree);
        if (page == MOSA_NO_PAGE) return;
        node = mosa_prefix_tree_insert(tree, 0, parent, tokens, page);
    }
    w->path[w->depth++] = node;
}

static void random_sequences_conserve_pages(void **state) {
    (void)state;
    mosa_prefix_tree tree = new_tree(WALK_PAGES);
    mosa_page_pool pool;
    walker walkers[WALK_SEQUENCES] = {0};
    assert_int_equal(mosa_page_pool_init(&pool, WALK_PAGES, NULL), MOSA_OK);
    uint32_t random = 12345;
    for (int step = 0; step < 20000; step++) {
        random = random * 1664525u + 1013904223u;
        walker *w = &walkers[(random >> 8) % WALK_SEQUENCES];
        if ((random >> 16) % 8 == 0 || w->depth == WALK_DEPTH)
            release(&tree, w);
        else
            extend(&tree, &pool, w, (int32_t)(random >> 20) % 4);
        int held = 0;
        bool seen[WALK_PAGES] = {false};
        for (int i = 0; i < WALK_SEQUENCES; i++)
            for (int d = 0; d < walkers[i].depth; d++) {
                int32_t page = mosa_prefix_node_page(&tree, walkers[i].path[d]);
                held += !seen[page];
                seen[page] = true;
            }
        assert_int_equal(held + tree.n_unreferenced + pool.n_free, WALK_PAGES);
    }
    for (int i = 0; i < WALK_SEQUENCES; i++) release(&tree, &walkers[i]);
    int evicted = 0;
    while (mosa_prefix_tree_evict(&tree) >= 0) evicted++;
    assert_int_equal(evicted + pool.n_free, WALK_PAGES);
    mosa_prefix_tree_finish(&tree);
    mosa_page_pool_finish(&pool);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_page_is_found_under_its_parent_only),
        cmocka_unit_test(referenced_pages_are_never_evicted),
        cmocka_unit_test(leaves_go_in_order_of_release_and_parents_after_them),
        cmocka_unit_test(a_new_reference_takes_a_page_off_the_eviction_list),
        cmocka_unit_test(random_sequences_conserve_pages),
    };
    return cmocka_run_group_tests_name("engine: prefix tree", tests, NULL, NULL);
}
