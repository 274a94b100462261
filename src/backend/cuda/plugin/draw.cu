// Drawing tokens without sorting: a block has a row of logits.
//
// A token's weight is exp((logit - max) / temperature), as a whole number of 2^-40, so that sums do not depend on an
// order. What top-k and top-p leave is found by a radix search over the bits of the f32 weights: three counts of 11, 11
// and 10 bits give the least weight that stays and how many of those that are equal to it (the smaller tokens). Then
// the uniform number picks a token among those left, in order of tokens: each warp adds up a stretch of the row, and
// the one that holds the mark walks through it. Log-probabilities are of the logits as the model gave them.
#include "backend/cuda/plugin/device.cuh"
#include "backend/cuda/plugin/draw.h"

enum { THREADS = 1024, WARPS = THREADS / 32, BINS = 2048 };
enum { UNIT_BITS = 40 };

typedef unsigned long long mass_t; // in units of 2^-40

typedef struct cut { // what stays: weights above `bits`, and the first `ties` tokens with these very bits
    unsigned bits;
    int ties;
} cut;

typedef struct row_view {
    const float *logits;
    int vocabulary;
    float max, inverse; // of the temperature
} row_view;

typedef struct shared_space {
    unsigned count[BINS];
    mass_t mass[BINS];
    mass_t warp_mass[WARPS];
    int warp_ties[WARPS];
    float f[32];
    double d[WARPS];
    int token;
    unsigned prefix;
    mass_t left; // of the mass or the number that is looked for
    int ties;
} shared_space;

static __device__ inline float weight_of(const row_view &r, int i) {
    float x = r.logits[i];
    return x == x ? expf((x - r.max) * r.inverse) : 0.0f; // a NaN is never drawn
}

static __device__ inline mass_t mass_of(float weight) {
    return (mass_t)((double)weight * (double)(1ull << UNIT_BITS));
}

// The largest logit, the smallest token of equals; a NaN does not count. -1 when there is none.
static __device__ int best_of(const float *logits, int vocabulary, shared_space *s, const int *skip, int n_skip,
                              float *max) {
    float best = -INFINITY;
    int at = INT32_MAX;
    for (int i = threadIdx.x; i < vocabulary; i += THREADS) {
        float x = logits[i];
        if (!(x > best || (x == best && i < at))) continue;
        bool skipped = false;
        for (int k = 0; k < n_skip; k++) skipped |= skip[k] == i;
        if (!skipped) best = x, at = i;
    }
    for (int offset = 16; offset > 0; offset /= 2) {
        float x = __shfl_xor_sync(0xffffffffu, best, offset);
        int other = __shfl_xor_sync(0xffffffffu, at, offset);
        if (x > best || (x == best && other < at)) best = x, at = other;
    }
    __syncthreads();
    if (threadIdx.x % 32 == 0) s->f[threadIdx.x / 32] = best, s->warp_ties[threadIdx.x / 32] = at;
    __syncthreads();
    for (int w = 0; w < WARPS; w++)
        if (w == 0 || s->f[w] > best || (s->f[w] == best && s->warp_ties[w] < at)) best = s->f[w], at = s->warp_ties[w];
    __syncthreads();
    *max = best;
    return at == INT32_MAX ? -1 : at;
}

// log of the sum of exp(logit - max), in the same order whatever else is drawn.
static __device__ float log_sum_of(const float *logits, int vocabulary, float max, shared_space *s) {
    double sum = 0;
    for (int i = threadIdx.x; i < vocabulary; i += THREADS) sum += (double)expf(logits[i] - max);
    for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, offset);
    __syncthreads();
    if (threadIdx.x % 32 == 0) s->d[threadIdx.x / 32] = sum;
    __syncthreads();
    sum = 0;
    for (int w = 0; w < WARPS; w++) sum += s->d[w];
    return (float)log(sum);
}

// Which part of the bits a pass looks at: bits [shift, shift + width) of the weight; those above equal the prefix.
static __device__ void count_bins(const row_view &r, shared_space *s, int shift, int width, const cut &within) {
    for (int i = threadIdx.x; i < BINS; i += THREADS) s->count[i] = 0, s->mass[i] = 0;
    __syncthreads();
    unsigned prefix = s->prefix;
    for (int i = threadIdx.x; i < r.vocabulary; i += THREADS) {
        float weight = weight_of(r, i);
        unsigned bits = __float_as_uint(weight);
        if (weight <= 0 || bits < within.bits) continue;
        if (shift + width < 32 && bits >> (shift + width) != prefix) continue;
        unsigned bin = bits >> shift & ((1u << width) - 1);
        atomicAdd(&s->count[bin], 1u);
        atomicAdd(&s->mass[bin], mass_of(weight));
    }
    __syncthreads();
}

