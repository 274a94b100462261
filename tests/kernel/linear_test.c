// LINEAR and QUANTIZE_ROWS: the reference against double precision, the fast kernels against the reference, bit for
// bit. With --bench it times them instead (linear_bench.c).
#include "linear_problem.h"

#include "backend/cpu/pack_internal.h"
#include "tensor/half.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const mosa_dtype dtypes[] = {MOSA_F32,  MOSA_F16,    MOSA_BF16,   MOSA_Q8_0, MOSA_Q4_0, MOSA_Q4_K,
                                    MOSA_Q5_K, MOSA_Q6_K,   MOSA_Q4_1,   MOSA_Q5_0, MOSA_Q5_1, MOSA_Q2_K,
                                    MOSA_Q3_K, MOSA_IQ4_NL, MOSA_IQ4_XS, MOSA_MXFP4};

static double *dequantised(const problem *p) {
    float *row = malloc((size_t)(p->n * p->k) * sizeof *row);
    double *w = malloc((size_t)(p->n * p->k) * sizeof *w);
    mosa_dtype_traits_of(p->dtype)->to_f32(p->file, row, p->n * p->k);
    for (int64_t i = 0; i < p->n * p->k; i++) w[i] = row[i];
    free(row);
    return w;
}

// Root mean square over all outputs of y - w * x, y given as the product of w with other activations.
static double rms_error(const problem *p, const double *w, const float *approximation) {
    double sum = 0;
    for (int r = 0; r < p->rows; r++) {
        for (int64_t n = 0; n < p->n; n++) {
            double error = 0;
            for (int64_t i = 0; i < p->k; i++)
                error += w[n * p->k + i] * ((double)approximation[r * p->k + i] - p->x[r * p->k + i]);
            sum += error * error;
        }
    }
    return sqrt(sum / (double)(p->rows * p->n));
}

static double rms_error_of_outputs(const problem *p, const double *w) {
    double sum = 0;
    for (int r = 0; r < p->rows; r++) {
        for (int64_t n = 0; n < p->n; n++) {
            double exact = 0;
            for (int64_t i = 0; i < p->k; i++) exact += w[n * p->k + i] * p->x[r * p->k + i];
            double error = p->y[r * p->y_stride + n] - exact;
            sum += error * error;
        }
    }
    return sqrt(sum / (double)(p->rows * p->n));
}

// The usual activation quantisers of the GGUF types: 32 elements with a half-float scale, or 256 with an f32 scale from
// the signed extreme.
static void usual_activations(const problem *p, bool by_256, float *out) {
    int len = by_256 ? 256 : 32;
    for (int64_t at = 0; at < p->rows * p->k; at += len) {
        float extreme = 0;
        for (int i = 0; i < len; i++)
            if (fabsf(p->x[at + i]) > fabsf(extreme)) extreme = p->x[at + i];
        float scale = by_256 ? -127.0f / extreme : 127.0f / fabsf(extreme);
        float d = by_256 ? 1 / scale : mosa_f16_to_f32(mosa_f16_from_f32(fabsf(extreme) / 127.0f));
        for (int i = 0; i < len; i++) out[at + i] = d * (float)lrintf(p->x[at + i] * scale);
    }
}

static void the_reference_is_as_accurate_as_the_usual_scheme(void **state) {
    (void)state;
    uint64_t seed = 1;
    for (size_t i = 0; i < MOSA_COUNT(dtypes); i++) {
        problem *p = problem_create(dtypes[i], 40, 1024, 8, WEIGHTS_NORMAL, &seed);
        double *w = dequantised(p);
        problem_quantize(p, mosa_ref_quantize_rows, 1);
        problem_linear(p, mosa_ref_linear, 1);
        double ours = rms_error_of_outputs(p, w), usual;
        if (mosa_cpu_act_layout(p->dtype, p->k) == MOSA_ACT_F32) {
            usual = 4e-6; // plain f32 sums
        } else {
            float *x = malloc((size_t)(p->rows * p->k) * sizeof *x);
            usual_activations(p, mosa_dtype_traits_of(p->dtype)->block_len == 256, x);
            usual = rms_error(p, w, x);
            free(x);
        }
        print_message("%-7s rms error %.3e, usual scheme %.3e\n", mosa_dtype_name(p->dtype), ours, usual);
        assert_true(ours <= 1.05 * usual);
        free(w);
        problem_destroy(p);
    }
}

