// Preference losses and slopes against TRL's, and against finite differences where TRL has none.
#include "codec/json.h"
#include "train/preference.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static json_t *vectors;

static int load(void **state) {
    (void)state;
    return mosa_json_load(MOSA_SOURCE_ROOT "/tests/golden/train_preference_vectors.json", NULL, &vectors, NULL) !=
           MOSA_OK;
}

static int unload(void **state) {
    (void)state;
    json_decref(vectors);
    return 0;
}

static double number(const json_t *object, const char *key) {
    return json_number_value(json_object_get(object, key));
}

static double item(const json_t *array, size_t i) {
    return json_number_value(json_array_get(array, i));
}

static mosa_preference preference(const char *kind) {
    static const char *const names[] = {"sigmoid", "robust", "hinge", "ipo", "orpo", "simpo", "kto"};
    mosa_preference p = {.beta = number(vectors, "beta"), .gamma = number(vectors, "gamma")};
    for (int i = 0; i < 7; i++)
        if (strcmp(names[i], kind) == 0) p.kind = (mosa_preference_kind)i;
    if (p.kind == MOSA_PREFERENCE_ROBUST) p.smoothing = number(vectors, "smoothing");
    p.good_weight = item(json_object_get(vectors, "weights"), 0);
    p.bad_weight = item(json_object_get(vectors, "weights"), 1);
    return p;
}

static void assert_near(double got, double expected, double tolerance, const char *what) {
    if (!(fabs(got - expected) <= tolerance * fmax(1, fabs(expected))))
        fail_msg("%s: %.9g, not %.9g", what, got, expected);
}

static void pairs_are_those_of_trl(void **state) {
    (void)state;
    const json_t *entry;
    size_t i;
    json_array_foreach(json_object_get(vectors, "pairs"), i, entry) {
        const char *kind = json_string_value(json_object_get(entry, "kind"));
        const json_t *a = json_object_get(entry, "answers"), *slopes = json_object_get(entry, "slopes");
        mosa_preference p = preference(kind);
        bool free = !mosa_preference_needs_reference(p.kind);
        mosa_answer_logp chosen = {item(a, 0), free ? 0 : item(a, 2), item(a, 4)};
        mosa_answer_logp rejected = {item(a, 1), free ? 0 : item(a, 3), item(a, 5)};
        mosa_preference_loss got = mosa_preference_pair(&p, chosen, rejected);
        assert_near(got.loss, number(entry, "loss"), 1e-5, kind);
        assert_near(got.d_chosen, item(slopes, 0), 1e-5, kind);
        assert_near(got.d_rejected, item(slopes, 1), 1e-5, kind);
    }
    assert_int_equal(i, 24);
}

static void singles_are_those_of_trl(void **state) {
    (void)state;
    const json_t *entry;
    size_t i;
    mosa_preference p = preference("kto");
    json_array_foreach(json_object_get(vectors, "singles"), i, entry) {
        const json_t *a = json_object_get(entry, "answer");
        mosa_answer_logp answer = {item(a, 0), item(a, 1), 5};
        bool good = json_is_true(json_object_get(entry, "good"));
        mosa_preference_loss got = mosa_preference_single(&p, answer, good, item(a, 2));
        assert_near(got.loss, number(entry, "loss"), 1e-5, "kto");
        assert_near(got.d_chosen, number(entry, "slope"), 1e-5, "kto");
    }
    assert_int_equal(i, 6);
}

static void slopes_are_those_of_the_loss(void **state) {
    (void)state;
    static const double h = 1e-5;
    for (int kind = 0; kind < MOSA_PREFERENCE_KTO; kind++) {
        mosa_preference p = {
            .kind = (mosa_preference_kind)kind, .beta = 0.3, .gamma = 0.5, .smoothing = 0.2, .chosen_share = 0.4};
        mosa_answer_logp c = {-12, -13, 7}, r = {-15, -14, 9}, c2 = c, r2 = r;
        c2.sum += h, r2.sum += h;
        double loss = mosa_preference_pair(&p, c, r).loss;
        assert_near((mosa_preference_pair(&p, c2, r).loss - loss) / h, mosa_preference_pair(&p, c, r).d_chosen, 1e-5,
                    "chosen");
        assert_near((mosa_preference_pair(&p, c, r2).loss - loss) / h, mosa_preference_pair(&p, c, r).d_rejected, 1e-5,
                    "rejected");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pairs_are_those_of_trl),
        cmocka_unit_test(singles_are_those_of_trl),
        cmocka_unit_test(slopes_are_those_of_the_loss),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
