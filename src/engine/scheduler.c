// Rows, pages and order of sequences.
#include "engine/scheduler.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

mosa_status mosa_scheduler_init(mosa_scheduler *s, const mosa_scheduler_options *options, mosa_error *err) {
    *s = (mosa_scheduler){.max_running = options->max_running,
                          .max_queued = options->max_queued,
                          .max_rows = options->max_rows,
                          .page_tokens = options->page_tokens,
                          .share_prefixes = options->share_prefixes && !options->whole_prompts,
                          .whole_prompts = options->whole_prompts};
    // A preempted sequence goes back to the queue, so that holds both: admission and preemption only move sequences
    // between the lists, and a submission needs room in the queue.
    size_t queue_slots = (size_t)options->max_queued + (size_t)options->max_running;
    s->running = calloc((size_t)options->max_running, sizeof(mosa_sequence *));
    s->queued = calloc(queue_slots, sizeof(mosa_sequence *));
    s->order = calloc((size_t)options->max_running, sizeof(mosa_sequence *));
    mosa_status status = MOSA_OK;
    if (!s->running || !s->queued || !s->order) status = mosa_fail(err, MOSA_ENOMEM, "out of memory for the scheduler");
    if (options->mirrors) {
        s->mirrored = calloc((size_t)options->pages, sizeof *s->mirrored);
        if (!s->mirrored) status = mosa_fail(err, MOSA_ENOMEM, "out of memory for the scheduler");
    }
    if (status == MOSA_OK) status = mosa_page_pool_init(&s->pool, options->pages, err);
    if (status == MOSA_OK) status = mosa_prefix_tree_init(&s->tree, options->pages, options->page_tokens, err);
    if (status == MOSA_OK) status = mosa_callers_init(&s->callers, (int32_t)queue_slots + options->max_running, err);
    if (status != MOSA_OK) mosa_scheduler_finish(s);
    return status;
}

void mosa_scheduler_finish(mosa_scheduler *s) {
    for (int i = 0; i < s->n_running; i++) mosa_sequence_destroy(s->running[i]);
    for (int i = 0; i < s->n_queued; i++) mosa_sequence_destroy(s->queued[i]);
    free(s->running);
    free(s->queued);
    free(s->order);
    free(s->mirrored);
    mosa_callers_finish(&s->callers);
    mosa_page_pool_finish(&s->pool);
    mosa_prefix_tree_finish(&s->tree);
    *s = (mosa_scheduler){0};
}

// --- ordered lists ------------------------------------------------------------------------------------------------

static bool goes_before(const mosa_sequence *a, const mosa_sequence *b) {
    if (a->request.priority != b->request.priority) return a->request.priority > b->request.priority;
    return a->id < b->id;
}

static void list_insert(mosa_sequence **list, int *n, mosa_sequence *sequence) {
    int at = (*n)++;
    while (at > 0 && goes_before(sequence, list[at - 1])) {
        list[at] = list[at - 1];
        at--;
    }
    list[at] = sequence;
}

static bool list_remove(mosa_sequence **list, int *n, const mosa_sequence *sequence) {
    for (int i = 0; i < *n; i++) {
        if (list[i] != sequence) continue;
        memmove(list + i, list + i + 1, (size_t)(*n - i - 1) * sizeof(mosa_sequence *));
        (*n)--;
        return true;
    }
    return false;
}

static void wait_for_turn(mosa_scheduler *s, mosa_sequence *sequence) {
    assert(s->n_queued < s->max_queued + s->max_running);
    sequence->state = MOSA_SEQUENCE_QUEUED;
    list_insert(s->queued, &s->n_queued, sequence);
}

void mosa_scheduler_enqueue(mosa_scheduler *s, mosa_sequence *sequence) {
    sequence->caller = mosa_callers_enter(&s->callers, sequence->request.caller);
    wait_for_turn(s, sequence);
}

