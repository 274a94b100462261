// Arena: bump allocation with one release for everything.
//
// Lifetimes are explicit parameters: process, model, request, step. An arena grows by chunks up to `limit_bytes` and
// then fails with NULL, never aborts. Memory is zeroed. Not thread-safe: one thread owns an arena at a time.
#ifndef MOSA_BASE_ARENA_H
#define MOSA_BASE_ARENA_H

#include <stddef.h>

typedef struct mosa_arena_chunk mosa_arena_chunk;

typedef struct mosa_arena {
    mosa_arena_chunk *head; // newest chunk, NULL when empty
    size_t chunk_bytes;     // size of the next ordinary chunk
    size_t limit_bytes;     // 0 = none
    size_t used_bytes;      // sum of what was handed out, alignment included
} mosa_arena;

// Prepares the caller's storage; allocates nothing. chunk_bytes 0 = 64 KiB.
void mosa_arena_init(mosa_arena *arena, size_t chunk_bytes, size_t limit_bytes);
void mosa_arena_finish(mosa_arena *arena); // frees all; the arena may be used again afterwards
void mosa_arena_reset(mosa_arena *arena);  // forgets all, keeps the newest chunk for reuse

// 16-byte aligned zeroed memory that lives as long as the arena; NULL on out-of-memory or limit. bytes 0 gives
// non-NULL.
void *mosa_arena_alloc(mosa_arena *arena, size_t bytes);
void *mosa_arena_alloc_array(mosa_arena *arena, size_t count, size_t size); // NULL also when count*size overflows
char *mosa_arena_strndup(mosa_arena *arena, const char *text, size_t len);  // NUL-terminated copy
char *mosa_arena_strdup(mosa_arena *arena, const char *text);
char *mosa_arena_printf(mosa_arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define MOSA_ARENA_NEW(arena, type)          ((type *)mosa_arena_alloc((arena), sizeof(type)))
#define MOSA_ARENA_ARRAY(arena, type, count) ((type *)mosa_arena_alloc_array((arena), (count), sizeof(type)))

#endif