static bool same_float(float a, float b) {
    return mosa_f32_bits(a) == mosa_f32_bits(b) || (isnan(a) && isnan(b));
}

static void compare_isa(problem *p, const isa *fast, const unsigned char *act, const float *y, int n_threads) {
    size_t act_bytes = (size_t)(p->rows * p->act_stride), y_count = (size_t)(p->rows * p->y_stride);
    memset(p->act, 0, act_bytes);
    problem_quantize(p, fast->quantize, n_threads);
    if (memcmp(act, p->act, act_bytes) != 0)
        fail_msg("%s, %s k %lld rows %d: quantised rows differ", fast->name, mosa_dtype_name(p->dtype), (long long)p->k,
                 p->rows);
    for (size_t i = 0; i < y_count; i++) p->y[i] = GUARD;
    problem_linear(p, fast->linear, n_threads);
    for (size_t i = 0; i < y_count; i++) {
        if (same_float(y[i], p->y[i])) continue;
        fail_msg("%s, %s n %lld k %lld rows %d threads %d: row %zu output %zu is %.9g, not %.9g", fast->name,
                 mosa_dtype_name(p->dtype), (long long)p->n, (long long)p->k, p->rows, n_threads,
                 i / (size_t)p->y_stride, i % (size_t)p->y_stride, p->y[i], y[i]);
    }
}

// Runs reference and fast kernels on one problem and compares levels and outputs.
static void compare(problem *p, int n_threads) {
    size_t act_bytes = (size_t)(p->rows * p->act_stride), y_count = (size_t)(p->rows * p->y_stride);
    unsigned char *act = calloc(act_bytes, 1);
    float *y = malloc(y_count * sizeof *y);
    memset(p->act, 0, act_bytes);
    problem_quantize(p, mosa_ref_quantize_rows, 1);
    memcpy(act, p->act, act_bytes);
    problem_linear(p, mosa_ref_linear, 1);
    memcpy(y, p->y, y_count * sizeof *y);
    int n_isas;
    const isa *isas = fast_isas(&n_isas);
    for (int i = 0; i < n_isas; i++) compare_isa(p, &isas[i], act, y, n_threads);
    free(act);
    free(y);
}

static void give_bias(problem *p, uint64_t *seed) {
    p->bias = malloc((size_t)p->n * sizeof(float));
    for (int64_t i = 0; i < p->n; i++) p->bias[i] = random_normal(seed);
}

static int64_t random_k(mosa_dtype dtype, int64_t most, uint64_t *seed) {
    int64_t unit = mosa_dtype_traits_of(dtype)->block_len;
    return (1 + random_bits(seed) % (uint64_t)(most / unit)) * unit;
}

static void fast_kernels_equal_the_reference_on_random_shapes(void **state) {
    (void)state;
    uint64_t seed = 2;
    for (size_t i = 0; i < MOSA_COUNT(dtypes); i++) {
        for (int round = 0; round < 20; round++) {
            int64_t n = 1 + random_bits(&seed) % 50, k = random_k(dtypes[i], round % 8 ? 512 : 4096, &seed);
            int rows = round < 9 ? round + 1 : 1 + (int)(random_bits(&seed) % (round % 4 ? 20 : 130));
            problem *p = problem_create(dtypes[i], n, k, rows, WEIGHTS_NORMAL, &seed);
            if (round % 2) give_bias(p, &seed);
            compare(p, 1 + round % 4);
            problem_destroy(p);
        }
    }
}

