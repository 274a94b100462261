// Prompt lookup: guesses what comes next from what came after the same tokens before.
//
// Stateless: the sequence's own tokens are searched anew each time, newest first, which costs microseconds beside a
// step's milliseconds. Thread: reentrant; nothing is allocated.
#ifndef MOSA_ENGINE_NGRAM_H
#define MOSA_ENGINE_NGRAM_H

#include <stdint.h>

enum {
    MOSA_NGRAM_MIN = 3,        // tokens at the end that must have occurred before
    MOSA_NGRAM_MAX = 12,       // an occurrence that agrees this far is as good as any
    MOSA_NGRAM_WINDOW = 32768, // tokens searched, from the end
};

// Finds the place before the end where the longest end of tokens[0..n) occurred (of equals the newest) and writes the
// `count` tokens that followed it to tokens[n..n+count). A text that repeats itself up to its end goes on repeating.
// Returns count, or 0 when the last MOSA_NGRAM_MIN tokens are new (then nothing is written).
int32_t mosa_ngram_guess(int32_t *tokens, int32_t n, int32_t count);

#endif
