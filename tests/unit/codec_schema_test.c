// The schema checker: the official suite where it applies, and the messages that clients will read.
#include "codec/json.h"
#include "codec/schema.h"
#include "shared_data.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const char chat_schema[] =
    "{\"type\":\"object\",\"required\":[\"model\",\"messages\"],\"additionalProperties\":false,\"properties\":{"
    "\"model\":{\"type\":\"string\",\"minLength\":1},"
    "\"temperature\":{\"type\":[\"number\",\"null\"],\"minimum\":0,\"maximum\":2},"
    "\"stop\":{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"array\",\"items\":{\"type\":\"string\"},\"maxItems\":4},{"
    "\"type\":\"null\"}]},"
    "\"messages\":{\"type\":\"array\",\"minItems\":1,\"items\":{\"oneOf\":["
    "{\"type\":\"object\",\"properties\":{\"role\":{\"const\":\"user\"},\"content\":{\"$ref\":\"#/$defs/"
    "content\"}},\"required\":[\"role\",\"content\"]},"
    "{\"type\":\"object\",\"properties\":{\"role\":{\"const\":\"tool\"},\"tool_call_id\":{\"type\":\"string\"}},"
    "\"required\":[\"role\",\"tool_call_id\"]}]}}},"
    "\"$defs\":{\"content\":{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"array\",\"items\":{\"type\":\"object\","
    "\"required\":[\"type\"]}}]}}}";

static mosa_schema *compile(const char *text) {
    mosa_schema *schema = NULL;
    mosa_error err = {0};
    if (mosa_schema_compile_text(text, &schema, &err) != MOSA_OK) fail_msg("%s", err.message);
    return schema;
}

static mosa_status check(const mosa_schema *schema, const char *text, char *path, mosa_error *err) {
    json_t *value = NULL;
    if (mosa_json_parse(mosa_slice_of(text), NULL, &value, err) != MOSA_OK) fail_msg("%s: %s", text, err->message);
    mosa_status status = mosa_schema_check(schema, value, path, err);
    json_decref(value);
    return status;
}

static void faults_name_the_place_and_the_remedy(void **state) {
    (void)state;
    static const struct {
        const char *body, *path, *message;
    } cases[] = {
        {"[]", "", "must be an object, not array"},
        {"{\"model\":\"m\"}", "messages", "messages: is required"},
        {"{\"model\":5,\"messages\":[]}", "model", "model: must be a string, not integer"},
        {"{\"model\":\"m\",\"messages\":[]}", "messages", "messages: must have at least 1 items"},
        {"{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"temperature\":3}", "temperature",
         "temperature: must be at most 2"},
        {"{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"temprature\":1}", "temprature",
         "temprature: is not a known field"},
        {"{\"model\":\"m\",\"messages\":[{\"role\":\"user\"}]}", "messages[0].content",
         "messages[0].content: is required"},
        {"{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":5}]}", "messages[0].content",
         "messages[0].content: must be a string or an array, not integer"},
        {"{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[{}]}]}", "messages[0].content[0].type",
         "messages[0].content[0].type: is required"},
        {"{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"stop\":[\"a\",1]}", "stop[1]",
         "stop[1]: must be a string, not integer"},
    };
    mosa_schema *schema = compile(chat_schema);
    for (size_t i = 0; i < MOSA_COUNT(cases); i++) {
        mosa_error err = {0};
        char path[MOSA_SCHEMA_PATH_MAX];
        assert_int_equal(check(schema, cases[i].body, path, &err), MOSA_EINVALID);
        assert_string_equal(err.message, cases[i].message);
        assert_string_equal(path, cases[i].path);
        if (strstr(cases[i].message, "known field")) assert_string_equal(err.hint, "did you mean 'temperature'?");
    }
    mosa_error err;
    assert_int_equal(check(schema,
                           "{\"model\":\"m\",\"messages\":[{\"role\":\"tool\",\"tool_call_id\":\"1\"}],\"stop\":null}",
                           NULL, &err),
                     MOSA_OK);
    mosa_schema_destroy(schema);
}

