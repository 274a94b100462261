// Sampling from logits: penalties, filters, and a draw that depends on the sequence alone.
#include "engine/sampler.h"

#include "backend/cpu/math.h"
#include "base/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

mosa_status mosa_sampler_init(mosa_sampler *s, int vocab, mosa_error *err) {
    *s = (mosa_sampler){.vocab = vocab};
    s->logits = malloc((size_t)vocab * sizeof *s->logits);
    s->weights = malloc((size_t)vocab * sizeof *s->weights);
    s->candidates = malloc((size_t)vocab * sizeof *s->candidates);
    s->counts = calloc((size_t)vocab, sizeof *s->counts);
    if (s->logits && s->weights && s->candidates && s->counts) return MOSA_OK;
    mosa_sampler_finish(s);
    return mosa_fail(err, MOSA_ENOMEM, "out of memory for a sampler over %d tokens", vocab);
}

void mosa_sampler_finish(mosa_sampler *s) {
    free(s->logits);
    free(s->weights);
    free(s->candidates);
    free(s->counts);
    *s = (mosa_sampler){0};
}

static int32_t argmax(const float *values, int n) {
    int32_t best = 0;
    for (int32_t i = 1; i < n; i++)
        if (values[i] > values[best]) best = i;
    return best;
}

static void apply_repetition(mosa_sampler *s, const mosa_sample_input *in) {
    float penalty = in->sampling->repetition_penalty;
    for (int32_t i = 0; i < in->n_tokens; i++) {
        int32_t token = in->tokens[i];
        if (s->counts[token]) continue;
        s->counts[token] = 1;
        s->logits[token] = s->logits[token] > 0 ? s->logits[token] / penalty : s->logits[token] * penalty;
    }
    for (int32_t i = 0; i < in->n_tokens; i++) s->counts[in->tokens[i]] = 0;
}

static void apply_frequency(mosa_sampler *s, const mosa_sample_input *in) {
    for (int32_t i = in->n_prompt; i < in->n_tokens; i++) s->counts[in->tokens[i]]++;
    for (int32_t i = in->n_prompt; i < in->n_tokens; i++) {
        int32_t token = in->tokens[i];
        if (s->counts[token] == 0) continue;
        s->logits[token] -= in->sampling->frequency_penalty * (float)s->counts[token] + in->sampling->presence_penalty;
        s->counts[token] = 0;
    }
}

static void apply_allowed(mosa_sampler *s, const uint64_t *allowed) {
    for (int begin = 0; begin < s->vocab; begin += 64) {
        uint64_t bits = allowed[begin / 64];
        int end = begin + 64 < s->vocab ? begin + 64 : s->vocab;
        if (bits == UINT64_MAX) continue;
        for (int i = begin; i < end; i++)
            if (!(bits >> (i - begin) & 1)) s->logits[i] = -INFINITY;
    }
}

// The logits to draw from: the model's own, or a working copy when something changes them.
static const float *adjusted(mosa_sampler *s, const mosa_sample_input *in) {
    const mosa_sampling *p = in->sampling;
    bool repetition = p->repetition_penalty != 1.0f && p->repetition_penalty > 0;
    bool frequency = (p->frequency_penalty != 0 || p->presence_penalty != 0) && in->n_tokens > in->n_prompt;
    if (!repetition && !frequency && p->n_logit_bias == 0 && in->n_masked == 0 && !in->allowed) return in->logits;
    memcpy(s->logits, in->logits, (size_t)s->vocab * sizeof *s->logits);
    for (int i = 0; i < p->n_logit_bias; i++) s->logits[p->logit_bias[i].token] += p->logit_bias[i].bias;
    if (repetition) apply_repetition(s, in);
    if (frequency) apply_frequency(s, in);
    for (size_t i = 0; i < in->n_masked; i++) s->logits[in->masked[i]] = -INFINITY;
    if (in->allowed) apply_allowed(s, in->allowed);
    return s->logits;
}

static int by_weight(const void *a, const void *b) {
    const mosa_candidate *x = a, *y = b;
    if (x->weight != y->weight) return x->weight > y->weight ? -1 : 1;
    return x->token < y->token ? -1 : x->token > y->token;
}

