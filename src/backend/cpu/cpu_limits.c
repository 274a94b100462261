// What this machine can do at most: memory read by all threads, and multiply-adds from registers on each of them.
//
// The loops of multiply-adds hold enough independent sums to hide latency and touch no memory. They are compiled for
// their instruction set here, and chosen by what the processor reports; int8 without VNNI counts the pair of
// instructions that AVX2 kernels use (multiply u8 by s8 into 16 bits, add).
#include "backend/cpu/cpu_backend.h"

#include "base/clock.h"

enum { SCAN_BYTES = 256 << 20, SCAN_PASSES = 4, PEAK_CALLS = 5, PEAK_LOOPS = 1 << 20 };

typedef struct scan {
    const uint64_t *words;
    size_t count;
    _Atomic uint64_t sum; // keeps the reads alive
} scan;

static void scan_share(void *arg, int thread, int n_threads) {
    scan *s = arg;
    size_t begin = s->count / (size_t)n_threads * (size_t)thread, end = begin + s->count / (size_t)n_threads;
    uint64_t lane[8] = {0};
    for (size_t i = begin; i + 64 <= end; i += 64) {
        __builtin_prefetch(s->words + i + 512, 0, 0);
        for (size_t j = 0; j < 64; j += 8)
            for (size_t l = 0; l < 8; l++) lane[l] += s->words[i + j + l];
    }
    for (int l = 0; l < 8; l++) s->sum += lane[l];
}

static double best_rate(mosa_pool *pool, mosa_pool_fn fn, void *arg, int calls, double work) {
    double best = 0;
    for (int i = 0; i < calls; i++) {
        uint64_t begin = mosa_clock_ns();
        mosa_pool_run(pool, fn, arg);
        double rate = work / ((double)(mosa_clock_ns() - begin) * 1e-9);
        if (rate > best) best = rate;
    }
    return best;
}

static mosa_status measure_read(mosa_cpu_backend *cpu, double *rate, mosa_error *err) {
    unsigned char *memory = mosa_cpu_alloc(SCAN_BYTES);
    if (!memory) return mosa_fail(err, MOSA_ENOMEM, "cpu: %d MiB to measure with are not to be had", SCAN_BYTES >> 20);
    for (size_t i = 0; i < SCAN_BYTES; i += 64) memory[i] = 1;
    scan s = {.words = (const uint64_t *)(const void *)memory, .count = SCAN_BYTES / sizeof(uint64_t)};
    *rate = best_rate(cpu->pool, scan_share, &s, SCAN_PASSES, SCAN_BYTES);
    mosa_cpu_free(memory, SCAN_BYTES);
    return MOSA_OK;
}

// A loop of multiply-adds and what one turn of it counts.
typedef struct peak {
    void (*loop)(int turns);
    double ops_per_turn;
} peak;

static void run_peak(void *arg, int thread, int n_threads) {
    (void)thread;
    (void)n_threads;
    ((const peak *)arg)->loop(PEAK_LOOPS);
}

#if defined(__x86_64__)
#include <immintrin.h>

enum { SUMS = 12 };

#define PEAK_LOOP(name, isa, type, zero, step)                                                                         \
    __attribute__((target(isa))) static void name(int turns) {                                                         \
        type sum[SUMS], a = zero, b = zero;                                                                            \
        for (int s = 0; s < SUMS; s++) sum[s] = zero;                                                                  \
        for (int t = 0; t < turns; t++) {                                                                              \
            __asm__ volatile("" : "+x"(a), "+x"(b));                                                                   \
            _Pragma("GCC unroll 12") for (int s = 0; s < SUMS; s++) sum[s] = step;                                     \
        }                                                                                                              \
        for (int s = 0; s < SUMS; s++) __asm__ volatile("" : : "x"(sum[s]));                                           \
    }

PEAK_LOOP(f32_avx2, "avx2,fma", __m256, _mm256_setzero_ps(), _mm256_fmadd_ps(a, b, sum[s]))
PEAK_LOOP(int8_avx2, "avx2", __m256i, _mm256_setzero_si256(), _mm256_add_epi16(sum[s], _mm256_maddubs_epi16(a, sum[s])))
#undef PEAK_LOOP

#define PEAK_LOOP_512(name, type, zero, step)                                                                          \
    __attribute__((target("avx512f,avx512vnni"))) static void name(int turns) {                                        \
        type sum[SUMS], a = zero, b = zero;                                                                            \
        for (int s = 0; s < SUMS; s++) sum[s] = zero;                                                                  \
        for (int t = 0; t < turns; t++) {                                                                              \
            __asm__ volatile("" : "+v"(a), "+v"(b));                                                                   \
            _Pragma("GCC unroll 12") for (int s = 0; s < SUMS; s++) sum[s] = step;                                     \
        }                                                                                                              \
        for (int s = 0; s < SUMS; s++) __asm__ volatile("" : : "v"(sum[s]));                                           \
    }

PEAK_LOOP_512(f32_avx512, __m512, _mm512_setzero_ps(), _mm512_fmadd_ps(a, b, sum[s]))
PEAK_LOOP_512(int8_vnni, __m512i, _mm512_setzero_si512(), _mm512_dpbusd_epi32(sum[s], a, b))
#undef PEAK_LOOP_512

static void choose_peaks(peak *f32, peak *int8) {
    mosa_cpu_features has = mosa_cpu_detect();
    if (has.avx2 && has.fma) *f32 = (peak){f32_avx2, 2.0 * 8 * SUMS};
    if (has.avx2) *int8 = (peak){int8_avx2, 2.0 * 32 * SUMS};
    if (has.avx512f && has.avx512vnni) *f32 = (peak){f32_avx512, 2.0 * 16 * SUMS};
    if (has.avx512f && has.avx512vnni) *int8 = (peak){int8_vnni, 2.0 * 64 * SUMS};
}
#else
static void choose_peaks(peak *f32, peak *int8) {
    (void)f32;
    (void)int8;
}
#endif

static double measure_peak(mosa_cpu_backend *cpu, peak p) {
    if (!p.loop) return 0;
    return best_rate(cpu->pool, run_peak, &p, PEAK_CALLS, p.ops_per_turn * PEAK_LOOPS * cpu->n_threads);
}

mosa_status mosa_cpu_measure(mosa_backend *backend, mosa_device_limits *limits, mosa_error *err) {
    mosa_cpu_backend *cpu = (mosa_cpu_backend *)backend;
    peak f32 = {0}, int8 = {0};
    double read;
    MOSA_TRY(measure_read(cpu, &read, err));
    choose_peaks(&f32, &int8);
    *limits = (mosa_device_limits){read, measure_peak(cpu, f32), measure_peak(cpu, int8)};
    return MOSA_OK;
}
