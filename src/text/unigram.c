// One lattice cell per byte position: the best path that ends there. Paths move forward only, so one pass suffices.
#include "text/unigram.h"

#include <float.h>
#include <stdlib.h>

#include "text/unicode.h"

static const double UNK_PENALTY = 10.0;
static const double REBASE_BELOW =
    -100000.0; // sentencepiece's threshold: rounding decides ties, so it must be the same
static const uint32_t NO_CELL = UINT32_MAX;

typedef struct cell {
    double score;
    uint32_t start; // where the last piece of the path starts; NO_CELL = not reached
    int32_t id;
} cell;

mosa_status mosa_unigram_build(mosa_unigram *unigram, mosa_arena *arena, const mosa_tokenizer_spec *spec,
                               const mosa_slice *text, const int32_t bytes[256], mosa_error *err) {
    *unigram = (mosa_unigram){.unk = spec->special.unk,
                              .byte_fallback = spec->byte_fallback,
                              .fuse_unk = spec->fuse_unk,
                              .token_bytes_max = MOSA_UTF8_MAX,
                              .single = spec->sentencepiece};
    memcpy(unigram->bytes, bytes, sizeof unigram->bytes);
    unigram->scores = MOSA_ARENA_ARRAY(arena, double, spec->token_count);
    unigram->user_defined = MOSA_ARENA_ARRAY(arena, uint8_t, spec->token_count);
    if (!unigram->scores || !unigram->user_defined || !mosa_trie_init(&unigram->trie)) {
        return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory for the vocabulary", spec->source);
    }
    double low = DBL_MAX, high = -DBL_MAX;
    for (size_t i = 0; i < spec->token_count; i++) {
        const mosa_token_spec *token = &spec->tokens[i];
        unigram->scores[i] = token->score;
        unigram->user_defined[i] = spec->sentencepiece && token->type == MOSA_TOKEN_USER_DEFINED;
        bool counts =
            token->text.data && !token->added_only && (!spec->sentencepiece || token->type == MOSA_TOKEN_NORMAL);
        if (counts && token->score < low) low = token->score;
        if (counts && token->score > high) high = token->score;
        if (text[i].len > unigram->token_bytes_max) unigram->token_bytes_max = text[i].len;
        if (text[i].data && text[i].len && !mosa_trie_add(&unigram->trie, text[i], (int32_t)i)) {
            return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory for the vocabulary", spec->source);
        }
    }
    unigram->unk_score = (low == DBL_MAX ? 0 : low) - UNK_PENALTY;
    if (unigram->single) unigram->unk_score = (double)(float)unigram->unk_score;
    unigram->score_max = high == -DBL_MAX ? 0 : high;
    return MOSA_OK;
}

void mosa_unigram_finish(mosa_unigram *unigram) {
    mosa_trie_finish(&unigram->trie);
}

static void relax(const mosa_unigram *unigram, cell *target, double score, uint32_t start, int32_t id) {
    if (unigram->single) score = (double)(float)score;
    if (target->start != NO_CELL && !(score > target->score)) return;
    *target = (cell){score, start, id};
}

// Long texts would eat up a float's precision: the scores of all open paths move up by that of the one at `at`.
static void rebase(const mosa_unigram *unigram, cell *cells, size_t at, size_t len) {
    double base = cells[at].score;
    size_t last = len - at > unigram->token_bytes_max ? at + unigram->token_bytes_max : len;
    for (size_t i = at; i <= last; i++) {
        if (cells[i].start != NO_CELL) cells[i].score = (double)(float)(cells[i].score - base);
    }
}

static void fill(const mosa_unigram *unigram, cell *cells, mosa_slice text) {
    for (size_t at = 0; at <= text.len; at++) cells[at] = (cell){0, NO_CELL, -1};
    cells[0].start = 0;
    unsigned char_len;
    for (size_t at = 0; at < text.len; at += char_len) {
        char_len = mosa_utf8_len((unsigned char)text.data[at]);
        bool has_single = false;
        if (unigram->single && cells[at].score < REBASE_BELOW) rebase(unigram, cells, at, text.len);
        uint32_t node = MOSA_TRIE_ROOT;
        for (size_t i = at; i < text.len; i++) {
            node = mosa_trie_step(&unigram->trie, node, (unsigned char)text.data[i]);
            if (node == MOSA_TRIE_NONE) break;
            int32_t id = mosa_trie_value(&unigram->trie, node);
            if (id < 0) continue;
            size_t len = i + 1 - at;
            // A user-defined piece gets a bonus that makes it win over any other way to spell it.
            double score = unigram->scores[id];
            if (unigram->user_defined[id]) score = (double)((float)len * (float)unigram->score_max) - 0.1;
            relax(unigram, &cells[i + 1], score + cells[at].score, (uint32_t)at, id);
            if (len == char_len) has_single = true;
        }
        if (!has_single) {
            relax(unigram, &cells[at + char_len], unigram->unk_score + cells[at].score, (uint32_t)at, -1);
        }
    }
}

static bool append_unknown(const mosa_unigram *unigram, mosa_slice piece, mosa_token_list *out) {
    bool all = unigram->byte_fallback;
    for (size_t i = 0; all && i < piece.len; i++) all = unigram->bytes[(unsigned char)piece.data[i]] >= 0;
    for (size_t i = 0; all && i < piece.len; i++) {
        mosa_token_list_append(out, unigram->bytes[(unsigned char)piece.data[i]]);
    }
    if (!all && unigram->unk >= 0) mosa_token_list_append(out, unigram->unk);
    return all || unigram->unk >= 0;
}

mosa_status mosa_unigram_encode(const mosa_unigram *unigram, void **lattice, size_t *capacity, mosa_slice text,
                                mosa_token_list *out, mosa_error *err) {
    if (text.len + 1 > *capacity) {
        free(*lattice);
        *capacity = 0;
        *lattice = malloc((text.len + 1) * sizeof(cell));
        if (!*lattice) return mosa_fail(err, MOSA_ENOMEM, "out of memory while tokenizing");
        *capacity = text.len + 1;
    }
    cell *cells = *lattice;
    fill(unigram, cells, text);
    // Turn the back links into forward ones: next[start] in `start`'s cell, read from the front afterwards.
    uint32_t at = (uint32_t)text.len, next = NO_CELL;
    while (at > 0) {
        uint32_t start = cells[at].start;
        cells[at].start = next;
        next = at;
        at = start;
    }
    cells[0].start = next;
    for (at = 0; cells[at].start != NO_CELL; at = next) {
        next = cells[at].start;
        int32_t id = cells[next].id;
        if (id >= 0 && id != unigram->unk) {
            mosa_token_list_append(out, id);
            continue;
        }
        // A run of unknown characters is one unknown piece.
        while (unigram->fuse_unk && cells[next].start != NO_CELL &&
               (cells[cells[next].start].id < 0 || cells[cells[next].start].id == unigram->unk)) {
            next = cells[next].start;
        }
        if (!append_unknown(unigram, (mosa_slice){text.data + at, next - at}, out)) {
            return mosa_fail(err, MOSA_EINVALID, "a character has no token and the vocabulary has no unknown token");
        }
    }
    return MOSA_OK;
}
