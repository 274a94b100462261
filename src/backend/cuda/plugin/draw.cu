// Drawing tokens without sorting the vocabulary: a block has a row of logits.
//
// A token's weight is exp((logit - max) / temperature), as a whole number of 2^-40, so that sums do not depend on an
// order. What top-k and top-p leave is a cut: the least weight that stays, and how many of those that are equal to it
// (the smaller tokens). Where the cut lies among the 2048 heaviest, as it nearly always does, those alone are gathered
// and sorted; else it is found by a radix search over the bits of the f32 weights, in three counts of 11, 11 and 10
// bits. Then the uniform number picks a token among those left, in order of tokens: each warp adds up a stretch of the
// row, and the block walks through the stretch that holds the mark. Log-probabilities are of the logits as the model
// gave them.
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

static __device__ inline float weight_of_logit(const row_view &r, float x) {
    return x == x ? expf((x - r.max) * r.inverse) : 0.0f; // a NaN is never drawn
}

static __device__ inline float weight_of(const row_view &r, int i) {
    return weight_of_logit(r, r.logits[i]);
}

static __device__ inline mass_t mass_of(float weight) {
    return (mass_t)((double)weight * (double)(1ull << UNIT_BITS));
}

// Calls f(token, logit) for all tokens of the row, 16 bytes at a time where its width allows.
template <typename F> static __device__ inline void for_each(const float *logits, int vocabulary, F f) {
    if (vocabulary % 4 != 0) {
#pragma unroll 4
        for (int i = threadIdx.x; i < vocabulary; i += THREADS) f(i, logits[i]);
        return;
    }
    const float4 *words = reinterpret_cast<const float4 *>(logits);
#pragma unroll 4
    for (int w = threadIdx.x; w < vocabulary / 4; w += THREADS) {
        float4 v = words[w];
        f(4 * w, v.x), f(4 * w + 1, v.y), f(4 * w + 2, v.z), f(4 * w + 3, v.w);
    }
}

