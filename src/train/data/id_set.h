// Set of 64-bit hashes with a value each: which ids or texts were seen before, and where.
//
// 16 bytes an entry at a load of at most three quarters. Hashes stand for what they were made of: two different texts
// with one hash are taken for the same (one chance in 10^7 for a million of them). Thread: one at a time.
#ifndef MOSA_TRAIN_DATA_ID_SET_H
#define MOSA_TRAIN_DATA_ID_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mosa_id_entry {
    uint64_t hash; // 0 = free
    uint64_t value;
} mosa_id_entry;

typedef struct mosa_id_set {
    mosa_id_entry *entries; // (capacity) a power of two
    size_t capacity, count;
    bool failed; // out of memory: adds say "new" from then on
} mosa_id_set;

void mosa_id_set_finish(mosa_id_set *set); // safe on a zeroed struct
// The entry of `hash`: with *added, a new one that holds `value`; otherwise the one that was there. NULL when failed.
// Valid until the next add.
mosa_id_entry *mosa_id_set_add(mosa_id_set *set, uint64_t hash, uint64_t value, bool *added);

#endif
