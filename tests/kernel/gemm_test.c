// GEMM: the reference against double precision, the fast forms against the reference bit for bit, on random shapes with
// odd edges, leading dimensions, types of b and numbers of threads. Times with
//   gemm_test --bench [threads] [isa] [form M N K]
// form: nt (LINEAR), nn (LINEAR_DX) or tn (LINEAR_DW) of a layer [N,K] over M rows; without it those of GPT-2 124M.
#include "backend/cpu/gemm.h"

#include "backend/cpu/cpu_backend.h"
#include "base/pool.h"
#include "base/rng.h"
#include "op_problem.h"

#include <immintrin.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static uint64_t draws;

static int64_t below(int64_t n) {
    return (int64_t)mosa_rng_below(3, draws++, (uint64_t)n);
}

static void fill(float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) x[i] = (float)(mosa_rng_uniform(4, draws++) * 2 - 1);
}

static void *must(void *memory) {
    if (!memory) fail_msg("out of memory");
    return memory;
}

// A product with its operands; c0 is what c holds beforehand, with rows longer than n.
typedef struct problem {
    mosa_gemm g;
    float *a, *c0;
    unsigned char *b;
    float *b_values; // decoded
    int64_t a_rows, b_rows, b_columns;
} problem;

// Random whole blocks of any type: every bit pattern will do but the scales must be small numbers.
static void fill_blocks(mosa_dtype dtype, unsigned char *b, int64_t n) {
    const mosa_dtype_traits *traits = mosa_dtype_traits_of(dtype);
    float values[256];
    for (int64_t i = 0; i < n; i += traits->block_len) {
        unsigned char *block = b + i / traits->block_len * traits->block_bytes;
        bool sane = false;
        while (!sane) {
            for (size_t j = 0; j < traits->block_bytes; j++) block[j] = (unsigned char)below(256);
            traits->to_f32(block, values, traits->block_len);
            sane = true;
            for (uint32_t j = 0; j < traits->block_len; j++) sane &= fabsf(values[j]) < 100;
        }
    }
}

static void problem_init(problem *p, mosa_dtype dtype, int64_t m, int64_t n, int64_t k) {
    const mosa_dtype_traits *traits = mosa_dtype_traits_of(dtype);
    memset(p, 0, sizeof *p);
    p->g = (mosa_gemm){.m = m, .n = n, .k = k, .b_dtype = dtype, .alpha = below(2) ? 1 : 0.3f};
    p->g.a_transposed = below(2);
    p->g.b_transposed = below(2);
    p->g.add = below(2);
    p->a_rows = p->g.a_transposed ? k : m;
    p->g.lda = (p->g.a_transposed ? m : k) + below(20);
    p->b_rows = p->g.b_transposed ? n : k;
    int64_t columns = (p->g.b_transposed ? k : n) + below(20);
    p->b_columns = (columns + traits->block_len - 1) / traits->block_len * traits->block_len;
    p->g.b_row_bytes = (size_t)(p->b_columns / traits->block_len) * traits->block_bytes;
    p->g.ldc = n + below(20);
    p->a = must(malloc((size_t)(p->a_rows * p->g.lda) * sizeof(float)));
    p->b = must(malloc((size_t)p->b_rows * p->g.b_row_bytes));
    p->b_values = must(malloc((size_t)(p->b_rows * p->b_columns) * sizeof(float)));
    p->c0 = must(malloc((size_t)(m * p->g.ldc) * sizeof(float)));
    fill(p->a, p->a_rows * p->g.lda);
    fill(p->c0, m * p->g.ldc);
    if (dtype == MOSA_F32)
        fill((float *)(void *)p->b, p->b_rows * p->b_columns);
    else
        fill_blocks(dtype, p->b, p->b_rows * p->b_columns);
    traits->to_f32(p->b, p->b_values, p->b_rows * p->b_columns);
    p->g.a = p->a;
    p->g.b = p->b;
}

static void problem_finish(problem *p) {
    free(p->a);
    free(p->b);
    free(p->b_values);
    free(p->c0);
}

