// Compiling at submission, masks on a thread, forced tokens.
#include "engine/constraint.h"

#include <stdlib.h>
#include <string.h>

// --- an engine's --------------------------------------------------------------------------------------------------

static void compute_mask(mosa_constrained *c) {
    c->error.status = mosa_matcher_mask(c->matcher, c->mask, &c->error);
    c->has_mask = c->error.status == MOSA_OK;
}

static void mask_main(void *arg) {
    mosa_constraints *all = arg;
    pthread_mutex_lock(&all->mutex);
    while (!all->stopping) {
        if (!all->busy) {
            pthread_cond_wait(&all->changed, &all->mutex);
            continue;
        }
        pthread_mutex_unlock(&all->mutex);
        for (int i = 0; i < all->n_jobs; i++) compute_mask(all->jobs[i]);
        pthread_mutex_lock(&all->mutex);
        all->busy = false;
        pthread_cond_broadcast(&all->changed);
    }
    pthread_mutex_unlock(&all->mutex);
}

mosa_status mosa_constraints_init(mosa_constraints *all, const mosa_model_text *text, size_t vocab, int capacity,
                                  mosa_error *err) {
    *all = (mosa_constraints){.text = text, .vocab = vocab, .capacity = capacity};
    pthread_mutex_init(&all->making, NULL);
    pthread_mutex_init(&all->mutex, NULL);
    mosa_cond_init(&all->changed);
    all->jobs = calloc((size_t)capacity, sizeof(mosa_constrained *));
    if (!all->jobs) return mosa_fail(err, MOSA_ENOMEM, "out of memory for constraints");
    return MOSA_OK;
}

void mosa_constraints_finish(mosa_constraints *all) {
    if (!all->text) return;
    pthread_mutex_lock(&all->mutex);
    all->stopping = true;
    pthread_cond_broadcast(&all->changed);
    pthread_mutex_unlock(&all->mutex);
    mosa_thread_join(&all->thread);
    mosa_grammar_cache_destroy(all->grammars);
    mosa_token_trie_destroy(all->trie);
    pthread_cond_destroy(&all->changed);
    pthread_mutex_destroy(&all->mutex);
    pthread_mutex_destroy(&all->making);
    free(all->jobs);
    *all = (mosa_constraints){0};
}

static mosa_status make_vocabulary(mosa_constraints *all, mosa_error *err) {
    size_t n_ends;
    const mosa_token_id *ends = mosa_model_text_end_ids(all->text, &n_ends);
    if (!all->trie)
        MOSA_TRY(
            mosa_token_trie_create(mosa_model_text_tokenizer(all->text), ends, n_ends, all->vocab, &all->trie, err));
    if (!all->grammars) MOSA_TRY(mosa_grammar_cache_create(all->trie, MOSA_CONSTRAINT_CACHE_MAX, &all->grammars, err));
    if (!all->thread.started) return mosa_thread_start(&all->thread, "masks", mask_main, all, err);
    return MOSA_OK;
}

static mosa_status ensure_vocabulary(mosa_constraints *all, mosa_error *err) {
    pthread_mutex_lock(&all->making);
    mosa_status status = make_vocabulary(all, err);
    pthread_mutex_unlock(&all->making);
    return status;
}

void mosa_constraints_add(mosa_constraints *all, mosa_constrained *c) {
    if (c->has_mask || all->n_jobs == all->capacity) return;
    all->jobs[all->n_jobs++] = c;
}

void mosa_constraints_begin(mosa_constraints *all) {
    if (all->n_jobs == 0) return;
    pthread_mutex_lock(&all->mutex);
    all->busy = true;
    pthread_cond_broadcast(&all->changed);
    pthread_mutex_unlock(&all->mutex);
}

void mosa_constraints_join(mosa_constraints *all) {
    if (all->n_jobs == 0) return;
    pthread_mutex_lock(&all->mutex);
    while (all->busy) pthread_cond_wait(&all->changed, &all->mutex);
    pthread_mutex_unlock(&all->mutex);
    all->n_jobs = 0;
}

// --- a sequence's -------------------------------------------------------------------------------------------------

static mosa_grammar_kind kind_of(mosa_constraint_kind kind) {
    switch (kind) {
    case MOSA_CONSTRAINT_JSON_OBJECT:
        return MOSA_GRAMMAR_JSON_OBJECT;
    case MOSA_CONSTRAINT_JSON_SCHEMA:
        return MOSA_GRAMMAR_JSON_SCHEMA;
    case MOSA_CONSTRAINT_REGEX:
        return MOSA_GRAMMAR_REGEX;
    case MOSA_CONSTRAINT_CHOICE:
        return MOSA_GRAMMAR_CHOICE;
    case MOSA_CONSTRAINT_GRAMMAR:
        return MOSA_GRAMMAR_TEXT;
    case MOSA_CONSTRAINT_NONE:
        break;
    }
    return MOSA_GRAMMAR_NONE;
}

// Holds as many certain tokens as there are now; the matcher moves behind them.
static void find_forced(mosa_constrained *c) {
    c->forced_at = 0;
    c->n_forced = (int)mosa_matcher_forced(c->matcher, c->forced, MOSA_FORCED_MAX);
    for (int i = 0; i < c->n_forced; i++)
        if (!mosa_matcher_accept(c->matcher, c->forced[i])) c->n_forced = i;
}

mosa_status mosa_constraints_open(mosa_constraints *all, const mosa_constraint *constraint, mosa_constrained **out,
                                  mosa_error *err) {
    mosa_grammar *grammar = NULL;
    MOSA_TRY(ensure_vocabulary(all, err));
    MOSA_TRY(mosa_grammar_cache_get(all->grammars, kind_of(constraint->kind),
                                    (mosa_slice){constraint->text, constraint->text_len}, MOSA_JSON_SPACED, &grammar,
                                    NULL, err));
    mosa_constrained *c = calloc(1, sizeof *c);
    mosa_status status = MOSA_OK;
    if (c) c->mask = calloc(mosa_token_trie_mask_words(all->trie), sizeof *c->mask);
    if (!c || !c->mask)
        status = mosa_fail(err, MOSA_ENOMEM, "out of memory for a constrained request");
    else
        status = mosa_matcher_create(grammar, &c->matcher, err);
    mosa_grammar_unref(grammar);
    if (status != MOSA_OK) {
        mosa_constrained_close(c);
        return status;
    }
    find_forced(c);
    *out = c;
    return MOSA_OK;
}

void mosa_constrained_close(mosa_constrained *c) {
    if (!c) return;
    mosa_matcher_destroy(c->matcher);
    free(c->mask);
    free(c);
}

const uint64_t *mosa_constrained_mask(mosa_constrained *c) {
    if (!c->has_mask) compute_mask(c);
    return c->has_mask ? c->mask : NULL;
}

bool mosa_constrained_take(mosa_constrained *c, int32_t token) {
    if (c->forced_at < c->n_forced) {
        if (c->forced[c->forced_at] != token) return false;
        c->forced_at++;
    } else {
        if (!mosa_matcher_accept(c->matcher, token)) return false;
        c->has_mask = false;
    }
    if (c->forced_at == c->n_forced) {
        find_forced(c);
        if (c->n_forced > 0) c->has_mask = false;
    }
    return true;
}

bool mosa_constrained_is_over(const mosa_constrained *c) {
    return c->forced_at == c->n_forced && mosa_matcher_must_end(c->matcher);
}

int32_t mosa_constrained_check(mosa_constrained *c, const int32_t *tokens, int32_t count) {
    return count > 0 ? (int32_t)mosa_matcher_check(c->matcher, tokens, (size_t)count) : 0;
}
