// The wrapped allocation functions and the loop over them.
#include "fault.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
char *__real_strdup(const char *text);
int __real_vasprintf(char **text, const char *format, va_list args);

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
char *__wrap_strdup(const char *text);
int __wrap_asprintf(char **text, const char *format, ...);

static struct {
    bool armed; // counting, and failing
    bool spare_jansson;
    bool persistent; // all from `fail_at` on, not only that one
    long count, fail_at;
    long n_failed;
} plan;

static bool fails(void) {
    if (!plan.armed) return false;
    long number = ++plan.count;
    bool failed = plan.persistent ? number >= plan.fail_at : number == plan.fail_at;
    plan.n_failed += failed;
    return failed;
}

void *__wrap_malloc(size_t size) {
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size) {
    return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *memory, size_t size) {
    return fails() ? NULL : __real_realloc(memory, size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size) {
    return fails() ? NULL : __real_aligned_alloc(alignment, size);
}

char *__wrap_strdup(const char *text) {
    return fails() ? NULL : __real_strdup(text);
}

int __wrap_asprintf(char **text, const char *format, ...) {
    if (fails()) return -1;
    va_list args;
    va_start(args, format);
    int len = vasprintf(text, format, args);
    va_end(args);
    return len;
}

static void *jansson_malloc(size_t size) {
    return plan.spare_jansson ? __real_malloc(size) : __wrap_malloc(size);
}

void fault_setup(void) {
    json_set_alloc_funcs(jansson_malloc, free);
}

static mosa_status run_once(fault_operation operation, void *user, long fail_at, bool persistent, mosa_error *err) {
    mosa_error_clear(err);
    plan.count = plan.n_failed = 0;
    plan.fail_at = fail_at;
    plan.persistent = persistent;
    plan.armed = true;
    mosa_status status = operation(user, err);
    plan.armed = false;
    return status;
}

static void run_all(const char *name, fault_operation operation, void *user) {
    mosa_error err;
    assert_int_equal(run_once(operation, user, 0, false, &err), MOSA_OK);
    long total = plan.count;
    for (int persistent = 0; persistent < 2; persistent++) {
        for (long n = 1; n <= total; n++) {
            mosa_status status = run_once(operation, user, n, persistent, &err);
            if (plan.n_failed == 0 && status == MOSA_OK) continue; // took a shorter way
            if (status != MOSA_OK && status != MOSA_ENOMEM)
                fail_msg("%s: allocation %ld of %ld failed: %s: %s", name, n, total, mosa_status_name(status),
                         err.message);
            if (status == MOSA_ENOMEM && !err.message[0]) fail_msg("%s: allocation %ld fails silently", name, n);
        }
    }
    printf("%s: %ld allocations\n", name, total);
    assert_true(total > 0);
}

void fault_run(const char *name, fault_operation operation, void *user) {
    plan.spare_jansson = false;
    run_all(name, operation, user);
}

void fault_run_json(const char *name, fault_operation operation, void *user) {
    plan.spare_jansson = true;
    run_all(name, operation, user);
}
