// Optimisers, clipping and schedules against torch.optim and transformers; the same bits on any number of threads; the
// guard; stochastic rounding.
#include "codec/json.h"
#include "tensor/half.h"
#include "train/guard.h"
#include "train/optimizer.h"
#include "train/round.h"
#include "train/schedule.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { STEPS = 10 };
static const float RATE = 0.01f, SCALE = 0.25f;
static json_t *vectors;

static int load(void **state) {
    (void)state;
    return mosa_json_load(MOSA_SOURCE_ROOT "/tests/golden/train_optim_vectors.json", NULL, &vectors, NULL) != MOSA_OK;
}

static int unload(void **state) {
    (void)state;
    json_decref(vectors);
    return 0;
}

static float value(int64_t i, int64_t step, int64_t salt) {
    return (float)((double)((i * 7919 + step * 104729 + salt * 1299709) % 2003 - 1001) / 1001.0);
}

static void fill(const mosa_params *params, float *arena, int64_t step) {
    for (size_t p = 0; p < params->count; p++)
        for (int64_t i = 0; i < params->items[p].n; i++)
            arena[params->items[p].offset + (size_t)i] = value(i, step, (int64_t)p);
}

static void make_params(mosa_params *params) {
    static const mosa_param specs[] = {
        {.name = "wide", .n_dims = 2, .dims = {6, 10}, .decay = true, .matrix = true, .lr_factor = 1},
        {.name = "tall", .n_dims = 2, .dims = {9, 4}, .decay = true, .matrix = true, .lr_factor = 1},
        {.name = "bias", .n_dims = 1, .dims = {7}, .lr_factor = 1},
    };
    mosa_params_init(params);
    for (size_t i = 0; i < MOSA_COUNT(specs); i++) assert_int_equal(mosa_params_add(params, &specs[i], NULL), MOSA_OK);
    assert_int_equal(mosa_params_finish_layout(params, NULL), MOSA_OK);
}

typedef struct run {
    mosa_params params;
    float *weights, *grads;
    mosa_grad_norm norm;
} run;

static void start(run *r) {
    assert_int_equal(mosa_params_alloc(&r->params, &r->weights, NULL), MOSA_OK);
    assert_int_equal(mosa_params_alloc(&r->params, &r->grads, NULL), MOSA_OK);
    assert_int_equal(mosa_grad_norm_init(&r->norm, &r->params, NULL), MOSA_OK);
    fill(&r->params, r->weights, 0);
}

static void end(run *r) {
    free(r->weights);
    free(r->grads);
    mosa_grad_norm_finish(&r->norm);
    mosa_params_finish(&r->params);
}

// Ten steps; norms as an oracle's list, or NULL for no clipping.
static void train(run *r, const mosa_optimizer_options *options, int threads, const json_t *norms, float scale) {
    mosa_pool *pool;
    mosa_optimizer *optimizer;
    assert_int_equal(mosa_pool_create(threads, &pool, NULL), MOSA_OK);
    assert_int_equal(mosa_optimizer_create(options, &r->params, pool, &optimizer, NULL), MOSA_OK);
    for (int step = 1; step <= STEPS; step++) {
        fill(&r->params, r->grads, step);
        float factor = scale;
        if (norms) {
            mosa_grad_norm_compute(&r->norm, &r->params, pool, r->grads, SCALE);
            double expected = json_number_value(json_array_get(norms, (size_t)step - 1));
            assert_true(fabs(r->norm.total - expected) <= 1e-6 * expected);
            factor *= mosa_clip_factor(r->norm.total, 1.0);
        }
        mosa_optimizer_step(optimizer, r->weights, r->grads, RATE, factor);
    }
    mosa_optimizer_destroy(optimizer);
    mosa_pool_destroy(pool);
}

static void expect(const run *r, const json_t *oracle, double tolerance) {
    for (size_t p = 0; p < r->params.count; p++) {
        const mosa_param *param = &r->params.items[p];
        const json_t *values = json_object_get(oracle, param->name);
        assert_int_equal(json_array_size(values), param->n);
        for (int64_t i = 0; i < param->n; i++) {
            double difference =
                r->weights[param->offset + (size_t)i] - json_number_value(json_array_get(values, (size_t)i));
            if (!(fabs(difference) <= tolerance))
                fail_msg("%s[%lld] differs by %g", param->name, (long long)i, difference);
        }
    }
}

static void check(const char *name, const mosa_optimizer_options *options, bool clip, double tolerance) {
    const json_t *oracle = json_object_get(json_object_get(vectors, "optimizers"), name);
    run r;
    make_params(&r.params);
    start(&r);
    train(&r, options, 2, clip ? json_object_get(oracle, "norms") : NULL, SCALE);
    expect(&r, oracle, tolerance);
    end(&r);
}

static mosa_optimizer_options options_of(mosa_optimizer_kind kind) {
    mosa_optimizer_options options = mosa_optimizer_defaults(kind);
    options.weight_decay = 0.1f;
    options.beta2 = 0.95f;
    return options;
}

