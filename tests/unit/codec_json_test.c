// JSON and YAML text to values and back.
#include "base/file.h"
#include "codec/json.h"
#include "codec/yaml.h"
#include "shared_data.h"

#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static json_t *parse(const char *text) {
    json_t *value = NULL;
    mosa_error err = {0};
    if (mosa_json_parse(mosa_slice_of(text), NULL, &value, &err) != MOSA_OK) fail_msg("%s: %s", text, err.message);
    return value;
}

static void check_refused(const char *text, mosa_status status, const char *message) {
    json_t *value = NULL;
    mosa_error err = {0};
    assert_int_equal(mosa_json_parse(mosa_slice_of(text), NULL, &value, &err), status);
    assert_null(value);
    if (!strstr(err.message, message)) fail_msg("'%s' does not say '%s'", err.message, message);
}

static void check_written(const char *text, const char *expected) {
    json_t *value = parse(text);
    mosa_buf out = {0};
    mosa_json_append(&out, value);
    assert_string_equal(mosa_buf_str(&out), expected);
    mosa_buf_finish(&out);
    json_decref(value);
}

// --- JSON ---------------------------------------------------------------------------------------------------------

static void what_is_read_is_written_back(void **state) {
    (void)state;
    check_written(" [ 1 , -2.50 , true,null, \"a\\u00e9\\n\\u0001\\/\" ,{ } , [ ] ] ",
                  "[1,-2.5,true,null,\"a\xc3\xa9\\n\\u0001/\",{},[]]");
    check_written("{\"b\":0.1,\"a\":1e3}", "{\"b\":0.1,\"a\":1000.0}");
    check_written("\"\\u0000\\ud83d\\ude00\"", "\"\\u0000\xf0\x9f\x98\x80\"");
}

static void pretty_text_is_indented(void **state) {
    (void)state;
    json_t *value = parse("{\"a\":[1,{}],\"b\":[]}");
    mosa_buf out = {0};
    mosa_json_append_pretty(&out, value);
    assert_string_equal(mosa_buf_str(&out), "{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": []\n}");
    mosa_buf_finish(&out);
    json_decref(value);
}

static void integers_beyond_64_bits_become_reals(void **state) {
    (void)state;
    check_written("9223372036854775807", "9223372036854775807");
    check_written("-9223372036854775808", "-9223372036854775808");
    check_written("9223372036854775808", "9.223372036854776e+18");
    json_t *value = parse("{\"model_max_length\": 1000000000000000019884624838656, \"t\": \"99999999999999999999\"}");
    assert_true(json_real_value(json_object_get(value, "model_max_length")) == 1e30);
    assert_string_equal(json_string_value(json_object_get(value, "t")), "99999999999999999999");
    json_decref(value);
}

static void faults_name_line_and_column(void **state) {
    (void)state;
    check_refused("{\"a\": 1,\n \"b\": ?}", MOSA_EINVALID, "line 2");
    check_refused("{\"a\":1,\"a\":2}", MOSA_EINVALID, "duplicate");
    check_refused("[1] x", MOSA_EINVALID, "line 1");
    check_refused("[1e999]", MOSA_EINVALID, "line 1");
    check_refused("[NaN]", MOSA_EINVALID, "line 1");
    check_refused("[\"\xff\"]", MOSA_EINVALID, "line 1");
    check_refused("", MOSA_EINVALID, "line 1");
    json_t *value = NULL;
    assert_int_equal(mosa_json_parse((mosa_slice){"12\0", 3}, NULL, &value, NULL), MOSA_EINVALID);
}