static mosa_caller *caller_of(const mosa_scheduler *s, const mosa_sequence *q) {
    return &s->callers.slots[q->caller];
}

mosa_sequence *mosa_scheduler_find(const mosa_scheduler *s, uint64_t id) {
    for (int i = 0; i < s->n_running; i++)
        if (s->running[i]->id == id) return s->running[i];
    for (int i = 0; i < s->n_queued; i++)
        if (s->queued[i]->id == id) return s->queued[i];
    return NULL;
}

// --- pages --------------------------------------------------------------------------------------------------------

static int32_t take_page(mosa_scheduler *s) {
    int32_t page = mosa_page_pool_take(&s->pool);
    if (page == MOSA_NO_PAGE) page = mosa_prefix_tree_evict(&s->tree);
    if (page != MOSA_NO_PAGE && s->mirrored) s->mirrored[page] = false;
    return page;
}

static int64_t available_pages(const mosa_scheduler *s) {
    return (int64_t)s->pool.n_free + s->tree.n_unreferenced;
}

static int32_t pages_for(const mosa_scheduler *s, int32_t positions) {
    return (positions + s->page_tokens - 1) / s->page_tokens;
}

static void release_pages(mosa_scheduler *s, mosa_sequence *q) {
    for (int32_t i = q->n_tree_pages; i < q->n_pages; i++) mosa_page_pool_give(&s->pool, q->pages[i]);
    for (mosa_prefix_node *node = q->tip; node;) {
        mosa_prefix_node *parent = mosa_prefix_node_parent(node);
        mosa_prefix_tree_unref(&s->tree, node);
        node = parent;
    }
    q->tip = NULL;
    q->n_pages = q->n_tree_pages = 0;
    q->n_computed = q->n_mirrored = 0;
}

// A prompt that must be read in full (for its log-probabilities or embedding) takes nothing from the tree.
static bool may_share(const mosa_scheduler *s, const mosa_sequence *q) {
    return s->share_prefixes && !mosa_sequence_embeds(q) && !q->request.prompt_logprobs;
}

// Pages of the tree that spell the beginning of the sequence; at least one token is left to run. Nothing is referred
// to.
static int32_t match_prefix(const mosa_scheduler *s, const mosa_sequence *q) {
    if (!may_share(s, q)) return 0;
    int32_t matched = 0, limit = (q->n_tokens - 1) / s->page_tokens;
    const mosa_prefix_node *node = NULL;
    while (matched < limit) {
        node = mosa_prefix_tree_find(&s->tree, mosa_sequence_salt(q), node,
                                     q->tokens + (size_t)matched * (size_t)s->page_tokens);
        if (!node) break;
        matched++;
    }
    return matched;
}

static void adopt_prefix(mosa_scheduler *s, mosa_sequence *q, int32_t pages) {
    for (int32_t i = 0; i < pages; i++) {
        q->tip = mosa_prefix_tree_find(&s->tree, mosa_sequence_salt(q), q->tip,
                                       q->tokens + (size_t)i * (size_t)s->page_tokens);
        mosa_prefix_tree_ref(&s->tree, q->tip);
        q->pages[i] = mosa_prefix_node_page(&s->tree, q->tip);
    }
    q->n_pages = q->n_tree_pages = pages;
    q->n_computed = pages * s->page_tokens;
    if (!q->admitted_before) q->n_cached = q->n_computed;
    q->admitted_before = true;
}

void mosa_scheduler_mirror(mosa_scheduler *s, mosa_sequence *q, int32_t position) {
    for (int32_t i = q->n_mirrored / s->page_tokens; (i + 1) * s->page_tokens <= position; i++)
        s->mirrored[q->pages[i]] = true;
    q->n_mirrored = position;
}