static void adamw_is_torchs(void **state) {
    (void)state;
    mosa_optimizer_options options = options_of(MOSA_OPTIMIZER_ADAMW);
    check("adamw", &options, false, 1e-6);
    check("adamw_clipped", &options, true, 1e-6);
}

static void sgd_is_torchs(void **state) {
    (void)state;
    mosa_optimizer_options options = options_of(MOSA_OPTIMIZER_SGD);
    check("sgd", &options, false, 1e-6);
    options.nesterov = true;
    check("sgd_nesterov", &options, false, 1e-6);
}

static void muon_is_torchs(void **state) {
    (void)state;
    mosa_optimizer_options options = options_of(MOSA_OPTIMIZER_MUON);
    check("muon", &options, false, 2e-6);
    options.muon_match_adamw = true;
    check("muon_match", &options, false, 2e-6);
}

static void make_one(mosa_params *params, int64_t n) {
    mosa_param spec = {.name = "w", .n_dims = 1, .dims = {n}, .decay = true, .lr_factor = 1};
    mosa_params_init(params);
    assert_int_equal(mosa_params_add(params, &spec, NULL), MOSA_OK);
    assert_int_equal(mosa_params_finish_layout(params, NULL), MOSA_OK);
}

static void adamw_8bit_is_the_papers(void **state) {
    (void)state;
    const json_t *oracle = json_object_get(vectors, "adamw_8bit");
    mosa_optimizer_options options = options_of(MOSA_OPTIMIZER_ADAMW_8BIT);
    options.beta2 = 0.999f;
    run r;
    make_one(&r.params, 5000);
    start(&r);
    train(&r, &options, 2, NULL, 1);
    for (size_t i = 0; i < json_array_size(oracle); i++)
        assert_true(fabs(r.weights[50 * i] - json_number_value(json_array_get(oracle, i))) <= 1e-6);
    end(&r);
}

static void threads_change_no_bit(void **state) {
    (void)state;
    for (int kind = 0; kind < MOSA_OPTIMIZER_COUNT; kind++) {
        mosa_optimizer_options options = options_of((mosa_optimizer_kind)kind);
        float *first = NULL;
        double norm = 0;
        for (int threads = 1; threads <= 3; threads++) {
            run r;
            mosa_params_init(&r.params);
            mosa_param specs[] = {{.name = "a", .n_dims = 2, .dims = {100, 131}, .matrix = true, .lr_factor = 1},
                                  {.name = "b", .n_dims = 1, .dims = {9001}, .decay = true, .lr_factor = 0.5f}};
            for (int i = 0; i < 2; i++) assert_int_equal(mosa_params_add(&r.params, &specs[i], NULL), MOSA_OK);
            assert_int_equal(mosa_params_finish_layout(&r.params, NULL), MOSA_OK);
            start(&r);
            train(&r, &options, threads, NULL, SCALE);
            mosa_pool *pool;
            assert_int_equal(mosa_pool_create(threads, &pool, NULL), MOSA_OK);
            mosa_grad_norm_compute(&r.norm, &r.params, pool, r.grads, 1);
            mosa_pool_destroy(pool);
            if (first) {
                assert_memory_equal(first, r.weights, r.params.elements * sizeof(float));
                assert_true(norm == r.norm.total);
            } else {
                norm = r.norm.total;
                first = r.weights;
                r.weights = NULL;
            }
            end(&r);
        }
        free(first);
    }
}

static void schedules_are_transformers(void **state) {
    (void)state;
    const json_t *cases = json_object_get(vectors, "schedules");
    for (size_t c = 0; c < json_array_size(cases); c++) {
        const json_t *one = json_array_get(cases, c), *factors = json_object_get(one, "factors");
        mosa_schedule s = {.warmup_steps = json_integer_value(json_object_get(one, "warmup")),
                           .total_steps = json_integer_value(json_object_get(one, "total")),
                           .cycles = json_number_value(json_object_get(one, "cycles")),
                           .power = json_number_value(json_object_get(one, "power")),
                           .min_ratio = json_number_value(json_object_get(one, "min_ratio")),
                           .decay_steps = json_integer_value(json_object_get(one, "decay_steps"))};
        const char *name = json_string_value(json_object_get(one, "name"));
        const char *decay = json_string_value(json_object_get(one, "decay"));
        assert_true(mosa_schedule_from_name(name, &s.kind));
        if (decay) assert_true(mosa_decay_from_name(decay, &s.decay));
        for (size_t step = 0; step < json_array_size(factors); step++) {
            double expected = json_number_value(json_array_get(factors, step));
            double got = mosa_schedule_factor(&s, (int64_t)step);
            if (fabs(got - expected) > 1e-12) fail_msg("%s at %zu: %.17g, not %.17g", name, step, got, expected);
        }
    }
    mosa_schedule_kind kind;
    assert_false(mosa_schedule_from_name("cosin", &kind));
}

