// Block formats against recorded vectors, and the quantisers against plain ones.
#include "tensor/dtype.h"
#include "tensor/half.h"
#include "tensor/quant.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { DECODE = 0, ENCODE = 1, ELEMENTS_MAX = 4096, BYTES_MAX = 8192 };

typedef struct record {
    char name[16];
    uint32_t kind, n_elements, n_bytes;
    unsigned char bytes[BYTES_MAX];
    float values[ELEMENTS_MAX];
} record;

static bool read_record(FILE *file, record *r) {
    uint32_t counts[3];
    if (fread(r->name, sizeof r->name, 1, file) != 1) return false;
    assert_int_equal(fread(counts, sizeof counts, 1, file), 1);
    r->kind = counts[0], r->n_elements = counts[1], r->n_bytes = counts[2];
    assert_true(r->n_elements <= ELEMENTS_MAX && r->n_bytes <= BYTES_MAX);
    assert_int_equal(fread(r->bytes, r->n_bytes, 1, file), 1);
    assert_int_equal(fread(r->values, r->n_elements * sizeof(float), 1, file), 1);
    return true;
}

static FILE *open_vectors(void) {
    FILE *file = fopen(MOSA_SOURCE_ROOT "/tests/golden/quant_vectors.bin", "rb");
    assert_non_null(file);
    return file;
}

static double squared_error(const float *a, const float *b, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
    return sum;
}

static void every_decoder_is_bit_exact(void **state) {
    (void)state;
    static record r;
    static float out[ELEMENTS_MAX];
    int seen = 0;
    FILE *file = open_vectors();
    while (read_record(file, &r)) {
        mosa_dtype dtype;
        if (r.kind != DECODE) continue;
        assert_true(mosa_dtype_from_name(r.name, &dtype));
        mosa_dtype_traits_of(dtype)->to_f32(r.bytes, out, r.n_elements);
        if (memcmp(out, r.values, r.n_elements * sizeof(float)) != 0) fail_msg("%s differs", r.name);
        seen++;
    }
    fclose(file);
    int decoders = 0;
    for (unsigned i = 0; i < MOSA_DTYPE_COUNT; i++) {
        const mosa_dtype_traits *traits = mosa_dtype_traits_of((mosa_dtype)i);
        decoders += traits->quantised && traits->to_f32;
    }
    assert_int_equal(seen, decoders);
}

static void q8_0_is_written_bit_exactly_and_q4_0_no_worse_than_the_reference(void **state) {
    (void)state;
    static record r;
    static unsigned char blocks[BYTES_MAX];
    static float ours[ELEMENTS_MAX], theirs[ELEMENTS_MAX];
    int seen = 0;
    FILE *file = open_vectors();
    while (read_record(file, &r)) {
        mosa_dtype dtype;
        if (r.kind != ENCODE) continue;
        assert_true(mosa_dtype_from_name(r.name, &dtype));
        const mosa_dtype_traits *traits = mosa_dtype_traits_of(dtype);
        traits->from_f32(r.values, blocks, r.n_elements);
        traits->to_f32(blocks, ours, r.n_elements);
        traits->to_f32(r.bytes, theirs, r.n_elements);
        if (dtype == MOSA_Q8_0) assert_memory_equal(blocks, r.bytes, r.n_bytes);
        assert_true(squared_error(ours, r.values, r.n_elements) <= squared_error(theirs, r.values, r.n_elements));
        seen++;
    }
    fclose(file);
    assert_int_equal(seen, 2);
}

static uint64_t random_next(uint64_t *seed) {
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

// Roughly normal: the sum of twelve uniforms.
static void fill_normal(float *x, int n, float scale, uint64_t seed) {
    for (int i = 0; i < n; i++) {
        double sum = -6;
        for (int k = 0; k < 12; k++) sum += (double)random_next(&seed) / 2147483648.0;
        x[i] = (float)sum * scale;
    }
}

// What a plain range quantiser makes of one group: no search, scale and offset not even rounded.
static double plain_error(const float *x, int n, int levels, bool symmetric) {
    float low = 0, high = 0;
    double error = 0;
    for (int i = 0; i < n; i++) low = fminf(low, x[i]), high = fmaxf(high, x[i]);
    float reach = fmaxf(-low, high);
    float scale = symmetric ? reach / (float)levels : (high - low) / (float)levels;
    if (symmetric) low = 0;
    for (int i = 0; i < n; i++) {
        double y = low + scale * rintf((x[i] - low) / scale);
        error += (x[i] - y) * (x[i] - y);
    }
    return error;
}

static void k_quantisers_beat_a_plain_range_quantiser(void **state) {
    (void)state;
    static const struct {
        mosa_dtype dtype;
        int group, levels;
        bool symmetric;
    } cases[] = {{MOSA_Q4_K, 32, 15, false}, {MOSA_Q5_K, 32, 31, false}, {MOSA_Q6_K, 16, 31, true}};
    static float x[ELEMENTS_MAX], y[ELEMENTS_MAX];
    static unsigned char blocks[BYTES_MAX];
    fill_normal(x, ELEMENTS_MAX, 0.02f, 7);
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        double plain = 0;
        for (int i = 0; i < ELEMENTS_MAX; i += cases[c].group)
            plain += plain_error(x + i, cases[c].group, cases[c].levels, cases[c].symmetric);
        const mosa_dtype_traits *traits = mosa_dtype_traits_of(cases[c].dtype);
        traits->from_f32(x, blocks, ELEMENTS_MAX);
        traits->to_f32(blocks, y, ELEMENTS_MAX);
        double ours = squared_error(x, y, ELEMENTS_MAX);
        if (ours > plain) fail_msg("%s: squared error %g, plain %g", traits->name, ours, plain);
    }
}

// Values for which scales vanish, saturate or differ wildly within a block: the result is finite and bounded.
static void extreme_blocks_quantise_to_finite_values(void **state) {
    (void)state;
    static float x[256], y[256];
    unsigned char blocks[512];
    for (unsigned i = 0; i < MOSA_DTYPE_COUNT; i++) {
        const mosa_dtype_traits *traits = mosa_dtype_traits_of((mosa_dtype)i);
        if (!traits->quantised || !traits->from_f32) continue;
        for (int shape = 0; shape < 6; shape++) {
            double zero_error = 0, largest = 0;
            fill_normal(x, 256, 1, (uint64_t)shape);
            for (int j = 0; j < 256; j++) {
                if (shape == 0) x[j] = 0;
                if (shape == 1) x[j] *= 1e-38f;
                if (shape == 2) x[j] *= 1e-7f;
                if (shape == 3) x[j] *= 8000;
                if (shape == 4) x[j] = j < 32 ? 65504.0f : j < 64 ? -65504.0f : x[j] * 1e-6f;
                if (shape == 5) x[j] = -1.0f;
                zero_error += (double)x[j] * x[j];
                largest = fmax(largest, fabs((double)x[j]));
            }
            traits->from_f32(x, blocks, 256);
            traits->to_f32(blocks, y, 256);
            for (int j = 0; j < 256; j++) assert_true(isfinite(y[j]) && fabs((double)y[j]) <= 1.1 * largest + 1e-4);
            assert_true(squared_error(x, y, 256) <= zero_error * 1.001);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_decoder_is_bit_exact),
        cmocka_unit_test(q8_0_is_written_bit_exactly_and_q4_0_no_worse_than_the_reference),
        cmocka_unit_test(k_quantisers_beat_a_plain_range_quantiser),
        cmocka_unit_test(extreme_blocks_quantise_to_finite_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
