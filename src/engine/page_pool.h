// The pool of KV pages: a stack of free page ids.
//
// A page is owned by exactly one of: this pool (free), a sequence (being filled), or a node of the prefix tree (full
// and shareable). Sized at start; nothing is allocated afterwards. Thread: the engine's.
#ifndef MOSA_ENGINE_PAGE_POOL_H
#define MOSA_ENGINE_PAGE_POOL_H

#include "base/status.h"

#include <stdint.h>

enum { MOSA_NO_PAGE = -1 };

typedef struct mosa_page_pool {
    int32_t *free; // (n_total) stack of free ids
    int32_t n_free, n_total;
} mosa_page_pool;

mosa_status mosa_page_pool_init(mosa_page_pool *pool, int32_t pages, mosa_error *err);
void mosa_page_pool_finish(mosa_page_pool *pool);
int32_t mosa_page_pool_take(mosa_page_pool *pool); // MOSA_NO_PAGE when empty
void mosa_page_pool_give(mosa_page_pool *pool, int32_t page);

#endif
