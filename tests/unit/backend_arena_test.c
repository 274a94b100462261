// The memory of weights: allocations share blocks, do not overlap, and a block goes when its last allocation goes.
#include "backend/cpu/cpu_backend.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void allocations_are_aligned_zeroed_and_apart(void **state) {
    (void)state;
    mosa_cpu_block *blocks = NULL;
    unsigned char *a = mosa_cpu_arena_alloc(&blocks, 100), *b = mosa_cpu_arena_alloc(&blocks, 3 << 20);
    assert_non_null(a);
    assert_non_null(b);
    assert_int_equal((uintptr_t)a % 64, 0);
    assert_int_equal((uintptr_t)b % 64, 0);
    assert_true(b >= a + 100 || b + (3 << 20) <= a);
    for (int i = 0; i < 100; i++) assert_int_equal(a[i], 0);
    memset(a, 1, 100);
    memset(b, 2, 3 << 20);
    assert_int_equal(a[99], 1);
    mosa_cpu_arena_free(&blocks, a);
    assert_int_equal(b[(3 << 20) - 1], 2); // the block lives with its last allocation
    mosa_cpu_arena_free(&blocks, b);
    assert_null(blocks);
}

static void an_allocation_larger_than_a_block_has_its_own(void **state) {
    (void)state;
    mosa_cpu_block *blocks = NULL;
    size_t large = (size_t)200 << 20;
    unsigned char *small = mosa_cpu_arena_alloc(&blocks, 64), *big = mosa_cpu_arena_alloc(&blocks, large);
    assert_non_null(big);
    big[large - 1] = 7;
    mosa_cpu_arena_free(&blocks, big);
    mosa_cpu_arena_free(&blocks, NULL);
    small[63] = 1;
    mosa_cpu_arena_free(&blocks, small);
    assert_null(blocks);
}

static void what_cannot_be_had_is_null(void **state) {
    (void)state;
    mosa_cpu_block *blocks = NULL;
    assert_null(mosa_cpu_arena_alloc(&blocks, SIZE_MAX));
    assert_null(mosa_cpu_arena_alloc(&blocks, SIZE_MAX / 2));
    assert_null(blocks);
}

static void large_memory_begins_at_a_huge_page(void **state) {
    (void)state;
    size_t bytes = (5 << 20) + 123;
    unsigned char *memory = mosa_cpu_alloc(bytes);
    assert_int_equal((uintptr_t)memory % (2 << 20), 0);
    memory[0] = memory[bytes - 1] = 1;
    mosa_cpu_free(memory, bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allocations_are_aligned_zeroed_and_apart),
        cmocka_unit_test(an_allocation_larger_than_a_block_has_its_own),
        cmocka_unit_test(what_cannot_be_had_is_null),
        cmocka_unit_test(large_memory_begins_at_a_huge_page),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