static void fast_kernels_equal_the_reference_on_any_bits(void **state) {
    (void)state;
    uint64_t seed = 3;
    for (size_t i = 0; i < MOSA_COUNT(dtypes); i++) {
        for (int round = 0; round < 12; round++) {
            int64_t n = 1 + random_bits(&seed) % 40, k = random_k(dtypes[i], 512, &seed);
            problem *p = problem_create(dtypes[i], n, k, 1 + (int)(random_bits(&seed) % 24), WEIGHTS_BITS, &seed);
            for (int64_t j = 0; round % 3 == 0 && j < p->rows * k; j++) { // activations at their limits
                p->x[j] = random_bits(&seed) % 2 ? 3.4e38f : -3.4e38f;
            }
            compare(p, 1);
            problem_destroy(p);
        }
    }
}

static void the_fast_packer_makes_the_bytes_of_the_plain_one(void **state) {
    (void)state;
    uint64_t seed = 6;
    for (size_t i = 0; i < MOSA_COUNT(dtypes); i++) {
        int64_t k = random_k(dtypes[i], 1024, &seed);
        problem *p = problem_create(dtypes[i], 40, k, 1, WEIGHTS_BITS, &seed);
        size_t panel_bytes = p->packed_bytes / 3, row_bytes = p->file_bytes / 40;
        unsigned char *panel = malloc(panel_bytes);
        for (int j = 0; j < 3; j++) {
            mosa_panel_source source = {dtypes[i], p->file + 16 * (size_t)j * row_bytes, row_bytes, j < 2 ? 16 : 8};
            mosa_ref_pack_panel(&source, 0, k, panel);
            assert_memory_equal(panel, p->packed + (size_t)j * panel_bytes, panel_bytes);
        }
        free(panel);
        problem_destroy(p);
    }
}

static void activations_that_are_not_finite_make_their_row_nan(void **state) {
    (void)state;
    uint64_t seed = 4;
    const float values[] = {NAN, INFINITY, -INFINITY, 1e-42f, 0x1p-101f, -0.0f, 1e30f};
    for (size_t i = 0; i < MOSA_COUNT(dtypes); i++) {
        problem *p = problem_create(dtypes[i], 17, 512, 7, WEIGHTS_NORMAL, &seed);
        for (int r = 0; r < p->rows; r++) {
            for (int64_t j = 0; r >= 3 && j < p->k; j++) p->x[r * p->k + j] = 0;
            p->x[r * p->k + 300] = values[r];
        }
        compare(p, 2);
        for (int r = 0; r < p->rows; r++) {
            bool finite = isfinite(p->y[r * p->y_stride + 3]);
            assert_true(finite == (r >= 3));
        }
        problem_destroy(p);
    }
}

static void a_row_alone_equals_the_row_among_many(void **state) {
    (void)state;
    uint64_t seed = 5;
    int n_isas;
    const isa *isas = fast_isas(&n_isas);
    for (size_t i = 0; i < MOSA_COUNT(dtypes) * (size_t)n_isas; i++) {
        const isa *fast = &isas[i % (size_t)n_isas];
        problem *p = problem_create(dtypes[i / (size_t)n_isas], 33, 768, 300, WEIGHTS_NORMAL, &seed);
        problem_quantize(p, fast->quantize, 1);
        problem_linear(p, fast->linear, 3);
        float *many = malloc((size_t)(p->rows * p->y_stride) * sizeof *many);
        memcpy(many, p->y, (size_t)(p->rows * p->y_stride) * sizeof *many);
        int row = (int)(random_bits(&seed) % 300);
        memcpy(p->x, p->x + row * p->k, (size_t)p->k * sizeof(float));
        p->rows = 1;
        problem_quantize(p, fast->quantize, 1);
        problem_linear(p, fast->linear, 1);
        assert_memory_equal(p->y, many + row * p->y_stride, (size_t)p->n * sizeof(float));
        free(many);
        problem_destroy(p);
    }
}

