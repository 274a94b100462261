// Sets of Unicode characters as sorted ranges, and the terms that match them in UTF-8 or inside a JSON string.
#ifndef MOSA_TEXT_GRAMMAR_CHARSET_H
#define MOSA_TEXT_GRAMMAR_CHARSET_H

#include "text/grammar/rx.h"

typedef struct mosa_char_range {
    uint32_t lo, hi;
} mosa_char_range;

// Owned by the caller (finish). Surrogates are never members.
typedef struct mosa_charset {
    mosa_char_range *ranges;
    size_t count, capacity;
    bool failed; // out of memory
} mosa_charset;

void mosa_charset_finish(mosa_charset *set);
void mosa_charset_add(mosa_charset *set, uint32_t lo, uint32_t hi); // any order, may overlap
void mosa_charset_add_all(mosa_charset *set, const mosa_charset *other);
void mosa_charset_sort(mosa_charset *set);       // sorted, disjoint, without surrogates; needed by what follows
void mosa_charset_invert(mosa_charset *set);     // of U+0000..U+10FFFF
void mosa_charset_fold_ascii(mosa_charset *set); // adds the other case of ASCII letters
// Adds characters whose general category is in `mask` (MOSA_UM bits of text/unicode.h).
void mosa_charset_add_categories(mosa_charset *set, uint32_t mask);

// How a character is spelt. In JSON every character has exactly one spelling: itself, or for quote, backslash and
// controls the shortest escape (\n, \", \u001f).
typedef enum mosa_spelling { MOSA_SPELL_UTF8, MOSA_SPELL_JSON } mosa_spelling;

mosa_rx mosa_charset_rx(mosa_rx_pool *pool, mosa_charset *set, mosa_spelling spelling); // sorts it
mosa_rx mosa_any_char_rx(mosa_rx_pool *pool, mosa_spelling spelling);
// Appends the character's spelling.
void mosa_spell_char(mosa_buf *out, uint32_t c, mosa_spelling spelling);
// Appends well-formed UTF-8 `text` spelt so.
void mosa_spell(mosa_buf *out, mosa_slice text, mosa_spelling spelling);

#endif
