// A map from 64-bit ids to small indices with a fixed capacity: open addressing, nothing allocated after init.
//
// Invariant: at least half of the slots are free, so that a probe is short. Not thread-safe.
#ifndef MOSA_LINK_ID_MAP_H
#define MOSA_LINK_ID_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mosa_id_map {
    struct mosa_id_slot *slots; // (mask + 1), a power of two
    size_t mask;
    size_t len;
    size_t capacity;
} mosa_id_map;

bool mosa_id_map_init(mosa_id_map *map, size_t capacity); // false: out of memory
void mosa_id_map_finish(mosa_id_map *map);
bool mosa_id_map_put(mosa_id_map *map, uint64_t id, uint32_t index); // false: full, or the id is there already
bool mosa_id_map_find(const mosa_id_map *map, uint64_t id, uint32_t *index);
void mosa_id_map_remove(mosa_id_map *map, uint64_t id); // an unknown id is ignored

#endif
