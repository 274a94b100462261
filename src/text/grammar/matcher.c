// Matchers: places in a grammar, stepping over bytes and tokens, going back.
#include "text/grammar/grammar_internal.h"
#include "text/grammar/reserve.h"

#include <stdlib.h>
#include <string.h>

// --- places

uint32_t mosa_place_row(mosa_matcher *m, mosa_place *place) {
    if (place->row != MOSA_ROW_UNKNOWN) return place->row;
    mosa_row_source sources[MOSA_THREADS_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < place->thread_count; i++) {
        const mosa_thread_at *t = &m->threads[place->threads + i];
        uint32_t lexemes = m->grammar->lexer.states[t->state].accepts;
        if (!lexemes) continue;
        uint32_t at = count++; // insertion by row: the same sources in one order only
        for (; at > 0 &&
               (sources[at - 1].row > t->row || (sources[at - 1].row == t->row && sources[at - 1].lexemes > lexemes));
             at--)
            sources[at] = sources[at - 1];
        sources[at] = (mosa_row_source){t->row, lexemes};
    }
    place->row = count ? mosa_parser_row(&m->parser, sources, count) : MOSA_ROW_NONE;
    return place->row;
}

static bool push_thread(mosa_matcher *m, mosa_place *to, mosa_thread_at thread) {
    for (uint32_t i = 0; i < to->thread_count; i++) {
        const mosa_thread_at *t = &m->threads[to->threads + i];
        if (t->row == thread.row && t->state == thread.state) return true;
    }
    if (to->thread_count == MOSA_THREADS_MAX || to->threads + to->thread_count == MOSA_MATCHER_THREADS_MAX) {
        m->parser.full = true;
        return false;
    }
    m->threads[to->threads + to->thread_count++] = thread;
    return true;
}

bool mosa_place_step(mosa_matcher *m, mosa_place *from, uint8_t byte, uint32_t position, uint32_t top, mosa_place *to) {
    mosa_lexer *lexer = &m->grammar->lexer;
    *to = (mosa_place){top, 0, MOSA_ROW_UNKNOWN};
    bool cut = from->thread_count == 0; // whether a way that ends a lexeme here matters
    for (uint32_t i = 0; i < from->thread_count; i++) {
        mosa_thread_at t = m->threads[from->threads + i];
        const mosa_lexer_state *state = &lexer->states[t.state];
        bool accepts = state->accepts != 0, greedy = state->greedy;
        t.state = mosa_lexer_step(lexer, t.state, byte);
        if (t.state != MOSA_LEXER_DEAD && !push_thread(m, to, t)) return false;
        cut |= accepts && !(greedy && t.state != MOSA_LEXER_DEAD);
    }
    if (cut && !mosa_matcher_is_full(m)) {
        uint32_t row = mosa_place_row(m, from);
        if (row != MOSA_ROW_NONE) {
            uint32_t begin = mosa_parser_begin(&m->parser, row);
            uint32_t next = begin == MOSA_LEXER_DEAD ? begin : mosa_lexer_step(lexer, begin, byte);
            if (next != MOSA_LEXER_DEAD && !push_thread(m, to, (mosa_thread_at){row, next, position})) return false;
        }
    }
    return to->thread_count > 0 && !mosa_matcher_is_full(m);
}

// --- bounded lexer

void mosa_matcher_reset_lexer(mosa_matcher *m) {
    mosa_lexer_reset(&m->grammar->lexer);
    mosa_matcher_forget(m);
    mosa_matcher_refresh(m);
}

void mosa_matcher_refresh(mosa_matcher *m) {
    mosa_lexer *lexer = &m->grammar->lexer;
    lexer->cfg->pool.budget = MOSA_GRAMMAR_STEPS_MAX;
    if (m->epoch == lexer->epoch) return;
    const mosa_history *now = mosa_matcher_now(m);
    for (uint32_t i = 0; i < now->place.thread_count; i++) {
        mosa_thread_at *t = &m->threads[now->place.threads + i];
        uint32_t state = mosa_parser_begin(&m->parser, t->row);
        for (uint32_t at = t->begin; at < now->byte_count && state != MOSA_LEXER_DEAD; at++)
            state = mosa_lexer_step(lexer, state, m->bytes[at]);
        t->state = state;
    }
    m->epoch = lexer->epoch;
}