void mosa_scheduler_skip_mirrored(const mosa_scheduler *s, mosa_sequence *q) {
    for (int32_t i = q->n_mirrored / s->page_tokens; i < q->n_tree_pages && s->mirrored[q->pages[i]]; i++)
        q->n_mirrored = (i + 1) * s->page_tokens;
}

// The sequence exchanges a page of its own for one of the tree; what the draft model has read of the two may differ.
static void exchange_mirrored(const mosa_scheduler *s, mosa_sequence *q, int32_t index) {
    int32_t begin = index * s->page_tokens;
    if (s->mirrored && !s->mirrored[q->pages[index]] && q->n_mirrored > begin) q->n_mirrored = begin;
}

void mosa_scheduler_advance(mosa_scheduler *s, mosa_sequence *q, int32_t positions) {
    q->n_computed += positions;
    caller_of(s, q)->served += positions;
    if (!s->share_prefixes) return;
    while ((q->n_tree_pages + 1) * s->page_tokens <= q->n_computed) {
        const int32_t *tokens = q->tokens + (size_t)q->n_tree_pages * (size_t)s->page_tokens;
        int32_t *page = &q->pages[q->n_tree_pages];
        mosa_prefix_node *known = mosa_prefix_tree_find(&s->tree, mosa_sequence_salt(q), q->tip, tokens);
        if (known) {
            // Somebody computed the same page first; its bits are equal, so one of the two is enough.
            mosa_prefix_tree_ref(&s->tree, known);
            mosa_page_pool_give(&s->pool, *page);
            *page = mosa_prefix_node_page(&s->tree, known);
            q->tip = known;
            exchange_mirrored(s, q, q->n_tree_pages);
        } else {
            q->tip = mosa_prefix_tree_insert(&s->tree, mosa_sequence_salt(q), q->tip, tokens, *page);
        }
        q->n_tree_pages++;
    }
}

// --- planning -----------------------------------------------------------------------------------------------------

void mosa_scheduler_remove(mosa_scheduler *s, mosa_sequence *q) {
    if (list_remove(s->running, &s->n_running, q))
        caller_of(s, q)->running--;
    else
        list_remove(s->queued, &s->n_queued, q);
    mosa_callers_leave(&s->callers, q->caller);
    release_pages(s, q);
    q->state = MOSA_SEQUENCE_FINISHED;
}

static void preempt(mosa_scheduler *s, mosa_sequence *victim) {
    list_remove(s->running, &s->n_running, victim);
    caller_of(s, victim)->running--;
    victim->rows = victim->n_draft = 0;
    release_pages(s, victim);
    wait_for_turn(s, victim);
    s->preemptions++;
}

static void preempt_last(mosa_scheduler *s) {
    preempt(s, s->running[s->n_running - 1]);
}

// --- admission ----------------------------------------------------------------------------------------------------

// Whose turn it is for a slot; NULL when nobody waits but for a prefix.
static mosa_sequence *next_in_line(const mosa_scheduler *s) {
    mosa_sequence *best = NULL;
    for (int i = 0; i < s->n_queued; i++) {
        mosa_sequence *q = s->queued[i];
        if (q->waits_for_prefix) continue;
        if (best && q->request.priority < best->request.priority) break; // the list is sorted
        const mosa_caller *mine = caller_of(s, q), *theirs = best ? caller_of(s, best) : NULL;
        if (!best || mine->running < theirs->running ||
            (mine->running == theirs->running && mine->served < theirs->served))
            best = q;
    }
    return best;
}

// Who has to make room for `q` (scheduler.h): the last of the lowest priority below its own, or the last of the caller
// that runs most among its equals. NULL when nobody has to.
static mosa_sequence *find_victim(const mosa_scheduler *s, const mosa_sequence *q) {
    mosa_sequence *victim = NULL;
    int32_t most = caller_of(s, q)->running + 1;
    for (int i = s->n_running - 1; i >= 0; i--) {
        mosa_sequence *other = s->running[i];
        if (other->request.priority > q->request.priority) break;
        if (other->request.priority < q->request.priority) return other;
        if (caller_of(s, other)->running <= most) continue;
        most = caller_of(s, other)->running;
        victim = other;
    }
    return victim;
}