// One thread walks down the bins until the number (or mass) that is looked for is reached in one of them.
static __device__ void choose_bin(shared_space *s, int width, bool by_mass) {
    if (threadIdx.x == 0) {
        int bin = (1 << width) - 1, last = bin;
        for (; bin >= 0; bin--) {
            if (s->count[bin] == 0) continue;
            last = bin;
            mass_t here = by_mass ? s->mass[bin] : s->count[bin];
            if (here >= s->left) break;
            s->left -= here;
        }
        if (bin < 0) s->left = by_mass ? s->mass[last] : s->count[last]; // all of them stay
        s->prefix = s->prefix << width | (unsigned)last;
        s->ties = (int)s->count[last];
    }
    __syncthreads();
}

// The cut that keeps `wanted` weights, or the fewest whose mass reaches `wanted`, among those that `within` keeps.
static __device__ cut find_cut(const row_view &r, shared_space *s, const cut &within, bool by_mass, mass_t wanted) {
    if (threadIdx.x == 0) s->prefix = 0, s->left = wanted ? wanted : 1;
    __syncthreads();
    const int shift[3] = {21, 10, 0}, width[3] = {11, 11, 10};
    for (int pass = 0; pass < 3; pass++) {
        count_bins(r, s, shift[pass], width[pass], within);
        choose_bin(s, width[pass], by_mass);
    }
    cut found;
    found.bits = s->prefix;
    mass_t one = mass_of(__uint_as_float(found.bits)), need = s->left;
    if (by_mass) need = one ? (need + one - 1) / one : (mass_t)s->ties;
    int ties = s->ties;
    if (found.bits == within.bits && within.ties < ties) ties = within.ties;
    found.ties = need < (mass_t)ties ? (int)need : ties;
    __syncthreads();
    return found;
}

// Mass and ties of this warp's stretch of the row, [begin, end).
static __device__ void sum_stretch(const row_view &r, const cut &c, int begin, int end, mass_t *mass, int *ties) {
    *mass = 0;
    *ties = 0;
    for (int i = begin + (int)threadIdx.x % 32; i < end; i += 32) {
        float weight = weight_of(r, i);
        unsigned bits = __float_as_uint(weight);
        if (weight > 0 && bits > c.bits) *mass += mass_of(weight);
        if (weight > 0 && bits == c.bits) ++*ties;
    }
    for (int offset = 16; offset > 0; offset /= 2) {
        *mass += __shfl_xor_sync(0xffffffffu, *mass, offset);
        *ties += __shfl_xor_sync(0xffffffffu, *ties, offset);
    }
}

// Sums of all warps, so that each knows what lies before it. Returns the mass of all that the cut keeps.
static __device__ mass_t sum_all(const row_view &r, const cut &c, shared_space *s, int begin, int end) {
    mass_t mass;
    int ties;
    sum_stretch(r, c, begin, end, &mass, &ties);
    if (threadIdx.x % 32 == 0) s->warp_mass[threadIdx.x / 32] = mass, s->warp_ties[threadIdx.x / 32] = ties;
    __syncthreads();
    mass_t total = 0, one = mass_of(__uint_as_float(c.bits));
    int seen = 0;
    for (int w = 0; w < WARPS; w++) {
        int allowed = c.ties - seen < s->warp_ties[w] ? c.ties - seen : s->warp_ties[w];
        total += s->warp_mass[w] + one * (mass_t)(allowed > 0 ? allowed : 0);
        seen += s->warp_ties[w];
    }
    return total;
}

