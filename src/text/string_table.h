// Hash table from byte strings to ids, built once and then read by many threads.
//
// Keys are borrowed: they must outlive the table (the tokenizer's arena holds them). One probe touches 8 bytes per
// slot; a 32-bit tag makes a false comparison rare. Insertion of a key that is already there keeps the first id.
#ifndef MOSA_TEXT_STRING_TABLE_H
#define MOSA_TEXT_STRING_TABLE_H

#include "base/arena.h"
#include "base/str.h"

typedef struct mosa_string_slot {
    uint32_t tag; // upper half of the hash
    int32_t key;  // index in keys, -1 when free
} mosa_string_slot;

typedef struct mosa_string_table {
    mosa_string_slot *slots;
    uint32_t mask;          // slot count - 1
    const mosa_slice *keys; // indexed by id
} mosa_string_table;

// Prepares a table for at most `capacity` insertions over `keys` (borrowed). False when out of memory.
bool mosa_string_table_init(mosa_string_table *table, mosa_arena *arena, const mosa_slice *keys, size_t capacity);
// Adds keys[id]. Returns the id that the key has: `id`, or an earlier one for a duplicate.
int32_t mosa_string_table_add(mosa_string_table *table, int32_t id);
int32_t mosa_string_table_find(const mosa_string_table *table, const char *data, size_t len); // -1 when absent

#endif
