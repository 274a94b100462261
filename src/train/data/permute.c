// A permutation of any range as a function: a Feistel network over a power of four, walked until it falls in the range.
#include "base/rng.h"
#include "train/data/loader.h"

enum { PERMUTE_ROUNDS = 6 };

uint64_t mosa_data_permute(uint64_t n, uint64_t seed, uint64_t stream, uint64_t index) {
    unsigned half = 1;
    while (half < 32 && (1ull << 2 * half) < n) half++;
    uint64_t mask = (1ull << half) - 1, key = mosa_rng_mix(seed ^ mosa_rng_mix(stream + 0x9E3779B97F4A7C15ull));
    if (n <= 1) return 0;
    do {
        uint64_t left = index >> half & mask, right = index & mask;
        for (uint64_t round = 0; round < PERMUTE_ROUNDS; round++) {
            uint64_t mixed = left ^ (mosa_rng_mix(key + round * 0xD1B54A32D192ED03ull + right) >> 7 & mask);
            left = right;
            right = mixed;
        }
        index = left << half | right;
    } while (index >= n);
    return index;
}
