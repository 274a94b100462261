// Chunked bump allocator. A request larger than a chunk gets a chunk of its own behind the current one, so that the
// current chunk's free tail is not lost.
#include "base/arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARENA_ALIGN = 16, ARENA_CHUNK_DEFAULT = 64 * 1024 };

struct mosa_arena_chunk {
    mosa_arena_chunk *next; // older
    size_t size;            // bytes after the header
    size_t used;
    size_t pad; // keeps data[] 16-byte aligned
    unsigned char data[];
};

void mosa_arena_init(mosa_arena *arena, size_t chunk_bytes, size_t limit_bytes) {
    *arena = (mosa_arena){.chunk_bytes = chunk_bytes ? chunk_bytes : ARENA_CHUNK_DEFAULT, .limit_bytes = limit_bytes};
}

static void free_chunks(mosa_arena_chunk *chunk) {
    while (chunk) {
        mosa_arena_chunk *next = chunk->next;
        free(chunk);
        chunk = next;
    }
}

void mosa_arena_finish(mosa_arena *arena) {
    free_chunks(arena->head);
    arena->head = NULL;
    arena->used_bytes = 0;
}

void mosa_arena_reset(mosa_arena *arena) {
    if (arena->head) {
        free_chunks(arena->head->next);
        arena->head->next = NULL;
        arena->head->used = 0;
    }
    arena->used_bytes = 0;
}

static mosa_arena_chunk *add_chunk(mosa_arena *arena, size_t bytes) {
    size_t size = bytes > arena->chunk_bytes ? bytes : arena->chunk_bytes;
    if (size > SIZE_MAX - sizeof(mosa_arena_chunk)) return NULL;
    mosa_arena_chunk *chunk = malloc(sizeof *chunk + size);
    if (!chunk) return NULL;
    chunk->size = size;
    chunk->used = 0;
    if (arena->head && bytes > arena->chunk_bytes) {
        chunk->next = arena->head->next;
        arena->head->next = chunk;
    } else {
        chunk->next = arena->head;
        arena->head = chunk;
    }
    return chunk;
}

void *mosa_arena_alloc(mosa_arena *arena, size_t bytes) {
    if (bytes > SIZE_MAX - ARENA_ALIGN) return NULL;
    size_t need = (bytes + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    if (need == 0) need = ARENA_ALIGN;
    if (arena->limit_bytes && need > arena->limit_bytes - arena->used_bytes) return NULL;
    mosa_arena_chunk *chunk = arena->head;
    if (!chunk || chunk->size - chunk->used < need) chunk = add_chunk(arena, need);
    if (!chunk) return NULL;
    void *memory = chunk->data + chunk->used;
    chunk->used += need;
    arena->used_bytes += need;
    return memset(memory, 0, need);
}

void *mosa_arena_alloc_array(mosa_arena *arena, size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) return NULL;
    return mosa_arena_alloc(arena, bytes);
}

char *mosa_arena_strndup(mosa_arena *arena, const char *text, size_t len) {
    if (len == SIZE_MAX) return NULL;
    char *copy = mosa_arena_alloc(arena, len + 1);
    if (copy && len) memcpy(copy, text, len);
    return copy;
}

char *mosa_arena_strdup(mosa_arena *arena, const char *text) {
    return mosa_arena_strndup(arena, text, strlen(text));
}

char *mosa_arena_printf(mosa_arena *arena, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (len < 0) return NULL;
    char *text = mosa_arena_alloc(arena, (size_t)len + 1);
    if (!text) return NULL;
    va_start(args, format);
    vsnprintf(text, (size_t)len + 1, format, args);
    va_end(args);
    return text;
}
