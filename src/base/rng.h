// Random numbers as pure functions of (seed, counter): no state, any order, any thread, the same on every machine.
//
// Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011). Good for sampling
// and initialisation; not for secrets.
#ifndef MOSA_BASE_RNG_H
#define MOSA_BASE_RNG_H

#include <stdint.h>

// One block: 128 bits for each (key, counter).
void mosa_rng_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

uint64_t mosa_rng_u64(uint64_t seed, uint64_t counter);               // 64 uniform bits
double mosa_rng_uniform(uint64_t seed, uint64_t counter);             // [0, 1), multiples of 2^-53
uint64_t mosa_rng_below(uint64_t seed, uint64_t counter, uint64_t n); // [0, n), n >= 1; bias below n / 2^64

// A well-mixed 64-bit value of x (splitmix64's finaliser): derives seeds from ids.
uint64_t mosa_rng_mix(uint64_t x);

#endif