// Rows anywhere, in any order and repeated, and some of the panels: what EXPERT_LINEAR asks for.
static void rows_by_pointer_equal_the_rows_of_linear(void **state) {
    (void)state;
    enum { ROWS = 150 };
    uint64_t seed = 7;
    int n_isas;
    const isa *isas = fast_isas(&n_isas);
    for (size_t i = 0; i < MOSA_COUNT(dtypes) * (size_t)n_isas; i++) {
        const isa *fast = &isas[i % (size_t)n_isas];
        problem *p = problem_create(dtypes[i / (size_t)n_isas], 40, 512, 9, WEIGHTS_NORMAL, &seed);
        give_bias(p, &seed);
        problem_quantize(p, fast->quantize, 1);
        problem_linear(p, fast->linear, 1);
        bool floats = mosa_cpu_act_layout(p->dtype, p->k) == MOSA_ACT_F32;
        const uint8_t *act[ROWS];
        float out[ROWS][40], *y[ROWS];
        int from[ROWS];
        for (int r = 0; r < ROWS; r++) {
            from[r] = (int)(random_bits(&seed) % 9);
            act[r] = floats ? (const uint8_t *)(p->x + from[r] * p->k) : p->act + from[r] * p->act_stride;
            y[r] = out[r];
            for (int n = 0; n < 40; n++) out[r][n] = GUARD;
        }
        mosa_linear_rows job = {p->dtype, p->n, p->k, p->packed, p->bias, 1, 3, ROWS, act, y, p->scratch[0]};
        fast->rows(&job);
        for (int r = 0; r < ROWS; r++) {
            for (int n = 0; n < 16; n++) assert_true(out[r][n] == GUARD);
            assert_memory_equal(out[r] + 16, p->y + from[r] * p->y_stride + 16, 24 * sizeof(float));
        }
        problem_destroy(p);
    }
}

static void shapes_that_linear_cannot_take_have_no_packed_form(void **state) {
    (void)state;
    assert_int_equal(mosa_cpu_packed_bytes(MOSA_Q4_K, 16, 128), 0);
    assert_int_equal(mosa_cpu_packed_bytes(MOSA_I32, 16, 256), 0);
    assert_int_equal(mosa_cpu_packed_bytes(MOSA_Q8_0, 0, 256), 0);
    assert_int_equal(mosa_cpu_packed_bytes(MOSA_Q8_0, INT64_MAX, INT64_MAX / 64 * 32), 0);
    for (size_t i = 0; i < MOSA_COUNT(dtypes); i++) {
        size_t file;
        assert_true(mosa_dtype_bytes(dtypes[i], 2048 * 2048, &file));
        size_t packed = mosa_cpu_packed_bytes(dtypes[i], 2048, 2048);
        assert_true(packed >= file && (double)packed <= 1.03 * (double)file);
    }
}

int main(int argc, char **argv) {
    const struct CMUnitTest plain[] = {
        cmocka_unit_test(the_reference_is_as_accurate_as_the_usual_scheme),
        cmocka_unit_test(shapes_that_linear_cannot_take_have_no_packed_form),
    };
    const struct CMUnitTest fast[] = {
        cmocka_unit_test(fast_kernels_equal_the_reference_on_random_shapes),
        cmocka_unit_test(fast_kernels_equal_the_reference_on_any_bits),
        cmocka_unit_test(the_fast_packer_makes_the_bytes_of_the_plain_one),
        cmocka_unit_test(activations_that_are_not_finite_make_their_row_nan),
        cmocka_unit_test(a_row_alone_equals_the_row_among_many),
        cmocka_unit_test(rows_by_pointer_equal_the_rows_of_linear),
    };
    int n_isas;
    (void)fast_isas(&n_isas);
    if (argc > 1 && strcmp(argv[1], "--bench") == 0) return n_isas > 0 ? linear_bench(argc - 2, argv + 2) : 1;
    int failed = cmocka_run_group_tests(plain, NULL, NULL);
    if (n_isas > 0)
        failed += cmocka_run_group_tests(fast, NULL, NULL);
    else
        printf("skipped: the fast kernels, on a processor without AVX2, FMA and F16C\n");
    return failed;
}