static int gather(mosa_sampler *s, float threshold, double *sum) {
    int n = 0;
    *sum = 0;
    for (int32_t i = 0; i < s->vocab; i++) {
        if (s->weights[i] < threshold) continue;
        s->candidates[n++] = (mosa_candidate){s->weights[i], i};
        *sum += s->weights[i];
    }
    return n;
}

// Candidates in order of weight, cut by top-k, top-p and min-p. The best token has weight 1; a falling threshold finds
// the head of the distribution without sorting the whole vocabulary.
static int filter(mosa_sampler *s, const mosa_sampling *p, double total, double *kept) {
    int k = p->top_k > 0 && p->top_k < s->vocab ? p->top_k : s->vocab;
    double wanted = p->top_p < 1 ? p->top_p * total : total, sum;
    float threshold = 1.0f / 16;
    int n = gather(s, threshold, &sum);
    while (n < s->vocab && n < k && (k < s->vocab || sum < wanted) && threshold > 0) {
        threshold = threshold > 1e-30f ? threshold / 64 : 0;
        n = gather(s, threshold, &sum);
    }
    qsort(s->candidates, (size_t)n, sizeof *s->candidates, by_weight);
    if (n > k) n = k;
    if (k < s->vocab) {
        total = 0;
        for (int i = 0; i < n; i++) total += s->candidates[i].weight;
        wanted = p->top_p * total;
    }
    *kept = 0;
    int used = 0;
    // What has no weight (masked, or vanished in f32) is never drawn, not even by a rounding of the sum.
    while (used < n && s->candidates[used].weight > 0 &&
           (used == 0 || ((p->top_p >= 1 || *kept < wanted) && s->candidates[used].weight >= p->min_p)))
        *kept += s->candidates[used++].weight;
    return used;
}

int32_t mosa_sampler_draw(mosa_sampler *s, const mosa_sample_input *in) {
    const mosa_sampling *p = in->sampling;
    const float *logits = adjusted(s, in);
    int32_t best = argmax(logits, s->vocab);
    if (!isfinite(logits[best])) return -1;
    // Below this the weights of all but the best vanish in f32, and the inverse of a denormal is infinite.
    if (p->temperature <= 1e-5f || p->top_k == 1) return best;
    float max = logits[best], inverse = 1.0f / p->temperature;
    double total = 0;
    for (int i = 0; i < s->vocab; i++) {
        s->weights[i] = expf((logits[i] - max) * inverse);
        total += s->weights[i];
    }
    double u = mosa_rng_uniform(p->seed, (uint64_t)(in->n_tokens - in->n_prompt));
    if (p->top_k <= 0 && p->top_p >= 1 && p->min_p <= 0) {
        double left = u * total;
        for (int32_t i = 0; i < s->vocab; i++)
            if ((left -= s->weights[i]) < 0) return i;
        return best;
    }
    double kept;
    int n = filter(s, p, total, &kept);
    double left = u * kept;
    for (int i = 0; i < n; i++)
        if ((left -= s->candidates[i].weight) < 0) return s->candidates[i].token;
    return s->candidates[n - 1].token;
}

// Insertion into a short list sorted best first.
static int keep_best(mosa_logprob *top, int have, int n, int32_t token, float logit) {
    if (have == n && !(logit > top[n - 1].logprob)) return have;
    int at = have < n ? have++ : n - 1;
    while (at > 0 && top[at - 1].logprob < logit) {
        top[at] = top[at - 1];
        at--;
    }
    top[at] = (mosa_logprob){token, logit};
    return have;
}

float mosa_sampler_logprobs(const mosa_sampler *s, const float *logits, int32_t token, int n, mosa_logprob *top) {
    float max, log_sum = mosa_log_of(mosa_softmax_sum(logits, s->vocab, &max)); // as the loss of training has it
    int have = 0;
    for (int32_t i = 0; n > 0 && i < s->vocab; i++) have = keep_best(top, have, n, i, logits[i]);
    for (int i = 0; i < have; i++) top[i].logprob = top[i].logprob - max - log_sum;
    return logits[token] - max - log_sum;
}