// Pages that admitting `q` takes out of those available: of its prompt and the next token, less those that others use.
static int32_t pages_missing(const mosa_scheduler *s, const mosa_sequence *q) {
    int32_t missing = pages_for(s, q->n_tokens + 1), matched = match_prefix(s, q);
    const mosa_prefix_node *node = NULL;
    for (int32_t i = 0; i < matched; i++) {
        node = mosa_prefix_tree_find(&s->tree, mosa_sequence_salt(q), node,
                                     q->tokens + (size_t)i * (size_t)s->page_tokens);
        if (!mosa_prefix_node_is_used(node)) break;
        missing--;
    }
    return missing;
}

// True when there is a slot for `q` and pages for its whole prompt. A lone sequence always fits: the context is no
// longer than the pool.
static bool make_room(mosa_scheduler *s, const mosa_sequence *q) {
    for (;;) {
        bool fits = s->n_running == 0 || available_pages(s) >= pages_missing(s, q);
        if (fits && s->n_running < s->max_running) return true;
        mosa_sequence *victim = find_victim(s, q);
        if (!victim) return false;
        preempt(s, victim);
    }
}

// True while another sequence is computing the page that `q` would have to compute first: waiting a step or two for it
// is cheaper than running the same rows twice.
static bool prefix_is_coming(const mosa_scheduler *s, const mosa_sequence *q, int32_t matched) {
    if (!may_share(s, q)) return false;
    int32_t end = (matched + 1) * s->page_tokens;
    if (end >= q->n_tokens) return false;
    for (int i = 0; i < s->n_running; i++) {
        const mosa_sequence *other = s->running[i];
        if (other->n_computed >= end || other->n_tokens < end || mosa_sequence_embeds(other) ||
            other->adapter != q->adapter)
            continue;
        if (memcmp(other->tokens, q->tokens, (size_t)end * sizeof *q->tokens) == 0) return true;
    }
    return false;
}

static void start_running(mosa_scheduler *s, mosa_sequence *q) {
    list_remove(s->queued, &s->n_queued, q);
    adopt_prefix(s, q, match_prefix(s, q));
    q->state = MOSA_SEQUENCE_RUNNING;
    list_insert(s->running, &s->n_running, q);
    caller_of(s, q)->running++;
}

// Sequences that run whole leave after one step, so the budget is free again at every admission. No prompt is longer
// than it (sequence limits).
static void admit_whole(mosa_scheduler *s) {
    int32_t budget = s->max_rows;
    mosa_sequence *q;
    for (int i = 0; i < s->n_running; i++) budget -= s->running[i]->n_tokens;
    while ((q = next_in_line(s)) != NULL && s->n_running < s->max_running && q->n_tokens <= budget) {
        start_running(s, q);
        budget -= q->n_tokens;
    }
}

// Requests that wait for a prefix let others pass; those that wait for pages do not, or a long prompt would starve.
void mosa_scheduler_admit(mosa_scheduler *s) {
    mosa_sequence *q;
    for (int i = 0; i < s->n_queued; i++) s->queued[i]->waits_for_prefix = false;
    if (s->whole_prompts) {
        admit_whole(s);
        return;
    }
    while ((q = next_in_line(s)) != NULL) {
        q->waits_for_prefix = prefix_is_coming(s, q, match_prefix(s, q));
        if (q->waits_for_prefix) continue;
        if (!make_room(s, q)) break;
        start_running(s, q);
    }
}

// --- rows -----------------------------------------------------------------------------------------------------------

