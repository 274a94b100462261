// The losses, each with its derivative by its argument.
#include "train/preference.h"

#include <math.h>

static double logistic(double x) {
    return x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x));
}

static double log_logistic(double x) {
    return x >= 0 ? -log1p(exp(-x)) : x - log1p(exp(x));
}

bool mosa_preference_needs_reference(mosa_preference_kind kind) {
    return kind != MOSA_PREFERENCE_ORPO && kind != MOSA_PREFERENCE_SIMPO;
}

// Losses of h, the difference of log-ratios times beta: value and derivative by h.
static double of_ratio(const mosa_preference *how, double h, double *slope) {
    double e = how->smoothing;
    switch (how->kind) {
    case MOSA_PREFERENCE_ROBUST:
        *slope = (-(1 - e) * logistic(-h) - e * logistic(h)) / (1 - 2 * e);
        return (-(1 - e) * log_logistic(h) + e * log_logistic(-h)) / (1 - 2 * e);
    case MOSA_PREFERENCE_HINGE:
        *slope = h < 1 ? -1 : 0;
        return h < 1 ? 1 - h : 0;
    default:
        *slope = -(1 - e) * logistic(-h) + e * logistic(h);
        return -(1 - e) * log_logistic(h) - e * log_logistic(-h);
    }
}

static void ratio_pair(const mosa_preference *how, const mosa_answer_logp *c, const mosa_answer_logp *r,
                       mosa_preference_loss *out) {
    double slope;
    out->reward_chosen = how->beta * (c->sum - c->reference);
    out->reward_rejected = how->beta * (r->sum - r->reference);
    out->loss = of_ratio(how, out->reward_chosen - out->reward_rejected, &slope);
    out->d_chosen = slope * how->beta;
    out->d_rejected = -slope * how->beta;
}

static void ipo_pair(const mosa_preference *how, const mosa_answer_logp *c, const mosa_answer_logp *r,
                     mosa_preference_loss *out) {
    double chosen = (c->sum - c->reference) / c->tokens, rejected = (r->sum - r->reference) / r->tokens;
    double off = chosen - rejected - 1 / (2 * how->beta);
    out->reward_chosen = how->beta * chosen;
    out->reward_rejected = how->beta * rejected;
    out->loss = off * off;
    out->d_chosen = 2 * off / c->tokens;
    out->d_rejected = -2 * off / r->tokens;
}

static double log_odds(double mean) {
    return mean - log1p(-exp(mean));
}

static void orpo_pair(const mosa_preference *how, const mosa_answer_logp *c, const mosa_answer_logp *r,
                      mosa_preference_loss *out) {
    // A mean of 0 (certainty) has infinite odds: keep clear of it.
    double a = fmin(c->sum / c->tokens, -1e-9), b = fmin(r->sum / r->tokens, -1e-9);
    double odds = log_odds(a) - log_odds(b), slope = -how->beta * logistic(-odds);
    out->reward_chosen = how->beta * a;
    out->reward_rejected = how->beta * b;
    out->loss = -a - how->beta * log_logistic(odds);
    out->d_chosen = (-1 + slope / -expm1(a)) / c->tokens;
    out->d_rejected = -slope / -expm1(b) / r->tokens;
}

static void simpo_pair(const mosa_preference *how, const mosa_answer_logp *c, const mosa_answer_logp *r,
                       mosa_preference_loss *out) {
    double a = c->sum / c->tokens, b = r->sum / r->tokens, h = how->beta * (a - b) - how->gamma;
    double slope = -how->beta * logistic(-h);
    out->reward_chosen = how->beta * a;
    out->reward_rejected = how->beta * b;
    out->loss = -log_logistic(h);
    out->d_chosen = slope / c->tokens;
    out->d_rejected = -slope / r->tokens;
}

mosa_preference_loss mosa_preference_pair(const mosa_preference *how, mosa_answer_logp chosen,
                                          mosa_answer_logp rejected) {
    mosa_preference_loss out = {0};
    if (how->kind == MOSA_PREFERENCE_IPO)
        ipo_pair(how, &chosen, &rejected, &out);
    else if (how->kind == MOSA_PREFERENCE_ORPO)
        orpo_pair(how, &chosen, &rejected, &out);
    else if (how->kind == MOSA_PREFERENCE_SIMPO)
        simpo_pair(how, &chosen, &rejected, &out);
    else
        ratio_pair(how, &chosen, &rejected, &out);
    out.loss -= how->chosen_share * chosen.sum / chosen.tokens;
    out.d_chosen -= how->chosen_share / chosen.tokens;
    return out;
}

mosa_preference_loss mosa_preference_single(const mosa_preference *how, mosa_answer_logp answer, bool good,
                                            double divergence) {
    mosa_preference_loss out = {0};
    double sign = good ? 1 : -1, weight = good ? how->good_weight : how->bad_weight;
    out.reward_chosen = how->beta * (answer.sum - answer.reference);
    double s = logistic(sign * (out.reward_chosen - how->beta * divergence));
    out.loss = weight * (1 - s);
    out.d_chosen = -weight * s * (1 - s) * sign * how->beta;
    return out;
}
