// Memory limits as the machine and control groups of both versions tell them, from files laid out as the kernel does.
#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char root[] = "/tmp/mosa-memory-XXXXXX";

static void put(const char *path, const char *text) {
    char whole[512];
    snprintf(whole, sizeof whole, "%s%s", root, path);
    for (char *at = whole + strlen(root) + 1; (at = strchr(at, '/')) != NULL; *at++ = '/') {
        *at = '\0';
        mkdir(whole, 0700);
    }
    FILE *file = fopen(whole, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void expect(int64_t total, int64_t available) {
    mosa_memory memory;
    mosa_memory_measure(root, &memory);
    assert_int_equal(memory.total, total);
    assert_int_equal(memory.available, available);
}

static int start(void **state) {
    (void)state;
    snprintf(root, sizeof root, "/tmp/mosa-memory-XXXXXX");
    if (!mkdtemp(root)) return -1;
    put("/proc/meminfo", "MemTotal:       1000 kB\nMemFree:   1 kB\nMemAvailable:    600 kB\n");
    return 0;
}

static int clean(void **state) {
    (void)state;
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", root);
    return system(command); // NOLINT: a path of our own making
}

static void without_groups_the_machine_counts(void **state) {
    (void)state;
    expect(1000 * 1024, 600 * 1024);
    put("/proc/self/cgroup", "0::/\n");
    put("/sys/fs/cgroup/memory.max", "max\n");
    expect(1000 * 1024, 600 * 1024);
}

static void the_smallest_limit_on_the_way_up_counts(void **state) {
    (void)state;
    put("/proc/self/cgroup", "0::/jobs/one\n");
    put("/sys/fs/cgroup/jobs/one/memory.max", "500000\n");
    put("/sys/fs/cgroup/jobs/one/memory.current", "200000\n");
    put("/sys/fs/cgroup/jobs/one/memory.stat", "anon 5\ninactive_file 50000\n");
    expect(500000, 350000);
    put("/sys/fs/cgroup/jobs/memory.max", "400000\n");
    put("/sys/fs/cgroup/jobs/memory.current", "390000\n");
    expect(400000, 10000);
    put("/sys/fs/cgroup/jobs/memory.current", "410000\n");
    expect(400000, 0);
}

static void version_1_is_read_too(void **state) {
    (void)state;
    put("/proc/self/cgroup", "12:cpu:/a\n7:memory:/a\n0::/elsewhere\n");
    put("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "300000\n");
    put("/sys/fs/cgroup/memory/a/memory.usage_in_bytes", "100000\n");
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    expect(300000, 200000);
}

static void a_machine_that_tells_nothing_limits_nothing(void **state) {
    (void)state;
    mosa_memory memory;
    mosa_memory_measure("/nowhere", &memory);
    assert_true(memory.total == INT64_MAX && memory.available == INT64_MAX);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(without_groups_the_machine_counts, start, clean),
        cmocka_unit_test_setup_teardown(the_smallest_limit_on_the_way_up_counts, start, clean),
        cmocka_unit_test_setup_teardown(version_1_is_read_too, start, clean),
        cmocka_unit_test(a_machine_that_tells_nothing_limits_nothing),
    };
    return cmocka_run_group_tests_name("base: memory", tests, NULL, NULL);
}
