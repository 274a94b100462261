// Rounding by chunks; one Philox block serves eight elements.
#include "train/round.h"

#include "base/rng.h"
#include "tensor/half.h"

#include <string.h>

typedef struct round_job {
    const mosa_params *params;
    const float *weights;
    uint16_t *out;
    uint64_t seed;
    bool stochastic;
} round_job;

static uint16_t round_with(float x, uint16_t random) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if ((bits & 0x7f800000u) == 0x7f800000u) return mosa_bf16_from_f32(x);
    uint32_t up = bits + random; // a carry beyond the largest finite value would make an infinity
    if ((up & 0x7f800000u) == 0x7f800000u) up = bits;
    return (uint16_t)(up >> 16);
}

static void round_random(const round_job *job, size_t at, uint32_t count) {
    enum { PER_BLOCK = 8 };
    const uint32_t key[2] = {(uint32_t)job->seed, (uint32_t)(job->seed >> 32)};
    for (uint32_t begin = 0; begin < count; begin += PER_BLOCK) { // `at` is a multiple of PER_BLOCK
        uint64_t block = (at + begin) / PER_BLOCK;
        const uint32_t counter[4] = {(uint32_t)block, (uint32_t)(block >> 32), 0, 0x626631u};
        uint32_t random[4];
        mosa_rng_philox(counter, key, random);
        for (uint32_t i = 0; i < PER_BLOCK && begin + i < count; i++)
            job->out[at + begin + i] =
                round_with(job->weights[at + begin + i], (uint16_t)(random[i / 2] >> (i % 2 ? 16 : 0)));
    }
}

static void round_chunks(void *arg, int thread, int n_threads) {
    const round_job *job = arg;
    size_t n = job->params->n_chunks, begin = n * thread / n_threads, end = n * (thread + 1) / n_threads;
    for (size_t c = begin; c < end; c++) {
        const mosa_param_chunk *chunk = &job->params->chunks[c];
        size_t at = job->params->items[chunk->param].offset + (size_t)chunk->begin;
        if (job->stochastic)
            round_random(job, at, chunk->count);
        else
            for (uint32_t i = 0; i < chunk->count; i++) job->out[at + i] = mosa_bf16_from_f32(job->weights[at + i]);
    }
}

void mosa_round_bf16(const mosa_params *params, mosa_pool *pool, const float *weights, uint16_t *out) {
    round_job job = {.params = params, .weights = weights, .out = out};
    mosa_pool_run(pool, round_chunks, &job);
}

void mosa_round_bf16_stochastic(const mosa_params *params, mosa_pool *pool, const float *weights, uint64_t seed,
                                uint64_t step, uint16_t *out) {
    round_job job = {.params = params, .weights = weights, .out = out, .stochastic = true};
    job.seed = mosa_rng_mix(seed ^ mosa_rng_mix(step));
    mosa_pool_run(pool, round_chunks, &job);
}
