// Escapes and characters of the pattern syntax; classes are in text/grammar/pattern.h.
#ifndef MOSA_TEXT_GRAMMAR_PATTERN_CLASS_H
#define MOSA_TEXT_GRAMMAR_PATTERN_CLASS_H

#include "text/grammar/pattern.h"

// One character of UTF-8 at *at.
mosa_status pattern_char(mosa_slice text, size_t *at, uint32_t *out, mosa_error *err) MOSA_MUST_USE;
// What stands behind a backslash: adds it to *out; *single is its character, or UINT32_MAX for \d and the like.
mosa_status pattern_escape(mosa_slice text, size_t *at, mosa_charset *out, uint32_t *single,
                           mosa_error *err) MOSA_MUST_USE;

#endif