static void the_guard_names_the_tensor(void **state) {
    (void)state;
    run r;
    make_params(&r.params);
    start(&r);
    mosa_pool *pool;
    assert_int_equal(mosa_pool_create(2, &pool, NULL), MOSA_OK);
    mosa_guard guard;
    bool skip;
    mosa_guard_init(&guard, 6, 16, 2);
    fill(&r.params, r.grads, 1);
    mosa_grad_norm_compute(&r.norm, &r.params, pool, r.grads, 1);
    for (int step = 0; step < 20; step++) {
        assert_int_equal(mosa_guard_check(&guard, step, 2 + 0.01 * (step % 3), &r.params, &r.norm, &skip, NULL),
                         MOSA_OK);
        assert_false(skip);
    }
    assert_int_equal(mosa_guard_check(&guard, 20, 9, &r.params, &r.norm, &skip, NULL), MOSA_OK);
    assert_true(skip && strstr(guard.message, "wide"));
    r.grads[r.params.items[1].offset + 3] = NAN;
    mosa_grad_norm_compute(&r.norm, &r.params, pool, r.grads, 1);
    assert_int_equal(mosa_guard_check(&guard, 21, 2, &r.params, &r.norm, &skip, NULL), MOSA_OK);
    assert_true(skip && strstr(guard.message, "gradient of tall is not finite"));
    assert_int_equal(mosa_guard_check(&guard, 22, 2, &r.params, &r.norm, &skip, NULL), MOSA_ELIMIT);
    mosa_pool_destroy(pool);
    end(&r);
}

static void stochastic_rounding_keeps_the_mean(void **state) {
    (void)state;
    enum { N = 1 << 16 };
    mosa_params params;
    make_one(&params, N);
    float *weights;
    mosa_pool *pool;
    uint16_t *out = malloc(N * sizeof *out), *again = malloc(N * sizeof *again);
    assert_int_equal(mosa_params_alloc(&params, &weights, NULL), MOSA_OK);
    for (int i = 0; i < N; i++) weights[i] = 1.002f; // between 1 and 1.0078125
    assert_int_equal(mosa_pool_create(1, &pool, NULL), MOSA_OK);
    mosa_round_bf16_stochastic(&params, pool, weights, 7, 3, out);
    mosa_pool_destroy(pool);
    double sum = 0;
    for (int i = 0; i < N; i++) sum += mosa_bf16_to_f32(out[i]);
    assert_true(fabs(sum / N - 1.002) < 1e-4); // the deviation of the mean is 1.3e-5
    weights[0] = NAN, weights[1] = INFINITY, weights[2] = -3.4e38f;
    assert_int_equal(mosa_pool_create(2, &pool, NULL), MOSA_OK);
    mosa_round_bf16_stochastic(&params, pool, weights, 7, 3, again);
    assert_memory_equal(out + 8, again + 8, (N - 8) * sizeof *out);
    assert_true(isnan(mosa_bf16_to_f32(again[0])) && isinf(mosa_bf16_to_f32(again[1])));
    assert_false(isinf(mosa_bf16_to_f32(again[2])));
    mosa_pool_destroy(pool);
    free(out);
    free(again);
    free(weights);
    mosa_params_finish(&params);
}

static void bad_parameters_are_refused(void **state) {
    (void)state;
    mosa_params params;
    mosa_error err;
    mosa_params_init(&params);
    mosa_param spec = {.name = "a", .n_dims = 2, .dims = {2, 3}};
    assert_int_equal(mosa_params_add(&params, &spec, &err), MOSA_OK);
    assert_int_equal(mosa_params_add(&params, &spec, &err), MOSA_EINVALID);
    spec.name = "b", spec.dims[1] = 0;
    assert_int_equal(mosa_params_add(&params, &spec, &err), MOSA_EINVALID);
    spec.dims[0] = INT64_MAX / 2, spec.dims[1] = 4;
    assert_int_equal(mosa_params_add(&params, &spec, &err), MOSA_EINVALID);
    assert_int_equal(mosa_params_finish_layout(&params, &err), MOSA_OK);
    mosa_optimizer_options options = mosa_optimizer_defaults(MOSA_OPTIMIZER_ADAMW);
    options.beta1 = 1;
    mosa_optimizer *optimizer;
    assert_int_equal(mosa_optimizer_create(&options, &params, NULL, &optimizer, &err), MOSA_EINVALID);
    mosa_params_finish(&params);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adamw_is_torchs),
        cmocka_unit_test(sgd_is_torchs),
        cmocka_unit_test(muon_is_torchs),
        cmocka_unit_test(adamw_8bit_is_the_papers),
        cmocka_unit_test(threads_change_no_bit),
        cmocka_unit_test(schedules_are_transformers),
        cmocka_unit_test(the_guard_names_the_tensor),
        cmocka_unit_test(stochastic_rounding_keeps_the_mean),
        cmocka_unit_test(bad_parameters_are_refused),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
