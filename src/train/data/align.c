// Where each token's bytes are in the text. Tokens spell their bytes, so that a walk finds them; what a walk must
// forgive is SentencePiece's added blank, blanks that control tokens swallow, and normalised characters, behind which
// it looks for the next place where tokens and text agree.
#include "train/data/tokenize_internal.h"

#include <string.h>

enum { RESYNC_TOKENS = 48, RESYNC_BYTES = 192, RESYNC_MATCH = 6 };

typedef struct walk {
    const mosa_tokenizer *tokenizer;
    mosa_slice text;
    const int32_t *ids;
    size_t n;
    token_span *spans;
} walk;

static bool starts(mosa_slice text, size_t at, mosa_slice word) {
    return at <= text.len && word.len <= text.len - at && memcmp(text.data + at, word.data, word.len) == 0;
}

static bool is_blank(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

// Whether the tokens from `t` on spell the text from `at` on for a few bytes, or up to the end of both.
static bool agrees(const walk *w, size_t t, size_t at) {
    size_t matched = 0;
    for (; t < w->n && matched < RESYNC_MATCH; t++) {
        mosa_slice bytes = mosa_tokenizer_token_bytes(w->tokenizer, w->ids[t]);
        if (bytes.len == 0 || !starts(w->text, at, bytes)) return false;
        at += bytes.len;
        matched += bytes.len;
    }
    return matched >= RESYNC_MATCH || (matched > 0 && at == w->text.len);
}

// Tokens [t, *next) stand for the bytes [at, *to): the smallest such stretch behind which both agree again.
static bool resync(const walk *w, size_t t, size_t at, size_t *next, size_t *to) {
    for (size_t total = 1; total < RESYNC_TOKENS + RESYNC_BYTES; total++)
        for (size_t dt = total < RESYNC_TOKENS ? total : RESYNC_TOKENS; dt >= 1; dt--) {
            size_t db = total - dt;
            if (db > RESYNC_BYTES || t + dt > w->n || at + db > w->text.len) continue;
            bool both_end = t + dt == w->n && at + db == w->text.len;
            if (!both_end && !agrees(w, t + dt, at + db)) continue;
            *next = t + dt;
            *to = at + db;
            return true;
        }
    return false;
}

// The bytes of one token that a plain walk explains. Returns where they end, or SIZE_MAX.
static size_t step(const walk *w, size_t t, size_t at) {
    mosa_slice bytes = mosa_tokenizer_token_bytes(w->tokenizer, w->ids[t]);
    if (bytes.len && starts(w->text, at, bytes)) return at + bytes.len;
    mosa_slice bare = {bytes.data + 1, bytes.len - 1};
    if (bytes.len && bytes.data[0] == ' ' && starts(w->text, at, bare)) return at + bare.len;
    bool control = mosa_tokenizer_token_type(w->tokenizer, w->ids[t]) != MOSA_TOKEN_NORMAL;
    size_t after = at;
    while (after < w->text.len && is_blank(w->text.data[after])) after++;
    bool swallowed =
        after > at && (control || (t && mosa_tokenizer_token_type(w->tokenizer, w->ids[t - 1]) != MOSA_TOKEN_NORMAL));
    return swallowed && bytes.len && starts(w->text, after, bytes) ? after + bytes.len : SIZE_MAX;
}

bool data_align(const mosa_tokenizer *tokenizer, mosa_slice text, const int32_t *ids, size_t n, token_span *spans) {
    walk w = {tokenizer, text, ids, n, spans};
    size_t at = 0;
    for (size_t t = 0; t < n;) {
        size_t end = step(&w, t, at), next = t + 1;
        if (end == SIZE_MAX && !resync(&w, t, at, &next, &end)) return false;
        for (; t < next; t++) spans[t] = (token_span){at, end};
        at = end;
    }
    while (at < text.len && is_blank(text.data[at])) at++;
    return at == text.len;
}
