// Constrained sequences in a step: certain tokens run as guesses, masks are made beside the forward pass, draws obey.
#include "engine/engine_internal.h"

#include <string.h>

int32_t mosa_engine_guess_certain(mosa_engine *e, mosa_sequence *q) {
    (void)e;
    const mosa_constrained *c = q->constrained;
    int32_t room = q->capacity - 1 - q->n_tokens, n = c->n_forced - c->forced_at;
    if (n > room) n = room;
    if (n <= 0) return 0;
    memcpy(q->tokens + q->n_tokens, c->forced + c->forced_at, (size_t)n * sizeof *q->tokens);
    return n;
}

// A mask serves the first token that is drawn; it is wanted where all certain rows run in this step.
void mosa_engine_begin_masks(mosa_engine *e) {
    for (int i = 0; i < e->scheduler.n_running; i++) {
        mosa_sequence *q = e->scheduler.running[i];
        bool draws = q->constrained && q->rows - q->n_draft == q->n_tokens - q->n_computed && q->rows > 0;
        if (draws) mosa_constraints_add(&e->constraints, q->constrained);
    }
    mosa_constraints_begin(&e->constraints);
}

// The end token waits for min_tokens only while the grammar lets the text go on.
static bool can_go_on(const mosa_engine *e, const uint64_t *mask) {
    size_t n, words = ((size_t)e->limits.vocab + 63) / 64;
    const mosa_token_id *ends = mosa_model_text_end_ids(e->text, &n);
    for (size_t w = 0; w < words; w++) {
        uint64_t bits = mask[w];
        for (size_t i = 0; i < n; i++)
            if (ends[i] >= 0 && (size_t)ends[i] / 64 == w) bits &= ~((uint64_t)1 << (ends[i] % 64));
        if (bits) return true;
    }
    return false;
}

int32_t mosa_engine_draw_constrained(mosa_engine *e, mosa_sequence *q, const float *logits) {
    int32_t certain = mosa_constrained_next(q->constrained);
    if (certain >= 0) return certain;
    const uint64_t *mask = mosa_constrained_mask(q->constrained);
    if (!mask) {
        e->failure = q->constrained->error;
        return -1;
    }
    mosa_sample_input input = {.logits = logits,
                               .sampling = &q->request.sampling,
                               .tokens = q->tokens,
                               .n_prompt = q->n_prompt,
                               .n_tokens = q->n_tokens,
                               .allowed = mask};
    if (mosa_sequence_generated(q) < q->request.min_tokens && can_go_on(e, mask))
        input.masked = mosa_model_text_end_ids(e->text, &input.n_masked);
    int32_t token = mosa_sampler_draw(&e->sampler, &input);
    if (token < 0) mosa_fail(&e->failure, MOSA_EINTERNAL, "no token that the constraint allows has a finite logit");
    return token;
}