static void what_is_not_supported_is_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *schema, *message;
        mosa_status status;
    } cases[] = {
        {"{\"properties\":{\"a\":{\"unevaluatedProperties\":false}}}", "#/properties/a/unevaluatedProperties",
         MOSA_EUNSUPPORTED},
        {"{\"requred\":[\"a\"]}", "#/requred", MOSA_EUNSUPPORTED},
        {"{\"$ref\":\"http://example.com/schema\"}", "#/$ref", MOSA_EUNSUPPORTED},
        {"{\"$ref\":\"#/$defs/none\"}", "points to nothing", MOSA_EINVALID},
        {"{\"type\":\"strnig\"}", "#/type", MOSA_EINVALID},
        {"{\"pattern\":\"(\"}", "#/pattern: bad pattern at offset 1", MOSA_EINVALID},
        {"{\"minLength\":-1}", "#/minLength", MOSA_EINVALID},
        {"{\"items\":[{}]}", "#/items", MOSA_EINVALID},
        {"{\"anyOf\":[{\"type\":5}]}", "#/anyOf/0/type", MOSA_EINVALID},
        {"[]", "schema #: must be an object", MOSA_EINVALID},
    };
    for (size_t i = 0; i < MOSA_COUNT(cases); i++) {
        mosa_schema *schema = NULL;
        mosa_error err = {0};
        assert_int_equal(mosa_schema_compile_text(cases[i].schema, &schema, &err), cases[i].status);
        if (!strstr(err.message, cases[i].message)) fail_msg("'%s' lacks '%s'", err.message, cases[i].message);
        assert_null(schema);
    }
}

static void hostile_schemas_end_in_bounded_time(void **state) {
    (void)state;
    mosa_error err;
    // A reference that only leads to itself.
    mosa_schema *schema = compile("{\"$ref\":\"#\"}");
    assert_int_equal(check(schema, "1", NULL, &err), MOSA_ELIMIT);
    mosa_schema_destroy(schema);
    // Two branches at each of 40 levels of references, none of which holds.
    schema =
        compile("{\"$defs\":{\"a\":{\"anyOf\":[{\"items\":{\"$ref\":\"#/$defs/a\"},\"minItems\":1,\"type\":\"array\"},"
                "{\"items\":{\"$ref\":\"#/$defs/a\"},\"maxItems\":9,\"type\":\"array\"}]}},\"$ref\":\"#/$defs/a\"}");
    char deep[128] = "";
    memset(deep, '[', 60);
    deep[60] = '1';
    memset(deep + 61, ']', 60);
    assert_int_equal(check(schema, deep, NULL, &err), MOSA_ELIMIT);
    mosa_schema_destroy(schema);
    // A pattern with exponential backtracking.
    schema = compile("{\"pattern\":\"^(a+)+$\"}");
    char text[4096];
    memset(text, 'a', sizeof text);
    text[0] = '"', text[sizeof text - 3] = '!', text[sizeof text - 2] = '"', text[sizeof text - 1] = '\0';
    assert_int_equal(check(schema, text, NULL, &err), MOSA_ELIMIT);
    mosa_schema_destroy(schema);
}

// --- the official suite -------------------------------------------------------------------------------------------

typedef struct tally {
    int n_tests, n_refused, n_wrong;
} tally;

static void run_group(const char *file, const json_t *group, tally *t) {
    mosa_schema *schema = NULL;
    mosa_error err;
    json_t *tests = json_object_get(group, "tests");
    mosa_status status = mosa_schema_compile(json_object_get(group, "schema"), &schema, &err);
    if (status == MOSA_EUNSUPPORTED) {
        t->n_refused += (int)json_array_size(tests);
        return;
    }
    const char *about = json_string_value(json_object_get(group, "description"));
    if (status != MOSA_OK) {
        printf("%s: %s: %s\n", file, about, err.message);
        t->n_wrong++;
        return;
    }
    for (size_t i = 0; i < json_array_size(tests); i++) {
        const json_t *test = json_array_get(tests, i);
        bool valid = mosa_schema_check(schema, json_object_get(test, "data"), NULL, &err) == MOSA_OK;
        t->n_tests++;
        if (valid == json_is_true(json_object_get(test, "valid"))) continue;
        printf("%s: %s: %s\n", file, about, json_string_value(json_object_get(test, "description")));
        t->n_wrong++;
    }
    mosa_schema_destroy(schema);
}

// Every group is either answered as the suite says, or refused as unsupported; never answered wrongly.
static void the_official_suite_is_answered_or_refused(void **state) {
    (void)state;
    char folder[512];
    if (!shared_data_path("data/conf/json-schema-suite/tests/draft2020-12", folder, sizeof folder)) skip();
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    tally t = {0};
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (!strstr(entry->d_name, ".json")) continue;
        char path[1024];
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        json_t *groups = NULL;
        assert_int_equal(mosa_json_load(path, NULL, &groups, NULL), MOSA_OK);
        for (size_t i = 0; i < json_array_size(groups); i++) run_group(entry->d_name, json_array_get(groups, i), &t);
        json_decref(groups);
    }
    closedir(dir);
    printf("%d answered, %d refused as unsupported, %d wrong\n", t.n_tests, t.n_refused, t.n_wrong);
    assert_int_equal(t.n_wrong, 0);
    assert_true(t.n_tests > 800);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(faults_name_the_place_and_the_remedy),
        cmocka_unit_test(what_is_not_supported_is_refused_by_name),
        cmocka_unit_test(hostile_schemas_end_in_bounded_time),
        cmocka_unit_test(the_official_suite_is_answered_or_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
