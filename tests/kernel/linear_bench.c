// Timing of LINEAR: GMAC/s and GB/s of weights per type, shape and row count, beside the limits of this machine
// measured in the same run. Each call takes the next of several copies of the weight, so that it streams from memory.
//
// linear_test --bench [threads] [isa] [dtype ...]
#include "linear_problem.h"

#include <immintrin.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { THREADS_MAX = 8, ROUNDS = 7, CALLS_MAX = 400, ROWS_MAX = 512 };
static const double CALL_SECONDS = 0.1; // spent at most on one row count, beyond ROUNDS calls
static const size_t POOL_BYTES = (size_t)384 << 20;

typedef void (*work_fn)(void *context, int thread, int n_threads);

// A crew of spinning threads: a call costs about a microsecond, as in the executor.
static struct crew {
    int n_threads;
    int generation, pending; // atomics
    work_fn work;
    void *context;
} crew;

// One thread is timed by its own processor time, so that a busy machine does not count; several by the wall clock.
static double now(void) {
    struct timespec t;
    clock_gettime(crew.n_threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// Spins, but lets a partner that lost its processor have this one.
static void wait_a_little(int *spins) {
    if (++*spins % 4096 == 0)
        sched_yield();
    else
        _mm_pause();
}

static void *crew_main(void *argument) {
    int thread = (int)(intptr_t)argument, seen = 0;
    for (;;) {
        int spins = 0;
        while (__atomic_load_n(&crew.generation, __ATOMIC_ACQUIRE) == seen) wait_a_little(&spins);
        seen++;
        if (!crew.work) return NULL;
        crew.work(crew.context, thread, crew.n_threads);
        __atomic_fetch_sub(&crew.pending, 1, __ATOMIC_RELEASE);
    }
}

static void crew_run(work_fn work, void *context) {
    crew.work = work;
    crew.context = context;
    __atomic_store_n(&crew.pending, crew.n_threads - 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&crew.generation, 1, __ATOMIC_RELEASE);
    if (!work) return;
    work(context, 0, crew.n_threads);
    int spins = 0;
    while (__atomic_load_n(&crew.pending, __ATOMIC_ACQUIRE) > 0) wait_a_little(&spins);
}

__attribute__((target("avx2"))) static void read_all(void *context, int thread, int n_threads) {
    const char *begin = (char *)context + POOL_BYTES / (size_t)n_threads * (size_t)thread;
    __m256i any[4] = {0};
    for (size_t i = 0; i < POOL_BYTES / (size_t)n_threads; i += 128) {
        _mm_prefetch(begin + i + 4096, _MM_HINT_NTA);
        _mm_prefetch(begin + i + 4160, _MM_HINT_NTA);
        for (int j = 0; j < 4; j++)
            any[j] = _mm256_or_si256(any[j], _mm256_load_si256((const __m256i *)(begin + i + 32 * j)));
    }
    __asm__ volatile("" ::"x"(any[0]), "x"(any[1]), "x"(any[2]), "x"(any[3]));
}

static void copy_all(void *context, int thread, int n_threads) {
    size_t half = POOL_BYTES / 2, share = half / (size_t)n_threads;
    memcpy((char *)context + share * (size_t)thread, (char *)context + half + share * (size_t)thread, share);
}

enum { PEAK_STEPS = 500000 };

// Twelve independent chains of fused multiply-adds, eight multiply-adds each. Assembly, so that nothing but the chains
// is timed.
__attribute__((target("avx2,fma"))) static void fma_peak(void *context, int thread, int n_threads) {
    (void)context, (void)thread, (void)n_threads;
#define FMA(i) "vfmadd231ps %%ymm12, %%ymm12, %%ymm" #i "\n\t"
    long steps = PEAK_STEPS;
    __asm__ volatile("vzeroall\n\t"
                     "1:\n\t" FMA(0) FMA(1) FMA(2) FMA(3) FMA(4) FMA(5) FMA(6) FMA(7) FMA(8) FMA(9) FMA(10)
                         FMA(11) "dec %0\n\t"
                                 "jnz 1b"
                     : "+r"(steps)
                     :
                     : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
                       "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
#undef FMA
}

// Eight chains of vpmaddubsw + vpaddw, 32 multiply-adds each.
__attribute__((target("avx2"))) static void byte_peak(void *context, int thread, int n_threads) {
    (void)context, (void)thread, (void)n_threads;
#define DOT(i, t)                                                                                                      \
    "vpmaddubsw %%ymm15, %%ymm15, %%ymm" #t "\n\t"                                                                     \
    "vpaddw %%ymm" #t ", %%ymm" #i ", %%ymm" #i "\n\t"
    long steps = PEAK_STEPS;
    __asm__ volatile("vzeroall\n\t"
                     "1:\n\t" DOT(0, 8) DOT(1, 9) DOT(2, 10) DOT(3, 11) DOT(4, 12) DOT(5, 13) DOT(6, 14)
                         DOT(7, 8) "dec %0\n\t"
                                   "jnz 1b"
                     : "+r"(steps)
                     :
                     : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
                       "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
#undef DOT
}

static double best_seconds(work_fn work, void *context) {
    double best = 1e9;
    for (int i = 0; i < ROUNDS; i++) {
        double start = now();
        crew_run(work, context);
        double seconds = now() - start;
        if (seconds < best) best = seconds;
    }
    return best;
}

static void print_limits(void *pool) {
    double n = crew.n_threads;
    printf("limits, %d threads: read %.1f GB/s, copy %.1f GB/s, fma %.0f GMAC/s, vpmaddubsw+vpaddw %.0f GMAC/s\n",
           crew.n_threads, (double)POOL_BYTES / best_seconds(read_all, pool) * 1e-9,
           (double)POOL_BYTES / 2 / best_seconds(copy_all, pool) * 1e-9,
           n * PEAK_STEPS * 96 / best_seconds(fma_peak, NULL) * 1e-9,
           n * PEAK_STEPS * 256 / best_seconds(byte_peak, NULL) * 1e-9);
}

static const isa *bench_isa;

typedef struct timing {
    problem *p;
    mosa_op op;
    mosa_cpu_kernel_fn kernel;
} timing;

static void run_share(void *context, int thread, int n_threads) {
    timing *t = context;
    problem_run(t->p, t->op, t->kernel, thread, n_threads);
}

// Best time of one call, over copies of the packed weight in the pool.
static double time_linear(problem *p, char *pool) {
    size_t step = (p->packed_bytes + 4095) / 4096 * 4096, copies = POOL_BYTES / step;
    for (size_t i = 0; i < copies; i++) memcpy(pool + i * step, p->packed, p->packed_bytes);
    timing t = {p, MOSA_OP_LINEAR, bench_isa->linear};
    double best = 1e9, spent = 0;
    size_t at = 0;
    for (int calls = 0; calls < ROUNDS || (spent < CALL_SECONDS && calls < CALLS_MAX); calls++) {
        p->weight.packed = pool + at++ % copies * step;
        double start = now();
        crew_run(run_share, &t);
        double seconds = now() - start;
        spent += seconds;
        if (seconds < best) best = seconds;
    }
    p->weight.packed = p->packed;
    return best;
}

static double time_quantize(problem *p) {
    if (mosa_cpu_act_layout(p->dtype, p->k) < 0) return INFINITY; // f32 rows are taken as they are
    timing t = {p, MOSA_OP_QUANTIZE_ROWS, bench_isa->quantize};
    return best_seconds(run_share, &t);
}

static double time_packing(problem *p) {
    double best = 1e9;
    for (int round = 0; round < ROUNDS; round++) {
        double start = now();
        mosa_cpu_pack_rows(&p->weight.view, p->packed, 0, p->n);
        double seconds = now() - start;
        if (seconds < best) best = seconds;
    }
    return best;
}

static void bench_shape(mosa_dtype dtype, int64_t k, int64_t n, char *pool) {
    static const int rows[] = {1, 2, 3, 4, 8, 16, 64, 512};
    uint64_t seed = 1;
    problem *p = problem_create(dtype, n, k, n > 8192 ? 64 : ROWS_MAX, WEIGHTS_NORMAL, &seed);
    int most = p->rows;
    double quantize = time_quantize(p), pack = time_packing(p);
    printf("%-6s %5lldx%-5lld pack %4.1f GB/s, quantise %4.2f G/s; GMAC/s (GB/s) at rows", mosa_dtype_name(dtype),
           (long long)k, (long long)n, (double)p->file_bytes / pack * 1e-9, (double)(most * k) / quantize * 1e-9);
    for (size_t i = 0; i < MOSA_COUNT(rows) && rows[i] <= most; i++) {
        p->rows = rows[i];
        double seconds = time_linear(p, pool);
        printf("  %d: %.0f", rows[i], (double)rows[i] * (double)(n * k) / seconds * 1e-9);
        if (rows[i] <= 4) printf(" (%.1f)", (double)p->packed_bytes / seconds * 1e-9);
    }
    printf("\n");
    fflush(stdout);
    problem_destroy(p);
}

int linear_bench(int argc, char **argv) {
    static const int64_t shapes[][2] = {{2048, 2048}, {2048, 5632}, {5632, 2048}, {2048, 32000}};
    static const mosa_dtype usual[] = {MOSA_F32,  MOSA_F16,  MOSA_BF16, MOSA_Q8_0,
                                       MOSA_Q4_0, MOSA_Q4_K, MOSA_Q5_K, MOSA_Q6_K};
    int n_isas;
    bench_isa = fast_isas(&n_isas);
    crew.n_threads = argc > 0 ? (int)strtol(argv[0], NULL, 10) : 2;
    for (const isa *other = bench_isa; argc > 1 && other < bench_isa + n_isas; other++) {
        if (strcmp(other->name, argv[1]) != 0) continue;
        bench_isa = other;
        argc--, argv++;
        break;
    }
    if (crew.n_threads < 1 || crew.n_threads > THREADS_MAX) crew.n_threads = 1;
    char *pool = aligned_alloc(2 << 20, POOL_BYTES + (2 << 20));
    if (!pool) return 1;
    madvise(pool, POOL_BYTES, MADV_HUGEPAGE);
    memset(pool, 1, POOL_BYTES + (2 << 20));
    pthread_t threads[THREADS_MAX];
    for (int i = 1; i < crew.n_threads; i++)
        if (pthread_create(&threads[i], NULL, crew_main, (void *)(intptr_t)i) != 0) return 1;
    print_limits(pool);
    for (size_t i = 0; i < (argc > 1 ? (size_t)argc - 1 : MOSA_COUNT(usual)); i++) {
        mosa_dtype dtype = usual[i % MOSA_COUNT(usual)];
        if (argc > 1 && !mosa_dtype_from_name(argv[i + 1], &dtype)) continue;
        for (size_t s = 0; s < MOSA_COUNT(shapes); s++) bench_shape(dtype, shapes[s][0], shapes[s][1], pool);
    }
    print_limits(pool);
    crew_run(NULL, NULL);
    for (int i = 1; i < crew.n_threads; i++) pthread_join(threads[i], NULL);
    free(pool);
    return 0;
}