// As n_threads threads would, one after another.
static float *run(problem *p, mosa_gemm_fn fn, int n_threads) {
    size_t bytes = (size_t)(p->g.m * p->g.ldc) * sizeof(float);
    p->g.c = must(malloc(bytes));
    p->g.scratch = must(aligned_alloc(64, MOSA_GEMM_SCRATCH_BYTES));
    memcpy(p->g.c, p->c0, bytes);
    memset(p->g.scratch, 0xff, MOSA_GEMM_SCRATCH_BYTES);
    for (int t = 0; t < n_threads; t++) fn(&p->g, t, n_threads);
    free(p->g.scratch);
    return p->g.c;
}

static void assert_equal(const problem *p, const float *got, const float *want, const char *what, int n_threads) {
    for (int64_t i = 0; i < p->g.m * p->g.ldc; i++)
        if (memcmp(&got[i], &want[i], sizeof *got))
            fail_msg("%s, %d threads, %s %s %lldx%lldx%lld: c[%lld,%lld] is %g, not %g", what, n_threads,
                     mosa_dtype_name(p->g.b_dtype), p->g.a_transposed ? "T" : "N", (long long)p->g.m, (long long)p->g.n,
                     (long long)p->g.k, (long long)(i / p->g.ldc), (long long)(i % p->g.ldc), (double)got[i],
                     (double)want[i]);
}

static void compare(problem *p) {
    static const int threads[] = {1, 2, 3, 8};
    float *want = run(p, mosa_ref_gemm, 1);
    for (int i = 0; i < 4; i++) {
        float *got = run(p, mosa_ref_gemm, threads[i]);
        assert_equal(p, got, want, "ref", threads[i]);
        free(got);
        if (op_best_isa() >= OP_AVX2) {
            got = run(p, mosa_avx2_gemm, threads[i]);
            assert_equal(p, got, want, "avx2", threads[i]);
            free(got);
        }
        if (op_best_isa() < OP_AVX512) continue;
        got = run(p, mosa_avx512_gemm, threads[i]);
        assert_equal(p, got, want, "avx512", threads[i]);
        free(got);
    }
    free(want);
}

static void fast_equals_reference(void **state) {
    (void)state;
    static const mosa_dtype types[] = {MOSA_F32,  MOSA_F32,  MOSA_F32,  MOSA_F16,  MOSA_BF16, MOSA_Q8_0,
                                       MOSA_Q4_0, MOSA_Q4_K, MOSA_Q6_K, MOSA_Q5_K, MOSA_Q3_K};
    static const int64_t sizes[] = {1, 2, 5, 11, 12, 13, 16, 17, 31, 32, 33, 48, 61};
    for (int i = 0; i < 220; i++) {
        int64_t m = sizes[below(13)], n = sizes[below(13)], k = sizes[below(13)];
        problem p;
        problem_init(&p, types[i % 11], m, n, k);
        compare(&p);
        problem_finish(&p);
    }
}

// Several blocks of k and n, and rows of a that share the sets of L1.
static void large_equals_reference(void **state) {
    (void)state;
    static const struct {
        mosa_dtype dtype;
        int64_t m, n, k;
    } large[] = {{MOSA_F32, 37, 421, 1000}, {MOSA_F32, 14, 1024, 1024}, {MOSA_Q4_K, 25, 800, 401},
                 {MOSA_Q8_0, 13, 500, 800}, {MOSA_BF16, 7, 90, 2048},   {MOSA_F32, 500, 33, 70}};
    for (int i = 0; i < 24; i++) {
        problem p;
        problem_init(&p, large[i % 6].dtype, large[i % 6].m, large[i % 6].n, large[i % 6].k);
        if (i % 6 == 1 && !p.g.a_transposed) p.g.lda = 1024;
        compare(&p);
        problem_finish(&p);
    }
}

