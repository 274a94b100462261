// Hand-written scanners for the published pre-tokenizer patterns: what their regular expressions match, without a regex
// engine. Each is checked against the pattern itself on random Unicode and real text.
//
// A scanner looks at well-formed UTF-8 in [at, end), at < end, and returns the length of the match that starts at `at`,
// or 0 when none does. A pattern sees its input's start and end only through `end` (lookahead); none looks back.
#ifndef MOSA_TEXT_SCAN_H
#define MOSA_TEXT_SCAN_H

#include <stddef.h>

#include "base/status.h"
#include "base/str.h"

typedef size_t (*mosa_scan_fn)(const char *at, const char *end);

// The scanner of a pattern, spelled as in tokenizer.json (literal CR and LF count as \r and \n), or NULL.
mosa_scan_fn mosa_scan_find(mosa_slice pattern);

size_t mosa_scan_gpt2(const char *at, const char *end);

// A row of the table, for tests.
typedef struct mosa_scan_pattern {
    const char *name;
    const char *pattern;
    mosa_scan_fn scan;
} mosa_scan_pattern;
const mosa_scan_pattern *mosa_scan_table(size_t *count);

// Well-known patterns, by GGUF and tiktoken loaders.
extern const char mosa_pattern_gpt2[];
extern const char mosa_pattern_cl100k[];
extern const char mosa_pattern_llama3[];
extern const char mosa_pattern_qwen2[];
extern const char mosa_pattern_qwen35[];
extern const char mosa_pattern_o200k[];
extern const char mosa_pattern_tekken[];
extern const char mosa_pattern_deepseek_v3[];

#endif
