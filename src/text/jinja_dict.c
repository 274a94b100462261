// Dicts: insertion order in one array, and from nine items on an open-addressing index over it.
#include "text/jinja_runtime.h"

#include <string.h>

enum { INDEX_FROM = 8 }; // up to so many items a scan is faster

bool jinja_new_dict(jinja_rt *rt, jinja_value *out) {
    jinja_dict *dict = JINJA_NEW(rt, jinja_dict);
    if (!dict) return false;
    *out = (jinja_value){.type = JINJA_DICT, .as.dict = dict};
    return true;
}

static bool key_equal(jinja_rt *rt, const jinja_pair *pair, uint64_t hash, jinja_value key, bool *out) {
    *out = false;
    if (pair->hash != hash) return true;
    *out = jinja_same(pair->key, key);
    return *out || jinja_equal(rt, pair->key, key, out);
}

// Position of the key in items, or SIZE_MAX.
static bool locate(jinja_rt *rt, const jinja_dict *dict, jinja_value key, uint64_t hash, size_t *out) {
    bool equal;
    *out = SIZE_MAX;
    if (!dict->index_size) {
        for (size_t i = 0; i < dict->n; i++) {
            if (!key_equal(rt, &dict->items[i], hash, key, &equal)) return false;
            if (equal) {
                *out = i;
                return true;
            }
        }
        return true;
    }
    size_t mask = dict->index_size - 1;
    for (size_t at = hash & mask; dict->index[at]; at = (at + 1) & mask) {
        size_t i = dict->index[at] - 1;
        if (!jinja_charge(rt, 1) || !key_equal(rt, &dict->items[i], hash, key, &equal)) return false;
        if (!equal) continue;
        *out = i;
        return true;
    }
    return true;
}

static bool grow(jinja_rt *rt, jinja_dict *dict) {
    size_t capacity = dict->capacity ? dict->capacity * 2 : 4;
    if (capacity > UINT32_MAX / 2) return jinja_fail(rt, MOSA_ELIMIT, "a dict has too many items");
    jinja_pair *items = JINJA_ARRAY(rt, jinja_pair, capacity);
    if (!items || !jinja_charge(rt, capacity / 16)) return false;
    if (dict->n) memcpy(items, dict->items, dict->n * sizeof *items);
    dict->items = items;
    dict->capacity = capacity;
    if (capacity <= INDEX_FROM) return true;
    size_t size = capacity * 2;
    dict->index = JINJA_ARRAY(rt, uint32_t, size);
    dict->index_size = dict->index ? size : 0;
    if (!dict->index) return false;
    for (size_t i = 0; i < dict->n; i++) {
        size_t at = items[i].hash & (size - 1);
        while (dict->index[at]) at = (at + 1) & (size - 1);
        dict->index[at] = (uint32_t)i + 1;
    }
    return true;
}

bool jinja_dict_set(jinja_rt *rt, jinja_dict *dict, jinja_value key, jinja_value value) {
    uint64_t hash;
    size_t i;
    if (!jinja_hash(rt, key, &hash) || !locate(rt, dict, key, hash, &i)) return false;
    if (i != SIZE_MAX) {
        dict->items[i].value = value;
        return true;
    }
    if (dict->n == dict->capacity && !grow(rt, dict)) return false;
    dict->items[dict->n++] = (jinja_pair){key, value, hash};
    if (!dict->index_size) return true;
    size_t mask = dict->index_size - 1, at = hash & mask;
    while (dict->index[at]) at = (at + 1) & mask;
    dict->index[at] = (uint32_t)dict->n;
    return true;
}

static bool get_hashed(jinja_rt *rt, const jinja_dict *dict, jinja_value key, uint64_t hash, jinja_value *out) {
    size_t i;
    if (!locate(rt, dict, key, hash, &i)) return false;
    *out = i == SIZE_MAX ? (jinja_value){.type = JINJA_MISSING} : dict->items[i].value;
    return true;
}

bool jinja_dict_get(jinja_rt *rt, const jinja_dict *dict, jinja_value key, jinja_value *out) {
    uint64_t hash;
    return jinja_hash(rt, key, &hash) && get_hashed(rt, dict, key, hash, out);
}

bool jinja_dict_find(jinja_rt *rt, const jinja_dict *dict, jinja_value key, jinja_value *out) {
    uint64_t hash;
    bool hashable;
    *out = (jinja_value){.type = JINJA_MISSING};
    if (!jinja_try_hash(rt, key, &hashable, &hash)) return false;
    return !hashable || get_hashed(rt, dict, key, hash, out);
}

bool jinja_dict_get_str(jinja_rt *rt, const jinja_dict *dict, const jinja_str *key, jinja_value *out) {
    return jinja_dict_get(rt, dict, jinja_of_str(key), out);
}

static bool set_from_pair(jinja_rt *rt, jinja_dict *dict, jinja_value item, size_t position) {
    jinja_vec pair = {0};
    if (!jinja_iterable(item))
        return jinja_fail(rt, MOSA_EINVALID, "cannot convert dictionary update sequence element #%zu to a sequence",
                          position);
    if (!jinja_collect(rt, item, &pair)) return false;
    if (pair.n != 2)
        return jinja_fail(rt, MOSA_EINVALID, "dictionary update sequence element #%zu has length %zu; 2 is required",
                          position, pair.n);
    return jinja_dict_set(rt, dict, pair.items[0], pair.items[1]);
}

bool jinja_dict_from(jinja_rt *rt, jinja_dict *dict, jinja_value source) {
    if (source.type == JINJA_DICT) {
        for (size_t i = 0; i < source.as.dict->n; i++)
            if (!jinja_dict_set(rt, dict, source.as.dict->items[i].key, source.as.dict->items[i].value)) return false;
        return true;
    }
    jinja_iter it;
    if (!jinja_iterate(rt, source, &it)) return false;
    jinja_value item;
    int more;
    for (size_t i = 0; (more = jinja_next(rt, &it, &item)) > 0; i++)
        if (!set_from_pair(rt, dict, item, i)) return false;
    return more == 0;
}
