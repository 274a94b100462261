// Philox4x32-10, with the constants of the paper, and numbers made from its blocks.
#include "base/rng.h"

void mosa_rng_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
    enum { ROUNDS = 10 };
    const uint32_t m0 = 0xd2511f53u, m1 = 0xcd9e8d57u; // multipliers
    const uint32_t w0 = 0x9e3779b9u, w1 = 0xbb67ae85u; // key increments: golden ratio, sqrt(3) - 1
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3], k0 = key[0], k1 = key[1];
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t p0 = (uint64_t)m0 * c0, p1 = (uint64_t)m1 * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += w0;
        k1 += w1;
    }
    out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

uint64_t mosa_rng_u64(uint64_t seed, uint64_t counter) {
    const uint32_t block[4] = {(uint32_t)counter, (uint32_t)(counter >> 32), 0, 0};
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t out[4];
    mosa_rng_philox(block, key, out);
    return (uint64_t)out[1] << 32 | out[0];
}

double mosa_rng_uniform(uint64_t seed, uint64_t counter) {
    return (double)(mosa_rng_u64(seed, counter) >> 11) * 0x1p-53;
}

uint64_t mosa_rng_below(uint64_t seed, uint64_t counter, uint64_t n) {
    return (uint64_t)(((__uint128_t)mosa_rng_u64(seed, counter) * n) >> 64);
}

uint64_t mosa_rng_mix(uint64_t x) {
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}
