// Stack of free KV pages.
#include "engine/page_pool.h"

#include <assert.h>
#include <stdlib.h>

mosa_status mosa_page_pool_init(mosa_page_pool *pool, int32_t pages, mosa_error *err) {
    *pool = (mosa_page_pool){.n_free = pages, .n_total = pages};
    pool->free = malloc((size_t)pages * sizeof *pool->free);
    if (!pool->free) return mosa_fail(err, MOSA_ENOMEM, "out of memory for %d page ids", pages);
    // The lowest id is on top, so that a lightly used pool touches little memory.
    for (int32_t i = 0; i < pages; i++) pool->free[i] = pages - 1 - i;
    return MOSA_OK;
}

void mosa_page_pool_finish(mosa_page_pool *pool) {
    free(pool->free);
    *pool = (mosa_page_pool){0};
}

int32_t mosa_page_pool_take(mosa_page_pool *pool) {
    return pool->n_free ? pool->free[--pool->n_free] : MOSA_NO_PAGE;
}

void mosa_page_pool_give(mosa_page_pool *pool, int32_t page) {
    assert(page >= 0 && page < pool->n_total && pool->n_free < pool->n_total);
    pool->free[pool->n_free++] = page;
}
