// Memory of the weights: many matrices side by side in few large blocks, so that nearly all of it lies in huge pages
// (a matrix by itself is often smaller than two of them, and a fault for every 4 KB page costs as much as packing).
//
// A block is given back when the last weight in it is freed. Thread: the one that makes and destroys weights.
#include "backend/cpu/cpu_backend.h"

#include <stdlib.h>

enum { BLOCK_BYTES = 128 << 20, ALIGNMENT = 64 };

struct mosa_cpu_block {
    mosa_cpu_block *next;
    unsigned char *memory;
    size_t bytes, used;
    size_t live; // allocations that have not been freed
};

static mosa_cpu_block *add_block(mosa_cpu_block **blocks, size_t bytes) {
    mosa_cpu_block *block = calloc(1, sizeof *block);
    if (!block) return NULL;
    block->bytes = bytes < BLOCK_BYTES ? BLOCK_BYTES : bytes;
    block->memory = mosa_cpu_alloc(block->bytes);
    if (!block->memory) {
        free(block);
        return NULL;
    }
    block->next = *blocks;
    return *blocks = block;
}

void *mosa_cpu_arena_alloc(mosa_cpu_block **blocks, size_t bytes) {
    if (bytes > SIZE_MAX - ALIGNMENT) return NULL;
    size_t rounded = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    mosa_cpu_block *block = *blocks;
    if (!block || block->bytes - block->used < rounded) block = add_block(blocks, rounded);
    if (!block) return NULL;
    void *memory = block->memory + block->used;
    block->used += rounded;
    block->live++;
    return memory;
}

void mosa_cpu_arena_free(mosa_cpu_block **blocks, const void *memory) {
    uintptr_t at = (uintptr_t)memory;
    for (mosa_cpu_block **link = blocks; memory && *link; link = &(*link)->next) {
        mosa_cpu_block *block = *link;
        if (at < (uintptr_t)block->memory || at >= (uintptr_t)block->memory + block->used) continue;
        if (--block->live > 0) return;
        *link = block->next;
        mosa_cpu_free(block->memory, block->bytes);
        free(block);
        return;
    }
}
