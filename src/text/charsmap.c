// Layout: u32 size of the array in bytes, the array, the replacement texts. A unit of the array (darts-clone) holds a
// label in its low byte, a has-leaf bit 8, and the offset to its children in bits 10-30, scaled by 256 if bit 9 is set;
// a leaf has bit 31 set and the value below it.
#include "text/charsmap.h"

#include "text/unicode.h"

mosa_status mosa_charsmap_open(mosa_charsmap *map, mosa_arena *arena, mosa_slice blob, mosa_error *err) {
    *map = (mosa_charsmap){0};
    if (blob.len == 0) return MOSA_OK;
    uint32_t size = 0;
    if (blob.len > sizeof size) memcpy(&size, blob.data, sizeof size);
    if (size < sizeof(uint32_t) || size % sizeof(uint32_t) || size > blob.len - sizeof size) {
        return mosa_fail(err, MOSA_ECORRUPT, "precompiled_charsmap: %zu bytes with a table of %u", blob.len, size);
    }
    size_t text_len = blob.len - sizeof size - size;
    const char *text = blob.data + sizeof size + size;
    if (text_len == 0 || text[text_len - 1] != '\0' || mosa_utf8_valid_prefix(text, text_len) != text_len) {
        return mosa_fail(err, MOSA_ECORRUPT, "precompiled_charsmap: the replacements are not UTF-8 ended by NUL");
    }
    uint32_t *units = mosa_arena_alloc(arena, size);
    char *texts = mosa_arena_strndup(arena, text, text_len);
    if (!units || !texts) return mosa_fail(err, MOSA_ENOMEM, "out of memory for precompiled_charsmap");
    memcpy(units, blob.data + sizeof size, size);
    *map = (mosa_charsmap){units, size / sizeof(uint32_t), {texts, text_len}};
    return MOSA_OK;
}

// A hostile map could cut characters apart; such entries do not count.
static bool at_boundary(mosa_slice text, size_t at) {
    return at >= text.len || ((unsigned char)text.data[at] & 0xC0) != 0x80;
}

// A hostile array can have cycles; real keys have a few characters.
enum { KEY_BYTES_MAX = 256 };

static size_t offset_of(uint32_t unit) {
    return (size_t)(unit >> 10) << ((unit & (1u << 9)) >> 6);
}

bool mosa_charsmap_find(const mosa_charsmap *map, mosa_slice text, bool longest, size_t *used,
                        mosa_slice *replacement) {
    if (!map->units) return false;
    bool found = false;
    size_t node = offset_of(map->units[0]);
    for (size_t i = 0; i < text.len && i < KEY_BYTES_MAX; i++) {
        unsigned char byte = (unsigned char)text.data[i];
        node ^= byte;
        if (byte == 0 || node >= map->unit_count) break;
        uint32_t unit = map->units[node];
        if ((unit & (1u << 31 | 0xFF)) != byte) break;
        node ^= offset_of(unit);
        if (!(unit >> 8 & 1)) continue;
        if (node >= map->unit_count) break;
        size_t value = map->units[node] & 0x7FFFFFFF;
        if (value >= map->texts.len) break;
        if (!at_boundary(map->texts, value) || !at_boundary(text, i + 1)) continue;
        *used = i + 1;
        *replacement = mosa_slice_of(map->texts.data + value);
        found = true;
        if (!longest) break;
    }
    return found;
}
