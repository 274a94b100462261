// The configuration table: sources and their order, what is refused, and what it prints.
#include "codec/config.h"
#include "codec/yaml.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

typedef struct values {
    bool cache;
    int64_t port, memory, timeout;
    double rate;
    const char *name, *kind, *secret;
    mosa_string_list models;
} values;

static const mosa_option options[] = {
    {"server.port", "--port", MOSA_OPTION_INT, "8000", .value = "PORT", .aliases = "-p --listen", .min = 0,
     .max = 65535, .help = "Port to listen on.", MOSA_OPTION_FIELD(values, port)},
    {"server.name", "--name", MOSA_OPTION_STRING, .help = "Its name.", MOSA_OPTION_FIELD(values, name)},
    {"server.secret", "--secret", MOSA_OPTION_STRING, .secret = true, .help = "Hidden.",
     MOSA_OPTION_FIELD(values, secret)},
    {"server.timeout", "--timeout", MOSA_OPTION_DURATION, "30s", .min = 0, .max = 3600e3, .help = "How long.",
     MOSA_OPTION_FIELD(values, timeout)},
    {"engine.cache", "--cache", MOSA_OPTION_BOOL, "true", .help = "Keep pages.", MOSA_OPTION_FIELD(values, cache)},
    {"engine.memory", "--memory", MOSA_OPTION_BYTES, "64M", .min = 1024, .max = 1ll << 40, .help = "How much.",
     MOSA_OPTION_FIELD(values, memory)},
    {"engine.rate", "--rate", MOSA_OPTION_FLOAT, "0.5", .min = 0, .max = 1, .help = "A share.",
     MOSA_OPTION_FIELD(values, rate)},
    {"engine.kind", "--kind", MOSA_OPTION_CHOICE, "f16", .choices = "f16|f32", .env = "KIND", .help = "A type.",
     MOSA_OPTION_FIELD(values, kind)},
    {"engine.model", "--model", MOSA_OPTION_LIST, "first", .help = "Models.", MOSA_OPTION_FIELD(values, models)},
};
static const mosa_option_section sections[] = {{"server", "Server", "About the server."}, {"engine", "Engine", NULL}};
static const mosa_option_table table = {options, MOSA_COUNT(options), sections, MOSA_COUNT(sections)};

static mosa_arena arena;
static values got;
static mosa_string_list arguments;
static mosa_error err;

static int start(void **state) {
    (void)state;
    mosa_arena_init(&arena, 0, 0);
    mosa_error_clear(&err);
    memset(&got, 0xee, sizeof got); // what a table does not fill would show
    return 0;
}

static int stop(void **state) {
    (void)state;
    mosa_arena_finish(&arena);
    return 0;
}

// One string of words separated by single spaces.
static mosa_status read_flags(const char *line, const char *const *env, const char *yaml_path) {
    const char *argv[64];
    int argc = 0;
    char *copy = mosa_arena_strdup(&arena, line), *rest = copy;
    for (char *word; (word = strsep(&rest, " "));)
        if (*word) argv[argc++] = word;
    mosa_option_sources sources = {.argc = argc, .argv = argv, .env = env, .yaml_path = yaml_path};
    return mosa_options_read(&table, &sources, &arena, &got, &arguments, &err);
}