// The largest logit, the smallest token of equals; a NaN does not count. -1 when there is none.
static __device__ int best_of(const float *logits, int vocabulary, shared_space *s, const int *skip, int n_skip,
                              float *max) {
    float best = -INFINITY;
    int at = INT32_MAX;
    for_each(logits, vocabulary, [&](int i, float x) {
        if (!(x > best || (x == best && i < at))) return;
        bool skipped = false;
        for (int k = 0; k < n_skip; k++) skipped |= skip[k] == i;
        if (!skipped) best = x, at = i;
    });
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
    for_each(logits, vocabulary, [&](int, float x) { sum += (double)expf(x - max); });
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

// --- the cut among the heaviest
// ---------------------------------------------------------------------------------------

enum { FEW = BINS, LEVELS = 4 }; // what s->mass has room for; level l counts the tokens of 2^-(4l+4) and more

typedef struct census {
    int at_least[LEVELS];
    mass_t total;
} census;

static __device__ census take_census(const row_view &r, shared_space *s) {
    census c = {};
    for_each(r.logits, r.vocabulary, [&](int, float x) {
        float weight = weight_of_logit(r, x);
        for (int l = 0; l < LEVELS; l++) c.at_least[l] += weight >= exp2f((float)(-4 * l - 4));
        c.total += mass_of(weight);
    });
    for (int offset = 16; offset > 0; offset /= 2) {
        for (int l = 0; l < LEVELS; l++) c.at_least[l] += __shfl_xor_sync(0xffffffffu, c.at_least[l], offset);
        c.total += __shfl_xor_sync(0xffffffffu, c.total, offset);
    }
    __syncthreads();
    if (threadIdx.x % 32 == 0) {
        for (int l = 0; l < LEVELS; l++) s->count[threadIdx.x / 32 * LEVELS + l] = (unsigned)c.at_least[l];
        s->warp_mass[threadIdx.x / 32] = c.total;
    }
    __syncthreads();
    census all = {};
    for (int w = 0; w < WARPS; w++) {
        for (int l = 0; l < LEVELS; l++) all.at_least[l] += (int)s->count[w * LEVELS + l];
        all.total += s->warp_mass[w];
    }
    __syncthreads();
    return all;
}

// Puts (weight, token) of all that weigh `least` and more into s->mass, heaviest first, smaller tokens first among
// equals: a key is the weight's bits, then the token's complement. Returns how many; beyond them are zeros.
static __device__ int gather_sorted(const row_view &r, shared_space *s, float least) {
    if (threadIdx.x == 0) s->token = 0;
    for (int i = threadIdx.x; i < FEW; i += THREADS) s->mass[i] = 0;
    __syncthreads();
    for_each(r.logits, r.vocabulary, [&](int i, float x) {
        float weight = weight_of_logit(r, x);
        if (weight >= least) s->mass[atomicAdd(&s->token, 1)] = (mass_t)__float_as_uint(weight) << 32 | ~(unsigned)i;
    });
    __syncthreads();
    int n = s->token, size = 2;
    while (size < n) size *= 2;
    for (int run = 2; run <= size; run *= 2) {
        for (int step = run / 2; step > 0; step /= 2) {
            int i = (int)threadIdx.x / step * 2 * step + (int)threadIdx.x % step; // pair (i, i + step)
            if (i + step < size) {
                mass_t a = s->mass[i], b = s->mass[i + step];
                if ((a < b) == ((i & run) == 0)) s->mass[i] = b, s->mass[i + step] = a;
            }
            __syncthreads();
        }
    }
    return n;
}

// The sum of the values of this thread and of those before it.
static __device__ mass_t block_scan(mass_t value, shared_space *s) {
    int lane = threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    for (int offset = 1; offset < 32; offset *= 2) {
        mass_t other = __shfl_up_sync(0xffffffffu, value, offset);
        if (lane >= offset) value += other;
    }
    __syncthreads();
    if (lane == 31) s->warp_mass[warp] = value;
    __syncthreads();
    for (int w = 0; w < warp; w++) value += s->warp_mass[w];
    __syncthreads();
    return value;
}

// The cut of top-k and then top-p, where it lies among the FEW heaviest; false: it does not.
static __device__ bool find_cut_among_few(const row_view &r, const mosa_draw &d, shared_space *s, cut *out) {
    census c = take_census(r, s);
    int level = LEVELS - 1;
    while (level >= 0 && c.at_least[level] > FEW) level--;
    if (level < 0) return false;
    bool has_k = d.top_k > 0 && d.top_k < r.vocabulary;
    if (has_k && d.top_k > c.at_least[level]) return false;
    int n = gather_sorted(r, s, exp2f((float)(-4 * level - 4))), first = 2 * (int)threadIdx.x;
    int k = has_k ? d.top_k : n;
    mass_t one = first < k ? mass_of(__uint_as_float((unsigned)(s->mass[first] >> 32))) : 0;
    mass_t two = first + 1 < k ? mass_of(__uint_as_float((unsigned)(s->mass[first + 1] >> 32))) : 0;
    mass_t sum = block_scan(one + two, s);
    if (threadIdx.x == THREADS - 1) s->left = sum;
    if (threadIdx.x == 0) s->token = k, s->ties = 0;
    __syncthreads();
    if (d.top_p < 1) {
        double wanted = ceil((double)d.top_p * (double)(has_k ? s->left : c.total));
        mass_t mark = wanted > 0 ? (mass_t)wanted : 1;
        bool reached = s->left >= mark;
        __syncthreads();
        if (!reached) return false;
        if (sum - one - two < mark && mark <= sum) s->token = sum - two < mark ? first + 2 : first + 1;
        __syncthreads();
    }
    int keep = s->token;
    unsigned bits = (unsigned)(s->mass[keep - 1] >> 32);
    for (int i = first; i < first + 2 && i < keep; i++)
        if ((unsigned)(s->mass[i] >> 32) == bits) atomicAdd(&s->ties, 1);
    __syncthreads();
    *out = {bits, s->ties};
    __syncthreads();
    return true;
}

// --- picking
// ----------------------------------------------------------------------------------------------------------

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

// The first token of the stretch at which the mass of what stays, from the row's begin on, passes the mark. The block
// goes through the stretch that holds the mark, four tokens for each thread at a time.
static __device__ void walk(const row_view &r, const cut &c, shared_space *s, int stretch, mass_t mark) {
    mass_t one = mass_of(__uint_as_float(c.bits)), before = 0;
    int warp = 0, seen = 0;
    for (; warp < WARPS - 1; warp++) {
        int allowed = c.ties - seen < s->warp_ties[warp] ? c.ties - seen : s->warp_ties[warp];
        mass_t mass = s->warp_mass[warp] + one * (mass_t)(allowed > 0 ? allowed : 0);
        if (before + mass > mark) break;
        before += mass;
        seen += s->warp_ties[warp];
    }
    __syncthreads();
    int end = (warp + 1) * stretch < r.vocabulary ? (warp + 1) * stretch : r.vocabulary;
    for (int at = warp * stretch; at < end && before <= mark; at += 4 * THREADS) {
        float weight[4];
        mass_t ties = 0, mass = 0;
        int mine = at + 4 * (int)threadIdx.x;
        for (int i = 0; i < 4; i++) {
            weight[i] = mine + i < end ? weight_of(r, mine + i) : 0.0f;
            ties += weight[i] > 0 && __float_as_uint(weight[i]) == c.bits;
        }
        mass_t tied = block_scan(ties, s), order = (mass_t)seen + tied - ties; // ties before mine
        for (int i = 0; i < 4; i++) {
            unsigned bits = __float_as_uint(weight[i]);
            bool tie = weight[i] > 0 && bits == c.bits, stays = weight[i] > 0 && bits > c.bits;
            if (tie) stays = order++ < (mass_t)c.ties;
            if (!stays) weight[i] = 0;
            mass += mass_of(weight[i]);
        }
        mass_t sum = before + block_scan(mass, s);
        if (threadIdx.x == THREADS - 1) s->left = sum, s->ties = seen + (int)tied;
        if (sum - mass <= mark && mark < sum) {
            mass_t so_far = sum - mass;
            int i = 0;
            while (i < 3 && so_far + mass_of(weight[i]) <= mark) so_far += mass_of(weight[i++]);
            s->token = mine + i;
        }
        __syncthreads();
        before = s->left;
        seen = s->ties;
        __syncthreads();
    }
}

static __device__ int draw_token(const mosa_draw &d, row_view r, int best, shared_space *s) {
    if (d.temperature <= 1e-5f || d.top_k == 1) return best;
    r.inverse = 1.0f / d.temperature;
    const int stretch = (r.vocabulary + WARPS - 1) / WARPS, begin = (int)(threadIdx.x / 32) * stretch;
    const int end = begin + stretch < r.vocabulary ? begin + stretch : r.vocabulary;
    cut c = {0, 0}; // everything that has a weight
    bool has_k = d.top_k > 0 && d.top_k < r.vocabulary;
    bool found = (has_k || d.top_p < 1) && find_cut_among_few(r, d, s, &c);
    if (!found && has_k) c = find_cut(r, s, c, false, (mass_t)d.top_k);
    if (!found && d.top_p < 1) {
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
    walk(r, c, s, stretch, mark < total ? mark : total - 1);
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
    int token = !finite ? -1 : d.given >= 0 ? d.given : draw_token(d, r, best, &s);
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
