// Files and maps, and the guard around maps.
#include "base/file.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64];

static const char *in_folder(const char *name) {
    static char path[2][128];
    static int turn;
    turn ^= 1;
    snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

static void write_file(const char *path, const void *data, size_t len) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
}

static int make_folder(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/mosa-test-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

static void a_file_is_read_whole_or_refused(void **state) {
    (void)state;
    mosa_error err;
    char *bytes;
    size_t len;
    const char *path = in_folder("read");
    write_file(path, "hello", 5);
    assert_int_equal(mosa_file_read(path, 5, &bytes, &len, &err), MOSA_OK);
    assert_int_equal(len, 5);
    assert_string_equal(bytes, "hello");
    free(bytes);
    assert_int_equal(mosa_file_read(path, 4, &bytes, &len, &err), MOSA_ELIMIT);
    assert_non_null(strstr(err.message, path));
    assert_int_equal(mosa_file_read(in_folder("absent"), 4, &bytes, &len, &err), MOSA_ENOTFOUND);
    assert_int_equal(mosa_file_read(folder, 4, &bytes, &len, &err), MOSA_EIO);
}

static void a_file_without_a_size_is_read_to_its_end(void **state) {
    (void)state;
    char *bytes;
    size_t len;
    assert_int_equal(mosa_file_read("/proc/self/maps", 1 << 24, &bytes, &len, NULL), MOSA_OK);
    assert_true(len > 100 && strlen(bytes) == len);
    free(bytes);
    assert_int_equal(mosa_file_read("/proc/self/maps", 64, &bytes, &len, NULL), MOSA_ELIMIT);
    assert_int_equal(mosa_file_read("/dev/zero", 100000, &bytes, &len, NULL), MOSA_ELIMIT);
    assert_int_equal(mosa_file_read("/dev/null", 0, &bytes, &len, NULL), MOSA_OK);
    assert_int_equal(len, 0);
    free(bytes);
}

static void folders_are_made_with_their_parents(void **state) {
    (void)state;
    mosa_error err;
    assert_int_equal(mosa_file_mkdirs(in_folder("a/b/c"), &err), MOSA_OK);
    assert_true(mosa_file_is_dir(in_folder("a/b/c")));
    assert_int_equal(mosa_file_mkdirs(in_folder("a/b/c"), &err), MOSA_OK);
    write_file(in_folder("a/file"), "", 0);
    assert_int_equal(mosa_file_mkdirs(in_folder("a/file/d"), &err), MOSA_EIO);
    assert_non_null(strstr(err.message, "a/file"));
    assert_int_equal(mosa_file_mkdirs("", &err), MOSA_EINVALID);
}

static void check_join(const char *a, const char *b, const char *joined) {
    char *path = mosa_path_join(a, b);
    assert_string_equal(path, joined);
    free(path);
}

static void check_stem(const char *path, const char *stem) {
    char *found = mosa_path_stem(path, ".gguf");
    assert_string_equal(found, stem);
    free(found);
}

static void paths_are_joined_with_one_slash(void **state) {
    (void)state;
    check_join("a", "b", "a/b");
    check_join("a//", "b", "a/b");
    check_join("/", "b", "/b");
    check_join("a", "/b", "/b");
    check_join("", "b", "b");
    assert_string_equal(mosa_path_base("/x/y.gguf"), "y.gguf");
    assert_string_equal(mosa_path_base("y"), "y");
    check_stem("/x/y.gguf", "y");
    check_stem("x/y/", "y");
    check_stem("y", "y");
    check_stem("x/.gguf", ".gguf");
    check_stem("/", "");
}

static void a_map_shows_the_file_and_notices_that_it_shrank(void **state) {
    (void)state;
    mosa_error err;
    mosa_file_map map = {0};
    const char *path = in_folder("map");
    write_file(path, "0123456789", 10);
    assert_int_equal(mosa_file_map_open(path, &map, &err), MOSA_OK);
    assert_int_equal(map.size, 10);
    assert_memory_equal(map.data, "0123456789", 10);
    assert_int_equal(mosa_file_map_verify(&map, &err), MOSA_OK);
    assert_int_equal(truncate(path, 3), 0);
    assert_int_equal(mosa_file_map_verify(&map, &err), MOSA_ECORRUPT);
    mosa_file_map_close(&map);
    mosa_file_map_close(&map);
    write_file(path, "", 0);
    assert_int_equal(mosa_file_map_open(path, &map, &err), MOSA_OK);
    assert_null(map.data);
    mosa_file_map_close(&map);
    assert_int_equal(mosa_file_map_open(folder, &map, &err), MOSA_EINVALID);
    assert_int_equal(mosa_file_map_open(in_folder("absent"), &map, &err), MOSA_ENOTFOUND);
}

// Runs `child` in a process of its own with stderr in a pipe; returns its wait status and what it wrote.
static int run_child(void (*child)(void), char *text, size_t size) {
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        child();
        _exit(0);
    }
    close(ends[1]);
    size_t used = 0;
    for (ssize_t got; used + 1 < size && (got = read(ends[0], text + used, size - 1 - used)) > 0;) used += (size_t)got;
    text[used] = '\0';
    close(ends[0]);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void read_a_truncated_map(void) {
    mosa_file_map map;
    const char *path = in_folder("model.gguf");
    static unsigned char page[3 * 4096];
    FILE *file = fopen(path, "wb");
    fwrite(page, 1, sizeof page, file);
    fclose(file);
    mosa_file_guard_install();
    if (mosa_file_map_open(path, &map, NULL) != MOSA_OK || truncate(path, 100) != 0) _exit(1);
    volatile unsigned char sink = map.data[2 * 4096];
    (void)sink;
}

static void a_file_truncated_under_its_map_ends_the_process_with_a_message(void **state) {
    (void)state;
    char text[512];
    int status = run_child(read_a_truncated_map, text, sizeof text);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), MOSA_FILE_GUARD_EXIT);
    assert_non_null(strstr(text, "model.gguf: the file was cut short"));
}

static void raise_a_foreign_bus_error(void) {
    mosa_file_guard_install();
    raise(SIGBUS);
    raise(SIGBUS); // the first one has put the default effect back
}

static void a_bus_error_elsewhere_has_its_default_effect(void **state) {
    (void)state;
    char text[4096];
    int status = run_child(raise_a_foreign_bus_error, text, sizeof text);
    assert_true(!WIFEXITED(status) || WEXITSTATUS(status) != MOSA_FILE_GUARD_EXIT);
    assert_null(strstr(text, "cut short"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_read_whole_or_refused),
        cmocka_unit_test(a_file_without_a_size_is_read_to_its_end),
        cmocka_unit_test(folders_are_made_with_their_parents),
        cmocka_unit_test(paths_are_joined_with_one_slash),
        cmocka_unit_test(a_map_shows_the_file_and_notices_that_it_shrank),
        cmocka_unit_test(a_file_truncated_under_its_map_ends_the_process_with_a_message),
        cmocka_unit_test(a_bus_error_elsewhere_has_its_default_effect),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