static void reference_is_right(void **state) {
    (void)state;
    for (int i = 0; i < 40; i++) {
        problem p;
        problem_init(&p, i % 2 ? MOSA_Q8_0 : MOSA_F32, 1 + below(20), 1 + below(40), 1 + below(200));
        const mosa_gemm *g = &p.g;
        float *c = run(&p, mosa_ref_gemm, 1);
        for (int64_t r = 0; r < g->m; r++)
            for (int64_t j = 0; j < g->n; j++) {
                double sum = g->add ? (double)p.c0[r * g->ldc + j] : 0, size = fabs(sum);
                for (int64_t q = 0; q < g->k; q++) {
                    double a = (double)(g->a_transposed ? g->a[q * g->lda + r] : g->a[r * g->lda + q]);
                    double b = (double)p.b_values[g->b_transposed ? j * p.b_columns + q : q * p.b_columns + j];
                    sum += a * b * (double)g->alpha;
                    size += fabs(a * b * (double)g->alpha);
                }
                assert_true(fabs((double)c[r * g->ldc + j] - sum) <= 1e-5 * size + 1e-30);
            }
        free(c);
        problem_finish(&p);
    }
}

// Adding two halves of the rows gives the bits of adding them at once.
static void sums_over_rows_may_be_cut(void **state) {
    (void)state;
    problem p;
    problem_init(&p, MOSA_F32, 50, 70, 300);
    p.g.add = true;
    p.g.alpha = 1;
    float *whole = run(&p, mosa_ref_gemm, 1);
    int64_t b_step = p.g.b_transposed ? 1 : p.b_columns, a_step = p.g.a_transposed ? p.g.lda : 1;
    p.g.k = 130;
    float *first = run(&p, mosa_ref_gemm, 1);
    memcpy(p.c0, first, (size_t)(p.g.m * p.g.ldc) * sizeof(float));
    p.g.k = 170;
    p.g.a += 130 * a_step;
    p.g.b = (const float *)p.g.b + 130 * b_step;
    float *second = run(&p, mosa_ref_gemm, 1);
    assert_equal(&p, second, whole, "in two parts", 1);
    free(first);
    free(second);
    free(whole);
    problem_finish(&p);
}

// --bench

static struct bench {
    mosa_gemm g;
    mosa_gemm_fn fn;
    void *scratch[64];
} bench;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void bench_share(void *unused, int thread, int n_threads) {
    (void)unused;
    mosa_gemm g = bench.g;
    g.scratch = bench.scratch[thread];
    bench.fn(&g, thread, n_threads);
}

enum { PEAK_STEPS = 1 << 20, PEAK_SUMS = 12 };

__attribute__((target("avx2,fma"))) static void peak_share(void *unused, int thread, int n_threads) {
    (void)unused, (void)thread, (void)n_threads;
    __m256 y0 = _mm256_setzero_ps(), y1 = y0, y2 = y0, y3 = y0, y4 = y0, y5 = y0, y6 = y0, y7 = y0, y8 = y0, y9 = y0,
           y10 = y0, y11 = y0, x = _mm256_set1_ps(1e-9f);
    for (int i = 0; i < PEAK_STEPS; i++)
        __asm__ volatile("vfmadd231ps %12, %12, %0\n vfmadd231ps %12, %12, %1\n vfmadd231ps %12, %12, %2\n"
                         "vfmadd231ps %12, %12, %3\n vfmadd231ps %12, %12, %4\n vfmadd231ps %12, %12, %5\n"
                         "vfmadd231ps %12, %12, %6\n vfmadd231ps %12, %12, %7\n vfmadd231ps %12, %12, %8\n"
                         "vfmadd231ps %12, %12, %9\n vfmadd231ps %12, %12, %10\n vfmadd231ps %12, %12, %11"
                         : "+x"(y0), "+x"(y1), "+x"(y2), "+x"(y3), "+x"(y4), "+x"(y5), "+x"(y6), "+x"(y7), "+x"(y8),
                           "+x"(y9), "+x"(y10), "+x"(y11)
                         : "x"(x));
}

