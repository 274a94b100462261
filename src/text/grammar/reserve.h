// Address space that is touched as it fills: a bounded pool which never moves and never calls the allocator.
#ifndef MOSA_TEXT_GRAMMAR_RESERVE_H
#define MOSA_TEXT_GRAMMAR_RESERVE_H

#include <stdbool.h>
#include <stddef.h>

// Zeroed memory whose pages exist once they are written; NULL when the system refuses.
void *mosa_reserve(size_t count, size_t size);
void mosa_unreserve(void *memory, size_t count, size_t size); // NULL-safe; the same numbers

#endif
