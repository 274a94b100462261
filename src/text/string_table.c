// Open addressing with linear probing, at most half full.
#include "text/string_table.h"

bool mosa_string_table_init(mosa_string_table *table, mosa_arena *arena, const mosa_slice *keys, size_t capacity) {
    size_t slots = 16;
    while (slots < capacity * 2) slots *= 2;
    if (slots > UINT32_MAX) return false;
    table->slots = MOSA_ARENA_ARRAY(arena, mosa_string_slot, slots);
    if (!table->slots) return false;
    for (size_t i = 0; i < slots; i++) table->slots[i].key = -1;
    table->mask = (uint32_t)(slots - 1);
    table->keys = keys;
    return true;
}

static mosa_string_slot *probe(const mosa_string_table *table, const char *data, size_t len, uint32_t *tag) {
    uint64_t hash = mosa_hash_bytes(data, len, 0);
    *tag = (uint32_t)(hash >> 32);
    uint32_t at = (uint32_t)hash & table->mask;
    for (;; at = (at + 1) & table->mask) {
        mosa_string_slot *slot = &table->slots[at];
        if (slot->key < 0) return slot;
        if (slot->tag != *tag) continue;
        mosa_slice key = table->keys[slot->key];
        if (key.len == len && memcmp(key.data, data, len) == 0) return slot;
    }
}

int32_t mosa_string_table_add(mosa_string_table *table, int32_t id) {
    mosa_slice key = table->keys[id];
    uint32_t tag;
    mosa_string_slot *slot = probe(table, key.len ? key.data : "", key.len, &tag);
    if (slot->key < 0) *slot = (mosa_string_slot){.tag = tag, .key = id};
    return slot->key;
}

int32_t mosa_string_table_find(const mosa_string_table *table, const char *data, size_t len) {
    if (!table->slots) return -1;
    uint32_t tag;
    return probe(table, data, len, &tag)->key;
}
