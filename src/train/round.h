// bf16 weights from f32 masters, to the nearest or by seeded stochastic rounding.
//
// Stochastic: x lies between two neighbours; the upper is taken with the probability of x's distance from the lower, by
// a random number that is a function of (seed, step, element). The mean of many roundings is x, and updates far below a
// bf16 step are not lost. Equal for any number of threads.
#ifndef MOSA_TRAIN_ROUND_H
#define MOSA_TRAIN_ROUND_H

#include "train/params.h"

// out (params->elements) bf16 of `weights`, an arena of `params`. NaN stays NaN, infinities stay.
void mosa_round_bf16(const mosa_params *params, mosa_pool *pool, const float *weights, uint16_t *out);
void mosa_round_bf16_stochastic(const mosa_params *params, mosa_pool *pool, const float *weights, uint64_t seed,
                                uint64_t step, uint16_t *out);

#endif
