// Forced text: bytes that the grammar leaves no choice about, as the tokens that the model's tokenizer would use.
#include "text/grammar/grammar_internal.h"

#include <string.h>

enum { FORCED_BYTES_MAX = 1024, CONTEXT_TOKENS = 4, CONTEXT_BYTES_MAX = 1024 };

// The one byte that can come next at the place, or -1.
static int forced_byte(mosa_matcher *m, mosa_place *place) {
    mosa_lexer *lexer = &m->grammar->lexer;
    int found = -2;
    uint32_t row = mosa_place_row(m, place);
    if (mosa_matcher_is_full(m)) return -1;
    for (uint32_t i = 0; i <= place->thread_count; i++) {
        uint32_t state;
        if (i < place->thread_count)
            state = m->threads[place->threads + i].state;
        else if (row == MOSA_ROW_NONE)
            break;
        else if (m->parser.rows[row].ends || m->parser.rows[row].has_tokens)
            return -1;
        else
            state = mosa_parser_begin(&m->parser, row);
        int byte = state == MOSA_LEXER_DEAD ? -2 : mosa_lexer_forced(lexer, state);
        if (byte == -1 || (byte >= 0 && found >= 0 && byte != found)) return -1;
        if (byte >= 0) found = byte;
    }
    return found >= 0 && !lexer->full ? found : -1;
}

static size_t forced_bytes(mosa_matcher *m, char *out) {
    mosa_place place = mosa_matcher_now(m)->place;
    size_t len = 0;
    while (len < FORCED_BYTES_MAX) {
        int byte = forced_byte(m, &place);
        uint32_t top = place.threads + place.thread_count;
        mosa_place to;
        if (byte < 0 || top + MOSA_THREADS_MAX > MOSA_MATCHER_THREADS_MAX) break;
        if (!mosa_place_step(m, &place, (uint8_t)byte, mosa_matcher_now(m)->byte_count, top, &to)) break;
        out[len++] = (char)byte;
        place = to;
    }
    return len;
}

// The tokens of `text` from byte `from` on, when the tokenizer has a border there. Some vocabularies put a space in
// front of a text, so that the bytes of all tokens may be one more than the text's. False when there is no such border
// or the tokens spell something else.
static bool tokens_from(const mosa_token_trie *trie, mosa_slice text, size_t from, mosa_token_list *list,
                        size_t *first) {
    mosa_token_list_clear(list);
    if (mosa_tokenizer_encode(trie->tokenizer, text, 0, list, NULL) != MOSA_OK) return false;
    size_t total = 0;
    for (size_t i = 0; i < list->len; i++) total += mosa_token_trie_bytes(trie, list->ids[i]).len;
    if (total < text.len || total > text.len + 1 || (total > text.len && from == 0)) return false;
    size_t at = 0, border = from + (total - text.len);
    *first = 0;
    while (*first < list->len && at < border) at += mosa_token_trie_bytes(trie, list->ids[(*first)++]).len;
    if (at != border) return false;
    for (size_t i = *first; i < list->len; i++) {
        mosa_slice bytes = mosa_token_trie_bytes(trie, list->ids[i]);
        if (bytes.len == 0 || memcmp(text.data + from + (at - border), bytes.data, bytes.len) != 0) return false;
        at += bytes.len;
    }
    return true;
}

// Tokens at the end that could grow with what follows are left to the model.
static size_t without_open_end(const mosa_token_trie *trie, mosa_slice forced, const mosa_token_id *ids, size_t count) {
    size_t at = 0, kept = count;
    for (size_t i = 0; i < count; i++) {
        if (mosa_token_trie_extends(trie, (mosa_slice){forced.data + at, forced.len - at})) {
            kept = i;
            break;
        }
        at += mosa_token_trie_bytes(trie, ids[i]).len;
    }
    return kept;
}

static size_t tokenize(mosa_matcher *m, const char *context, size_t context_len, size_t len, mosa_token_id *out,
                       size_t capacity) {
    const mosa_token_trie *trie = m->grammar->trie;
    mosa_token_list list;
    mosa_token_list_init(&list, 0);
    mosa_slice whole = {context, context_len + len}, forced = {context + context_len, len};
    size_t first = 0, count = 0;
    if (tokens_from(trie, whole, context_len, &list, &first) || tokens_from(trie, forced, 0, &list, &first)) {
        count = without_open_end(trie, forced, list.ids + first, list.len - first);
        if (count > capacity) count = capacity;
        memcpy(out, list.ids + first, count * sizeof *out);
    }
    mosa_token_list_finish(&list);
    return count;
}

size_t mosa_matcher_forced(mosa_matcher *m, mosa_token_id *tokens, size_t capacity) {
    char text[CONTEXT_BYTES_MAX + FORCED_BYTES_MAX];
    size_t context = 0, count = 0;
    mosa_matcher_lock(m);
    const mosa_history *now = mosa_matcher_now(m);
    uint32_t back = m->token_count < CONTEXT_TOKENS ? m->token_count : CONTEXT_TOKENS;
    uint32_t begin = m->history[m->token_count - back].byte_count;
    if (!now->ended && now->byte_count - begin <= CONTEXT_BYTES_MAX) {
        context = now->byte_count - begin;
        memcpy(text, m->bytes + begin, context);
    }
    size_t len = now->ended ? 0 : forced_bytes(m, text + context);
    mosa_matcher_forget(m);
    if (len) {
        count = tokenize(m, text, context, len, tokens, capacity);
        count = mosa_matcher_check_locked(m, tokens, count);
    }
    mosa_matcher_unlock(m);
    return count;
}
