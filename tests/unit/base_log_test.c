// Log lines and metrics text, as their readers see them.
#include "base/log.h"
#include "base/metrics.h"
#include "base/thread.h"

#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

// --- log ----------------------------------------------------------------------------------------------------------

static int log_fd;

static void log_to_memory(mosa_log_level level, mosa_log_format format) {
    log_fd = memfd_create("log", 0);
    assert_true(log_fd >= 0);
    mosa_log_setup(&(mosa_log_options){.level = level, .format = format, .fd = log_fd});
}

// What has been logged, without the time of the first line.
static const char *logged(size_t skip) {
    static char text[64 * 1024];
    ssize_t len = pread(log_fd, text, sizeof text - 1, 0);
    assert_true(len >= 0);
    text[len] = '\0';
    close(log_fd);
    return (size_t)len < skip ? text : text + skip;
}

static void a_text_line_shows_level_event_and_fields(void **state) {
    (void)state;
    log_to_memory(MOSA_LOG_INFO, MOSA_LOG_TEXT);
    char path[] = "a b";
    mosa_log_info("model loaded", MOSA_KV("model", "tiny"), MOSA_KV("path", path), MOSA_KV("layers", 3),
                  MOSA_KV("bytes", (size_t)7), MOSA_KV("seconds", 0.5), MOSA_KV("warm", (bool)true));
    mosa_log_debug("not shown");
    assert_string_equal(logged(25),
                        "INFO   model loaded  model=tiny path=\"a b\" layers=3 bytes=7 seconds=0.5 warm=true\n");
}

static void a_json_line_is_one_object(void **state) {
    (void)state;
    log_to_memory(MOSA_LOG_DEBUG, MOSA_LOG_JSON);
    const char *before = mosa_log_set_request("req-1");
    assert_null(before);
    mosa_log_debug("tick", MOSA_KV("text", "q\" \\ \n \x01 \xff \xc3\xa9"), MOSA_KV("rate", NAN));
    mosa_log_set_request(before);
    assert_string_equal(logged(33), "\"level\":\"debug\",\"event\":\"tick\",\"request_id\":\"req-1\","
                                    "\"text\":\"q\\\" \\\\ \\n \\u0001 \\ufffd \xc3\xa9\",\"rate\":null}\n");
}

static void an_error_brings_status_message_and_hint(void **state) {
    (void)state;
    log_to_memory(MOSA_LOG_WARN, MOSA_LOG_TEXT);
    mosa_error err;
    mosa_fail(&err, MOSA_EBUSY, "queue is full");
    mosa_log_failure(MOSA_LOG_ERROR, "cannot admit", &err, MOSA_KV("queue", 12));
    assert_string_equal(logged(25), "ERROR  cannot admit  status=busy error=\"queue is full\" queue=12\n");
}

static void a_value_cannot_forge_a_line(void **state) {
    (void)state;
    log_to_memory(MOSA_LOG_INFO, MOSA_LOG_TEXT);
    mosa_log_info("request", MOSA_KV("name", "x\n2026 ERROR forged \x1b[31m"));
    const char *text = logged(0);
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
    assert_null(strchr(text, '\x1b'));
}

static void a_long_line_is_cut_at_a_field(void **state) {
    (void)state;
    char big[5000];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    log_to_memory(MOSA_LOG_INFO, MOSA_LOG_JSON);
    mosa_log_info("big", MOSA_KV("before", 1), MOSA_KV("big", (const char *)big), MOSA_KV("after", 2));
    assert_string_equal(logged(33), "\"level\":\"info\",\"event\":\"big\",\"before\":1}\n");
}

static void one_place_cannot_flood_the_log(void **state) {
    (void)state;
    log_to_memory(MOSA_LOG_INFO, MOSA_LOG_TEXT);
    int n_lines = 0;
    for (int i = 0; i < 1000; i++) mosa_log_info("again");
    for (const char *p = logged(0); (p = strchr(p, '\n')); p++) n_lines++;
    assert_in_range(n_lines, MOSA_LOG_BURST, 2 * MOSA_LOG_BURST); // two when a second ends in between
}

static void level_names_are_understood(void **state) {
    (void)state;
    mosa_log_level level;
    assert_true(mosa_log_level_parse("debug", &level));
    assert_int_equal(level, MOSA_LOG_DEBUG);
    assert_false(mosa_log_level_parse("loud", &level));
}

// --- metrics ------------------------------------------------------------------------------------------------------

enum { REQUESTS, RUNNING, LATENCY, METRICS };
static const double bounds[] = {0.1, 1};
static const mosa_metric table[METRICS] = {
    [REQUESTS] = {"mosa_requests_total", MOSA_COUNTER, "Finished requests.", .labels = {"route", "code"}},
    [RUNNING] = {"mosa_running", MOSA_GAUGE, "Sequences that run."},
    [LATENCY] = {"mosa_latency_seconds", MOSA_HISTOGRAM, "Time to\nthe end.", .buckets = bounds, .n_buckets = 2},
};

