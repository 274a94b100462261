// Prompt lookup over a sequence's own tokens.
#include "engine/ngram.h"

// How many tokens up to and with tokens[at] agree with the last ones.
static int32_t agreement(const int32_t *tokens, int32_t n, int32_t at) {
    int32_t len = 0;
    while (len < MOSA_NGRAM_MAX && len <= at && tokens[at - len] == tokens[n - 1 - len]) len++;
    return len;
}

int32_t mosa_ngram_guess(int32_t *tokens, int32_t n, int32_t count) {
    if (n <= MOSA_NGRAM_MIN || count <= 0) return 0;
    int32_t best = MOSA_NGRAM_MIN - 1, found = -1, last = tokens[n - 1];
    int32_t oldest = n > MOSA_NGRAM_WINDOW ? n - MOSA_NGRAM_WINDOW : 0;
    for (int32_t at = n - 2; at >= oldest && best < MOSA_NGRAM_MAX; at--) {
        if (tokens[at] != last) continue;
        int32_t len = agreement(tokens, n, at);
        if (len <= best) continue;
        best = len;
        found = at;
    }
    if (found < 0) return 0;
    // Ascending: what runs into the end reads the guesses just written.
    for (int32_t i = 0; i < count; i++) tokens[n + i] = tokens[found + 1 + i];
    return count;
}
