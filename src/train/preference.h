// Losses over pairs of answers, and over single ones called good or bad, with their derivatives by log-probability.
//
// One path serves all: what is known of an answer is the sum of its tokens' log-probabilities under the policy and
// under the reference, and their number. With h = beta ((chosen - ref_chosen) - (rejected - ref_rejected)), s the
// logistic function and e the label smoothing:
//   sigmoid  -(1-e) log s(h) - e log s(-h)                     Rafailov et al. 2023; e: conservative DPO
//   robust   (-(1-e) log s(h) + e log s(-h)) / (1 - 2e)        Chowdhury et al. 2024
//   hinge    max(0, 1 - h)                                     Zhao et al. 2023 (SLiC)
//   ipo      (h' - 1/(2 beta))^2, h' the difference of means   Azar et al. 2023
//   orpo     -a - beta log s(log odds(a) - log odds(b))        Hong et al. 2024; a, b: means of chosen and rejected
//   simpo    -log s(beta (a - b) - gamma)                      Meng et al. 2024
//   kto      w (1 - s(+-(beta (policy - ref) - z)))            Ethayarajh et al. 2024; z: the batch's divergence, >= 0
// Source of signs and means: TRL 1.16 and LLaMA-Factory. Pure functions in double: reentrant.
#ifndef MOSA_TRAIN_PREFERENCE_H
#define MOSA_TRAIN_PREFERENCE_H

#include <stdbool.h>

typedef enum mosa_preference_kind {
    MOSA_PREFERENCE_SIGMOID,
    MOSA_PREFERENCE_ROBUST,
    MOSA_PREFERENCE_HINGE,
    MOSA_PREFERENCE_IPO,
    MOSA_PREFERENCE_ORPO,
    MOSA_PREFERENCE_SIMPO,
    MOSA_PREFERENCE_KTO,
} mosa_preference_kind;

typedef struct mosa_preference {
    mosa_preference_kind kind;
    double beta;
    double gamma;                   // SimPO's margin, in units of the loss's argument
    double smoothing;               // sigmoid, robust: below 0.5
    double chosen_share;            // weight of -mean log-probability of the chosen answer that is added (pref_ftx)
    double good_weight, bad_weight; // KTO
} mosa_preference;

bool mosa_preference_needs_reference(mosa_preference_kind kind);

typedef struct mosa_answer_logp {
    double sum;       // of the answer's tokens' log-probabilities
    double reference; // the same under the reference; 0 where none is needed
    double tokens;    // how many they are, at least 1
} mosa_answer_logp;

typedef struct mosa_preference_loss {
    double loss;
    double d_chosen, d_rejected;           // by chosen.sum, rejected.sum
    double reward_chosen, reward_rejected; // beta times the log-ratio (or mean), as TRL logs them
} mosa_preference_loss;

mosa_preference_loss mosa_preference_pair(const mosa_preference *how, mosa_answer_logp chosen,
                                          mosa_answer_logp rejected);
// One example of KTO; `divergence` is that of the batch. d_chosen and reward_chosen are the example's.
mosa_preference_loss mosa_preference_single(const mosa_preference *how, mosa_answer_logp answer, bool good,
                                            double divergence);

#endif
