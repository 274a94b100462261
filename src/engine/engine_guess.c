// Guessing tokens ahead, so that one pass over the weights may give several.
//
// Before the plan every decoding sequence is asked how many guesses are worth a row; a step's rows then verify them
// (engine_output.c). Guesses never change what comes out, only how many steps it takes.
//
// Worth. A step takes about as long as ROWS_PER_PASS rows of arithmetic plus its own rows: few rows are bounded by
// reading the weights. A draft model's pass adds its own cost, as a share of the engine's. So with R certain rows, a
// guess that stands with chance p adds p tokens to R and one row to ROWS_PER_PASS + R, and is worth it while p > R /
// (ROWS_PER_PASS + R). Each sequence keeps its own estimate of the chance that a guess stands; the i-th of a chain
// stands with its i-th power. A lone sequence therefore guesses almost always, one in a large batch or beside a long
// prompt only when it is nearly sure.
#include "engine/engine_internal.h"

#include "engine/ngram.h"

enum {
    ROWS_PER_PASS = 8,
    HOPE_WINDOW = 8,     // guesses over which the estimate of a sequence moves
    RECOVER_WINDOW = 256 // steps over which a sequence that gave up tries again
};

static const float HOPE_AT_FIRST = 0.7f;

static bool may_guess(const mosa_sequence *q) {
    return !mosa_sequence_embeds(q) && !q->request.no_speculation && q->n_tokens - q->n_computed == 1;
}

// A sequence guesses when the draft model can catch up with it in one batch. Others begin to be caught up, in the order
// of the list, as far as that batch has room.
static int32_t ask_draft(mosa_engine *e, mosa_sequence *q, int32_t count, int32_t *room) {
    if (count > e->draft.context_tokens - q->n_tokens) count = (int32_t)(e->draft.context_tokens - q->n_tokens);
    if (count <= 0) return 0;
    mosa_scheduler_skip_mirrored(&e->scheduler, q);
    int32_t lag = q->n_tokens - q->n_mirrored;
    q->wants_mirror = true;
    if (lag > *room) return 0;
    *room -= lag;
    return count;
}

// The chance that a guess needs in this step.
static float least_chance(const mosa_engine *e) {
    int32_t rows = 0;
    for (int i = 0; i < e->scheduler.n_running && rows < e->max_rows; i++)
        rows += e->scheduler.running[i]->n_tokens - e->scheduler.running[i]->n_computed;
    if (rows > e->max_rows) rows = e->max_rows;
    return (float)rows / (float)(ROWS_PER_PASS + rows) + e->draft.cost;
}

static int32_t worthwhile(const mosa_engine *e, mosa_sequence *q, float least) {
    int32_t most = q->capacity - 1 - q->n_tokens, count = 0;
    if (most > e->draft_tokens) most = e->draft_tokens;
    if (q->hope == 0) q->hope = HOPE_AT_FIRST;
    for (float chance = q->hope; count < most && chance > least; chance *= q->hope) count++;
    if (count == 0) q->hope += (HOPE_AT_FIRST - q->hope) / RECOVER_WINDOW;
    return count;
}

// Guesses of a constrained sequence: what its grammar makes certain, else what its own text suggests as far as the
// grammar allows it. A draft model, which knows nothing of the grammar, is not asked.
static int32_t guess_constrained(mosa_engine *e, mosa_sequence *q, int32_t count) {
    int32_t certain = mosa_engine_guess_certain(e, q);
    if (certain > 0) return certain;
    int32_t guessed = count > 0 ? mosa_ngram_guess(q->tokens, q->n_tokens, count) : 0;
    return mosa_constrained_check(q->constrained, q->tokens + q->n_tokens, guessed);
}

void mosa_engine_guess(mosa_engine *e) {
    bool speculates = e->speculation != MOSA_SPECULATE_OFF;
    float least = speculates ? least_chance(e) : 1;
    int32_t room = e->draft.max_rows;
    for (int i = 0; i < e->scheduler.n_running; i++) {
        mosa_sequence *q = e->scheduler.running[i];
        q->wants_mirror = false;
        int32_t count = speculates && may_guess(q) ? worthwhile(e, q, least) : 0;
        if (q->constrained)
            q->n_draft = guess_constrained(e, q, count);
        else if (e->speculation == MOSA_SPECULATE_DRAFT)
            q->n_draft = ask_draft(e, q, count, &room);
        else
            q->n_draft = mosa_ngram_guess(q->tokens, q->n_tokens, count);
    }
}

// Certain tokens are no guesses that could be wrong.
static bool is_certain(const mosa_sequence *q) {
    return q->constrained && mosa_constrained_next(q->constrained) >= 0;
}

void mosa_engine_count_guesses(mosa_engine *e) {
    uint64_t n = 0;
    for (int i = 0; i < e->scheduler.n_running; i++)
        if (!is_certain(e->scheduler.running[i])) n += (uint64_t)e->scheduler.running[i]->n_draft;
    if (n) atomic_fetch_add_explicit(&e->counters.drafted, n, memory_order_relaxed);
}

void mosa_engine_judge_guess(mosa_engine *e, mosa_sequence *q, bool stands) {
    if (stands) atomic_fetch_add_explicit(&e->counters.accepted, 1, memory_order_relaxed);
    q->hope += ((stands ? 1.0f : 0.0f) - q->hope) / HOPE_WINDOW;
}