static void metrics_read_as_prometheus_text(void **state) {
    (void)state;
    mosa_metrics *metrics;
    assert_int_equal(mosa_metrics_create(table, METRICS, 0, &metrics, NULL), MOSA_OK);
    mosa_metrics_add(metrics, REQUESTS, 1, MOSA_LABELS("/v1/\"x\"\n", "200"));
    mosa_metrics_add(metrics, REQUESTS, 2, MOSA_LABELS("/v1/\"x\"\n", "200"));
    mosa_metrics_set(metrics, RUNNING, 2.5, NULL);
    mosa_metrics_observe(metrics, LATENCY, 0.1, NULL);
    mosa_metrics_observe(metrics, LATENCY, 0.5, NULL);
    mosa_metrics_observe(metrics, LATENCY, 7, NULL);
    mosa_buf text = {0};
    mosa_metrics_write(metrics, &text);
    assert_string_equal(mosa_buf_str(&text), "# HELP mosa_requests_total Finished requests.\n"
                                             "# TYPE mosa_requests_total counter\n"
                                             "mosa_requests_total{route=\"/v1/\\\"x\\\"\\n\",code=\"200\"} 3\n"
                                             "# HELP mosa_running Sequences that run.\n"
                                             "# TYPE mosa_running gauge\n"
                                             "mosa_running 2.5\n"
                                             "# HELP mosa_latency_seconds Time to\\nthe end.\n"
                                             "# TYPE mosa_latency_seconds histogram\n"
                                             "mosa_latency_seconds_bucket{le=\"0.1\"} 1\n"
                                             "mosa_latency_seconds_bucket{le=\"1\"} 2\n"
                                             "mosa_latency_seconds_bucket{le=\"+Inf\"} 3\n"
                                             "mosa_latency_seconds_sum 7.6\n"
                                             "mosa_latency_seconds_count 3\n");
    assert_true(mosa_metrics_value(metrics, LATENCY, NULL) == 3);
    assert_true(mosa_metrics_value(metrics, REQUESTS, MOSA_LABELS("never", "seen")) == 0);
    mosa_buf_finish(&text);
    mosa_metrics_destroy(metrics);
}

static void clients_cannot_grow_the_number_of_series(void **state) {
    (void)state;
    mosa_metrics *metrics;
    assert_int_equal(mosa_metrics_create(table, METRICS, 10, &metrics, NULL), MOSA_OK);
    for (int i = 0; i < 1000; i++) {
        char route[300];
        snprintf(route, sizeof route, "/%0250d", i); // differs only beyond the cut
        mosa_metrics_add(metrics, REQUESTS, 1, MOSA_LABELS(route, "404"));
        snprintf(route, sizeof route, "/%d", i);
        mosa_metrics_add(metrics, REQUESTS, 1, MOSA_LABELS(route, "200"));
    }
    mosa_buf text = {0};
    mosa_metrics_write(metrics, &text);
    int n_series = 0;
    for (const char *p = mosa_buf_str(&text); (p = strstr(p, "mosa_requests_total{")); p++) n_series++;
    assert_int_equal(n_series, 11);
    assert_true(mosa_metrics_value(metrics, REQUESTS, MOSA_LABELS("/3", "200")) == 1);
    assert_non_null(strstr(mosa_buf_str(&text), "{route=\"other\",code=\"other\"} 991\n"));
    mosa_buf_finish(&text);
    mosa_metrics_destroy(metrics);
}

static void count_many(void *arg) {
    mosa_metrics *metrics = arg;
    for (int i = 0; i < 5000; i++) {
        const char *code = i % 2 ? "200" : "500";
        mosa_metrics_add(metrics, REQUESTS, 1, MOSA_LABELS("/", code));
        mosa_metrics_observe(metrics, LATENCY, 0.5, NULL);
    }
}

static void counts_of_many_threads_add_up(void **state) {
    (void)state;
    mosa_metrics *metrics;
    mosa_thread threads[4] = {0};
    assert_int_equal(mosa_metrics_create(table, METRICS, 0, &metrics, NULL), MOSA_OK);
    for (int i = 0; i < 4; i++)
        assert_int_equal(mosa_thread_start(&threads[i], "count", count_many, metrics, NULL), MOSA_OK);
    for (int i = 0; i < 4; i++) mosa_thread_join(&threads[i]);
    assert_true(mosa_metrics_value(metrics, REQUESTS, MOSA_LABELS("/", "200")) == 10000);
    assert_true(mosa_metrics_value(metrics, LATENCY, NULL) == 20000);
    mosa_metrics_destroy(metrics);
}

static void a_table_that_breaks_the_rules_is_refused(void **state) {
    (void)state;
    static const double falling[] = {2, 1};
    static const mosa_metric bad[] = {
        {"Upper", MOSA_COUNTER, "x"},
        {"no_help", MOSA_COUNTER, NULL},
        {"no_buckets", MOSA_HISTOGRAM, "x"},
        {"falling", MOSA_HISTOGRAM, "x", .buckets = falling, .n_buckets = 2},
        {"label", MOSA_GAUGE, "x", .labels = {"not-good"}},
    };
    for (size_t i = 0; i < MOSA_COUNT(bad); i++) {
        mosa_metrics *metrics = NULL;
        mosa_error err;
        assert_int_equal(mosa_metrics_create(&bad[i], 1, 0, &metrics, &err), MOSA_EINVALID);
        assert_null(metrics);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text_line_shows_level_event_and_fields),
        cmocka_unit_test(a_json_line_is_one_object),
        cmocka_unit_test(an_error_brings_status_message_and_hint),
        cmocka_unit_test(a_value_cannot_forge_a_line),
        cmocka_unit_test(a_long_line_is_cut_at_a_field),
        cmocka_unit_test(one_place_cannot_flood_the_log),
        cmocka_unit_test(level_names_are_understood),
        cmocka_unit_test(metrics_read_as_prometheus_text),
        cmocka_unit_test(clients_cannot_grow_the_number_of_series),
        cmocka_unit_test(counts_of_many_threads_add_up),
        cmocka_unit_test(a_table_that_breaks_the_rules_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
