// Out of memory in base and codec.
#include "base/file.h"
#include "base/metrics.h"
#include "base/pool.h"
#include "base/queue.h"
#include "codec/config.h"
#include "codec/json.h"
#include "codec/schema.h"
#include "codec/yaml.h"
#include "fault.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char document[] =
    "{\"a\":[1,-2.5e3,\"x\\u00e9\",true,null,{\"\":[]}],\"big\":99999999999999999999,\"s\":\"t\"}";

static mosa_status json_operation(void *user, mosa_error *err) {
    MOSA_AUTO_JSON json_t *tree = NULL;
    MOSA_TRY(mosa_json_parse(mosa_slice_of(user), NULL, &tree, err));
    mosa_buf text = {0};
    mosa_json_append_pretty(&text, tree);
    mosa_status status = mosa_buf_failed(&text) ? mosa_fail(err, MOSA_ENOMEM, "text") : MOSA_OK;
    mosa_buf_finish(&text);
    return status;
}

static void json(void **state) {
    (void)state;
    fault_run_json("json", json_operation, (void *)document);
}

static mosa_status yaml_operation(void *user, mosa_error *err) {
    MOSA_AUTO_JSON json_t *tree = NULL;
    return mosa_yaml_parse(mosa_slice_of(user), &tree, err);
}

static void yaml(void **state) {
    (void)state;
    fault_run("yaml", yaml_operation, "a: &x {b: [1, 2.5, text, ~, true]}\nc: *x\nd: |\n  block\n");
}

static mosa_status schema_operation(void *user, mosa_error *err) {
    MOSA_AUTO_JSON json_t *value = NULL;
    mosa_schema *schema = NULL;
    MOSA_TRY(mosa_json_parse(MOSA_SLICE("{\"a\":[1,\"xx\"]}"), NULL, &value, err));
    MOSA_TRY(mosa_schema_compile_text(user, &schema, err));
    mosa_status status = mosa_schema_check(schema, value, NULL, err);
    mosa_schema_destroy(schema);
    return status;
}

static void schema(void **state) {
    (void)state;
    fault_run_json("schema", schema_operation,
                   "{\"type\":\"object\",\"properties\":{\"a\":{\"items\":{\"anyOf\":[{\"type\":\"integer\"},"
                   "{\"pattern\":\"^x+$\"},{\"$ref\":\"#\"}]}}},\"additionalProperties\":false}");
}

typedef struct config_values {
    int64_t port;
    const char *name;
    mosa_string_list models;
} config_values;

static mosa_status config_operation(void *user, mosa_error *err) {
    (void)user;
    static const mosa_option options[] = {
        {"server.port", "--port", MOSA_OPTION_INT, "8000", .help = "x", MOSA_OPTION_FIELD(config_values, port)},
        {"server.name", "--name", MOSA_OPTION_STRING, "mosa", .help = "x", MOSA_OPTION_FIELD(config_values, name)},
        {"server.model", "--model", MOSA_OPTION_LIST, "a,b,c", .help = "x", MOSA_OPTION_FIELD(config_values, models)},
    };
    static const mosa_option_section sections[] = {{"server", "Server", "x"}};
    static const mosa_option_table table = {options, 3, sections, 1};
    static const char *const argv[] = {"--port", "1", "--model", "x", "--model=y", "argument"};
    static const char *const env[] = {"MOSA_NAME=other", NULL};
    config_values values;
    mosa_string_list arguments;
    mosa_arena arena;
    mosa_arena_init(&arena, 64, 0); // small chunks: more allocations to fail
    mosa_option_sources sources = {.argc = 6, .argv = argv, .env = env};
    mosa_status status = mosa_options_read(&table, &sources, &arena, &values, &arguments, err);
    mosa_arena_finish(&arena);
    return status;
}

static void config(void **state) {
    (void)state;
    fault_run("config", config_operation, NULL);
}

static mosa_status metrics_operation(void *user, mosa_error *err) {
    (void)user;
    static const mosa_metric table[] = {{"x_total", MOSA_COUNTER, "X.", .labels = {"a"}}, {"y", MOSA_GAUGE, "Y."}};
    mosa_metrics *metrics;
    MOSA_TRY(mosa_metrics_create(table, 2, 4, &metrics, err));
    mosa_metrics_add(metrics, 0, 1, MOSA_LABELS("v"));
    mosa_buf text = {0};
    mosa_metrics_write(metrics, &text);
    mosa_buf_finish(&text);
    mosa_metrics_destroy(metrics);
    return MOSA_OK;
}

static void metrics(void **state) {
    (void)state;
    fault_run("metrics", metrics_operation, NULL);
}

static mosa_status threads_operation(void *user, mosa_error *err) {
    (void)user;
    mosa_pool *pool;
    mosa_queue *queue;
    MOSA_TRY(mosa_queue_create(4, &queue, err));
    mosa_status status = mosa_pool_create(3, &pool, err);
    if (status == MOSA_OK) mosa_pool_destroy(pool);
    mosa_queue_destroy(queue);
    return status;
}

static void threads(void **state) {
    (void)state;
    fault_run("threads", threads_operation, NULL);
}

static mosa_status file_operation(void *user, mosa_error *err) {
    mosa_file_map map;
    char *bytes;
    size_t len;
    MOSA_TRY(mosa_file_map_open(user, &map, err));
    mosa_file_map_close(&map);
    MOSA_TRY(mosa_file_read(user, 1 << 20, &bytes, &len, err));
    free(bytes);
    char *path = mosa_path_join("a", "b");
    if (!path) return mosa_fail(err, MOSA_ENOMEM, "path");
    free(path);
    return mosa_file_mkdirs("/tmp", err);
}

static void file(void **state) {
    (void)state;
    fault_run("file", file_operation, MOSA_SOURCE_ROOT "/meson.build");
}

int main(void) {
    fault_setup();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json),    cmocka_unit_test(yaml),    cmocka_unit_test(schema), cmocka_unit_test(config),
        cmocka_unit_test(metrics), cmocka_unit_test(threads), cmocka_unit_test(file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
