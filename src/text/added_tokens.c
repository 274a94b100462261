// Matching walks the trie at every byte that can start a key; keys have at most MOSA_TRIE_BYTES_MAX bytes.
#include "text/added_tokens.h"

#include "text/unicode.h"

void mosa_added_tokens_finish(mosa_added_tokens *added) {
    mosa_trie_finish(&added->raw);
    mosa_trie_finish(&added->normalized);
    mosa_trie_finish(&added->mixed);
}

static bool is_trusted(const mosa_trust *trust, size_t start, size_t end) {
    if (!trust) return true;
    size_t low = 0, high = trust->count; // first span that ends at or behind `end`
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (trust->spans[mid].end < end)
            low = mid + 1;
        else
            high = mid;
    }
    return low < trust->count && trust->spans[low].start <= start;
}

// Longest key at `at` that may match here; -1 if none.
static int32_t longest_allowed(const mosa_added_tokens *added, const mosa_trie *trie, mosa_slice text, size_t at,
                               const mosa_trust *trust, size_t *end) {
    int32_t best = -1;
    uint32_t node = MOSA_TRIE_ROOT;
    for (size_t i = at; i < text.len; i++) {
        node = mosa_trie_step(trie, node, (unsigned char)text.data[i]);
        if (node == MOSA_TRIE_NONE) break;
        int32_t index = mosa_trie_value(trie, node);
        if (index < 0 || (added->specs[index].special && !is_trusted(trust, at, i + 1))) continue;
        best = index;
        *end = i + 1;
    }
    return best;
}

static uint32_t character_before(mosa_slice text, size_t at, size_t *start) {
    do at--;
    while (at > 0 && ((unsigned char)text.data[at] & 0xC0) == 0x80);
    unsigned len;
    *start = at;
    return mosa_utf8_decode(text.data + at, &len);
}

static bool stands_alone(mosa_slice text, size_t start, size_t end) {
    unsigned len;
    size_t before;
    if (start > 0 && mosa_unicode_is_word(character_before(text, start, &before))) return false;
    return end == text.len || !mosa_unicode_is_word(mosa_utf8_decode(text.data + end, &len));
}

static size_t spaces_before(mosa_slice text, size_t at, size_t floor) {
    size_t start;
    while (at > floor && mosa_unicode_is_space(character_before(text, at, &start))) at = start;
    return at < floor ? floor : at;
}

static size_t spaces_after(mosa_slice text, size_t at) {
    unsigned len;
    while (at < text.len && mosa_unicode_is_space(mosa_utf8_decode(text.data + at, &len))) at += len;
    return at;
}

bool mosa_added_tokens_next(const mosa_added_tokens *added, const mosa_trie *trie, mosa_slice text,
                            const mosa_trust *trust, size_t *resume, size_t taken, mosa_added_match *match) {
    if (!trie->edges) return false;
    for (size_t at = *resume; at < text.len; at++) {
        if (!trie->first_bytes[(unsigned char)text.data[at]]) continue;
        size_t end = 0;
        int32_t index = longest_allowed(added, trie, text, at, trust, &end);
        if (index < 0) continue;
        const mosa_added_token_spec *spec = &added->specs[index];
        if (spec->single_word && !stands_alone(text, at, end)) {
            at = end - 1;
            continue;
        }
        *resume = end;
        match->id = spec->id;
        match->start = spec->lstrip ? spaces_before(text, at, taken) : at;
        match->end = spec->rstrip ? spaces_after(text, end) : end;
        if (match->end > *resume) *resume = match->end;
        return true;
    }
    *resume = text.len;
    return false;
}