void mosa_matcher_forget(mosa_matcher *m) {
    mosa_history *now = mosa_matcher_now(m);
    mosa_parser_cut(&m->parser, now->row_count);
    m->parser.full = false;
    if (now->place.thread_count) now->place.row = MOSA_ROW_UNKNOWN; // a row that was made here is cut off
}

void mosa_matcher_lock(mosa_matcher *m) {
    pthread_mutex_lock(&m->grammar->mutex);
    if (m->grammar->lexer.full) mosa_lexer_reset(&m->grammar->lexer);
    mosa_matcher_refresh(m);
}
void mosa_matcher_unlock(mosa_matcher *m) {
    mosa_matcher_forget(m);
    pthread_mutex_unlock(&m->grammar->mutex);
}

// --- making

mosa_status mosa_matcher_create(mosa_grammar *grammar, mosa_matcher **out, mosa_error *err) {
    mosa_matcher *m = calloc(1, sizeof *m);
    if (!m) return mosa_fail(err, MOSA_ENOMEM, "out of memory for a matcher");
    m->grammar = mosa_grammar_ref(grammar);
    m->threads = mosa_reserve(MOSA_MATCHER_THREADS_MAX, sizeof *m->threads);
    m->bytes = mosa_reserve(MOSA_MATCHER_BYTES_MAX, sizeof *m->bytes);
    m->history = mosa_reserve(MOSA_MATCHER_TOKENS_MAX + 1, sizeof *m->history);
    m->tokens = mosa_reserve(MOSA_MATCHER_TOKENS_MAX, sizeof *m->tokens);
    pthread_mutex_lock(&grammar->mutex);
    if (grammar->lexer.full) mosa_lexer_reset(&grammar->lexer);
    grammar->cfg.pool.budget = MOSA_GRAMMAR_STEPS_MAX;
    bool ok = m->threads && m->bytes && m->history && m->tokens &&
              mosa_parser_init(&m->parser, &grammar->lexer, &grammar->scratch);
    m->epoch = grammar->lexer.epoch;
    pthread_mutex_unlock(&grammar->mutex);
    if (!ok) {
        mosa_matcher_destroy(m);
        return mosa_fail(err, MOSA_ENOMEM, "out of memory for a matcher");
    }
    m->history[0] = (mosa_history){.place = {.row = 0}, .row_count = 1};
    *out = m;
    return MOSA_OK;
}

void mosa_matcher_destroy(mosa_matcher *m) {
    if (!m) return;
    mosa_parser_finish(&m->parser);
    mosa_unreserve(m->threads, MOSA_MATCHER_THREADS_MAX, sizeof *m->threads);
    mosa_unreserve(m->bytes, MOSA_MATCHER_BYTES_MAX, sizeof *m->bytes);
    mosa_unreserve(m->history, MOSA_MATCHER_TOKENS_MAX + 1, sizeof *m->history);
    mosa_unreserve(m->tokens, MOSA_MATCHER_TOKENS_MAX, sizeof *m->tokens);
    mosa_grammar_unref(m->grammar);
    free(m);
}

// --- tokens

static bool can_end(mosa_matcher *m) {
    mosa_history *now = mosa_matcher_now(m);
    if (now->ended) return false;
    uint32_t row = mosa_place_row(m, &now->place);
    return row != MOSA_ROW_NONE && m->parser.rows[row].ends;
}

static bool step_token_lexeme(mosa_matcher *m, mosa_history *next, mosa_token_id token) {
    mosa_lexer *lexer = &m->grammar->lexer;
    uint32_t row = mosa_place_row(m, &mosa_matcher_now(m)->place);
    if (row == MOSA_ROW_NONE) return false;
    const mosa_lexeme_list *list = &lexer->lists[m->parser.rows[row].lexemes];
    for (uint32_t i = 0; i < list->count; i++) {
        uint32_t lexeme = lexer->list_items[list->begin + i];
        if (lexer->cfg->lexemes[lexeme].token != token) continue;
        mosa_row_source source = {row, mosa_lexer_list(lexer, &lexeme, 1)};
        if (!source.lexemes) return false;
        next->place = (mosa_place){next->place.threads, 0, mosa_parser_row(&m->parser, &source, 1)};
        return next->place.row != MOSA_ROW_NONE;
    }
    return false;
}

