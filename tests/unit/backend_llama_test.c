// A whole small model through the CPU backend: fused or not, plain C or fast kernels, in any chunks, with any threads
// and any neighbours, the logits are the same bits.
#include "llama_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { TOKENS = 290 }; // past one attention split

static int32_t tokens[TOKENS], other_tokens[TOKENS];
static int32_t pages[LLAMA_PAGES / 2], other_pages[LLAMA_PAGES / 2];

static int make_tokens(void **state) {
    (void)state;
    for (int i = 0; i < TOKENS; i++) {
        tokens[i] = (int32_t)mosa_rng_below(7, (uint64_t)i, LLAMA_V);
        other_tokens[i] = (int32_t)mosa_rng_below(8, (uint64_t)i, LLAMA_V);
    }
    for (int i = 0; i < LLAMA_PAGES / 2; i++) {
        pages[i] = 2 * (LLAMA_PAGES / 2 - 1 - i); // neither contiguous nor ascending
        other_pages[i] = 2 * i + 1;
    }
    return 0;
}

static void check(mosa_status status, const mosa_error *err) {
    if (status != MOSA_OK) fail_msg("%s: %s", mosa_status_name(status), err->message);
}

// Logits of all tokens, prefilled in chunks of `chunk` rows; beside another sequence when `crowded`.
static float *run(const llama_model *model, const char *device, int threads, bool lower, int chunk, bool crowded) {
    llama_session s;
    mosa_error err;
    check(llama_open(&s, model, device, threads, lower, 2 * chunk, &err), &err);
    float *logits = calloc((size_t)TOKENS * LLAMA_V, sizeof *logits);
    for (int at = 0; at < TOKENS; at += chunk) {
        int count = TOKENS - at < chunk ? TOKENS - at : chunk;
        llama_part parts[2] = {{tokens, pages, at, count, logits + (size_t)at * LLAMA_V},
                               {other_tokens, other_pages, at, (count + 1) / 2, NULL}};
        if (crowded && at > 0) parts[1].at = at / 2;
        if (crowded && (at / chunk) % 2) { // the neighbour first
            llama_part swap = parts[0];
            parts[0] = parts[1];
            parts[1] = swap;
        }
        check(llama_step(&s, parts, crowded ? 2 : 1, &err), &err);
    }
    llama_close(&s);
    return logits;
}

static void assert_same(const float *a, const float *b, const char *what) {
    for (size_t i = 0; i < (size_t)TOKENS * LLAMA_V; i++)
        if (memcmp(&a[i], &b[i], sizeof *a) != 0)
            fail_msg("%s: token %zu logit %zu: %.9g is not %.9g", what, i / LLAMA_V, i % LLAMA_V, (double)a[i],
                     (double)b[i]);
}

static void compare_all(llama_config config) {
    llama_model model;
    llama_create(&model, config);
    mosa_error err;
    check(mosa_graph_status(model.graph, &err), &err);
    float *expected = run(&model, "cpu:ref", 1, true, TOKENS, false);
    float largest = 0;
    for (int i = 0; i < TOKENS * LLAMA_V; i++) {
        assert_true(isfinite(expected[i]));
        largest = fmaxf(largest, fabsf(expected[i]));
    }
    assert_true(largest > 0.5f);
    static const struct {
        const char *what, *device;
        int threads, chunk;
        bool lower, crowded;
    } runs[] = {
        {"fast, whole", "cpu", 1, TOKENS, true, false},
        {"ref, in chunks of 7, 3 threads", "cpu:ref", 3, 7, true, false},
        {"ref, one by one, 2 threads", "cpu:ref", 2, 1, true, false},
        {"fast, whole, 2 threads", "cpu", 2, TOKENS, true, false},
        {"fast, in chunks of 7, 3 threads", "cpu", 3, 7, true, false},
        {"fast, in chunks of 64", "cpu", 2, 64, true, false},
        {"fast, one by one", "cpu", 2, 1, true, false},
        {"avx2, whole", "cpu:avx2", 1, TOKENS, true, false},
        {"avx2, in chunks of 7, 2 threads", "cpu:avx2", 2, 7, true, false},
        {"fast, beside another sequence", "cpu", 2, 13, true, true},
        {"ref, beside another sequence", "cpu:ref", 2, 31, true, true},
    };
    for (size_t i = 0; i < MOSA_COUNT(runs); i++) {
        float *got = run(&model, runs[i].device, runs[i].threads, runs[i].lower, runs[i].chunk, runs[i].crowded);
        assert_same(expected, got, runs[i].what);
        free(got);
    }
    if (config.weights == MOSA_F32) { // lowering changes nothing but where activations are quantised
        float *plain = run(&model, "cpu:ref", 1, false, TOKENS, false);
        assert_same(expected, plain, "ref, as built");
        free(plain);
    }
    free(expected);
    llama_destroy(&model);
}

static void f32_weights_give_the_same_bits_everywhere(void **state) {
    (void)state;
    compare_all(llama_small);
}

static void q8_0_weights_and_f16_pages_give_the_same_bits_everywhere(void **state) {
    (void)state;
    llama_config config = llama_small;
    config.weights = MOSA_Q8_0;
    config.kv = MOSA_F16;
    config.style = MOSA_ROPE_INTERLEAVED;
    compare_all(config);
}

static void q8_0_weights_and_pages_give_the_same_bits_everywhere(void **state) {
    (void)state;
    llama_config config = llama_small;
    config.weights = config.kv = MOSA_Q8_0;
    compare_all(config);
}

static void windows_head_norms_and_biases_give_the_same_bits_everywhere(void **state) {
    (void)state;
    llama_config config = {2, 64, 6, 2, 24, 96, 40, MOSA_F16, MOSA_F16, MOSA_ROPE_HALF, true, true};
    compare_all(config);
}

static void a_lowered_layer_takes_ten_stages(void **state) {
    (void)state;
    llama_model model;
    llama_config config = llama_small;
    config.weights = MOSA_Q8_0;
    int stages[2];
    for (int i = 0; i < 2; i++) {
        config.layers = 2 + i;
        llama_create(&model, config);
        llama_session s;
        mosa_error err;
        check(llama_open(&s, &model, "cpu", 1, true, 8, &err), &err);
        stages[i] = s.plan->n_stages;
        llama_close(&s);
        llama_destroy(&model);
    }
    assert_int_equal(stages[1] - stages[0], 10);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(f32_weights_give_the_same_bits_everywhere),
        cmocka_unit_test(q8_0_weights_and_f16_pages_give_the_same_bits_everywhere),
        cmocka_unit_test(q8_0_weights_and_pages_give_the_same_bits_everywhere),
        cmocka_unit_test(windows_head_norms_and_biases_give_the_same_bits_everywhere),
        cmocka_unit_test(a_lowered_layer_takes_ten_stages),
    };
    return cmocka_run_group_tests(tests, make_tokens, NULL);
}
