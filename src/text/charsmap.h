// SentencePiece's compiled character map: a double array from byte strings to replacements.
//
// The blob comes from a file: every step of a walk is checked against its size. Immutable after opening.
#ifndef MOSA_TEXT_CHARSMAP_H
#define MOSA_TEXT_CHARSMAP_H

#include "base/arena.h"
#include "base/status.h"
#include "base/str.h"

typedef struct mosa_charsmap {
    const uint32_t *units; // the double array, copied; NULL = an empty map
    size_t unit_count;
    mosa_slice texts; // replacements, each ended by NUL
} mosa_charsmap;

// An empty blob is an empty map. Errors: MOSA_ECORRUPT, MOSA_ENOMEM.
mosa_status mosa_charsmap_open(mosa_charsmap *map, mosa_arena *arena, mosa_slice blob, mosa_error *err) MOSA_MUST_USE;

// Replacement of the longest (or the shortest) mapped prefix of `text`; *used is its length. False when none is mapped.
bool mosa_charsmap_find(const mosa_charsmap *map, mosa_slice text, bool longest, size_t *used, mosa_slice *replacement);

#endif
