// Regular expression syntax (ECMAScript's, with the common parts of PCRE and Rust) to terms.
//
// Supported: literals, escapes, classes, \d \w \s and their complements, \p{General_Category}, groups, alternation,
// greedy and lazy repetition, anchors at the edges, lookahead at the top level, (?i) and (?s) in front. What a finite
// automaton cannot do (back references, lookbehind, \b, anchors in the middle) is MOSA_EUNSUPPORTED by name.
#ifndef MOSA_TEXT_GRAMMAR_PATTERN_H
#define MOSA_TEXT_GRAMMAR_PATTERN_H

#include "base/status.h"
#include "text/grammar/charset.h"

enum {
    MOSA_PATTERN_SEARCH = 1, // the pattern may match anywhere in the text, as JSON Schema has it; else all of it
    MOSA_PATTERN_JSON = 2,   // characters are spelt as inside a JSON string
};

// Errors: MOSA_EINVALID (syntax, with the byte offset), MOSA_EUNSUPPORTED, MOSA_ELIMIT (nesting, repetition),
// MOSA_ENOMEM.
mosa_status mosa_pattern_rx(mosa_rx_pool *pool, mosa_slice pattern, unsigned flags, mosa_rx *out,
                            mosa_error *err) MOSA_MUST_USE;

// A class as between [ and ], for GBNF and the like: *at stands behind '[' and moves behind ']'.
mosa_status mosa_pattern_class(mosa_slice text, size_t *at, mosa_charset *out, mosa_error *err) MOSA_MUST_USE;

#endif
