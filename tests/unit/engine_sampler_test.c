// The sampler: filters keep what they should, draws follow the distribution, and depend on nothing but the sequence.
#include "engine/sampler.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { VOCAB = 8, DRAWS = 40000 };

static mosa_sampling plain(void) {
    return (mosa_sampling){.temperature = 1, .top_p = 1, .repetition_penalty = 1, .seed = 42};
}

// Draws once at each of DRAWS positions of an output and counts the tokens.
static void histogram(const float *logits, const mosa_sampling *sampling, double share[VOCAB]) {
    mosa_sampler sampler;
    assert_int_equal(mosa_sampler_init(&sampler, VOCAB, NULL), MOSA_OK);
    int counts[VOCAB] = {0};
    static const int32_t prompt[1] = {0};
    mosa_sampling s = *sampling;
    for (int i = 0; i < DRAWS; i++) {
        s.seed = sampling->seed + (uint64_t)i;
        mosa_sample_input in = {.logits = logits, .sampling = &s, .tokens = prompt, .n_prompt = 1, .n_tokens = 1};
        counts[mosa_sampler_draw(&sampler, &in)]++;
    }
    for (int i = 0; i < VOCAB; i++) share[i] = counts[i] / (double)DRAWS;
    mosa_sampler_finish(&sampler);
}

static const float slope[VOCAB] = {0, 1, 2, 3, 2.5f, -1, 0.5f, 1.5f};

static void softmax(const float *logits, double temperature, double p[VOCAB]) {
    double sum = 0;
    for (int i = 0; i < VOCAB; i++) sum += p[i] = exp(logits[i] / temperature);
    for (int i = 0; i < VOCAB; i++) p[i] /= sum;
}

static void draws_follow_the_softmax_at_any_temperature(void **state) {
    (void)state;
    const float temperatures[] = {0.3f, 1, 2.5f};
    for (size_t t = 0; t < MOSA_COUNT(temperatures); t++) {
        mosa_sampling s = plain();
        s.temperature = temperatures[t];
        double share[VOCAB], p[VOCAB];
        histogram(slope, &s, share);
        softmax(slope, temperatures[t], p);
        for (int i = 0; i < VOCAB; i++) assert_true(fabs(share[i] - p[i]) < 0.012);
    }
}

// Whatever the filters, only allowed ids come out; with one of them there is no choice.
static void only_allowed_ids_are_drawn(void **state) {
    (void)state;
    const uint64_t three[1] = {1 << 0 | 1 << 5 | 1 << 6}, one[1] = {1 << 5};
    static const int32_t prompt[1] = {0};
    mosa_sampler sampler;
    assert_int_equal(mosa_sampler_init(&sampler, VOCAB, NULL), MOSA_OK);
    for (int variant = 0; variant < 5; variant++) {
        mosa_sampling s = plain();
        s.temperature = variant == 0 ? 0 : 1;
        s.top_k = variant == 2 ? VOCAB : variant == 3 ? 6 : 0;
        s.top_p = variant == 4 ? 0.99f : 1;
        int counts[VOCAB] = {0};
        for (int i = 0; i < 4000; i++) {
            s.seed = (uint64_t)i;
            mosa_sample_input in = {.logits = slope, .sampling = &s, .tokens = prompt, .n_prompt = 1, .n_tokens = 1};
            in.allowed = three;
            counts[mosa_sampler_draw(&sampler, &in)]++;
            in.allowed = one;
            assert_int_equal(mosa_sampler_draw(&sampler, &in), 5);
        }
        assert_int_equal(counts[0] + counts[5] + counts[6], 4000);
        assert_true(variant == 0 ? counts[6] == 4000 : counts[0] > 0 && counts[5] > 0 && counts[6] > counts[0]);
    }
    mosa_sampler_finish(&sampler);
}

static void temperature_zero_takes_the_best_and_the_smaller_id_of_equals(void **state) {
    (void)state;
    const float equal[VOCAB] = {1, 5, 5, 2, 5, 0, 0, 0};
    mosa_sampling s = plain();
    s.temperature = 0;
    double share[VOCAB];
    histogram(equal, &s, share);
    assert_true(share[1] == 1.0);
}

static void top_k_keeps_the_k_best(void **state) {
    (void)state;
    mosa_sampling s = plain();
    s.top_k = 3;
    double share[VOCAB], p[VOCAB];
    histogram(slope, &s, share);
    softmax(slope, 1, p);
    double kept = p[3] + p[4] + p[2];
    for (int i = 0; i < VOCAB; i++) {
        bool in = i == 3 || i == 4 || i == 2;
        assert_true(fabs(share[i] - (in ? p[i] / kept : 0)) < 0.012);
    }
}

static void top_p_keeps_the_smallest_head_that_reaches_it(void **state) {
    (void)state;
    mosa_sampling s = plain();
    double share[VOCAB], p[VOCAB];
    softmax(slope, 1, p);
    s.top_p = (float)(p[3] + p[4] + 1e-3); // just beyond two tokens: a third must come in
    histogram(slope, &s, share);
    assert_true(share[3] > 0 && share[4] > 0 && share[2] > 0);
    assert_true(share[7] == 0 && share[1] == 0);
    s.top_p = (float)(p[3] - 1e-3);
    histogram(slope, &s, share);
    assert_true(share[3] == 1.0);
}