static const char *write_yaml(const char *text) {
    static char path[64];
    snprintf(path, sizeof path, "/tmp/mosa-config-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    return path;
}

static void defaults_fill_every_field(void **state) {
    (void)state;
    assert_int_equal(read_flags("", NULL, NULL), MOSA_OK);
    assert_int_equal(got.port, 8000);
    assert_null(got.name);
    assert_int_equal(got.timeout, 30000);
    assert_true(got.cache);
    assert_int_equal(got.memory, 64 << 20);
    assert_true(got.rate == 0.5);
    assert_string_equal(got.kind, "f16");
    assert_int_equal(got.models.count, 1);
    assert_int_equal(arguments.count, 0);
}

static void flags_come_in_every_usual_form(void **state) {
    (void)state;
    assert_int_equal(read_flags("-p 1 --name=x=y --no-cache --timeout 250ms --memory 2G --rate 1 --kind f32 a - "
                                "--model b --model c -- --port d",
                                NULL, NULL),
                     MOSA_OK);
    assert_int_equal(got.port, 1);
    assert_string_equal(got.name, "x=y");
    assert_false(got.cache);
    assert_int_equal(got.timeout, 250);
    assert_int_equal(got.memory, 2ll << 30);
    assert_string_equal(got.kind, "f32");
    assert_int_equal(got.models.count, 2);
    assert_string_equal(got.models.items[1], "c");
    assert_int_equal(arguments.count, 4);
    assert_string_equal(arguments.items[1], "-");
    assert_string_equal(arguments.items[2], "--port");
    assert_int_equal(read_flags("--cache=false --listen 9", NULL, NULL), MOSA_OK);
    assert_false(got.cache);
    assert_int_equal(got.port, 9);
}

static void a_flag_beats_the_environment_which_beats_the_file(void **state) {
    (void)state;
    static const char *const env[] = {"MOSA_PORT=2",      "MOSA_RATE=0.25", "KIND=f32",
                                      "MOSA_MODEL=x,y,z", "MOSA_NAME=",     NULL};
    const char *path = write_yaml("server:\n  port: 1\n  name: from file\n  timeout: 5m\nengine:\n  rate: 0.125\n"
                                  "  model: [p, q]\n  cache: false\n  memory: null\n");
    assert_int_equal(read_flags("--port 3 --model only", env, path), MOSA_OK);
    unlink(path);
    assert_int_equal(got.port, 3);
    assert_true(got.rate == 0.25);
    assert_string_equal(got.kind, "f32");
    assert_string_equal(got.name, "from file");
    assert_int_equal(got.timeout, 300000);
    assert_false(got.cache);
    assert_int_equal(got.memory, 64 << 20);
    assert_int_equal(got.models.count, 1);
    assert_string_equal(got.models.items[0], "only");
    assert_int_equal(read_flags("", env, NULL), MOSA_OK);
    assert_int_equal(got.models.count, 3);
}

static void check_refused(const char *line, const char *message, const char *hint) {
    assert_int_equal(read_flags(line, NULL, NULL), MOSA_EINVALID);
    assert_string_equal(err.message, message);
    assert_string_equal(err.hint, hint);
}

static void wrong_flags_are_refused_with_a_remedy(void **state) {
    (void)state;
    check_refused("--prot 1", "unknown flag '--prot'", "did you mean --port?");
    check_refused("--frobnicate", "unknown flag '--frobnicate'", "");
    check_refused("--port", "--port: needs a value (PORT)", "");
    check_refused("--port 70000", "--port: must be 0 to 65535, not '70000'", "");
    check_refused("-p eight", "--port: must be an integer, not 'eight'", "");
    check_refused("--memory 1", "--memory: must be 1K to 1T, not '1'", "");
    check_refused("--memory lots", "--memory: must be a size such as 512K, 64M or 8G, not 'lots'", "");
    check_refused("--timeout 2h", "--timeout: must be 0 to 1h, not '2h'", "");
    check_refused("--timeout soon", "--timeout: must be a time such as 250ms, 30s, 5m or 2h, not 'soon'", "");
    check_refused("--kind f64", "--kind: must be f16 or f32, not 'f64'", "");
    check_refused("--cache=maybe", "--cache: must be true or false, not 'maybe'", "");
    check_refused("--rate nan", "--rate: must be a number, not 'nan'", "");
    check_refused("--no-port", "unknown flag '--no-port'", "did you mean --port?");
}

static void check_yaml_refused(const char *yaml, const char *message, const char *hint) {
    const char *path = write_yaml(yaml);
    assert_int_equal(read_flags("", NULL, path), MOSA_EINVALID);
    unlink(path);
    if (!strstr(err.message, message) || !strstr(err.message, path))
        fail_msg("'%s' lacks the file or '%s'", err.message, message);
    assert_string_equal(err.hint, hint);
}

static void wrong_files_are_refused_with_file_and_key(void **state) {
    (void)state;
    check_yaml_refused("server:\n  prot: 1\n", "unknown key 'server.prot'", "did you mean server.port?");
    check_yaml_refused("sever:\n  port: 1\n", "unknown key 'sever'", "");
    check_yaml_refused("server: 5\n", "server: is a section", "");
    check_yaml_refused("server:\n  port: [1]\n", "server.port: must be one value, not array", "");
    check_yaml_refused("server:\n  port: many\n", "server.port: must be an integer, not 'many'", "");
    check_yaml_refused("[1]\n", "must be a mapping of keys, not array", "");
    check_yaml_refused("server:\n port: 1\n  name: x\n", "line 3", "");
    assert_int_equal(read_flags("", NULL, "/nonexistent/mosa.yaml"), MOSA_ENOTFOUND);
}

static void help_shows_flags_defaults_and_sections(void **state) {
    (void)state;
    mosa_buf text = {0};
    mosa_options_help(&table, &text);
    assert_non_null(
        strstr(mosa_buf_str(&text), "Server:\n  -p, --port PORT             Port to listen on. (default 8000)\n"));
    assert_non_null(strstr(mosa_buf_str(&text), "\nEngine:\n      --cache                 Keep pages.\n"));
    for (const char *line = mosa_buf_str(&text), *end; (end = strchr(line, '\n')); line = end + 1)
        assert_true(end - line <= 100);
    mosa_buf_finish(&text);
}

// A commented-out mosa.yaml is valid as it is, and still is with every comment sign of a key removed.
static void the_printed_yaml_can_be_read_back(void **state) {
    (void)state;
    mosa_buf text = {0}, live = {0};
    mosa_options_yaml(&table, &text);
    const char *path = write_yaml(mosa_buf_str(&text));
    assert_int_equal(read_flags("", NULL, path), MOSA_OK);
    unlink(path);
    for (const char *line = mosa_buf_str(&text), *end; (end = strchr(line, '\n')); line = end + 1) {
        const char *colon = strchr(line, ':');
        bool is_key = strncmp(line, "  # ", 4) == 0 && colon && colon < end &&
                      strcspn(line + 4, " ") >= (size_t)(colon - line - 3);
        if (is_key) mosa_buf_append_str(&live, "  ");
        mosa_buf_append(&live, line + 4 * is_key, (size_t)(end - line) + 1 - 4 * (size_t)is_key);
    }
    path = write_yaml(mosa_buf_str(&live));
    if (read_flags("", NULL, path) != MOSA_OK) fail_msg("%s", err.message);
    unlink(path);
    assert_int_equal(got.port, 8000);
    assert_int_equal(got.memory, 64 << 20);
    mosa_buf_finish(&text);
    mosa_buf_finish(&live);
}

static void shown_values_are_yaml_without_secrets(void **state) {
    (void)state;
    assert_int_equal(read_flags("--secret hush --name a:b --timeout 90s", NULL, NULL), MOSA_OK);
    mosa_buf text = {0};
    mosa_options_show(&table, &got, &text);
    assert_string_equal(mosa_buf_str(&text),
                        "server:\n  port: 8000\n  name: \"a:b\"\n  secret: \"********\"\n  timeout: 90s\n"
                        "engine:\n  cache: true\n  memory: 64M\n  rate: 0.5\n  kind: \"f16\"\n  model: [first]\n");
    json_t *tree = NULL;
    assert_int_equal(mosa_yaml_parse(mosa_buf_slice(&text), &tree, &err), MOSA_OK);
    json_decref(tree);
    mosa_buf_finish(&text);
}

static void the_docs_page_is_a_table_per_section(void **state) {
    (void)state;
    mosa_buf text = {0};
    mosa_options_docs(&table, &text);
    assert_non_null(strstr(mosa_buf_str(&text),
                           "| `server.port` | `--port PORT`, `-p`, `--listen` | `MOSA_PORT` | `8000` | "
                           "Port to listen on. (0 to 65535) |\n"));
    assert_non_null(strstr(mosa_buf_str(&text), "| `engine.kind` | `--kind f16\\|f32` | `KIND` |"));
    mosa_buf_finish(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(defaults_fill_every_field, start, stop),
        cmocka_unit_test_setup_teardown(flags_come_in_every_usual_form, start, stop),
        cmocka_unit_test_setup_teardown(a_flag_beats_the_environment_which_beats_the_file, start, stop),
        cmocka_unit_test_setup_teardown(wrong_flags_are_refused_with_a_remedy, start, stop),
        cmocka_unit_test_setup_teardown(wrong_files_are_refused_with_file_and_key, start, stop),
        cmocka_unit_test_setup_teardown(help_shows_flags_defaults_and_sections, start, stop),
        cmocka_unit_test_setup_teardown(the_printed_yaml_can_be_read_back, start, stop),
        cmocka_unit_test_setup_teardown(shown_values_are_yaml_without_secrets, start, stop),
        cmocka_unit_test_setup_teardown(the_docs_page_is_a_table_per_section, start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
