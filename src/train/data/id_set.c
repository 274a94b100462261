// Open addressing with linear probes.
#include "train/data/id_set.h"

#include <stdlib.h>

void mosa_id_set_finish(mosa_id_set *set) {
    free(set->entries);
    *set = (mosa_id_set){0};
}

static mosa_id_entry *probe(mosa_id_entry *entries, size_t capacity, uint64_t hash) {
    size_t i = (size_t)(hash ^ hash >> 32) & (capacity - 1);
    while (entries[i].hash && entries[i].hash != hash) i = (i + 1) & (capacity - 1);
    return &entries[i];
}

static bool grow(mosa_id_set *set) {
    size_t capacity = set->capacity ? 2 * set->capacity : 1024;
    mosa_id_entry *entries = calloc(capacity, sizeof *entries);
    if (!entries) return false;
    for (size_t i = 0; i < set->capacity; i++)
        if (set->entries[i].hash) *probe(entries, capacity, set->entries[i].hash) = set->entries[i];
    free(set->entries);
    set->entries = entries;
    set->capacity = capacity;
    return true;
}

mosa_id_entry *mosa_id_set_add(mosa_id_set *set, uint64_t hash, uint64_t value, bool *added) {
    *added = true;
    if (hash == 0) hash = 1;
    if (set->failed || (4 * (set->count + 1) > 3 * set->capacity && !grow(set))) {
        set->failed = true;
        return NULL;
    }
    mosa_id_entry *entry = probe(set->entries, set->capacity, hash);
    *added = entry->hash == 0;
    if (*added) {
        *entry = (mosa_id_entry){hash, value};
        set->count++;
    }
    return entry;
}
