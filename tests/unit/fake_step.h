// A training step without a model: a table of bigrams, whose gradient is exact and cheap. Includes its definitions of
// train/step.h; for one test program.
//
// logits of token a = table[a] + bias. "LoRA": the reference is the table as it was at open.
#ifndef MOSA_TESTS_FAKE_STEP_H
#define MOSA_TESTS_FAKE_STEP_H

#include "train/step.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FAKE_VOCAB = 24 };

struct mosa_step {
    mosa_params params;
    float *weights, *grads, *first;
    mosa_step_stats *stats;
    double poison; // added to the gradient once, then 0
};

static mosa_step *fake_step_create(int32_t max_rows) {
    static const mosa_param specs[] = {
        {.name = "table.weight", .n_dims = 2, .dims = {FAKE_VOCAB, FAKE_VOCAB}, .decay = true, .lr_factor = 1},
        {.name = "bias", .n_dims = 1, .dims = {FAKE_VOCAB}, .lr_factor = 1},
    };
    mosa_step *s = calloc(1, sizeof *s);
    mosa_params_init(&s->params);
    for (int i = 0; i < 2; i++) (void)!mosa_params_add(&s->params, &specs[i], NULL);
    (void)!mosa_params_finish_layout(&s->params, NULL);
    (void)!mosa_params_alloc(&s->params, &s->weights, NULL);
    (void)!mosa_params_alloc(&s->params, &s->grads, NULL);
    (void)!mosa_params_alloc(&s->params, &s->first, NULL);
    s->stats = calloc((size_t)max_rows, sizeof *s->stats);
    for (int i = 0; i < FAKE_VOCAB * FAKE_VOCAB; i++) s->weights[i] = s->first[i] = 0.01f * (float)(i * 7 % 23 - 11);
    return s;
}

void mosa_step_close(mosa_step *s) {
    if (!s) return;
    mosa_params_finish(&s->params);
    free(s->weights);
    free(s->grads);
    free(s->first);
    free(s->stats);
    free(s);
}

const mosa_params *mosa_step_params(const mosa_step *s) {
    return &s->params;
}
float *mosa_step_weights(mosa_step *s) {
    return s->weights;
}
float *mosa_step_grads(mosa_step *s) {
    return s->grads;
}
mosa_step_memory mosa_step_memory_of(const mosa_step *s) {
    return (mosa_step_memory){.arenas = 2 * s->params.elements * sizeof(float)};
}
double mosa_step_flops(const mosa_step *s, int32_t rows) {
    (void)s;
    return 6.0 * FAKE_VOCAB * rows;
}
mosa_status mosa_step_refresh(mosa_step *s, bool stochastic, uint64_t seed, uint64_t number, mosa_error *err) {
    (void)s, (void)stochastic, (void)seed, (void)number, (void)err;
    return MOSA_OK;
}

static void fake_row(mosa_step *s, const float *weights, int32_t token, int32_t label, double coef, bool backward,
                     mosa_step_stats *out) {
    const float *table = weights + s->params.items[0].offset + token * FAKE_VOCAB;
    const float *bias = weights + s->params.items[1].offset;
    double p[FAKE_VOCAB], sum = 0, entropy = 0;
    int best = 0;
    for (int i = 0; i < FAKE_VOCAB; i++) {
        sum += p[i] = exp((double)table[i] + bias[i]);
        if (p[i] > p[best]) best = i;
    }
    for (int i = 0; i < FAKE_VOCAB; i++) entropy -= p[i] / sum * log(p[i] / sum);
    *out = (mosa_step_stats){(float)log(p[label] / sum), (float)log(sum), (float)entropy, best == label};
    for (int i = 0; backward && i < FAKE_VOCAB; i++) {
        float g = (float)(coef * (p[i] / sum - (i == label)));
        s->grads[s->params.items[0].offset + (size_t)(token * FAKE_VOCAB + i)] += g;
        s->grads[s->params.items[1].offset + (size_t)i] += g;
    }
}

static const mosa_step_stats *fake_run(mosa_step *s, const float *weights, const mosa_step_batch *b, bool backward) {
    memset(s->stats, 0, (size_t)b->rows * sizeof *s->stats);
    for (int32_t row = 0; row < b->rows; row++)
        if (b->labels[row] >= 0)
            fake_row(s, weights, b->tokens[row], b->labels[row], backward ? b->coef[row] : 0, backward, &s->stats[row]);
    if (backward) s->grads[0] += (float)s->poison;
    if (backward) s->poison = 0;
    return s->stats;
}

mosa_status mosa_step_run(mosa_step *s, const mosa_step_batch *b, const mosa_step_stats **stats, mosa_error *err) {
    (void)err;
    *stats = fake_run(s, s->weights, b, true);
    return MOSA_OK;
}
mosa_status mosa_step_forward(mosa_step *s, const mosa_step_batch *b, const mosa_step_stats **stats, mosa_error *err) {
    (void)err;
    *stats = fake_run(s, s->weights, b, false);
    return MOSA_OK;
}
mosa_status mosa_step_reference(mosa_step *s, const mosa_step_batch *b, const mosa_step_stats **stats,
                                mosa_error *err) {
    (void)err;
    *stats = fake_run(s, s->first, b, false);
    return MOSA_OK;
}

#endif