// GFLOP/s of multiply-adds that wait for nothing. (256 bits wide: as many as 512 on Zen 4, half on most of Intel's.)
static double peak(mosa_pool *pool) {
    double best = 0;
    for (int i = 0; i < 5; i++) {
        double begin = now();
        mosa_pool_run(pool, peak_share, NULL);
        double rate = 16e-9 * PEAK_SUMS * PEAK_STEPS * mosa_pool_threads(pool) / (now() - begin);
        if (rate > best) best = rate;
    }
    return best;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

enum { POOL_FLOATS = 60 << 20, CALLS = 9 };

// A layer's product; each call takes other weights, or adds to another gradient, as in a model.
static void time_layer(mosa_pool *pool, float *const memory[3], const char *form, int64_t m, int64_t n, int64_t k) {
    bool sums = !strcmp(form, "tn"), forward = !strcmp(form, "nt");
    bench.g = (mosa_gemm){.m = sums ? n : m, .n = forward ? n : k, .k = sums ? m : forward ? k : n, .alpha = 1};
    bench.g.a = memory[0];
    bench.g.lda = forward ? k : n;
    bench.g.ldc = forward ? n : k;
    bench.g.b_row_bytes = (size_t)k * sizeof(float);
    bench.g.a_transposed = bench.g.add = sums;
    bench.g.b_transposed = forward;
    int64_t places = POOL_FLOATS / (n * k);
    double seconds[CALLS];
    for (int i = -1; i < CALLS; i++) {
        int64_t place = (i + 1) % places * n * k;
        bench.g.b = memory[1] + (sums ? 0 : place);
        bench.g.c = memory[2] + (sums ? place : 0);
        double begin = now();
        mosa_pool_run(pool, bench_share, NULL);
        if (i >= 0) seconds[i] = now() - begin;
    }
    qsort(seconds, CALLS, sizeof *seconds, by_size);
    double gflop = 2e-9 * (double)m * (double)n * (double)k, limit = peak(pool);
    printf("%s M=%-5lld N=%-6lld K=%-5lld best %6.1f median %6.1f GFLOP/s, %2.0f %% and %2.0f %% of %.1f\n", form,
           (long long)m, (long long)n, (long long)k, gflop / seconds[0], gflop / seconds[CALLS / 2],
           100 * gflop / seconds[0] / limit, 100 * gflop / seconds[CALLS / 2] / limit, limit);
}

static int run_bench(int argc, char **argv) {
    static const char *const forms[] = {"nt", "nn", "tn"};
    static const int64_t shapes[][2] = {{2304, 768}, {768, 768}, {3072, 768}, {768, 3072}, {50257, 768}};
    mosa_pool *pool;
    mosa_error error;
    if (mosa_pool_create(argc > 2 ? (int)strtol(argv[2], NULL, 10) : 0, &pool, &error)) return 1;
    bool avx2 = op_best_isa() < OP_AVX512 || (argc > 3 && !strcmp(argv[3], "avx2"));
    bench.fn = avx2 ? mosa_avx2_gemm : mosa_avx512_gemm;
    for (int t = 0; t < mosa_pool_threads(pool); t++)
        bench.scratch[t] = must(aligned_alloc(64, MOSA_GEMM_SCRATCH_BYTES));
    float *memory[3];
    for (int i = 0; i < 3; i++) {
        memory[i] = must(mosa_cpu_alloc((size_t)POOL_FLOATS * sizeof(float)));
        for (int64_t j = 0; j < POOL_FLOATS; j++) memory[i][j] = (float)(j * 7919 % 1021) / 1021 - 0.5f;
    }
    if (argc > 7)
        time_layer(pool, memory, argv[4], strtoll(argv[5], NULL, 10), strtoll(argv[6], NULL, 10),
                   strtoll(argv[7], NULL, 10));
    for (int i = 0; argc <= 7 && i < 5; i++)
        for (int f = 0; f < 3; f++) time_layer(pool, memory, forms[f], 256, shapes[i][0], shapes[i][1]);
    for (int i = 0; i < 3; i++) mosa_cpu_free(memory[i], (size_t)POOL_FLOATS * sizeof(float));
    for (int t = 0; t < mosa_pool_threads(pool); t++) free(bench.scratch[t]);
    mosa_pool_destroy(pool);
    return 0;
}

int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "--bench")) return run_bench(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reference_is_right),
        cmocka_unit_test(fast_equals_reference),
        cmocka_unit_test(large_equals_reference),
        cmocka_unit_test(sums_over_rows_may_be_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