// The warp whose stretch holds the mark walks through it, 32 tokens at a time.
static __device__ void walk(const row_view &r, const cut &c, shared_space *s, int begin, int end, mass_t mark) {
    mass_t one = mass_of(__uint_as_float(c.bits)), before = 0;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, seen = 0;
    for (int w = 0; w < warp; w++) {
        int allowed = c.ties - seen < s->warp_ties[w] ? c.ties - seen : s->warp_ties[w];
        before += s->warp_mass[w] + one * (mass_t)(allowed > 0 ? allowed : 0);
        seen += s->warp_ties[w];
    }
    for (int at = begin; at < end && before <= mark; at += 32) {
        float weight = at + lane < end ? weight_of(r, at + lane) : 0.0f;
        unsigned bits = __float_as_uint(weight);
        bool tie = weight > 0 && bits == c.bits;
        unsigned tied = __ballot_sync(0xffffffffu, tie);
        bool stays = (weight > 0 && bits > c.bits) || (tie && seen + __popc(tied & ((1u << lane) - 1)) < c.ties);
        mass_t sum = stays ? mass_of(weight) : 0;
        for (int offset = 1; offset < 32; offset *= 2) {
            mass_t other = __shfl_up_sync(0xffffffffu, sum, offset);
            if (lane >= offset) sum += other;
        }
        unsigned past = __ballot_sync(0xffffffffu, stays && before + sum > mark);
        if (past) {
            if (lane == __ffs(past) - 1) s->token = at + lane; // only the warp with the mark comes here
            return;
        }
        before += __shfl_sync(0xffffffffu, sum, 31);
        seen += __popc(tied);
    }
}

static __device__ int draw_token(const mosa_draw &d, row_view r, int best, shared_space *s) {
    if (d.temperature <= 1e-5f || d.top_k == 1) return best;
    r.inverse = 1.0f / d.temperature;
    const int stretch = (r.vocabulary + WARPS - 1) / WARPS, begin = (int)(threadIdx.x / 32) * stretch;
    const int end = begin + stretch < r.vocabulary ? begin + stretch : r.vocabulary;
    cut c = {0, 0}; // everything that has a weight
    if (d.top_k > 0 && d.top_k < r.vocabulary) c = find_cut(r, s, c, false, (mass_t)d.top_k);
    if (d.top_p < 1) {
        mass_t total = sum_all(r, c, s, begin, end);
        __syncthreads();
        double wanted = (double)d.top_p * (double)total;
        c = find_cut(r, s, c, true, wanted > 0 ? (mass_t)ceil(wanted) : 1);
    }
    if (d.min_p > 0) {
        unsigned least = __float_as_uint(d.min_p < 1 ? d.min_p : 1.0f);
        if (least > c.bits) c.bits = least - 1, c.ties = 0; // whatever weighs as much stays
    }
    mass_t total = sum_all(r, c, s, begin, end);
    mass_t mark = (mass_t)(d.uniform * (double)total);
    if (threadIdx.x == 0) s->token = best;
    __syncthreads();
    walk(r, c, s, begin, end, mark < total ? mark : total - 1);
    __syncthreads();
    return s->token;
}

__global__ void __launch_bounds__(THREADS)
    draw(const float *logits, int vocabulary, const mosa_draw *draws, mosa_drawn *drawn) {
    __shared__ shared_space s;
    const mosa_draw d = draws[blockIdx.x];
    mosa_drawn *to = &drawn[blockIdx.x];
    row_view r = {logits + (int64_t)d.row * vocabulary, vocabulary, 0, 1};
    int best = best_of(r.logits, vocabulary, &s, NULL, 0, &r.max);
    bool finite = best >= 0 && isfinite(r.max);
    int token = d.given >= 0 ? d.given : finite ? draw_token(d, r, best, &s) : -1;
    if (threadIdx.x == 0) to->token = token;
    if (d.n_top < 0 || token < 0 || !finite) return;
    float log_sum = log_sum_of(r.logits, vocabulary, r.max, &s);
    if (threadIdx.x == 0) to->logprob = r.logits[token] - r.max - log_sum;
    int taken[MOSA_DRAW_TOP_MAX];
    for (int i = 0; i < d.n_top; i++) {
        float value = r.max;
        taken[i] = i == 0 ? best : best_of(r.logits, vocabulary, &s, taken, i, &value);
        if (threadIdx.x == 0) to->top_token[i] = taken[i], to->top_logprob[i] = value - r.max - log_sum;
    }
}

cudaError_t mosa_cuda_draw_launch(const float *logits, int vocabulary, const mosa_draw *draws, int n, mosa_drawn *drawn,
                                  cudaStream_t stream) {
    draw<<<(unsigned)n, THREADS, 0, stream>>>(logits, vocabulary, draws, drawn);
    return cudaGetLastError();
}