// Gives `q` pages for up to `rows` more positions, preempting those behind it in order. Returns the rows that fit.
static int32_t reserve_rows(mosa_scheduler *s, mosa_sequence *q, int32_t rows) {
    int32_t need = pages_for(s, q->n_computed + rows);
    while (q->n_pages < need) {
        int32_t page = take_page(s);
        if (page == MOSA_NO_PAGE && s->running[s->n_running - 1] != q) {
            preempt_last(s);
            continue;
        }
        if (page == MOSA_NO_PAGE) break;
        q->pages[q->n_pages++] = page;
    }
    int32_t fits = q->n_pages * s->page_tokens - q->n_computed;
    return fits < rows ? fits : rows;
}

// Pages for up to `rows` guesses behind the rows that are reserved already: nobody is preempted for a guess.
static int32_t reserve_guesses(mosa_scheduler *s, mosa_sequence *q, int32_t rows) {
    int32_t end = q->n_tokens + rows;
    while (q->n_pages < pages_for(s, end)) {
        int32_t page = take_page(s);
        if (page == MOSA_NO_PAGE) break;
        q->pages[q->n_pages++] = page;
    }
    int32_t fits = q->n_pages * s->page_tokens - q->n_tokens;
    return fits < rows ? fits : rows;
}

// Gives `q` rows of this step; returns how many.
static int32_t plan_rows(mosa_scheduler *s, mosa_sequence *q, int32_t budget) {
    int32_t certain = q->n_tokens - q->n_computed, guesses = q->n_draft;
    q->rows = reserve_rows(s, q, certain < budget ? certain : budget);
    if (guesses > budget - q->rows) guesses = budget - q->rows;
    q->n_draft = q->rows == certain && guesses > 0 ? reserve_guesses(s, q, guesses) : 0;
    q->rows += q->n_draft;
    return q->rows;
}

static bool served_before(const mosa_scheduler *s, const mosa_sequence *a, const mosa_sequence *b) {
    if (a->request.priority != b->request.priority) return a->request.priority > b->request.priority;
    int64_t mine = caller_of(s, a)->served, theirs = caller_of(s, b)->served;
    return mine != theirs ? mine < theirs : a->id < b->id;
}

static int order_running(mosa_scheduler *s) {
    for (int i = 0; i < s->n_running; i++) {
        int at = i;
        for (; at > 0 && served_before(s, s->running[i], s->order[at - 1]); at--) s->order[at] = s->order[at - 1];
        s->order[at] = s->running[i];
    }
    return s->n_running;
}

static int plan_running(mosa_scheduler *s) {
    int budget = s->max_rows, begin = 0, n = order_running(s);
    // Decoding first: a long prompt must not stall those who are already reading their answer.
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < n && budget > 0; i++) {
            mosa_sequence *q = s->order[i];
            bool decodes = q->n_tokens - q->n_computed == 1;
            // Reserving pages for one may preempt another.
            if (q->state == MOSA_SEQUENCE_RUNNING && decodes == (pass == 0)) budget -= plan_rows(s, q, budget);
        }
    }
    for (int i = 0; i < s->n_running; i++) {
        mosa_sequence *q = s->running[i];
        if (q->rows == 0) q->n_draft = 0;
        q->row_begin = begin;
        begin += q->rows;
    }
    return begin;
}

static int plan_whole(mosa_scheduler *s) {
    int begin = 0;
    for (int i = 0; i < s->n_running; i++) {
        s->running[i]->rows = s->running[i]->n_tokens;
        s->running[i]->row_begin = begin;
        begin += s->running[i]->rows;
    }
    return begin;
}

int mosa_scheduler_plan(mosa_scheduler *s) {
    if (s->whole_prompts) return plan_whole(s);
    for (int i = 0; i < s->n_running; i++) s->running[i]->rows = 0;
    int rows = plan_running(s);
    // Every page is held by half-read prompts: the last gives way until one can go on.
    while (rows == 0 && s->n_running > 1) {
        preempt_last(s);
        rows = plan_running(s);
    }
    return rows;
}
