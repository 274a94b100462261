// Typed getters over config.json: types, ranges, absent and null fields, dotted paths, lists.
#include "codec/hf_config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static mosa_hf_config *config_of(const char *json) {
    mosa_hf_config *config;
    mosa_error err;
    if (mosa_hf_config_parse(json, strlen(json), "config.json", &config, &err) != MOSA_OK) fail_msg("%s", err.message);
    return config;
}

static const char sample[] =
    "{\"model_type\":\"llama\",\"hidden_size\":4096,\"heads\":32.0,\"theta\":500000.0,"
    "\"tie\":true,\"gone\":null,\"eos\":[1,2],\"bos\":7,\"huge\":1e300,"
    "\"architectures\":[\"LlamaForCausalLM\"],\"rope_scaling\":{\"factor\":8,\"type\":\"linear\"}}";

static void required_fields_are_typed_and_ranged(void **state) {
    (void)state;
    mosa_hf_config *c = config_of(sample);
    mosa_error err;
    int64_t n = -1;
    double x;
    bool tie;
    const char *text;
    assert_true(mosa_hf_config_i64(c, "hidden_size", 1, 1 << 20, &n, &err) == MOSA_OK && n == 4096);
    assert_true(mosa_hf_config_i64(c, "heads", 1, 100, &n, &err) == MOSA_OK && n == 32);
    assert_true(mosa_hf_config_f64(c, "rope_scaling.factor", 1, 100, &x, &err) == MOSA_OK && x == 8);
    assert_true(mosa_hf_config_bool(c, "tie", &tie, &err) == MOSA_OK && tie);
    assert_true(mosa_hf_config_str(c, "rope_scaling.type", &text, &err) == MOSA_OK && strcmp(text, "linear") == 0);
    assert_int_equal(mosa_hf_config_i64(c, "hidden_size", 1, 1000, &n, &err), MOSA_EINVALID);
    assert_string_equal(err.message, "config.json: field 'hidden_size' is 4096, not in 1 to 1000");
    assert_int_equal(mosa_hf_config_i64(c, "huge", INT64_MIN, INT64_MAX, &n, &err), MOSA_EINVALID);
    assert_int_equal(mosa_hf_config_f64(c, "theta", 0, 1, &x, &err), MOSA_EINVALID);
    assert_int_equal(mosa_hf_config_i64(c, "tie", 0, 9, &n, &err), MOSA_EINVALID);
    assert_string_equal(err.message, "config.json: field 'tie' is not an integer");
    assert_int_equal(mosa_hf_config_str(c, "bos", &text, &err), MOSA_EINVALID);
    assert_int_equal(mosa_hf_config_i64(c, "gone", 0, 9, &n, &err), MOSA_ENOTFOUND);
    assert_string_equal(err.message, "config.json: field 'gone' is missing");
    assert_int_equal(mosa_hf_config_i64(c, "hidden_size.deeper", 0, 9, &n, &err), MOSA_ENOTFOUND);
    assert_int_equal(n, 32); // untouched by failures
    mosa_hf_config_close(c);
}

static void optional_fields_fall_back_only_when_absent(void **state) {
    (void)state;
    mosa_hf_config *c = config_of(sample);
    mosa_error err;
    int64_t n;
    bool tie;
    const char *text;
    assert_true(mosa_hf_config_i64_or(c, "gone", 1, 9, -5, &n, &err) == MOSA_OK && n == -5);
    assert_true(mosa_hf_config_bool_or(c, "nothing", true, &tie, &err) == MOSA_OK && tie);
    assert_true(mosa_hf_config_str_or(c, "nothing", "silu", &text, &err) == MOSA_OK && strcmp(text, "silu") == 0);
    assert_int_equal(mosa_hf_config_i64_or(c, "model_type", 1, 9, 5, &n, &err), MOSA_EINVALID);
    assert_false(mosa_hf_config_has(c, "gone"));
    assert_true(mosa_hf_config_has(c, "rope_scaling"));
    mosa_hf_config_close(c);
}

static void lists_take_one_number_as_a_list_of_one(void **state) {
    (void)state;
    mosa_hf_config *c = config_of(sample);
    mosa_error err;
    int64_t ids[2];
    size_t count;
    assert_true(mosa_hf_config_i64s(c, "eos", 0, 9, ids, 2, &count, &err) == MOSA_OK && count == 2 && ids[1] == 2);
    assert_true(mosa_hf_config_i64s(c, "bos", 0, 9, ids, 2, &count, &err) == MOSA_OK && count == 1 && ids[0] == 7);
    assert_true(mosa_hf_config_i64s(c, "gone", 0, 9, ids, 2, &count, &err) == MOSA_OK && count == 0);
    assert_int_equal(mosa_hf_config_i64s(c, "eos", 0, 9, ids, 1, &count, &err), MOSA_ELIMIT);
    assert_int_equal(mosa_hf_config_i64s(c, "eos", 0, 1, ids, 2, &count, &err), MOSA_EINVALID);
    assert_int_equal(mosa_hf_config_i64s(c, "architectures", 0, 9, ids, 2, &count, &err), MOSA_EINVALID);
    assert_string_equal(mosa_hf_config_str_at(c, "architectures", 0), "LlamaForCausalLM");
    assert_null(mosa_hf_config_str_at(c, "architectures", 1));
    assert_null(mosa_hf_config_str_at(c, "eos", 0));
    mosa_hf_config_close(c);
}

static void the_model_type_falls_back_to_the_architecture(void **state) {
    (void)state;
    const char *type;
    mosa_error err;
    mosa_hf_config *c = config_of(sample);
    assert_true(mosa_hf_config_model_type(c, &type, &err) == MOSA_OK && strcmp(type, "llama") == 0);
    mosa_hf_config_close(c);
    c = config_of("{\"architectures\":[\"X\"]}");
    assert_true(mosa_hf_config_model_type(c, &type, &err) == MOSA_OK && strcmp(type, "X") == 0);
    mosa_hf_config_close(c);
    c = config_of("{}");
    assert_int_equal(mosa_hf_config_model_type(c, &type, &err), MOSA_ENOTFOUND);
    mosa_hf_config_close(c);
}

static void broken_files_are_refused(void **state) {
    (void)state;
    static const char *const bad[] = {"", "{", "[]", "7", "{\"a\":1,\"a\":2}", "{\"a\":NaN}", "{} {}"};
    mosa_hf_config *c;
    mosa_error err;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(mosa_hf_config_parse(bad[i], strlen(bad[i]), "c.json", &c, &err), MOSA_EINVALID);
        assert_true(strncmp(err.message, "c.json: ", 8) == 0);
    }
    char *deep = malloc(1000001);
    memset(deep, '[', 1000000);
    deep[1000000] = '\0';
    assert_int_equal(mosa_hf_config_parse(deep, 1000000, "c.json", &c, &err), MOSA_ELIMIT);
    assert_int_equal(mosa_hf_config_parse(deep, (size_t)MOSA_HF_CONFIG_BYTES_MAX + 1, "c.json", &c, &err), MOSA_ELIMIT);
    free(deep);
    assert_int_equal(mosa_hf_config_open("/no/such/config.json", &c, &err), MOSA_ENOTFOUND);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(required_fields_are_typed_and_ranged),
        cmocka_unit_test(optional_fields_fall_back_only_when_absent),
        cmocka_unit_test(lists_take_one_number_as_a_list_of_one),
        cmocka_unit_test(the_model_type_falls_back_to_the_architecture),
        cmocka_unit_test(broken_files_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
