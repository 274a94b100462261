// Regular expressions from tokenizer files, bounded: PCRE2 with JIT, Unicode properties and limits.
//
// The files are written for Oniguruma; the few escapes that mean something else there (\s and NEL, \w and marks, ^ and
// $ at lines) are rewritten. A compiled expression is immutable and shared by threads; matching needs a scratch of the
// caller's. Steps per match and time per scratch are limited: a bomb is an error, not a hang.
#ifndef MOSA_TEXT_REGEX_H
#define MOSA_TEXT_REGEX_H

#include <stdint.h>

#include "base/status.h"
#include "base/str.h"

typedef struct mosa_regex mosa_regex;

// Errors: MOSA_EUNSUPPORTED with PCRE2's message and the offset; MOSA_ENOMEM.
mosa_status mosa_regex_compile(mosa_slice pattern, mosa_regex **out, mosa_error *err) MOSA_MUST_USE;
void mosa_regex_free(mosa_regex *regex); // NULL-safe

typedef struct mosa_regex_scratch { // zero-initialise; one per call chain; release with finish
    void *match_data, *context, *stack;
    int64_t deadline_ms; // of all matching done with this scratch
} mosa_regex_scratch;
void mosa_regex_scratch_finish(mosa_regex_scratch *scratch);

// First match in well-formed UTF-8 at or after `from`. *found false when there is none. An empty match is possible.
// Errors: MOSA_ELIMIT (steps or time), MOSA_ENOMEM.
mosa_status mosa_regex_find(const mosa_regex *regex, mosa_regex_scratch *scratch, mosa_slice text, size_t from,
                            bool *found, size_t *start, size_t *end, mosa_error *err) MOSA_MUST_USE;

#endif