static void min_p_is_relative_to_the_best(void **state) {
    (void)state;
    mosa_sampling s = plain();
    s.min_p = (float)exp(-0.75); // 2.5 is within 0.5 of 3, 2 is not within 0.75
    double share[VOCAB];
    histogram(slope, &s, share);
    assert_true(share[3] > 0 && share[4] > 0);
    assert_true(share[2] == 0);
}

static int32_t draw_with(const mosa_sampling *s, const float *logits, const int32_t *tokens, int prompt, int n,
                         const int32_t *masked, size_t n_masked) {
    mosa_sampler sampler;
    assert_int_equal(mosa_sampler_init(&sampler, VOCAB, NULL), MOSA_OK);
    mosa_sample_input in = {.logits = logits,
                            .sampling = s,
                            .tokens = tokens,
                            .n_prompt = prompt,
                            .n_tokens = n,
                            .masked = masked,
                            .n_masked = n_masked};
    int32_t token = mosa_sampler_draw(&sampler, &in);
    for (int i = 0; i < VOCAB; i++) assert_int_equal(sampler.counts[i], 0);
    mosa_sampler_finish(&sampler);
    return token;
}

static void penalties_bias_and_masks_change_the_winner(void **state) {
    (void)state;
    mosa_sampling s = plain();
    s.temperature = 0;
    const int32_t tokens[] = {3, 4, 3, 3};
    assert_int_equal(draw_with(&s, slope, tokens, 1, 4, NULL, 0), 3);
    s.repetition_penalty = 2; // 3 -> 1.5, 2.5 -> 1.25: token 2 with logit 2 wins
    assert_int_equal(draw_with(&s, slope, tokens, 1, 4, NULL, 0), 2);
    s.repetition_penalty = 1;
    s.frequency_penalty = 0.3f; // twice in the output: 3 - 0.6 = 2.4; once: 2.5 - 0.3 = 2.2
    assert_int_equal(draw_with(&s, slope, tokens, 1, 4, NULL, 0), 3);
    s.frequency_penalty = 0.6f; // 1.8 and 1.9: token 2 wins
    assert_int_equal(draw_with(&s, slope, tokens, 1, 4, NULL, 0), 2);
    s.frequency_penalty = 0;
    s.presence_penalty = 2; // 1 and 0.5: token 2 wins; without output nothing is penalised
    assert_int_equal(draw_with(&s, slope, tokens, 1, 4, NULL, 0), 2);
    assert_int_equal(draw_with(&s, slope, tokens, 4, 4, NULL, 0), 3);
    s.presence_penalty = 0;
    const mosa_logit_bias bias[] = {{5, 100}};
    s.logit_bias = bias;
    s.n_logit_bias = 1;
    assert_int_equal(draw_with(&s, slope, tokens, 1, 4, NULL, 0), 5);
    const int32_t masked[] = {5, 3};
    assert_int_equal(draw_with(&s, slope, tokens, 1, 4, masked, 2), 4);
}

static void logits_without_a_finite_maximum_give_no_token(void **state) {
    (void)state;
    float bad[VOCAB];
    for (int i = 0; i < VOCAB; i++) bad[i] = NAN;
    mosa_sampling s = plain();
    const int32_t tokens[] = {0};
    assert_int_equal(draw_with(&s, bad, tokens, 1, 1, NULL, 0), -1);
    for (int i = 0; i < VOCAB; i++) bad[i] = -INFINITY;
    assert_int_equal(draw_with(&s, bad, tokens, 1, 1, NULL, 0), -1);
}

static void logprobs_are_the_log_softmax_best_first(void **state) {
    (void)state;
    mosa_sampler sampler;
    assert_int_equal(mosa_sampler_init(&sampler, VOCAB, NULL), MOSA_OK);
    double p[VOCAB];
    softmax(slope, 1, p);
    mosa_logprob top[5];
    float own = mosa_sampler_logprobs(&sampler, slope, 6, 5, top);
    assert_true(fabs(own - log(p[6])) < 1e-6);
    const int32_t order[5] = {3, 4, 2, 7, 1};
    for (int i = 0; i < 5; i++) {
        assert_int_equal(top[i].token, order[i]);
        assert_true(fabs(top[i].logprob - log(p[order[i]])) < 1e-6);
    }
    mosa_sampler_finish(&sampler);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_allowed_ids_are_drawn),
        cmocka_unit_test(draws_follow_the_softmax_at_any_temperature),
        cmocka_unit_test(temperature_zero_takes_the_best_and_the_smaller_id_of_equals),
        cmocka_unit_test(top_k_keeps_the_k_best),
        cmocka_unit_test(top_p_keeps_the_smallest_head_that_reaches_it),
        cmocka_unit_test(min_p_is_relative_to_the_best),
        cmocka_unit_test(penalties_bias_and_masks_change_the_winner),
        cmocka_unit_test(logits_without_a_finite_maximum_give_no_token),
        cmocka_unit_test(logprobs_are_the_log_softmax_best_first),
    };
    return cmocka_run_group_tests_name("engine: sampler", tests, NULL, NULL);
}