static void nesting_and_size_are_bounded(void **state) {
    (void)state;
    char deep[2 * 2000 + 1] = "";
    memset(deep, '[', 2000);
    memset(deep + 2000, ']', 2000);
    check_refused(deep, MOSA_ELIMIT, "128 levels");
    const mosa_json_limits limits = {.bytes_max = 10, .depth_max = 2};
    json_t *value = NULL;
    assert_int_equal(mosa_json_parse(MOSA_SLICE("[[1]]"), &limits, &value, NULL), MOSA_OK);
    json_decref(value);
    assert_int_equal(mosa_json_parse(MOSA_SLICE("[[[]]]"), &limits, &value, NULL), MOSA_ELIMIT);
    assert_int_equal(mosa_json_parse(MOSA_SLICE("[1,2,3,4,5]"), &limits, &value, NULL), MOSA_ELIMIT);
    // Brackets in strings do not nest.
    assert_int_equal(mosa_json_parse(MOSA_SLICE("[\"[[[[\"]"), &limits, &value, NULL), MOSA_OK);
    json_decref(value);
}

static void written_strings_are_always_well_formed(void **state) {
    (void)state;
    mosa_buf out = {0};
    mosa_json_append_string(&out, (mosa_slice){"a\"\\\t\xff\xe2\x82z\x7f", 9});
    mosa_json_append_f64(&out, NAN);
    mosa_json_append_f64(&out, 1);
    assert_string_equal(mosa_buf_str(&out), "\"a\\\"\\\\\\t\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz\\u007f\"null1.0");
    mosa_buf_finish(&out);
}

// test_parsing of JSONTestSuite: y_ must be accepted, n_ refused, i_ may go either way but must not harm.
static void the_json_test_suite_agrees(void **state) {
    (void)state;
    char folder[512];
    if (!shared_data_path("data/conf/JSONTestSuite/test_parsing", folder, sizeof folder)) skip();
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    int n_files = 0, n_wrong = 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (entry->d_name[0] == '.') continue;
        MOSA_AUTO_FREE char *path = mosa_path_join(folder, entry->d_name);
        MOSA_AUTO_FREE char *bytes = NULL;
        size_t len;
        assert_int_equal(mosa_file_read(path, 1 << 24, &bytes, &len, NULL), MOSA_OK);
        json_t *value = NULL;
        mosa_error err;
        bool accepted = mosa_json_parse((mosa_slice){bytes, len}, NULL, &value, &err) == MOSA_OK;
        json_decref(value);
        // Keys must be unique, and hold no NUL: what the suite accepts here, we refuse.
        bool our_rule = strncmp(entry->d_name, "y_object_duplicated_key", 23) == 0 ||
                        strcmp(entry->d_name, "y_object_escaped_null_in_key.json") == 0;
        char expected = our_rule ? 'n' : entry->d_name[0];
        n_files++;
        if ((expected == 'y' && !accepted) || (expected == 'n' && accepted)) {
            printf("%s: %s\n", entry->d_name, accepted ? "accepted" : err.message);
            n_wrong++;
        }
    }
    closedir(dir);
    assert_int_equal(n_wrong, 0);
    assert_int_equal(n_files, 318);
}

// --- YAML ---------------------------------------------------------------------------------------------------------

static void check_yaml(const char *yaml, const char *json) {
    json_t *value = NULL;
    mosa_error err = {0};
    if (mosa_yaml_parse(mosa_slice_of(yaml), &value, &err) != MOSA_OK) fail_msg("%s: %s", yaml, err.message);
    mosa_buf out = {0};
    mosa_json_append(&out, value);
    assert_string_equal(mosa_buf_str(&out), json);
    mosa_buf_finish(&out);
    json_decref(value);
}

static void check_yaml_refused(const char *yaml, mosa_status status, const char *message) {
    json_t *value = NULL;
    mosa_error err = {0};
    assert_int_equal(mosa_yaml_parse(mosa_slice_of(yaml), &value, &err), status);
    assert_null(value);
    if (!strstr(err.message, message)) fail_msg("'%s' does not say '%s'", err.message, message);
}

static void yaml_becomes_the_same_values(void **state) {
    (void)state;
    check_yaml("server:\n  port: 8000\n  hosts: [a, 'b', \"c\"]\nempty:\n",
               "{\"server\":{\"port\":8000,\"hosts\":[\"a\",\"b\",\"c\"]},\"empty\":null}");
    check_yaml("- |\n  two\n  lines\n- >\n  one\n  line\n", "[\"two\\nlines\\n\",\"one line\\n\"]");
    check_yaml("", "null");
    check_yaml("# only a comment\n", "null");
    check_yaml("{a: 1, 1: b}", "{\"a\":1,\"1\":\"b\"}");
}

