// Counter-based random numbers: pure functions of (seed, counter), so that a draw depends on nothing that ran before.
//
// splitmix64's finaliser (Steele, Lea, Flood, OOPSLA 2014) over two rounds, which decorrelates neighbouring seeds and
// counters. Not for secrets.
#ifndef MOSA_BASE_RNG_H
#define MOSA_BASE_RNG_H

#include <stdint.h>

static inline uint64_t mosa_rng_mix(uint64_t x) {
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static inline uint64_t mosa_rng_u64(uint64_t seed, uint64_t counter) {
    return mosa_rng_mix(mosa_rng_mix(seed) ^ counter);
}

// Uniform in [0, 1) with 53 bits.
static inline double mosa_rng_uniform(uint64_t seed, uint64_t counter) {
    return (double)(mosa_rng_u64(seed, counter) >> 11) * 0x1p-53;
}

#endif