static bool step_bytes(mosa_matcher *m, mosa_history *next, mosa_slice bytes) {
    if (next->byte_count + bytes.len > MOSA_MATCHER_BYTES_MAX) return false;
    mosa_place place = mosa_matcher_now(m)->place;
    uint32_t base = next->place.threads;
    for (size_t i = 0; i < bytes.len; i++) {
        uint32_t top = i ? place.threads + place.thread_count : base;
        mosa_place to;
        if (top + MOSA_THREADS_MAX > MOSA_MATCHER_THREADS_MAX) return false;
        if (!mosa_place_step(m, &place, (uint8_t)bytes.data[i], next->byte_count, top, &to)) return false;
        if (i == 0) mosa_matcher_now(m)->place.row = place.row; // worked out on the way
        m->bytes[next->byte_count++] = (uint8_t)bytes.data[i];
        place = to;
    }
    // Only the last place is kept: its threads move down to where the history goes on.
    memmove(m->threads + base, m->threads + place.threads, place.thread_count * sizeof *m->threads);
    place.threads = base;
    next->place = place;
    return true;
}

// Works out what lies behind the token in *next, without moving there.
static bool try_token(mosa_matcher *m, mosa_token_id token, mosa_history *next) {
    mosa_history *now = mosa_matcher_now(m);
    if (now->ended || m->token_count == MOSA_MATCHER_TOKENS_MAX) return false;
    *next = (mosa_history){.place = {.threads = now->place.threads + now->place.thread_count},
                           .byte_count = now->byte_count};
    mosa_slice bytes = mosa_token_trie_bytes(m->grammar->trie, token);
    bool ok;
    if (mosa_token_trie_is_end(m->grammar->trie, token) && can_end(m)) {
        next->ended = true;
        next->place.row = MOSA_ROW_NONE;
        ok = true;
    } else
        ok = bytes.len ? step_bytes(m, next, bytes) : step_token_lexeme(m, next, token);
    next->row_count = m->parser.row_count;
    return ok;
}

static bool accept(mosa_matcher *m, mosa_token_id token) {
    mosa_history next;
    bool ok = try_token(m, token, &next);
    if (!ok && m->grammar->lexer.full) {
        mosa_matcher_reset_lexer(m);
        ok = try_token(m, token, &next);
    }
    if (!ok) return false;
    // A row that was worked out at the old place stays, since the new place may stand on it.
    m->tokens[m->token_count++] = token;
    m->history[m->token_count] = next;
    return true;
}

bool mosa_matcher_accept(mosa_matcher *m, mosa_token_id token) {
    mosa_matcher_lock(m);
    bool ok = accept(m, token);
    mosa_matcher_unlock(m);
    return ok;
}

static void roll_back(mosa_matcher *m, size_t count) {
    m->token_count -= count < m->token_count ? (uint32_t)count : m->token_count;
    mosa_matcher_forget(m);
    m->epoch = m->grammar->lexer.epoch - 1; // states of older places may be of an older epoch
    mosa_matcher_refresh(m);
}

void mosa_matcher_rollback(mosa_matcher *m, size_t count) {
    mosa_matcher_lock(m);
    roll_back(m, count);
    mosa_matcher_unlock(m);
}

size_t mosa_matcher_check_locked(mosa_matcher *m, const mosa_token_id *tokens, size_t count) {
    size_t n = 0;
    while (n < count && accept(m, tokens[n])) n++;
    roll_back(m, n);
    return n;
}

size_t mosa_matcher_check(mosa_matcher *m, const mosa_token_id *tokens, size_t count) {
    mosa_matcher_lock(m);
    size_t n = mosa_matcher_check_locked(m, tokens, count);
    mosa_matcher_unlock(m);
    return n;
}

// --- ends

bool mosa_matcher_can_end(mosa_matcher *m) {
    mosa_matcher_lock(m);
    bool ends = can_end(m);
    mosa_matcher_unlock(m);
    return ends;
}

bool mosa_matcher_must_end(mosa_matcher *m) {
    mosa_matcher_lock(m);
    mosa_history *now = mosa_matcher_now(m);
    bool ends = now->ended || can_end(m);
    if (ends && !now->ended) {
        const mosa_row *row = &m->parser.rows[now->place.row];
        ends = row->lexemes == 0;
        for (uint32_t i = 0; i < now->place.thread_count; i++)
            ends &= !m->grammar->lexer.states[m->threads[now->place.threads + i].state].goes_on;
    }
    mosa_matcher_unlock(m);
    return ends;
}
