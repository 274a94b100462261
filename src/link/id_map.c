// Open addressing with linear probing; removal shifts the run back, so that no tombstones pile up.
#include "link/id_map.h"

#include <stdlib.h>

struct mosa_id_slot {
    uint64_t id;
    uint32_t index;
    bool used;
};

static size_t home(const mosa_id_map *map, uint64_t id) {
    return (id * 0x9e3779b97f4a7c15u >> 17) & map->mask;
}

bool mosa_id_map_init(mosa_id_map *map, size_t capacity) {
    size_t slots = 16;
    while (slots < capacity * 2) slots *= 2;
    *map = (mosa_id_map){calloc(slots, sizeof(struct mosa_id_slot)), slots - 1, 0, capacity};
    return map->slots != NULL;
}

void mosa_id_map_finish(mosa_id_map *map) {
    free(map->slots);
    *map = (mosa_id_map){0};
}

static size_t probe(const mosa_id_map *map, uint64_t id) {
    size_t at = home(map, id);
    while (map->slots[at].used && map->slots[at].id != id) at = (at + 1) & map->mask;
    return at;
}

bool mosa_id_map_put(mosa_id_map *map, uint64_t id, uint32_t index) {
    if (map->len == map->capacity) return false;
    size_t at = probe(map, id);
    if (map->slots[at].used) return false;
    map->slots[at] = (struct mosa_id_slot){id, index, true};
    map->len++;
    return true;
}

bool mosa_id_map_find(const mosa_id_map *map, uint64_t id, uint32_t *index) {
    size_t at = probe(map, id);
    if (!map->slots[at].used) return false;
    *index = map->slots[at].index;
    return true;
}

void mosa_id_map_remove(mosa_id_map *map, uint64_t id) {
    size_t hole = probe(map, id);
    if (!map->slots[hole].used) return;
    map->slots[hole].used = false;
    map->len--;
    for (size_t at = (hole + 1) & map->mask; map->slots[at].used; at = (at + 1) & map->mask) {
        // An entry may fill the hole unless its home lies cyclically in (hole, at].
        size_t from_home = (at - home(map, map->slots[at].id)) & map->mask;
        if (from_home < ((at - hole) & map->mask)) continue;
        map->slots[hole] = map->slots[at];
        map->slots[at].used = false;
        hole = at;
    }
}