static void plain_scalars_follow_the_core_schema(void **state) {
    (void)state;
    check_yaml("[yes, no, on, 1:30, 0777, 1_000, 2026-11-21, =, y]",
               "[\"yes\",\"no\",\"on\",\"1:30\",777,\"1_000\",\"2026-11-21\",\"=\",\"y\"]");
    check_yaml("[true, False, null, ~, NULL, nULL]", "[true,false,null,null,null,\"nULL\"]");
    check_yaml("[0x1F, 0o17, -5, +5, .5, 1., -1e3, 1e, e1, ., 0x]",
               "[31,15,-5,5,0.5,1.0,-1000.0,\"1e\",\"e1\",\".\",\"0x\"]");
    check_yaml("[\"5\", '5', !!str 5, ! 5, !!int \"5\", !!null \"\"]", "[\"5\",\"5\",\"5\",\"5\",5,null]");
    check_yaml("[9223372036854775808]", "[9.223372036854776e+18]");
}

static void yaml_faults_name_line_and_column(void **state) {
    (void)state;
    check_yaml_refused("a: 1\nb: [1, 2\nc: 3\n", MOSA_EINVALID, "line 3");
    check_yaml_refused("a: 1\na: 2\n", MOSA_EINVALID, "line 2 column 1: duplicate key");
    check_yaml_refused("a: .inf\n", MOSA_EUNSUPPORTED, "line 1 column 4");
    check_yaml_refused("a: 1\n--- \nb: 2\n", MOSA_EUNSUPPORTED, "one document");
    check_yaml_refused("a: !custom 1\n", MOSA_EUNSUPPORTED, "tag");
    check_yaml_refused("[1]: 2\n", MOSA_EUNSUPPORTED, "key");
    check_yaml_refused("a: *b\n", MOSA_EINVALID, "anchor");
    check_yaml_refused("a: &a [*a]\n", MOSA_EINVALID, "anchor");
    check_yaml_refused("a: 1e999\n", MOSA_EINVALID, "out of range");
    check_yaml_refused("a: \xff\n", MOSA_EINVALID, "YAML");
}

static void aliases_are_copied_and_bounded(void **state) {
    (void)state;
    check_yaml("a: &x {k: [1]}\nb: *x\n", "{\"a\":{\"k\":[1]},\"b\":{\"k\":[1]}}");
    mosa_buf laughs = {0};
    mosa_buf_append_str(&laughs, "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for (int i = 1; i < 30; i++) {
        mosa_buf_printf(&laughs, "a%d: &a%d [", i, i);
        for (int k = 0; k < 10; k++) mosa_buf_printf(&laughs, "*a%d,", i - 1);
        mosa_buf_append_str(&laughs, "]\n");
    }
    check_yaml_refused(mosa_buf_str(&laughs), MOSA_ELIMIT, "too many values");
    mosa_buf_clear(&laughs);
    for (int i = 0; i < 500; i++) mosa_buf_append_char(&laughs, '[');
    check_yaml_refused(mosa_buf_str(&laughs), MOSA_ELIMIT, "too deeply");
    mosa_buf_finish(&laughs);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_read_is_written_back),
        cmocka_unit_test(pretty_text_is_indented),
        cmocka_unit_test(integers_beyond_64_bits_become_reals),
        cmocka_unit_test(faults_name_line_and_column),
        cmocka_unit_test(nesting_and_size_are_bounded),
        cmocka_unit_test(written_strings_are_always_well_formed),
        cmocka_unit_test(the_json_test_suite_agrees),
        cmocka_unit_test(yaml_becomes_the_same_values),
        cmocka_unit_test(plain_scalars_follow_the_core_schema),
        cmocka_unit_test(yaml_faults_name_line_and_column),
        cmocka_unit_test(aliases_are_copied_and_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
